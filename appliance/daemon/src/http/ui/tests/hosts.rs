//! The list of hosts and the page of one.

use super::*;

#[tokio::test]
async fn what_a_machine_says_of_itself_stays_text() {
    let site = Site::new().await;
    const NASTY: &str = "\"><script>alert(1)</script><img src=x onerror=alert(1)>";
    let smbios = Smbios { product: NASTY.into(), serial: NASTY.into(), ..Smbios::default() };
    let mut disk = disk("sda", false);
    disk.content.system = Some(NASTY.into());
    let host = site.host("node-a", 1, Some(Facts { smbios, ..facts(vec![disk]).unwrap() })).await;
    let id = host.id;
    site.state.inventory.transact(move |tx| tx.raise_alarm("x", Some(id), NASTY.into())).await.unwrap();
    for path in ["/", &format!("/hosts/{id}"), &format!("/hosts/{id}/install"), "/activity", "/?q=%3Cscript%3E"] {
        let text = site.get(path).await.text();
        assert!(!text.contains("<script>alert") && !text.contains("<img") && !text.contains("=\"\">"), "{path}");
        assert!(path.contains("?q=") || text.contains("script&#62;"), "{path} shows it");
    }
}

#[tokio::test]
async fn machines_are_enrolled_all_or_none() {
    let site = Site::new().await;
    let reply = site.post("/hosts/enrol", "list=52:54:00:77:00:01,a%0D%0Ahello&pattern=").await;
    assert!(reply.status == 422 && reply.text().contains("Line 2:"), "{}", reply.text());
    assert_eq!(site.state.inventory.snapshot().hosts.len(), 0);
    let list = "list=52:54:00:77:00:01,a%0D%0A52:54:00:77:00:02&pattern=n%25d";
    let reply = site.post("/hosts/enrol", list).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/")));
    let names: Vec<String> =
        site.state.inventory.snapshot().hosts.values().map(|entry| entry.host.name.to_string()).collect();
    assert_eq!(names, ["a", "n1"]);
    let page = site.get("/?q=00:02").await.text();
    assert!(page.contains(">n1</a>") && !page.contains(">a</a>"));
    // What was done is said once, on the next page.
    let said = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let own = site.address.to_string();
    let cookies = format!("{}; {said}", site.cookie);
    let next = site.send("GET", "/", &[("host", &own), ("cookie", &cookies)], "").await;
    assert!(next.text().contains("2 hosts are added."));
    assert!(next.header("set-cookie").unwrap().starts_with("rackberry-said=; "));
    assert!(site.post("/hosts/enrol", &format!("list={}", "x".repeat(300_000))).await.status == 413);
}

#[tokio::test]
async fn page_and_api_say_the_same_of_every_host() {
    let site = Site::new().await;
    site.host("new", 1, None).await;
    let armed = site.host("armed", 2, facts(vec![disk("sda", true)])).await;
    let path = format!("/hosts/{}/install", armed.id);
    site.post(&path, "profile=debian&disk=serial:SDA&p.user=admin").await;
    let list: serde_json::Value = serde_json::from_slice(&site.get("/api/v1/hosts").await.body).unwrap();
    for host in list.as_array().unwrap() {
        let (word, sentence) = (host["word"].as_str().unwrap(), host["sentence"].as_str().unwrap());
        let page = site.get(&format!("/hosts/{}", host["id"].as_str().unwrap())).await.text();
        assert!(page.contains(&format!("</svg>{word}</span>")), "{word}");
        // The time left may have moved on between the two.
        let first = sentence.split(". ").next().unwrap();
        assert!(page.contains(first), "{sentence}");
    }
}
