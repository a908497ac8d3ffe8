//! The page over a real listener and a real inventory.

mod fetch;
mod import;
mod live;
mod log;
mod updates;

use crate::{
    auth::Role,
    http::testing::{CSRF, Site},
    inventory::{Inventory, OpenOptions},
};
use rackberry_core::{
    agent::Progress,
    event::{Actor, BootKey, EventKind},
    hardware::{Disk, DiskContent, Facts, Smbios, Transport},
    host::{Arch, Host},
    id::HostId,
    image::Digest,
    install::Phase,
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

impl Site {
    async fn stream(&self, query: &str, header: Option<&str>) -> Events {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let last = header.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let text = format!(
            "GET /events/stream?{query} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n{last}\r\n",
            self.address, self.cookie
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut events = Events { stream, text: String::new() };
        events.until("retry: 2000\n\n").await;
        events
    }
}

/// An open event stream.
struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    /// Reads on until `wanted` came, and returns everything up to its end.
    async fn until(&mut self, wanted: &str) -> String {
        let read = async {
            let mut piece = [0; 4096];
            while !self.text.contains(wanted) {
                let count = self.stream.read(&mut piece).await.unwrap();
                assert_ne!(count, 0, "the stream ended before {wanted:?}: {}", self.text);
                self.text.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect(wanted);
        let end = self.text.find(wanted).unwrap() + wanted.len();
        let rest = self.text.split_off(end);
        std::mem::replace(&mut self.text, rest)
    }
}

fn disk(name: &str, blank: bool) -> Disk {
    Disk {
        name: name.into(),
        model: "Disk".into(),
        serial: name.to_uppercase().as_str().into(),
        wwn: "".into(),
        size_bytes: 64_000_000_000,
        transport: Transport::Sata,
        rotational: false,
        removable: false,
        read_only: false,
        content: DiskContent { blank, ..DiskContent::default() },
    }
}

fn facts(disks: Vec<Disk>) -> Option<Facts> {
    Some(Facts { memory_bytes: 4 << 30, disks, arch: Some(Arch::X86_64), ..Facts::default() })
}

/// Every route that changes something, for this host.
fn changing(host: HostId) -> Vec<String> {
    let host = format!("/hosts/{host}");
    let mut paths: Vec<String> =
        ["install", "live", "live/off", "confirm", "ask", "disarm", "cancel", "resume", "forget"]
            .iter()
            .map(|verb| format!("{host}/{verb}"))
            .collect();
    paths.extend(
        ["/alarms/hot/settle", "/hosts/enrol", "/images/debian-13/remove", "/logout", "/theme"].map(str::to_owned),
    );
    paths.extend(["/images/fetch", "/fetches/1/cancel", "/profiles/rescue/media/debian-13"].map(str::to_owned));
    paths.extend(["/updates/install", "/updates/drop", "/updates/rollback"].map(str::to_owned));
    paths
}

/// What is forged, the headers, the form, and the status it gets.
type Forged<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str, u16);

#[tokio::test]
async fn a_forged_form_changes_nothing() {
    let site = Site::new().await;
    let host = site.host("node-a", 1, facts(vec![disk("sda", true)])).await;
    let own = site.address.to_string();
    let origin = format!("http://{own}");
    let body = "profile=debian&disk=serial:SDA&p.user=admin&list=52:54:00:77:00:09&theme=dark";
    let good = format!("csrf={CSRF}&{body}");
    let wrong = format!("csrf=f{}&{body}", &CSRF[1..]);
    let cookie = ("cookie", site.cookie.as_str());
    let unknown = format!("rackberry={CSRF}");
    for path in changing(host.id) {
        let forged: [Forged<'_>; 8] = [
            ("no token", vec![("host", &own), cookie, ("origin", &origin)], body, 403),
            ("a wrong token", vec![("host", &own), cookie, ("origin", &origin)], &wrong, 403),
            ("another site", vec![("host", &own), cookie, ("origin", "http://evil.example")], &good, 403),
            ("no site", vec![("host", &own), cookie, ("origin", "null")], &good, 403),
            ("another site, by Fetch", vec![("host", &own), cookie, ("sec-fetch-site", "cross-site")], &good, 403),
            ("a foreign name", vec![("host", "evil.example"), cookie, ("origin", "http://evil.example")], &good, 403),
            ("nobody", vec![("host", &own), ("origin", &origin)], &good, 303),
            ("an unknown session", vec![("host", &own), ("cookie", &unknown)], &good, 303),
        ];
        for (what, headers, body, status) in forged {
            let reply = site.send("POST", &path, &headers, body).await;
            assert_eq!(reply.status, status, "{path} with {what}");
            assert!(status != 303 || reply.header("location") == Some("/login"), "{path} with {what}");
            assert!(!reply.head.contains("set-cookie"), "{path} with {what}");
        }
    }
    let snapshot = site.state.inventory.snapshot();
    assert_eq!((snapshot.hosts.len(), snapshot.images.len()), (1, 1));
    assert!(site.install_of(host.id).is_none());
    assert_eq!(site.get("/").await.status, 200, "and the session still stands");
    // The same request by the page itself works, so it was the forgery that was refused.
    assert_eq!(site.post(&format!("/hosts/{}/install", host.id), body).await.status, 303);
    assert!(site.install_of(host.id).is_some());
}

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
async fn every_answer_carries_the_headers_that_bind_a_browser() {
    let site = Site::new().await;
    let own = site.address.to_string();
    let foreign = site.send("GET", "/", &[("host", "evil.example"), ("cookie", &site.cookie)], "").await;
    assert_eq!(foreign.status, 403);
    for (what, reply) in [
        ("a page", site.get("/").await),
        ("a page that is not there", site.get("/none").await),
        ("a redirect", site.send("GET", "/", &[("host", &own)], "").await),
        ("a file", site.get("/assets/style.css?v=1").await),
        ("a refusal", foreign),
        ("a method", site.send("PUT", "/", &[("host", &own)], "").await),
    ] {
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{what}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{what}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{what}");
        let kept = if what == "a file" { "public, max-age=31536000, immutable" } else { "no-store" };
        assert_eq!(reply.header("cache-control"), Some(kept), "{what}");
    }
    for name in ["localhost", "rackberry.local:8000", "[::1]:8000", "10.0.0.1"] {
        assert_eq!(site.send("GET", "/", &[("host", name), ("cookie", &site.cookie)], "").await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn pages_and_files_are_packed_for_those_who_take_it() {
    let site = Site::new().await;
    let own = site.address.to_string();
    for path in ["/", "/assets/script.js", "/assets/style.css"] {
        let plain = site.get(path).await;
        let headers = [("host", own.as_str()), ("cookie", &site.cookie), ("accept-encoding", "gzip, br")];
        let packed = site.send("GET", path, &headers, "").await;
        assert_eq!((plain.header("content-encoding"), packed.header("content-encoding")), (None, Some("gzip")));
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed.body.as_slice()), &mut unpacked).unwrap();
        assert_eq!(unpacked.len(), plain.body.len(), "{path}");
    }
    let tag = site.get("/assets/logo.svg").await.header("etag").unwrap().to_owned();
    let again = site.send("GET", "/assets/logo.svg", &[("host", &own), ("if-none-match", &tag)], "").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(site.get("/assets/../Cargo.toml").await.status, 404);
}

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

#[tokio::test]
async fn an_open_list_hears_of_the_host_that_changed_and_of_no_other() {
    let site = Site::new().await;
    let a = site.host("a", 1, facts(vec![disk("sda", true)])).await;
    let b = site.host("b", 2, facts(vec![disk("sda", true)])).await;
    for host in [&a, &b] {
        let path = format!("/hosts/{}/install", host.id);
        assert_eq!(site.post(&path, "profile=debian&disk=serial:SDA&p.user=admin").await.status, 303);
    }
    let boot = BootKey(Digest([1; 32]));
    let install = site.install_of(a.id).unwrap();
    let mut kinds = vec![EventKind::AgentHello { boot: boot.clone(), address: "192.0.2.7".into() }];
    kinds.push(EventKind::TaskClaimed { task: "write-image".into(), attempt: 1, boot });
    kinds.push(EventKind::TaskStarted { task: "write-image".into(), attempt: 1 });
    site.apply(&install, kinds).await;

    let mut list = site.stream("show=hosts", None).await;
    let whole = list.until("\nid: ").await;
    assert!(whole.contains("event: hosts\n") && whole.contains(">a</a>") && whole.contains(">b</a>"), "{whole}");
    list.until("\n\n").await;
    let mut page = site.stream(&format!("show=host&host={}", a.id), None).await;
    page.until(&format!("event: host-{}-live\n", a.id)).await;

    let progress = Progress { done_bytes: 430, total_bytes: 1000, bytes_per_s: 10, written_bytes: 430 };
    site.state.inventory.progress(install.id, "write-image".into(), progress);
    let heard = list.until("43 %</progress>").await;
    assert!(heard.contains(&format!("event: host-{}\n", a.id)), "{heard}");
    assert!(!heard.contains("event: hosts\n"), "one row is enough: {heard}");
    let live = page.until("43 %</progress>").await;
    assert!(live.contains("big-pct") && !live.contains("csrf"), "{live}");

    // A host that comes changes the list itself.
    site.host("c", 3, None).await;
    let heard = list.until(">c</a>").await;
    assert!(heard.contains("event: hosts\n"), "{heard}");
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_and_repeats_all_when_it_cannot_know() {
    let site = Site::new().await;
    site.host("a", 1, None).await;
    let page = site.get("/").await.text();
    let (_, address) = page.split_once("sse-connect=\"").unwrap();
    let query =
        address.split('"').next().unwrap().split_once('?').unwrap().1.replace("&#38;", "&").replace("&amp;", "&");
    assert!(query.starts_with("show=hosts&last="), "{query}");

    // The page is up to date: nothing comes but the tick.
    let mut fresh = site.stream(&query, None).await;
    let heard = fresh.until("\nid: ").await;
    assert!(heard.contains("event: tick\ndata: .") && !heard.contains("event: hosts"), "{heard}");
    drop(fresh);

    site.host("b", 2, None).await;
    let mut behind = site.stream(&query, None).await;
    assert!(behind.until(">b</a>").await.contains("event: hosts\n"));
    behind.until("\nid: ").await;
    let id = behind.until("\n").await.trim().to_owned();
    // The header counts more than the address it was opened with.
    let mut resumed = site.stream(&query, Some(&id)).await;
    let heard = resumed.until("\nid: ").await;
    assert!(heard.contains("event: tick") && !heard.contains("event: hosts"), "{heard}");
    // Numbers of another run of the box mean nothing.
    let number = id.split_once('-').unwrap().1;
    let mut other = site.stream(&format!("show=hosts&last=00000000-{number}"), None).await;
    assert!(other.until(">b</a>").await.contains("event: hosts\n"));
}

#[tokio::test]
async fn an_alarm_reaches_every_open_page() {
    let site = Site::new().await;
    let mut stream = site.stream("show=alarms", None).await;
    stream.until("event: alarm\ndata: <!-- no alarm -->").await;
    site.state.inventory.transact(|tx| tx.raise_alarm("x", None, "Another DHCP server is here.".into())).await.unwrap();
    stream.until("Another DHCP server is here.").await;
    assert!(site.get("/profiles").await.text().contains("Another DHCP server is here."));
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

#[tokio::test]
async fn a_machine_that_is_off_can_be_armed_and_the_page_says_to_switch_it_on() {
    let site = Site::new().await;
    let host = site.host("node-a", 1, facts(vec![disk("sda", true)])).await;
    let list = site.get("/").await.text();
    assert!(list.contains(&format!("href=\"/hosts/{}/install\"", host.id)), "{list}");
    let dialog = site.get(&format!("/hosts/{}/install?profile=debian", host.id)).await.text();
    assert!(dialog.contains("it is off: switch it on, and it begins"), "{dialog}");
}

#[test]
fn every_action_of_the_page_is_a_call_of_the_api() {
    let id = HostId(uuid::Uuid::nil());
    // The one form whose body is no list of fields.
    let load = "/updates/load".to_owned();
    for path in changing(id).into_iter().chain([load]) {
        let call = match path.rsplit('/').next().unwrap() {
            _ if path == "/updates/install" => "installUpdate",
            _ if path.starts_with("/fetches/") => "cancelFetch",
            _ if path.starts_with("/profiles/") => "getMedium",
            "fetch" => "beginFetch",
            "live" => "setLive",
            "off" => "unsetLive",
            "load" => "loadUpdate",
            "drop" => "dropUpdate",
            "rollback" => "rollBack",
            // Of the browser, not of the box.
            "logout" | "theme" => continue,
            "install" => "installHost",
            "confirm" => "confirmHost",
            "ask" => "askAgain",
            "disarm" => "disarmHost",
            "cancel" => "cancelHost",
            "resume" => "resumeHost",
            "forget" => "forgetHost",
            "enrol" => "enrolHosts",
            "remove" => "removeImage",
            "settle" => "settleAlarm",
            other => panic!("{other} has no call"),
        };
        assert!(crate::http::api::table::all().any(|route| route.name == call), "{call}");
    }
}
