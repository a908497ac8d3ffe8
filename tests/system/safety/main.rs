//! The wrong machine is never erased, counted: network boots of hosts that are not armed, hosts that race for one
//! permission, replies that are lost or come twice, and people at the box who say nothing.
//!
//! Each prints its counts and seconds; `RACKBERRY_SEED` repeats a run's luck.

mod consent;
mod disks;
mod messages;
mod race;
mod unarmed;

use anyhow::{Context, Result, ensure};
use rackberry_core::{
    agent::{Answer, News, Received, Run},
    task::TaskOrder,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Crowd, Dice, FakeAgent, FakeHost, Faults, Life, LocalApi, Site,
    fake_agent::{Leave, Said},
    fake_host::Script,
    fake_installer, loader_config,
    pxe::{Kind, Machine, tftp, web},
    side_by_side,
    site::{self, BOOT, LOADERS},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// `next` is held when there is nothing to do, so silence for this long is an answer.
const MOMENT: Duration = Duration::from_millis(100);
const THREADS: usize = 48;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn install_of(api: &LocalApi, host: &FakeHost) -> Result<Value> {
    let shown = api.get(&format!("/hosts/{}", host.mac.hyphens()))?;
    Ok(shown.get("install").cloned().unwrap_or_default())
}

fn phase(install: &Value) -> &str {
    install.pointer("/state/phase").and_then(Value::as_str).unwrap_or_default()
}

fn arm(api: &LocalApi, host: &FakeHost) -> Result<String> {
    let body = json!({ "profile": "debian-13", "erase": true });
    let install = api.call("POST", &format!("/hosts/{}/install", host.mac.hyphens()), Some(&body))?;
    Ok(text(&install, "id").to_owned())
}

fn steer(api: &LocalApi, host: &FakeHost, verb: &str) -> Result<Value> {
    api.call("POST", &format!("/hosts/{}/{verb}", host.mac.hyphens()), None)
}

/// How many events of a kind there are.
fn counted(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| text(event, "kind") == kind).count()
}

/// Hosts in the room at addresses that they were leased.
fn hosts(crowd: &Crowd<'_>, numbers: std::ops::Range<u32>) -> Result<Vec<FakeHost>> {
    let machines: Vec<Machine> = numbers.clone().map(|number| Machine::new(number, Kind::Ipxe(7))).collect();
    let mut hosts = Vec::new();
    for (machines, numbers) in machines.chunks(128).zip(numbers.collect::<Vec<_>>().chunks(128)) {
        let leased = crowd.lease(machines, PATIENCE)?;
        hosts.extend(numbers.iter().zip(leased).map(|(number, leased)| FakeHost::new(*number, leased.address)));
    }
    Ok(hosts)
}

fn greet(host: &FakeHost) -> Result<()> {
    let mut life = Life::new(Faults::default(), 1);
    let said = host.boot(BOOT, &mut life)?.hello();
    ensure!(matches!(said, Said::Answer(_)), "hello of {}: {said:?}", host.mac);
    Ok(())
}
