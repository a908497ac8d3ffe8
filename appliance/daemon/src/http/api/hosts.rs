//! Hosts: listed, shown, enrolled, changed, forgotten.

use super::{
    Call,
    table::{Access, Answer, Body, Field, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{
    http::{State, actions, error::Error},
    inventory::{HostEntry, Snapshot},
};
use rackberry_core::{
    event::{EventKind, Station},
    host::{BootPolicy, FirstLoader, Host, MacAddr},
    install::Install,
    power::{Level, Switch},
    status::Condition,
    text::{CleanText, HostName},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};

/// The words of a host's policy.
const POLICIES: Kind = Kind::Word(&["default", "local-disk", "ram-os", "own-files", "ignore"]);

/// The words of a host's first loader.
const LOADERS: Kind = Kind::Word(&["ipxe", "pxelinux", "grub"]);

/// The words of what may switch a host's power.
const DRIVERS: Kind = Kind::Word(&["none", "gpio"]);

/// The words of a pin's level.
const LEVELS: Kind = Kind::Word(&["low", "high"]);

const STORED: &[Field] = &[
    must("id", Kind::Text, "Never changes."),
    must("name", Kind::Text, "Unique on a box."),
    must("macs", Kind::Texts, "Every MAC address it was seen with."),
    may("uuid", Kind::Text, "From SMBIOS, if it identifies the machine."),
    must("policy", POLICIES, "What a network boot of it leads to."),
    must("loader", LOADERS, "The network boot program that it is sent first."),
    must("tags", Kind::Texts, "Words of yours."),
    must("note", Kind::Text, "A line of yours."),
    may("fixed_address", Kind::Text, "The IPv4 address that DHCP keeps for it."),
    may("power", Kind::Object, "What switches its power, and by which pins."),
    may("facts", Kind::Object, "Its hardware, once the RAM OS has reported it."),
];

/// A host as it is stored.
pub(super) static HOST: Schema =
    Schema { name: "Host", about: "A machine that may be booted.", fields: STORED, open: true };

/// A host and what it does.
pub(super) static SHOWN: Schema = Schema {
    name: "HostState",
    about: "A machine that may be booted, and what it does now; it has every member of a Host too.",
    fields: &[
        must("id", Kind::Text, "Never changes."),
        must("name", Kind::Text, "Unique on a box."),
        must("macs", Kind::Texts, "Every MAC address it was seen with."),
        must("condition", Kind::Text, "What it does, for programs."),
        must("word", Kind::Text, "What it does, in one word."),
        must("sentence", Kind::Text, "What happens now."),
        may("percent", Kind::Number, "How far the task under way got."),
        may("install", Kind::One(&super::installs::INSTALL), "The install under way, else the last one."),
        may("last_seen", Kind::Number, "When it was heard last, on the box's own clock, in milliseconds."),
        may("address", Kind::Text, "Where it was heard last."),
        must("stations", Kind::Objects, "The stations of its boot: name, time, detail."),
        must("now", Kind::Number, "The box's own clock now, in milliseconds."),
        may("log", Kind::Texts, "The last lines of its agent or installer, where one host is shown alone."),
    ],
    open: true,
};

pub(super) static REMOVED: Schema = Schema {
    name: "Removed",
    about: "What is gone.",
    fields: &[must("removed", Kind::Text, "Its id or name.")],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/hosts",
        access: Access::Viewer,
        name: "listHosts",
        command: "host list",
        summary: "Every host and what it does.",
        query: &[],
        body: Body::None,
        answer: Answer::List(&SHOWN),
        run: |call| json(list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/hosts",
        access: Access::Admin,
        name: "enrolHosts",
        command: "host add",
        summary: "Enrols every host of a list, or none of them.",
        query: &[],
        body: Body::Json(&[
            must(
                "list",
                Kind::Text,
                "MAC[, name[, serial[, uuid]]] a line; an IPv4 address behind the MAC becomes its fixed one.",
            ),
            may("pattern", Kind::Text, "Names for those without one, for example node-%02d."),
        ]),
        answer: Answer::List(&HOST),
        run: |call| json(enrol(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/hosts/{host}",
        access: Access::Viewer,
        name: "showHost",
        command: "host show",
        summary: "One host and what it does.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&SHOWN),
        run: |call| json(show(call)),
    },
    Route {
        verb: Verb::Patch,
        path: "/v1/hosts/{host}",
        access: Access::Admin,
        name: "changeHost",
        command: "host set",
        summary: "Changes what is given.",
        query: &[],
        body: Body::Json(&[
            may("name", Kind::Text, "Its new name."),
            may("policy", POLICIES, "What a network boot of it leads to."),
            may("loader", LOADERS, "What it is sent first: pxelinux for BIOS and grub for UEFI, where it is not ipxe."),
            may("tags", Kind::Texts, "In place of the tags it has."),
            may("note", Kind::Text, "A line of yours."),
            may("add_mac", Kind::Text, "One more address of it."),
            may("address", Kind::Text, "The IPv4 address that DHCP keeps for it; empty for none."),
            may("dhcp_options", Kind::Texts, "DHCP options for it alone, each NUMBER=VALUE, in place of those it has."),
            may("power", DRIVERS, "What switches its power: pins of the box's own header, or nothing."),
            may("power_pin", Kind::Number, "The GPIO that its relay or its button's optocoupler hangs on."),
            may(
                "power_kind",
                Kind::Word(&["button", "relay"]),
                "button, if not given; a driven relay cuts the supply.",
            ),
            may("power_active", LEVELS, "The level that presses, or cuts: high, if not given. For reset_pin too."),
            may("reset_pin", Kind::Number, "The GPIO of its reset switch; 0 for none."),
            may("led_pin", Kind::Number, "The GPIO that reads whether it is on; 0 for none."),
            may("led_active", LEVELS, "That pin's level while it is on: low, if not given."),
        ]),
        answer: Answer::One(&HOST),
        run: |call| json(change(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/hosts/{host}",
        access: Access::Admin,
        name: "forgetHost",
        command: "host rm",
        summary: "Forgets a host; a network boot enters it anew. Its disk is not touched.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&REMOVED),
        run: |call| json(forget(call)),
    },
];

/// A host as the API and the command line show it.
#[derive(Debug, Clone, Serialize)]
struct HostJson {
    #[serde(flatten)]
    host: Host,
    condition: Condition,
    word: &'static str,
    sentence: String,
    /// Percent of the task under way, if it has any.
    percent: Option<u8>,
    install: Option<Install>,
    last_seen: Option<Timestamp>,
    address: Option<std::net::IpAddr>,
    stations: Vec<(Station, Timestamp, CleanText)>,
    /// This box's time, to compare the others with.
    now: Timestamp,
    /// Of a host that is shown alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<CleanText>,
}

fn host_json(state: &State, snapshot: &Snapshot, entry: &HostEntry) -> HostJson {
    let now = state.inventory.clock().now();
    let (condition, sentence) = entry.describe(snapshot, state.config.idle_to_disk, now);
    HostJson {
        host: (*entry.host).clone(),
        condition,
        word: condition.word(),
        sentence,
        percent: entry.progress().map(|progress| progress.percent()),
        install: entry.install.as_deref().cloned(),
        last_seen: entry.last_seen,
        address: entry.address,
        stations: entry.trace.as_ref().map(|trace| trace.stations.clone()).unwrap_or_default(),
        now,
        log: Vec::new(),
    }
}

async fn list(call: Call) -> Result<Vec<HostJson>, Error> {
    let snapshot = call.state.inventory.snapshot();
    Ok(snapshot.hosts.values().map(|entry| host_json(&call.state, &snapshot, entry)).collect())
}

async fn show(call: Call) -> Result<HostJson, Error> {
    let host = call.host()?;
    let snapshot = call.state.inventory.snapshot();
    let entry =
        snapshot.host(host.id).ok_or_else(|| Error::NotFound(format!("{} was removed meanwhile.", host.name)))?;
    let log = entry.log.iter().cloned().collect();
    Ok(HostJson { log, ..host_json(&call.state, &snapshot, entry) })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolBody {
    list: String,
    #[serde(default)]
    pattern: String,
}

async fn enrol(call: Call) -> Result<Vec<Host>, Error> {
    let body: EnrolBody = call.json()?;
    let list = actions::read_list(&body.list).map_err(|wrong| {
        Error::Fields(wrong.into_iter().map(|(n, text)| ("list".to_owned(), format!("Line {n}: {text}"))).collect())
    })?;
    let Call { state, actor, .. } = call;
    let hosts = actions::enrol(&state, list, &body.pattern, actor).await?;
    Ok(hosts.iter().map(|host| (**host).clone()).collect())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ChangeBody {
    name: Option<String>,
    policy: Option<BootPolicy>,
    loader: Option<FirstLoader>,
    tags: Option<Vec<CleanText>>,
    note: Option<CleanText>,
    add_mac: Option<MacAddr>,
    address: Option<String>,
    dhcp_options: Option<Vec<String>>,
    power: Option<actions::Driver>,
    power_pin: Option<u8>,
    power_kind: Option<Switch>,
    power_active: Option<Level>,
    reset_pin: Option<u8>,
    led_pin: Option<u8>,
    led_active: Option<Level>,
}

impl ChangeBody {
    fn power(&self) -> actions::PowerChange {
        actions::PowerChange {
            driver: self.power,
            pin: self.power_pin,
            kind: self.power_kind,
            active: self.power_active,
            reset_pin: self.reset_pin,
            led_pin: self.led_pin,
            led_active: self.led_active,
        }
    }
}

async fn change(call: Call) -> Result<Host, Error> {
    let body: ChangeBody = call.json()?;
    let power = body.power();
    let id = call.host()?.id;
    let Call { state, actor, .. } = call;
    let config = state.config.clone();
    let changed = state
        .inventory
        .transact(move |tx| {
            let known = tx.host(id).ok_or_else(|| Error::NotFound("The host was removed meanwhile.".to_owned()))?;
            let mut host = (*known).clone();
            let mut what = Vec::new();
            if let Some(name) = body.name {
                host.name = HostName::new(&name)
                    .map_err(|error| Error::Fields(vec![("name".to_owned(), error.to_string())]))?;
                what.push(format!("name {}", host.name));
            }
            if let Some(policy) = body.policy {
                host.policy = policy;
                what.push(format!("policy {}", policy.word()));
            }
            if let Some(loader) = body.loader {
                if let Some(why) = loader.refusal(host.firmware, host.arch) {
                    return Err(Error::Fields(vec![("loader".to_owned(), why)]));
                }
                host.loader = loader;
                what.push(format!("loader {}", loader.word()));
            }
            if let Some(tags) = body.tags {
                host.tags = tags.into_iter().take(32).collect();
                what.push("tags".to_owned());
            }
            if let Some(note) = body.note {
                host.note = note;
                what.push("note".to_owned());
            }
            if let Some(text) = body.address {
                host.fixed_address = actions::fixed_address(&text)?;
                what.push(match host.fixed_address {
                    Some(address) => format!("fixed address {address}"),
                    None => "no fixed address".to_owned(),
                });
            }
            if let Some(list) = body.dhcp_options {
                host.dhcp_options = actions::dhcp_options(&list)?;
                what.push("DHCP options".to_owned());
            }
            if let Some((power, words)) = actions::change_power(&config, &host, &power)? {
                host.power = power;
                what.push(words);
            }
            if let Some(mac) = body.add_mac {
                host.macs.push(mac);
                what.push(format!("address {mac}"));
            }
            let host = tx.put_host(&host)?;
            let kind = EventKind::HostChanged { what: CleanText::new(&what.join(", ")) };
            tx.record(Some(id), None, actor, kind)?;
            Ok::<_, Error>(host)
        })
        .await?;
    Ok((*changed).clone())
}

async fn forget(call: Call) -> Result<Value, Error> {
    let id = call.host()?.id;
    let Call { state, actor, .. } = call;
    actions::forget(&state, id, actor).await.map(|()| object!({ "removed": id }))
}
