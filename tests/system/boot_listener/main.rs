//! The boot listener as firmware, loaders and strangers meet it: files, configurations, own files, crowds, slow disks.

mod configs;
mod damage;
mod files;
mod mirrors;
mod origins;
mod own;
mod packages;
mod pressure;
mod shelf;
mod slow_disk;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, FakeHost, Site,
    pxe::{tftp, web},
    site::{self, BOOT, BOX, ROOM_LINK},
};

/// For one answer, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A machine of this number at an address of its own, which the room's interface gets.
pub fn host(site: &Site, number: u8) -> Result<FakeHost> {
    let address = Ipv4Addr::new(10, 77, 1, number);
    site.room.ip(&format!("address add {address}/16 dev {ROOM_LINK}"))?;
    Ok(FakeHost::new(number.into(), address))
}

/// Puts a person's file into the files folder.
pub fn own_file(appliance: &Appliance, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
    let path = appliance.state_dir().join("files").join(path);
    std::fs::create_dir_all(path.parent().context("a path without a folder")?)?;
    std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))
}

/// A connection from one of the room's addresses; call it inside the room.
pub fn open(from: Ipv4Addr) -> Result<web::Connection> {
    web::Connection::open_from(from, BOOT, PATIENCE)
}

/// One HTTP request of a machine.
pub fn ask(site: &Site, from: Ipv4Addr, method: &str, path: &str) -> Result<web::Reply> {
    site.room.enter(|| open(from)?.request(method, path, &[]))
}

/// A file by TFTP; `None` if the box says that there is none.
pub fn by_tftp(site: &Site, from: Ipv4Addr, path: &str) -> Result<Option<Vec<u8>>> {
    site.room.enter(|| {
        let socket = UdpSocket::bind((from, 0))?;
        let options = tftp::Options { blksize: Some(1428), tsize: true, ..tftp::Options::default() };
        match tftp::fetch(socket, SocketAddrV4::new(BOX, 69), path, &options) {
            Ok(fetched) => Ok(Some(fetched.data)),
            Err(error) if format!("{error:#}").contains("not found") => Ok(None),
            Err(error) => Err(error),
        }
    })
}

/// A text by TFTP that has to be there.
pub fn text_by_tftp(site: &Site, from: Ipv4Addr, path: &str) -> Result<String> {
    let data = by_tftp(site, from, path)?.with_context(|| format!("{path} was not found by TFTP"))?;
    Ok(String::from_utf8(data)?)
}

/// Makes the machine known, as its first script does.
pub fn meet(site: &Site, host: &FakeHost) -> Result<()> {
    site.room.enter(|| host.script(BOOT).map(drop))
}

/// Changes a host by the API.
pub fn set(appliance: &Appliance, host: &FakeHost, change: &Value) -> Result<()> {
    let path = format!("/hosts/{}", host.mac.hyphens());
    site::api(appliance).call("PATCH", &path, Some(change)).map(drop)
}

/// Gives a host a policy.
pub fn policy(appliance: &Appliance, host: &FakeHost, word: &str) -> Result<()> {
    set(appliance, host, &json!({ "policy": word }))
}

/// Waits until `what` is true.
pub fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Whether the long versions are wanted.
pub fn soak() -> bool {
    std::env::var_os("RACKBERRY_SOAK").is_some()
}

/// The `p`-th percentile.
pub fn percentile(times: &mut [Duration], p: usize) -> Duration {
    times.sort();
    let at = (times.len().saturating_sub(1) * p).div_ceil(100);
    times.get(at).copied().unwrap_or_default()
}
