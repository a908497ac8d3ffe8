//! Sample pages for the golden files, the hostile-text test and the example. Every text of a stranger or of the
//! server passes through `t`, so that a test can put something nasty in its place.

use rackberry_web::views::*;

/// A named page: file name and HTML.
pub type Page = (&'static str, String);

/// Makes the text of a sample; the identity for golden files.
pub struct Samples<F: Fn(&str) -> String> {
    pub t: F,
    pub theme: Theme,
    pub contrast: Contrast,
}

const GB: u64 = 1_000_000_000;
const GIB: u64 = 1 << 30;
/// 20 November 2026, 18:40:02 UTC.
const EVENING: u64 = 1_795_200_002_000;

impl<F: Fn(&str) -> String> Samples<F> {
    fn t(&self, text: &str) -> String {
        (self.t)(text)
    }

    fn texts(&self, texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| self.t(text)).collect()
    }

    pub fn shell(&self, section: Section) -> Shell {
        Shell {
            section,
            box_name: self.t("rackberry.local"),
            interface: self.t("eth0"),
            address: self.t("10.20.0.2"),
            mode: self.t("Adding boot files beside another DHCP server."),
            version: self.t("v0.1.0"),
            display: String::new(),
            hosts: 10,
            profiles: 3,
            images: 4,
            alarm: None,
            toast: String::new(),
            theme: self.theme,
            contrast: self.contrast,
            user: self.t("ops"),
            csrf: self.t("c5f-0123456789"),
            back: self.t("/"),
            watch: Watch::Host(self.t("h-03")),
            stream_position: self.t("0199-41"),
        }
    }

    pub fn foreign_dhcp(&self) -> Alarm {
        Alarm {
            id: self.t("foreign-dhcp"),
            severe: false,
            title: self.t("Another DHCP server answered, so we stepped back."),
            text: self.t("10.20.0.1 (MikroTik, 48:8f:5a:10:22:01) sent an offer on eth0. We stopped handing out addresses 1.4 s later. Installs go on."),
            links: vec![Link { label: self.t("Details"), href: self.t("/activity") }],
        }
    }

    /// `who` is id, name, MAC and model; `hw` is cores, memory in GiB and disk sizes.
    fn row(&self, who: [&str; 4], hw: (u32, u64, &[u64]), seen: u64, state: StateView) -> HostRow {
        let [id, name, mac, model] = who;
        HostRow {
            id: self.t(id),
            name: if name.is_empty() { String::new() } else { self.t(name) },
            mac: self.t(mac),
            model: if model.is_empty() { String::new() } else { self.t(model) },
            note: self.t("seen on switch sw1, port 14"),
            cores: hw.0,
            memory_bytes: hw.1 * GIB,
            disk_bytes: hw.2.to_vec(),
            seen_ms: Some(seen),
            state,
            fresh: name.is_empty(),
        }
    }

    fn state(&self, kind: StateKind, sentence: &str, aside: &str) -> StateView {
        let aside = if aside.is_empty() { String::new() } else { self.t(aside) };
        StateView { kind, sentence: self.t(sentence), aside, progress: None }
    }

    fn busy(&self, kind: StateKind, progress: Progress) -> StateView {
        StateView { progress: Some(progress), ..self.state(kind, "43 %, Write image", "") }
    }

    pub fn installing(&self) -> StateView {
        self.busy(
            StateKind::Installing,
            Progress {
                percent: Some(43),
                task: self.t("Write image"),
                rate: Some(112_000_000),
                left_ms: Some(110_000),
                silent_ms: 200,
            },
        )
    }

    pub fn rows(&self) -> Vec<HostRow> {
        let nvme: &[u64] = &[1_000_204_886_016];
        let sm = "Supermicro 5019D";
        vec![
            self.row(["h-03", "r1-n03", "3c:ec:ef:7a:10:03", sm], (8, 64, nvme), 300, self.installing()),
            self.row(
                ["h-09", "r1-n09", "3c:ec:ef:7a:10:09", sm],
                (8, 64, nvme),
                34_000,
                self.busy(
                    StateKind::Silent,
                    Progress {
                        percent: Some(18),
                        task: self.t("Run installer"),
                        rate: None,
                        left_ms: None,
                        silent_ms: 34_200,
                    },
                ),
            ),
            self.row(
                ["h-10", "r1-n10", "3c:ec:ef:7a:10:10", sm],
                (8, 64, nvme),
                1_000,
                self.busy(
                    StateKind::Installing,
                    Progress { percent: None, task: self.t("Boot RAM OS"), rate: None, left_ms: None, silent_ms: 900 },
                ),
            ),
            self.row(
                ["h-04", "r1-n04", "94:18:82:0c:5e:d0", "HPE DL360 Gen9"],
                (16, 128, &[480 * GB, 480 * GB]),
                180_000,
                self.state(
                    StateKind::Failed,
                    "The image arrived damaged twice.",
                    "The disk is partly written and will not boot.",
                ),
            ),
            self.row(
                ["h-11", "r1-n11", "94:18:82:0c:5e:d1", "HPE DL360 Gen9"],
                (16, 128, &[480 * GB]),
                240_000,
                self.state(
                    StateKind::TimedOut,
                    "Wait for first boot took longer than 15 min.",
                    "The disk is written; the machine may just not start from it.",
                ),
            ),
            self.row(
                ["h-12", "r1-n12", "94:18:82:0c:5e:d2", "HPE DL360 Gen9"],
                (16, 128, &[480 * GB]),
                4_000,
                self.state(
                    StateKind::Interrupted,
                    "Stopped at 43 %.",
                    "The disk is partly written and will not boot. Waiting in the RAM OS.",
                ),
            ),
            self.row(
                ["h-07", "r1-n07", "3c:ec:ef:7a:10:07", sm],
                (8, 64, nvme),
                540_000,
                self.state(
                    StateKind::Armed,
                    "Erases its disk at the next network boot.",
                    "Debian 13, expires in 1 h 48 min. Bound by MAC only.",
                ),
            ),
            self.row(
                ["h-0a", "m720q-0a7e", "98:fa:9b:41:0a:7e", "Lenovo ThinkCentre M720q"],
                (6, 16, &[512_110_190_592]),
                2_000,
                self.state(StateKind::Waiting, "Running from memory, disk untouched.", "Windows 11 found on its disk"),
            ),
            self.row(
                ["h-05", "r1-n05", "d0:50:99:c3:77:15", "ASRock X570D4U"],
                (12, 64, &[2000 * GB, 2000 * GB]),
                5_000,
                self.state(StateKind::Waiting, "Running from memory, disk is empty.", ""),
            ),
            self.row(
                ["h-13", "", "00:25:90:fa:12:c4", ""],
                (0, 0, &[]),
                6_000,
                self.state(
                    StateKind::Discovered,
                    "Asked to boot; fetching the RAM OS.",
                    "UEFI x64, offer sent 6 s ago",
                ),
            ),
            self.row(
                ["h-14", "spare-1", "00:25:90:fa:12:c5", sm],
                (8, 64, nvme),
                70_000,
                self.state(StateKind::Cancelled, "Stopped by ops 5 min ago.", "The disk was not touched."),
            ),
            self.row(
                ["h-01", "r1-n01", "b0:26:28:91:3d:01", "Dell R640"],
                (32, 192, &[960 * GB, 960 * GB]),
                60_000,
                self.state(StateKind::Running, "Debian 13, up for 8 days", ""),
            ),
            self.row(
                ["h-02", "pi-rack-1", "d8:3a:dd:1e:90:44", "Raspberry Pi 5"],
                (4, 8, &[]),
                60_000,
                self.state(StateKind::Running, "Raspberry Pi OS, diskless", ""),
            ),
            self.row(
                ["h-15", "old-box", "00:11:22:33:44:55", "Dell OptiPlex 3050"],
                (4, 8, &[256 * GB]),
                1_500_000_000,
                self.state(StateKind::Off, "Last seen 17 days ago.", ""),
            ),
        ]
    }

    pub fn hosts(&self) -> HostsPage {
        let rows = self.rows();
        let mut counts = StateCounts::default();
        rows.iter().for_each(|row| counts.add(row.state.kind()));
        HostsPage {
            shell: self.shell(Section::Hosts),
            counts,
            rows,
            last_packet_ms: Some(3_000),
            ..HostsPage::default()
        }
    }

    pub fn hosts_empty(&self) -> HostsPage {
        HostsPage { shell: self.shell(Section::Hosts), last_packet_ms: Some(3_000), ..HostsPage::default() }
    }

    pub fn hosts_nothing_found(&self) -> HostsPage {
        HostsPage { rows: Vec::new(), query: self.t("dl380"), state: self.t("failed"), ..self.hosts() }
    }

    fn windows_disk(&self) -> DiskView {
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

    fn disk(&self, name: &str, model: &str, bytes: u64, contents: Contents) -> DiskView {
        DiskView {
            name: self.t(name),
            model: self.t(model),
            serial: self.t("W0012"),
            bytes,
            note: self.t("SMART good"),
            contents,
        }
    }

    fn hardware(&self) -> Hardware {
        Hardware {
            model: self.t("Supermicro SYS-5019D"),
            serial: self.t("A300918X9C04417"),
            uuid: self.t("4c4c4544-0031-3510-8052-b4c04f4b4e32"),
            board: self.t("X11SDV-4C-TLN2F"),
            firmware: self.t("UEFI x64, Secure Boot off"),
            firmware_version: self.t("AMI 1.4, 04/21/2020"),
            cpu: self.t("Xeon D-2123IT"),
            cores: 4,
            threads: 8,
            memory_bytes: 64 * GIB,
            disks: vec![
                self.windows_disk(),
                self.disk(
                    "sda",
                    "SATADOM",
                    64 * GB,
                    Contents::Data {
                        summary: self.t("One file system, 41 GB used."),
                        parts: vec![PartView {
                            label: String::new(),
                            filesystem: self.t("ext4"),
                            bytes: 50 * GB,
                            used_bytes: Some(41 * GB),
                        }],
                    },
                ),
                self.disk("sdb", "Ultra Fit", 32 * GB, Contents::Empty),
                self.disk("sdc", "Unknown", 32 * GB, Contents::Unknown),
            ],
            nics: vec![
                NicView {
                    name: self.t("eno1"),
                    mac: self.t("3c:ec:ef:7a:10:03"),
                    link: true,
                    speed_mbit: Some(1000),
                    boots_here: true,
                    note: self.t("igb"),
                },
                NicView {
                    name: self.t("eno2"),
                    mac: self.t("3c:ec:ef:7a:10:04"),
                    link: false,
                    speed_mbit: None,
                    boots_here: false,
                    note: String::new(),
                },
            ],
            bmc: Some(BmcView {
                address: self.t("10.20.9.103"),
                mac: self.t("3c:ec:ef:7a:20:03"),
                interface: self.t("kcs"),
            }),
        }
    }

    fn station(&self, state: StationState, took_ms: Option<u64>, note: &str) -> Station {
        Station { state, took_ms, note: if note.is_empty() { String::new() } else { self.t(note) } }
    }

    fn boot(&self) -> BootView {
        use StationState::{Busy, Done};
        BootView {
            started_unix_ms: EVENING,
            dhcp: self.station(Done, Some(40), "UEFI x64"),
            loader: self.station(Done, Some(1_240), "snponly.efi by TFTP"),
            script: self.station(Done, Some(310), ""),
            ram_os: self.station(Done, Some(3_100), "38 MB by HTTP"),
            agent: self.station(Done, Some(9_800), "first report"),
            tasks: self.station(Busy, None, "5 of 8 done"),
            why: None,
        }
    }

    fn stuck(&self) -> BootView {
        use StationState::{Done, Failed};
        BootView {
            started_unix_ms: EVENING - 86_400_000,
            dhcp: self.station(Done, Some(38), ""),
            loader: self.station(Failed, Some(8_000), "never asked"),
            why: Some(Why {
                title: self.t("It took the offer, then never asked for the loader."),
                text: self.t("At the next boot we try without option 43."),
            }),
            ..BootView::default()
        }
    }

    fn task(&self, name: &str, state: TaskState, took: Option<u64>, note: &str) -> TaskView {
        TaskView {
            name: self.t(name),
            state,
            took_ms: took,
            usual_ms: Some(50_000),
            percent: None,
            note: if note.is_empty() { String::new() } else { self.t(note) },
        }
    }

    fn install_view(&self) -> InstallView {
        use TaskState::{Busy, Done, Next};
        let write =
            TaskView { percent: Some(43), ..self.task("Write image", Busy, Some(72_000), "debian-13-amd64.raw.zst") };
        InstallView {
            profile: self.t("Debian 13"),
            disk: self.t("nvme0n1"),
            done_bytes: Some(1_900_000_000),
            total_bytes: Some(4_300_000_000),
            elapsed_ms: 72_000,
            usual_ms: Some(190_000),
            rates: (0..40).map(|n: u64| 84_000_000 + (n * 7919 % 34) * 1_000_000).collect(),
            stages: vec![
                vec![self.task("Power cycle", Done, Some(4_000), "")],
                vec![self.task("Boot RAM OS", Done, Some(14_200), "")],
                vec![
                    self.task("Check hardware", Done, Some(3_000), "SMART good"),
                    self.task("Save partitions", Done, Some(1_100), "kept for an undo"),
                    self.task("Name ports", Done, Some(2_000), "eno1, eno2"),
                ],
                vec![write],
                vec![self.task("Set UEFI boot entry", Next, None, "")],
                vec![self.task("Wait for first boot", Next, None, "")],
            ],
        }
    }

    fn events(&self, with_host: bool) -> Vec<EventRow> {
        let host = |text: &str| if with_host { self.t(text) } else { String::new() };
        [
            (105_000, Tone::Good, "Resumed, digest state kept.", ""),
            (98_000, Tone::Warning, "Connection lost at 1.1 GB.", "resuming from byte 1181116006"),
            (60_000, Tone::Busy, "Write image started.", "attempt 1"),
            (29_000, Tone::Plain, "The permission to erase was used.", "3c:ec:ef:7a:10:03, UUID and serial match"),
            (0, Tone::Bad, "It took the offer, then never asked for the loader.", ""),
        ]
        .into_iter()
        .map(|(after, tone, text, detail)| EventRow {
            at_unix_ms: if after == 0 { 0 } else { EVENING + after },
            tone,
            text: self.t(text),
            detail: if detail.is_empty() { String::new() } else { self.t(detail) },
            actor: self.t("agent"),
            host_id: host("h-03"),
            host_name: host("r1-n03"),
        })
        .collect()
    }

    pub fn host(&self) -> HostView {
        HostView {
            id: self.t("h-03"),
            name: self.t("r1-n03"),
            mac: self.t("3c:ec:ef:7a:10:03"),
            tags: self.texts(&["k8s", "rack-1"]),
            state: self.installing(),
            hardware: self.hardware(),
            boot: Some(self.boot()),
            earlier: Some(self.stuck()),
            install: Some(self.install_view()),
            events: self.events(false),
            served: vec![
                Served {
                    role: self.t("loader"),
                    name: self.t("snponly.efi"),
                    digest: self.t("71d0aabbccddeeff00112233a9f4"),
                    bytes: 1_100_000,
                },
                Served {
                    role: self.t("RAM OS"),
                    name: self.t("vmlinuz, initrd"),
                    digest: String::new(),
                    bytes: 38_000_000,
                },
            ],
        }
    }

    pub fn host_page(&self, host: HostView) -> HostPage {
        HostPage { shell: self.shell(Section::Hosts), host }
    }

    pub fn host_discovered(&self) -> HostView {
        HostView {
            id: self.t("h-13"),
            name: String::new(),
            mac: self.t("00:25:90:fa:12:c4"),
            tags: Vec::new(),
            state: self.state(
                StateKind::Discovered,
                "Asked to boot; fetching the RAM OS.",
                "UEFI x64, offer sent 9 s ago",
            ),
            hardware: Hardware::default(),
            boot: Some(self.stuck()),
            earlier: None,
            install: None,
            events: Vec::new(),
            served: Vec::new(),
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

    fn image(&self, name: &str, bytes: u64, trust: Trust, used_by: &[&str], hosts: u64, keep: &str) -> ImageRow {
        ImageRow {
            id: self.t(name),
            name: self.t(name),
            kind: self.t("disk image"),
            bytes,
            digest: self.t("9f2c41d80aa1b2c3d4e5f60718293a4b5c6d7e8f9f2c41d80aa1b2c3d4e5e07b"),
            origin: self.t("uploaded by ops"),
            trust,
            used_by: self.texts(used_by),
            hosts,
            keep: if keep.is_empty() { String::new() } else { self.t(keep) },
        }
    }

    pub fn images(&self) -> ImagesPage {
        ImagesPage {
            shell: Shell { alarm: Some(self.foreign_dhcp()), ..self.shell(Section::Images) },
            rows: vec![
                self.image("Ubuntu 24.04.3 server", 3_100_000_000, Trust::Importing(Progress {
                    percent: Some(62), task: self.t("Copy"), rate: Some(38_000_000), left_ms: Some(31_000), silent_ms: 0,
                }), &[], 0, ""),
                self.image("Debian 13 amd64", 4_300_000_000, Trust::Signed { by: self.t("Debian signing key 0xDA87E80D") }, &["Debian 13"], 6, "in use by an install"),
                self.image("alpine-3.22.iso", 220_000_000, Trust::DigestOnly { source: self.t("the list of its mirror") }, &["Alpine"], 0, ""),
                self.image("lab-golden-2026-10.qcow2", 9_800_000_000, Trust::Unsigned, &["Lab golden"], 2, ""),
                self.image("Fedora 42 server", 2_700_000_000, Trust::NeedsInternet, &["Fedora 42"], 0, ""),
                self.image("proxmox-ve_9.0-1.iso", 1_600_000_000, Trust::Refused {
                    why: self.t("The file does not match the digest its maker signed. It was not kept. Often a broken download."),
                }, &[], 0, ""),
            ],
            used_bytes: 29 * GB,
            free_bytes: 18 * GB,
            problem: self.t("Debian 13 amd64 is used by an install right now, so it was kept."),
        }
    }

    pub fn profiles(&self) -> ProfilesPage {
        let row = |id: &str, name: &str, missing: &str| ProfileRow {
            id: self.t(id),
            name: self.t(name),
            summary: self.t("Writes a ready disk image and sets name, user and keys."),
            method: self.t("write image"),
            arches: self.t("x86-64, arm64"),
            min_memory_bytes: GIB,
            min_disk_bytes: 4 * GB,
            params: 6,
            missing: if missing.is_empty() { String::new() } else { self.t(missing) },
            hosts: 6,
            changed: missing.is_empty(),
        };
        ProfilesPage {
            shell: Shell { display: "128x64".to_owned(), ..self.shell(Section::Profiles) },
            rows: vec![
                row("debian-13", "Debian 13", ""),
                row("ubuntu-24.04", "Ubuntu 24.04", "Its image is not on the box."),
            ],
        }
    }

    pub fn activity(&self) -> ActivityPage {
        ActivityPage {
            shell: self.shell(Section::Activity),
            rows: self.events(true),
            older: self.t("0199-1"),
            ..ActivityPage::default()
        }
    }

    pub fn enrol(&self) -> EnrolPage {
        EnrolPage {
            shell: self.shell(Section::Hosts),
            list: self.t("3c:ec:ef:7a:10:03, r1-n03\n3c:ec:ef:7a:10, r1-n04"),
            pattern: self.t("node-%02x"),
            list_problem: self.t("1 line is not a MAC address."),
            pattern_problem: self.t("Only %d counts. Try node-%02d."),
            problems: vec![LineProblem {
                line: 2,
                text: self.t("3c:ec:ef:7a:10, r1-n04"),
                why: self.t("A MAC address has 6 parts, this has 5."),
            }],
        }
    }

    pub fn error(&self, shell: Option<Shell>) -> ErrorPage {
        ErrorPage {
            shell,
            happened: self.t("This host is being installed already."),
            did: self.t("Nothing was changed."),
            todo: self.t("Watch it, or stop that install first."),
            link: Some(Link { label: self.t("Watch r1-n03"), href: self.t("/hosts/h-03") }),
        }
    }

    pub fn login(&self, problem: &str) -> LoginPage {
        LoginPage {
            box_name: self.t("rackberry.local"),
            summary: self.t("9 hosts, 2 installing"),
            theme: self.theme,
            contrast: self.contrast,
            csrf: self.t("c5f-0123456789"),
            user: self.t("ops"),
            problem: if problem.is_empty() { String::new() } else { self.t(problem) },
            first_run: problem.is_empty(),
        }
    }

    pub fn first_run(&self, with_problems: bool) -> FirstRunPage {
        let problem = |text: &str| if with_problems { self.t(text) } else { String::new() };
        FirstRunPage {
            box_name: self.t("rackberry.local"),
            theme: self.theme,
            contrast: self.contrast,
            csrf: self.t("c5f-0123456789"),
            code: problem("K7M4PXQ2"),
            user: problem("ops ops"),
            code_problem: problem("That is not the code on the screen. 4 tries left."),
            user_problem: problem("No blanks in names. Try ops-ops."),
            password_problem: problem("The two passwords differ. Type both again."),
        }
    }

    /// Every page and fragment in its key states.
    pub fn all(&self) -> Vec<Page> {
        let alone = |state: StateView| HostView { state, install: None, ..self.host() };
        let mut running = alone(self.state(StateKind::Running, "Debian 13, up for 8 days", ""));
        running.boot = None;
        let quiet = self.busy(
            StateKind::Silent,
            Progress { percent: Some(18), task: self.t("Run installer"), rate: None, left_ms: None, silent_ms: 34_000 },
        );
        let mut hosts_alarm = self.hosts();
        hosts_alarm.shell.alarm = Some(self.foreign_dhcp());
        hosts_alarm.shell.toast = self.t("r1-n01 is up: Debian 13 in 3 min 12 s.");
        let install = |dialog| rackberry_web::install(&InstallPage { shell: self.shell(Section::Hosts), dialog });
        let nothing = InstallDialog {
            profiles: Vec::new(),
            profile: String::new(),
            params: Vec::new(),
            disks: Vec::new(),
            ..self.dialog_chosen()
        };
        let mut many = self.dialog_chosen();
        many.profiles = (0..4).flat_map(|_| self.dialog().profiles).collect();
        vec![
            ("login", rackberry_web::login(&self.login(""))),
            (
                "login-refused",
                rackberry_web::login(
                    &self.login("That is not the password for ops. 3 tries left, then a pause of 1 minute."),
                ),
            ),
            ("first-run", rackberry_web::first_run(&self.first_run(false))),
            ("first-run-refused", rackberry_web::first_run(&self.first_run(true))),
            ("hosts", rackberry_web::hosts(&self.hosts())),
            ("hosts-alarm", rackberry_web::hosts(&hosts_alarm)),
            ("hosts-empty", rackberry_web::hosts(&self.hosts_empty())),
            ("hosts-nothing-found", rackberry_web::hosts(&self.hosts_nothing_found())),
            ("enrol", rackberry_web::enrol(&self.enrol())),
            (
                "enrol-empty",
                rackberry_web::enrol(&EnrolPage { shell: self.shell(Section::Hosts), ..EnrolPage::default() }),
            ),
            ("host-installing", rackberry_web::host(&self.host_page(self.host()))),
            ("host-quiet", rackberry_web::host(&self.host_page(HostView { state: quiet, ..self.host() }))),
            ("host-discovered-stuck", rackberry_web::host(&self.host_page(self.host_discovered()))),
            (
                "host-armed",
                rackberry_web::host(&self.host_page(alone(self.state(
                    StateKind::Armed,
                    "Erases its disk at the next network boot.",
                    "Debian 13, expires in 1 h 48 min",
                )))),
            ),
            (
                "host-interrupted",
                rackberry_web::host(&self.host_page(HostView {
                    state: self.state(
                        StateKind::Interrupted,
                        "Stopped at 43 %.",
                        "The disk is partly written and will not boot. Waiting in the RAM OS.",
                    ),
                    ..self.host()
                })),
            ),
            ("host-running", rackberry_web::host(&self.host_page(running))),
            ("install", install(self.dialog())),
            ("install-used-disk", install(self.dialog_chosen())),
            ("install-empty-disk", install(self.dialog_empty_disk())),
            ("install-nothing", install(nothing)),
            ("install-many", install(many)),
            ("images", rackberry_web::images(&self.images())),
            (
                "images-empty",
                rackberry_web::images(&ImagesPage { shell: self.shell(Section::Images), ..ImagesPage::default() }),
            ),
            ("profiles", rackberry_web::profiles(&self.profiles())),
            (
                "profiles-empty",
                rackberry_web::profiles(&ProfilesPage {
                    shell: self.shell(Section::Profiles),
                    ..ProfilesPage::default()
                }),
            ),
            ("activity", rackberry_web::activity(&self.activity())),
            (
                "activity-host",
                rackberry_web::activity(&ActivityPage {
                    host_id: self.t("h-03"),
                    host_name: self.t("r1-n03"),
                    ..self.activity()
                }),
            ),
            (
                "activity-empty",
                rackberry_web::activity(&ActivityPage {
                    shell: self.shell(Section::Activity),
                    ..ActivityPage::default()
                }),
            ),
            ("error", rackberry_web::error(&self.error(Some(self.shell(Section::Elsewhere))))),
            ("error-alone", rackberry_web::error(&self.error(None))),
            ("not-found", rackberry_web::not_found(Some(&self.shell(Section::Elsewhere)), &self.t("/hosts/gone"))),
            ("fragment-row", self.rows().first().map(rackberry_web::host_row).unwrap_or_default()),
            ("fragment-list", rackberry_web::hosts_list(&self.hosts())),
            ("fragment-host", rackberry_web::host_live(&self.host())),
            ("fragment-dialog", rackberry_web::install_dialog(&self.dialog_chosen())),
            ("fragment-alarm", rackberry_web::alarm(Some(&self.foreign_dhcp()))),
            ("fragment-no-alarm", rackberry_web::alarm(None)),
        ]
    }
}
