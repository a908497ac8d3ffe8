//! What DHCP tells: for the hosts' timelines, as alarms, and in words on the page.

use crate::{
    dhcp::{Alert, Status},
    http::NetworkView,
    inventory::{Identity, Inventory},
    net::LinkFacts,
};
use rackberry_core::{
    dhcp::{Fact, Note, Stage},
    event::{Actor, EventKind, Station},
    text::CleanText,
};
use std::{net::IpAddr, sync::Arc};
use tokio::sync::{mpsc, watch};

/// Writes what DHCP saw into the hosts' timelines.
pub(super) async fn timeline(mut notes: mpsc::Receiver<Note>, inventory: Inventory) {
    while let Some(note) = notes.recv().await {
        let (station, detail) = match note.fact {
            Fact::Discover => (Some(Station::Discover), note.vendor_class.to_string()),
            Fact::Offer(address) => (Some(Station::Offer), format!("{address} and a loader")),
            Fact::ProxyOffer => (Some(Station::Offer), "a loader, beside another server's address".to_owned()),
            Fact::Asked4011 => (Some(Station::Offer), "a loader, on port 4011".to_owned()),
            _ => (None, String::new()),
        };
        let address = match note.fact {
            Fact::Ack(address) => Some(IpAddr::V4(address)),
            _ => None,
        };
        let station = station.filter(|_| note.kind.boots());
        if station.is_none() && address.is_none() {
            continue;
        }
        inventory.later(move |tx| {
            let identity = Identity { mac: note.mac, uuid: note.uuid, serial: None };
            let host = match station {
                Some(_) => Some(tx.observe(&identity, note.arch, note.firmware)?),
                None => tx.host_by_mac(note.mac),
            };
            let Some(host) = host else { return Ok(()) };
            if let Some(address) = address {
                tx.at_address(host.id, address);
                tx.seen(host.id);
            }
            if let Some(station) = station {
                tx.reach(host.id, station, CleanText::new(&detail), note.arch, note.firmware)?;
            }
            Ok(())
        });
    }
}

/// The alarm that a foreign DHCP server raises; one card, however many servers.
const FOREIGN: &str = "foreign-dhcp";

pub(super) async fn alarms(mut alerts: mpsc::Receiver<Alert>, inventory: Inventory) {
    while let Some(alert) = alerts.recv().await {
        let raised = match alert {
            Alert::Foreign(server) => {
                let mac = server.mac.map(|mac| format!(", {mac}")).unwrap_or_default();
                let what = if server.leases { "offers addresses" } else { "names a boot server" };
                let text = format!("Another DHCP server is here: {}{mac} {what}.", server.address);
                tracing::warn!("{text}");
                inventory.transact(move |tx| tx.raise_alarm(FOREIGN, None, CleanText::new(&text))).await
            }
            Alert::Stage { from, to } => {
                let reason = format!("was {}", from.word());
                let kind = EventKind::LadderMoved { to: to.word().into(), reason: CleanText::new(&reason) };
                inventory.transact(move |tx| tx.record(None, None, Actor::Box, kind).map(|_| ())).await
            }
            Alert::NotDurable(why) => {
                let text = format!("Leases cannot be written; DHCP goes on from memory. {why}");
                inventory.transact(move |tx| tx.raise_alarm("leases", None, CleanText::new(&text))).await
            }
        };
        if let Err(error) = raised {
            tracing::error!(error = crate::chain(&error), "an alarm could not be recorded");
        }
    }
}

/// Keeps the page's words about the network true.
pub(super) async fn show(
    mut status: watch::Receiver<Status>,
    view: watch::Sender<Arc<NetworkView>>,
    facts: LinkFacts,
    boot_port: u16,
    inventory: Inventory,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let now = status.borrow_and_update().clone();
        let sentence = sentence(&now);
        let (word, said) = (CleanText::new(now.stage.word()), CleanText::new(&sentence));
        let stored = inventory.transact(move |tx| tx.set_ladder(word, said)).await;
        if let Err(error) = stored {
            tracing::error!(error = crate::chain(&error), "the DHCP stage could not be recorded");
        }
        view.send_replace(Arc::new(NetworkView {
            interface: facts.name.clone(),
            address: Some(facts.address),
            boot_port,
            mode: sentence,
            mode_word: now.stage.word().to_owned(),
        }));
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn sentence(status: &Status) -> String {
    let other = status.foreign.first().map(|server| format!(" {} gives addresses here.", server.address));
    match status.stage {
        Stage::Observe => {
            format!("Listening for other DHCP servers; answering nobody yet.{}", other.unwrap_or_default())
        }
        Stage::ProxyEnrolled => {
            format!("Another boot server is here, so only enrolled hosts are answered.{}", other.unwrap_or_default())
        }
        Stage::Proxy => format!("Adding boot files beside another DHCP server.{}", other.unwrap_or_default()),
        Stage::PxeOnly => "Giving addresses to network-booting machines only.".to_owned(),
        Stage::Server => "Giving addresses to everybody.".to_owned(),
    }
}
