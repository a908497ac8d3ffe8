//! Relays and optocouplers on the box's own header, and the light that tells whether a machine is on.

use super::PowerError;
use crate::gpio::{Board, GpioError, Input, Output};
use rackberry_core::power::{Contact, GpioPower, PowerState, Step};
use std::time::{Duration, Instant};

/// A light counts from here on: one that blinks, once a second or faster, says neither.
const STEADY: Duration = Duration::from_millis(1200);
/// Between two looks at a light that has to go out.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Time and light, as a driver meets them.
pub(super) trait World {
    /// Lets time pass; [`PowerError::Stopped`] at once when the box stops.
    fn wait(&mut self, span: Duration) -> Result<(), PowerError>;
    /// What the machine's light says now.
    fn light(&self) -> PowerState;
}

/// The driven pins of one machine; let go, and at rest, when this falls.
#[derive(Debug)]
pub(super) struct Machine {
    power: Output,
    reset: Option<Output>,
    /// The level that presses or cuts.
    active: bool,
    cut: bool,
}

impl Machine {
    /// Takes the pins and puts them at rest: nothing is pressed, every supply is closed.
    ///
    /// # Errors
    /// [`GpioError`], also if something else has one of them.
    pub fn take(board: &Board, settings: &GpioPower) -> Result<Self, GpioError> {
        let active = settings.active.is_high();
        let power = board.output(settings.pin, !active)?;
        let reset = settings.reset_pin.map(|pin| board.output(pin, !active)).transpose()?;
        Ok(Machine { power, reset, active, cut: false })
    }

    /// Whether its supply is cut.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Takes the steps; whatever happens, no contact stays pressed.
    ///
    /// # Errors
    /// [`PowerError::StillOn`], [`PowerError::Stopped`], or a pin that cannot be driven.
    pub fn run(&mut self, steps: &[Step], world: &mut impl World) -> Result<(), PowerError> {
        for step in steps {
            match step {
                Step::Press(contact, span) => self.press(*contact, *span, world)?,
                Step::Cut => {
                    self.cut = true;
                    self.power.set(self.active)?;
                }
                Step::Close => {
                    self.power.set(!self.active)?;
                    self.cut = false;
                }
                Step::Pause(span) => world.wait(*span)?,
                Step::AwaitDark(limit) => {
                    let mut waited = Duration::ZERO;
                    while world.light() != PowerState::Off {
                        if waited >= *limit {
                            return Err(PowerError::StillOn);
                        }
                        world.wait(LOOK_EVERY)?;
                        waited += LOOK_EVERY;
                    }
                }
            }
        }
        Ok(())
    }

    fn press(&mut self, contact: Contact, span: Duration, world: &mut impl World) -> Result<(), PowerError> {
        let active = self.active;
        let pin = match contact {
            Contact::Power => &mut self.power,
            Contact::Reset => self.reset.as_mut().ok_or(rackberry_core::power::Refused::NoReset)?,
        };
        pin.set(active)?;
        let waited = world.wait(span);
        pin.set(!active)?;
        waited
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What lets a pin go may leave its level.
        let rest = !self.active;
        for pin in std::iter::once(&mut self.power).chain(&mut self.reset) {
            if let Err(error) = pin.set(rest) {
                tracing::error!(error = crate::chain(&error), "a power pin could not be put at rest");
            }
        }
    }
}

/// The light of one machine.
#[derive(Debug)]
pub(super) struct Light {
    input: Input,
    /// The level while the machine is on.
    active: bool,
    /// What was read last, and since when.
    last: Option<(bool, Instant)>,
}

impl Light {
    /// Takes its pin, if it has one.
    ///
    /// # Errors
    /// [`GpioError`], also if something else has it.
    pub fn take(board: &Board, settings: &GpioPower) -> Result<Option<Self>, GpioError> {
        let Some(pin) = settings.led_pin else { return Ok(None) };
        Ok(Some(Light { input: board.input(pin)?, active: settings.led_active.is_high(), last: None }))
    }

