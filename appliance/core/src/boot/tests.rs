//! What a stranger says of itself can add nothing to any of the three texts (RELIABILITY: injection).

use super::{
    config::Searcher,
    decide::{BootDecision, Why},
    grub,
    own::OwnBoot,
    path::{self, FileRef},
    pxelinux,
    script::{self, Over, ScriptContext},
};
use crate::host::{Arch, MacAddr};
use proptest::prelude::*;

const DECISIONS: [BootDecision; 4] =
    [BootDecision::LocalDisk, BootDecision::NothingToBoot, BootDecision::RamOs(Why::Install), BootDecision::OwnFiles];

/// A boot of a machine of this name.
pub(super) fn boot_of<'a>(name: &'a str, kernel_args: &'a str, over: Over) -> ScriptContext<'a> {
    ScriptContext {
        box_url: "http://192.168.77.1",
        name,
        mac: MacAddr([0x52, 0x54, 0, 0x77, 0, 1]),
        arch: Arch::X86_64,
        token: "00ff",
        kernel_args,
        over,
        own: &OwnBoot::Nothing,
        files: None,
    }
}

/// The three texts for one decision.
fn texts(decision: BootDecision, name: &str, kernel_args: &str, over: Over) -> [String; 3] {
    let context = boot_of(name, kernel_args, over);
    let config = |text: Option<String>| text.unwrap_or_default();
    [
        script::script(decision, &context),
        config(pxelinux::config(decision, &context)),
        config(grub::config(decision, &context)),
    ]
}

/// Each line's first word, and each place where a shell would split or expand.
fn shape(text: &str) -> Vec<(String, usize)> {
    let special = |line: &str| line.matches(['$', ';', '&', '|', '`', '"', '\'', '{', '<', '\\']).count();
    text.lines().map(|line| (line.split(' ').next().unwrap_or_default().to_owned(), special(line))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_name_changes_the_shape_of_a_text(name in "\\PC{0,80}|[\\x00-\\x7f]{0,80}", http: bool) {
        let over = if http { Over::Http } else { Over::Tftp };
        for decision in DECISIONS {
            let plain = texts(decision, "node", "", over);
            for (text, plain) in texts(decision, &name, "", over).iter().zip(&plain) {
                prop_assert_eq!(shape(text), shape(plain), "{}", text);
            }
        }
    }

    #[test]
    fn kernel_arguments_come_out_one_by_one_and_in_order(args in prop::collection::vec("[a-z0-9=.,:/_@%+-]{1,20}", 0..8)) {
        let [ipxe, pxelinux, grub] = texts(BootDecision::RamOs(Why::Install), "node", &args.join(" "), Over::Http);
        let line = |text: &str, start: &str| {
            text.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default().to_owned()
        };
        let ipxe = line(&ipxe, "kernel ");
        let grub = line(&grub, "if linux ").replace('\'', "");
        for line in [ipxe.trim_end_matches(" || goto retry"), &line(&pxelinux, "APPEND "), grub.trim_end_matches("; then")] {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words.iter().position(|word| word.starts_with("BOOTIF=")).unwrap();
            prop_assert_eq!(words.get(at + 1..).unwrap_or_default(), args.as_slice());
        }
    }

    #[test]
    fn a_path_that_resolves_never_climbs(raw in "(/|\\.|\\.\\.|\\\\|%2e|a|pxelinux\\.cfg|grub\\.cfg-|01-|default|:|\\x00){0,24}") {
        let inside = |path: &str| !path.starts_with('/') && !path.split('/').any(|part| part == ".." || part.is_empty());
        match path::resolve(&raw) {
            Some(FileRef::Own(path) | FileRef::Program { path, .. }) => prop_assert!(inside(&path), "{}", path),
            Some(FileRef::Config(asked)) => {
                for path in asked.own(&Searcher::default()) {
                    prop_assert!(inside(&path), "{}", path);
                }
            }
            _ => {}
        }
    }
}
