//! Switching a host on and off, and saying by which pins: checked, written down, then done.

use super::{State, field};
use crate::{
    config::Config,
    http::error::Error,
    power::{PowerError, Standing},
};
use rackberry_core::{
    event::{Actor, EventKind},
    host::Host,
    install::Phase,
    power::{GpioPower, Level, Power, PowerState, Switch, Verb},
    text::CleanText,
};
use serde::Deserialize;
use tokio::task::JoinHandle;

/// The words of a host's power driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    None,
    Gpio,
}

/// What is to change about a host's power; what is not given stays. A pin of 0 is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PowerChange {
    pub driver: Option<Driver>,
    pub pin: Option<u8>,
    pub kind: Option<Switch>,
    pub active: Option<Level>,
    pub reset_pin: Option<u8>,
    pub led_pin: Option<u8>,
    pub led_active: Option<Level>,
}

/// What switches a host's power once that is changed, and the words for it; none if nothing changes.
///
/// # Errors
/// The field at fault: a number that is no pin, a pin twice, a pin of the box's own display, buttons or light.
pub fn change_power(
    config: &Config,
    host: &Host,
    change: &PowerChange,
) -> Result<Option<(Option<Power>, String)>, Error> {
    if *change == PowerChange::default() {
        return Ok(None);
    }
    let PowerChange { driver, pin, kind, active, reset_pin, led_pin, led_active } = change.clone();
    let known = host.power.as_ref().map(|Power::Gpio(known)| known);
    if driver == Some(Driver::None) {
        return Ok(Some((None, "nothing switches its power".to_owned())));
    }
    if driver.is_none() && known.is_none() {
        return Err(field("power", "Say power=gpio as well: nothing switches its power yet.".to_owned()));
    }
    let Some(pin) = pin.filter(|pin| *pin != 0).or_else(|| known.map(|known| known.pin)) else {
        return Err(field(
            "power_pin",
            "power=gpio takes power_pin, the GPIO that its relay or button hangs on.".into(),
        ));
    };
    let optional = |given: Option<u8>, known: Option<u8>| match given {
        None => known,
        Some(0) => None,
        Some(pin) => Some(pin),
    };
    let power = GpioPower {
        pin,
        kind: kind.or(known.map(|known| known.kind)).unwrap_or_default(),
        active: active.or(known.map(|known| known.active)).unwrap_or(Level::High),
        reset_pin: optional(reset_pin, known.and_then(|known| known.reset_pin)),
        led_pin: optional(led_pin, known.and_then(|known| known.led_pin)),
        // An optocoupler's transistor pulls the pin low while the light is lit.
        led_active: led_active.or(known.map(|known| known.led_active)).unwrap_or(Level::Low),
    };
    power.check().map_err(|(name, sentence)| field(name, sentence))?;
    for (setting, pin) in power.pins() {
        if let Some(user) = config.oled.pin_user(pin) {
            return Err(field(setting, format!("GPIO {pin} cannot be {setting} of {}: it is {user}.", host.name)));
        }
    }
    let pins: Vec<String> = power.pins().map(|(name, pin)| format!("{name} {pin}")).collect();
    let words = format!("power by a {} on {}, active {}", power.kind.word(), pins.join(", "), power.active.word());
    Ok(Some((Some(Power::Gpio(power)), words)))
}

/// An action that was begun and written down; it goes on if nobody waits for its end.
#[derive(Debug)]
pub struct Underway {
    end: JoinHandle<Result<(), PowerError>>,
    host: String,
    verb: Verb,
}

impl Underway {
    /// Waits until it is over.
    ///
    /// # Errors
    /// [`Error::Power`] if it did not end as it should have.
    pub async fn ended(self) -> Result<(), Error> {
        let Underway { end, host, verb } = self;
        let done = end.await.unwrap_or(Err(PowerError::Stopped));
        done.map_err(|source| Error::Power { host, verb, source })
    }
}

/// Begins an action on a host's power.
///
/// # Errors
/// [`Error::Power`] if it cannot be done now; [`Error::Conflict`] if an install would be broken off, unless `interrupt` allows
/// that.
pub async fn power(state: &State, host: &Host, verb: Verb, interrupt: bool, actor: Actor) -> Result<Underway, Error> {
    let (id, name) = (host.id, host.name.to_string());
    let failed = |source| Error::Power { host: name.clone(), verb, source };
    let ticket = state.power.reserve(id, verb).await.map_err(failed)?;
    let how = CleanText::new(&ticket.how);
    let on = name.clone();
    let recorded = state.inventory.transact(move |tx| {
        let running = tx
            .active_install(id)
            .filter(|install| matches!(install.state.phase, Phase::Installing | Phase::Waiting))
            .filter(|_| verb.interrupts() && !interrupt);
        if let Some(install) = running {
            return Err(Error::Conflict(format!(
                "{} is being installed on {on}, and power {verb} would break that off. If it may, say so: the command takes --yes, \
                 the page asks once it is loaded anew.",
                install.plan.title
            )));
        }
        tx.record(Some(id), None, actor, event(verb, how)).map(|_| ()).map_err(Error::from)
    });
    recorded.await?;
    let told = ticket.begin().map_err(failed)?;
    let inventory = state.inventory.clone();
    let end = tokio::spawn(async move {
        let done = told.await.unwrap_or(Err(PowerError::Stopped));
        if let Err(error) = &done {
            let (what, why) = (CleanText::new(verb.word()), CleanText::new(&crate::chain(error)));
            let kind = EventKind::PowerFailed { what, why };
            let recorded = inventory.transact(move |tx| tx.record(Some(id), None, Actor::Box, kind).map(|_| ())).await;
            if let Err(error) = recorded {
                tracing::warn!(error = crate::chain(&error), "the end of a power action could not be recorded");
            }
        }
        done
    });
    Ok(Underway { end, host: name, verb })
}

fn event(verb: Verb, how: CleanText) -> EventKind {
    match verb {
        Verb::On => EventKind::PowerOn { how },
        Verb::Off => EventKind::PowerOff { how },
        Verb::Cycle => EventKind::PowerCycle { how },
        Verb::Reset => EventKind::PowerReset { how },
        Verb::Short => EventKind::PowerPress { how, long: false },
        Verb::Long => EventKind::PowerPress { how, long: true },
    }
}

/// What is known of a host's power, as a sentence.
#[must_use]
pub fn power_sentence(standing: Option<&Standing>) -> String {
    let Some(standing) = standing else { return "Nothing switches its power from here.".to_owned() };
    match standing {
        Standing { trouble: Some(why), .. } => format!("Cannot be switched: {why}."),
        Standing { busy: Some(verb), .. } => format!("Power {verb} is under way."),
        Standing { cut: true, .. } => "Its relay cuts the supply.".to_owned(),
        Standing { state: PowerState::On, .. } => "On, by its light.".to_owned(),
        Standing { state: PowerState::Off, .. } => "Off, by its light.".to_owned(),
        Standing { has_light: true, .. } => "Its light blinks or has just changed.".to_owned(),
        Standing { .. } => "Nothing tells whether it is on; a light on led_pin would.".to_owned(),
    }
}

#[cfg(test)]
mod tests;
