//! One atomic step with one outcome, and the order an agent gets for it.

use crate::{
    event::TaskName,
    image::{Compression, Digest},
    text::{CleanText, HostName},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a task does. A new kind is a variant here and an arm where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// The host comes up in the RAM OS.
    BootRamOs,
    /// The image goes to the disk.
    WriteImage,
    /// The written system learns who it is: name, users, network, first-boot script, UEFI boot entry.
    Configure,
    /// The host leaves the RAM OS for its disk.
    Restart,
    /// A distribution's own installer, booted from the network, erases the disk and installs.
    RunInstaller,
    /// The installed system reports that it is up.
    WaitFirstBoot,
}

/// Who makes a task happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// The agent in the host's RAM OS, by order.
    Agent,
    /// A distribution's installer, handed out by the boot script; it reports how far it is.
    Installer,
    /// Nobody: it is over when the host shows it.
    Observed,
}

impl TaskKind {
    /// Who makes it happen.
    #[must_use]
    pub fn executor(self) -> Executor {
        match self {
            TaskKind::WriteImage | TaskKind::Configure | TaskKind::Restart => Executor::Agent,
            TaskKind::RunInstaller => Executor::Installer,
            TaskKind::BootRamOs | TaskKind::WaitFirstBoot => Executor::Observed,
        }
    }

    /// Whether it may destroy data, so that the first such task of an Install consumes the Arm.
    #[must_use]
    pub fn destructive(self) -> bool {
        match self {
            TaskKind::WriteImage | TaskKind::Configure | TaskKind::RunInstaller => true,
            TaskKind::BootRamOs | TaskKind::Restart | TaskKind::WaitFirstBoot => false,
        }
    }

    /// Whether it loads the box and the network, so that limits count it.
    #[must_use]
    pub fn heavy(self) -> bool {
        matches!(self, TaskKind::WriteImage | TaskKind::RunInstaller)
    }

    /// The word in `profile.toml`, and a task's usual name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            TaskKind::BootRamOs => "boot-ram-os",
            TaskKind::WriteImage => "write-image",
            TaskKind::Configure => "configure",
            TaskKind::Restart => "restart",
            TaskKind::RunInstaller => "run-installer",
            TaskKind::WaitFirstBoot => "wait-first-boot",
        }
    }

    /// The words people read.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            TaskKind::BootRamOs => "Boot the RAM OS",
            TaskKind::WriteImage => "Write image",
            TaskKind::Configure => "Configure the system",
            TaskKind::Restart => "Restart",
            TaskKind::RunInstaller => "Run the installer",
            TaskKind::WaitFirstBoot => "Wait for first boot",
        }
    }

    /// How long one attempt may take unless the profile says otherwise.
    #[must_use]
    pub fn default_timeout(self) -> Duration {
        Duration::from_secs(match self {
            // The Arm's own expiry ends this wait first.
            TaskKind::BootRamOs => 24 * 3600,
            TaskKind::WriteImage | TaskKind::RunInstaller => 2 * 3600,
            TaskKind::Configure => 300,
            TaskKind::Restart => 120,
            TaskKind::WaitFirstBoot => 900,
        })
    }
}

/// When a failed attempt is repeated; only failures of the transient class are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// Before the second attempt; doubles from there.
    pub backoff_s: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { attempts: 3, backoff_s: 5 }
    }
}

impl Retry {
    /// How long to wait after attempt number `attempt` failed; at most an hour.
    #[must_use]
    pub fn backoff(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(12);
        Duration::from_secs(self.backoff_s.saturating_mul(1 << doublings).min(3600))
    }
}

/// A task as a workflow names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub name: TaskName,
    pub kind: TaskKind,
    /// Tasks that have to be done before.
    #[serde(default)]
    pub after: Vec<TaskName>,
    /// Seconds that one attempt may take; the kind's own time if none.
    #[serde(default)]
    pub timeout_s: Option<u64>,
    #[serde(default)]
    pub retry: Retry,
}

impl TaskSpec {
    /// How long one attempt may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout_s.map_or_else(|| self.kind.default_timeout(), Duration::from_secs)
    }
}

