//! What boot firmware in the field taught its servers, where it changes what a path leads to or what a script says: one test
//! for each fact, by its number in the list that the project was built from.

use super::{
    config::{ConfigKind, ConfigRef, MachineName, Searcher},
    decide::{BootDecision, Why},
    path::{FileRef, resolve},
    script::{self, Over},
    tests::boot_of,
};
use crate::host::{MacAddr, SmbiosUuid};
use std::net::IpAddr;

const DECISIONS: [BootDecision; 5] = [
    BootDecision::LocalDisk,
    BootDecision::NothingToBoot,
    BootDecision::RamOs(Why::Install),
    BootDecision::OwnFiles,
    BootDecision::Silence,
];

fn text(decision: BootDecision, name: &str, kernel_args: &str) -> String {
    script::script(decision, &boot_of(name, kernel_args, Over::Http))
}

fn is_own(path: &str) -> bool {
    resolve(path) == Some(FileRef::Own(path.to_owned()))
}

#[test]
fn fact_33_a_raspberry_pi_finds_its_files_with_any_prefix_or_without() {
    // What is not there under the prefix is not found, and then it asks without.
    for prefix in ["9ffefdef/", "dc-a6-32-01-36-c2/", "a-prefix-that-was-set/", ""] {
        for file in ["start4.elf", "start.elf", "fixup4.dat", "config.txt", "kernel8.img"] {
            assert!(is_own(&format!("{prefix}{file}")));
        }
    }
}

#[test]
fn fact_34_what_a_raspberry_pi_only_looks_for_is_a_file_that_may_be_missing() {
    for path in ["bootsig.bin", "9ffefdef/recover4.elf", "9ffefdef/recovery.elf", "9ffefdef/overlays/overlay_map.dtb"] {
        assert!(is_own(path), "{path} leads to a thing of the box's own");
    }
}

#[test]
fn fact_51_grub_looks_by_uuid_card_address_and_last_for_grub_cfg_in_its_own_folder() {
    let uuid = SmbiosUuid::parse("564d1234-5678-9abc-def0-112233445566").unwrap();
    let mac = MacAddr([0x00, 0x25, 0x90, 0xc0, 0xf7, 0x86]);
    let who = Searcher { uuid: Some(uuid), mac: Some(mac), address: Some(IpAddr::from([192, 168, 2, 91])) };
    let names = ConfigKind::Grub.search(&who);
    let wanted =
        ["grub.cfg-564d1234-5678-9abc-def0-112233445566", "grub.cfg-01-00-25-90-c0-f7-86", "grub.cfg-C0A8025B"];
    assert_eq!(names.get(..3).unwrap(), wanted);
    assert_eq!(names.len(), 11);
    assert_eq!(names.last().unwrap(), "grub.cfg");
    for (number, name) in names.iter().enumerate() {
        let path = format!("boot/grub/{name}");
        let machine = match resolve(&path) {
            Some(FileRef::Config(ConfigRef { kind: ConfigKind::Grub, machine, .. })) => Some(machine),
            // The shortened addresses mean no single machine: no file of that name, no answer.
            found => {
                assert_eq!(found, Some(FileRef::Own(path)));
                None
            }
        };
        let wanted = match number {
            0 => Some(MachineName::Uuid(uuid)),
            1 => Some(MachineName::Mac(mac)),
            2 => Some(MachineName::Address([192, 168, 2, 91].into())),
            10 => Some(MachineName::Default),
            _ => None,
        };
        assert_eq!(machine, wanted, "{name}");
    }
}

#[test]
fn fact_55_autoexec_is_there_in_every_folder_and_gets_the_address_itself() {
    for path in ["autoexec.ipxe", "/autoexec.ipxe", "EFI/BOOT/autoexec.ipxe", "\\x\\autoexec.ipxe"] {
        assert_eq!(resolve(path), Some(FileRef::AutoExec), "{path}");
    }
    let text = script::ask_again("http://192.168.77.1");
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    assert!(at("|| dhcp\n") < at("chain --replace http://192.168.77.1/boot.ipxe?"));
}

#[test]
fn fact_56_a_script_says_what_it_is_and_no_argument_becomes_a_comment_or_a_command() {
    let evil = "# a #b ; c && d || e ${net0/mac} $f";
    for decision in DECISIONS {
        let (calm, changed) = (text(decision, "node", ""), text(decision, evil, evil));
        assert!(calm.starts_with("#!ipxe\n"));
        let words = |line: &str| {
            line.split_whitespace().filter(|word| word.starts_with('#') || [";", "&&", "||"].contains(word)).count()
        };
        for (calm, changed) in calm.lines().zip(changed.lines()) {
            assert_eq!(
                (words(calm), calm.matches('$').count()),
                (words(changed), changed.matches('$').count()),
                "{changed}"
            );
        }
    }
    for setting in ["${netX/mac:hexhyp}", "${uuid}", "${serial:uristring}", "${buildarch}"] {
        assert!(script::ASK.contains(setting), "{setting}");
    }
}

#[test]
fn fact_57_no_script_needs_what_secure_boot_takes_away() {
    for decision in DECISIONS {
        let text = text(decision, "node", "");
        assert!(!text.contains("imgverify") && !text.contains("imgtrust"), "{text}");
    }
}
