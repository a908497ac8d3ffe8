//! An installer from the press of the button to the first boot, and systems that run from the network: who gets them, and who not.

use crate::{
    boot::{Asking, BootError, Given},
    catalog::Catalog,
    http::{
        State,
        actions::{self, InstallRequest},
        testing::Site,
    },
    inventory::{EventFilter, Identity},
    media::{Import, Media},
};
use rackberry_core::{
    boot::{BootDecision, decide::Why, script, script::Over},
    dhcp::{Change, LeaseRow},
    event::{Actor, BootKey, EventKind},
    hardware::{Disk, DiskContent, Facts, Transport},
    host::{Arch, BootPolicy, Host, MacAddr, SmbiosUuid},
    image::{Digest, Image, ImageKind},
    install::{Install, Phase},
    time::WallTime,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

const BOX: &str = "http://192.0.2.1";
const INSTALLER: &str = r#"
title = "Debian by its installer"
way = "installer"
arch = "x86_64"
[[medium]]
name = "netboot"
title = "Network installer"
[boot]
kernel = "netboot:linux"
initrd = ["netboot:initrd.gz", "files"]
args = "auto=true url={{ answers }}/preseed.cfg disk={{ disk.path }} hostname={{ host.name }}"
[[answer]]
path = "preseed.cfg"
template = "preseed.tmpl"
at = "/preseeds/{{ host.mac }}.cfg"
[[initrd_file]]
path = "hello"
template = "preseed.tmpl"
"#;
const LIVE: &str = r#"
title = "Memory test"
way = "live"
arch = "x86_64"
firmware = ["bios"]
[[medium]]
name = "netboot"
title = "Memtest"
[boot]
kernel = "netboot:memtest"
"#;

struct Rack {
    site: Site,
    state: State,
    digest: Digest,
    _profiles: tempfile::TempDir,
}

impl Rack {
    async fn new() -> Self {
        let site = Site::new().await;
        let profiles = tempfile::tempdir().unwrap();
        for (name, toml) in [("netinst", INSTALLER), ("memtest", LIVE)] {
            std::fs::create_dir(profiles.path().join(name)).unwrap();
            std::fs::write(profiles.path().join(name).join("profile.toml"), toml).unwrap();
        }
        let template = "{% include \"shared/who.tmpl\" %}\nd-i disk {{ disk.serial|preseed }} {{ disk.size_bytes }} {{ answers }}\n";
        std::fs::write(profiles.path().join("netinst/preseed.tmpl"), template).unwrap();
        std::fs::create_dir(profiles.path().join("shared")).unwrap();
        std::fs::write(profiles.path().join("shared/who.tmpl"), "# {{ host.name }}\n").unwrap();
        let catalog = Catalog::load(&[profiles.path()]);
        assert_eq!(catalog.problems(), &[] as &[String]);
        let tree = netboot(&site.state.media, profiles.path());
        let digest = tree.digest;
        site.state.inventory.transact(move |tx| tx.put_image(tree, Actor::Box).map(drop)).await.unwrap();
        let state = State { catalog, ..site.state.clone() };
        Rack { site, state, digest, _profiles: profiles }
    }

    async fn host(&self, number: u8) -> Arc<Host> {
        self.site.host(&format!("node-{number}"), number, Some(Self::facts(true))).await
    }

    /// What its RAM OS finds: one disk.
    fn facts(blank: bool) -> Facts {
        let disk = Disk {
            name: "vda".into(),
            model: "Fake".into(),
            serial: "S1".into(),
            wwn: "".into(),
            size_bytes: 20_000_000_000,
            transport: Transport::Virtio,
            rotational: false,
            removable: false,
            read_only: false,
            content: DiskContent { blank, ..DiskContent::default() },
        };
        Facts { arch: Some(Arch::X86_64), memory_bytes: 8 << 30, disks: vec![disk], ..Facts::default() }
    }

    async fn arm(&self, host: &Host) -> Arc<Install> {
        let request = InstallRequest { profile: "netinst".to_owned(), ..InstallRequest::default() };
        actions::install(&self.state, host.id, request, Actor::Box).await.unwrap()
    }

    /// Armed, and through the RAM OS.
    async fn ready(&self, number: u8) -> (Arc<Host>, Arc<Install>) {
        let host = self.host(number).await;
        let install = self.arm(&host).await;
        let hello = EventKind::AgentHello { boot: BootKey(Digest([number; 32])), address: "".into() };
        let install = self.site.apply(&install, vec![hello]).await;
        (host, install)
    }

    async fn boots(&self, asking: Asking) -> Given {
        self.state.desk.decide(asking, BOX).await.unwrap()
    }

    fn phase(&self, host: &Host) -> Phase {
        self.site.install_of(host.id).unwrap().state.phase
    }

    async fn answer(&self, token: &str, path: &str, peer: IpAddr) -> Option<String> {
        let answer = self.state.desk.answer(token, path, peer, BOX).await.unwrap();
        answer.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn says(&self, token: &str, stage: &str, peer: IpAddr) -> Result<bool, BootError> {
        self.state.desk.report(token, stage, "", peer).await
    }
}

/// A tar with the files that the profiles name.
fn netboot(media: &Media, folder: &std::path::Path) -> Image {
    let tree = folder.join("tree");
    std::fs::create_dir(&tree).unwrap();
    for file in ["linux", "initrd.gz", "memtest"] {
        std::fs::write(tree.join(file), file).unwrap();
    }
    let tar = std::process::Command::new("tar").arg("-C").arg(&tree).args(["-cf", "-", "."]).output().unwrap().stdout;
    let mut import = Import::start(media, "netboot").unwrap();
    import.write(&tar).unwrap();
    let image = import.finish("netboot".into(), "test".into(), None, WallTime(0)).unwrap();
    assert_eq!(image.kind, ImageKind::Tree);
    image
}

fn from(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

fn asks(number: u8) -> Asking {
    let mac: MacAddr = format!("52:54:00:77:00:{number:02x}").parse().unwrap();
    let identity = Identity { mac, uuid: None, serial: None };
    Asking { identity, arch: Some(Arch::X86_64), firmware: None, peer: from(number), looks_only: false }
}

fn text(given: &Given) -> String {
    script(given.decision, &given.context(BOX, "", Over::Http))
}

/// The token in a script.
fn token(given: &Given) -> String {
    let text = text(given);
    let (_, rest) = text.split_once("/answers/").unwrap_or_else(|| panic!("no answers in {text}"));
    rest.split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn an_installer_is_handed_out_once_answered_reported_and_done_by_the_first_boot() {
    let rack = Rack::new().await;
    let host = rack.host(1).await;
    rack.arm(&host).await;
    let first = rack.boots(asks(1)).await;
    assert_eq!(first.decision, BootDecision::RamOs(Why::Install), "its hardware is looked at first");
    let install = rack.site.install_of(host.id).unwrap();
    assert!(install.state.arm.consumed.is_none());
    let hello = EventKind::AgentHello { boot: BootKey(Digest([1; 32])), address: "".into() };
    rack.site.apply(&install, vec![hello]).await;

    let looked = Asking { looks_only: true, ..asks(1) };
    assert!(!text(&rack.boots(looked).await).contains("kernel "), "a HEAD is told nothing");
    assert!(rack.site.install_of(host.id).unwrap().state.arm.consumed.is_none(), "and uses nothing up");

    let given = rack.boots(asks(1)).await;
    assert_eq!(given.decision, BootDecision::Installer);
    assert!(rack.site.install_of(host.id).unwrap().state.arm.consumed.is_some());
    let (script, key) = (text(&given), token(&given));
    let digest = rack.digest;
    assert!(
        script.contains(&format!(
            "kernel {BOX}/images/{digest}/linux initrd=initrd0.img initrd=initrd1.img auto=true url={BOX}/answers/{key}/preseed.cfg \
             disk=/dev/disk/by-id/virtio-S1 hostname=node-1 || goto retry\ninitrd --name initrd0.img {BOX}/images/{digest}/initrd.gz || goto retry\n\
             initrd --name initrd1.img {BOX}/answers/{key}/initrd || goto retry\n"
        )),
        "{script}"
    );
    let preseed = rack.answer(&key, "preseed.cfg", from(1)).await.unwrap();
    assert_eq!(preseed, format!("# node-1\nd-i disk S1 20000000000 {BOX}/answers/{key}\n"));
    assert!(rack.answer(&key, "initrd", from(1)).await.unwrap().starts_with("070701"));
    assert_eq!(rack.answer(&key, "preseed.cfg", from(2)).await, None, "another address gets nothing");
    assert_eq!(rack.answer(&key, "other", from(1)).await, None);
    assert_eq!(rack.answer("00", "preseed.cfg", from(1)).await, None);
    let fixed =
        async |peer| rack.state.desk.answer_at("preseeds/52:54:00:77:00:01.cfg", peer, BOX, false).await.unwrap();
    assert!(fixed(from(1)).await.is_some_and(|text| text.starts_with(b"# node-1\n")), "also under its fixed path");
    assert_eq!(fixed(from(2)).await, None, "whoever has another address gets nothing");
    let looked =
        rack.state.desk.answer_at("preseeds/52:54:00:77:00:01.cfg", from(1), BOX, true).await.unwrap().unwrap();
    let nobodys = "0".repeat(crate::auth::TOKEN_HEX);
    assert!(String::from_utf8_lossy(&looked).contains(&nobodys), "a HEAD has the length, and no token of its own");
    assert_eq!(Some(looked.len()), fixed(from(1)).await.map(|whole| whole.len()));

    for stage in ["started", "network", "network", "disks", "base-system", "bootloader"] {
        assert!(rack.says(&key, stage, from(1)).await.unwrap(), "{stage}");
    }
    assert!(!rack.says("00", "installed", from(1)).await.unwrap());
    assert!(!rack.says(&key, "installed", from(3)).await.unwrap(), "not from another address");
    assert_eq!(rack.phase(&host), Phase::Installing);
    assert!(rack.says(&key, "installed", from(1)).await.unwrap());
    assert_eq!(rack.phase(&host), Phase::Waiting);
    assert!(rack.says(&key, "installed", from(1)).await.unwrap(), "the same word again is harmless");
    assert_eq!(rack.boots(asks(1)).await.decision, BootDecision::LocalDisk);
    assert!(rack.says(&key, "first-boot", from(77)).await.unwrap(), "the new system may have another address");
    assert_eq!(rack.phase(&host), Phase::Done);
    assert_eq!(rack.boots(asks(1)).await.decision, BootDecision::LocalDisk);
    let filter = EventFilter { host: Some(host.id), limit: 100, ..EventFilter::default() };
    let events = rack.state.inventory.read(move |reader| reader.events(&filter)).await.unwrap();
    let stages = events.iter().filter(|event| matches!(event.event.kind, EventKind::InstallerStage { .. }));
    assert_eq!(stages.count(), 5, "each stage once");
}

#[tokio::test]
async fn a_lost_reply_loses_nothing_and_a_machine_that_comes_back_is_not_installed_again() {
    let rack = Rack::new().await;
    let (host, _) = rack.ready(1).await;
    let tokens: Vec<String> = [rack.boots(asks(1)).await, rack.boots(asks(1)).await].iter().map(token).collect();
    assert_eq!(rack.answer(&tokens[0], "preseed.cfg", from(1)).await, None, "the lost script speaks for it no more");
    assert!(rack.says(&tokens[1], "disks", from(1)).await.unwrap());
    let back = rack.boots(asks(1)).await;
    assert_eq!(back.decision, BootDecision::RamOs(Why::Interrupted));
    assert_eq!(rack.phase(&host), Phase::Interrupted);
    for _ in 0..5 {
        assert_eq!(rack.boots(asks(1)).await.decision, BootDecision::RamOs(Why::Interrupted));
    }
    actions::steer(&rack.state, host.id, actions::Steer::Resume, Actor::Box).await.unwrap();
    assert_eq!(rack.boots(asks(1)).await.decision, BootDecision::Installer, "a person said so");

    let (_, _) = rack.ready(2).await;
    let given: Vec<_> =
        [rack.boots(asks(2)).await, rack.boots(asks(2)).await, rack.boots(asks(2)).await, rack.boots(asks(2)).await]
            .iter()
            .map(|given| given.decision)
            .collect();
    let (installer, waits) = (BootDecision::Installer, BootDecision::RamOs(Why::Interrupted));
    assert_eq!(given, [installer, installer, installer, waits], "three times at most");
}

#[tokio::test]
async fn a_host_armed_before_its_hardware_is_known_is_told_its_own_disk_or_gets_no_installer() {
    let rack = Rack::new().await;
    for (number, facts, wanted) in
        [(1, Some(Rack::facts(true)), true), (2, None, false), (3, Some(Rack::facts(false)), false)]
    {
        let host = rack.site.host(&format!("node-{number}"), number, None).await;
        let install = rack.arm(&host).await;
        assert_eq!(rack.boots(asks(number)).await.decision, BootDecision::RamOs(Why::Install), "looked at first");
        let (id, known) = (host.id, facts.clone());
        let found = move |tx: &mut crate::inventory::Tx<'_>| {
            let host = (*tx.host(id).unwrap()).clone();
            tx.put_host(&Host { facts: known, ..host }).map(drop)
        };
        rack.state.inventory.transact(found).await.unwrap();
        let hello = EventKind::AgentHello { boot: BootKey(Digest([number; 32])), address: "".into() };
        rack.site.apply(&install, vec![hello]).await;
        let given = rack.boots(asks(number)).await;
        assert_eq!(given.decision == BootDecision::Installer, wanted, "node-{number}: {:?}", given.decision);
        if wanted {
            assert!(text(&given).contains("disk=/dev/disk/by-id/virtio-S1 "), "{}", text(&given));
            let preseed = rack.answer(&token(&given), "preseed.cfg", from(number)).await.unwrap();
            assert!(preseed.contains("d-i disk S1 20000000000 "), "{preseed}");
        } else {
            let install = rack.site.install_of(host.id).unwrap();
            assert!(
                install.state.arm.consumed.is_none() && install.state.phase == Phase::Failed,
                "{:?}",
                install.state
            );
        }
    }
}

#[tokio::test]
async fn a_fixed_answer_that_is_asked_for_often_leaves_the_scripts_token_good() {
    let rack = Rack::new().await;
    let (_, _) = rack.ready(1).await;
    let key = token(&rack.boots(asks(1)).await);
    let poll = async || {
        let path = "preseeds/52:54:00:77:00:01.cfg";
        let answer = rack.state.desk.answer_at(path, from(1), BOX, false).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.split_once("/answers/").map(|(_, token)| token.trim().to_owned()).unwrap()
    };
    let mut last = String::new();
    for _ in 0..crate::inventory::BOOT_TOKENS * 3 {
        last = poll().await;
    }
    assert!(rack.answer(&key, "preseed.cfg", from(1)).await.is_some(), "the script's own, used for the first time");
    for _ in 0..crate::inventory::BOOT_TOKENS * 3 {
        last = poll().await;
        assert!(rack.says(&last, "network", from(1)).await.unwrap(), "each is good");
    }
    assert!(rack.says(&key, "disks", from(1)).await.unwrap(), "and the script's as long as its boot");
    assert!(rack.says(&last, "installed", from(1)).await.unwrap());
}

#[tokio::test]
async fn beside_another_dhcp_server_an_old_lease_of_ours_keeps_no_installer_back() {
    let rack = Rack::new().await;
    let (host, _) = rack.ready(1).await;
    let mac = host.mac().unwrap();
    let (address, expires) =
        (Ipv4Addr::new(192, 0, 2, 50), rack.state.inventory.clock().now().after(Duration::from_secs(600)));
    let stage = async |word: &'static str| {
        let row = LeaseRow { address, mac, client_id: None, expires };
        let set = move |tx: &mut crate::inventory::Tx<'_>| {
            tx.change_leases(&[Change::Put(row)])?;
            tx.set_ladder(word.into(), "test".into())
        };
        rack.state.inventory.transact(set).await.unwrap();
    };
    for word in ["server", "pxe-only"] {
        stage(word).await;
        assert_eq!(
            rack.boots(asks(1)).await.decision,
            BootDecision::RamOs(Why::Install),
            "{word}: not where we put it"
        );
    }
    stage("proxy").await;
    assert_eq!(rack.boots(asks(1)).await.decision, BootDecision::Installer, "the other server gave it this one");
}

#[tokio::test]
async fn an_image_stays_as_long_as_somebody_needs_it() {
    let rack = Rack::new().await;
    let remove = async || crate::http::api::remove_image(&rack.state, "netboot", Actor::Box).await.map(drop);
    let why = async || remove().await.unwrap_err().to_string();
    let (host, _) = rack.ready(1).await;
    assert!(why().await.contains("the install of Debian by its installer on node-1"), "{}", why().await);
    assert_eq!(rack.boots(asks(1)).await.decision, BootDecision::Installer);
    assert!(why().await.contains("on node-1"), "also while it runs");
    actions::steer(&rack.state, host.id, actions::Steer::Cancel, Actor::Box).await.unwrap();
    let other = rack.host(2).await;
    actions::set_live(&rack.state, &other, "memtest", &Default::default(), Actor::Box).await.unwrap();
    assert!(why().await.contains("node-2, which boots Memory test from the network"), "{}", why().await);
    actions::unset_live(&rack.state, other.id, Actor::Box).await.unwrap();
    remove().await.unwrap();
}

#[tokio::test]
async fn nobody_else_gets_the_installer() {
    let rack = Rack::new().await;
    let (host, _) = rack.ready(1).await;
    let other = SmbiosUuid::parse("564d1234-5678-9abc-def0-112233445566").unwrap();
    let known = rack.host(2).await;
    assert_ne!(rack.boots(asks(2)).await.decision, BootDecision::Installer, "a host that is not armed");
    drop(known);
    assert_ne!(rack.boots(asks(9)).await.decision, BootDecision::Installer, "an unknown host");
    for policy in [BootPolicy::Ignore, BootPolicy::OwnFiles] {
        let id = host.id;
        let set = move |tx: &mut crate::inventory::Tx<'_>| {
            let mut host = (*tx.host(id).unwrap()).clone();
            host.policy = policy;
            tx.put_host(&host).map(drop)
        };
        rack.state.inventory.transact(set).await.unwrap();
        assert_ne!(rack.boots(asks(1)).await.decision, BootDecision::Installer, "{policy:?}");
    }
    let id = host.id;
    let reset = move |tx: &mut crate::inventory::Tx<'_>| {
        let mut host = (*tx.host(id).unwrap()).clone();
        (host.policy, host.uuid) = (BootPolicy::Default, SmbiosUuid::parse("564d1234-5678-9abc-def0-000000000001"));
        tx.put_host(&host).map(drop)
    };
    rack.state.inventory.transact(reset).await.unwrap();
    let mut foreign = asks(1);
    foreign.identity.uuid = Some(other);
    assert_ne!(rack.boots(foreign).await.decision, BootDecision::Installer, "another machine under its address");
    assert_eq!(rack.phase(&host), Phase::Cancelled);
    assert_ne!(rack.boots(asks(1)).await.decision, BootDecision::Installer);
}

