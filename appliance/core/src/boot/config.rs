//! The names under which PXELINUX and GRUB look for their configuration (RFC 5071 section 2; GRUB manual, "Network"), and
//! which of a person's own files stand before ours in that search.

use crate::host::{MacAddr, SmbiosUuid};
use std::net::{IpAddr, Ipv4Addr};

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConfigKind {
    /// Also read by U-Boot.
    Pxelinux,
    Grub,
}

/// A configuration that a loader asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConfigRef {
    pub kind: ConfigKind,
    /// The whole path as it was asked, beneath which an own file may lie.
    pub path: String,
    pub machine: MachineName,
}

/// The machine that a name in the search means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MachineName {
    Uuid(SmbiosUuid),
    Mac(MacAddr),
    /// All eight hex digits of its address.
    Address(Ipv4Addr),
    /// The last name of the search: whoever asks.
    Default,
}

impl MachineName {
    /// Reads what stands behind `pxelinux.cfg/` or `grub.cfg-`, in either case; `None` for names that mean no single
    /// machine, among them the shortened addresses.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        if name.is_empty() || name == "default" {
            return Some(MachineName::Default);
        }
        if name.len() == 36
            && let Some(uuid) = SmbiosUuid::parse(name)
        {
            return Some(MachineName::Uuid(uuid));
        }
        if let Some(mac) = name.strip_prefix("01-").filter(|mac| mac.len() == 17) {
            return mac.parse().ok().filter(MacAddr::is_station).map(MachineName::Mac);
        }
        let digits = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let address = digits.then(|| u32::from_str_radix(name, 16).ok()).flatten()?;
        Some(MachineName::Address(Ipv4Addr::from(address)))
    }
}

/// Who looks for a configuration, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Searcher {
    pub uuid: Option<SmbiosUuid>,
    pub mac: Option<MacAddr>,
    pub address: Option<IpAddr>,
}

impl ConfigKind {
    /// The folder in the files folder that is looked into beside the one that was asked.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            ConfigKind::Pxelinux => "pxelinux.cfg",
            ConfigKind::Grub => "grub",
        }
    }

    fn file(self, machine: &str) -> String {
        match (self, machine) {
            (ConfigKind::Pxelinux, "") => "default".to_owned(),
            (ConfigKind::Pxelinux, machine) => machine.to_owned(),
            (ConfigKind::Grub, "") => "grub.cfg".to_owned(),
            (ConfigKind::Grub, machine) => format!("grub.cfg-{machine}"),
        }
    }

    /// Every name in the loader's own order: UUID, card, address shortened digit by digit, the rest's.
    #[must_use]
    pub fn search(self, who: &Searcher) -> Vec<String> {
        let mut names = Vec::with_capacity(11);
        names.extend(who.uuid.map(|uuid| uuid.to_string()));
        names.extend(who.mac.map(|mac| format!("01-{}", mac.hyphens())));
        if let Some(IpAddr::V4(address)) = who.address.map(|address| address.to_canonical()) {
            let hex = format!("{:08X}", u32::from(address));
            names.extend((1..=8).rev().filter_map(|digits| hex.get(..digits).map(str::to_owned)));
        }
        names.push(String::new());
        names.iter().map(|machine| self.file(machine)).collect()
    }
}

impl ConfigRef {
    /// Own files that answer this, the first one that exists: as asked, in either case (Cobbler writes capitals), and
    /// then in the usual folder. A GRUB that asks for `grub.cfg` may have searched nothing, as Debian's one for networks
    /// does: then the names before it count as well.
    #[must_use]
    pub fn own(&self, who: &Searcher) -> Vec<String> {
        match (self.kind, self.machine) {
            (ConfigKind::Grub, MachineName::Default) => {
                self.in_folders(self.kind.search(who).iter().map(String::as_str))
            }
            (ConfigKind::Grub | ConfigKind::Pxelinux, _) => self.in_folders(std::iter::once(self.parts().1)),
        }
    }

