//! The page in Debian's Chromium: what a person sees, clicks and waits for, with machines that answer underneath.
//!
//! Needs `chromium`, `node` and `npm`; without them it fails, unless `RACKBERRY_SKIP_BROWSER=1` says that this is meant.
//! `RACKBERRY_SHOTS=DIR` keeps the pictures.

mod machines;

use anyhow::{Context, Result, bail, ensure};
use machines::Rack;
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use system_tests::{appliance::Appliance, netns, site::Site};

/// Where the driver and its one dependency lie.
fn driver() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser")
}

/// The first program of these names in the search path.
fn program(names: &[&str]) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).flat_map(|dir| names.iter().map(move |name| dir.join(name)));
    candidates.into_iter().find(|file| file.is_file()).with_context(|| {
        format!("no {} here; install it, or set RACKBERRY_SKIP_BROWSER=1 to go without this test", names.join(" or "))
    })
}

/// Fetches the driver's dependency as its lock file pins it, once.
fn prepare(npm: &Path) -> Result<()> {
    if driver().join("node_modules/playwright-core/package.json").is_file() {
        return Ok(());
    }
    let mut install = Command::new(npm);
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(driver());
    let output = install.output().with_context(|| format!("run {install:?}"))?;
    ensure!(output.status.success(), "{install:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_person_installs_by_mouse_and_watches_the_bar() -> Result<()> {
    if std::env::var_os("RACKBERRY_SKIP_BROWSER").is_some_and(|skip| skip == "1") {
        println!("skipped, as RACKBERRY_SKIP_BROWSER=1 asks");
        return Ok(());
    }
    let (chromium, node) = (program(&["chromium", "chromium-browser"])?, program(&["node"])?);
    prepare(&program(&["npm"])?)?;
    netns::sweep();
    let site = Site::new()?;
    let mut appliance = site.serve("")?;
    site.import_image(&appliance)?;
    std::thread::scope(|scope| {
        let rack = Rack::fill(scope, &site, &appliance)?;
        drive(&site, &mut appliance, rack, &node, &chromium)
    })
}

/// Lets the driver do its work on the filled rack.
fn drive(site: &Site, appliance: &mut Appliance, rack: Rack<'_>, node: &Path, chromium: &Path) -> Result<()> {
    let code = appliance.one_time_code()?;
    let kept = std::env::var_os("RACKBERRY_SHOTS").map(PathBuf::from);
    let shots = kept.unwrap_or_else(|| site.scratch().join("shots"));
    std::fs::create_dir_all(&shots)?;

    let mut page = Command::new(node);
    page.arg("page.mjs").current_dir(driver());
    page.env("PAGE", appliance.url("")).env("CODE", code).env("CHROMIUM", chromium).env("SHOTS", &shots);
    page.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut page = page.spawn().context("start the driver")?;
    let watched = follow(&mut page, appliance, &rack);
    let status = page.wait()?;
    let lived = rack.end();
    watched?;
    ensure!(status.success(), "the driver: {status}; its pictures are in {}", shots.display());
    lived
}

/// Prints what the driver says, and does what it asks for.
fn follow(page: &mut std::process::Child, appliance: &mut Appliance, rack: &Rack<'_>) -> Result<()> {
    let (output, mut input) = (page.stdout.take().context("no output")?, page.stdin.take().context("no input")?);
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("page: {line}");
        match line.strip_prefix("please ") {
            Some("restart") => {
                appliance.restart()?;
                writeln!(input, "done")?;
            }
            Some(other) if let Some(percent) = other.strip_prefix("write to ") => rack.write_to(percent.parse()?),
            Some(other) => bail!("the driver asks for {other:?}"),
            None => {}
        }
    }
    Ok(())
}