    /// Looks at it; what it says once it was steady for [`STEADY`].
    pub fn look(&mut self, now: Instant) -> PowerState {
        let Ok(level) = self.input.level() else {
            self.last = None;
            return PowerState::Unknown;
        };
        let since = match self.last {
            Some((last, since)) if last == level => since,
            _ => now,
        };
        self.last = Some((level, since));
        match (now.saturating_duration_since(since) >= STEADY, level == self.active) {
            (false, _) => PowerState::Unknown,
            (true, true) => PowerState::On,
            (true, false) => PowerState::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GpioBackend;
    use rackberry_core::power::{BETWEEN, CUT, LONG, Level, SHORT, Switch, Verb};
    use std::path::{Path, PathBuf};

    /// Pins as files, looked at whenever time passes.
    struct Bench {
        folder: PathBuf,
        pins: Vec<u8>,
        /// What the pins were, and for how long.
        seen: Vec<(String, Duration)>,
        /// When the light is out, in time that passed.
        dark_after: Option<Duration>,
        /// The box stops at this wait.
        stops_at: Option<usize>,
    }

    impl Bench {
        fn new(folder: &Path, pins: &[u8]) -> Self {
            Bench {
                folder: folder.join("gpio"),
                pins: pins.to_vec(),
                seen: Vec::new(),
                dark_after: None,
                stops_at: None,
            }
        }

        fn levels(&self) -> String {
            let level = |pin: &u8| std::fs::read_to_string(self.folder.join(pin.to_string())).unwrap_or("-".to_owned());
            self.pins.iter().map(level).collect()
        }
    }

    impl World for Bench {
        fn wait(&mut self, span: Duration) -> Result<(), PowerError> {
            self.seen.push((self.levels(), span));
            if self.stops_at == Some(self.seen.len()) { Err(PowerError::Stopped) } else { Ok(()) }
        }

        fn light(&self) -> PowerState {
            let passed: Duration = self.seen.iter().map(|(_, span)| *span).sum();
            match self.dark_after {
                Some(after) if passed >= after => PowerState::Off,
                _ => PowerState::On,
            }
        }
    }

    fn button(active: Level) -> GpioPower {
        GpioPower { pin: 17, kind: Switch::Button, active, reset_pin: Some(18), led_pin: None, led_active: Level::Low }
    }

    fn machine(folder: &Path, settings: &GpioPower) -> Machine {
        Machine::take(&Board::open(GpioBackend::Files, 0, folder).unwrap(), settings).unwrap()
    }

    /// What the pins did for one verb; their levels at the end too.
    fn play(settings: &GpioPower, verb: Verb) -> (Vec<(String, Duration)>, String) {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = machine(folder.path(), settings);
        let mut bench = Bench::new(folder.path(), &[17, 18]);
        let steps = settings.plan(verb, PowerState::Unknown).unwrap();
        machine.run(&steps, &mut bench).unwrap();
        let end = bench.levels();
        (bench.seen, end)
    }

    fn spans(list: &[(&str, Duration)]) -> Vec<(String, Duration)> {
        list.iter().map(|(levels, span)| ((*levels).to_owned(), *span)).collect()
    }

    #[test]
    fn a_press_is_as_long_as_it_is_called_and_ends() {
        let wired = button(Level::High);
        assert_eq!(play(&wired, Verb::On), (spans(&[("10", SHORT)]), "00".to_owned()));
        assert_eq!(play(&wired, Verb::Short), (spans(&[("10", SHORT)]), "00".to_owned()));
        assert_eq!(play(&wired, Verb::Off), (spans(&[("10", LONG)]), "00".to_owned()));
        assert_eq!(play(&wired, Verb::Long), (spans(&[("10", LONG)]), "00".to_owned()));
        assert_eq!(play(&wired, Verb::Reset), (spans(&[("01", SHORT)]), "00".to_owned()), "the other pin");
        let cycle = spans(&[("10", LONG), ("00", BETWEEN), ("10", SHORT)]);
        assert_eq!(play(&wired, Verb::Cycle), (cycle, "00".to_owned()));
    }

    #[test]
    fn active_low_is_the_same_upside_down() {
        let wired = button(Level::Low);
        assert_eq!(play(&wired, Verb::On), (spans(&[("01", SHORT)]), "11".to_owned()));
        assert_eq!(play(&wired, Verb::Reset), (spans(&[("10", SHORT)]), "11".to_owned()));
        let relay = GpioPower { kind: Switch::Relay, ..wired };
        assert_eq!(play(&relay, Verb::Cycle), (spans(&[("01", CUT)]), "11".to_owned()));
    }

    #[test]
    fn a_relay_that_is_off_stays_so_until_it_is_on_again() {
        let folder = tempfile::tempdir().unwrap();
        let wired = GpioPower { kind: Switch::Relay, ..button(Level::High) };
        let mut machine = machine(folder.path(), &wired);
        let mut bench = Bench::new(folder.path(), &[17]);
        assert_eq!((bench.levels().as_str(), machine.is_cut()), ("0", false));
        for (verb, level, cut) in [(Verb::Off, "1", true), (Verb::Off, "1", true), (Verb::On, "0", false)] {
            machine.run(&wired.plan(verb, PowerState::Unknown).unwrap(), &mut bench).unwrap();
            assert_eq!((bench.levels().as_str(), machine.is_cut()), (level, cut), "{verb}");
        }
        drop(machine);
        assert_eq!(bench.levels(), "-", "let go");
    }

    #[test]
    fn a_cycle_goes_on_when_the_light_is_out_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let wired = GpioPower { led_pin: Some(22), ..button(Level::High) };
        let steps = wired.plan(Verb::Cycle, PowerState::On).unwrap();
        let mut machine = machine(folder.path(), &wired);
        let dark = LONG + LOOK_EVERY * 3;
        let mut bench = Bench { dark_after: Some(dark), ..Bench::new(folder.path(), &[17]) };
        machine.run(&steps, &mut bench).unwrap();
        let looks = [("0", LOOK_EVERY); 3];
        let whole = [&[("1", LONG)], &looks[..], &[("0", BETWEEN), ("1", SHORT)]].concat();
        assert_eq!(bench.seen, spans(&whole));
        let mut bench = Bench::new(folder.path(), &[17]);
        assert!(matches!(machine.run(&steps, &mut bench), Err(PowerError::StillOn)));
        let pressed: Vec<_> = bench.seen.iter().filter(|(levels, _)| levels == "1").collect();
        assert_eq!(pressed, [&("1".to_owned(), LONG)], "a machine that does not go off is not pressed on");
    }

    #[test]
    fn a_box_that_stops_lets_go_of_what_it_presses() {
        let folder = tempfile::tempdir().unwrap();
        let wired = button(Level::Low);
        let mut machine = machine(folder.path(), &wired);
        let mut bench = Bench { stops_at: Some(1), ..Bench::new(folder.path(), &[17]) };
        let steps = wired.plan(Verb::Off, PowerState::Unknown).unwrap();
        assert!(matches!(machine.run(&steps, &mut bench), Err(PowerError::Stopped)));
        assert_eq!((bench.seen.len(), bench.levels().as_str()), (1, "1"));
    }

    #[test]
    fn pins_are_put_at_rest_whatever_they_were_left_as() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gpio/17");
        std::fs::create_dir(folder.path().join("gpio")).unwrap();
        for (active, left, rest) in [(Level::High, "1", "0"), (Level::Low, "0", "1")] {
            std::fs::write(&file, left).unwrap();
            let machine = machine(folder.path(), &button(active));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), rest);
            drop(machine);
        }
    }

    #[test]
    fn a_light_counts_once_it_is_steady_and_one_that_blinks_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let board = Board::open(GpioBackend::Files, 0, folder.path()).unwrap();
        let file = folder.path().join("gpio/22");
        let wired = GpioPower { led_pin: Some(22), ..button(Level::High) };
        let (mut light, began) = (Light::take(&board, &wired).unwrap().unwrap(), Instant::now());
        let mut at = began;
        let mut look = |text: &str, span_ms: u64| {
            std::fs::write(&file, text).unwrap();
            let mut said = Vec::new();
            for _ in 0..span_ms / 100 {
                at += Duration::from_millis(100);
                said.push(light.look(at));
            }
            said.dedup();
            said
        };
        assert_eq!(look("0", 3000), [PowerState::Unknown, PowerState::On], "low is lit");
        assert_eq!(look("1", 3000), [PowerState::Unknown, PowerState::Off]);
        for _ in 0..5 {
            assert_eq!(look("0", 500), [PowerState::Unknown]);
            assert_eq!(look("1", 500), [PowerState::Unknown]);
        }
        assert!(Light::take(&board, &button(Level::High)).unwrap().is_none());
    }
}
