//! PXELINUX and GRUB look for their configuration: the names in their order, the decision, own files first.

use super::{PATIENCE, ask, by_tftp, host, meet, own_file, policy, set, text_by_tftp};
use anyhow::{Context, Result, ensure};
use rackberry_core::{agent::Answer, host::MacAddr};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use system_tests::{
    FakeAgent, FakeHost, Faults, Life, Site,
    fake_agent::Said,
    pxe::{Kind, Machine},
    site::{self, BOOT},
};

/// The names in PXELINUX's order (RFC 5071 section 2).
fn search(host: &FakeHost) -> Vec<String> {
    let hex = format!("{:08X}", u32::from(host.address));
    let mut names = vec![host.uuid.clone(), format!("01-{}", host.mac.hyphens())];
    names.extend((1..=8).rev().filter_map(|digits| hex.get(..digits).map(str::to_owned)));
    names.push("default".to_owned());
    names
}

/// What a loader that searches finds, and at which name.
fn find(site: &Site, from: Ipv4Addr, names: &[String]) -> Result<Option<(String, String)>> {
    for name in names {
        if let Some(data) = by_tftp(site, from, name)? {
            return Ok(Some((name.clone(), String::from_utf8(data)?)));
        }
    }
    Ok(None)
}

fn pxelinux(host: &FakeHost) -> Vec<String> {
    search(host).iter().map(|name| format!("pxelinux.cfg/{name}")).collect()
}

/// GRUB's order (net/bootp.c of the distributions): without the shortened forms it has the same parts.
fn grub(host: &FakeHost) -> Vec<String> {
    let names = search(host).into_iter().map(|name| format!("grub/grub.cfg-{name}"));
    names.filter(|name| !name.ends_with("default")).chain(["grub/grub.cfg".to_owned()]).collect()
}

#[test]
fn the_eleven_names_are_answered_once_the_machine_is_known_by_one() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let node = host(&site, 1)?;
    // Never seen before: its UUID says nothing yet, its card does.
    let (name, text) = find(&site, node.address, &pxelinux(&node))?.context("no configuration")?;
    assert_eq!(name, format!("pxelinux.cfg/01-{}", node.mac.hyphens()));
    assert!(text.contains("KERNEL ::ramos/x86_64/vmlinuz\n") && text.contains("rackberry.token="), "{text}");
    // Once its UUID was heard (option 97, or iPXE), that name is the first one.
    meet(&site, &node)?;
    let (name, _) = find(&site, node.address, &pxelinux(&node))?.context("no configuration")?;
    assert_eq!(name, format!("pxelinux.cfg/{}", node.uuid));
    // In either case of letters, in any folder, by HTTP with URLs.
    for path in [
        format!("/pxelinux.cfg/01-{}", node.mac.hyphens().to_uppercase()),
        format!("/boot/pxelinux.cfg/01-{}", node.mac.hyphens()),
    ] {
        let reply = ask(&site, node.address, "GET", &path)?;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.text().contains("KERNEL http://10.77.0.1/ramos/x86_64/vmlinuz\n"), "{}", reply.text());
    }
    // Its own address means it, somebody else's does not.
    let hex = format!("pxelinux.cfg/{:08X}", u32::from(node.address));
    assert!(by_tftp(&site, node.address, &hex)?.is_some());
    assert!(by_tftp(&site, site::ROOM, &hex)?.is_none());
    policy(&appliance, &node, "local-disk")?;
    assert!(text_by_tftp(&site, node.address, "pxelinux.cfg/default")?.ends_with("LOCALBOOT -1\n"));
    policy(&appliance, &node, "ignore")?;
    assert_eq!(find(&site, node.address, &pxelinux(&node))?, None, "a host that is to be left alone");
    Ok(())
}

/// Lets its agent say what it found.
fn greet(site: &Site, node: &FakeHost) -> Result<()> {
    site.room.enter(|| {
        let mut life = Life::new(Faults::default(), 1);
        let said = node.boot(BOOT, &mut life)?.hello();
        ensure!(matches!(said, Said::Answer(_)), "{said:?}");
        Ok(())
    })
}

fn token(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("rackberry.token=")?;
    Some(rest.chars().take_while(char::is_ascii_hexdigit).collect())
}

