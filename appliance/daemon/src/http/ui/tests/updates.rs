//! Updates by form: what is loaded, what is refused, and what becomes of the bundle that waits.

use super::*;
use crate::{
    auth::Token,
    http::{State, serve_page, testing::Reply},
    inventory::{Session, User},
    update::Updates,
};
use tokio::{net::TcpListener, sync::watch};

const KIND: &str = "multipart/form-data; boundary=x";

fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes()
}

fn file(bytes: &[u8]) -> Vec<u8> {
    let head = "--x\r\nContent-Disposition: form-data; name=\"bundle\"; filename=\"a.bundle\"\r\n\r\n";
    [head.as_bytes(), bytes, b"\r\n"].concat()
}

fn form(bytes: &[u8]) -> Vec<u8> {
    [field("csrf", CSRF), file(bytes), b"--x--\r\n".to_vec()].concat()
}

impl Site {
    async fn load(&self, body: &[u8], more: &[(&str, &str)]) -> Reply {
        let (host, origin) = (self.address.to_string(), format!("http://{}", self.address));
        let mut headers = vec![("host", host.as_str()), ("content-type", KIND)];
        for (name, value) in [("cookie", self.cookie.as_str()), ("origin", &origin)] {
            if more.iter().all(|(other, _)| *other != name) {
                headers.push((name, value));
            }
        }
        headers.extend(more);
        self.send("POST", "/updates/load", &headers, body).await
    }

    async fn waits(&self) -> Option<String> {
        let kept = self.state.updates.view().await.unwrap().kept;
        kept.map(|kept| kept.header.version.to_string())
    }
}

#[tokio::test]
async fn a_bundle_is_loaded_by_a_plain_form_and_installed() {
    let site = Site::new().await;
    let plain = site.get("/updates").await.text();
    assert!(plain.contains("slot a") && plain.contains("No other version") && !plain.contains("Install update"));
    let loaded = site.load(&form(&site.bundle), &[]).await;
    assert_eq!((loaded.status, loaded.header("location")), (303, Some("/updates")));
    let page = site.get("/updates").await.text();
    assert!(page.contains("Version 0.2.0 is ready") && page.contains("Better."), "{page}");
    assert_eq!(site.post("/updates/drop", "").await.status, 303);
    assert_eq!(site.waits().await, None);
    let none = site.post("/updates/install", "").await;
    assert!(none.status == 422 && none.text().contains("There is no bundle to install"), "{}", none.text());
    let none = site.post("/updates/rollback", "").await;
    assert_eq!(none.status, 303, "whether it can go back is found out on the way");
    let refused = until(&site, "to go back to").await;
    assert!(refused.contains("slot b is empty"), "{refused}");
    assert_eq!(site.load(&form(&site.bundle), &[]).await.status, 303);
    assert_eq!(site.post("/updates/install", "").await.status, 303);
    let page = until(&site, "The box starts again").await;
    assert!(!page.contains("formaction=\"/updates/"), "nothing else may begin: {page}");
    let events = site.get("/activity").await.text();
    assert!(events.contains("0.2.0"), "{events}");
    assert_eq!(site.get("/updates/none").await.status, 404);
    assert_eq!(site.post("/updates/none", "").await.status, 404);
}

#[tokio::test]
async fn an_alarm_about_updates_leads_to_them() {
    let site = Site::new().await;
    let raise = |key: &'static str| {
        site.state
            .inventory
            .transact::<_, crate::inventory::StoreError, _>(move |tx| tx.raise_alarm(key, None, "So it is.".into()))
    };
    let leads = || async { site.get("/").await.text().contains("href=\"/updates\">Updates</a><a") };
    raise("hot").await.unwrap();
    assert!(!leads().await);
    raise("stick-refused").await.unwrap();
    assert!(leads().await, "{}", site.get("/").await.text());
}

