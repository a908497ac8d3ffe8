//! Presses and holds, told apart from levels that bounce. Pure: levels and the time in, events out.

use std::time::Duration;

/// A contact that has been still for this long has stopped bouncing.
const BOUNCE: Duration = Duration::from_millis(30);
/// From here on the display says what a hold will do.
const TOLD: Duration = Duration::from_secs(1);
/// Holding the button for this long switches the machine off.
pub const OFF_HOLD: Duration = Duration::from_secs(3);
/// Holding the button for this long marks a factory reset.
pub const RESET_HOLD: Duration = Duration::from_secs(10);

/// What a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ButtonEvent {
    NextPage,
    /// Yes to what the display asks.
    Confirm,
    /// Still held; so much of it is done, 0 to 99.
    Holding {
        what: Hold,
        percent: u8,
    },
    /// Let go before it was done.
    LetGo,
    SwitchOff,
    FactoryReset,
}

/// What a hold does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    SwitchOff,
    FactoryReset,
}

impl Hold {
    /// As the display names it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Hold::SwitchOff => "Switch off",
            Hold::FactoryReset => "Factory reset",
        }
    }

    fn span(self) -> Duration {
        match self {
            Hold::SwitchOff => OFF_HOLD,
            Hold::FactoryReset => RESET_HOLD,
        }
    }

    fn done(self) -> ButtonEvent {
        match self {
            Hold::SwitchOff => ButtonEvent::SwitchOff,
            Hold::FactoryReset => ButtonEvent::FactoryReset,
        }
    }
}

/// Levels of all buttons at one moment; true is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels {
    pub next: bool,
    pub confirm: bool,
    pub off: bool,
}

/// The buttons of the box.
#[derive(Debug, Default)]
pub struct Buttons {
    next: Button,
    confirm: Button,
    off: Button,
}

impl Buttons {
    /// What the levels at `now`, since any moment, mean.
    pub fn read(&mut self, levels: Levels, now: Duration) -> Vec<ButtonEvent> {
        let mut events = Vec::new();
        events.extend(self.next.read(levels.next, now, Some(ButtonEvent::NextPage), Some(Hold::FactoryReset)));
        events.extend(self.confirm.read(levels.confirm, now, Some(ButtonEvent::Confirm), None));
        events.extend(self.off.read(levels.off, now, None, Some(Hold::SwitchOff)));
        events
    }
}

/// One contact.
#[derive(Debug, Default)]
struct Button {
    /// The last level that was read, and since when.
    level: bool,
    since: Duration,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Up,
    /// Since when, and what was last told of the hold.
    Down(Duration, Option<u8>),
    /// Its hold is done; nothing more comes of it until it is up again.
    Spent,
}

impl Button {
    fn read(
        &mut self,
        level: bool,
        now: Duration,
        press: Option<ButtonEvent>,
        hold: Option<Hold>,
    ) -> Option<ButtonEvent> {
        if level != self.level {
            self.level = level;
            self.since = now;
        }
        if now.saturating_sub(self.since) < BOUNCE {
            return None;
        }
        match (self.phase, level) {
            (Phase::Up, false) | (Phase::Spent, true) => None,
            (Phase::Up, true) => {
                self.phase = Phase::Down(self.since, None);
                // A yes counts when it is pressed, not when it is let go.
                press.filter(|_| hold.is_none())
            }
            (Phase::Spent, false) => {
                self.phase = Phase::Up;
                None
            }
            (Phase::Down(_, told), false) => {
                self.phase = Phase::Up;
                match (hold, told) {
                    (None, _) => None,
                    (Some(_), Some(_)) => Some(ButtonEvent::LetGo),
                    (Some(_), None) => press,
                }
            }
            (Phase::Down(since, told), true) => self.held(hold?, since, told, now),
        }
    }

