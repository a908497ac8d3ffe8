//! Programs that people use, on a switch with the box: each gets an address, renews it and gives it back.

use crate::cases::{Cases, PATIENCE};
use anyhow::{Context, Result, bail, ensure};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use system_tests::pxe::{Kind, Machine};
use system_tests::site::{BOX, ROOM_LINK, api, cli_json};
use system_tests::{Appliance, Netns, PxeClient, Site, appliance};

pub fn add(cases: &mut Cases) {
    cases.section("real clients");
    cases.alone("dhclient: lease, renew, release", dhclient);
    cases.alone("udhcpc: lease, renew, release", udhcpc);
    cases.alone("systemd-networkd: lease and release", networkd);
    cases.alone("perfdhcp: exchanges without loss", perfdhcp);
    cases.section("fixed addresses");
    cases.alone("by the command line: given, moved, taken away, and what is wrong is refused", fixed_address);
}

/// The box on a switch, with one client's namespace joined to it.
struct Switch {
    client: Netns,
    server: Appliance,
    site: Site,
}

impl Switch {
    fn new(dhcp: &str) -> Result<Self> {
        let site = Site::new()?;
        let client = Netns::new()?;
        // The hosts' side of the cable becomes the switch.
        site.room.ip("address flush dev c0")?;
        site.room.bridge("br0", None)?;
        site.room.attach("c0", Some("br0"))?;
        site.room.veth("p1", &client, "eth0")?;
        site.room.attach("p1", Some("br0"))?;
        let pool = "pool = \"10.77.64.0-10.77.127.255\"";
        let settings = site.settings(&format!("mode = \"server\"\n{pool}\n{dhcp}"), "");
        let log = [("RACKBERRY_LOG", "info,rackberry::dhcp=trace")];
        let server = Appliance::start_with(&appliance::binary()?, &site.seat, &settings, &log)?;
        Ok(Switch { client, server, site })
    }

    /// A script that clients call when something happens: it logs `WORD ADDRESS` and sets the address.
    fn script(&self, reason: &str, address: &str) -> Result<(PathBuf, PathBuf)> {
        let (script, log) = (self.site.scratch().join("script"), self.site.scratch().join("log"));
        let text = format!(
            "#!/bin/sh\necho \"{reason} {address}\" >>{}\ncase {reason} in\n\
             bound|BOUND|REBOOT) ip address replace {address}/16 dev eth0 ;;\n\
             deconfig|RELEASE|EXPIRE) ip address flush dev eth0 ;;\nPREINIT) ip link set dev eth0 up ;;\nesac\nexit 0\n",
            log.display()
        );
        std::fs::write(&script, text)?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        std::fs::write(&log, "")?;
        Ok((script, log))
    }

    /// Waits until the box has answered or heard so many messages of this kind.
    fn heard(&self, word: &str, times: usize) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.server.log().count(word) >= times {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        bail!("the box heard {word:?} {} times, not {times}", self.server.log().count(word))
    }
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(mut command: Command) -> Result<Running> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(Running).with_context(|| format!("start {command:?}"))
}

/// The address in the first line of the log that begins with one of these words, once there are so many such lines.
fn logged(log: &Path, words: &[&str], times: usize) -> Result<Ipv4Addr> {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log)?;
        let found: Vec<Ipv4Addr> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(word, _)| words.contains(word))
            .filter_map(|(_, address)| address.trim().parse().ok())
            .collect();
        if found.len() >= times {
            return found.last().copied().context("nothing was asked for");
        }
        ensure!(Instant::now() < end, "no {words:?} in {text:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn in_pool(address: Ipv4Addr) -> Result<Ipv4Addr> {
    ensure!(
        (64..128).contains(&address.octets()[2]) && address.octets()[..2] == [10, 77],
        "{address} is not of the pool"
    );
    Ok(address)
}

fn dhclient() -> Result<String> {
    let switch = Switch::new("")?;
    let (script, log) = switch.script("$reason", "$new_ip_address")?;
    let scratch = switch.site.scratch();
    let settings = scratch.join("dhclient.conf");
    // It would renew after half of the lease; a test has less time.
    std::fs::write(&settings, "supersede dhcp-renewal-time 3;\nsupersede dhcp-rebinding-time 100;\n")?;
    let command = |more: &[&str]| {
        let mut command = switch.client.command("dhclient");
        command.args(["-4", "-sf"]).arg(&script).arg("-cf").arg(&settings);
        command.arg("-lf").arg(scratch.join("leases")).arg("-pf").arg(scratch.join("pid")).args(more);
        command
    };
    let running = start(command(&["-d", "eth0"]))?;
    let address = in_pool(logged(&log, &["BOUND"], 1)?)?;
    let again = logged(&log, &["RENEW"], 1)?;
    ensure!(again == address, "renewed {again}");
    drop(running);
    let released = command(&["-r", "eth0"]).stdin(Stdio::null()).output()?;
    ensure!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
    switch.heard("kind=Release", 1)?;
    Ok(format!("{address} leased, renewed, released"))
}

fn udhcpc() -> Result<String> {
    let switch = Switch::new("")?;
    let (script, log) = switch.script("$1", "$ip")?;
    let mut command = switch.client.command("busybox");
    command.args(["udhcpc", "-i", "eth0", "-f", "-s"]).arg(&script);
    let running = start(command)?;
    let address = in_pool(logged(&log, &["bound"], 1)?)?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.0.id())?).context("no process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::USR1)?;
    let again = logged(&log, &["renew"], 1)?;
    ensure!(again == address, "renewed {again}");
    rustix::process::kill_process(pid, rustix::process::Signal::USR2)?;
    switch.heard("kind=Release", 1)?;
    Ok(format!("{address} leased, renewed, released"))
}

