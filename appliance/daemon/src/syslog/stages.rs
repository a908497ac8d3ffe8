//! Which stage of an install a line of an installer's log tells of. Pure; a table of what these programs print.
//!
//! That an install is done is never read from a log: an installer says that itself.

use super::message::Message;

/// debian-installer's main-menu names the udeb that it configures: `INFO: Menu item 'netcfg' selected`.
const MENU_ITEMS: &[(&str, &str)] = &[
    ("ethdetect", "network"),
    ("netcfg", "network"),
    ("network-preseed", "network"),
    ("disk-detect", "disks"),
    ("partman-base", "disks"),
    ("bootstrap-base", "base-system"),
    ("live-installer", "base-system"),
    ("apt-setup-udeb", "packages"),
    ("pkgsel", "packages"),
    ("grub-installer", "bootloader"),
    ("finish-install", "configure"),
];

/// anaconda since Fedora 25 and in EL 8 and later: `Queue started: Payload installation (8/15)`.
const QUEUES: &[(&str, &str)] = &[
    ("Installation environment setup", "started"),
    ("Early storage configuration", "disks"),
    ("Storage configuration", "disks"),
    ("Payload installation", "packages"),
    ("Bootloader installation", "bootloader"),
    ("Installed system configuration", "configure"),
    ("Network configuration", "configure"),
    ("Post installation scripts", "configure"),
];

/// anaconda of EL 7: `Running Thread: AnaInstallThread (140...)`.
const THREADS: &[(&str, &str)] =
    &[("AnaStorageThread", "disks"), ("AnaInstallThread", "packages"), ("AnaConfigurationThread", "configure")];

/// anaconda of EL 6: `moving (1) to step installpackages`.
const STEPS: &[(&str, &str)] = &[
    ("storageinit", "disks"),
    ("autopartitionexecute", "disks"),
    ("enablefilesystems", "disks"),
    ("reposetup", "packages"),
    ("installpackages", "packages"),
    ("instbootloader", "bootloader"),
    ("writeconfig", "configure"),
    ("postscripts", "configure"),
];

/// The stage that begins with this line, if one does.
#[must_use]
pub fn stage(message: &Message<'_>) -> Option<&'static str> {
    let text = message.text;
    let of = |table: &[(&str, &'static str)], name: &str| {
        table.iter().find(|(known, _)| *known == name).map(|(_, stage)| *stage)
    };
    let named = |before: &str, after: &str| {
        let (_, rest) = text.split_once(before)?;
        rest.split_once(after).map(|(name, _)| name)
    };
    match message.program {
        "main-menu" => of(MENU_ITEMS, named("Menu item '", "' selected")?),
        "anaconda" => named("Queue started: ", " (")
            .and_then(|name| of(QUEUES, name))
            .or_else(|| named("Running Thread: ", " (").and_then(|name| of(THREADS, name)))
            .or_else(|| {
                let (_, step) = text.split_once(" to step ").filter(|(before, _)| before.contains("moving ("))?;
                of(STEPS, step.trim())
            }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::message::read, *};

    fn of(line: &str) -> Option<&'static str> {
        stage(&read(line))
    }

    #[test]
    fn lines_of_debian_installer_tell_its_stages() {
        let said = |item: &str| of(&format!("<14>Sep  6 10:52:20 main-menu[321]: INFO: Menu item '{item}' selected"));
        let way = [
            "localechooser",
            "netcfg",
            "network-preseed",
            "partman-base",
            "bootstrap-base",
            "apt-setup-udeb",
            "pkgsel",
            "grub-installer",
            "finish-install",
        ];
        let stages: Vec<_> = way.iter().filter_map(|item| said(item)).collect();
        let wanted = ["network", "network", "disks", "base-system", "packages", "packages", "bootloader", "configure"];
        assert_eq!(stages, wanted);
        // As it was in Debian 3.1.
        assert_eq!(of("Feb  3 13:50:22 main-menu[15864]: DEBUG: Menu item 'partman-base' selected "), Some("disks"));
        assert_eq!(of("Sep  6 10:53:10 main-menu[321]: WARNING **: Menu item 'partman-base' failed."), None);
        assert_eq!(of("Sep  6 10:53:10 evil[321]: INFO: Menu item 'partman-base' selected"), None);
    }

    #[test]
    fn lines_of_anaconda_of_every_age_tell_its_stages() {
        for (line, wanted) in [
            (
                "<142>Nov 22 01:00:00 localhost anaconda[1892]: anaconda: installation: Queue started: Early storage configuration (4/15)",
                Some("disks"),
            ),
            (
                "<142>Nov 22 01:00:00 localhost anaconda[1892]: anaconda: installation: Queue started: Payload installation (8/15)",
                Some("packages"),
            ),
            (
                "<142>Nov 22 01:00:00 localhost anaconda[1892]: anaconda: installation: Queue started: Bootloader installation (9/15)",
                Some("bootloader"),
            ),
            (
                "<142>Nov 22 01:00:00 localhost anaconda[1892]: anaconda: installation: Queue started: Post installation scripts (14/15)",
                Some("configure"),
            ),
            (
                "<142>Nov 22 01:00:00 localhost anaconda[1892]: anaconda: installation: Task started: Install the payload (9/30)",
                None,
            ),
            (
                "<142>Nov 22 01:00:00 localhost anaconda[1520]: Running Thread: AnaInstallThread (140121)",
                Some("packages"),
            ),
            ("<142>Nov 22 01:00:00 localhost anaconda[1520]: Thread Done: AnaInstallThread (140121)", None),
            ("<14>Nov 22 01:00:00 localhost anaconda: dispatch: moving (1) to step instbootloader", Some("bootloader")),
            ("<14>Nov 22 01:00:00 localhost anaconda: moving (1) to step installpackages", Some("packages")),
            ("<14>Nov 22 01:00:00 localhost anaconda: leaving (1) step installpackages", None),
        ] {
            assert_eq!(of(line), wanted, "{line}");
        }
    }

    #[test]
    fn every_stage_is_a_word_of_the_timeline_and_none_is_the_end() {
        let words = ["started", "network", "disks", "base-system", "packages", "bootloader", "configure"];
        for (item, stage) in [MENU_ITEMS, QUEUES, THREADS, STEPS].concat() {
            assert!(words.contains(&stage), "{item}: {stage}");
        }
    }
}
