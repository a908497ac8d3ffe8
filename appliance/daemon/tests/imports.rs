//! The rules of ARCHITECTURE.md's "Who imports whom", held against the sources. The two lines that begin with "inside" are read
//! from there, so that text and code cannot drift apart.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every Rust file below a folder, named from there, without its comments.
fn sources(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
                found.insert(path.strip_prefix(folder).unwrap().display().to_string(), code.join("\n"));
            }
        }
    }
    assert!(found.len() > 5, "{}", folder.display());
    found
}

/// The first name of every path that begins so: `crate::{a::B, c}` and `crate::d::e()` give a, c and d.
fn names_behind(code: &str, start: &str) -> BTreeSet<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(start) {
        // Not the end of a longer name.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + start.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let (mut depth, mut item) = (1, String::new());
        for c in list.chars() {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            if depth == 0 || (depth == 1 && c == ',') {
                names.insert(word(&item));
                item.clear();
            } else {
                item.push(c);
            }
            if depth == 0 {
                break;
            }
        }
    }
    names.remove("");
    names
}

/// The groups of a line `inside core    { a, b } <- c <- { d, e }; words`, the lowest first.
fn groups(crate_name: &str) -> Vec<BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let start = format!("    inside {crate_name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
    let line = line.split(';').next().unwrap();
    line.split("<-")
        .map(|group| {
            let names = group.trim().trim_matches(['{', '}']).split(',').map(|name| name.trim().to_owned());
            names.collect()
        })
        .collect()
}

/// Fails unless every module imports from lower groups only, or from its own if that is one of the first `mingling`.
fn holds(crate_name: &str, mingling: usize) {
    let groups = groups(crate_name);
    let rank = |module: &str| groups.iter().position(|group| group.contains(module));
    let folder = root().join("appliance").join(crate_name).join("src");
    let (mut wrong, mut imports, mut seen) = (Vec::new(), 0, BTreeSet::new());
    for (file, code) in sources(&folder) {
        let module = file.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let Some(own) = rank(&module) else {
            wrong.push(format!("{file}: ARCHITECTURE.md gives {module} no place"));
            continue;
        };
        // The program stands outside of its own library.
        let start = if ["main", "command"].contains(&module.as_str()) { "rackberry::" } else { "crate::" };
        seen.insert(module.clone());
        for name in names_behind(&code, start) {
            let Some(theirs) = rank(&name).filter(|_| name != module) else { continue };
            imports += 1;
            if theirs > own || (theirs == own && own >= mingling) {
                wrong.push(format!("{file}: {module} imports {name}"));
            }
        }
    }
    let told: BTreeSet<String> = groups.iter().flatten().cloned().collect();
    assert_eq!(told.difference(&seen).count(), 0, "told of, but not there: {:?}", told.difference(&seen));
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(imports > 20, "only {imports} imports were found: the reader of this test is broken");
}

#[test]
fn inside_core_imports_point_one_way() {
    holds("core", 2);
}

#[test]
fn inside_the_daemon_imports_point_one_way() {
    holds("daemon", 1);
}

#[test]
fn the_command_line_imports_nothing_of_the_daemon() {
    let code = &sources(&root().join("appliance/daemon/src"))["cli.rs"];
    assert_eq!(names_behind(code, "crate::"), BTreeSet::new());
}

#[test]
fn crates_import_no_more_of_ours_than_they_may() {
    let ours = ["rackberry", "rackberry_core", "rackberry_iso", "rackberry_web", "tftp_server", "rackberry_agent"];
    for (folder, may) in [
        ("appliance/core/src", &[][..]),
        ("appliance/iso/src", &[]),
        ("appliance/tftp-server/src", &[]),
        ("web-ui/src", &[]),
        ("images/agent/src", &["rackberry_core"]),
        ("tests/support", &["rackberry_core"]),
    ] {
        for (file, code) in sources(&root().join(folder)) {
            for name in ours.iter().filter(|name| !may.contains(name)) {
                let found = names_behind(&code, &format!("{name}::"));
                assert!(found.is_empty(), "{folder}/{file} imports {name}: {found:?}");
            }
        }
    }
}

#[test]
fn foreign_codecs_stay_behind_one_door_each() {
    for (folder, library, home) in [
        ("appliance/core/src", "dhcproto", "dhcp/wire.rs"),
        ("images/agent/src", "ureq", "http.rs"),
        ("appliance/daemon/src", "pgp", "origin/signature"),
        ("appliance/daemon/src", "rustls", "origin/client.rs"),
    ] {
        let users: Vec<String> = sources(&root().join(folder))
            .into_iter()
            .filter(|(_, code)| !names_behind(code, &format!("{library}::")).is_empty())
            .map(|(file, _)| file)
            .collect();
        let at_home = users.iter().all(|file| file.starts_with(home));
        assert!(!users.is_empty() && at_home, "who imports {library} in {folder}: {users:?}");
    }
}

#[test]
fn only_the_displays_shell_knows_buses_and_one_file_knows_pins() {
    let sources = sources(&root().join("appliance/daemon/src"));
    for library in ["rppal", "linux_embedded_hal", "embedded_hal", "gpiocdev"] {
        let users: Vec<&String> = sources
            .iter()
            .filter(|(_, code)| !names_behind(code, &format!("{library}::")).is_empty())
            .map(|(file, _)| file)
            .collect();
        let known = |file: &String| file.starts_with("oled/") || file == "gpio.rs";
        assert!(!users.is_empty() && users.into_iter().all(known), "{library}");
    }
}

#[test]
fn only_one_file_maps_errors_to_statuses() {
    let sources = sources(&root().join("appliance/daemon/src"));
    let maps: Vec<&String> =
        sources.iter().filter(|(_, code)| code.contains("-> StatusCode")).map(|(f, _)| f).collect();
    assert_eq!(maps, ["http/error.rs"]);
    // Who asks a server elsewhere reads the ones of its answers.
    let at_home = |file: &String| file.starts_with("http/") || file.starts_with("origin/");
    let elsewhere = |(file, code): &(&String, &String)| !at_home(file) && code.contains("StatusCode");
    assert_eq!(sources.iter().find(elsewhere).map(|(file, _)| file), None, "statuses are known in http/ alone");
}

#[test]
fn core_is_built_of_nothing_that_touches_the_world() {
    let tree = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "-p", "rackberry-core", "-e", "normal", "--prefix", "none"])
            .args(arguments)
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect::<BTreeSet<_>>()
    };
    let all = tree(&["--all-features"]);
    assert!(all.contains("rackberry-core") && all.contains("dhcproto"), "{all:?}");
    for kept_out in ["tokio", "mio", "socket2", "nix", "rustix", "rusqlite", "warp", "hyper", "ureq", "rppal", "chrono"]
    {
        assert!(!all.contains(kept_out), "core depends on {kept_out}");
    }
    let plain = tree(&["--no-default-features"]);
    assert!(!plain.contains("dhcproto"), "without features it knows no DHCP: {plain:?}");
}

#[test]
fn the_reader_of_imports_sees_lists_paths_and_nothing_else() {
    let code = "use crate::{\n  a::{B, c},\n  d as e,\n};\nlet x = crate::f::g(mycrate::h);";
    assert_eq!(names_behind(code, "crate::"), ["a", "d", "f"].map(str::to_owned).into());
}
