//! GET and HEAD as firmware needs them (EDK2 HttpBoot, shim, iPXE): lengths, types, ranges, conditions, one connection.

use super::{ask, host, meet, open, own_file};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use system_tests::{
    FakeHost, Site,
    pxe::web::Reply,
    side_by_side,
    site::{BOOT, ROOM},
};

fn plain(reply: &Reply) -> Result<()> {
    for (name, value) in &reply.headers {
        ensure!(!value.is_empty(), "the header {name} is empty (edk2 issue 7443): {:?}", reply.headers);
        let name = name.to_ascii_lowercase();
        ensure!(!matches!(name.as_str(), "transfer-encoding" | "location"), "{:?}", reply.headers);
    }
    Ok(())
}

#[test]
fn head_and_get_tell_one_exact_length_on_one_connection() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let image = site.import_image(&appliance)?;
    let digest = image.get("digest").and_then(Value::as_str).context("no digest")?;
    own_file(&appliance, "a/b.txt", "own")?;
    own_file(&appliance, "empty", "")?;
    let known = host(&site, 1)?;
    meet(&site, &known)?;
    let paths = [
        "/snponly-x64.efi".to_owned(),
        "/EFI/BOOT/snponly-x64.efi".to_owned(),
        "/ramos/x86_64/vmlinuz".to_owned(),
        format!("/images/{digest}"),
        "/a/b.txt".to_owned(),
        "/empty".to_owned(),
        "/autoexec.ipxe".to_owned(),
        known.ask(),
        format!("/pxelinux.cfg/01-{}", known.mac.hyphens()),
        "/no/such/file".to_owned(),
    ];
    site.room.enter(|| {
        // One connection for all of it: EDK2 closes nothing after HEAD (edk2 issue 9920), and neither may we.
        let mut line = open(known.address)?;
        for path in &paths {
            let head = line.request("HEAD", path, &[])?;
            let get = line.request("GET", path, &[])?;
            ensure!(head.status == get.status, "{path}: {} and {}", head.status, get.status);
            ensure!(head.header("content-length") == get.header("content-length"), "{path}: {head:?} {get:?}");
            ensure!(head.header("content-type") == get.header("content-type"), "{path}");
            plain(&head)?;
            plain(&get)?;
        }
        Ok(())
    })
}

#[test]
fn a_head_request_changes_nothing() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let unknown = host(&site, 1)?;
    let api = system_tests::site::api(&appliance);
    let of_hosts = || -> Result<usize> {
        let kind = |event: &Value| event.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let events = api.events("")?;
        Ok(events.iter().filter(|event| kind(event).starts_with("host_") || kind(event) == "boot_reached").count())
    };
    for path in [unknown.ask(), format!("/pxelinux.cfg/01-{}", unknown.mac.hyphens())] {
        let head = ask(&site, unknown.address, "HEAD", &path)?;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    assert_eq!(of_hosts()?, 0);
    assert_eq!(api.get("/hosts")?.as_array().map(Vec::len), Some(0));
    // The same by GET is a boot.
    assert_eq!(ask(&site, unknown.address, "GET", &unknown.ask())?.status, 200);
    assert!(of_hosts()? >= 2);
    Ok(())
}

#[test]
fn single_ranges_are_served_and_impossible_ones_refused() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let content: Vec<u8> = (0..2_000_000u32).map(|at| u8::try_from(at % 253).unwrap_or_default()).collect();
    own_file(&appliance, "big.bin", &content)?;
    site.room.enter(|| {
        let mut line = open(ROOM)?;
        let mut get = |range: &str| line.request("GET", "/big.bin", &[("Range", range)]);
        for (range, from, until) in [
            ("bytes=0-0", 0, 1),
            ("bytes=1048570-1048589", 1_048_570, 1_048_590),
            ("bytes=1999990-", 1_999_990, 2_000_000),
            ("bytes=-7", 1_999_993, 2_000_000),
            ("bytes=5-99999999999999999999999", 5, 2_000_000),
        ] {
            let part = get(range)?;
            ensure!(part.status == 206 && Some(part.body.as_slice()) == content.get(from..until), "{range}");
            let said = format!("bytes {from}-{}/2000000", until - 1);
            ensure!(part.header("content-range") == Some(said.as_str()), "{range}: {:?}", part.headers);
        }
        let past = get("bytes=2000000-")?;
        ensure!(past.status == 416 && past.header("content-range") == Some("bytes */2000000"), "{past:?}");
        for whole in ["bytes=0-1,5-6", "bytes=9-2", "lines=1-2"] {
            ensure!(get(whole)?.status == 200, "{whole}");
        }
        // Only GET has ranges (RFC 9110 14.2), and firmware believes the length that HEAD says.
        let head = line.request("HEAD", "/big.bin", &[("Range", "bytes=0-9")])?;
        ensure!(head.status == 200 && head.header("content-length") == Some("2000000"), "{head:?}");
        Ok(())
    })
}

