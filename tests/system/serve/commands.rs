//! Every command: what it prints, how it ends, and backups.

use crate::{list, refusal, said, text};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use system_tests::{
    Site, appliance,
    site::{BOX, cli, cli_json},
};

#[test]
fn every_command_speaks_json_and_says_by_its_exit_code_whether_it_worked() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let added = cli_json(&appliance, &["host", "add", "52:54:00:00:00:01", "node"])?;
    assert_eq!(list(&added, "name"), ["node"]);
    let set = cli_json(&appliance, &["host", "set", "node", "name=web", "policy=local-disk", "tags=a,b", "note=x y"])?;
    assert_eq!((text(&set, "name"), text(&set, "policy"), text(&set, "note")), ("web", "local-disk", "x y"));
    assert_eq!(set.get("tags"), Some(&json!(["a", "b"])));
    let by_mac = cli_json(&appliance, &["host", "show", "52-54-00-00-00-01"])?;
    assert_eq!(text(&by_mac, "name"), "web");
    let profile = cli_json(&appliance, &["profile", "show", "debian-13"])?;
    assert_eq!(text(&profile, "arch"), "x86_64");
    assert!(list(&cli_json(&appliance, &["profile", "list"])?, "name").contains(&"debian-13".to_owned()));
    let rendered = cli_json(&appliance, &["profile", "render", "web", "debian-13"])?;
    assert!(rendered.get("files").and_then(Value::as_array).is_some_and(|files| files.len() > 3), "{rendered}");
    let hostname = cli(&appliance, &["profile", "render", "web", "debian-13", "/etc/hostname"])?;
    assert_eq!(String::from_utf8_lossy(&hostname.stdout).trim(), "web");
    let status = cli_json(&appliance, &["status"])?;
    assert_eq!((text(&status, "mode"), text(&status, "address")), ("server", BOX.to_string().as_str()), "{status}");
    let events = cli(&appliance, &["--json", "events", "--host", "web"])?;
    let lines = String::from_utf8(events.stdout)?;
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line)?;
        assert!(event.get("kind").is_some(), "{line}");
    }
    assert!(lines.contains("host_enrolled") && lines.contains("host_changed"), "{lines}");
    let table = said(&cli(&appliance, &["host", "list"])?);
    assert!(table.starts_with("NAME") && table.contains("web"), "{table}");
    let mut user = Command::new(appliance::binary()?);
    user.arg("--state-dir").arg(appliance.state_dir()).args(["--json", "user", "add", "anna"]);
    let mut user = user.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut user.stdin.take().context("no input")?, b"a long enough password\n")?;
    let user = user.wait_with_output()?;
    assert!(user.status.success(), "{}", said(&user));
    cli_json(&appliance, &["host", "rm", "web"])?;
    for (wrong, reason) in [
        (&["host", "show", "web"][..], "There is no host web"),
        (&["host", "set", "web", "name=x"], "There is no host web"),
        (&["host", "add", "52:54"], "no MAC address"),
        (&["profile", "show", "none"], "there is no profile none"),
        (&["resume", "web"], "There is no host"),
    ] {
        let plain = refusal(&cli(&appliance, wrong)?)?;
        assert!(plain.contains(reason), "{wrong:?}: {plain}");
        let output = cli(&appliance, &[&["--json"], wrong].concat())?;
        refusal(&output)?;
        let error: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
        assert!(text(&error, "error").contains(reason), "{error}");
    }
    let usage = cli(&appliance, &["host", "set", "web", "name"])?;
    assert_eq!(usage.status.code(), Some(2), "a mistake in the command itself: {}", said(&usage));
    let document = cli_json(&appliance, &["openapi"])?;
    assert!(document.get("paths").and_then(|paths| paths.get("/api/v1/hosts/{host}")).is_some(), "{document}");
    let nobody = Command::new(appliance::binary()?).args(["--state-dir", "/no/such/dir", "status"]).output()?;
    assert!(refusal(&nobody)?.contains("rackberry serve"), "it says what to start");
    assert!(!Path::new("/no/such/dir").exists(), "asking makes no state folder");
    Ok(())
}

#[test]
fn a_backup_of_a_running_box_is_restored_into_a_new_one() -> Result<()> {
    let site = Site::new()?;
    let mut appliance = site.serve("")?;
    cli_json(&appliance, &["host", "add", "52:54:00:00:00:01", "kept"])?;
    let file = site.scratch().join("backup.db");
    let file = file.to_str().context("no UTF-8")?;
    cli_json(&appliance, &["backup", file])?;
    let held = std::fs::metadata(file)?;
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&held.permissions()) & 0o077, 0, "only for its owner");
    cli_json(&appliance, &["host", "add", "52:54:00:00:00:02", "later"])?;
    let running = cli(&appliance, &["restore", file])?;
    assert!(refusal(&running)?.contains("another"), "a running box keeps its inventory: {}", said(&running));
    appliance.stop(Duration::from_secs(5))?;
    let restored = cli(&appliance, &["restore", file])?;
    assert!(restored.status.success(), "{}", said(&restored));
    appliance.restart()?;
    let names: Vec<String> = list(&cli_json(&appliance, &["host", "list"])?, "name");
    assert_eq!(names, ["kept"]);
    let broken = site.scratch().join("broken.db");
    std::fs::write(&broken, "this is no database")?;
    appliance.stop(Duration::from_secs(5))?;
    refusal(&cli(&appliance, &["restore", broken.to_str().unwrap_or_default()])?)?;
    appliance.restart()?;
    assert_eq!(list(&cli_json(&appliance, &["host", "list"])?, "name"), ["kept"], "a bad backup changes nothing");
    Ok(())
}
