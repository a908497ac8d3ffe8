//! Hosts of the policy `own-files` are led to what a person put there, and to nothing else.

use super::{ask, host, meet, own_file, policy, until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use system_tests::{
    FakeHost, Site,
    site::{self, BOOT},
};

#[derive(Clone, Copy)]
enum Firmware {
    Bios,
    Uefi,
}

fn script(site: &Site, node: &FakeHost, firmware: Firmware) -> Result<String> {
    let path = match firmware {
        Firmware::Bios => node.ask().replace("arch=x86_64&platform=efi", "arch=i386&platform=pcbios"),
        Firmware::Uefi => node.ask(),
    };
    let reply = ask(site, node.address, "GET", &path)?;
    ensure!(reply.status == 200 && reply.text().starts_with("#!ipxe\n"), "{reply:?}");
    Ok(reply.text())
}

#[test]
fn the_first_file_that_is_there_is_chained_and_shows_as_your_file() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let node = host(&site, 1)?;
    meet(&site, &node)?;
    super::set(&appliance, &node, &serde_json::json!({ "name": "node-a", "policy": "own-files" }))?;
    let nothing = script(&site, &node, Firmware::Bios)?;
    assert!(nothing.contains("none of them is for it") && !nothing.contains("sanboot"), "{nothing}");
    let mac = node.mac.hyphens();
    // Each comes before those that are there already.
    for (path, leads) in [
        ("pxelinux.cfg/default".to_owned(), "chain http://10.77.0.1/pxelinux.0 ".to_owned()),
        ("boot.html".to_owned(), "chain --replace http://10.77.0.1/boot.html ".to_owned()),
        ("default.ipxe".to_owned(), "chain --replace http://10.77.0.1/default.ipxe ".to_owned()),
        ("node-a.ipxe".to_owned(), "chain --replace http://10.77.0.1/node-a.ipxe ".to_owned()),
        (format!("{mac}.ipxe"), format!("chain --replace http://10.77.0.1/{mac}.ipxe ")),
    ] {
        own_file(&appliance, &path, "#!ipxe\nshell\n")?;
        let led = script(&site, &node, Firmware::Bios)?;
        assert!(led.contains(&leads), "{path}: {led}");
        assert!(!led.contains("sanboot") && !led.contains("/ramos/"), "{led}");
    }
    assert_eq!(ask(&site, node.address, "GET", &format!("/{mac}.ipxe"))?.text(), "#!ipxe\nshell\n");
    let api = site::api(&appliance);
    until("the timeline names the file", || {
        let events = api.events(&node.mac.hyphens())?;
        let own = events.iter().filter(|event| event.get("kind").and_then(Value::as_str) == Some("own_file"));
        Ok(own.filter_map(|event| event.get("path").and_then(Value::as_str)).any(|path| path == format!("{mac}.ipxe")))
    })?;
    Ok(())
}

#[test]
fn uefi_hosts_are_led_to_grub_and_only_if_there_is_a_configuration() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let node = host(&site, 1)?;
    meet(&site, &node)?;
    policy(&appliance, &node, "own-files")?;
    own_file(&appliance, "pxelinux.cfg/default", "LABEL x\n")?;
    let script_of = |firmware| script(&site, &node, firmware);
    assert!(script_of(Firmware::Uefi)?.contains("none of them is for it"));
    own_file(&appliance, "grub/grub.cfg", "echo own\n")?;
    let led = script_of(Firmware::Uefi)?;
    assert!(led.contains("chain tftp://10.77.0.1/grub/grubx64.efi "), "{led}");
    assert!(script_of(Firmware::Bios)?.contains("/pxelinux.0 "));
    Ok(())
}

#[test]
fn hosts_of_other_policies_are_never_led_to_own_files() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let node = host(&site, 1)?;
    for path in ["default.ipxe", "boot.html", "boot.ipxe", "autoexec.ipxe", "agent/v1/hello", "ramos/x86_64/vmlinuz"] {
        own_file(&appliance, path, "#!ipxe\necho mine\n")?;
    }
    own_file(&appliance, &format!("boot/{}", node.mac.hyphens()), "#!ipxe\necho mine\n")?;
    for word in ["default", "local-disk", "ram-os"] {
        meet(&site, &node)?;
        policy(&appliance, &node, word)?;
        for path in [node.ask(), "/autoexec.ipxe".into(), format!("/boot/{}", node.mac.hyphens())] {
            let text = ask(&site, node.address, "GET", &path)?.text();
            assert!(!text.contains("mine") && !text.contains("default.ipxe") && !text.contains("boot.html"), "{text}");
        }
    }
    // Reserved names are never a person's, whatever lies there.
    let kernel = ask(&site, node.address, "GET", "/ramos/x86_64/vmlinuz")?.body;
    assert_ne!(kernel, b"#!ipxe\necho mine\n");
    let hello = site.room.enter(|| node.request(BOOT, "GET", "/agent/v1/hello"))?;
    assert!(matches!(hello.status, 404 | 405) && !hello.text().contains("mine"), "{hello:?}");
    // But they are files like any other for whoever asks for them.
    let asked = ask(&site, node.address, "GET", "/default.ipxe")?;
    assert_eq!(asked.text(), "#!ipxe\necho mine\n");
    asked.header("etag").context("own files have tags, too").map(drop)
}
