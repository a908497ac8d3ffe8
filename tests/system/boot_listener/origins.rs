//! Each origin's way of working with files of its own, replayed against `serve` in its order and by its clients.

use super::{PATIENCE, by_tftp, open, own_file, policy, text_by_tftp};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    process::Output,
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, FakeHost, PxeClient, Site,
    pxe::{Kind, Machine, Message, client::new_xid, web},
    side_by_side,
    site::{self, BOOT, BOX, ROOM, ROOM_LINK},
};

/// Runs a program in the room.
fn run(site: &Site, program: &str, arguments: &[&str]) -> Result<Output> {
    site.room.command(program).args(arguments).output().with_context(|| format!("run {program}"))
}

/// What wget writes when it succeeds.
fn wget(site: &Site, url: &str) -> Result<Vec<u8>> {
    let got = run(site, "wget", &["-q", "-T", "20", "-t", "1", "-O", "-", url])?;
    ensure!(got.status.success(), "wget {url}: {}", String::from_utf8_lossy(&got.stderr));
    Ok(got.stdout)
}

/// `wget --spider`: a HEAD request, and its word by the exit code.
fn spider(site: &Site, url: &str) -> Result<bool> {
    Ok(run(site, "wget", &["-q", "-T", "20", "-t", "1", "--spider", url])?.status.success())
}

fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| seed.wrapping_add(u8::try_from(at % 241).unwrap_or_default())).collect()
}

/// A script embedded into iPXE chains a page of any name; what comes is the script, whole and unchanged.
#[test]
fn rows_1_and_2_an_embedded_ipxe_script_chains_boot_html() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let script = "#!ipxe\nset base-url http://10.77.0.1\n\
        kernel ${base-url}/vmlinuz rancher.state.formatzero=true rancher.state.autoformat=[/dev/sda] \
        rancher.cloud_init.datasources=['url:http://10.77.0.1/rancheros.yml'] rancher.password=rancher\n\
        initrd ${base-url}/initrd\nboot\n";
    for name in ["boot.html", "boot.php", "menu", "v1/boot.txt"] {
        own_file(&appliance, name, script)?;
    }
    own_file(&appliance, "vmlinuz", bytes(1, 700_001))?;
    own_file(&appliance, "initrd", bytes(2, 900_003))?;
    own_file(&appliance, "rancheros.yml", "#cloud-config\nhostname: ros\n")?;
    site.room.enter(|| {
        for port in [80, 8080] {
            let mut line = web::Connection::open_from(ROOM, SocketAddrV4::new(BOX, port), PATIENCE)?;
            let mut get =
                |path: &str| line.request("GET", path, &[("User-Agent", "iPXE/1.21.1"), ("Connection", "keep-alive")]);
            for name in ["/boot.html", "/boot.php", "/menu", "/v1/boot.txt", "/boot.html?mac=52-54-00-00-00-01"] {
                let reply = get(name)?;
                ensure!(reply.status == 200 && reply.body == script.as_bytes(), "{name}: {reply:?}");
            }
            ensure!(get("/vmlinuz")?.body == bytes(1, 700_001), "kernel");
            ensure!(get("/initrd")?.body == bytes(2, 900_003), "initrd");
        }
        Ok(())
    })?;
    assert!(wget(&site, "http://10.77.0.1/rancheros.yml")?.starts_with(b"#cloud-config\n"));
    Ok(())
}

const CARD: [u8; 6] = [0x00, 0x25, 0x90, 0xc0, 0xf7, 0x86];