/// The page, once it says so.
async fn until(site: &Site, wanted: &str) -> String {
    let look = async {
        loop {
            let page = site.get("/updates").await.text();
            if page.contains(wanted) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.expect(wanted)
}

#[tokio::test]
async fn a_file_that_is_refused_leaves_nothing_and_says_why() {
    let site = Site::new().await;
    let cut = form(&site.bundle);
    let mut changed = site.bundle.clone();
    *changed.last_mut().unwrap() ^= 1;
    let twice = [field("csrf", CSRF), file(b"a"), file(b"b"), b"--x--\r\n".to_vec()].concat();
    for (body, why) in [
        (form(b"csrf=1"), "does not begin as one"),
        (form(&changed), "does not fit its content"),
        (form(b""), "The file is empty"),
        (cut[..cut.len() - 9].to_vec(), "broke off"),
        (twice, "one update file alone"),
        ([field("csrf", CSRF), b"--x--\r\n".to_vec()].concat(), "The file is empty"),
        (b"--y\r\n".to_vec(), "does not begin as its head says"),
    ] {
        let reply = site.load(&body, &[]).await;
        assert_eq!(reply.status, 422, "{why}");
        assert!(reply.text().contains(why), "{why}: {}", reply.text());
        assert_eq!(site.waits().await, None, "{why}");
    }
    let left = std::fs::read_dir(site.state.state_dir.join("update")).unwrap().count();
    assert_eq!(left, 0, "of what was refused nothing stays");
}

#[tokio::test]
async fn an_upload_that_is_not_ones_own_takes_nothing_away() {
    let site = Site::new().await;
    assert_eq!(site.load(&form(&site.bundle), &[]).await.status, 303);
    let token = Token::random().unwrap();
    let (hash, viewer) = (token.digest(), format!("rackberry={}", token.hex()));
    site.state
        .inventory
        .transact(move |tx| {
            tx.put_user(&User { name: "eve".into(), password: "none".to_owned(), role: "viewer".to_owned() })?;
            let expires = tx.now().after(Duration::from_secs(600));
            tx.add_session(&Session { hash, user: "eve".into(), expires, csrf: CSRF.to_owned() })
        })
        .await
        .unwrap();
    let bundle = &site.bundle;
    let late = [file(bundle), field("csrf", CSRF), b"--x--\r\n".to_vec()].concat();
    let wrong = [field("csrf", "f"), file(bundle), b"--x--\r\n".to_vec()].concat();
    let without = [file(bundle), b"--x--\r\n".to_vec()].concat();
    let good = form(b"nothing");
    for (what, body, headers, status) in [
        ("a token behind the file", &late, vec![], 403),
        ("a wrong token", &wrong, vec![], 403),
        ("no token", &without, vec![], 403),
        ("another site", &good, vec![("origin", "http://evil.example")], 403),
        ("another site, by Fetch", &good, vec![("sec-fetch-site", "cross-site")], 403),
        ("somebody who may only look", &good, vec![("cookie", viewer.as_str())], 403),
        ("nobody", &good, vec![("cookie", "a=b")], 303),
    ] {
        let reply = site.load(body, &headers).await;
        assert_eq!(reply.status, status, "{what}");
        assert!(status != 303 || reply.header("location") == Some("/login"), "{what}");
        assert_eq!(site.waits().await.as_deref(), Some("0.2.0"), "{what}");
    }
    let host = site.address.to_string();
    let seen = site.send("GET", "/updates", &[("host", &host), ("cookie", &viewer)], "").await;
    assert_eq!(seen.status, 200);
    assert!(seen.text().contains("Only an admin") && !seen.text().contains("/updates/"), "{}", seen.text());
}

#[tokio::test]
async fn where_the_box_is_no_card_the_page_says_how_updates_come_there() {
    let mut site = Site::new().await;
    let state = State { updates: Updates::new(None, &site.state.state_dir), ..site.state.clone() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    site.address = listener.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(serve_page(listener, state, stopped));
    let page = site.get("/updates").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("apt install") && !page.text().contains("type=\"file\""), "{}", page.text());
    assert_eq!(site.load(&form(&site.bundle), &[]).await.status, 422);
    assert_eq!(site.post("/updates/install", "").await.status, 422);
}
