//! Tokens of programs.

use super::*;

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