    /// Own files that the loader comes to later in its search. While one exists, nothing is rendered for the names before.
    #[must_use]
    pub fn own_later(&self, who: &Searcher) -> Vec<String> {
        let (_, name) = self.parts();
        let names = self.kind.search(who);
        let at = names.iter().position(|known| known.eq_ignore_ascii_case(name));
        // By another spelling of the UUID, for example: then everything but that is still to come.
        let later = at.map_or(0, |at| at + 1);
        self.in_folders(names.iter().skip(later).map(String::as_str))
    }

    fn parts(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }

    /// Each name in the folder that was asked and in the usual one.
    fn in_folders<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let (folder, usual) = (self.parts().0, self.kind.folder());
        let folders = if folder == usual { vec![folder] } else { vec![folder, usual] };
        names
            .flat_map(|name| folders.iter().flat_map(move |folder| spellings(folder, name)).collect::<Vec<_>>())
            .collect()
    }
}

fn spellings(folder: &str, name: &str) -> Vec<String> {
    let (fixed, machine) = match name.split_once("grub.cfg-") {
        Some((_, machine)) => ("grub.cfg-", machine),
        None if name == "default" || name == "grub.cfg" => (name, ""),
        None => ("", name),
    };
    let mut names: Vec<String> = Vec::with_capacity(3);
    for machine in [machine.to_owned(), machine.to_ascii_lowercase(), machine.to_ascii_uppercase()] {
        let name = format!("{fixed}{machine}");
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if !names.contains(&path) {
            names.push(path);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Searcher {
        Searcher {
            uuid: SmbiosUuid::parse("564d1234-5678-9abc-def0-112233445566"),
            mac: Some(MacAddr([0x00, 0x25, 0x90, 0xc0, 0xf7, 0x86])),
            address: Some(IpAddr::from([192, 168, 2, 91])),
        }
    }

    #[test]
    fn the_search_has_the_eleven_names_of_the_loader_in_its_order() {
        let names = ConfigKind::Pxelinux.search(&who());
        let wanted = [
            "564d1234-5678-9abc-def0-112233445566",
            "01-00-25-90-c0-f7-86",
            "C0A8025B",
            "C0A8025",
            "C0A802",
            "C0A80",
            "C0A8",
            "C0A",
            "C0",
            "C",
            "default",
        ];
        assert_eq!(names, wanted);
        assert_eq!(ConfigKind::Grub.search(&Searcher::default()), ["grub.cfg"]);
    }

    #[test]
    fn an_own_file_later_in_the_search_keeps_the_names_before_it_empty() {
        let path = "pxelinux.cfg/01-00-25-90-c0-f7-86".to_owned();
        let machine = MachineName::Mac(who().mac.unwrap());
        let asked = ConfigRef { kind: ConfigKind::Pxelinux, path, machine };
        let later = asked.own_later(&who());
        assert!(later.contains(&"pxelinux.cfg/C0A8".to_owned()) && later.contains(&"pxelinux.cfg/default".to_owned()));
        assert!(!later.iter().any(|path| path.contains("564d1234") || path.contains("01-00")), "{later:?}");
        assert!(asked.own(&who()).contains(&"pxelinux.cfg/01-00-25-90-C0-F7-86".to_owned()));
        let last = ConfigRef { path: "x/grub.cfg".into(), kind: ConfigKind::Grub, machine: MachineName::Default };
        assert_eq!(last.own_later(&who()), Vec::<String>::new());
        assert_eq!(last.own(&Searcher::default()), ["x/grub.cfg", "grub/grub.cfg"]);
        let all = last.own(&who());
        assert_eq!(all.last().unwrap(), "grub/grub.cfg");
        assert!(all.contains(&"grub/grub.cfg-01-00-25-90-c0-f7-86".to_owned()), "{all:?}");
    }

    #[test]
    fn names_that_mean_no_single_machine_are_none() {
        for name in ["C0A8", "01-ff-ff-ff-ff-ff-ff", "00000000-0000-0000-0000-000000000000", "x", "defaults"] {
            assert_eq!(MachineName::read(name), None, "{name}");
        }
        assert_eq!(MachineName::read("c0a8025b"), Some(MachineName::Address(Ipv4Addr::new(192, 168, 2, 91))));
    }
}