#[test]
fn grub_is_answered_from_the_same_decision() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let node = host(&site, 1)?;
    let (name, text) = find(&site, node.address, &grub(&node))?.context("no configuration")?;
    assert_eq!(name, format!("grub/grub.cfg-01-{}", node.mac.hyphens()));
    assert!(text.contains("linux (tftp,10.77.0.1)/ramos/x86_64/vmlinuz 'rackberry.url="), "{text}");
    let by_http = ask(&site, node.address, "GET", &format!("/{name}"))?.text();
    assert!(by_http.contains("linux (http,10.77.0.1)/ramos/x86_64/vmlinuz "), "{by_http}");
    // GRUBs that search nothing ask for one name; the address tells who they are.
    let bare = text_by_tftp(&site, node.address, "grub/x86_64-efi/grub.cfg")?;
    assert!(bare.contains("'BOOTIF=01-"), "{bare}");
    // And whose address says nothing asks again under its card's.
    let nobody = text_by_tftp(&site, site::ROOM, "grub/grub.cfg")?;
    assert!(nobody.contains("configfile (tftp,10.77.0.1)/grub/grub.cfg-01-$net_default_mac\n"), "{nobody}");
    policy(&appliance, &node, "local-disk")?;
    let disk = text_by_tftp(&site, node.address, &name)?;
    assert!(disk.contains("starts from its own disk") && !disk.contains("/ramos/"), "{disk}");
    Ok(())
}

#[test]
fn the_token_of_a_configuration_lets_the_agent_work() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    site.import_image(&appliance)?;
    let node = host(&site, 1)?;
    greet(&site, &node)?;
    let body = json!({ "profile": "debian-13", "erase": true });
    let path = format!("/hosts/{}/install", node.mac.hyphens());
    site::api(&appliance).call("POST", &path, Some(&body))?;
    let text = text_by_tftp(&site, node.address, &format!("pxelinux.cfg/01-{}", node.mac.hyphens()))?;
    assert!(text.contains("an install waits for this machine"), "{text}");
    let token = token(&text).context("no token")?;
    site.room.enter(|| {
        let mut life = Life::new(Faults::default(), 1);
        let mut agent = FakeAgent::new(&node, BOOT, token, &mut life);
        ensure!(matches!(agent.hello(), Said::Answer(_)), "hello");
        let said = agent.next(&[], PATIENCE);
        ensure!(matches!(said, Said::Answer(Answer::Run { .. })), "{said:?}");
        Ok(())
    })
}

#[test]
fn an_own_configuration_comes_first_wherever_in_the_search_it_is() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let node = host(&site, 1)?;
    meet(&site, &node)?;
    let hex = format!("{:08X}", u32::from(node.address));
    let subnet = hex.get(..4).context("four digits")?;
    for (kind, names, default) in [("pxelinux.cfg", pxelinux(&node), "default"), ("grub", grub(&node), "grub.cfg")] {
        let prefix = if kind == "grub" { "grub.cfg-" } else { "" };
        // From the last name of the search to the first: each one takes over.
        for own in [
            format!("{kind}/{default}"),
            format!("{kind}/{prefix}{subnet}"),
            format!("{kind}/{prefix}01-{}", node.mac.hyphens().to_uppercase()),
            format!("{kind}/{prefix}{}", node.uuid),
        ] {
            own_file(&appliance, &own, format!("# {own}\n"))?;
            let (name, text) = find(&site, node.address, &names)?.context("no configuration")?;
            assert_eq!(text, format!("# {own}\n"));
            // Debian's GRUB for networks searches nothing; its address says whose the file is.
            if kind == "grub" {
                assert_eq!(text_by_tftp(&site, node.address, "grub/x86_64-efi/grub.cfg")?, text);
            }
            assert!(name.eq_ignore_ascii_case(&own), "{name} instead of {own}");
        }
    }
    Ok(())
}

