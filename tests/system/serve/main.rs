//! The box as its users meet it: started without settings, asked by command line, API and firmware, stopped, restored.

mod card;
mod commands;
mod display;
mod fetches;
mod files;
mod hosts;
mod images;
mod lan;
mod name;
mod power;
mod remote;
mod services;
mod start;
mod time;

use anyhow::{Result, ensure};
use serde_json::Value;
use std::{
    net::Ipv4Addr,
    process::Output,
    time::{Duration, Instant},
};
use system_tests::{
    FakeHost, Faults, Life, Site,
    fake_agent::Said,
    site::{BOOT, ROOM_LINK},
};

pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a command says that has to fail with exit code 1.
pub fn refusal(output: &Output) -> Result<String> {
    ensure!(output.status.code() == Some(1), "{}: {}", output.status, said(output));
    Ok(said(output))
}

pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A machine at an address of its own in the hosts' namespace.
pub fn host(site: &Site, number: u8) -> Result<FakeHost> {
    let address = Ipv4Addr::new(10, 77, 1, number);
    site.room.ip(&format!("address add {address}/16 dev {ROOM_LINK}"))?;
    Ok(FakeHost::new(number.into(), address))
}

/// Boots it into the RAM OS and lets its agent say what it found.
pub fn discover(site: &Site, host: &FakeHost) -> Result<()> {
    site.room.enter(|| {
        let mut life = Life::new(Faults::default(), 1);
        let said = host.boot(BOOT, &mut life)?.hello();
        ensure!(matches!(said, Said::Answer(_)), "hello: {said:?}");
        Ok(())
    })
}

pub fn list(value: &Value, key: &str) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|entry| text(entry, key).to_owned()).collect()
}
