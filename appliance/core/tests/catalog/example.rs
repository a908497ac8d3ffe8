//! The example host, armed with a profile or booting one live.

use rackberry_core::{
    boot::{
        BootDecision,
        answers::{self, Occasion, Subject},
        grub,
        own::OwnBoot,
        pxelinux, script,
        script::{Over, ScriptContext},
    },
    hardware::{Disk, Transport},
    host::{Arch, Host, MacAddr},
    id::{HostId, InstallId},
    image::{Compression, Digest},
    install::{
        Binding, ConsentRule, Install, InstallState, LiveBoot, Plan, PlannedBoot, PlannedFile, PlannedImage,
        PlannedInitrd,
    },
    profile::{FileSpec, InitrdSpec, ParameterKind, Profile, Way},
    task::DiskRule,
    text::CleanText,
    time::{Timestamp, WallTime},
};
use std::{collections::BTreeMap, time::Duration};

const BOX: &str = "http://192.168.77.1";
const TOKEN: &str = "TOKEN";
/// What crypt(3) makes of "rackberry" with SHA-512, as hosts are only ever given it.
const HASH: &str =
    "$6$rackberry$c8X2PvLVe4sCiRyEFEdUA0XtkdwaSkgYkOuPcy.oNTJtvLORh5xbBZFOb9.C5ML3PI5H3cNdPHwJ3ImZiADLS/";

/// All texts of a profile, by their names in `expected/`.
pub fn render(profile: &Profile, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let example = Example::of(profile, more);
    let mut all = BTreeMap::new();
    if profile.way == Way::Image {
        let install = example.install.as_ref().unwrap();
        for file in answers::render(install, &example.host, BOX, TOKEN).unwrap() {
            all.insert(format!("files{}", file.path), file.link.unwrap_or(file.content));
        }
        return all;
    }
    all.extend(example.loaders(profile));
    let subject = example.subject();
    for answer in &profile.answers {
        let text = answers::answer(subject, example.occasion(), &answer.path)
            .unwrap_or_else(|error| panic!("{}: {}", profile.name, chain(&error)));
        all.insert(format!("answers/{}", answer.path), text.unwrap());
        if let Some(at) = &answer.at {
            let fixed = at.replace("{{ host.mac }}", "52:54:00:77:00:01");
            let found = answers::answer_at(subject, example.occasion(), fixed.trim_start_matches('/')).unwrap();
            assert_eq!(found, Some(answer.path.as_str()), "{}: {fixed}", profile.name);
        }
    }
    for file in answers::initrd_files(subject, example.occasion()).unwrap() {
        all.insert(format!("initrd/{}", file.path), file.content);
    }
    all
}

/// The example host with a profile: armed, or booting live.
pub struct Example {
    host: Host,
    disk: Disk,
    install: Option<Install>,
    live: Option<LiveBoot>,
}

impl Example {
    pub fn of(profile: &Profile, more: &[(&str, &str)]) -> Self {
        let host: Host = serde_json::from_value(serde_json::json!({
            "id": HostId(uuid()), "name": "node-01", "macs": ["52:54:00:77:00:01", "52:54:00:77:00:02"],
            "uuid": null, "serial": "SRV-0001", "arch": "x86_64", "firmware": "uefi", "policy": "default",
            "strategy": "plain", "tags": [], "facts": null, "enrolled": false, "note": "", "installed": null,
            "disk_until": null, "created": Timestamp::default(), "created_wall": WallTime::default(),
        }))
        .unwrap();
        let disk = Disk {
            name: CleanText::new("sda"),
            serial: CleanText::new("SN-0001"),
            wwn: CleanText::new("0x5000c500a1b2c3d4"),
            transport: Transport::Sas,
            size_bytes: 16 << 30,
            ..serde_json::from_value(serde_json::json!({ "name": "sda", "size_bytes": 0 })).unwrap()
        };
        let boot = profile.boot.as_ref().map(|_| planned(profile));
        let parameters = parameters(profile, more);
        let (mut install, mut live) = (None, None);
        if let Some(workflow) = &profile.workflow {
            install = Some(Install {
                id: InstallId(uuid()),
                host: host.id,
                plan: Plan {
                    profile: profile.name.clone(),
                    title: profile.title.clone(),
                    way: profile.way,
                    arch: profile.arch,
                    image: PlannedImage {
                        digest: Digest([0; 32]),
                        name: CleanText::new(&profile.image),
                        size_bytes: 0,
                        compression: Compression::None,
                        raw_bytes: None,
                    },
                    boot,
                    disk: DiskRule::Only,
                    seen_disk: None,
                    erase: false,
                    hostname: host.name.clone(),
                    parameters,
                    files: profile.files.clone(),
                    seed: profile.seed,
                    grow: profile.grow,
                    boot_order: profile.boot_order,
                },
                state: InstallState::armed(
                    workflow,
                    Binding { macs: host.macs.clone(), uuid: None },
                    ConsentRule::Never,
                    Timestamp::default(),
                    Duration::ZERO,
                ),
                created: Timestamp::default(),
                created_wall: WallTime::default(),
                by: CleanText::default(),
            });
        } else {
            live = Some(LiveBoot {
                profile: profile.name.clone(),
                title: profile.title.clone(),
                hostname: host.name.clone(),
                parameters,
                boot: boot.unwrap(),
                since: Timestamp::default(),
                since_wall: WallTime::default(),
                by: CleanText::default(),
            });
        }
        Example { host, disk, install, live }
    }

