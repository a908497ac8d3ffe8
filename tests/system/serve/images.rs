//! Images taken in, served and removed.

use crate::{PATIENCE, list, refusal, said, text};
use anyhow::{Context, Result};
use serde_json::json;
use std::{path::Path, process::Command};
use system_tests::{
    Site,
    netns::output,
    pxe::web::Connection,
    site::{self, BOOT, ROOM, cli, cli_json},
};

#[test]
fn images_come_in_raw_and_packed_and_go_again() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let raw = site::disk_image(3 << 20);
    let put = |name: &str, bytes: &[u8]| -> Result<String> {
        let path = site.scratch().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path.to_str().context("no UTF-8")?.to_owned())
    };
    let packed = zstd_of_raw_blocks(&raw);
    let first = cli_json(&appliance, &["image", "import", &put("one.raw", &raw)?, "--name", "one"])?;
    assert_eq!((text(&first, "name"), text(&first, "kind"), text(&first, "compression")), ("one", "disk", "none"));
    assert_eq!(first.get("raw_bytes"), Some(&json!(raw.len())));
    let second = cli_json(&appliance, &["image", "import", &put("two.img.zst", &packed)?])?;
    assert_eq!((text(&second, "name"), text(&second, "kind"), text(&second, "compression")), ("two", "disk", "zstd"));
    assert_eq!(second.get("size_bytes"), Some(&json!(packed.len())));
    let junk = cli_json(&appliance, &["image", "import", &put("junk.bin", &[9; 4096])?, "--name", "junk"])?;
    assert_eq!(text(&junk, "kind"), "unknown");

    // Served as it came in, under its digest.
    let path = format!("/images/{}", text(&second, "digest"));
    let served = site.room.enter(|| Connection::open_from(ROOM, BOOT, PATIENCE)?.request("GET", &path, &[]))?;
    assert!(served.status == 200 && served.body == packed, "{} {:?}", served.status, served.headers);

    let other = put("other.raw", &site::disk_image(1 << 20))?;
    let words = refusal(&cli(&appliance, &["image", "import", &other, "--name", "one"])?)?;
    assert!(words.contains("named one already"), "{words}");
    let digest = "00".repeat(32);
    let wrong = ["image", "import", &other, "--name", "three", "--sha256", &digest];
    let words = refusal(&cli(&appliance, &wrong)?)?;
    assert!(words.contains(&digest), "{words}");
    let of_url = cli(&appliance, &["image", "import", &other, "--name", "four", "--mirror", "http://192.0.2.1/x"])?;
    assert_eq!(of_url.status.code(), Some(2), "{of_url:?}");
    let (signature, key) = signed(site.scratch(), &other)?;
    let words = refusal(&cli(&appliance, &["image", "import", &other, "--name", "four", "--signature", &signature])?)?;
    assert!(words.contains("says nothing without the key"), "{words}");
    let vouched = |file: &str| {
        cli(&appliance, &["image", "import", file, "--name", "four", "--signature", &signature, "--key", &key])
    };
    let words = refusal(&vouched(&put("changed.raw", &site::disk_image(2 << 20))?)?)?;
    assert!(words.contains("does not fit"), "{words}");
    let taken = vouched(&other)?;
    assert!(taken.status.success(), "{taken:?}");
    let fourth = cli_json(&appliance, &["image", "list"])?.to_string();
    assert!(fourth.contains("maker@example.org"), "{fourth}");
    cli_json(&appliance, &["image", "rm", "four"])?;
    assert!(!refusal(&cli(&appliance, &["image", "import", &put("empty", &[])?])?)?.is_empty());
    assert_eq!(list(&cli_json(&appliance, &["image", "list"])?, "name").len(), 3);
    assert!(said(&cli(&appliance, &["image", "list"])?).contains("NAME"), "a table for people");

    cli_json(&appliance, &["image", "rm", "two"])?;
    refusal(&cli(&appliance, &["image", "rm", "two"])?)?;
    let gone = site.room.enter(|| Connection::open_from(ROOM, BOOT, PATIENCE)?.request("GET", &path, &[]))?;
    assert_eq!(gone.status, 404);
    let files = std::fs::read_dir(appliance.state_dir().join("images"))?.count();
    assert_eq!(files, 6, "two images with their sums, and the folders of those that come in");
    Ok(())
}

/// gpg's signature of a file and the key that made it, in files.
fn signed(folder: &Path, file: &str) -> Result<(String, String)> {
    let home = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp")?;
    let gpg = |arguments: &[&str]| {
        let quiet = ["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""];
        output(Command::new("gpg").args(quiet).arg("--homedir").arg(home.path()).args(arguments))
    };
    let place = |name: &str| folder.join(name).display().to_string();
    let (signature, key) = (place("maker.sig"), place("maker.gpg"));
    gpg(&["--quick-gen-key", "Maker <maker@example.org>", "ed25519", "sign", "never"])?;
    gpg(&["--output", &signature, "--detach-sign", file])?;
    gpg(&["--output", &key, "--export"])?;
    output(Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]))?;
    Ok((signature, key))
}

/// A Zstandard frame whose blocks are stored as they are (RFC 8878 section 3.1.1).
fn zstd_of_raw_blocks(content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    let last = content.len().div_ceil(100_000);
    for (number, block) in (1..).zip(content.chunks(100_000)) {
        let header = u32::try_from(block.len()).unwrap_or(0) << 3 | u32::from(number == last);
        frame.extend(header.to_le_bytes().get(..3).unwrap_or_default());
        frame.extend(block);
    }
    frame
}
