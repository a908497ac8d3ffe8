//! The task over a real inventory and pins as files: who gets which pin, one action at a time, and what is left behind.

use super::{shell::ALARM, *};
use crate::{
    config::{Config, GpioBackend},
    inventory::{Enrolment, Inventory, OpenOptions},
};
use rackberry_core::{
    event::Actor,
    host::Host,
    power::{GpioPower, Level, Power as Settings, Switch},
    text::HostName,
};
use std::{path::PathBuf, time::Duration};

/// A box with pins as files.
struct Desk {
    config: Arc<Config>,
    inventory: Inventory,
    folder: tempfile::TempDir,
}

/// The task of a box that runs.
struct Running {
    power: Power,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn wired(pin: u8) -> GpioPower {
    GpioPower { pin, kind: Switch::Relay, active: Level::High, reset_pin: None, led_pin: None, led_active: Level::Low }
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { gpio: GpioBackend::Files, ..Config::default() };
        let inventory = Inventory::open(OpenOptions::new(folder.path())).unwrap();
        Desk { config: Arc::new(config), inventory, folder }
    }

    fn start(&self) -> Running {
        let (power, shell) = new(self.config.clone(), Arc::new(self.folder.path().to_owned()), self.inventory.clone());
        let (stop, stopped) = watch::channel(false);
        Running { power, stop, task: tokio::spawn(run(shell, stopped)) }
    }

    async fn host(&self, number: u8, power: Option<GpioPower>) -> Arc<Host> {
        let name = HostName::new(&format!("node-{number}")).unwrap();
        let known = self.inventory.snapshot().host_by_name(&name).map(|entry| entry.host.clone());
        self.inventory
            .transact(move |tx| {
                let enrolment = || Enrolment {
                    name,
                    macs: vec![format!("52:54:00:77:00:{number:02x}").parse().unwrap()],
                    uuid: None,
                    serial: None,
                    tags: Vec::new(),
                    fixed_address: None,
                };
                let mut host = match known {
                    Some(known) => Host::clone(&known),
                    None => Host::clone(&*tx.enrol(enrolment(), Actor::Box)?),
                };
                host.power = power.map(Settings::Gpio);
                tx.put_host(&host)
            })
            .await
            .unwrap()
    }

    fn file(&self, pin: u8) -> PathBuf {
        self.folder.path().join("gpio").join(pin.to_string())
    }

    /// What a pin is; `-` where nobody has it.
    fn level(&self, pin: u8) -> String {
        std::fs::read_to_string(self.file(pin)).unwrap_or("-".to_owned())
    }
}

impl Running {
    async fn act(&self, host: &Host, verb: Verb) -> Result<(), PowerError> {
        self.power.reserve(host.id, verb).await?.begin()?.await.unwrap_or(Err(PowerError::Stopped))
    }