fn networkd() -> Result<String> {
    let program = "/lib/systemd/systemd-networkd";
    if !Path::new(program).exists() {
        return Ok("not run: this machine has no systemd-networkd".to_owned());
    }
    let switch = Switch::new("")?;
    // A place of its own for its settings and state; without udev it takes interfaces as they are, once /sys is
    // read-only to it.
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/network /run/systemd/netif/links \
                  /run/systemd/netif/leases /run/systemd/netif/lldp && chmod -R 777 /run/systemd && \
                  mount -o remount,bind,ro /sys; \
                  printf '[Match]\\nName=eth0\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\n[DHCPv4]\\nSendRelease=yes\\n' \
                  >/run/systemd/network/10-eth0.network && exec /lib/systemd/systemd-networkd";
    let mut command = switch.client.command("unshare");
    command.args(["-m", "sh", "-c", script]);
    let running = start(command)?;
    let end = Instant::now() + PATIENCE;
    let address = loop {
        let shown = switch.client.ip("-4 -o address show dev eth0")?;
        let found =
            shown.split_whitespace().skip_while(|word| *word != "inet").nth(1).and_then(|text| text.split('/').next());
        if let Some(address) = found {
            break in_pool(address.parse()?)?;
        }
        ensure!(Instant::now() < end, "systemd-networkd set no address: {shown:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.0.id())?).context("no process id")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    switch.heard("kind=Release", 1)?;
    Ok(format!("{address} leased, released"))
}

fn fixed_address() -> Result<String> {
    let site = Site::new()?;
    let dhcp = "mode = \"server\"\npool = \"10.77.64.0-10.77.127.255\"\nconflict_ms = 0";
    let settings = site.settings(dhcp, "");
    let server = Appliance::start_with(&appliance::binary()?, &site.seat, &settings, &[("RACKBERRY_LOG", "info")])?;
    let machine = Machine::new(400_001, Kind::UefiPxe(7));
    let (mac, other) = (machine.mac_text(), Machine::new(400_002, Kind::UefiPxe(7)).mac_text());
    let set = |host: &str, more: &[&str]| cli_json(&server, &[&["host", "set", host], more].concat());
    cli_json(&server, &["host", "add", &mac, "node-a"])?;
    cli_json(&server, &["host", "add", &other, "node-b"])?;
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    let before = in_pool(client.lease(&machine, PATIENCE)?.yiaddr)?;
    set("node-a", &["--address", "10.77.6.6"])?;
    let leased = || {
        // The list of fixed addresses reaches the DHCP thread a moment after the command's answer.
        let end = Instant::now() + PATIENCE;
        loop {
            let address = client.lease(&machine, PATIENCE)?.yiaddr;
            if address == Ipv4Addr::new(10, 77, 6, 6) || Instant::now() > end {
                return Ok::<_, anyhow::Error>(address);
            }
        }
    };
    let fixed = leased()?;
    ensure!(fixed == Ipv4Addr::new(10, 77, 6, 6), "{fixed}");
    for (host, wrong) in [("node-b", "10.77.6.6"), ("node-b", "10.77.6.600"), ("node-b", "224.0.0.1")] {
        ensure!(set(host, &["--address", wrong]).is_err(), "{wrong} was taken for {host}");
    }
    ensure!(set("node-a", &["--option", "53=x"]).is_err(), "the box's own option was taken");
    set("node-a", &["--option", "42=10.77.0.9", "--option", "209=rack.cfg"])?;
    let with = client.lease(&machine, PATIENCE)?;
    ensure!(with.get(42) == Some(&[10, 77, 0, 9][..]) && with.text(209).as_deref() == Some("rack.cfg"));
    set("node-a", &["--address", "-", "--no-options"])?;
    let shown = cli_json(&server, &["host", "show", "node-a"])?;
    ensure!(shown.get("fixed_address").is_none_or(serde_json::Value::is_null), "{shown}");
    Ok(format!("{before}, then {fixed}"))
}

fn perfdhcp() -> Result<String> {
    let present = Command::new("perfdhcp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !present.is_ok_and(|status| status.success()) {
        return Ok("not run: perfdhcp (package kea-admin) is not installed".to_owned());
    }
    // Thousands of new machines that nobody uses: asking for conflicts would measure the waiting.
    let switch = Switch::new("conflict_ms = 0")?;
    switch.client.up("eth0", Some("10.77.0.9/16"))?;
    let rate = if std::env::var_os("RACKBERRY_SOAK").is_some() { "500" } else { "100" };
    let arguments = ["-4", "-l", "eth0", "-r", rate, "-f", "20", "-R", "2000", "-p", "5", "-s", "7", "-W", "2000000"];
    let output = switch.client.command("perfdhcp").args(arguments).arg(BOX.to_string()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = |name: &str| -> Vec<u64> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix(':'));
        lines.filter_map(|rest| rest.trim().split(' ').next()?.parse().ok()).collect()
    };
    let (sent, received) = (figure("sent packets"), figure("received packets"));
    ensure!(sent.len() >= 2, "{text}{}", String::from_utf8_lossy(&output.stderr));
    let (all, answered): (u64, u64) = (sent.iter().sum(), received.iter().sum());
    // What was under way when it stopped counts as lost with it; of a busy machine one percent is asked, not more.
    ensure!(all - answered <= all / 100 + 5, "{sent:?} sent, {received:?} answered\n{text}");
    let hosts = api(&switch.server).get("/hosts")?.as_array().map_or(0, Vec::len);
    Ok(format!("{rate} new a second for 5 s: {sent:?} sent, {received:?} answered, {hosts} hosts entered the list"))
}
