//! The list of hosts.

use super::{GB, GIB, Samples};
use rackberry_web::views::*;

impl<F: Fn(&str) -> String> Samples<F> {
    /// `who` is id, name, MAC and model; `hw` is cores, memory in GiB and disk sizes.
    pub(super) fn row(&self, who: [&str; 4], hw: (u32, u64, &[u64]), seen: u64, state: StateView) -> HostRow {
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

    pub(super) fn state(&self, kind: StateKind, sentence: &str, aside: &str) -> StateView {
        let aside = if aside.is_empty() { String::new() } else { self.t(aside) };
        StateView { kind, sentence: self.t(sentence), aside, progress: None }
    }

    pub(super) fn busy(&self, kind: StateKind, progress: Progress) -> StateView {
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
}
