//! One host's page.

use super::{EVENING, GB, GIB, Samples};
use rackberry_web::views::*;

impl<F: Fn(&str) -> String> Samples<F> {
    pub(super) fn hardware(&self) -> Hardware {
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

    pub(super) fn station(&self, state: StationState, took_ms: Option<u64>, note: &str) -> Station {
        Station { state, took_ms, note: if note.is_empty() { String::new() } else { self.t(note) } }
    }

    pub(super) fn boot(&self) -> BootView {
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

    pub(super) fn stuck(&self) -> BootView {
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

    pub(super) fn task(&self, name: &str, state: TaskState, took: Option<u64>, note: &str) -> TaskView {
        TaskView {
            name: self.t(name),
            state,
            took_ms: took,
            usual_ms: Some(50_000),
            percent: None,
            note: if note.is_empty() { String::new() } else { self.t(note) },
        }
    }

    pub(super) fn install_view(&self) -> InstallView {
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

    pub(super) fn events(&self, with_host: bool) -> Vec<EventRow> {
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
            live: None,
            power: None,
            question: None,
            events: self.events(false),
            log: self.texts(&[
                "agent: nvme0n1 is S4EVNF0M912873, 512 GB",
                "agent: writing debian-13-amd64.raw.zst to nvme0n1",
                "kernel: nvme0n1: p1 p2 p3",
                "agent: GET http://10.20.0.2/images/71d0aabbccddeeff00112233a9f4: broke off after 1181116006 bytes, goes on",
                "agent: <b>43 %</b> & rising",
            ]),
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
            live: None,
            power: None,
            question: None,
            events: Vec::new(),
            log: Vec::new(),
            served: Vec::new(),
        }
    }
}
