//! Power by pins of the header, which are files here: commands, and what a box that is killed leaves behind.

use crate::{refusal, said, soon, text};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};
use system_tests::{
    Appliance, Site,
    site::{cli, cli_json},
};

fn level(appliance: &Appliance, pin: u8) -> String {
    std::fs::read_to_string(appliance.state_dir().join("gpio").join(pin.to_string())).unwrap_or("-".to_owned())
}

#[test]
fn a_killed_box_leaves_no_supply_cut_and_no_button_pressed_once_it_is_back() -> Result<()> {
    let site = Site::new()?;
    let mut appliance = site.serve("[gpio]\nbackend = \"files\"\n[oled]\nconfirm_gpio = 27\n")?;
    cli_json(&appliance, &["host", "add", "52:54:00:00:00:01", "node"])?;
    cli_json(&appliance, &["host", "add", "52:54:00:00:00:02", "desk"])?;
    let set = ["host", "set", "node", "power=gpio", "power_pin=17", "power_kind=relay", "power_active=low"];
    cli_json(&appliance, &set)?;
    cli_json(&appliance, &["host", "set", "desk", "power=gpio", "power_pin=5", "reset_pin=6", "led_pin=13"])?;
    for (wrong, reason) in [
        (&["host", "set", "desk", "power_pin=27"][..], "oled.confirm_gpio"),
        (&["host", "set", "desk", "power_pin=17"], "node has it as its power_pin"),
        (&["power", "node", "short"], "a relay, which presses no button"),
        (&["power", "nobody", "on"], "There is no host nobody"),
    ] {
        let refused = refusal(&cli(&appliance, wrong)?)?;
        ensure!(refused.contains(reason), "{wrong:?}: {refused}");
    }
    for wrong in [&["host", "set", "desk", "power_pin=x"][..], &["power", "desk", "explode"]] {
        ensure!(cli(&appliance, wrong)?.status.code() == Some(2), "{wrong:?} is a mistake in the command");
    }
    ensure!((level(&appliance, 17), level(&appliance, 5)) == ("1".to_owned(), "0".to_owned()), "not at rest");
    let off = cli_json(&appliance, &["power", "node", "off"])?;
    ensure!((text(&off, "state"), level(&appliance, 17).as_str()) == ("off", "0"), "{off}");
    let status = cli(&appliance, &["power", "node", "status"])?;
    ensure!(said(&status).contains("off: Its relay cuts the supply."), "{}", said(&status));
    // A button that is held when the box dies.
    std::thread::scope(|scope| {
        let long = scope.spawn(|| cli(&appliance, &["power", "desk", "long"]));
        let limit = soon();
        // A machine that stands still for 5 s may miss the press.
        while level(&appliance, 5) != "1" && !long.is_finished() {
            ensure!(Instant::now() < limit, "nothing was pressed");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(rustix::process::kill_process(appliance.pid()?, rustix::process::Signal::KILL)?)
    })?;
    appliance.kill()?;
    ensure!(level(&appliance, 17) == "0", "nobody was left to let go of it");
    appliance.restart()?;
    let left = [17, 5, 6].map(|pin| level(&appliance, pin));
    ensure!(left == ["1", "0", "0"], "ready with pins as they were left: {left:?}");
    let kinds = cli(&appliance, &["--json", "events", "--host", "node"])?;
    ensure!(said(&kinds).contains("\"power_off\"") && said(&kinds).contains("relay on GPIO 17"), "{}", said(&kinds));
    appliance.stop(Duration::from_secs(10))?;
    let left = [17, 5, 6].map(|pin| level(&appliance, pin));
    ensure!(left == ["-", "-", "-"], "not let go: {left:?}");
    Ok(())
}
