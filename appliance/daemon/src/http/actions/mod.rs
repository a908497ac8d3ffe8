//! What people do, whether by page, API or command line: checked, then one transaction each.
//!
//! | module | one sentence |
//! |---|---|
//! | `install` | arming, and steering what is under way |
//! | `live` | what a host runs from the network |
//! | `plan` | what is copied of profile and media |
//! | `consent` | saying yes from afar with the display's digits |
//! | `enrol` | lists of hosts before their first boot |
//! | `power` | switching a host on and off |
//! | `preview` | what a profile would serve to a host |
//! | [`update`] | the box's own version |

mod consent;
mod enrol;
mod fetch;
mod install;
mod live;
mod plan;
mod power;
mod preview;
pub mod update;

pub use consent::{ask_again, confirm};
pub use enrol::{Enrolment, enrol, pattern_name, read_list};
pub use fetch::{MediumStand, Place, Wish, fetch, get_it, key_of, media, order, shown};
pub use install::{InstallRequest, Steer, check, install, steer};
pub use live::{set_live, unset_live};
pub use plan::{method, missing, unsuitable};
pub use power::{Driver, PowerChange, Underway, change_power, power, power_sentence};
pub use preview::preview;

use super::{State, error::Error};
use crate::inventory::Alarm;
use rackberry_core::{
    event::Actor,
    host::{Host, MacAddr},
    id::HostId,
    option::DhcpOption,
    text::HostName,
};
use std::sync::Arc;

/// The host of that id or name.
///
/// # Errors
/// [`Error::NotFound`], naming it.
pub fn find_host(state: &State, name: &str) -> Result<Arc<Host>, Error> {
    let snapshot = state.inventory.snapshot();
    let by_id = name.parse::<HostId>().ok().and_then(|id| snapshot.host(id));
    let by_mac = || name.parse::<MacAddr>().ok().and_then(|mac| snapshot.host_by_mac(mac));
    let by_name = || HostName::new(name).ok().and_then(|name| snapshot.host_by_name(&name));
    by_id
        .or_else(by_name)
        .or_else(by_mac)
        .map(|entry| entry.host.clone())
        .ok_or_else(|| Error::NotFound(format!("There is no host {}.", rackberry_core::text::clean(name, 60))))
}

fn field(name: &str, sentence: String) -> Error {
    Error::Fields(vec![(name.to_owned(), sentence)])
}

/// Forgets a host; a network boot would enter it anew.
///
/// # Errors
/// If it is unknown or an install is under way on it.
pub async fn forget(state: &State, host: HostId, actor: Actor) -> Result<(), Error> {
    state.inventory.transact(move |tx| tx.remove_host(host, actor)).await.map_err(Error::from)
}

/// The address DHCP shall keep for a host; none for an empty text.
///
/// # Errors
/// The field, if it is no address a machine can have.
pub fn fixed_address(text: &str) -> Result<Option<std::net::Ipv4Addr>, Error> {
    let usable = |address: &std::net::Ipv4Addr| {
        !(address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback())
    };
    match text.trim() {
        "" | "-" => Ok(None),
        given => given.parse().ok().filter(usable).map(Some).ok_or_else(|| {
            let given = rackberry_core::text::clean(given, 40);
            field("address", format!("\"{given}\" is no machine's IPv4 address; write it as 192.168.77.20."))
        }),
    }
}

/// DHCP options for one host, each written `NUMBER=VALUE`.
///
/// # Errors
/// The field, with what is wrong.
pub fn dhcp_options(list: &[String]) -> Result<Vec<DhcpOption>, Error> {
    if list.len() > 32 {
        return Err(field("dhcp_options", "At most 32 options are kept for a host.".to_owned()));
    }
    list.iter()
        .map(|pair| DhcpOption::parse(pair).map_err(|error| field("dhcp_options", format!("{error}."))))
        .collect()
}

/// Takes an alarm off every page; what raised it may raise it again.
///
/// # Errors
/// If there is none of that id.
pub async fn settle(state: &State, id: &str, actor: Actor) -> Result<Arc<Alarm>, Error> {
    let id = id.to_owned();
    state
        .inventory
        .transact(move |tx| {
            let missing = || {
                let id = rackberry_core::text::clean(&id, 60);
                Error::NotFound(format!("There is no alarm {id}. Somebody may have settled it already."))
            };
            let alarm = tx.state().alarms.get(&id).cloned().ok_or_else(missing)?;
            tx.settle_alarm(&id, actor)?;
            Ok::<_, Error>(alarm)
        })
        .await
        .map_err(Error::from)
}
