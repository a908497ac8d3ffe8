//! How a machine's power is switched from here, and which steps each verb takes.
//!
//! Pure: settings, verb and what the machine's light says in, steps out; a driver of the daemon takes them.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A press that a person would call short: it starts a machine, or asks its system to shut down.
pub const SHORT: Duration = Duration::from_millis(500);
/// A press that switches off by force; ACPI asks for more than 4 s (ACPI 6.5, 4.8.2.2.1.3).
pub const LONG: Duration = Duration::from_secs(5);
/// How long a supply stays cut in a cycle, until its capacitors are empty.
pub const CUT: Duration = Duration::from_secs(10);
/// Between the press that switches off and the one that switches on.
pub const BETWEEN: Duration = Duration::from_secs(3);
/// How long a light may stay lit after a long press.
pub const DARK_WITHIN: Duration = Duration::from_secs(15);

/// The driver that a host's power is switched by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "snake_case")]
pub enum Power {
    /// Pins of the box's own header.
    Gpio(GpioPower),
}

/// Pins of the header by the chip's numbers, and what hangs on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpioPower {
    pub pin: u8,
    pub kind: Switch,
    /// The level that presses, or that cuts the supply; for the reset pin too.
    pub active: Level,
    /// Presses the front panel's reset switch.
    pub reset_pin: Option<u8>,
    /// Reads whether the machine is on.
    pub led_pin: Option<u8>,
    /// The level of that pin while the machine is on.
    pub led_active: Level,
}

/// What a power pin works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// An optocoupler across the front panel's power switch.
    #[default]
    Button,
    /// A relay whose normally closed contact carries the supply: driven, it cuts it.
    Relay,
}

impl Switch {
    /// The word for it, in settings and history.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Switch::Button => "button",
            Switch::Relay => "relay",
        }
    }
}

/// A level of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Low,
    High,
}

impl Level {
    /// Whether it is the high one.
    #[must_use]
    pub fn is_high(self) -> bool {
        self == Level::High
    }

    /// The word for it, in settings and history.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Level::Low => "low",
            Level::High => "high",
        }
    }
}

/// What a person may want done to a machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    On,
    /// By force.
    Off,
    /// Off by force, and on again.
    Cycle,
    /// The reset switch.
    Reset,
    /// A short press, whatever the machine does now.
    Short,
    /// A long press, whatever the machine does now.
    Long,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 6] = [Verb::On, Verb::Off, Verb::Cycle, Verb::Reset, Verb::Short, Verb::Long];

    /// The word for it, in paths, settings and history.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verb::On => "on",
            Verb::Off => "off",
            Verb::Cycle => "cycle",
            Verb::Reset => "reset",
            Verb::Short => "short",
            Verb::Long => "long",
        }
    }

    /// The verb of that word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.word() == word)
    }

    /// Whether it may take a running machine down.
    #[must_use]
    pub fn interrupts(self) -> bool {
        match self {
            Verb::On => false,
            Verb::Off | Verb::Cycle | Verb::Reset | Verb::Short | Verb::Long => true,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether a machine is on, as far as anybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    On,
    Off,
    #[default]
    Unknown,
}

/// Which of a machine's pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    Power,
    Reset,
}

/// What a driver does, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Active for so long, then at rest again.
    Press(Contact, Duration),
    /// The supply, until it is closed again.
    Cut,
    Close,
    Pause(Duration),
    /// Goes on once the light is out, and fails if it is not by then.
    AwaitDark(Duration),
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("its light says that it is on already, and a press would shut it down")]
    AlreadyOn,
    #[error("its light says that it is off already, and a press would switch it on")]
    AlreadyOff,
    #[error(
        "its light blinks or has just changed, so a press might switch it on or off; try again in a moment, or press with short"
    )]
    Unsteady,
    #[error("it hangs on a relay, which presses no button; it takes on, off and cycle")]
    NoButton,
    #[error("no reset_pin is set for it")]
    NoReset,
}

impl GpioPower {
    /// Every pin in use, by its setting's name.
    pub fn pins(&self) -> impl Iterator<Item = (&'static str, u8)> {
        let more = [("reset_pin", self.reset_pin), ("led_pin", self.led_pin)];
        std::iter::once(("power_pin", self.pin))
            .chain(more.into_iter().filter_map(|(name, pin)| pin.map(|pin| (name, pin))))
    }

