//! Power over a real listener: settings, who may, what is refused, and what is written down.

use super::*;
use crate::{
    auth::Role,
    http::testing::{CSRF, Reply, Site},
    inventory::EventFilter,
};
use rackberry_core::{
    event::{BootKey, TaskName},
    hardware::{Disk, DiskContent, Facts, Transport},
    host::Arch,
    image::Digest,
    text::HostName,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

impl Site {
    async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let host = self.address.to_string();
        let headers = [("host", host.as_str()), ("cookie", &self.cookie), ("x-csrf-token", CSRF)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.send(method, &format!("/api/v1/hosts/{path}"), &headers, body).await;
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    async fn set(&self, host: &str, settings: Value) -> (u16, Value) {
        self.call("PATCH", host, &settings).await
    }

    async fn switch(&self, host: &str, verb: &str) -> (u16, Value) {
        self.call("POST", &format!("{host}/power"), &json!({ "verb": verb })).await
    }

    async fn history(&self, host: &str) -> Vec<(Actor, EventKind)> {
        let name = HostName::new(host).unwrap();
        let id = self.state.inventory.snapshot().host_by_name(&name).unwrap().host.id;
        let filter = EventFilter { host: Some(id), limit: 50, ..EventFilter::default() };
        let events = self.state.inventory.read(move |reader| reader.events(&filter)).await.unwrap();
        let power =
            |kind: &EventKind| serde_json::to_value(kind).unwrap()["kind"].as_str().unwrap().starts_with("power");
        events.into_iter().rev().map(|e| (e.event.actor, e.event.kind)).filter(|(_, kind)| power(kind)).collect()
    }

    fn level(&self, pin: u8) -> String {
        std::fs::read_to_string(self.state.state_dir.join("gpio").join(pin.to_string())).unwrap_or("-".to_owned())
    }
}

fn error(answer: &(u16, Value)) -> &str {
    answer.1["error"].as_str().unwrap_or_default()
}

fn relay(pin: u8) -> Value {
    json!({ "power": "gpio", "power_pin": pin, "power_kind": "relay" })
}

#[tokio::test]
async fn a_relay_is_switched_and_each_time_is_in_the_history_with_who_did_it() {
    let site = Site::new().await;
    site.host("node-a", 1, None).await;
    assert_eq!(site.call("GET", "node-a/power", &Value::Null).await.1["switched"], false);
    let set = site.set("node-a", relay(17)).await;
    assert_eq!((set.0, set.1["power"]["kind"].as_str()), (200, Some("relay")), "{}", set.1);
    let (status, answer) = site.switch("node-a", "off").await;
    assert_eq!((status, answer["state"].as_str(), site.level(17).as_str()), (200, Some("off"), "1"), "{answer}");
    let (status, answer) = site.switch("node-a", "on").await;
    assert_eq!((status, answer["state"].as_str(), site.level(17).as_str()), (200, Some("unknown"), "0"), "{answer}");
    let shown = site.call("GET", "node-a/power", &Value::Null).await;
    assert_eq!((shown.0, &shown.1["switched"]), (200, &json!(true)));
    let how = CleanText::new("relay on GPIO 17");
    let by = Actor::User("ops".into());
    let expected = [(by.clone(), EventKind::PowerOff { how: how.clone() }), (by, EventKind::PowerOn { how })];
    assert_eq!(site.history("node-a").await, expected);
    // Taken away again, and with it the pin.
    assert_eq!(site.set("node-a", json!({ "power": "none" })).await.0, 200);
    let answer = site.switch("node-a", "on").await;
    assert_eq!(answer.0, 409);
    assert!(error(&answer).contains("set power=gpio"), "{}", answer.1);
    assert_eq!(site.level(17), "-");
}

#[tokio::test]
async fn while_one_action_is_under_way_others_are_refused() {
    let site = Site::new().await;
    let host = site.host("node-a", 1, None).await;
    site.set("node-a", json!({ "power": "gpio", "power_pin": 17, "reset_pin": 18 })).await;
    let ticket = site.state.power.reserve(host.id, Verb::Long).await.unwrap();
    let refused = site.switch("node-a", "reset").await;
    assert_eq!(refused.0, 409);
    assert!(error(&refused).contains("long is under way"), "{}", refused.1);
    assert_eq!(site.level(18), "0", "the other pin of a machine waits too");
    let page = site.get(&format!("/hosts/{}", host.id)).await.text();
    assert!(page.contains("Power long is under way.") && !page.contains("power/off"), "no buttons meanwhile");
    assert_eq!(site.history("node-a").await, [], "what was refused is not in the history");
    drop(ticket);
    // Whom the machine comes back to is told by the task in its own time.
    let mut last = site.switch("node-a", "short").await;
    for _ in 0..600 {
        if last.0 == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        last = site.switch("node-a", "short").await;
    }
    assert_eq!(last.0, 200, "{}", last.1);
    let how = CleanText::new("button on GPIO 17");
    let by = Actor::User("ops".into());
    assert_eq!(site.history("node-a").await, [(by, EventKind::PowerPress { how, long: false })]);
}

#[tokio::test]
async fn the_pages_buttons_switch_and_come_back_to_the_page() {
    let site = Site::new().await;
    let host = site.host("node-a", 1, None).await;
    let path = format!("/hosts/{}", host.id);
    assert!(!site.get(&path).await.text().contains("power/off"), "no buttons where nothing is switched");
    site.set("node-a", relay(17)).await;
    let page = site.get(&path).await.text();
    assert!(page.contains("power/on") && page.contains("power/cycle") && !page.contains("power/short"), "{page}");
    let reply: Reply = site.post(&format!("{path}/power/off"), "interrupt=false").await;
    assert_eq!((reply.status, reply.header("location")), (303, Some(path.as_str())), "{}", reply.text());
    let how = CleanText::new("relay on GPIO 17");
    assert_eq!(site.history("node-a").await, [(Actor::User("ops".into()), EventKind::PowerOff { how })]);
    assert_eq!(site.post(&format!("{path}/power/explode"), "").await.status, 404);
    assert_eq!(site.post(&format!("{path}/power/short"), "").await.status, 409);
}

#[tokio::test]
async fn a_viewer_looks_and_switches_nothing() {
    let site = Site::new().await;
    site.host("node-a", 1, None).await;
    site.set("node-a", relay(17)).await;
    let (_, token) = site.state.auth.add_token("eyes", Role::Viewer, "ops".into(), Actor::Box).await.unwrap();
    let (host, bearer) = (site.address.to_string(), format!("Bearer {token}"));
    let headers = [("host", host.as_str()), ("authorization", bearer.as_str())];
    let path = "/api/v1/hosts/node-a/power";
    assert_eq!(site.send("GET", path, &headers, "").await.status, 200);
    assert_eq!(site.send("POST", path, &headers, "{\"verb\":\"off\"}").await.status, 403);
    assert_eq!(site.level(17), "0");
    assert_eq!(site.history("node-a").await, []);
}

#[tokio::test]
async fn wrong_settings_are_refused_and_say_which_and_why() {
    let site = Site::new().await;
    site.host("node-a", 1, None).await;
    site.host("node-b", 2, None).await;
    for (settings, field, reason) in [
        (json!({ "power_pin": 17 }), "power", "power=gpio as well"),
        (json!({ "power": "gpio" }), "power_pin", "takes power_pin"),
        (json!({ "power": "gpio", "power_pin": 1 }), "power_pin", "from 2 to 27"),
        (json!({ "power": "gpio", "power_pin": 28 }), "power_pin", "from 2 to 27"),
        (json!({ "power": "gpio", "power_pin": 17, "reset_pin": 17 }), "reset_pin", "power_pin at once"),
        (json!({ "power": "gpio", "power_pin": 17, "led_pin": 17 }), "led_pin", "power_pin at once"),
    ] {
        let answer = site.set("node-a", settings.clone()).await;
        assert_eq!(answer.0, 422, "{settings}");
        assert!(answer.1["fields"][field].as_str().is_some_and(|said| said.contains(reason)), "{}", answer.1);
    }
    for settings in [
        json!({ "power": "magic" }),
        json!({ "power": "gpio", "power_pin": 300 }),
        json!({ "power": "gpio", "power_pin": 17, "power_kind": "laser" }),
        json!({ "power": "gpio", "power_pin": 17, "power_active": "sideways" }),
    ] {
        assert_eq!(site.set("node-a", settings.clone()).await.0, 422, "{settings}");
    }
    assert_eq!(site.set("node-a", json!({ "power": "gpio", "power_pin": 17, "led_pin": 22 })).await.0, 200);
    let taken = site.set("node-b", relay(22)).await;
    assert_eq!(taken.0, 409);
    assert_eq!(error(&taken), "GPIO 22 cannot be power_pin of node-b: node-a has it as its led_pin.");
    assert_eq!(site.level(22), "-", "an input stays one");
    // A host that is forgotten gives its pins back; one that changes keeps what is not named.
    let kept = site.set("node-a", json!({ "led_pin": 0 })).await.1["power"].clone();
    assert_eq!((&kept["pin"], &kept["led_pin"]), (&json!(17), &Value::Null));
    assert_eq!(site.call("DELETE", "node-a", &Value::Null).await.0, 200);
    assert_eq!(site.set("node-b", relay(17)).await.0, 200);
}

#[test]
fn pins_of_the_boxs_own_display_and_buttons_are_refused_by_name() {
    let mut config = Config::default();
    config.oled.confirm_gpio = Some(27);
    config.oled.i2c = 1;
    let host: Host = serde_json::from_value(json!({
        "id": "0198a9d0-0000-7000-8000-000000000001", "name": "node-a", "macs": [], "uuid": null, "serial": null, "arch": null,
        "firmware": null, "policy": "default", "strategy": "plain", "tags": [], "facts": null, "enrolled": true, "note": "",
        "installed": null, "disk_until": null, "created": 0, "created_wall": 0
    }))
    .unwrap();
    let set = |config: &Config, pin| {
        let change = PowerChange { driver: Some(Driver::Gpio), pin: Some(pin), ..PowerChange::default() };
        change_power(config, &host, &change)
    };
    let refused = set(&config, 27).unwrap_err().to_string();
    assert_eq!(refused, "GPIO 27 cannot be power_pin of node-a: it is the box's own oled.confirm_gpio.");
    assert!(set(&config, 2).is_ok(), "without a display its bus is free");
    config.oled.controller = Some(crate::config::Controller::Ssd1306);
    assert!(set(&config, 2).unwrap_err().to_string().contains("display"));
    assert!(set(&config, 3).is_err() && set(&config, 4).is_ok());
}

fn disk() -> Disk {
    Disk {
        name: "sda".into(),
        model: "Fake".into(),
        serial: "S1".into(),
        wwn: "".into(),
        size_bytes: 20_000_000_000,
        transport: Transport::Virtio,
        rotational: false,
        removable: false,
        read_only: false,
        content: DiskContent::default(),
    }
}

#[tokio::test]
async fn an_install_is_broken_off_only_by_who_says_so() {
    let site = Site::new().await;
    let facts = Facts { arch: Some(Arch::X86_64), memory_bytes: 8 << 30, disks: vec![disk()], ..Facts::default() };
    let host = site.host("node-a", 1, Some(facts)).await;
    site.set("node-a", relay(17)).await;
    let parameters = [("user".to_owned(), "admin".to_owned())].into();
    let request = crate::http::actions::InstallRequest {
        profile: "debian".to_owned(),
        parameters,
        erase: true,
        ..Default::default()
    };
    let install = crate::http::actions::install(&site.state, host.id, request, Actor::Box).await.unwrap();
    assert_eq!(site.switch("node-a", "off").await.0, 200, "an armed host may be switched as one likes");
    assert_eq!(site.switch("node-a", "on").await.0, 200);
    let boot = BootKey(Digest([1; 32]));
    let hello = EventKind::AgentHello { boot: boot.clone(), address: "".into() };
    let task = TaskName::from("write-image");
    let claimed = EventKind::TaskClaimed { task, attempt: 1, boot };
    let running: Arc<_> = site.apply(&install, vec![hello, claimed]).await;
    assert_eq!(running.state.phase, Phase::Installing);
    for verb in ["off", "cycle"] {
        let refused = site.switch("node-a", verb).await;
        assert_eq!(refused.0, 409);
        assert!(error(&refused).contains("being installed") && error(&refused).contains("--yes"), "{}", refused.1);
    }
    assert_eq!(site.level(17), "0");
    assert_eq!(site.history("node-a").await.len(), 2);
    let page = site.get(&format!("/hosts/{}", host.id)).await.text();
    assert!(page.contains("An install is under way. It breaks off"), "the page asks");
    let forced = site.call("POST", "node-a/power", &json!({ "verb": "off", "interrupt": true })).await;
    assert_eq!((forced.0, site.level(17).as_str()), (200, "1"), "{}", forced.1);
    // What was refused freed the machine again.
    tokio::time::timeout(Duration::from_secs(60), site.switch("node-a", "on")).await.unwrap();
    assert_eq!(site.level(17), "0");
}
