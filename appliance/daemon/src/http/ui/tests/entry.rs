//! Who comes in, and how the page looks to them.

use super::*;

#[tokio::test]
async fn nobody_sees_anything_before_they_are_logged_in() {
    let site = Site::new().await;
    let host = site.host("node-a", 1, None).await;
    let own = site.address.to_string();
    let shown = [
        "/".to_owned(),
        "/?q=a&state=off".to_owned(),
        format!("/hosts/{}", host.id),
        format!("/hosts/{}/install", host.id),
        format!("/hosts/{}/live", host.id),
        "/hosts/enrol".to_owned(),
        "/images".to_owned(),
        "/profiles".to_owned(),
        "/activity".to_owned(),
        "/updates".to_owned(),
        "/no-such-page".to_owned(),
    ];
    for path in &shown {
        let reply = site.send("GET", path, &[("host", &own)], "").await;
        assert_eq!((reply.status, reply.header("location")), (303, Some("/login")), "{path}");
        assert!(reply.body.is_empty(), "{path}");
        let known = site.get(path).await.status;
        assert_eq!(known, if path.starts_with("/no") { 404 } else { 200 }, "{path}");
    }
    assert_eq!(site.send("GET", "/events/stream?show=hosts", &[("host", &own)], "").await.status, 401);
    let login = site.send("GET", "/login", &[("host", &own)], "").await;
    assert_eq!(login.status, 200);
    assert!(!login.text().contains("node-a"));
}

#[tokio::test]
async fn the_first_person_comes_in_by_the_code_and_then_by_password() {
    let folder = tempfile::tempdir().unwrap();
    let inventory = Inventory::open(OpenOptions::new(folder.path().join("state"))).unwrap();
    let mut site = Site::serve(folder, inventory, String::new()).await;
    let code = site.state.auth.code().unwrap();
    let own = site.address.to_string();
    assert_eq!(site.get("/").await.header("location"), Some("/first-run"));
    let page = site.send("GET", "/first-run", &[("host", &own)], "").await;
    let form = page.header("set-cookie").unwrap().to_owned();
    assert!(form.contains("HttpOnly; SameSite=Strict"), "{form}");
    let form = form.split(';').next().unwrap().to_owned();
    let csrf = form.split('=').nth(1).unwrap().to_owned();
    assert!(page.text().contains(&csrf));
    let cookie = [("host", own.as_str()), ("cookie", form.as_str())];
    let fields = |csrf: &str, code: &str, again: &str| {
        format!("csrf={csrf}&code={code}&user=ada&password=correct+horse&password2={again}")
    };

    for (what, body) in [
        ("another token", fields(CSRF, &code, "correct+horse")),
        ("a wrong code", fields(&csrf, "AAAA-AAAA", "correct+horse")),
        ("two passwords", fields(&csrf, &code, "correct+hors")),
        ("a short password", format!("csrf={csrf}&code={code}&user=ada&password=x&password2=x")),
    ] {
        let reply = site.send("POST", "/first-run", &cookie, &body).await;
        assert_eq!(reply.status, 422, "{what}");
        assert!(reply.text().contains("class=\"err\"") && !reply.text().contains("correct horse"), "{what}");
    }
    let reply = site.send("POST", "/first-run", &cookie, &fields(&csrf, &code, "correct+horse")).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/")));
    let session = reply.header("set-cookie").unwrap().to_owned();
    assert!(session.contains("Path=/; HttpOnly; SameSite=Strict"), "{session}");
    site.cookie = session.split(';').next().unwrap().to_owned();
    let page = site.get("/").await.text();
    assert!(page.contains("No machines yet"));
    assert_eq!(site.get("/first-run").await.header("location"), Some("/login"), "the code is used up");

    let token = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let headers = [("host", own.as_str()), ("cookie", site.cookie.as_str())];
    let reply = site.send("POST", "/logout", &headers, &format!("csrf={token}")).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/login")));
    assert_eq!(site.get("/").await.status, 303, "the session is over");
    let login = |password: &str| format!("csrf={csrf}&user=ada&password={password}");
    let refused = site.send("POST", "/login", &cookie, &login("wrong")).await;
    assert!(refused.status == 422 && refused.text().contains("That is not the password for ada."));
    assert_eq!(site.send("POST", "/login", &cookie, &login("correct+horse")).await.status, 303);
}

#[tokio::test]
async fn a_person_added_by_command_line_ends_the_first_run() {
    let folder = tempfile::tempdir().unwrap();
    let inventory = Inventory::open(OpenOptions::new(folder.path().join("state"))).unwrap();
    let site = Site::serve(folder, inventory, String::new()).await;
    site.state.auth.add_person("ada", "correct horse", Role::Admin, Actor::Box).await.unwrap();
    assert_eq!(site.get("/").await.header("location"), Some("/login"));
    assert_eq!(site.get("/first-run").await.header("location"), Some("/login"));
    assert_eq!(site.get("/login").await.status, 200);
}

#[tokio::test]
async fn the_theme_is_kept_and_leads_back_to_this_box_only() {
    let site = Site::new().await;
    let reply = site.post("/theme", "theme=dark&contrast=more&back=/images").await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/images")));
    let kept = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let own = site.address.to_string();
    let cookies = format!("{}; {kept}", site.cookie);
    let page = site.send("GET", "/", &[("host", &own), ("cookie", &cookies)], "").await.text();
    assert!(page.contains("data-theme=\"dark\" data-contrast=\"more\""));
    let away = site.post("/theme", "theme=dark&contrast=more&back=//evil.example").await;
    assert_eq!(away.header("location"), Some("/"));
}