/// Which disk may be erased. Never "the first": a rule that fits no disk, or several equally, stops the install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "rule", content = "value")]
pub enum DiskRule {
    /// The only fixed disk; with several, a person has to choose.
    Only,
    Smallest,
    Largest,
    SmallestNvme,
    /// By the serial number the disk states.
    Serial(CleanText),
    /// By World Wide Name.
    Wwn(CleanText),
    /// By the kernel's name in the RAM OS; for disks without serial number, in machines that do not change.
    Name(CleanText),
}

impl std::fmt::Display for DiskRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DiskRule::Only => f.write_str("only"),
            DiskRule::Smallest => f.write_str("smallest"),
            DiskRule::Largest => f.write_str("largest"),
            DiskRule::SmallestNvme => f.write_str("smallest-nvme"),
            DiskRule::Serial(serial) => write!(f, "serial:{serial}"),
            DiskRule::Wwn(wwn) => write!(f, "wwn:{wwn}"),
            DiskRule::Name(name) => write!(f, "name:{name}"),
        }
    }
}

/// Text that is no disk rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no disk rule; use only, smallest, largest, smallest-nvme, serial:NUMBER, wwn:NUMBER or name:sda")]
pub struct InvalidDiskRule(String);

impl std::str::FromStr for DiskRule {
    type Err = InvalidDiskRule;

    fn from_str(text: &str) -> Result<Self, InvalidDiskRule> {
        let invalid = || InvalidDiskRule(crate::text::clean(text, 80));
        Ok(match text.split_once(':') {
            None => match text {
                "only" => DiskRule::Only,
                "smallest" => DiskRule::Smallest,
                "largest" => DiskRule::Largest,
                "smallest-nvme" => DiskRule::SmallestNvme,
                _ => return Err(invalid()),
            },
            Some((_, "")) => return Err(invalid()),
            Some(("serial", value)) => DiskRule::Serial(value.into()),
            Some(("wwn", value)) => DiskRule::Wwn(value.into()),
            Some(("name", value)) => DiskRule::Name(value.trim_start_matches("/dev/").into()),
            Some(_) => return Err(invalid()),
        })
    }
}

/// Why a rule chose no disk; `Display` is the sentence people read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDisk {
    #[error("This machine shows no disk that can be written to.")]
    None,
    #[error("No disk fits the rule \"{rule}\". This machine has {has}. Choose it by serial.")]
    NoMatch { rule: String, has: String },
    #[error("{count} disks fit the rule \"{rule}\": {has}. Choose one by serial.")]
    Several { rule: String, count: usize, has: String },
}

impl DiskRule {
    /// The one disk this rule means among `disks`.
    ///
    /// # Errors
    /// [`NoDisk`] if none fits, or several do equally well.
    pub fn choose<'d>(&self, disks: &'d [crate::hardware::Disk]) -> Result<&'d crate::hardware::Disk, NoDisk> {
        use crate::hardware::{Disk, Transport, size};
        let usable: Vec<&Disk> =
            disks.iter().filter(|disk| !disk.removable && !disk.read_only && disk.size_bytes > 0).collect();
        if usable.is_empty() {
            return Err(NoDisk::None);
        }
        let list = |disks: &[&Disk]| {
            disks.iter().map(|d| format!("{} ({})", d.name, size(d.size_bytes))).collect::<Vec<_>>().join(", ")
        };
        let extreme = |disks: Vec<&'d Disk>, best: Option<u64>| -> Vec<&'d Disk> {
            disks.into_iter().filter(|disk| Some(disk.size_bytes) == best).collect()
        };
        let fitting: Vec<&Disk> = match self {
            DiskRule::Only => usable.clone(),
            DiskRule::Smallest => extreme(usable.clone(), usable.iter().map(|d| d.size_bytes).min()),
            DiskRule::Largest => extreme(usable.clone(), usable.iter().map(|d| d.size_bytes).max()),
            DiskRule::SmallestNvme => {
                let nvme: Vec<&Disk> = usable.iter().copied().filter(|d| d.transport == Transport::Nvme).collect();
                let best = nvme.iter().map(|d| d.size_bytes).min();
                extreme(nvme, best)
            }
            DiskRule::Serial(serial) => usable.iter().copied().filter(|d| d.serial == *serial).collect(),
            DiskRule::Wwn(wwn) => usable.iter().copied().filter(|d| d.wwn == *wwn).collect(),
            DiskRule::Name(name) => usable.iter().copied().filter(|d| d.name == *name).collect(),
        };
        match fitting.as_slice() {
            [one] => Ok(one),
            [] => Err(NoDisk::NoMatch { rule: self.to_string(), has: list(&usable) }),
            several => Err(NoDisk::Several { rule: self.to_string(), count: several.len(), has: list(several) }),
        }
    }
}

