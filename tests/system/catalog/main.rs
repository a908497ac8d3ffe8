//! What the catalogue hands out, read by the formats' own programs. The texts are the reviewed ones in `images/catalog/*/expected`
//! and `core/testdata/network`; that they are what hosts get is the unit tests' part.
//!
//! Each check also refuses a text that was spoilt on purpose: a program that takes anything checks nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: what fails here fails the test that calls them"
)]

mod network;
mod tools;

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tools::{Tools, refused, run};

/// The reviewed texts of that name, with the profile's name.
fn texts(wanted: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut open = vec![root().join("images/catalog")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.components().any(|part| part.as_os_str() == "expected")
                && path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted)
            {
                let below = path.strip_prefix(root().join("images/catalog")).unwrap();
                let profile = below.components().next().unwrap().as_os_str().to_str().unwrap().to_owned();
                found.push((profile, path));
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A text in a file of its own.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

/// The version of pykickstart's grammar for a profile.
fn grammar(profile: &str) -> &'static str {
    match profile.rsplit('-').next() {
        Some("6") => "RHEL6",
        Some("7") => "RHEL7",
        Some("8") => "RHEL8",
        Some("9") => "RHEL9",
        Some("10") => "RHEL10",
        _ => "F42",
    }
}

#[test]
fn ksvalidator_takes_every_kickstart_file_in_its_own_version() -> Result<()> {
    let tools = Tools::find()?;
    let files = texts(|name| name == "ks.cfg");
    ensure!(files.len() >= 12, "only {} kickstart files", files.len());
    let mut versions = std::collections::BTreeSet::new();
    for (profile, path) in &files {
        let version = grammar(profile);
        versions.insert(version);
        let said = run(&mut tools.ksvalidator(version, path)).with_context(|| path.display().to_string())?;
        ensure!(!said.to_lowercase().contains("deprecat"), "{}: {said}", path.display());
        let text = fs::read_to_string(path)?;
        for (at, script) in sections(&text) {
            let script = file(&script);
            run(std::process::Command::new("bash").arg("-n").arg(script.path()))
                .with_context(|| format!("{}: {at}", path.display()))?;
        }
    }
    ensure!(versions.len() == 6, "only {versions:?}");
    let (_, path) = files.first().context("none")?;
    let spoilt = file(&fs::read_to_string(path)?.replace("firstboot --disable", "firstboot --perhaps"));
    refused(&mut tools.ksvalidator("RHEL9", spoilt.path()))?;
    // What one version has another may not.
    let (_, new) = files.iter().find(|(profile, _)| profile == "rocky-10").context("no rocky-10")?;
    refused(&mut tools.ksvalidator("RHEL6", new))
}

/// The scripts inside of a kickstart file, by their first lines.
fn sections(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut inside: Option<(String, String)> = None;
    for line in text.lines() {
        let opens = ["%pre", "%post", "%onerror", "%traceback"].iter().any(|word| line.starts_with(word));
        match &mut inside {
            Some(_) if line == "%end" => found.extend(inside.take()),
            Some((_, script)) => {
                script.push_str(line);
                script.push('\n');
            }
            None if opens => inside = Some((line.to_owned(), String::new())),
            None => {}
        }
    }
    found
}

#[test]
fn debconf_takes_every_preseed_file() -> Result<()> {
    let files = texts(|name| name == "preseed.cfg");
    ensure!(files.len() >= 4, "only {} preseed files", files.len());
    let check = |path: &Path| {
        let mut command = std::process::Command::new("debconf-set-selections");
        command.arg("--checkonly").arg(path);
        command
    };
    for (_, path) in &files {
        run(&mut check(path)).with_context(|| path.display().to_string())?;
        // A question asked twice with two answers is a slip.
        let text = fs::read_to_string(path)?;
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut words = line.split(' ');
            let question = (words.next(), words.next());
            ensure!(seen.insert(question), "{}: twice: {line}", path.display());
        }
        // SYSTEMS: the questions that stop an install on a used disk, and those before the file is there.
        for asked in [
            "partman/unmount_active boolean true",
            "partman/filter_mounted boolean false",
            "partman/choose_partition select finish",
            "partman/confirm boolean true",
            "partman/confirm_nooverwrite boolean true",
            "partman-partitioning/confirm_write_new_label boolean true",
            "partman-lvm/device_remove_lvm boolean true",
            "partman-md/device_remove_md boolean true",
            "partman/early_command string",
            "finish-install/reboot_in_progress note",
        ] {
            ensure!(text.contains(asked), "{} does not answer {asked}", path.display());
        }
    }
    refused(&mut check(file("d-i netcfg/enable boolean true\nd-i only-two-words\n").path()))
}