/// What lies in the files folder of somebody who booted CoreOS from a Pi.
fn coreos(appliance: &Appliance) -> Result<()> {
    let version = "1185.5.0";
    own_file(appliance, "pxelinux.0", bytes(3, 42_988))?;
    let config = "default coreos\nprompt 1\ntimeout 15\nlabel coreos\n  menu default\n  \
        kernel coreos_production_pxe.vmlinuz\n  append initrd=coreos_production_pxe_image.cpio.gz \
        cloud-config-url=http://10.77.0.1:8080/cloud-configs/00:25:90:c0:f7:86.yml\n";
    own_file(appliance, "pxelinux.cfg/01-00-25-90-c0-f7-86", config)?;
    own_file(appliance, "pxelinux.cfg/default", config.replace("00:25:90:c0:f7:86", "install"))?;
    own_file(appliance, "coreos_production_pxe.vmlinuz", bytes(4, 400_000))?;
    own_file(appliance, "coreos_production_pxe_image.cpio.gz", bytes(5, 600_000))?;
    own_file(appliance, "cloud-configs/00:25:90:c0:f7:86.yml", "#cloud-config\nhostname: a\n")?;
    own_file(appliance, "cloud-configs/install.yml", "#!/bin/sh\ncoreos-install -d /dev/sda\n")?;
    own_file(appliance, &format!("{version}/coreos_production_image.bin.bz2"), bytes(6, 800_000))?;
    own_file(appliance, &format!("{version}/coreos_production_image.bin.bz2.sig"), bytes(7, 543))?;
    own_file(appliance, "current/version.txt", "FLATCAR_VERSION=4081.2.1\n")?;
    own_file(appliance, "4081.2.1/flatcar_production_image.bin.bz2", bytes(8, 800_000))?;
    own_file(appliance, "4081.2.1/flatcar_production_image.bin.bz2.sig", bytes(9, 543))
}

/// From the ROM's request for an address to the kernel, led by the policy alone.
#[test]
fn rows_9_to_12_a_card_boots_pxelinux_with_a_file_of_its_own() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    coreos(&appliance)?;
    let crowd = site.crowd()?;
    let mut machine = Machine::new(1, Kind::BiosPxe);
    machine.mac = CARD;
    let leased = crowd.lease(&[machine.clone()], PATIENCE)?;
    let leased = leased.first().context("no lease")?;
    assert_eq!(leased.boot_file.as_deref(), Some("undionly.kpxe"));
    let node = FakeHost { mac: rackberry_core::host::MacAddr(CARD), ..FakeHost::new(1, leased.address) };
    assert!(by_tftp(&site, node.address, "undionly.kpxe")?.is_some());
    let ask = node.ask().replace("arch=x86_64&platform=efi", "arch=i386&platform=pcbios");
    let first = site.room.enter(|| node.request(BOOT, "GET", &ask))?;
    assert!(first.text().contains("/ramos/"), "not yet its policy: {}", first.text());
    policy(&appliance, &node, "own-files")?;
    let led = site.room.enter(|| node.request(BOOT, "GET", &ask))?.text();
    assert!(led.contains("set 210:string http://10.77.0.1/\nchain http://10.77.0.1/pxelinux.0 "), "{led}");

    // PXELINUX by TFTP, as its ROM loads it: the person's own program, the search, kernel and initrd.
    assert_eq!(by_tftp(&site, node.address, "pxelinux.0")?, Some(bytes(3, 42_988)));
    let hex = format!("{:08X}", u32::from(node.address));
    let mut names = vec![node.uuid.clone(), "01-00-25-90-c0-f7-86".to_owned()];
    names.extend((1..=8).rev().filter_map(|digits| hex.get(..digits).map(str::to_owned)));
    names.push("default".to_owned());
    assert_eq!(names.len(), 11);
    let found: Vec<bool> = names
        .iter()
        .map(|name| Ok(by_tftp(&site, node.address, &format!("pxelinux.cfg/{name}"))?.is_some()))
        .collect::<Result<_>>()?;
    let wanted: Vec<bool> = (0..11).map(|at| at == 1 || at == 10).collect();
    assert_eq!(found, wanted, "only the person's own two: {names:?}");
    let config = text_by_tftp(&site, node.address, "pxelinux.cfg/01-00-25-90-c0-f7-86")?;
    assert!(config.contains("append initrd=coreos_production_pxe_image.cpio.gz cloud-config-url="), "{config}");
    for (name, content) in [
        ("coreos_production_pxe.vmlinuz", bytes(4, 400_000)),
        ("coreos_production_pxe_image.cpio.gz", bytes(5, 600_000)),
    ] {
        assert_eq!(by_tftp(&site, node.address, name)?, Some(content), "{name}");
        let busybox =
            run(&site, "busybox", &["tftp", "-g", "-b", "1428", "-r", name, "-l", "/dev/stdout", "10.77.0.1"])?;
        assert!(busybox.status.success(), "busybox tftp: {}", String::from_utf8_lossy(&busybox.stderr));
    }

    // The system asks for its cloud-config on the port of old, colons as they are or escaped.
    for path in ["00:25:90:c0:f7:86.yml", "00%3A25%3A90%3Ac0%3Af7%3A86.yml", "00%3a25%3a90%3ac0%3af7%3a86.yml"] {
        let got = wget(&site, &format!("http://10.77.0.1:8080/cloud-configs/{path}"))?;
        assert_eq!(got, b"#cloud-config\nhostname: a\n", "{path}");
    }
    // Any other card comes to the file for all of them.
    assert!(text_by_tftp(&site, ROOM, "pxelinux.cfg/default")?.contains("cloud-configs/install.yml"));
    assert!(wget(&site, "http://10.77.0.1:8080/cloud-configs/install.yml")?.starts_with(b"#!/bin/sh\n"));
    Ok(())
}

