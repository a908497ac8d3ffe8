//! The API over a real listener: the table against what is served, who may do what, and answers against their description.

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

#[test]
fn the_description_holds_every_row_once() {
    let document = openapi::document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (verb, operation) in operations.as_object().unwrap() {
            described.insert((verb.to_uppercase(), path.clone()));
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} twice");
            let inside: BTreeSet<&str> = path.split('/').filter_map(captured).collect();
            let parameters = operation["parameters"].as_array().unwrap();
            let told = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let told: BTreeSet<&str> = told.map(|parameter| parameter["name"].as_str().unwrap()).collect();
            assert_eq!(inside, told, "{path}");
            assert!(parameters.iter().all(|parameter| parameter["description"] != "Which one."), "{path}");
            assert!(operation["responses"]["200"]["content"].is_object(), "{path}");
            assert!(operation["summary"].as_str().unwrap().ends_with('.'), "{path}");
        }
    }
    let rows: BTreeSet<(String, String)> =
        all().map(|route| (route.verb.method().to_string(), format!("{ROOT}{}", route.path))).collect();
    assert_eq!(described, rows);
    assert_eq!(rows.len(), all().count(), "no row twice");
    for scheme in document["security"].as_array().unwrap() {
        let name = scheme.as_object().unwrap().keys().next().unwrap();
        assert!(document["components"]["securitySchemes"][name].is_object(), "{name}");
    }
    let mut references = Vec::new();
    references_in(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let found = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(found.is_some_and(|found| found["type"] == "object"), "{reference}");
    }
}

