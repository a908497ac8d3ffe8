//! Every profile of the project, rendered for one example host by the renderers that serve hosts, and compared with its folder's
//! `expected/`; and the documents that are made of the catalogue or speak of it. BLESS=1 writes those files anew, for a person to
//! review.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: what fails here fails the test that calls them"
)]

mod documents;
mod example;

use example::{Example, render};
use rackberry_core::profile::{Profile, Way};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_profile_renders_what_was_reviewed() {
    let mut wrong = Vec::new();
    let mut texts = 0;
    for (folder, profile) in profiles() {
        let mut expected = BTreeMap::new();
        let plain = render(&profile, &[]);
        // What a fixed address in a VLAN on a bond does not change is not kept twice.
        let mut bond = BTreeMap::new();
        if profile.parameters.iter().any(|parameter| parameter.name == "bond") {
            bond = render(&profile, BOND);
            bond.retain(|name, text| plain.get(name) != Some(text));
        }
        expected.extend(plain);
        expected.extend(bond.into_iter().map(|(name, text)| (format!("bond/{name}"), text)));
        texts += expected.len();
        wrong.extend(compare(&folder.join("expected"), &expected));
    }
    assert!(wrong.is_empty(), "not as reviewed (BLESS=1 writes them anew):\n{}", wrong.join("\n"));
    assert!(texts > 100, "only {texts} texts were rendered");
}

#[test]
fn all_loaders_hand_the_same_arguments_to_each_kernel() {
    let mut seen = 0;
    for (_, profile) in profiles() {
        if profile.way == Way::Image {
            continue;
        }
        let subject = Example::of(&profile, &[]);
        let files = subject.files();
        let wanted: Vec<&str> = files.args.iter().collect();
        let rendered = subject.loaders(&profile);
        let line = |loader: &str, word: &str| {
            let text = rendered.get(loader).unwrap();
            text.lines().map(str::trim).find(|line| line.contains(word)).unwrap().to_owned()
        };
        for said in [line("boot.ipxe", "kernel http"), line("pxelinux.cfg", "APPEND")] {
            let words: Vec<&str> = said.split(' ').collect();
            assert!(
                wanted.is_empty() || words.windows(wanted.len()).any(|window| window == wanted.as_slice()),
                "{}: {said}\nlacks, in this order: {wanted:?}",
                profile.name
            );
        }
        // GRUB's words are a shell's.
        let linux = line("grub.cfg", "linux ");
        let words = shell_words(&linux);
        assert!(
            wanted.is_empty() || words.windows(wanted.len()).any(|window| window == wanted.as_slice()),
            "{}: {linux}\nlacks, in this order: {wanted:?}",
            profile.name
        );
        seen += 3;
    }
    assert!(seen >= 24, "only {seen} texts of loaders were seen");
}

/// Stages an installer reports by itself; `failed` is none of its way.
#[test]
fn every_installer_shows_five_stages_ends_by_its_own_report_and_can_say_that_it_failed() {
    for (_, profile) in profiles() {
        if profile.way != Way::Installer {
            continue;
        }
        let all: String = render(&profile, &[]).into_values().collect();
        let stages = ["started", "network", "disks", "base-system", "packages", "bootloader", "configure", "installed"];
        let told = stages
            .iter()
            .filter(|stage| all.contains(&format!("rackberry_report {stage}")) || all.contains(&format!(":{stage}")))
            .count();
        // Anaconda of old runs nothing of ours between its disks and its end.
        assert!(told >= 5, "{}: {told} stages", profile.name);
        for word in ["rackberry_report installed", "rackberry_report failed", "/report/"] {
            assert!(all.contains(word), "{} lacks {word}", profile.name);
        }
        // The disk is looked for where it is erased, not taken by its name.
        assert!(all.contains("SN-0001") && all.contains("33554432"), "{} does not look at the disk", profile.name);
    }
}

#[test]
fn nothing_of_a_live_system_names_a_disk() {
    for (_, profile) in profiles() {
        if profile.way == Way::Live {
            let all: String = render(&profile, &[]).into_values().collect();
            assert!(!all.contains("/dev/sd") && !all.contains("SN-0001"), "{}", profile.name);
        }
    }
}

const BOND: &[(&str, &str)] = &[
    ("address", "192.168.77.20/24"),
    ("gateway", "192.168.77.1"),
    ("dns", "192.168.77.1 9.9.9.9"),
    ("domain", "rack.example"),
    ("vlan", "100"),
    ("bond", "802.3ad"),
    ("console", "ttyS0,115200n8"),
    ("security", "http://192.168.77.1/cache/security/debian-security"),
];

fn catalog() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/catalog")
}

fn templates(folder: &Path, prefix: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".tmpl") {
            found.insert(format!("{prefix}{name}"), fs::read_to_string(entry.path()).unwrap());
        }
    }
    found
}

fn profiles() -> Vec<(PathBuf, Profile)> {
    let shared = templates(&catalog().join("shared"), "shared/");
    let mut folders: Vec<PathBuf> = fs::read_dir(catalog()).unwrap().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.retain(|folder| folder.join("profile.toml").is_file());
    folders
        .into_iter()
        .map(|folder| {
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            let mut all = templates(&folder, "");
            all.extend(shared.clone());
            let toml = fs::read_to_string(folder.join("profile.toml")).unwrap();
            let profile = Profile::parse(&name, &toml, &all).unwrap_or_else(|error| panic!("{name}: {error}"));
            (folder, profile)
        })
        .collect()
}

/// Differences between a folder and what should lie in it, or none after writing it.
fn compare(folder: &Path, expected: &BTreeMap<String, String>) -> Vec<String> {
    if blessing() {
        let _ = fs::remove_dir_all(folder);
        for (name, text) in expected {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for (name, text) in expected {
        let path = folder.join(name);
        match fs::read_to_string(&path) {
            Ok(reviewed) if reviewed == *text => {}
            Ok(_) => wrong.push(format!("{} differs", path.display())),
            Err(_) => wrong.push(format!("{} is missing", path.display())),
        }
    }
    let mut open = vec![folder.to_owned()];
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(&inner).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if !expected.contains_key(path.strip_prefix(folder).unwrap().to_str().unwrap()) {
                wrong.push(format!("{} is rendered no more", path.display()));
            }
        }
    }
    wrong
}

fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

/// The words of a line as a POSIX shell reads them, of quotes only the single ones.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => quoted = !quoted,
            '\\' if !quoted => word.extend(rest.next()),
            ' ' | ';' if !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words
}