#[tokio::test]
async fn a_live_system_boots_until_a_person_says_otherwise_and_gives_way_to_an_install() {
    let rack = Rack::new().await;
    let host = rack.host(1).await;
    let none = Default::default();
    assert!(actions::set_live(&rack.state, &host, "netinst", &none, Actor::Box).await.is_err(), "that one erases");
    let refused = actions::install(
        &rack.state,
        host.id,
        InstallRequest { profile: "memtest".to_owned(), ..InstallRequest::default() },
        Actor::Box,
    );
    assert!(refused.await.is_err(), "that one installs nothing");
    actions::set_live(&rack.state, &host, "memtest", &none, Actor::Box).await.unwrap();
    for _ in 0..3 {
        let given = rack.boots(asks(1)).await;
        assert_eq!(given.decision, BootDecision::Live);
        assert!(text(&given).contains("/memtest "), "{}", text(&given));
    }
    rack.arm(&host).await;
    assert_eq!(rack.boots(asks(1)).await.decision, BootDecision::RamOs(Why::Install));
    actions::steer(&rack.state, host.id, actions::Steer::Disarm, Actor::Box).await.unwrap();
    assert_eq!(rack.boots(asks(1)).await.decision, BootDecision::Live);
    actions::unset_live(&rack.state, host.id, Actor::Box).await.unwrap();
    assert_ne!(rack.boots(asks(1)).await.decision, BootDecision::Live);
    assert!(actions::unset_live(&rack.state, host.id, Actor::Box).await.is_err());
}
