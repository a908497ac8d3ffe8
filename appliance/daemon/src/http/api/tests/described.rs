//! Requests and answers against their description.

use super::*;

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
