//! The time of day, asked of a time server on the link.

use crate::{soon, text};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use system_tests::{
    Appliance, Site, appliance, leftovers,
    site::{ROOM, cli_json},
};

/// From 1900 to 1970, in seconds.
const TO_UNIX: u64 = 2_208_988_800;
/// How far the server of these tests is ahead.
const AHEAD: Duration = Duration::from_secs(90);

/// A time server among the hosts, until the test's process ends; its name for the settings.
fn server(site: &Site) -> Result<String> {
    let socket = site.room.enter(|| Ok(UdpSocket::bind((ROOM, 0))?))?;
    let name = socket.local_addr()?.to_string();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((48.., from)) = socket.recv_from(&mut question) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + AHEAD;
            let ticks = ((now.as_secs() + TO_UNIX) << 32) | ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000);
            let mut answer = vec![0x24, 2, 6, 0xe9, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1];
            answer.extend([0; 8]);
            answer.extend_from_slice(question.get(40..48).unwrap_or_default());
            answer.extend(ticks.to_be_bytes().repeat(2));
            let _ = socket.send_to(&answer, from);
        }
    });
    Ok(name)
}

/// The status, once `right` holds.
fn status(appliance: &Appliance, right: impl Fn(&Value) -> bool) -> Result<Value> {
    let until = soon();
    loop {
        let status = cli_json(appliance, &["status"])?;
        if right(&status) {
            return Ok(status);
        }
        ensure!(Instant::now() < until, "{status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_program_compares_this_machines_clock_and_leaves_it_alone() -> Result<()> {
    let site = Site::new()?;
    let server = server(&site)?;
    let appliance = site.serve(&format!("[time]\nntp = [\"{server}\"]\n"))?;
    let began = Instant::now();
    let status = status(&appliance, |status| status["time_server"].is_string())?;
    println!("time: the time is known after {:.1?}", began.elapsed());
    ensure!(text(&status, "time_server") == server, "{status}");
    let told = text(&status, "time");
    ensure!(told.contains("clock is 1 min ") && told.contains(&format!("behind {server}'s")), "{status}");
    let offset = status["time_offset_ms"].as_i64().context("no offset")?;
    ensure!((85_000..95_000).contains(&offset), "{status}");
    let form = appliance.get("/first-run")?.text();
    let csrf =
        form.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).context("no form")?;
    let code = appliance.one_time_code()?;
    let password = ("password", "correct horse");
    let fields = [("csrf", csrf), ("code", &code), ("user", "anna"), password, ("password2", password.1)];
    appliance.post_form("/first-run", &fields)?.expect_status(303)?;
    let page = appliance.get("/")?.expect_status(200)?.text();
    let foot = page.split("id=\"box\"").nth(1).context("no footer")?;
    ensure!(foot.contains("clock is 1 min ") && foot.contains(&server), "{foot}");
    Ok(())
}

#[test]
fn on_the_card_the_helper_is_asked_and_sets_no_time_from_before_the_card_was_made() -> Result<()> {
    let site = Site::new()?;
    let place = |name: &str| site.scratch().join(name);
    // A card of the year 2096, so that this machine's clock is never set, whoever runs this.
    std::fs::write(place("built"), "4000000000\n")?;
    std::fs::write(place("clock"), "1\n")?;
    let program = appliance::binary()?;
    let mut command = Command::new(&program);
    command.arg("--state-dir").arg(site.scratch()).arg("clock-helper").stdin(Stdio::null());
    for (option, name) in [("--socket", "socket"), ("--built", "built"), ("--floor", "clock")] {
        command.arg(option).arg(place(name));
    }
    leftovers::end_with_us(&mut command);
    let mut helper = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut box_ = None;
    let outcome = refused(&site, &program, &mut box_);
    for child in [Some(&mut helper), box_.as_mut()].into_iter().flatten() {
        child.kill()?;
        child.wait()?;
    }
    outcome
}

/// With the servers of a lease, as the card's init starts it.
fn refused(site: &Site, program: &Path, started: &mut Option<Child>) -> Result<()> {
    let place = |name: &str| site.scratch().join(name);
    let until = soon();
    while !place("socket").exists() {
        ensure!(Instant::now() < until, "the helper does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    let settings = site.settings("mode = \"observe\"", &format!("[time]\nntp = [\"{}\"]\n", server(site)?));
    std::fs::write(place("rackberry.toml"), settings)?;
    std::fs::write(place("lease"), "dns=10.77.0.2\nntp=10.77.0.2\n")?;
    let mut command = site.seat.command(program.to_str().context("the program's name is no UTF-8")?);
    command.arg("--state-dir").arg(place("state")).arg("serve");
    for (option, name) in [("--config", "rackberry.toml"), ("--clock", "socket"), ("--lease", "lease")] {
        command.arg(option).arg(place(name));
    }
    leftovers::end_with_us(&mut command);
    *started = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    loop {
        let asked = Command::new(program).arg("--state-dir").arg(place("state")).args(["--json", "status"]).output()?;
        let status: Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
        if text(&status, "time").contains("before this card was made") {
            ensure!(text(&status, "time").contains("Times may be wrong."), "{status}");
            ensure!(text(&status, "time_server").is_empty(), "{status}");
            break;
        }
        ensure!(Instant::now() < until + Duration::from_secs(30), "{status}");
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure!(std::fs::read_to_string(place("clock"))? == "1\n", "the next start's time stays as well");
    Ok(())
}