/// Where the firmware looks first once a system is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum BootOrder {
    /// The box decides at each boot; a re-install needs one click.
    #[default]
    NetworkFirst,
    /// The machine does not need the box to boot; a re-install needs the network-boot key.
    DiskFirst,
}

/// How an installed system is told who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum SeedKind {
    /// Files put into the root file system.
    #[default]
    PlainFiles,
    /// A NoCloud seed (cloud-init) in the root file system's `/var/lib/cloud/seed/nocloud`.
    NoCloud,
}

/// A file put into the written system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedFile {
    /// Absolute, as the installed system sees it.
    pub path: String,
    /// Permission bits, for example `0o600`.
    pub mode: u32,
    pub content: String,
    /// For a symbolic link: where it points; the content is then empty.
    #[serde(default)]
    pub link: Option<String>,
}

/// A disk as the box chose it from the agent's own report: every stated field has to agree before a byte is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskTarget {
    pub name: CleanText,
    pub serial: CleanText,
    pub wwn: CleanText,
    pub size_bytes: u64,
}

/// What an agent is told to do, whole: it asks for nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum TaskOrder {
    WriteImage {
        /// Absolute; of the box that gives the order.
        url: String,
        /// Of the bytes as served.
        digest: Digest,
        compression: Compression,
        /// As served.
        size_bytes: u64,
        #[serde(default)]
        raw_bytes: Option<u64>,
        disk: DiskTarget,
        /// Grow the last partition and its file system to the disk's end.
        grow: bool,
    },
    Configure {
        disk: DiskTarget,
        hostname: HostName,
        seed: SeedKind,
        files: Vec<SeedFile>,
        boot_order: BootOrder,
        /// What the firmware's boot menu shows.
        boot_entry: CleanText,
    },
    Restart {},
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::{Disk, DiskContent, Transport};

    fn disk(name: &str, size_bytes: u64, serial: &str, transport: Transport) -> Disk {
        Disk {
            name: name.into(),
            model: "".into(),
            serial: serial.into(),
            wwn: "".into(),
            size_bytes,
            transport,
            rotational: false,
            removable: false,
            read_only: false,
            content: DiskContent::default(),
        }
    }

    #[test]
    fn only_refuses_to_choose_among_several() {
        let disks = [disk("sda", 10, "A", Transport::Sata), disk("sdb", 20, "B", Transport::Sata)];
        assert!(matches!(DiskRule::Only.choose(&disks), Err(NoDisk::Several { count: 2, .. })));
        assert_eq!(DiskRule::Only.choose(disks.get(..1).unwrap()).unwrap().name.as_str(), "sda");
    }

    #[test]
    fn smallest_is_refused_when_two_are_equally_small() {
        let twins = [disk("sda", 10, "A", Transport::Sata), disk("sdb", 10, "B", Transport::Sata)];
        assert!(matches!(DiskRule::Smallest.choose(&twins), Err(NoDisk::Several { .. })));
        let error = DiskRule::SmallestNvme.choose(&twins).unwrap_err();
        assert!(
            error.to_string().starts_with("No disk fits the rule \"smallest-nvme\". This machine has sda"),
            "{error}"
        );
    }

    #[test]
    fn a_stick_is_never_chosen() {
        let mut stick = disk("sda", 10, "A", Transport::Usb);
        stick.removable = true;
        assert_eq!(DiskRule::Name("sda".into()).choose(&[stick]), Err(NoDisk::None));
    }

    #[test]
    fn rules_read_back_as_written() {
        for text in ["only", "smallest", "largest", "smallest-nvme", "serial:S3Z8", "wwn:0x5000", "name:sda"] {
            assert_eq!(text.parse::<DiskRule>().unwrap().to_string(), text);
        }
        assert!("first".parse::<DiskRule>().is_err());
        assert!("serial:".parse::<DiskRule>().is_err());
    }

    #[test]
    fn waiting_between_attempts_doubles_and_is_bounded() {
        let retry = Retry { attempts: 99, backoff_s: 5 };
        assert_eq!([1, 2, 3, 60].map(|n| retry.backoff(n).as_secs()), [5, 10, 20, 3600]);
    }
}
