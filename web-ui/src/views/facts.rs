//! Hardware of a host, as far as it was seen.

use crate::format;
use crate::render::Markup;

/// One partition or whole-disk content, drawn to scale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartView {
    /// What a person would call it, for example `Windows 11` or `data`; may be empty.
    pub label: String,
    /// For example `ntfs`; may be empty.
    pub filesystem: String,
    pub bytes: u64,
    pub used_bytes: Option<u64>,
}

impl PartView {
    pub(crate) fn title(&self) -> &str {
        match (self.label.as_str(), self.filesystem.as_str()) {
            ("", "") => "unknown",
            ("", filesystem) => filesystem,
            (label, _) => label,
        }
    }

    pub(crate) fn detail(&self) -> String {
        let size = match self.used_bytes {
            Some(used) => format!("{} used", format::bytes(used)),
            None => format::bytes(self.bytes),
        };
        if self.label.is_empty() || self.filesystem.is_empty() { size } else { format!("{}, {size}", self.filesystem) }
    }
}

/// What was found on a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Contents {
    /// Nobody looked yet: treated like data everywhere.
    #[default]
    Unknown,
    Empty,
    /// `summary` is one sentence, for example `Windows 11, 212 GB used.`
    Data {
        summary: String,
        parts: Vec<PartView>,
    },
}

/// One disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskView {
    /// The kernel's name, for example `nvme0n1`.
    pub name: String,
    pub model: String,
    pub serial: String,
    pub bytes: u64,
    /// For example `USB stick, left alone` or `SMART good`; may be empty.
    pub note: String,
    pub contents: Contents,
}

/// A block of the drawing: a class for its width and its texts.
pub(crate) struct Block {
    pub class: &'static str,
    pub title: String,
    pub detail: String,
}

impl DiskView {
    /// Model, size and serial in one line, leaving out what is not known.
    pub(crate) fn line(&self) -> String {
        let size = if self.bytes > 0 { format::bytes(self.bytes) } else { String::new() };
        let known: Vec<&str> = [&self.model, &size, &self.serial, &self.note]
            .into_iter()
            .map(String::as_str)
            .filter(|t| !t.is_empty())
            .collect();
        known.join(" · ")
    }

    pub(crate) fn holds_data(&self) -> bool {
        self.contents != Contents::Empty
    }

    pub(crate) fn summary(&self) -> &str {
        match &self.contents {
            Contents::Unknown => "Not looked at yet, so it counts as used.",
            Contents::Empty => "Empty.",
            Contents::Data { summary, .. } if summary.is_empty() => "It holds data.",
            Contents::Data { summary, .. } => summary,
        }
    }

    /// At most eight blocks in disk order; the last one says what is free, or how many more there are.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let parts: &[PartView] = match &self.contents {
            Contents::Unknown => {
                return vec![Block { class: "w12 free", title: "not known".into(), detail: String::new() }];
            }
            Contents::Empty => return vec![Block { class: "w12 free", title: "empty".into(), detail: String::new() }],
            // A RAID or LVM member, a file system on the whole disk, or an empty table: none of that is free.
            Contents::Data { parts, .. } if parts.is_empty() => {
                let detail = format::bytes(self.bytes);
                return vec![Block { class: "w12", title: "no partitions".into(), detail }];
            }
            Contents::Data { parts, .. } => parts,
        };
        let taken: u64 = parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes));
        let whole = self.bytes.max(taken).max(1);
        let mut blocks: Vec<Block> = parts
            .iter()
            .take(7)
            .map(|part| {
                let class = width(part.bytes, whole);
                // The narrowest block has no room for words.
                let text = |t: String| if class == "w1" { String::new() } else { t };
                Block { class, title: text(part.title().to_owned()), detail: text(part.detail()) }
            })
            .collect();
        let free = whole.saturating_sub(taken);
        if parts.len() > 7 {
            blocks.push(Block {
                class: "w2",
                title: format!("+{}", parts.len().saturating_sub(7)),
                detail: String::new(),
            });
        } else if free > whole / 50 {
            let class = match width(free, whole) {
                "w12" => "w12 free",
                "w9" => "w9 free",
                "w6" => "w6 free",
                "w4" => "w4 free",
                _ => "w2 free",
            };
            blocks.push(Block { class, title: "free".into(), detail: format::bytes(free) });
        }
        blocks
    }
}