    fn subject(&self) -> Subject<'_> {
        match (&self.install, &self.live) {
            (Some(install), _) => Subject::install(install, Some(&self.disk)),
            (None, live) => Subject::live(live.as_ref().unwrap()),
        }
    }

    fn occasion(&self) -> Occasion<'_> {
        Occasion { host: &self.host, box_url: BOX, token: TOKEN }
    }

    pub fn files(&self) -> script::BootFiles {
        let files = answers::boot_files(self.subject(), self.occasion());
        files.unwrap_or_else(|error| panic!("{}", chain(&error))).unwrap()
    }

    pub fn loaders(&self, profile: &Profile) -> BTreeMap<String, String> {
        let files = self.files();
        let decision = if profile.way == Way::Live { BootDecision::Live } else { BootDecision::Installer };
        let context = |over| ScriptContext {
            box_url: BOX,
            name: "node-01",
            mac: MacAddr([0x52, 0x54, 0, 0x77, 0, 1]),
            arch: Arch::X86_64,
            token: TOKEN,
            kernel_args: "",
            over,
            own: &OwnBoot::Nothing,
            files: Some(&files),
        };
        BTreeMap::from([
            ("boot.ipxe".to_owned(), script::script(decision, &context(Over::Http))),
            ("pxelinux.cfg".to_owned(), pxelinux::config(decision, &context(Over::Tftp)).unwrap()),
            ("grub.cfg".to_owned(), grub::config(decision, &context(Over::Tftp)).unwrap()),
        ])
    }
}

/// Media as if they had been imported: digests of their own, in their order.
fn planned(profile: &Profile) -> PlannedBoot {
    let boot = profile.boot.as_ref().unwrap();
    let digests = [0xa1, 0xb2, 0xc3, 0xd4].map(|byte| Digest([byte; 32]));
    let media: BTreeMap<String, Digest> =
        profile.media.iter().zip(digests).map(|(medium, digest)| (medium.name.clone(), digest)).collect();
    assert_eq!(media.len(), profile.media.len());
    let file = |spec: &FileSpec| PlannedFile { image: *media.get(&spec.medium).unwrap(), path: spec.path.clone() };
    PlannedBoot {
        kernel: file(&boot.kernel),
        initrds: boot
            .initrd
            .iter()
            .map(|initrd| match initrd {
                InitrdSpec::File(spec) => PlannedInitrd::File(file(spec)),
                InitrdSpec::Files => PlannedInitrd::Files,
            })
            .collect(),
        args: boot.args.clone(),
        initrd_files: profile.initrd_files.clone(),
        answers: profile.answers.clone(),
        shared: profile.shared.clone(),
        media,
    }
}

/// Defaults, and for what has none something to look at.
fn parameters(profile: &Profile, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut given = BTreeMap::new();
    for parameter in &profile.parameters {
        let value = match (parameter.kind, parameter.name.as_str()) {
            (ParameterKind::SshKeys, _) => {
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrackberryrackberryrackberryrackberryrack admin@laptop"
            }
            (_, "version") => "1.2.3",
            (_, "first_boot" | "post" | "pre") => "echo \"it's on\" > /run/own\n",
            (_, "packages") if parameter.kind == ParameterKind::Lines => "tmux\nvim",
            _ => continue,
        };
        given.insert(parameter.name.clone(), value.to_owned());
    }
    let asks = |name: &str| profile.parameters.iter().any(|parameter| parameter.name == name);
    let more = more.iter().filter(|(name, _)| asks(name));
    given.extend(more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut filled = profile.fill(&given).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", profile.name));
    // Hashed when an install is armed, so that templates never see what was typed.
    for parameter in profile.parameters.iter().filter(|parameter| parameter.kind == ParameterKind::Password) {
        filled.insert(parameter.name.clone(), HASH.to_owned());
    }
    filled
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        out.push_str(&format!(": {inner}"));
        next = inner.source();
    }
    out
}