    fn held(&mut self, hold: Hold, since: Duration, told: Option<u8>, now: Duration) -> Option<ButtonEvent> {
        let held = now.saturating_sub(since);
        if held >= hold.span() {
            self.phase = Phase::Spent;
            return Some(hold.done());
        }
        // Told in steps that a bar of the display can show.
        let percent = u8::try_from(held.as_millis() * 100 / hold.span().as_millis().max(1)).unwrap_or(99) / 5 * 5;
        if held < TOLD || told == Some(percent) {
            return None;
        }
        self.phase = Phase::Down(since, Some(percent));
        Some(ButtonEvent::Holding { what: hold, percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: Levels = Levels { next: true, confirm: false, off: false };
    const OFF: Levels = Levels { next: false, confirm: false, off: true };
    const CONFIRM: Levels = Levels { next: false, confirm: true, off: false };
    const NONE: Levels = Levels { next: false, confirm: false, off: false };

    /// Reads the levels every 10 ms, each pair of levels and milliseconds in turn.
    fn play(course: &[(Levels, u64)]) -> Vec<(u64, ButtonEvent)> {
        let (mut buttons, mut at, mut events) = (Buttons::default(), 0, Vec::new());
        for (levels, span) in course {
            for _ in 0..span / 10 {
                at += 10;
                events.extend(buttons.read(*levels, Duration::from_millis(at)).into_iter().map(|event| (at, event)));
            }
        }
        events
    }

    fn deeds(course: &[(Levels, u64)]) -> Vec<ButtonEvent> {
        let events = play(course).into_iter().map(|(_, event)| event);
        events.filter(|event| !matches!(event, ButtonEvent::Holding { .. })).collect()
    }

    #[test]
    fn a_contact_that_bounces_is_one_press() {
        let mut course = vec![(NONE, 100)];
        for _ in 0..20 {
            course.extend([(NEXT, 10), (NONE, 10)]);
        }
        course.push((NEXT, 100));
        for _ in 0..20 {
            course.extend([(NONE, 10), (NEXT, 20)]);
        }
        course.push((NONE, 200));
        assert_eq!(deeds(&course), [ButtonEvent::NextPage]);
        assert_eq!(deeds(&[(NEXT, 20), (NONE, 500)]), [], "a spark is none");
    }

    #[test]
    fn each_press_turns_one_page() {
        assert_eq!(deeds(&[(NEXT, 80), (NONE, 80), (NEXT, 900), (NONE, 80)]), [ButtonEvent::NextPage; 2]);
    }

    #[test]
    fn ten_seconds_mark_a_reset_and_one_less_does_nothing() {
        assert_eq!(deeds(&[(NEXT, 9_900), (NONE, 200)]), [ButtonEvent::LetGo]);
        assert_eq!(deeds(&[(NEXT, 30_000), (NONE, 200)]), [ButtonEvent::FactoryReset], "once, and no page turns");
        let first = play(&[(NEXT, 30_000)]).into_iter().find(|(_, event)| *event == ButtonEvent::FactoryReset);
        assert!(first.is_some_and(|(at, _)| at >= 10_000));
    }

    #[test]
    fn three_seconds_switch_off_and_a_touch_does_nothing() {
        assert_eq!(deeds(&[(OFF, 500), (NONE, 200)]), []);
        assert_eq!(deeds(&[(OFF, 2_900), (NONE, 200)]), [ButtonEvent::LetGo]);
        assert_eq!(deeds(&[(OFF, 9_000), (NONE, 200)]), [ButtonEvent::SwitchOff]);
    }

    #[test]
    fn a_hold_is_told_while_it_lasts() {
        let told: Vec<u8> = play(&[(OFF, 3_500)])
            .into_iter()
            .filter_map(|(_, event)| match event {
                ButtonEvent::Holding { what: Hold::SwitchOff, percent } => Some(percent),
                _ => None,
            })
            .collect();
        assert!(told.len() > 10 && told.is_sorted() && told.last() == Some(&95), "{told:?}");
    }

    #[test]
    fn a_yes_counts_once_when_it_is_pressed() {
        assert_eq!(play(&[(CONFIRM, 30_000)]).len(), 1);
        assert_eq!(deeds(&[(CONFIRM, 100), (NONE, 100), (CONFIRM, 100)]), [ButtonEvent::Confirm; 2]);
    }
}
