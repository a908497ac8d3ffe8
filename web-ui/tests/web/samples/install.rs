//! The install dialog and the disks in it.

use super::{GB, Samples};
use rackberry_web::views::*;

impl<F: Fn(&str) -> String> Samples<F> {
    pub(super) fn windows_disk(&self) -> DiskView {
        DiskView {
            name: self.t("nvme0n1"),
            model: self.t("Samsung PM981a"),
            serial: self.t("S4EVNF0M912873"),
            bytes: 512_110_190_592,
            note: String::new(),
            contents: Contents::Data {
                summary: self.t("Windows 11, 212 GB used, with BitLocker."),
                parts: vec![
                    PartView { label: self.t("EFI"), filesystem: self.t("vfat"), bytes: 100_000_000, used_bytes: None },
                    PartView {
                        label: self.t("Windows 11"),
                        filesystem: self.t("ntfs"),
                        bytes: 490 * GB,
                        used_bytes: Some(212 * GB),
                    },
                    PartView {
                        label: self.t("Recovery"),
                        filesystem: self.t("ntfs"),
                        bytes: 21 * GB,
                        used_bytes: None,
                    },
                ],
            },
        }
    }

    pub(super) fn disk(&self, name: &str, model: &str, bytes: u64, contents: Contents) -> DiskView {
        DiskView {
            name: self.t(name),
            model: self.t(model),
            serial: self.t("W0012"),
            bytes,
            note: self.t("SMART good"),
            contents,
        }
    }

    /// What may run without a disk, one of them chosen.
    pub fn live(&self) -> LivePage {
        let profile = |id: &str, name: &str, refusal: &str| ProfileChoice {
            id: self.t(id),
            name: self.t(name),
            note: String::new(),
            refusal: if refusal.is_empty() { String::new() } else { self.t(refusal) },
        };
        LivePage {
            shell: self.shell(Section::Hosts),
            host_id: self.t("h-03"),
            host_name: self.t("r1-n03"),
            profiles: vec![
                profile("memtest86plus", "memtest86+", ""),
                profile("diskless-debian", "Debian, diskless", ""),
                profile("alpine", "Alpine, diskless", "alpine is not on the box."),
            ],
            profile: self.t("diskless-debian"),
            params: vec![ParamField {
                name: self.t("mode"),
                label: self.t("Mode"),
                hint: self.t("How the root is held in memory."),
                kind: ParamKind::Choice(vec![(self.t("copy"), self.t("copy")), (self.t("overlay"), self.t("overlay"))]),
                value: self.t("overlay"),
                required: false,
                problem: String::new(),
            }],
            problem: String::new(),
        }
    }

    pub fn dialog(&self) -> InstallDialog {
        let field = |name: &str, label: &str, kind: ParamKind, value: &str, hint: &str| ParamField {
            name: self.t(name),
            label: self.t(label),
            hint: if hint.is_empty() { String::new() } else { self.t(hint) },
            kind,
            value: self.t(value),
            required: true,
            problem: String::new(),
        };
        let profile = |id: &str, name: &str, note: &str, refusal: &str| ProfileChoice {
            id: self.t(id),
            name: self.t(name),
            note: if note.is_empty() { String::new() } else { self.t(note) },
            refusal: if refusal.is_empty() { String::new() } else { self.t(refusal) },
        };
        InstallDialog {
            host_id: self.t("h-0a"),
            host_name: self.t("m720q-0a7e"),
            host_line: self.t("Lenovo ThinkCentre M720q · 6 cores · 16 GB · NVMe 512 GB"),
            csrf: self.t("c5f-0123456789"),
            profiles: vec![
                profile("debian-13", "Debian 13", "on the box · about 3 min", ""),
                profile("ubuntu-24.04", "Ubuntu 24.04", "on the box · about 9 min", ""),
                profile("talos", "Talos 1.9", "", "needs 2 disks; this host has 1"),
            ],
            profile: self.t("debian-13"),
            params: vec![
                ParamField {
                    problem: self.t("No underscores in host names. Try node-06."),
                    ..field("hostname", "Host name", ParamKind::Text, "node_06", "")
                },
                field("user", "First user", ParamKind::Text, "ops", "Gets sudo. Signs in by key only."),
                field(
                    "keys",
                    "SSH keys",
                    ParamKind::Lines,
                    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ops@bench",
                    "One on each line.",
                ),
                field("swap", "Swap in GB", ParamKind::Number { min: Some(0), max: Some(64) }, "2", ""),
                field("updates", "Updates by itself", ParamKind::Bool, "true", "Security updates only."),
                field(
                    "locale",
                    "Language",
                    ParamKind::Choice(vec![
                        (self.t("en_GB.UTF-8"), self.t("English")),
                        (self.t("de_DE.UTF-8"), self.t("German")),
                    ]),
                    "de_DE.UTF-8",
                    "",
                ),
                field(
                    "rootpw",
                    "Root password",
                    ParamKind::Secret,
                    "never-shown-again",
                    "Kept encrypted until the install ends.",
                ),
            ],
            disks: vec![
                DiskChoice {
                    value: self.t("serial:S4EVNF0M912873"),
                    disk: Some(self.windows_disk()),
                    ..DiskChoice::default()
                },
                DiskChoice {
                    value: self.t("serial:W0012"),
                    disk: Some(self.disk("sda", "SATADOM", 64 * GB, Contents::Empty)),
                    ..DiskChoice::default()
                },
                DiskChoice {
                    value: self.t("serial:U1"),
                    disk: Some(self.disk("sdb", "Ultra Fit", 4 * GB, Contents::Empty)),
                    refusal: self.t("smaller than the image"),
                    ..DiskChoice::default()
                },
                DiskChoice {
                    value: self.t("smallest"),
                    label: self.t("Smallest disk"),
                    note: self.t("picks sda today"),
                    ..DiskChoice::default()
                },
            ],
            disk: String::new(),
            disk_problem: self.t("Choose the disk to install on."),
            confirm: self.t("m720q"),
            confirm_problem: self.t("That is not the name of this host. Type m720q-0a7e."),
            problem: String::new(),
            checks: vec![
                Check { outlook: Outlook::Good, word: self.t("Memory"), note: self.t("16 GB, Debian 13 needs 1 GB") },
                Check {
                    outlook: Outlook::Open,
                    word: self.t("Power"),
                    note: self.t("no driver set: switch it on yourself"),
                },
                Check {
                    outlook: Outlook::Bad,
                    word: self.t("Disk"),
                    note: self.t("SMART reports reallocated sectors"),
                },
            ],
            expires_ms: 7_200_000,
            back: self.t("/hosts/h-0a"),
        }
    }

    pub fn dialog_chosen(&self) -> InstallDialog {
        InstallDialog {
            disk: self.t("serial:S4EVNF0M912873"),
            disk_problem: String::new(),
            confirm_problem: String::new(),
            confirm: String::new(),
            ..self.dialog()
        }
    }

    pub fn dialog_empty_disk(&self) -> InstallDialog {
        let disk = self.disk("sda", "SATADOM", 64 * GB, Contents::Empty);
        let mut dialog = self.dialog();
        dialog.disks = vec![DiskChoice { value: self.t("serial:W0012"), disk: Some(disk), ..DiskChoice::default() }];
        dialog.params.iter_mut().for_each(|p| p.problem = String::new());
        InstallDialog { disk_problem: String::new(), confirm_problem: String::new(), confirm: String::new(), ..dialog }
    }
}
