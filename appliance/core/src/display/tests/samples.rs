//! One view for each thing the display can say.

use super::super::{Alarm, Installing, Network, Notice, StatusView, Step, Turned};

pub fn ready(address: &str) -> StatusView {
    StatusView {
        name: "rackberry".to_owned(),
        version: "0.4.0".to_owned(),
        network: Network::Up { address: address.parse().unwrap(), mode: "proxy".to_owned() },
        url: format!("http://{address}/"),
        hosts: 9,
        ..StatusView::default()
    }
}

fn waiting(why: &str) -> StatusView {
    StatusView { network: Network::Waiting { why: why.to_owned() }, url: String::new(), ..ready("10.20.0.2") }
}

fn mode(word: &str) -> StatusView {
    let address = "192.168.77.1".parse().unwrap();
    StatusView { network: Network::Up { address, mode: word.to_owned() }, ..ready("192.168.77.1") }
}

fn install(name: &str, step: Step, percent: u8) -> Installing {
    Installing {
        name: name.to_owned(),
        title: "Debian 13".to_owned(),
        step,
        percent: Some(percent),
        task: "Write image".to_owned(),
        rate: "112 MB/s".to_owned(),
        left: "1 min 50 s".to_owned(),
        tasks: (5, 8),
    }
}

fn one(step: Step, percent: u8, task: &str) -> StatusView {
    let install = Installing { task: task.to_owned(), ..install("r1-n03", step, percent) };
    StatusView { installs: vec![install], ..ready("10.20.0.2") }
}

fn many(installs: Vec<Installing>, done: u64) -> StatusView {
    StatusView { installs, done, ..ready("10.20.0.2") }
}

/// The tasks under way say nothing of how far they are.
fn silent(mut view: StatusView) -> StatusView {
    for install in &mut view.installs {
        install.percent = None;
        install.task = "First boot".to_owned();
        install.rate.clear();
        install.left.clear();
    }
    view
}

fn rack(count: usize) -> Vec<Installing> {
    let step = |n| match n % 5 {
        2 => Step::Quiet("34 s".to_owned()),
        3 => Step::Failed("Failed".to_owned()),
        4 => Step::Armed,
        _ => Step::Busy,
    };
    (0..count)
        .map(|n| install(&format!("r1-n{:02}", n + 3), step(n), u8::try_from(43 + 17 * n % 58).unwrap()))
        .collect()
}

fn alarmed(alarms: &[(&str, &str)]) -> StatusView {
    let alarms =
        alarms.iter().map(|(title, text)| Alarm { title: (*title).to_owned(), text: (*text).to_owned() }).collect();
    StatusView { alarms, ..ready("10.20.0.2") }
}

fn with_button(view: StatusView, presses: u64) -> StatusView {
    let turned = presses.checked_sub(1).map(|presses| Turned { presses, first: 0, at: 0 });
    StatusView { button: true, turned, ..view }
}

fn notice(notice: Notice) -> StatusView {
    StatusView { notice: Some(notice), ..ready("10.20.0.2") }
}

fn consent(digits: &str, button: bool) -> StatusView {
    notice(Notice::Consent {
        host: "m720q-0a7e".to_owned(),
        mac: "52:54:00:77:0a:7e".to_owned(),
        digits: digits.to_owned(),
        disk: "512 GB, Windows 11".to_owned(),
        seconds_left: 48,
        button,
    })
}

const FOREIGN: (&str, &str) =
    ("Other DHCP server", "Another DHCP server is here: 10.20.0.1, 78:8a:20:4c:11:9e offers addresses.");
const CARD: (&str, &str) = ("Card is read-only", "Leases cannot be written; DHCP goes on from memory.");
const LONG: (&str, &str) = (
    "Other machine",
    "r1-n03 was armed, but another machine answered from its address: its UUID is \
     4c4c4544-0042-3510-8056-b7c04f4a5831 and not the one that was armed. It was disarmed; nothing was written.",
);

