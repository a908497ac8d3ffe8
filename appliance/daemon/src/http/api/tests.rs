//! The API over a real listener: the table against what is served, who may do what, and answers against their description.

mod alarms;
mod described;
mod tokens;

use super::{
    openapi,
    table::{Access, Answer, Body, ROOT, Route, Verb, all, captured},
};
use crate::{
    auth::{Role, Token},
    http::testing::{CSRF, Reply, Site},
    inventory::{API_TOKENS, EventFilter, Session, StoreError},
};
use rackberry_core::{
    event::{Actor, EventKind},
    text::CleanText,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A path of a row, with something in place of each name in braces.
fn path(route: &Route) -> String {
    let names = BTreeMap::from([
        ("host", "node-a"),
        ("image", "debian-13"),
        ("profile", "debian"),
        ("user", "anna"),
        ("token", "ci"),
        ("alarm", "hot"),
        ("fetch", "1"),
        ("upload", "none"),
        ("medium", "debian-13"),
    ]);
    let parts = route.path.split('/').map(|part| captured(part).map_or(part, |name| names[name]));
    format!("{ROOT}{}", parts.collect::<Vec<_>>().join("/"))
}

fn error_of(reply: &Reply) -> String {
    let said: Value = serde_json::from_slice(&reply.body).unwrap();
    said["error"].as_str().unwrap().to_owned()
}

impl Site {
    async fn api(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let host = self.address.to_string();
        let headers: Vec<(&str, &str)> = [("host", host.as_str())].into_iter().chain(headers.iter().copied()).collect();
        self.send(method, path, &headers, body).await
    }

    /// As the page's own script would.
    async fn by_cookie(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.api(method, path, &[("cookie", &self.cookie), ("x-csrf-token", CSRF)], body).await
    }

    async fn by_token(&self, token: &str, method: &str, path: &str, body: &str) -> Reply {
        self.api(method, path, &[("authorization", &format!("Bearer {token}"))], body).await
    }

    async fn token(&self, name: &str, role: Role) -> String {
        self.state.auth.add_token(name, role, "ops".into(), Actor::Box).await.unwrap().1
    }

    async fn events(&self, kind: &str) -> Vec<EventKind> {
        let filter = EventFilter { kinds: vec![kind.to_owned()], limit: 10, ..EventFilter::default() };
        let found = self.state.inventory.read(move |reader| reader.events(&filter)).await.unwrap();
        found.into_iter().map(|stored| stored.event.kind).collect()
    }
}

#[tokio::test]
async fn without_credentials_every_call_is_refused_and_nothing_is_told() {
    let site = Site::new().await;
    site.host("node-a", 1, None).await;
    let stranger = format!("rackberry={}", Token::random().unwrap().hex());
    let mut refused = 0;
    for route in all() {
        for headers in [&[][..], &[("cookie", "rackberry=x")], &[("cookie", &stranger), ("x-csrf-token", CSRF)]] {
            let reply = site.api(route.verb.method().as_str(), &path(route), headers, "").await;
            assert_eq!(reply.status, 401, "{} {headers:?}", route.name);
            assert_eq!(error_of(&reply), "Log in first.", "{}", route.name);
            assert_eq!(reply.header("rackberry-api"), Some("v1"), "a program learns what it speaks to");
            refused += 1;
        }
    }
    // What does not exist is refused in the same words.
    for path in ["/api", "/api/", "/api/v1", "/api/v1/nothing", "/api/v2/hosts", "/api/v1/hosts/node-a/render"] {
        let reply = site.api("GET", path, &[], "").await;
        assert_eq!((reply.status, error_of(&reply).as_str()), (401, "Log in first."), "{path}");
    }
    println!("{refused} calls of {} rows without credentials: all 401", all().count());
    assert_eq!(site.state.inventory.snapshot().hosts.len(), 1);
}

#[tokio::test]
async fn every_row_is_served_and_nothing_else_is() {
    let site = Site::new().await;
    site.host("node-a", 1, None).await;
    for route in all() {
        let reply = site.by_cookie(route.verb.method().as_str(), &path(route), "").await;
        assert_ne!(reply.status, 405, "{}", route.name);
        assert!(reply.status == 200 || !error_of(&reply).contains("no such call"), "{}", route.name);
        let wrong = site.by_cookie("PUT", &path(route), "").await;
        let verbs = all().filter(|other| path(other) == path(route)).map(|other| other.verb.method().to_string());
        let verbs: BTreeSet<String> = verbs.collect();
        let allowed: BTreeSet<String> = wrong.header("allow").unwrap().split(", ").map(str::to_owned).collect();
        assert_eq!((wrong.status, allowed), (405, verbs), "{}", route.name);
    }
    for path in ["/api", "/api/v1", "/api/v1/nothing", "/api/v1/hosts/node-a/explode", "/api/v2/hosts"] {
        let reply = site.by_cookie("GET", path, "").await;
        assert!(reply.status == 404 || reply.status == 405, "{path}: {}", reply.status);
    }
}

#[tokio::test]
async fn a_cookie_without_the_pages_token_changes_nothing() {
    let site = Site::new().await;
    site.host("node-a", 1, None).await;
    let mut forged = 0;
    for route in all().filter(|route| route.verb != Verb::Get) {
        for csrf in ["", "0", &CSRF[1..], "f123456789abcdef0123456789abcdef"] {
            let headers = [("cookie", site.cookie.as_str()), ("x-csrf-token", csrf)];
            let headers = if csrf.is_empty() { &headers[..1] } else { &headers[..] };
            let reply = site.api(route.verb.method().as_str(), &path(route), headers, "").await;
            assert_eq!(reply.status, 403, "{} with {csrf:?}", route.name);
            forged += 1;
        }
    }
    println!("{forged} forged calls: all 403");
    assert_eq!(site.state.inventory.snapshot().hosts.len(), 1);
}

#[tokio::test]
async fn a_viewer_sees_everything_and_changes_nothing() {
    let site = Site::new().await;
    site.host("node-a", 1, None).await;
    let token = site.token("screen", Role::Viewer).await;
    for route in all() {
        let reply = site.by_token(&token, route.verb.method().as_str(), &path(route), "").await;
        match route.access {
            Access::Admin => assert_eq!(reply.status, 403, "{}", route.name),
            Access::Viewer => assert_eq!(reply.status, 200, "{}: {}", route.name, reply.text()),
        }
    }
    // On the page too.
    let secret = Token::random().unwrap();
    let hash = secret.digest();
    site.state.auth.add_person("vera", "long enough", Role::Viewer, Actor::Box).await.unwrap();
    let session = move |tx: &mut crate::inventory::Tx<'_>| {
        let expires = tx.now().after(Duration::from_secs(600));
        tx.add_session(&Session { hash, user: "vera".into(), expires, csrf: CSRF.to_owned() })?;
        tx.raise_alarm("hot", None, "It is hot.".into())
    };
    site.state.inventory.transact::<_, StoreError, _>(session).await.unwrap();
    let mut viewer = site;
    viewer.cookie = format!("rackberry={}", secret.hex());
    assert_eq!(viewer.get("/").await.status, 200);
    for path in ["/hosts/enrol", "/hosts/node-a/forget", "/images/debian-13/remove", "/alarms/hot/settle"] {
        assert_eq!(viewer.post(path, "list=52:54:00:77:00:09").await.status, 403, "{path}");
    }
    assert_eq!(viewer.post("/theme", "theme=dark").await.status, 303);
    let snapshot = viewer.state.inventory.snapshot();
    assert_eq!((snapshot.hosts.len(), snapshot.images.len(), snapshot.alarms.len()), (1, 1, 1));
}
