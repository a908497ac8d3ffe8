//! The documents: `docs/systems.md`, made of the catalogue and of what was seen, and `docs/add-an-os.md`, followed to the letter.

use super::{blessing, catalog, example::render, profiles, templates};
use rackberry_core::{
    host::Firmware,
    profile::{Profile, Way, boots_on},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

#[derive(Deserialize)]
struct Seen {
    #[serde(default)]
    seen: Vec<Run>,
}

/// A run that showed more than rendering.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    profile: String,
    loader: String,
    firmware: String,
    level: String,
    date: String,
    #[serde(default)]
    figure: String,
}

/// From the least to the most.
const LEVELS: [&str; 4] = ["golden", "synthetic", "booted", "installed"];
/// What a firmware may load: a column each.
const COLUMNS: [(&str, &str, &str); 4] = [
    ("iPXE, BIOS", "ipxe", "bios"),
    ("PXELINUX, BIOS", "pxelinux", "bios"),
    ("iPXE, UEFI", "ipxe", "uefi"),
    ("GRUB, UEFI", "grub", "uefi"),
];

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
fn the_table_of_systems_is_what_the_catalogue_and_the_runs_say() {
    let toml = fs::read_to_string(docs().join("systems-seen.toml")).unwrap();
    let seen: Seen = toml::from_str(&toml).unwrap_or_else(|error| panic!("docs/systems-seen.toml: {error}"));
    let profiles: Vec<Profile> = profiles().into_iter().map(|(_, profile)| profile).collect();
    for run in &seen.seen {
        assert!(profiles.iter().any(|profile| profile.name == run.profile), "there is no profile {}", run.profile);
        assert!(
            COLUMNS.iter().any(|(_, loader, firmware)| run.loader == *loader && run.firmware == *firmware),
            "{} {}",
            run.loader,
            run.firmware
        );
        assert!(LEVELS.contains(&run.level.as_str()) && run.level != "golden", "{}", run.level);
        assert!(run.date.len() == 10 && run.date.starts_with("20"), "{}", run.date);
    }
    let table = table(&profiles, &seen.seen);
    let path = docs().join("systems.md");
    if blessing() {
        fs::write(&path, &table).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), table, "BLESS=1 writes docs/systems.md anew");
}

fn table(profiles: &[Profile], seen: &[Run]) -> String {
    let mut out = String::from(
        "# Systems\n\n\
         Made by a test from `images/catalog/` and [systems-seen.toml](systems-seen.toml); edits here are lost. How one is added: [add-an-os.md](add-an-os.md).\n\n\
         | word | what was seen |\n|---|---|\n\
         | golden | what a host gets is rendered, reviewed, and taken by the format's own program |\n\
         | synthetic | and a medium with the real layout, made by a test, is recognised and served |\n\
         | booted | and a machine started it |\n\
         | installed | and a machine was installed and came up from its own disk |\n\n\
         A profile of the way *image* boots our RAM OS by whatever loader the machine has. \"-\" stands where a system does not start on that firmware.\n",
    );
    for (way, title) in [
        (Way::Image, "Disk images, written by our RAM OS"),
        (Way::Installer, "The distributions' own installers"),
        (Way::Live, "Booted from the network, nothing installed"),
    ] {
        let _ = write!(out, "\n## {title}\n\n| profile | system |");
        for (column, _, _) in COLUMNS {
            let _ = write!(out, " {column} |");
        }
        out.push_str("\n|---|---|---|---|---|---|\n");
        for profile in profiles.iter().filter(|profile| profile.way == way) {
            let _ = write!(out, "| `{}` | {} |", profile.name, profile.title);
            for (_, loader, firmware) in COLUMNS {
                let _ = write!(out, " {} |", cell(profile, loader, firmware, seen));
            }
            out.push('\n');
        }
    }
    out
}

fn cell(profile: &Profile, loader: &str, firmware: &str, seen: &[Run]) -> String {
    let wanted = if firmware == "bios" { Firmware::Bios } else { Firmware::Uefi };
    if !boots_on(&profile.firmware, Some(wanted)) {
        return "-".to_owned();
    }
    let here = |run: &&Run| run.profile == profile.name && run.loader == loader && run.firmware == firmware;
    let level = |run: &Run| LEVELS.iter().position(|level| *level == run.level);
    match seen.iter().filter(here).max_by_key(|run| (level(run), run.date.clone())) {
        None => "golden".to_owned(),
        Some(run) if run.figure.is_empty() => format!("{}, {}", run.level, run.date),
        Some(run) => format!("{}, {}: {}", run.level, run.date, run.figure),
    }
}

#[test]
fn the_document_on_adding_a_system_works_to_the_letter() {
    let text = fs::read_to_string(docs().join("add-an-os.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let examplix = folder.path().join("examplix");
    fs::create_dir(&examplix).unwrap();
    // A block belongs to the last file name in backquotes on the line before it.
    let mut blocks = text.split("\n```");
    let mut before = blocks.next().unwrap();
    let mut written = 0;
    while let (Some(block), Some(after)) = (blocks.next(), blocks.next()) {
        let line = before.trim_end().lines().last().unwrap();
        let name = line.split('`').nth(1).unwrap();
        let (_, content) = block.split_once('\n').unwrap();
        fs::write(examplix.join(name), format!("{content}\n")).unwrap();
        written += 1;
        before = after;
    }
    assert_eq!(written, 3);

    let mut all = templates(&examplix, "");
    all.extend(templates(&catalog().join("shared"), "shared/"));
    let toml = fs::read_to_string(examplix.join("profile.toml")).unwrap();
    let profile = Profile::parse("examplix", &toml, &all).unwrap_or_else(|error| panic!("{error}"));
    let rendered: BTreeMap<String, String> = render(&profile, &[("user", "me")]);
    let script = rendered.get("boot.ipxe").unwrap();
    assert!(script.contains("/boot/vmlinuz") && script.contains("/boot/initrd.img"), "{script}");
    assert!(script.contains("examplix.answers=http://192.168.77.1/answers/TOKEN/answers.ini"), "{script}");
    let answers = rendered.get("answers/answers.ini").unwrap();
    assert!(answers.contains("hostname=node-01\nuser=me\npassword-hash=$6$"), "{answers}");
    assert!(answers.ends_with("script=http://192.168.77.1/answers/TOKEN/install.sh\n"), "{answers}");
    let install = rendered.get("answers/install.sh").unwrap();
    assert!(install.contains("grep -qxF 'SN-0001'") && install.contains("rackberry_report installed"), "{install}");
}

#[test]
fn every_key_of_a_profile_is_in_the_document() {
    let text = fs::read_to_string(docs().join("add-an-os.md")).unwrap();
    for (folder, _) in profiles() {
        let toml: toml::Table = fs::read_to_string(folder.join("profile.toml")).unwrap().parse().unwrap();
        let mut keys: Vec<String> = toml.keys().cloned().collect();
        for value in toml.values() {
            let inner = match value {
                toml::Value::Array(entries) => entries.first().and_then(toml::Value::as_table),
                value => value.as_table(),
            };
            keys.extend(inner.iter().flat_map(|inner| inner.keys().cloned()));
        }
        for key in keys {
            assert!(
                text.contains(&format!("`{key}`")) || text.contains(&format!("[{key}]")),
                "{}: {key} is not in docs/add-an-os.md",
                folder.display()
            );
        }
    }
}
