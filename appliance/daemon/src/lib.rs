//! The Rackberry daemon: shells around what `rackberry-core` decides.
//!
//! | module | one sentence |
//! |---|---|
//! | [`log`] | what is logged, and how much of it at most |
//! | [`config`] | `rackberry.toml`, read, checked and explained |
//! | [`card`] | the SD card's FAT partition: who the box is, its accounts, mistakes told |
//! | [`net`] | interfaces, addresses and sockets |
//! | [`gpio`] | pins of the header |
//! | [`inventory`] | the database, its one writing thread, and the snapshot everyone reads |
//! | [`catalog`] | profiles from folders |
//! | [`media`] | everything served as a file, and how images come in |
//! | [`auth`] | people, passwords, sessions, tokens |
//! | [`health`] | when each part last showed that it turns, and the verdict that watchdogs are fed by |
//! | [`sensors`] | what the box's own hardware says: voltage, temperature, the card |
//! | [`power`] | machines switched on and off: who has which pin, one action at a time |
//! | [`time`] | the time of day: asked of time servers, on the SD card set by them, and only shown |
//! | [`display`] | what the display of the box shows |
//! | [`consent`] | the question at the display, may this disk be erased |
//! | [`boot`] | who asks to boot, what it is given, and that it is written down |
//! | [`update`] | updates of the SD card: what may be written to it, and who does |
//! | [`dhcp`] | the DHCP shell: owns the leases |
//! | [`tftp`] | the TFTP shell |
//! | [`http`] | boot, agents, API and pages |
//! | [`reconcile`] | what is due, done |
//! | [`oled`] | pictures to the panel, buttons back |
//! | [`app`] | puts all of the above together |
//! | [`cli`] | the command line's other half: speaks to a running daemon |
//!
//! Imports point one way: `{ config, log, net, gpio, inventory, catalog, auth, media, health,
//! power, sensors, time } <- { boot, card, consent, display, update } <- {
//! dhcp, tftp, http, reconcile, oled, cli } <- app <- main`; `cli` imports none of them.

pub mod app;
pub mod auth;
pub mod boot;
pub mod cache;
pub mod card;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod consent;
pub mod dhcp;
pub mod display;
pub mod gpio;
pub mod health;
pub mod http;
pub mod inventory;
pub mod log;
pub mod media;
pub mod names;
pub mod net;
pub mod oled;
pub mod origin;
pub mod power;
pub mod reconcile;
pub mod sensors;
pub mod syslog;
pub mod tftp;
pub mod time;
pub mod update;

/// An error and all its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
