//! Installs, as a person arms them.

use super::*;

#[tokio::test]
async fn an_install_is_armed_by_the_form_and_every_mistake_is_shown_beside_its_field() {
    let site = Site::new().await;
    let empty = site.host("empty", 1, facts(vec![disk("sda", true)])).await;
    let used = site.host("used", 2, facts(vec![disk("sda", false)])).await;
    let two = site.host("two", 3, facts(vec![disk("sda", true), disk("sdb", true)])).await;
    let unknown = site.host("unknown", 4, None).await;
    let path = |host: &Host| format!("/hosts/{}/install", host.id);

    let reply = site.post(&path(&two), "profile=debian&p.user=admin").await;
    assert_eq!(reply.status, 422);
    assert!(reply.text().contains("2 disks fit the rule"), "{}", reply.text());
    let reply = site.post(&path(&used), "profile=debian&disk=serial:SDA&p.user=admin").await;
    assert_eq!(reply.status, 422);
    assert!(reply.text().contains("id=\"confirm-e\"") && reply.text().contains("value=\"admin\""));
    let reply = site.post(&path(&used), "profile=debian&disk=serial:SDA&p.user=admin&confirm=two").await;
    assert!(reply.status == 422 && reply.text().contains("That is not its name. Type used."));
    let reply = site.post(&path(&used), "profile=debian&disk=serial:SDA&p.user=Root+1&confirm=used").await;
    assert!(reply.status == 422 && reply.text().contains("User takes a user name"), "{}", reply.text());
    let reply = site.post(&path(&empty), "profile=none&disk=serial:SDA").await;
    assert_eq!(reply.status, 422);
    let reply = site.post(&path(&unknown), "profile=debian&disk=only&p.user=admin").await;
    assert!(reply.status == 422 && reply.text().contains("Nobody looked at its disks yet"));
    for host in [&empty, &used, &two, &unknown] {
        assert!(site.install_of(host.id).is_none(), "{}", host.name);
    }

    for (host, fields) in [
        (&empty, "disk=serial:SDA"),
        (&used, "disk=serial:SDA&confirm=used"),
        (&two, "disk=serial:SDB"),
        (&unknown, "disk=smallest&confirm=unknown"),
    ] {
        let reply = site.post(&path(host), &format!("profile=debian&p.user=admin&{fields}")).await;
        let target = format!("/hosts/{}", host.id);
        assert_eq!((reply.status, reply.header("location")), (303, Some(target.as_str())), "{}", host.name);
        let install = site.install_of(host.id).unwrap();
        assert_eq!((install.state.phase, install.by.as_str()), (Phase::Armed, "ops"), "{}", host.name);
        let page = site.get(&target).await.text();
        assert!(page.contains("Erases its disk at the next network boot."), "{page}");
        assert!(page.contains("It is off: switch it on."), "{page}");
    }
    // A second permission beside the first is refused on the same page.
    let reply = site.post(&path(&empty), "profile=debian&disk=serial:SDA&p.user=admin").await;
    assert!(reply.status == 422 && reply.text().contains("role=\"alert\""), "{}", reply.status);
    let reply = site.post(&format!("/hosts/{}/disarm", empty.id), "").await;
    assert_eq!(reply.status, 303);
    assert_eq!(site.install_of(empty.id).unwrap().state.phase, Phase::Cancelled);
    assert_eq!(site.post(&format!("/hosts/{}/disarm", empty.id), "").await.status, 409);
}

#[tokio::test]
async fn the_choice_in_the_query_decides_what_the_dialog_says_is_lost() {
    let site = Site::new().await;
    let host = site.host("two", 3, facts(vec![disk("sda", true), disk("sdb", false)])).await;
    let sheet = |disk: &str| format!("/hosts/{}/install?profile=debian&disk=serial:{disk}", host.id);
    let empty = site.get(&sheet("SDA")).await.text();
    assert!(empty.contains("sda is empty") && !empty.contains("Erase and install"));
    let used = site.get(&sheet("SDB")).await.text();
    assert!(used.contains("Everything on sdb goes") && used.contains("Erase and install"));
    let own = site.address.to_string();
    let headers = [("host", own.as_str()), ("cookie", &site.cookie), ("hx-request", "true")];
    let fragment = site.send("GET", &sheet("SDB"), &headers, "").await.text();
    assert!(fragment.starts_with("<div class=\"sheet\" id=\"sheet\">"), "{fragment}");
}

#[tokio::test]
async fn a_machine_that_is_off_can_be_armed_and_the_page_says_to_switch_it_on() {
    let site = Site::new().await;
    let host = site.host("node-a", 1, facts(vec![disk("sda", true)])).await;
    let list = site.get("/").await.text();
    assert!(list.contains(&format!("href=\"/hosts/{}/install\"", host.id)), "{list}");
    let dialog = site.get(&format!("/hosts/{}/install?profile=debian", host.id)).await.text();
    assert!(dialog.contains("it is off: switch it on, and it begins"), "{dialog}");
}
