//! The page over a real listener and a real inventory.

mod entry;
mod fetch;
mod hosts;
mod import;
mod install;
mod live;
mod log;
mod stream;
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