#[test]
fn cloud_inits_schema_takes_every_cloud_config() -> Result<()> {
    let tools = Tools::find()?;
    let files = texts(|name| name == "user-data");
    ensure!(files.len() >= 3, "only {} files", files.len());
    for (profile, path) in &files {
        run(&mut tools.cloud_init_schema(path)).with_context(|| path.display().to_string())?;
        let seed = root().join("images/catalog").join(profile).join("expected/answers/seed");
        // A missing file would stop cloud-init's search for its seed.
        for beside in ["meta-data", "vendor-data"] {
            ensure!(seed.join(beside).is_file(), "{profile} has no {beside}");
        }
    }
    refused(&mut tools.cloud_init_schema(file("#cloud-config\nusers: 7\n").path()))
}

#[test]
fn ignition_takes_every_config() -> Result<()> {
    let tools = Tools::find()?;
    let files = texts(|name| name.ends_with(".ign"));
    ensure!(files.len() >= 6, "only {} files", files.len());
    for (_, path) in &files {
        let said = run(&mut tools.ignition_validate(path)).with_context(|| path.display().to_string())?;
        ensure!(said.trim().is_empty(), "{}: {said}", path.display());
    }
    let (_, path) = files.first().context("none")?;
    refused(&mut tools.ignition_validate(file(&fs::read_to_string(path)?.replace("\"3.3.0\"", "\"9.9.9\"")).path()))
}

#[test]
fn cloud_configs_of_the_old_systems_are_yaml_with_their_first_line() -> Result<()> {
    let files = texts(|name| name.ends_with(".yml"));
    ensure!(files.len() >= 4, "only {} files", files.len());
    let parse = |path: &Path| {
        let mut command = std::process::Command::new("/usr/bin/python3");
        command.args(["-c", "import sys, yaml; assert isinstance(yaml.safe_load(open(sys.argv[1])), dict)"]).arg(path);
        command
    };
    for (_, path) in &files {
        run(&mut parse(path)).with_context(|| path.display().to_string())?;
        ensure!(fs::read_to_string(path)?.starts_with("#cloud-config\n"), "{}", path.display());
    }
    refused(&mut parse(file("#cloud-config\na: [\n").path()))
}

#[test]
fn grub_takes_every_configuration() -> Result<()> {
    let files = texts(|name| name == "grub.cfg");
    ensure!(files.len() >= 24, "only {} files", files.len());
    let check = |path: &Path| {
        let mut command = std::process::Command::new("grub-script-check");
        command.arg(path);
        command
    };
    for (_, path) in &files {
        run(&mut check(path)).with_context(|| path.display().to_string())?;
    }
    refused(&mut check(file("if linux x; then\n").path()))
}

#[test]
fn shellcheck_takes_every_script() -> Result<()> {
    let files = texts(|name| name.ends_with(".sh") || name == "first-boot");
    ensure!(files.len() >= 10, "only {} files", files.len());
    let check = |paths: &[&Path]| {
        let mut command = std::process::Command::new("shellcheck");
        command.args(["--norc", "--severity=warning"]).args(paths);
        command
    };
    let paths: Vec<&Path> = files.iter().map(|(_, path)| path.as_path()).collect();
    run(&mut check(&paths))?;
    refused(&mut check(&[file("#!/bin/sh\nif true; then\n").path()]))
}