    /// The setting at fault and what is wrong with it.
    ///
    /// # Errors
    /// For a number that is none of the header, and for one that stands twice.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let mut seen: Vec<(&'static str, u8)> = Vec::new();
        for (name, pin) in self.pins() {
            // 0 and 1 belong to the boards' own memory.
            if !(2..=27).contains(&pin) {
                return Err((name, format!("{name} takes a GPIO number from 2 to 27, and not {pin}.")));
            }
            if let Some((other, _)) = seen.iter().find(|(_, known)| *known == pin) {
                return Err((name, format!("GPIO {pin} cannot be {name} and {other} at once.")));
            }
            seen.push((name, pin));
        }
        Ok(())
    }

    /// The pin that `verb` works, in words.
    #[must_use]
    pub fn how(&self, verb: Verb) -> String {
        match (verb, self.reset_pin) {
            (Verb::Reset, Some(pin)) => format!("reset switch on GPIO {pin}"),
            (Verb::Reset, None) => String::new(),
            (Verb::On | Verb::Off | Verb::Cycle | Verb::Short | Verb::Long, _) => {
                format!("{} on GPIO {}", self.kind.word(), self.pin)
            }
        }
    }

    /// What `verb` takes on this machine, whose light says `light`.
    ///
    /// # Errors
    /// [`Refused`] where it would do the opposite, or cannot be done.
    pub fn plan(&self, verb: Verb, light: PowerState) -> Result<Vec<Step>, Refused> {
        let press = |span| Step::Press(Contact::Power, span);
        let has_light = self.led_pin.is_some();
        let dark = has_light.then_some(Step::AwaitDark(DARK_WITHIN));
        match (self.kind, verb) {
            (_, Verb::Reset) if self.reset_pin.is_none() => Err(Refused::NoReset),
            (_, Verb::Reset) => Ok(vec![Step::Press(Contact::Reset, SHORT)]),
            (Switch::Relay, Verb::Short | Verb::Long) => Err(Refused::NoButton),
            (Switch::Relay, Verb::On) => Ok(vec![Step::Close]),
            (Switch::Relay, Verb::Off) => Ok(vec![Step::Cut]),
            (Switch::Relay, Verb::Cycle) => Ok(vec![Step::Cut, Step::Pause(CUT), Step::Close]),
            (Switch::Button, Verb::Short) => Ok(vec![press(SHORT)]),
            (Switch::Button, Verb::Long) => Ok(vec![press(LONG)]),
            (Switch::Button, Verb::On) => match light {
                PowerState::On => Err(Refused::AlreadyOn),
                PowerState::Unknown if has_light => Err(Refused::Unsteady),
                PowerState::Off | PowerState::Unknown => Ok(vec![press(SHORT)]),
            },
            (Switch::Button, Verb::Off) => match light {
                PowerState::Off => Err(Refused::AlreadyOff),
                PowerState::On | PowerState::Unknown => Ok([Some(press(LONG)), dark].into_iter().flatten().collect()),
            },
            (Switch::Button, Verb::Cycle) => match light {
                PowerState::Off => Ok(vec![press(SHORT)]),
                PowerState::On | PowerState::Unknown => {
                    let steps = [Some(press(LONG)), dark, Some(Step::Pause(BETWEEN)), Some(press(SHORT))];
                    Ok(steps.into_iter().flatten().collect())
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wired(kind: Switch, led_pin: Option<u8>) -> GpioPower {
        GpioPower { pin: 17, kind, active: Level::High, reset_pin: None, led_pin, led_active: Level::Low }
    }

    const SHORT_PRESS: Step = Step::Press(Contact::Power, SHORT);
    const LONG_PRESS: Step = Step::Press(Contact::Power, LONG);

    #[test]
    fn a_button_is_never_pressed_where_that_does_the_opposite() {
        let seen = wired(Switch::Button, Some(22));
        assert_eq!(seen.plan(Verb::On, PowerState::On), Err(Refused::AlreadyOn));
        assert_eq!(seen.plan(Verb::On, PowerState::Unknown), Err(Refused::Unsteady));
        assert_eq!(seen.plan(Verb::On, PowerState::Off), Ok(vec![SHORT_PRESS]));
        assert_eq!(seen.plan(Verb::Off, PowerState::Off), Err(Refused::AlreadyOff));
        let off = vec![LONG_PRESS, Step::AwaitDark(DARK_WITHIN)];
        assert_eq!(seen.plan(Verb::Off, PowerState::On), Ok(off.clone()));
        assert_eq!(seen.plan(Verb::Off, PowerState::Unknown), Ok(off));
    }

    #[test]
    fn a_cycle_asks_the_light_first_and_waits_until_it_is_out() {
        let seen = wired(Switch::Button, Some(22));
        assert_eq!(seen.plan(Verb::Cycle, PowerState::Off), Ok(vec![SHORT_PRESS]));
        let whole = vec![LONG_PRESS, Step::AwaitDark(DARK_WITHIN), Step::Pause(BETWEEN), SHORT_PRESS];
        assert_eq!(seen.plan(Verb::Cycle, PowerState::On), Ok(whole));
        let blind = wired(Switch::Button, None);
        let whole = vec![LONG_PRESS, Step::Pause(BETWEEN), SHORT_PRESS];
        assert_eq!(blind.plan(Verb::Cycle, PowerState::Unknown), Ok(whole));
        assert_eq!(blind.plan(Verb::On, PowerState::Unknown), Ok(vec![SHORT_PRESS]));
    }

    #[test]
    fn a_relay_cuts_and_closes_and_presses_nothing() {
        let relay = wired(Switch::Relay, None);
        assert_eq!(relay.plan(Verb::On, PowerState::Off), Ok(vec![Step::Close]));
        assert_eq!(relay.plan(Verb::Off, PowerState::Unknown), Ok(vec![Step::Cut]));
        assert_eq!(
            relay.plan(Verb::Cycle, PowerState::Unknown),
            Ok(vec![Step::Cut, Step::Pause(CUT), Step::Close]),
            "it ends with the supply on"
        );
        assert_eq!(relay.plan(Verb::Short, PowerState::On), Err(Refused::NoButton));
        assert_eq!(relay.plan(Verb::Long, PowerState::On), Err(Refused::NoButton));
    }

    #[test]
    fn a_reset_takes_a_pin_of_its_own() {
        let mut wired = wired(Switch::Relay, None);
        assert_eq!(wired.plan(Verb::Reset, PowerState::On), Err(Refused::NoReset));
        wired.reset_pin = Some(18);
        assert_eq!(wired.plan(Verb::Reset, PowerState::On), Ok(vec![Step::Press(Contact::Reset, SHORT)]));
    }

    #[test]
    fn no_plan_leaves_a_pin_active_but_a_relay_that_is_to_stay_off() {
        for kind in [Switch::Button, Switch::Relay] {
            for verb in Verb::ALL {
                for light in [PowerState::On, PowerState::Off, PowerState::Unknown] {
                    let mut wired = wired(kind, Some(22));
                    wired.reset_pin = Some(18);
                    let Ok(steps) = wired.plan(verb, light) else { continue };
                    let cut = steps.iter().rfind(|step| matches!(step, Step::Cut | Step::Close));
                    let stays = cut == Some(&Step::Cut);
                    assert_eq!(stays, (kind, verb) == (Switch::Relay, Verb::Off), "{kind:?} {verb}");
                    let spans = steps.iter().map(|step| match step {
                        Step::Press(_, span) | Step::Pause(span) | Step::AwaitDark(span) => *span,
                        Step::Cut | Step::Close => Duration::ZERO,
                    });
                    assert!(spans.sum::<Duration>() < Duration::from_secs(30), "{kind:?} {verb}");
                }
            }
        }
    }

    #[test]
    fn pins_are_of_the_header_and_stand_once() {
        let fine = GpioPower { reset_pin: Some(18), ..wired(Switch::Button, Some(22)) };
        assert_eq!(fine.check(), Ok(()));
        for (wrong, field) in [
            (GpioPower { pin: 1, ..fine.clone() }, "power_pin"),
            (GpioPower { pin: 28, ..fine.clone() }, "power_pin"),
            (GpioPower { reset_pin: Some(17), ..fine.clone() }, "reset_pin"),
            (GpioPower { led_pin: Some(18), ..fine.clone() }, "led_pin"),
            (GpioPower { led_pin: Some(200), ..fine }, "led_pin"),
        ] {
            assert_eq!(wrong.check().unwrap_err().0, field);
        }
    }

    #[test]
    fn every_verb_is_found_by_its_word() {
        assert!(Verb::ALL.iter().all(|verb| Verb::of_word(verb.word()) == Some(*verb)));
        assert_eq!(Verb::of_word("explode"), None);
    }
}
