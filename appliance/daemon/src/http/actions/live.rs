//! A system that a host boots from the network at each boot, and that erases nothing.

use super::{State, field, plan};
use crate::http::error::Error;
use rackberry_core::{
    boot::answers::{self, Occasion, Subject},
    event::Actor,
    host::Host,
    id::HostId,
    install::LiveBoot,
    profile::Way,
    text::CleanText,
};
use std::{collections::BTreeMap, sync::Arc};

/// Has a host boot a live profile from now on.
///
/// # Errors
/// Each field at fault with its sentence.
pub async fn set_live(
    state: &State,
    host: &Host,
    name: &str,
    given: &BTreeMap<String, String>,
    actor: Actor,
) -> Result<Arc<LiveBoot>, Error> {
    let profile = plan::profile(state, name)?;
    if profile.way != Way::Live {
        let sentence = format!("{} is installed onto a disk; install it instead.", profile.title);
        return Err(field("profile", sentence));
    }
    if let Some(why) = plan::unsuitable(host, &profile) {
        return Err(field("profile", why));
    }
    super::install::fits(host, &profile)?;
    let parameters = plan::parameters(&profile, given)?;
    plan::network(host, &parameters)?;
    let boot = plan::freeze(state, &profile).await?.boot;
    let boot = boot.ok_or_else(|| field("profile", format!("{} boots nothing.", profile.title)))?;
    let by = match &actor {
        Actor::User(name) => name.clone(),
        Actor::Box | Actor::Host => CleanText::new("the box"),
    };
    let (since, since_wall) = (state.inventory.clock().now(), state.inventory.clock().wall());
    let (profile, title) = (profile.name.clone(), profile.title.clone());
    let live = LiveBoot { profile, title, hostname: host.name.clone(), parameters, boot, since, since_wall, by };
    let occasion = Occasion { host, box_url: super::install::NOBODY, token: "" };
    answers::check(Subject::live(&live), occasion, &[]).map_err(|error| field("profile", crate::chain(&error)))?;
    let (id, stored) = (host.id, live.clone());
    let set = state.inventory.transact(move |tx| {
        plan::still_there(tx, stored.boot.images())?;
        tx.set_live_boot(id, Some(stored), actor).map_err(Error::from)
    });
    set.await.map_err(Error::from)?;
    Ok(Arc::new(live))
}

/// Has a host boot nothing live any more.
///
/// # Errors
/// If it boots nothing live now.
pub async fn unset_live(state: &State, host: HostId, actor: Actor) -> Result<(), Error> {
    state
        .inventory
        .transact(move |tx| {
            if tx.live_boot(host).is_none() {
                return Err(Error::Conflict(
                    "This host boots nothing from the network but what the box decides.".to_owned(),
                ));
            }
            tx.set_live_boot(host, None, actor).map_err(Error::from)
        })
        .await
        .map_err(Error::from)
}