/// The one script for all of them installs the machine by its own file; from then on its ten restarts lead to its disk.
#[test]
fn row_12_one_install_and_ten_restarts_to_the_disk() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    coreos(&appliance)?;
    std::fs::remove_file(appliance.state_dir().join("files/pxelinux.cfg/01-00-25-90-c0-f7-86"))?;
    let crowd = site.crowd()?;
    let machine = Machine { mac: CARD, ..Machine::new(1, Kind::BiosPxe) };
    // One power-on: lease, loader, script; what the script says.
    let boot = || -> Result<(FakeHost, String)> {
        let leased = crowd.lease(std::slice::from_ref(&machine), PATIENCE)?;
        let leased = leased.first().context("no lease")?;
        ensure!(leased.boot_file.as_deref() == Some("undionly.kpxe"), "{leased:?}");
        let node = FakeHost { mac: rackberry_core::host::MacAddr(CARD), ..FakeHost::new(1, leased.address) };
        ensure!(by_tftp(&site, node.address, "undionly.kpxe")?.is_some(), "no loader");
        let ask = node.ask().replace("arch=x86_64&platform=efi", "arch=i386&platform=pcbios");
        let reply = site.room.enter(|| node.request(BOOT, "GET", &ask))?;
        ensure!(reply.status == 200, "{reply:?}");
        Ok((node, reply.text()))
    };
    let (node, _) = boot()?;
    policy(&appliance, &node, "own-files")?;
    let (node, led) = boot()?;
    assert!(led.contains("chain http://10.77.0.1/pxelinux.0 "), "{led}");
    assert!(text_by_tftp(&site, node.address, "pxelinux.cfg/default")?.contains("cloud-configs/install.yml"));
    assert!(wget(&site, "http://10.77.0.1:8080/cloud-configs/install.yml")?.starts_with(b"#!/bin/sh\n"));
    assert_eq!(wget(&site, "http://10.77.0.1:8080/cloud-configs/00:25:90:c0:f7:86.yml")?.len(), 26);
    let image = "http://10.77.0.1:8080/1185.5.0/coreos_production_image.bin.bz2";
    assert!(spider(&site, image)? && wget(&site, image)?.len() == 800_000);
    policy(&appliance, &node, "local-disk")?;
    for restart in 1..=10 {
        let (_, script) = boot()?;
        assert!(script.starts_with("#!ipxe\n") && script.contains("from its own disk"), "restart {restart}: {script}");
        assert!(!script.contains("/ramos/") && !script.contains("pxelinux"), "restart {restart}: {script}");
    }
    println!("10 restarts after an install by own files: 10 to the disk");
    Ok(())
}

