//! What firmware fetches, and what it never gets.

use crate::PATIENCE;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use system_tests::{
    PxeClient, Site,
    fake_host::Script,
    pxe::{
        tftp,
        web::{Connection, Reply},
    },
    site::{BOOT, BOX, ROOM, ROOM_LINK, cli_json},
};

#[test]
fn firmware_gets_files_by_head_range_and_etag_on_one_connection() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    std::fs::write(appliance.state_dir().join("files/own.txt"), "mine")?;
    let loader = std::fs::read(site.share().join("loaders/snponly-x64.efi"))?;
    site.room.enter(|| {
        // All of it on one connection: UEFI asks HEAD first and goes on where it is.
        let mut line = Connection::open_from(ROOM, BOOT, PATIENCE)?;
        let mut ask = |method: &str, path: &str, headers: &[(&str, &str)]| line.request(method, path, headers);
        let length = loader.len().to_string();
        let head = ask("HEAD", "/snponly-x64.efi", &[])?;
        ensure!(head.status == 200 && head.header("content-length") == Some(&length), "{head:?}");
        ensure!(head.header("content-type") == Some("application/efi"), "{head:?}");
        let whole = ask("GET", "/snponly-x64.efi", &[])?;
        ensure!(whole.status == 200 && whole.body == loader, "{:?}", whole.headers);
        let etag = whole.header("etag").context("no ETag")?.to_owned();
        ensure!(head.header("etag") == Some(&etag), "{head:?}");
        ensure!(ask("GET", "/snponly-x64.efi", &[("If-None-Match", &etag)])?.status == 304, "not modified");
        let part = |reply: &Reply, from: usize, to: usize| {
            reply.status == 206
                && Some(reply.body.as_slice()) == loader.get(from..to)
                && reply.header("content-range") == Some(&format!("bytes {from}-{}/{length}", to - 1))
        };
        for (range, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=1000-1999", 1000, 2000),
            ("bytes=-10", loader.len() - 10, loader.len()),
            ("bytes=2990-", 2990, loader.len()),
            ("bytes=2990-99999", 2990, loader.len()),
        ] {
            let reply = ask("GET", "/snponly-x64.efi", &[("Range", range)])?;
            ensure!(part(&reply, from, to), "{range}: {} {:?}", reply.status, reply.headers);
        }
        let behind = ask("GET", "/snponly-x64.efi", &[("Range", "bytes=99999-")])?;
        ensure!(behind.status == 416 && behind.header("content-range") == Some(&format!("bytes */{length}")));
        let same = ask("GET", "/snponly-x64.efi", &[("Range", "bytes=5-9"), ("If-Range", &etag)])?;
        ensure!(part(&same, 5, 10), "{same:?}");
        let changed = ask("GET", "/snponly-x64.efi", &[("Range", "bytes=5-9"), ("If-Range", "\"old\"")])?;
        ensure!(changed.status == 200 && changed.body == loader, "a range of another version is no range");
        for (path, size) in [("/ramos/x86_64/vmlinuz", 20_000), ("/ramos/aarch64/early.img", 10_000)] {
            ensure!(ask("GET", path, &[])?.body.len() == size, "{path}");
        }
        for path in ["/SNPONLY-X64.EFI", "/EFI/BOOT/snponly-x64.efi", "//snponly-x64.efi", "/%73nponly-x64.efi"] {
            ensure!(ask("GET", path, &[])?.body == loader, "{path}");
        }
        ensure!(ask("GET", "/own.txt", &[])?.text() == "mine", "a person's own file");
        let post = ask("DELETE", "/own.txt", &[])?;
        ensure!(post.status == 405 && post.header("allow") == Some("GET, HEAD"), "{post:?}");
        let script = ask("HEAD", "/boot.ipxe?mac=52-54-00-00-00-09", &[])?;
        ensure!(script.status == 200 && script.header("content-length").is_some(), "{script:?}");
        ensure!(ask("GET", "/autoexec.ipxe", &[])?.status == 200, "still the same connection");
        let hosts = cli_json(&appliance, &["host", "list"])?;
        ensure!(hosts == json!([]), "HEAD entered nobody: {hosts}");
        Ok(())
    })?;
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    let fetched = client.tftp(BOX, "undionly.kpxe", &tftp::Options { tsize: true, ..tftp::Options::default() })?;
    assert_eq!(fetched.size, Some(std::fs::metadata(site.share().join("loaders/undionly.kpxe"))?.len()));
    Ok(())
}