/// Name, view and tick.
pub fn samples() -> Vec<(&'static str, StatusView, u64)> {
    let code = Some("K7QM-2XFD".to_owned());
    let no_network = "The interface eth0 has no address: give it one, or run `rackberry net-up eth0`.";
    vec![
        ("splash", notice(Notice::Starting { percent: 35 }), 0),
        ("splash-begin", notice(Notice::Starting { percent: 0 }), 0),
        ("no-network", waiting(no_network), 0),
        ("no-network-why-unknown", waiting(""), 0),
        ("ready", ready("10.20.0.2"), 0),
        ("ready-long-address", ready("192.168.100.200"), 0),
        (
            "ready-long-url",
            StatusView { url: "http://192.168.100.200:8000/".to_owned(), ..ready("192.168.100.200") },
            0,
        ),
        ("ready-swapped", ready("10.20.0.2"), 600),
        ("ready-lowest", ready("10.20.0.2"), 240),
        ("ready-observe", mode("observe"), 0),
        ("ready-boots-only", mode("pxe-only"), 0),
        ("ready-server", mode("server"), 0),
        ("ready-enrolled-only", mode("proxy for enrolled hosts"), 0),
        ("ready-empty", StatusView { hosts: 0, ..ready("10.20.0.2") }, 0),
        ("ready-full", StatusView { hosts: 10_000, name: "rackberry-basement-2".to_owned(), ..ready("10.20.0.2") }, 0),
        ("first-code", StatusView { code, ..ready("192.168.77.1") }, 6),
        ("armed", one(Step::Armed, 0, "Erases its disk at the next network boot."), 0),
        ("install-begins", one(Step::Busy, 0, "Write image"), 0),
        ("install", one(Step::Busy, 43, "Write image"), 0),
        ("install-ends", one(Step::Busy, 100, "Write image"), 0),
        ("install-configures", silent(one(Step::Busy, 0, "Configure")), 0),
        ("installs-silent", silent(many(rack(3), 0)), 0),
        ("install-quiet", one(Step::Quiet("34 s".to_owned()), 18, "Write image"), 0),
        ("install-failed", one(Step::Failed("Interrupted".to_owned()), 43, "The disk is partly written."), 0),
        ("installs-2", many(rack(2), 0), 0),
        ("installs-3", many(rack(3), 0), 0),
        ("installs-4", many(rack(4), 0), 0),
        ("installs-done", many(rack(2), 2), 0),
        ("installs-many", many(rack(7), 2), 0),
        ("installs-and-ready", many(rack(7), 2), 6),
        ("installs-many-failed", many(rack(40), 0), 0),
        ("alarm", alarmed(&[FOREIGN]), 0),
        ("alarm-dark", alarmed(&[FOREIGN]), 1),
        ("alarm-button", with_button(alarmed(&[FOREIGN]), 0), 0),
        ("alarm-second", with_button(alarmed(&[FOREIGN, CARD]), 0), 6),
        ("alarm-card-read-only", alarmed(&[CARD]), 0),
        ("alarm-long", alarmed(&[LONG]), 0),
        ("alarm-details", with_button(alarmed(&[LONG]), 2), 0),
        ("alarm-details-second-screen", with_button(alarmed(&[LONG]), 2), 6),
        ("alarm-details-short", with_button(alarmed(&[CARD]), 2), 0),
        ("alarm-turned-to-ready", with_button(alarmed(&[CARD]), 3), 0),
        ("consent", consent("7304", true), 0),
        ("consent-without-button", consent("7304", false), 3),
        ("consent-masked", consent("****", true), 0),
        ("hold-off", notice(Notice::Hold { what: "Switch off".to_owned(), held: 60 }), 0),
        ("hold-reset", notice(Notice::Hold { what: "Factory reset".to_owned(), held: 30 }), 0),
        ("reset-marked", notice(Notice::ResetMarked), 0),
        ("offer", notice(Notice::Offer { from: "0.4.0".to_owned(), to: "0.5.0".to_owned(), seconds_left: 167 }), 0),
        ("update", notice(Notice::Update { from: "0.4.0".to_owned(), to: "0.5.0".to_owned(), percent: 62 }), 0),
        ("goodbye", notice(Notice::Stopped { off: true, at: "18:42".to_owned() }), 0),
        ("stopped", notice(Notice::Stopped { off: false, at: String::new() }), 0),
        ("not-ascii", StatusView { name: "küche ☕ بيت".to_owned(), ..ready("10.20.0.2") }, 0),
    ]
}
