//! The box started the way of its SD card: set up, given an address, served.

use crate::PATIENCE;
use anyhow::{Context, Result, ensure};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    process::{Command, Stdio},
};
use system_tests::{Console, Netns, appliance, leftovers, pxe::web::Connection};

const BOX: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 1);

#[test]
fn a_card_with_mistakes_comes_up_names_them_and_lets_its_owner_in() -> Result<()> {
    let (seat, room) = (Netns::new()?, Netns::new()?);
    seat.veth("eth0", &room, "c0")?;
    room.up("c0", Some("10.92.0.2/24"))?;
    let folder = leftovers::folder("card")?;
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (card, state, out) = (place("card"), place("state"), place("out"));
    std::fs::create_dir(&card)?;
    let own = "[box]\nhostname = \"my berry\"\naddress = \"10.92.0.1/24\"\ndns = [\"10.92.0.9\"]\nowner = \"anna\"\nowner_password = \"correct horse\"\n\
               [network]\ninterface = \"eth0\"\n[dhcp]\nmode = \"full\"\n";
    std::fs::write(format!("{card}/rackberry.toml"), own)?;
    let program = appliance::binary()?;
    let rackberry = program.to_str().context("the program's name is no UTF-8")?;

    let setup = Command::new(rackberry).args(["--state-dir", &state, "card-setup", &card, "--out", &out]).output()?;
    let said = String::from_utf8_lossy(&setup.stdout).into_owned();
    ensure!(setup.status.success(), "{said}{}", String::from_utf8_lossy(&setup.stderr));
    let report = std::fs::read_to_string(format!("{card}/rackberry-report.txt"))?;
    for mistake in ["rackberry.toml, line 2: box.hostname", "rackberry.toml, line 10: dhcp.mode"] {
        ensure!(said.contains(mistake) && report.contains(mistake), "{mistake}: {said}{report}");
    }
    ensure!(!std::fs::read_to_string(format!("{card}/rackberry.toml"))?.contains("correct horse"));
    ensure!(std::fs::read_to_string(format!("{out}/etc/hostname"))? == "rackberry\n");
    let lease = place("lease");
    let up = seat.run(rackberry, &["net-up", "--card", &card, "--lease", &lease])?;
    ensure!(up.contains("eth0 is 10.92.0.1/24 now, as the card says"), "{up}");
    ensure!(std::fs::read_to_string(lease)? == "dns=10.92.0.9\n");

    let mut command = seat.command(rackberry);
    command.args(["--state-dir", &state, "serve", "--card", &card]).env_remove("RACKBERRY_CONFIG");
    leftovers::end_with_us(&mut command);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let console = Console::new();
    let outcome = (|| {
        console.follow(child.stderr.take().context("no standard error")?, None)?;
        console.wait_for("rackberry is ready", PATIENCE)?;
        ensure!(console.count("one-time code") == 0, "there is an owner already: {}", console.text());
        let alarms = Command::new(rackberry).args(["--state-dir", &state, "alarm", "list"]).output()?;
        let alarms = String::from_utf8_lossy(&alarms.stdout).into_owned();
        ensure!(alarms.contains("box.hostname") && alarms.contains("1 more"), "{alarms}");
        let login = |password: &str| {
            room.enter(|| {
                let mut page = Connection::open(SocketAddrV4::new(BOX, 8000))?;
                let form = page.request("GET", "/login", &[])?;
                let between = |text: &str, start: &str, end: char| {
                    text.split(start).nth(1).and_then(|rest| rest.split(end).next()).unwrap_or_default().to_owned()
                };
                let csrf = between(&form.text(), "name=\"csrf\" value=\"", '"');
                let cookie = form.header("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap_or_default();
                let origin = format!("http://{BOX}:8000");
                let kind = "application/x-www-form-urlencoded";
                let headers = [("origin", origin.as_str()), ("cookie", cookie), ("content-type", kind)];
                let body = format!("csrf={csrf}&user=anna&password={password}");
                page.send("POST", "/login", &headers, body.as_bytes())
            })
        };
        ensure!(login("wrong+horse")?.status == 422);
        let reply = login("correct+horse")?;
        ensure!(reply.status == 303 && reply.header("set-cookie").is_some(), "{} {}", reply.status, reply.text());
        Ok(())
    })();
    child.kill()?;
    child.wait()?;
    outcome.with_context(|| console.text())
}