#[test]
fn programs_of_pxelinux_are_the_persons_own_where_there_are_some() -> Result<()> {
    let site = Site::new()?;
    std::fs::write(site.share().join("loaders/pxelinux.0"), "ours")?;
    let appliance = site.serve("")?;
    assert_eq!(text_by_tftp(&site, site::ROOM, "bios/pxelinux.0")?, "ours");
    own_file(&appliance, "bios/pxelinux.0", "theirs")?;
    assert_eq!(text_by_tftp(&site, site::ROOM, "bios/pxelinux.0")?, "theirs");
    assert_eq!(text_by_tftp(&site, site::ROOM, "pxelinux.0")?, "ours");
    // A loader that the box leads its hosts to is never replaced.
    own_file(&appliance, "undionly.kpxe", "theirs")?;
    assert_ne!(by_tftp(&site, site::ROOM, "undionly.kpxe")?.context("no loader")?, b"theirs");
    Ok(())
}

#[test]
fn a_host_set_to_another_loader_is_sent_it_first_and_gets_the_same_decision() -> Result<()> {
    let site = Site::new()?;
    for loader in ["pxelinux.0", "grubx64.efi", "grubaa64.efi"] {
        std::fs::write(site.share().join("loaders").join(loader), vec![9; 42_000])?;
    }
    let appliance = site.serve("")?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let crowd = site.crowd()?;
    for (number, kind, word, usual, file) in [
        (1, Kind::BiosPxe, "pxelinux", "undionly.kpxe", "pxelinux.0"),
        (2, Kind::UefiPxe(7), "grub", "snponly-x64.efi", "grubx64.efi"),
        (3, Kind::UefiPxe(11), "grub", "ipxe-arm64.efi", "grubaa64.efi"),
        // A card whose ROM is an iPXE.
        (4, Kind::Ipxe(0), "pxelinux", "http://10.77.0.1/boot.ipxe?", "pxelinux.0"),
    ] {
        let machine = Machine::new(number, kind);
        let boot_file = || -> Result<(Ipv4Addr, String)> {
            let leased = crowd.lease(std::slice::from_ref(&machine), PATIENCE)?;
            let leased = leased.first().context("no lease")?;
            Ok((leased.address, leased.boot_file.clone().unwrap_or_default()))
        };
        let (address, first) = boot_file()?;
        assert!(first.starts_with(usual), "{kind:?}: {first}");
        let node = FakeHost { mac: MacAddr(machine.mac), ..FakeHost::new(number, address) };
        let (platform, other) = if word == "pxelinux" { ("pcbios", "grub") } else { ("efi", "pxelinux") };
        let script = ask(&site, address, "GET", &node.ask().replace("platform=efi", &format!("platform={platform}")))?;
        assert_eq!(script.status, 200);
        // Not what the box has nothing of for this firmware.
        let refused = set(&appliance, &node, &json!({ "loader": other })).err().context("it was taken")?.to_string();
        assert!(refused.contains("422") && refused.contains(" only, and none for "), "{refused}");
        assert!(boot_file()?.1.starts_with(usual));
        set(&appliance, &node, &json!({ "loader": word }))?;
        assert_eq!(boot_file()?, (address, file.to_owned()), "{kind:?}");
        assert!(by_tftp(&site, address, file)?.is_some_and(|program| program.len() == 42_000));
        let names = if word == "pxelinux" { pxelinux(&node) } else { grub(&node) };
        let found = || Ok::<_, anyhow::Error>(find(&site, address, &names)?.context("no configuration")?.1);
        assert!(found()?.contains("looking at the hardware"), "{}", found()?);
        if number < 3 {
            greet(&site, &node)?;
            let body = json!({ "profile": "debian-13", "erase": true });
            api.call("POST", &format!("/hosts/{}/install", node.mac.hyphens()), Some(&body))?;
            assert!(found()?.contains("an install waits for this machine") && token(&found()?).is_some());
            api.call("POST", &format!("/hosts/{}/disarm", node.mac.hyphens()), None)?;
        }
        policy(&appliance, &node, "local-disk")?;
        let disk = found()?;
        assert!(!disk.contains("/ramos/") && !disk.contains("rackberry.token="), "{disk}");
        let events = api.events(&node.mac.hyphens())?;
        let said = |what: &str| events.iter().any(|event| event.get("what").and_then(Value::as_str) == Some(what));
        assert!(said(&format!("loader {word}")) && said("policy local-disk"), "{events:?}");
        set(&appliance, &node, &json!({ "loader": "ipxe" }))?;
        assert!(boot_file()?.1.starts_with(usual));
    }
    Ok(())
}