    async fn until(&self, host: &Host, what: impl Fn(Option<&Standing>) -> bool) {
        let mut seen = self.power.seen.clone();
        let wait = seen.wait_for(|seen| what(seen.get(&host.id)));
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap().unwrap();
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn pins_are_at_rest_from_the_start_and_let_go_at_the_end() {
    let desk = Desk::new();
    let host = desk.host(1, Some(wired(17))).await;
    desk.host(2, None).await;
    // As a box that was killed leaves it.
    std::fs::create_dir(desk.folder.path().join("gpio")).unwrap();
    std::fs::write(desk.file(17), "1").unwrap();
    let running = desk.start();
    assert_eq!(desk.level(17), "0", "before anybody is served");
    running.act(&host, Verb::Off).await.unwrap();
    assert_eq!(desk.level(17), "1");
    let standing = running.power.standing(host.id).unwrap();
    assert_eq!((standing.state, standing.cut, standing.busy), (PowerState::Off, true, None));
    running.act(&host, Verb::On).await.unwrap();
    assert_eq!(desk.level(17), "0");
    assert_eq!(running.power.standing(host.id).unwrap().state, PowerState::Unknown, "a supply is no sign of life");
    running.act(&host, Verb::Off).await.unwrap();
    running.end().await;
    assert_eq!(desk.level(17), "-");
}

#[tokio::test]
async fn a_machine_takes_one_action_at_a_time_and_others_are_free() {
    let desk = Desk::new();
    let (one, other) = (desk.host(1, Some(wired(17))).await, desk.host(2, Some(wired(18))).await);
    let running = desk.start();
    let ticket = running.power.reserve(one.id, Verb::Cycle).await.unwrap();
    assert_eq!(ticket.how, "relay on GPIO 17");
    for verb in [Verb::On, Verb::Off, Verb::Cycle] {
        let refused = running.power.reserve(one.id, verb).await.unwrap_err();
        assert!(matches!(refused, PowerError::Busy(Verb::Cycle)), "{refused}");
    }
    assert_eq!(running.power.standing(one.id).unwrap().busy, Some(Verb::Cycle));
    running.act(&other, Verb::Off).await.unwrap();
    assert_eq!((desk.level(17).as_str(), desk.level(18).as_str()), ("0", "1"));
    // Somebody who reserved and went away.
    drop(ticket);
    running.until(&one, |standing| standing.is_some_and(|standing| standing.busy.is_none())).await;
    running.act(&one, Verb::Off).await.unwrap();
    let refused = running.act(&one, Verb::Short).await.unwrap_err();
    assert!(matches!(refused, PowerError::Refused(Refused::NoButton)));
    running.end().await;
}

#[tokio::test]
async fn a_box_that_stops_waits_for_nothing_and_leaves_nothing_pressed() {
    let desk = Desk::new();
    let host = desk.host(1, Some(GpioPower { kind: Switch::Button, ..wired(17) })).await;
    let running = desk.start();
    let end = running.power.reserve(host.id, Verb::Off).await.unwrap().begin().unwrap();
    running.end().await;
    assert_eq!(desk.level(17), "-");
    // On a machine that stood still for 5 s the press was over before.
    assert!(matches!(end.await.unwrap(), Err(PowerError::Stopped) | Ok(())));
}

#[tokio::test]
async fn pins_follow_the_settings_and_wait_for_what_is_under_way() {
    let desk = Desk::new();
    let (one, other) = (desk.host(1, Some(wired(17))).await, desk.host(2, None).await);
    let running = desk.start();
    let nothing = running.act(&other, Verb::On).await.unwrap_err();
    assert!(matches!(nothing, PowerError::NoDriver), "{nothing}");
    let ticket = running.power.reserve(one.id, Verb::Off).await.unwrap();
    // The pin goes from one host to the other while it is worked.
    desk.host(1, None).await;
    desk.host(2, Some(wired(17))).await;
    let waits = running.act(&other, Verb::Off).await.unwrap_err();
    assert!(matches!(waits, PowerError::NoPins(_)), "{waits}");
    drop(ticket);
    running.until(&other, |standing| standing.is_some_and(|standing| standing.trouble.is_none())).await;
    running.act(&other, Verb::Off).await.unwrap();
    assert_eq!(desk.level(17), "1");
    assert!(running.power.standing(one.id).is_none());
    desk.host(2, Some(wired(19))).await;
    running.act(&other, Verb::On).await.unwrap();
    assert_eq!((desk.level(17).as_str(), desk.level(19).as_str()), ("-", "0"), "the old pin is let go");
    running.end().await;
}

#[tokio::test]
async fn a_pin_that_the_settings_gave_to_the_box_itself_is_not_touched_and_told() {
    let mut desk = Desk::new();
    let mut config = Config::clone(&desk.config);
    config.oled.confirm_gpio = Some(27);
    desk.config = Arc::new(config);
    let host = desk.host(1, Some(wired(27))).await;
    let running = desk.start();
    let refused = running.act(&host, Verb::Off).await.unwrap_err().to_string();
    assert!(refused.contains("GPIO 27 is power_pin of node-1") && refused.contains("oled.confirm_gpio"), "{refused}");
    assert_eq!(desk.level(27), "-");
    let mut snapshots = desk.inventory.subscribe();
    let told = snapshots.wait_for(|snapshot| snapshot.alarms.contains_key(ALARM));
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap().unwrap();
    desk.host(1, Some(wired(17))).await;
    let settled = snapshots.wait_for(|snapshot| !snapshot.alarms.contains_key(ALARM));
    tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap().unwrap();
    running.act(&host, Verb::Off).await.unwrap();
    assert_eq!((desk.level(17).as_str(), desk.level(27).as_str()), ("1", "-"));
    running.end().await;
}

#[tokio::test]
async fn a_light_says_whether_a_machine_is_on_and_a_press_that_does_the_opposite_is_refused() {
    let desk = Desk::new();
    let settings = GpioPower { kind: Switch::Button, led_pin: Some(22), ..wired(17) };
    let host = desk.host(1, Some(settings)).await;
    let running = desk.start();
    std::fs::write(desk.file(22), "0").unwrap();
    running.until(&host, |standing| standing.is_some_and(|standing| standing.state == PowerState::On)).await;
    let refused = running.act(&host, Verb::On).await.unwrap_err();
    assert!(matches!(refused, PowerError::Refused(Refused::AlreadyOn)), "{refused}");
    std::fs::write(desk.file(22), "1").unwrap();
    running.until(&host, |standing| standing.is_some_and(|standing| standing.state == PowerState::Off)).await;
    let refused = running.act(&host, Verb::Off).await.unwrap_err();
    assert!(matches!(refused, PowerError::Refused(Refused::AlreadyOff)), "{refused}");
    running.act(&host, Verb::On).await.unwrap();
    assert_eq!(desk.level(17), "0", "pressed, and let go");
    running.end().await;
}

#[tokio::test]
async fn a_box_without_such_hosts_opens_nothing() {
    let desk = Desk::new();
    desk.host(1, None).await;
    let running = desk.start();
    running.end().await;
    assert!(!desk.folder.path().join("gpio").exists());
}