#[test]
fn names_that_climb_find_nothing() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let secret = "a secret that nobody may read";
    std::fs::write(appliance.state_dir().join("secret"), secret)?;
    std::fs::write(site.share().join("secret"), secret)?;
    std::fs::create_dir(appliance.state_dir().join("files-sibling"))?;
    std::fs::write(appliance.state_dir().join("files-sibling/secret"), secret)?;
    std::os::unix::fs::symlink("../secret", appliance.state_dir().join("files/link"))?;
    std::os::unix::fs::symlink("/etc", appliance.state_dir().join("files/etc"))?;
    let climbs = ["..", "%2e%2e", "%2E.", "..%5c..", "....", "%c0%ae%c0%ae", "..%00", "%252e%252e"];
    let roots = ["", "/files", "/ramos/x86_64", "/images", "/loaders", "/boot", "/agent/v1"];
    let targets = ["secret", "etc/passwd", "inventory.db", "rackberry.sock", "files-sibling/secret"];
    let mut names: Vec<String> = Vec::new();
    for root in roots {
        for climb in climbs {
            for target in targets {
                for depth in [1, 2, 6] {
                    let up = vec![climb; depth];
                    for slash in ["/", "%2f", "\\", "%5c", "//"] {
                        names.push(format!("{root}/{}{slash}{target}", up.join(slash)));
                    }
                }
            }
        }
    }
    names.extend(
        ["/link", "/etc/passwd", "/files/link", "/inventory.db", "/../inventory.db", "/%00", "/."].map(str::to_owned),
    );
    names.push(format!("/{}", "a/".repeat(20_000)));
    let counted = site.room.enter(|| {
        let (mut line, mut asked) = (Connection::open_from(ROOM, BOOT, PATIENCE)?, 0);
        for name in &names {
            let reply = match line.request("GET", name, &[]) {
                Ok(reply) => reply,
                // A name that is no request at all ends the connection.
                Err(_) => {
                    line = Connection::open_from(ROOM, BOOT, PATIENCE)?;
                    continue;
                }
            };
            asked += 1;
            // Below /boot/ nothing is a file: whoever cannot be told apart is asked for its address.
            let asked_again = name.starts_with("/boot/") && Script::read(&reply.text()) == Script::AskAgain;
            ensure!(asked_again || (400..500).contains(&reply.status), "{name}: {} {}", reply.status, reply.text());
            ensure!(!reply.text().contains(secret) && !reply.text().contains("root:"), "{name}: {}", reply.text());
        }
        Ok(asked)
    })?;
    println!("HTTP: {counted} of {} climbing names answered, 0 with a file", names.len());
    assert!(counted > 1000);
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    for name in
        ["../secret", "..\\secret", "files/../../secret", "/etc/passwd", "link", "etc/hostname", "loaders/../secret"]
    {
        let refused = client.tftp(BOX, name, &tftp::Options::default()).map(|file| file.data.len());
        assert!(refused.is_err(), "{name}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_person_who_types_the_address_is_sent_to_the_page_and_firmware_never() -> Result<()> {
    let site = Site::new()?;
    let _appliance = site.serve("[page]\nlisten = \"0.0.0.0:8000\"\n")?;
    site.room.enter(|| {
        let mut line = Connection::open_from(ROOM, BOOT, PATIENCE)?;
        let person = line.request("GET", "/", &[("Accept", "text/html,application/xhtml+xml")])?;
        ensure!(person.status == 303, "{person:?}");
        ensure!(person.header("location") == Some("http://10.77.0.1:8000/"), "{person:?}");
        for (method, path, accept) in
            [("GET", "/", "*/*"), ("GET", "/index.html", "text/html"), ("GET", "/api/v1/hosts", "text/html")]
        {
            let firmware = line.request(method, path, &[("Accept", accept)])?;
            ensure!(firmware.status == 404, "{method} {path}: {firmware:?}");
        }
        Ok(())
    })
}
