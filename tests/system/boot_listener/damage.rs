//! Imported media over real sockets: bits that turned, and names that mean to lead out of an image.

use super::{open, until};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::File,
    net::{SocketAddrV4, UdpSocket},
    os::unix::fs::{FileExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Dice, Site,
    fake_installer::{import, import_bytes},
    pxe::web,
    site::{BOX, ROOM},
};

const TFTP: SocketAddrV4 = SocketAddrV4::new(BOX, 69);
/// For one datagram on a busy machine; asked again that often.
const MOMENT: Duration = Duration::from_secs(1);
const TRIES: u32 = 60;

/// An image on the box, and a file in it.
struct Held {
    stored: PathBuf,
    /// Below the box's address.
    path: String,
    content: Vec<u8>,
}

/// Bytes that stand nowhere else.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..length).map(|_| u8::try_from(dice.below(256)).unwrap_or_default()).collect()
}

/// A small tree, as a disc and as an archive.
fn tree(site: &Site) -> Result<PathBuf> {
    let tree = site.scratch().join("tree");
    std::fs::create_dir_all(tree.join("boot/grub"))?;
    std::fs::create_dir_all(tree.join("dists"))?;
    std::fs::write(tree.join("boot/vmlinuz"), bytes(1, 20_000))?;
    std::fs::write(tree.join("boot/grub/grub.cfg"), "menu\n")?;
    std::fs::write(tree.join("dists/Release"), "1\n")?;
    std::fs::write(tree.join("empty"), "")?;
    symlink("boot/vmlinuz", tree.join("linux"))?;
    Ok(tree)
}

