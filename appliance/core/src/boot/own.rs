//! Where a host of the policy `own-files` is led: to the first that is there of what a person put into the files folder.

use super::config::{ConfigKind, Searcher};
use crate::{host::Firmware, text::HostName};

/// What was found in the files folder for one host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OwnBoot {
    /// An iPXE script, by its path in the files folder.
    Script(String),
    /// A configuration of PXELINUX, which the program then finds by its own search.
    Pxelinux,
    /// The same for GRUB.
    Grub,
    /// Nothing yet.
    #[default]
    Nothing,
}

/// The files that lead a host on, in order, and what each means.
#[must_use]
pub fn candidates(who: &Searcher, name: &HostName, firmware: Option<Firmware>) -> Vec<(String, OwnBoot)> {
    let scripts = [
        who.mac.map(|mac| format!("{}.ipxe", mac.hyphens())),
        Some(format!("{name}.ipxe")),
        Some("default.ipxe".to_owned()),
        Some("boot.html".to_owned()),
    ];
    let mut found: Vec<(String, OwnBoot)> =
        scripts.into_iter().flatten().map(|path| (path.clone(), OwnBoot::Script(path))).collect();
    // Each program is for one kind of firmware.
    let (kind, leads) = match firmware {
        Some(Firmware::Uefi) => (ConfigKind::Grub, OwnBoot::Grub),
        Some(Firmware::Bios) | None => (ConfigKind::Pxelinux, OwnBoot::Pxelinux),
        Some(Firmware::Pi) => return found,
    };
    for name in kind.search(who) {
        found.push((format!("{}/{name}", kind.folder()), leads.clone()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::MacAddr;

    #[test]
    fn the_machines_own_script_comes_before_everybodys() {
        let who = Searcher { mac: Some(MacAddr([0x52, 0x54, 0, 0x77, 0, 1])), ..Searcher::default() };
        let name = HostName::new("node-01").unwrap();
        let paths = |firmware| candidates(&who, &name, firmware).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        let scripts = ["52-54-00-77-00-01.ipxe", "node-01.ipxe", "default.ipxe", "boot.html"];
        let bios = paths(Some(Firmware::Bios));
        assert_eq!(bios.first_chunk(), Some(&scripts.map(str::to_owned)));
        assert_eq!(bios.last().unwrap(), "pxelinux.cfg/default");
        assert_eq!(paths(Some(Firmware::Uefi)).last().unwrap(), "grub/grub.cfg");
    }
}