#[test]
fn etags_are_digests_where_known_and_conditions_hold() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let image = site.import_image(&appliance)?;
    let digest = image.get("digest").and_then(Value::as_str).context("no digest")?.to_owned();
    own_file(&appliance, "note.txt", "first")?;
    site.room.enter(|| {
        let mut line = open(ROOM)?;
        let path = format!("/images/{digest}");
        let tag = format!("\"{digest}\"");
        let whole = line.request("HEAD", &path, &[])?;
        ensure!(whole.header("etag") == Some(tag.as_str()), "{whole:?}");
        let list = format!("\"other\", {tag}");
        for known in [tag.as_str(), list.as_str(), "*"] {
            let same = line.request("GET", &path, &[("If-None-Match", known)])?;
            ensure!(same.status == 304 && same.body.is_empty(), "{known}: {}", same.status);
        }
        let part = line.request("GET", &path, &[("Range", "bytes=0-9"), ("If-Range", &tag)])?;
        ensure!(part.status == 206 && part.body.len() == 10, "{}", part.status);
        let other = line.request("GET", &path, &[("Range", "bytes=0-9"), ("If-Range", "\"other\"")])?;
        ensure!(other.status == 200 && other.body.len() == 1 << 20, "{}", other.status);
        // A file that was changed has another tag.
        let first = line.request("GET", "/note.txt", &[])?;
        let tag = first.header("etag").context("no tag")?.to_owned();
        own_file(&appliance, "note.txt", "second, and longer")?;
        let second = line.request("GET", "/note.txt", &[("If-None-Match", &tag)])?;
        ensure!(second.status == 200 && second.text() == "second, and longer", "{second:?}");
        Ok(())
    })
}

#[test]
fn types_are_those_that_uefi_decides_by() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let wanted = [
        ("x.efi", "application/efi"),
        ("BOOTX64.EFI", "application/efi"),
        ("x.iso", "application/vnd.efi-iso"),
        ("x.img", "application/vnd.efi-img"),
        ("vmlinuz", "application/octet-stream"),
        ("rootfs.squashfs", "application/octet-stream"),
    ];
    for (name, kind) in wanted {
        own_file(&appliance, name, "x")?;
        let reply = ask(&site, ROOM, "HEAD", &format!("/{name}"))?;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)), "{name}");
    }
    Ok(())
}

#[test]
fn only_a_browser_is_sent_to_the_page() -> Result<()> {
    let site = Site::new()?;
    let _appliance = site.serve("")?;
    site.room.enter(|| {
        let mut line = open(ROOM)?;
        let person = line.request("GET", "/", &[("Accept", "text/html,application/xhtml+xml")])?;
        ensure!(person.status == 303, "{}", person.status);
        ensure!(person.header("location") == Some("http://10.77.0.1:8000/"), "{:?}", person.headers);
        let firmware = line.request("GET", "/", &[])?;
        ensure!(firmware.status == 404 && firmware.header("location").is_none(), "{firmware:?}");
        let post = line.send("POST", "/snponly-x64.efi", &[], b"x")?;
        ensure!(post.status == 405, "{post:?}");
        Ok(())
    })
}

#[test]
fn deep_json_and_large_bodies_are_refused() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let deep = "[".repeat(100_000);
    let calls = ["/agent/v1/hello", "/agent/v1/next", "/agent/v1/report"];
    site.room.enter(|| {
        for path in calls {
            let refused = open(ROOM)?.send("POST", path, &[], deep.as_bytes())?;
            ensure!(refused.status == 400, "{path}: {}", refused.status);
            let large = open(ROOM)?.send("POST", path, &[], &vec![b' '; 600 << 10]);
            // Refused before it was read, so the connection may end under it.
            ensure!(large.as_ref().map_or(true, |large| large.status == 413), "{path}: {large:?}");
        }
        Ok(())
    })?;
    // Over its own socket, where it is let in: the reader's depth is bounded there as well.
    let (status, _) = deep_on_the_local_socket(&appliance, &deep)?;
    assert!((400..500).contains(&status), "{status}");
    assert_eq!(appliance.log().count("panicked"), 0);
    Ok(())
}

fn deep_on_the_local_socket(appliance: &system_tests::Appliance, deep: &str) -> Result<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(appliance.state_dir().join("rackberry.sock"))?;
    let head = "POST /api/v1/hosts HTTP/1.1\r\nhost: box\r\nconnection: close\r\ncontent-type: application/json\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{deep}", deep.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    Ok((status, answer))
}

#[test]
fn many_hosts_read_one_file_at_once() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let content: Vec<u8> = (0..8_000_000u32).map(|at| u8::try_from(at / 7 % 255).unwrap_or_default()).collect();
    own_file(&appliance, "rootfs.squashfs", &content)?;
    let hosts: Vec<FakeHost> = (1..=24).map(|number| host(&site, number)).collect::<Result<_>>()?;
    side_by_side(&site.room, 24, &hosts, |_, host| {
        let reply = host.request(BOOT, "GET", "/rootfs.squashfs")?;
        ensure!(reply.body == content, "{}: {} bytes", host.mac, reply.body.len());
        Ok(())
    })?;
    Ok(())
}