fn pack(site: &Site, tree: &Path) -> Result<[(&'static str, PathBuf); 2]> {
    let (disc, archive) = (site.scratch().join("disc.iso"), site.scratch().join("archive.tar"));
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-no-pad", "-R", "-J", "-o"]).arg(&disc).arg(tree);
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&archive).arg("-C").arg(tree).arg(".");
    for command in [&mut xorriso, &mut tar] {
        let ran = command.output().with_context(|| format!("run {command:?}"))?;
        ensure!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    Ok([("disc", disc), ("archive", archive)])
}

fn held(appliance: &Appliance, digest: String, inside: &str, content: Vec<u8>) -> Held {
    let stored = appliance.state_dir().join("images").join(&digest);
    let path = if inside.is_empty() { format!("images/{digest}") } else { format!("images/{digest}/{inside}") };
    Held { stored, path, content }
}

/// What comes back for a name by TFTP: the first block, or the box's words.
enum Block {
    Data(Vec<u8>),
    Refused,
    Silent,
}

/// Asks for a name, and lets go of it after the first block.
fn first_block(name: &[u8], tries: u32) -> Result<Block> {
    let socket = UdpSocket::bind((ROOM, 0))?;
    socket.set_read_timeout(Some(MOMENT))?;
    let packet = [b"\0\x01", name, b"\0octet\0"].concat();
    let mut buffer = [0; 2000];
    for _ in 0..tries {
        if socket.send_to(&packet, TFTP).is_err() {
            return Ok(Block::Silent);
        }
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        return match buffer.get(..len) {
            Some([0, 3, 0, 1, data @ ..]) => {
                socket.send_to(b"\0\x05\0\0enough\0", from)?;
                Ok(Block::Data(data.to_vec()))
            }
            Some([0, 5, ..]) => Ok(Block::Refused),
            other => bail!("{} gave {other:?}", name.escape_ascii()),
        };
    }
    Ok(Block::Silent)
}

#[test]
fn of_a_thousand_turned_bits_none_lets_a_byte_out() -> Result<()> {
    let seed = Dice::seed();
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let content = bytes(1, 20_000);
    let mut images = Vec::new();
    for (name, file) in pack(&site, &tree(&site)?)? {
        images.push(held(&appliance, import(&appliance, name, &file)?, "boot/vmlinuz", content.clone()));
    }
    let kernel = import_bytes(&appliance, site.scratch(), "kernel", &content)?;
    images.push(held(&appliance, kernel, "", content));
    let count = if super::soak() { 20_000 } else { 1000 };
    let (mut dice, began) = (Dice::new(seed), Instant::now());
    let (mut by_http, mut by_tftp, mut served) = (0, 0, 0);
    site.room.enter(|| {
        let mut line = open(ROOM)?;
        for number in 0..count {
            let image = dice.pick(&images);
            let whole = std::fs::metadata(&image.stored)?.len();
            let (at, bit) = (u64::from(dice.below(u32::try_from(whole)?)), dice.below(8));
            let file = File::options().read(true).write(true).open(&image.stored)?;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            file.write_all_at(&[byte[0] ^ 1 << bit], at)?;
            let what = || format!("bit {bit} of byte {at} of {} (RACKBERRY_SEED={seed})", image.path);
            if number % 4 == 3 {
                match first_block(image.path.as_bytes(), TRIES)? {
                    Block::Refused => by_tftp += 1,
                    Block::Data(data) => bail!("{}: {} bytes by TFTP", what(), data.len()),
                    Block::Silent => bail!("{}: no answer by TFTP", what()),
                }
            } else {
                let range = [("Range", "bytes=0-99")];
                let (method, headers) = match number % 4 {
                    0 => ("GET", &range[..0]),
                    1 => ("GET", &range[..]),
                    _ => ("HEAD", &range[..0]),
                };
                let reply = line.request(method, &format!("/{}", image.path), headers)?;
                ensure!(reply.status == 409, "{}: {method} {}", what(), reply.status);
                // The refusal is a sentence, and none of the file's bytes.
                let part = image.content.get(..16).unwrap_or_default();
                ensure!(!reply.body.windows(16).any(|bytes| bytes == part), "{}: bytes in the refusal", what());
                by_http += 1;
            }
            file.write_all_at(&byte, at)?;
            if number % 100 == 99 {
                let reply = line.request("GET", &format!("/{}", image.path), &[])?;
                ensure!(reply.status == 200 && reply.body == image.content, "{}: not served once mended", what());
                served += 1;
            }
        }
        Ok(())
    })?;
    println!(
        "turned bits: seed {seed}, {by_http} refused by HTTP, {by_tftp} by TFTP, {served} served once mended, in {:?}",
        began.elapsed()
    );
    assert_eq!(by_http + by_tftp, count);
    until("the alarm", || {
        let alarms = system_tests::site::api(&appliance).get("/alarms")?;
        let told = |name: &str| alarms.to_string().contains(name);
        Ok(told("disc") && told("archive") && told("kernel"))
    })
}

/// One name below an image, as somebody who means harm would ask for it.
fn hostile(dice: &mut Dice, digest: &str, state: &str) -> Vec<u8> {
    const PARTS: [&str; 32] = [
        "..",
        "..",
        "..",
        ".",
        "",
        "boot",
        "linux",
        "etc",
        "hostname",
        "passwd",
        "root",
        "up",
        "secret",
        "..\\..",
        "%2e%2e",
        "%2e%2e%2f%2e%2e",
        "%252e%252e",
        "..%5c..",
        "%c0%ae%c0%ae",
        "..;",
        "....",
        "%00",
        "images",
        "inventory.db",
        "state",
        "empty",
        "dists",
        "Release",
        "\u{202e}",
        "a:b",
        "C:\\x",
        "proc/self/environ",
    ];
    let mut name = format!("images/{digest}").into_bytes();
    match dice.below(16) {
        0 => name.extend(format!("/..{state}/secret").into_bytes()),
        1 => name.extend(format!("/{state}/secret").into_bytes()),
        2 => name.extend(format!("/up/../{}", "../".repeat(40)).into_bytes()),
        3 => name.extend(format!(".json/../{digest}-secret/secret").into_bytes()),
        4 => name.extend(b"-secret/secret"),
        5 => name.extend(format!("/{}", "a/".repeat(600)).into_bytes()),
        6 => name.extend([b"/boot/", [0xc0, 0xae].repeat(4).as_slice(), b"/secret"].concat()),
        7 => name.extend(b"/../secret"),
        // And some that lie in it, or nearly.
        8 => name.extend_from_slice(dice.pick::<&[u8]>(&[
            b"/linux",
            b"/boot/./vmlinuz",
            b"//dists/Release",
            b"/BOOT/VMLINUZ",
        ])),
        _ => {
            for _ in 0..=dice.below(7) {
                name.push(b'/');
                name.extend_from_slice(dice.pick::<&str>(&PARTS).as_bytes());
            }
        }
    }
    match dice.below(12) {
        0 => name.extend(b"/secret"),
        1 => name.extend(b"/../../etc/passwd"),
        2 => name.push(b'/'),
        _ => {}
    }
    name
}

/// As it may stand in a request line: what would end it is escaped, all else is left raw.
fn for_http(name: &[u8]) -> String {
    let mut path = String::from("/");
    for byte in name {
        match byte {
            0..=0x20 | 0x7f..=0xff => path.push_str(&format!("%{byte:02X}")),
            plain => path.push(char::from(*plain)),
        }
    }
    path
}

#[test]
fn five_thousand_hostile_names_read_nothing_from_outside_an_image() -> Result<()> {
    let seed = Dice::seed();
    let site = Site::new()?;
    let appliance = site.serve("[tftp]\nsessions_per_host = 64\n")?;
    let state = appliance.state_dir();
    let tree = tree(&site)?;
    for (target, name) in [("../../../../secret", "up"), ("/", "root"), ("/etc", "etc"), ("../secret", "boot/out")] {
        symlink(target, tree.join(name))?;
    }
    let mut inside = vec![bytes(1, 20_000), b"menu\n".to_vec(), b"1\n".to_vec(), Vec::new()];
    let mut digests = Vec::new();
    for (name, file) in pack(&site, &tree)? {
        digests.push(import(&appliance, name, &file)?);
        inside.push(std::fs::read(&file)?);
    }
    let secret = "This lies outside and nobody may read it.";
    let neighbours = digests.iter().map(|digest| format!("images/{digest}-secret"));
    for folder in neighbours.chain(["images".to_owned(), String::new()]) {
        std::fs::create_dir_all(state.join(&folder))?;
        std::fs::write(state.join(&folder).join("secret"), secret)?;
    }
    std::fs::write(site.share().join("secret"), secret)?;
    let state = state.to_string_lossy().into_owned();
    let count = if super::soak() { 100_000 } else { 5000 };
    let (mut dice, began) = (Dice::new(seed), Instant::now());
    let (mut found, mut refused) = ([0, 0], [0, 0]);
    site.room.enter(|| {
        let mut line: Option<web::Connection> = None;
        for _ in 0..count {
            let digest = dice.pick(&digests).clone();
            let name = hostile(&mut dice, &digest, &state);
            let said = || format!("{} (RACKBERRY_SEED={seed})", name.escape_ascii());
            let path = for_http(&name);
            let mut open_line = match line.take() {
                Some(line) => line,
                None => open(ROOM)?,
            };
            // What is no request ends the connection; that is an answer as well.
            match open_line.request("GET", &path, &[]) {
                Ok(reply) if reply.status == 200 => {
                    ensure!(inside.contains(&reply.body), "{}: {} bytes by HTTP", said(), reply.body.len());
                    found[0] += 1;
                    line = Some(open_line);
                }
                Ok(reply) => {
                    ensure!(!reply.text().contains(secret) && reply.status >= 400, "{}: {reply:?}", said());
                    refused[0] += 1;
                    if reply.header("connection") != Some("close") && reply.status != 400 {
                        line = Some(open_line);
                    }
                }
                Err(_) => refused[0] += 1,
            }
            // Beyond an Ethernet frame it is no request.
            if name.len() > 1400 {
                refused[1] += 1;
                continue;
            }
            match first_block(&name, TRIES)? {
                Block::Data(data) => {
                    let known = |content: &Vec<u8>| match data.len() {
                        512 => content.starts_with(&data),
                        _ => *content == data,
                    };
                    ensure!(inside.iter().any(known), "{}: \"{}\" by TFTP", said(), data.escape_ascii());
                    found[1] += 1;
                }
                Block::Refused => refused[1] += 1,
                Block::Silent => bail!("{}: no answer by TFTP", said()),
            }
        }
        Ok(())
    })?;
    println!(
        "hostile names below images: seed {seed}, {count} by HTTP and TFTP; inside {found:?}, refused {refused:?}, 0 bytes from outside, in {:?}",
        began.elapsed()
    );
    assert!(found.iter().all(|count| *count > 20), "{found:?}");
    assert!(refused.iter().all(|refused| *refused > count / 2), "{refused:?}");
    assert_eq!(appliance.log().count("panicked"), 0);
    Ok(())
}