fn width(part: u64, whole: u64) -> &'static str {
    match u128::from(part) * 100 / u128::from(whole.max(1)) {
        0..4 => "w1",
        4..15 => "w2",
        15..30 => "w4",
        30..50 => "w6",
        50..75 => "w9",
        _ => "w12",
    }
}

/// A network port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NicView {
    pub name: String,
    pub mac: String,
    pub link: bool,
    /// Megabits per second, if the link says.
    pub speed_mbit: Option<u64>,
    /// The host boots over this one.
    pub boots_here: bool,
    /// For example driver or switch port; may be empty.
    pub note: String,
}

impl NicView {
    pub(crate) fn link_text(&self) -> String {
        let mut text = match (self.link, self.speed_mbit) {
            (false, _) => "no link".to_owned(),
            (true, Some(speed)) => format::link_speed(speed),
            (true, None) => "link is up".to_owned(),
        };
        if self.boots_here {
            text.push_str(", boots here");
        }
        text
    }

    pub(crate) fn class(&self) -> Markup {
        Markup::fixed(if self.link { "" } else { " class=\"faint\"" })
    }
}

/// The management controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BmcView {
    pub address: String,
    pub mac: String,
    /// For example `kcs`.
    pub interface: String,
}

impl BmcView {
    pub(crate) fn line(&self) -> String {
        let known: Vec<&str> =
            [&self.mac, &self.interface].into_iter().map(String::as_str).filter(|t| !t.is_empty()).collect();
        known.join(" · ")
    }

    pub(crate) fn title(&self) -> &str {
        if self.address.is_empty() { "found, no address" } else { &self.address }
    }
}

/// All that is known about a machine; empty texts are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardware {
    /// Vendor and product, for example `Supermicro SYS-5019D`.
    pub model: String,
    pub serial: String,
    pub uuid: String,
    pub board: String,
    /// For example `UEFI x64, Secure Boot off`.
    pub firmware: String,
    /// Version and date of the firmware.
    pub firmware_version: String,
    /// For example `Xeon D-2123IT`.
    pub cpu: String,
    pub cores: u32,
    pub threads: u32,
    pub memory_bytes: u64,
    pub disks: Vec<DiskView>,
    pub nics: Vec<NicView>,
    pub bmc: Option<BmcView>,
}

impl Hardware {
    pub(crate) fn cpu_text(&self) -> String {
        let counts = match (self.cores, self.threads) {
            (0, 0) => String::new(),
            (cores, threads) if threads > cores && cores > 0 => {
                format!("{}, {}", format::count(cores.into(), "core"), format::count(threads.into(), "thread"))
            }
            (0, threads) => format::count(threads.into(), "thread"),
            (cores, _) => format::count(cores.into(), "core"),
        };
        [self.cpu.as_str(), &counts].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn memory_text(&self) -> String {
        if self.memory_bytes == 0 { String::new() } else { format::memory(self.memory_bytes) }
    }

    pub(crate) fn known(&self) -> bool {
        let texts =
            [&self.model, &self.serial, &self.uuid, &self.board, &self.firmware, &self.firmware_version, &self.cpu];
        texts.iter().any(|t| !t.is_empty()) || self.cores > 0 || self.memory_bytes > 0 || self.bmc.is_some()
    }
}

/// One line for lists and dialogs from cores, memory and disk sizes: `8 cores · 64 GB · 2 × 960 GB`.
pub(crate) fn specs(cores: u32, memory_bytes: u64, disks: &[u64]) -> String {
    let mut known = Vec::new();
    if cores > 0 {
        known.push(format::count(cores.into(), "core"));
    }
    if memory_bytes > 0 {
        known.push(format::memory(memory_bytes));
    }
    match disks {
        [] if known.is_empty() => {}
        [] => known.push("no disk".to_owned()),
        [size] => known.push(format::bytes(*size)),
        [first, rest @ ..] if rest.iter().all(|size| size == first) => {
            known.push(format!("{} × {}", disks.len(), format::bytes(*first)));
        }
        more => known.push(format!("{} disks", more.len())),
    }
    // A figure and its unit stay on one line.
    let known: Vec<String> = known.iter().map(|item| item.replace(' ', "\u{a0}")).collect();
    known.join(" · ")
}