fn references_in(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(target) if name == "$ref" => found.push(target.clone()),
                    member => references_in(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references_in(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn requests_are_described_as_they_are_read() {
    let site = Site::new().await;
    site.host("node-a", 1, None).await;
    for route in all() {
        let Body::Json(fields) = route.body else { continue };
        let reply = site.by_cookie(route.verb.method().as_str(), &path(route), "{\"?\": 0}").await;
        assert_eq!(reply.status, 422, "{}", route.name);
        let said = error_of(&reply);
        let read: BTreeSet<&str> = said.split('`').skip(1).step_by(2).filter(|name| *name != "?").collect();
        let described: BTreeSet<&str> = fields.iter().map(|field| field.name).collect();
        assert_eq!(read, described, "{}: {said}", route.name);
    }
    for query in ["/api/v1/hosts?colour=red", "/api/v1/events?hosts=x", "/api/v1/events?limit=-1"] {
        assert_eq!(site.by_cookie("GET", query, "").await.status, 422, "{query}");
    }
    let long = format!("{{\"list\": \"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(site.by_cookie("POST", "/api/v1/hosts", &long).await.status, 422);
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

#[tokio::test]
async fn a_token_opens_the_api_and_nothing_else_until_it_is_taken_back() {
    let site = Site::new().await;
    let made = site.by_cookie("POST", "/api/v1/tokens", "{\"name\": \"ci\"}").await;
    assert_eq!(made.status, 200, "{}", made.text());
    let made: Value = serde_json::from_slice(&made.body).unwrap();
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!((made["by"].as_str(), made["role"].as_str()), (Some("ops"), Some("admin")));
    let again = site.by_cookie("POST", "/api/v1/tokens", "{\"name\": \"ci\"}").await;
    assert_eq!(again.status, 409, "{}", again.text());

    // It needs no cookie and no token of a page, and what it does is recorded as its own.
    let enrolled = site.by_token(&token, "POST", "/api/v1/hosts", "{\"list\": \"52:54:00:77:00:09 node-b\"}").await;
    assert_eq!(enrolled.status, 200, "{}", enrolled.text());
    let filter = EventFilter { kinds: vec!["host_enrolled".to_owned()], limit: 1, ..EventFilter::default() };
    let found = site.state.inventory.read(move |reader| reader.events(&filter)).await.unwrap();
    assert_eq!(found[0].event.actor, Actor::User("token ci".into()));
    for path in ["/", "/activity", "/events/stream"] {
        let page = site.api("GET", path, &[("authorization", &format!("Bearer {token}"))], "").await;
        assert!(page.status == 303 || page.status == 401, "{path}: {}", page.status);
    }

    // Its last use shows; its text is nowhere.
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    let listed = loop {
        let listed = site.by_cookie("GET", "/api/v1/tokens", "").await;
        let tokens: Value = serde_json::from_slice(&listed.body).unwrap();
        if tokens[0]["used"].is_u64() {
            assert_eq!(tokens[0]["address"], "127.0.0.1");
            break listed.text();
        }
        assert!(tokio::time::Instant::now() < until, "{tokens}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let secret = token.strip_prefix("rackberry-").unwrap();
    assert!(!listed.contains(secret), "{listed}");
    for file in std::fs::read_dir(&*site.state.state_dir).unwrap().flatten().filter(|file| file.path().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        let held = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!held, "{} holds the token", file.path().display());
    }

    assert_eq!(site.by_cookie("DELETE", "/api/v1/tokens/ci", "").await.status, 200);
    let refused = site.by_token(&token, "GET", "/api/v1/hosts", "").await;
    assert_eq!(refused.status, 401);
    assert!(error_of(&refused).contains("not valid here"), "{}", refused.text());
    let basic = site.api("GET", "/api/v1/hosts", &[("authorization", "Basic b3BzOng=")], "").await;
    assert_eq!(basic.status, 401);
}

#[tokio::test]
async fn guessed_tokens_are_bounded_and_locked_out_programs_lock_out_no_people() {
    let site = Site::new().await;
    let token = site.token("ci", Role::Admin).await;
    assert_eq!(site.by_token(&token, "GET", "/api/v1/status", "").await.status, 200);
    let mut answers = BTreeMap::new();
    for guess in 0..40 {
        let guess = format!("rackberry-{guess:032x}");
        *answers.entry(site.by_token(&guess, "GET", "/api/v1/status", "").await.status).or_insert(0) += 1;
    }
    println!("40 guesses: {answers:?}");
    assert_eq!(answers, BTreeMap::from([(401, 5), (429, 35)]));
    assert_eq!(site.by_token(&token, "GET", "/api/v1/status", "").await.status, 429, "not even looked at");
    assert_eq!(site.by_cookie("GET", "/api/v1/status", "").await.status, 200, "people go on");
    assert_eq!(site.events("login_refused").await.len(), 5);
}

#[tokio::test]
async fn tokens_go_with_the_person_who_made_them_and_their_number_is_bounded() {
    let site = Site::new().await;
    let auth = &site.state.auth;
    auth.add_person("anna", "long enough", Role::Admin, Actor::Box).await.unwrap();
    for number in 0..API_TOKENS {
        auth.add_token(&format!("t{number}"), Role::Viewer, "anna".into(), Actor::Box).await.unwrap();
    }
    let many = auth.add_token("more", Role::Viewer, "ops".into(), Actor::Box).await;
    assert!(many.unwrap_err().to_string().contains("64 tokens"));
    auth.remove_person("anna", Actor::Box).await.unwrap();
    assert_eq!(site.state.inventory.snapshot().api_tokens.len(), 0);
    let last = auth.remove_person("ops", Actor::Box).await.unwrap_err();
    assert!(last.to_string().contains("last person"), "{last}");
    let last = auth.change_person("ops", None, Some(Role::Viewer), Actor::Box).await.unwrap_err();
    assert!(last.to_string().contains("last person"), "{last}");
}

#[tokio::test]
async fn a_settled_alarm_is_gone_and_history_says_who_settled_it() {
    let site = Site::new().await;
    let raise = |key: &'static str, text: &'static str| {
        let inventory = site.state.inventory.clone();
        async move { inventory.transact(move |tx| tx.raise_alarm(key, None, text.into())).await.unwrap() }
    };
    raise("hot", "It is hot.").await;
    let page = site.get("/").await.text();
    assert!(page.contains("formaction=\"/alarms/hot/settle\""), "{page}");
    assert_eq!(site.post("/alarms/hot/settle", "").await.status, 303);
    raise("a/b c", "Another one.").await;
    let page = site.get("/").await.text();
    assert!(page.contains("formaction=\"/alarms/a%2Fb%20c/settle\""), "{page}");
    assert_eq!(site.by_cookie("POST", "/api/v1/alarms/a%2Fb%20c/settle", "").await.status, 200);
    assert_eq!(site.by_cookie("POST", "/api/v1/alarms/a%2Fb%20c/settle", "").await.status, 404, "once");
    assert_eq!(site.get("/").await.text().matches("/settle").count(), 0);
    let filter = EventFilter { kinds: vec!["alarm_settled".to_owned()], limit: 9, ..EventFilter::default() };
    let found = site.state.inventory.read(move |reader| reader.events(&filter)).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|stored| stored.event.actor == Actor::User(CleanText::new("ops"))), "{found:?}");
}

/// Calls by name, each answer compared with its description.
struct Live {
    site: Site,
    document: Value,
    called: BTreeSet<&'static str>,
}

impl Live {
    async fn call(&mut self, name: &'static str, path: &str, body: impl AsRef<[u8]>) -> Value {
        let route = all().find(|route| route.name == name).unwrap();
        let reply = self.site.by_cookie(route.verb.method().as_str(), &format!("{ROOT}{path}"), body).await;
        assert_eq!(reply.status, 200, "{name}: {}", String::from_utf8_lossy(&reply.body));
        self.called.insert(name);
        let verb = route.verb.method().as_str().to_ascii_lowercase();
        let content =
            self.document["paths"][format!("{ROOT}{}", route.path)][verb]["responses"]["200"]["content"].clone();
        if let Answer::Bytes(media) = route.answer {
            assert!(content[media].is_object() && reply.header("content-type") == Some(media), "{name}");
            return Value::Null;
        }
        let value: Value = serde_json::from_slice(&reply.body).unwrap();
        let wrong = differs(&self.document, &content["application/json"]["schema"], &value);
        assert_eq!(wrong, None, "{name} answered {value}");
        value
    }
}

/// Where a value does not fit its schema; knows as much of JSON Schema as the description uses.
fn differs(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(target) = schema["$ref"].as_str() {
        return differs(document, document.pointer(&target[1..]).unwrap(), value);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let wrong: Vec<Option<String>> = choices.iter().map(|choice| differs(document, choice, value)).collect();
        return if wrong.contains(&None) { None } else { wrong.into_iter().next().flatten() };
    }
    let fits = match schema["type"].as_str() {
        None => true,
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("null") => value.is_null(),
        Some(other) => panic!("the description uses the type {other}"),
    };
    if !fits || schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Some(format!("{value} is no {schema}"));
    }
    for item in value.as_array().into_iter().flatten() {
        if let Some(wrong) = differs(document, &schema["items"], item) {
            return Some(wrong);
        }
    }
    let members = value.as_object()?;
    for name in schema["required"].as_array().into_iter().flatten() {
        if !members.contains_key(name.as_str().unwrap()) {
            return Some(format!("{name} is missing"));
        }
    }
    members.iter().find_map(|(name, member)| match &schema["properties"][name] {
        Value::Null if schema["additionalProperties"] == false => Some(format!("{name} is not described")),
        Value::Null => differs(document, &schema["additionalProperties"], member),
        described => differs(document, described, member).map(|wrong| format!("{name}: {wrong}")),
    })
}

/// The calls on what is fetched from elsewhere.
async fn fetched(live: &mut Live) {
    use crate::origin::testing::{Server, file};
    let server = Server::start(|_, request| file(&request, &[7; 5000], "\"a\"")).await;
    let asked = json!({ "url": server.url("/x.iso"), "allow_private": true }).to_string();
    let size = live.call("sizeFetch", "/v1/fetch-size", &asked).await;
    assert_eq!(size["size_bytes"], 5000);
    let order = json!({ "name": "afar", "urls": [server.url("/x.iso")], "allow_private": true }).to_string();
    let begun = live.call("beginFetch", "/v1/fetches", &order).await;
    let path = format!("/v1/fetches/{}", begun["id"]);
    let done = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let fetch = live.call("listFetches", "/v1/fetches", "").await[0].clone();
            if fetch["state"] != "waiting" && fetch["state"] != "fetching" {
                return fetch;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let done = done.await.unwrap();
    assert_eq!((&done["state"], &done["done_bytes"]), (&json!("done"), &json!(5000)), "{done}");
    assert_eq!(live.call("listFetches", "/v1/fetches", "").await, json!([done]));
    assert_eq!(live.call("cancelFetch", &path, "").await, done, "what is over stays as it is");
    live.call("removeImage", "/v1/images/afar", "").await;
    let refused =
        live.site.by_cookie("POST", "/api/v1/fetches", json!({ "name": "x", "urls": ["ftp://a/b"] }).to_string()).await;
    assert_eq!(refused.status, 422);
    assert!(error_of(&refused).contains("http://"), "{}", error_of(&refused));
}

/// The calls on what a profile needs.
async fn gotten(live: &mut Live) {
    use crate::origin::testing::{Server, file};
    let get = "/v1/profiles/rescue/media/debian-13/fetch";
    let media = live.call("listMedia", "/v1/profiles/rescue/media", "").await;
    assert_eq!((&media[0]["name"], &media[0]["place"]), (&json!("debian-13"), &json!("on-the-box")));
    let there = live.site.by_cookie("POST", &format!("/api{get}"), "{}").await;
    assert_eq!(there.status, 409, "{}", there.text());
    live.call("removeImage", "/v1/images/debian-13", "").await;
    let media = live.call("listMedia", "/v1/profiles/rescue/media", "").await;
    assert_eq!(media[0]["place"], "yours-to-find");
    let unknown = live.site.by_cookie("POST", &format!("/api{get}"), "{}").await;
    assert_eq!(unknown.status, 409);
    assert!(error_of(&unknown).contains("No address of Kernel is known"), "{}", error_of(&unknown));

    // The same profile, told of an address.
    let server = Server::start(|_, request| file(&request, &[9; 5000], "\"a\"")).await;
    let folder = live.site.state.state_dir.join("catalog/rescue");
    std::fs::create_dir_all(&folder).unwrap();
    let toml = format!(
        "title = \"Rescue\"\nway = \"live\"\narch = \"x86_64\"\n[[medium]]\nname = \"debian-13\"\ntitle = \"Kernel\"\n\
         url = \"{}\"\n[boot]\nkernel = \"debian-13\"\n",
        server.url("/vmlinuz")
    );
    std::fs::write(folder.join("profile.toml"), toml).unwrap();
    live.site.state.catalog = crate::catalog::Catalog::load(&[&live.site.state.state_dir.join("catalog")]);
    let state = live.site.state.clone();
    let profile = state.catalog.get("rescue").unwrap();
    assert_eq!(crate::http::actions::media(&state, profile)[0].place, crate::http::actions::Place::NeedsInternet);
    let refused = crate::http::actions::get_it(&state, "rescue", "other", true, Actor::Box).await.unwrap_err();
    assert!(refused.to_string().contains("needs other"), "{refused}");
    let begun = crate::http::actions::get_it(&state, "rescue", "debian-13", true, Actor::Box).await.unwrap();
    assert_eq!(begun.name.as_str(), "debian-13");
    let twice = crate::http::actions::get_it(&state, "rescue", "debian-13", true, Actor::Box).await;
    let done = tokio::time::timeout(Duration::from_secs(60), async {
        while state.inventory.snapshot().image_by_name("debian-13").is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    done.await.unwrap();
    assert!(twice.is_err());
    assert_eq!(crate::http::actions::media(&state, profile)[0].place, crate::http::actions::Place::OnTheBox);
}

/// The calls on what comes in pieces, and on what nobody uses.
async fn uploaded(live: &mut Live) {
    let announced = json!({ "name": "pieces", "size_bytes": 6 }).to_string();
    let begun = live.call("beginUpload", "/v1/uploads", &announced).await;
    let path = format!("/v1/uploads/{}", begun["id"].as_str().unwrap());
    assert_eq!(live.call("listUploads", "/v1/uploads", "").await[0]["id"], begun["id"]);
    live.call("sendUpload", &format!("{path}?offset=0"), "abc").await;
    let refused = live.site.by_cookie("POST", &format!("/api{path}?offset=1"), "xyz").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(live.call("getUpload", &path, "").await["offset"], 3);
    let early = live.site.by_cookie("POST", &format!("/api{path}/finish"), "").await;
    assert_eq!(early.status, 409, "{}", early.text());
    live.call("sendUpload", &format!("{path}?offset=3"), "def").await;
    let image = live.call("finishUpload", &format!("{path}/finish"), "").await;
    assert_eq!((&image["name"], &image["size_bytes"]), (&json!("pieces"), &json!(6)));
    let begun = live.call("beginUpload", "/v1/uploads", &announced.replace("pieces", "dropped")).await;
    live.call("dropUpload", &format!("/v1/uploads/{}", begun["id"].as_str().unwrap()), "").await;
    let unused = live.call("pruneImages", "/v1/prune", "{}").await;
    assert!(unused.as_array().unwrap().iter().any(|image| image["name"] == "pieces"), "{unused}");
    assert!(
        !unused.as_array().unwrap().iter().any(|image| image["name"] == "debian-13"),
        "a profile names it: {unused}"
    );
    live.call("pruneImages", "/v1/prune", "{\"yes\": true}").await;
    let left = live.call("listImages", "/v1/images", "").await;
    assert!(!left.as_array().unwrap().iter().any(|image| image["name"] == "pieces"), "{left}");
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let mut live = Live { site: Site::new().await, document: openapi::document(), called: BTreeSet::new() };
    live.call("describe", "/openapi.json", "").await;
    live.call("showStatus", "/v1/status", "").await;
    live.call("enrolHosts", "/v1/hosts", "{\"list\": \"52:54:00:77:00:01 node-a\"}").await;
    live.call("changeHost", "/v1/hosts/node-a", "{\"tags\": [\"rack-1\"], \"policy\": \"local-disk\"}").await;
    let set = live.call("setLive", "/v1/hosts/node-a/live", "{\"profile\": \"rescue\"}").await;
    assert_eq!(set["title"], "Rescue");
    live.call("unsetLive", "/v1/hosts/node-a/live", "").await;
    let wired = "{\"power\": \"gpio\", \"power_pin\": 17, \"power_kind\": \"relay\"}";
    live.call("changeHost", "/v1/hosts/node-a", wired).await;
    let off = live.call("switchPower", "/v1/hosts/node-a/power", "{\"verb\": \"off\"}").await;
    assert_eq!(live.call("showPower", "/v1/hosts/node-a/power", "").await, off);
    live.call("listProfiles", "/v1/profiles", "").await;
    live.call("listImages", "/v1/images", "").await;
    live.call("renderProfile", "/v1/hosts/node-a/render/debian", "").await;
    let order = "{\"profile\": \"debian\", \"parameters\": {\"user\": \"admin\"}, \"erase\": true}";
    let install = live.call("installHost", "/v1/hosts/node-a/install", order).await;
    assert_eq!(install["by"], "ops");
    let shown = live.call("showHost", "/v1/hosts/node-a", "").await;
    assert_eq!(shown["install"]["id"], install["id"]);
    live.call("listHosts", "/v1/hosts", "").await;
    live.call("disarmHost", "/v1/hosts/node-a/disarm", "").await;
    live.call("installHost", "/v1/hosts/node-a/install", order).await;
    live.call("cancelHost", "/v1/hosts/node-a/cancel", "").await;
    let imported = live.call("importImage", "/v1/images?name=raw&origin=test", &"x".repeat(5000)).await;
    assert_eq!(imported["size_bytes"], 5000);
    live.call("verifyImage", "/v1/images/raw/verify", "").await;
    let file = live.site.state.media.image_path(&imported["digest"].as_str().unwrap().parse().unwrap());
    std::fs::write(file, "y".repeat(5000)).unwrap();
    let damaged = live.site.by_cookie("POST", "/api/v1/images/raw/verify", "").await;
    assert_eq!(damaged.status, 409);
    assert!(error_of(&damaged).contains("damaged"), "{}", damaged.text());
    live.call("removeImage", "/v1/images/raw", "").await;
    fetched(&mut live).await;
    uploaded(&mut live).await;
    gotten(&mut live).await;
    let alarm = |tx: &mut crate::inventory::Tx<'_>| tx.raise_alarm("hot", None, "It is hot.".into());
    live.site.state.inventory.transact::<_, StoreError, _>(alarm).await.unwrap();
    live.call("listAlarms", "/v1/alarms", "").await;
    live.call("settleAlarm", "/v1/alarms/hot/settle", "").await;
    live.call("addPerson", "/v1/users", "{\"name\": \"anna\", \"password\": \"long enough\"}").await;
    live.call("changePerson", "/v1/users/anna", "{\"role\": \"viewer\", \"password\": \"longer than that\"}").await;
    let people = live.call("listPeople", "/v1/users", "").await;
    assert_eq!(people, json!([{ "name": "anna", "role": "viewer" }, { "name": "ops", "role": "admin" }]));
    live.call("removePerson", "/v1/users/anna", "").await;
    let token = live.call("addToken", "/v1/tokens", "{\"name\": \"ci\", \"role\": \"viewer\"}").await;
    let token = token["token"].as_str().unwrap().to_owned();
    assert_eq!(live.site.by_token(&token, "GET", "/api/v1/hosts", "").await.status, 200);
    live.call("listTokens", "/v1/tokens", "").await;
    live.call("removeToken", "/v1/tokens/ci", "").await;
    live.call("backup", "/v1/backup", "").await;
    let display = live.call("showDisplay", "/v1/display", "").await;
    assert_eq!((&display["health"], &display["size"]), (&json!("off"), &json!("128x64")));
    live.call("drawDisplay", "/v1/display/picture", "").await;
    let card = live.call("showUpdate", "/v1/update", "").await;
    assert_eq!((&card["slot"], &card["other_state"]), (&json!("a"), &json!("empty")));
    let bundle = live.site.bundle.clone();
    let kept = live.call("loadUpdate", "/v1/update", &bundle).await;
    assert_eq!(kept["bundle"]["header"]["version"], "0.2.0");
    live.call("dropUpdate", "/v1/update", "").await;
    live.call("loadUpdate", "/v1/update", &bundle).await;
    live.call("installUpdate", "/v1/update/install", "").await;
    live.call("forgetHost", "/v1/hosts/node-a", "").await;
    let events = live.call("listEvents", "/v1/events?limit=1000", "").await;
    assert!(events.as_array().unwrap().len() > 15, "{events}");
    let all: BTreeSet<&str> = all().map(|route| route.name).collect();
    let left: Vec<&&str> = all.difference(&live.called).collect();
    // An install that broke off takes an agent, a question at the box a display, going back a start in between, a medium a profile that
    // knows an address, which `gotten` gives to the action alone; they answer what the others do.
    assert_eq!(left, [&"askAgain", &"confirmHost", &"getMedium", &"resumeHost", &"rollBack"]);
    println!("{} of {} calls compared with their description", live.called.len(), all.len());
}
