//! The display of the box where there is none: missing, unreadable, off. The picture is there all the same.

use crate::{PATIENCE, host, refusal, soon, text};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Faults, Life, Site,
    site::{BOOT, BOX, cli, cli_json},
};

/// A display on a bus that no machine has.
const MISSING: &str = "[oled]\ncontroller = \"sh1106\"\nsize = \"128x32\"\nbus = \"BUS\"\ni2c = 250\n";

/// What the display shows as soon as it knows of the network, a moment after the box is ready.
fn once_up(appliance: &Appliance) -> Result<Value> {
    let until = soon();
    loop {
        let shown = cli_json(appliance, &["oled", "preview"])?;
        let starting = shown.pointer("/view/notice").is_some_and(|notice| !notice.is_null());
        let up = shown.pointer("/view/network/up/address").is_some();
        if !starting && up {
            return Ok(shown);
        }
        ensure!(Instant::now() < until, "{shown}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_display_that_is_not_there_is_told_once_and_costs_nothing() -> Result<()> {
    for bus in ["rppal", "linux"] {
        let site = Site::new()?;
        let mut appliance = site.serve(&MISSING.replace("BUS", bus))?;
        let line = appliance.log().wait_for("the display on /dev/i2c-250", PATIENCE)?;
        ensure!(line.contains("does not answer"), "{line}");
        let booting = host(&site, 1)?;
        site.room.enter(|| {
            let mut life = Life::new(Faults::default(), 1);
            booting.boot(SocketAddrV4::new(BOX, BOOT.port()), &mut life).map(drop)
        })?;
        let shown = once_up(&appliance)?;
        assert_eq!((text(&shown, "size"), text(&shown, "health")), ("128x32", "missing"), "{shown}");
        assert!(shown.pointer("/why").is_some_and(|why| !why.is_null()), "{shown}");
        assert_eq!(appliance.log().count("the display on"), 1, "{}", appliance.log().text());
        appliance.stop(Duration::from_secs(5))?;
        assert_eq!(appliance.log().count("panicked"), 0, "{}", appliance.log().text());
    }
    Ok(())
}

#[test]
fn the_picture_is_drawn_for_people_without_a_display() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve("")?;
    assert_eq!(appliance.log().count("display"), 0, "nothing is opened: {}", appliance.log().text());
    once_up(&appliance)?;
    let drawn = cli(&appliance, &["oled", "preview"])?;
    let drawn = String::from_utf8(drawn.stdout)?;
    let widths: Vec<usize> = drawn.lines().map(|line| line.chars().count()).collect();
    assert!(widths.len() <= 16 && widths.iter().all(|width| *width <= 64), "{drawn}");
    assert!(drawn.contains('\u{28ff}'), "a lit band: {drawn}");
    let file = |name: &str| site.scratch().join(name);
    for (name, begins) in [("now.png", &b"\x89PNG\r\n"[..]), ("now.pbm", b"P4\n128 32\n"), ("now.txt", &[0xe2])] {
        let path = file(name);
        let path = path.to_str().unwrap_or_default();
        cli_json(&appliance, &["oled", "preview", path, "--size", "128x32"])?;
        assert!(std::fs::read(path)?.starts_with(begins), "{name}");
    }
    let wrong = refusal(&cli(&appliance, &["oled", "preview", "now.gif"])?)?;
    assert!(wrong.contains(".png"), "{wrong}");
    // What one box showed is drawn again anywhere, also without a box.
    let state = file("state.json");
    std::fs::write(&state, cli_json(&appliance, &["oled", "preview"])?.to_string())?;
    let state = state.to_str().unwrap_or_default().to_owned();
    let again = || cli(&appliance, &["oled", "preview", "--state", &state, "--tick", "7"]);
    assert_eq!(again()?.stdout, again()?.stdout);
    assert!(again()?.status.success());
    Ok(())
}