/// `coreos-install -b URL` and its successor look with HEAD first, then read image and signature.
#[test]
fn row_13_an_installer_mirrors_from_the_files_folder() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    coreos(&appliance)?;
    let base = "http://10.77.0.1:8080";
    for image in ["1185.5.0/coreos_production_image.bin.bz2", "4081.2.1/flatcar_production_image.bin.bz2"] {
        let url = format!("{base}/{image}");
        assert!(spider(&site, &url)? && spider(&site, &format!("{url}.sig"))?, "{url}");
        assert_eq!(wget(&site, &url)?.len(), 800_000);
        assert_eq!(wget(&site, &format!("{url}.sig"))?.len(), 543);
        let curl = run(&site, "curl", &["-sfI", &url])?;
        assert!(curl.status.success() && String::from_utf8_lossy(&curl.stdout).contains("content-length: 800000"));
    }
    assert_eq!(wget(&site, &format!("{base}/current/version.txt"))?, b"FLATCAR_VERSION=4081.2.1\n");
    for missing in ["9999.0.0/coreos_production_image.bin.bz2", "current/flatcar_production_image.bin.bz2"] {
        assert!(!spider(&site, &format!("{base}/{missing}"))?, "{missing}");
    }
    Ok(())
}

/// `rooturl=http://BOX/rootfs.squashfs`: read whole, by many at once, and gone on with after a break.
#[test]
fn row_34_a_diskless_root_is_read_whole() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let root = bytes(10, 5_000_000);
    own_file(&appliance, "rootfs.squashfs", &root)?;
    assert_eq!(wget(&site, "http://10.77.0.1/rootfs.squashfs")?, root);
    let kept = site.scratch().join("root");
    std::fs::write(&kept, root.get(..1_234_567).unwrap_or_default())?;
    let kept_name = kept.to_str().context("no UTF-8")?;
    let went_on = run(&site, "wget", &["-q", "-c", "-O", kept_name, "http://10.77.0.1/rootfs.squashfs"])?;
    assert!(went_on.status.success(), "{}", String::from_utf8_lossy(&went_on.stderr));
    assert_eq!(std::fs::read(&kept)?, root);
    let hosts: Vec<Ipv4Addr> = vec![ROOM; 16];
    side_by_side(&site.room, 16, &hosts, |_, from| {
        ensure!(open(*from)?.request("GET", "/rootfs.squashfs", &[])?.body == root, "another root");
        Ok(())
    })?;
    Ok(())
}

/// A machine that knows BOOTP alone, reserved by its card: address, server, root path and boot file, then its files by TFTP.
#[test]
fn row_40_a_bootp_client_with_a_reservation_is_answered() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    own_file(&appliance, "diskless/pxelinux.0", bytes(11, 26_000))?;
    let fixed = Ipv4Addr::new(10, 77, 2, 40);
    let api = site::api(&appliance);
    let card = "00-25-90-c0-f7-86";
    api.call("POST", "/hosts", Some(&json!({ "list": format!("{card}, diskless-1") })))?;
    let root = "17=/srv/nfs/diskless";
    let change = json!({ "address": fixed.to_string(), "dhcp_options": [root, "67=diskless/pxelinux.0"] });
    api.call("PATCH", "/hosts/diskless-1", Some(&change))?;
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    let until = Instant::now() + PATIENCE;
    for round in 0..3 {
        // Such a client asks until it is heard, each time the same.
        let answer = loop {
            let question = Message::from_client(CARD, new_xid());
            client.broadcast(&question)?;
            match client.answer(question.xid, CARD, Duration::from_secs(1))? {
                Some(answer) => break answer.message,
                None => ensure!(Instant::now() < until, "start {round}: no answer within {PATIENCE:?}"),
            }
        };
        assert_eq!((answer.op, answer.yiaddr, answer.siaddr), (2, fixed, BOX), "{answer:?}");
        assert_eq!(answer.message_type(), 0, "no DHCP");
        assert_eq!(answer.get(17), Some(&b"/srv/nfs/diskless"[..]), "{answer:?}");
        assert_eq!(answer.boot_file().as_deref(), Some("diskless/pxelinux.0"), "{answer:?}");
    }
    site.room.ip(&format!("address add {fixed}/16 dev {ROOM_LINK}"))?;
    assert_eq!(by_tftp(&site, fixed, "diskless/pxelinux.0")?, Some(bytes(11, 26_000)));
    // Nobody reserved anything for another card.
    let stranger = Message::from_client([0x00, 0x25, 0x90, 0xc0, 0xf7, 0x87], new_xid());
    client.broadcast(&stranger)?;
    assert!(client.answer(stranger.xid, stranger.mac, Duration::from_secs(2))?.is_none());
    Ok(())
}
