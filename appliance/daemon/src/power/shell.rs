//! The task that owns every machine's driver, and lends it out for one action at a time.

use super::{
    Ask, Power, PowerError, Seen, Standing, Ticket,
    gpio::{Light, Machine},
    ticket::Back,
};
use crate::{
    config::Config,
    gpio::Board,
    inventory::{Inventory, Snapshot},
};
use rackberry_core::{
    event::Actor,
    id::HostId,
    power::{GpioPower, Power as Settings, PowerState, Verb},
    text::CleanText,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, mpsc as threads},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// Between two looks at the machines' lights.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Requests that wait for the task.
const WAITING: usize = 32;
/// The alarm about pins that two want.
pub(super) const ALARM: &str = "power-pins";

/// The task's own: every machine whose power is switched from here.
pub struct Shell {
    config: Arc<Config>,
    state_dir: Arc<PathBuf>,
    inventory: Inventory,
    board: Option<Board>,
    slots: BTreeMap<HostId, Slot>,
    asks: mpsc::Receiver<Ask>,
    back: mpsc::UnboundedReceiver<Back>,
    bring: mpsc::UnboundedSender<Back>,
    seen: watch::Sender<Seen>,
    /// What the alarm says, if it was raised or settled by us.
    told: Option<Vec<String>>,
}

struct Slot {
    settings: GpioPower,
    place: Place,
    light: Option<Light>,
}

/// Where a machine's driver is.
enum Place {
    Here(Machine),
    /// With the thread that acts; it ends early when the sender falls.
    Away {
        verb: Verb,
        _stop: threads::Sender<()>,
    },
    None(String),
}

/// Takes every pin that the stored hosts name and puts it at rest, whatever a box that was killed left it as.
///
/// Nothing is opened where no host names any.
#[must_use]
pub fn new(config: Arc<Config>, state_dir: Arc<PathBuf>, inventory: Inventory) -> (Power, Shell) {
    let (ask, asks) = mpsc::channel(WAITING);
    let (bring, back) = mpsc::unbounded_channel();
    let (seen, look) = watch::channel(Seen::default());
    let slots = BTreeMap::new();
    let mut shell = Shell { config, state_dir, inventory, board: None, slots, asks, back, bring, seen, told: None };
    shell.follow(&shell.inventory.snapshot());
    (Power { asks: ask, seen: look }, shell)
}

/// Serves requests until `stop` turns true; then whatever is pressed is let go, and every pin with it.
pub async fn run(mut shell: Shell, mut stop: watch::Receiver<bool>) {
    let mut snapshots = shell.inventory.subscribe();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        shell.follow(&snapshot);
        shell.look();
        shell.alarm().await;
        let lit = shell.slots.values().any(|slot| slot.light.is_some());
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            // First who comes back: who was told that it is over may ask again at once.
            back = shell.back.recv() => if let Some(back) = back { shell.take_back(back) },
            ask = shell.asks.recv() => match ask {
                Some(ask) => shell.answer(ask),
                None => break,
            },
            changed = snapshots.changed() => if changed.is_err() { break },
            _ = tick.tick(), if lit => {}
        }
    }
    shell.end().await;
}

impl Shell {
    /// Takes and lets go of pins as the hosts' settings say.
    fn follow(&mut self, snapshot: &Snapshot) {
        let wanted: BTreeMap<HostId, (String, GpioPower)> = snapshot
            .hosts_with_pins()
            .filter_map(|entry| {
                let Settings::Gpio(settings) = entry.host.power.clone()?;
                Some((entry.host.id, (entry.host.name.to_string(), settings)))
            })
            .collect();
        // What is away comes back first, and then this is done again.
        self.slots.retain(|host, slot| {
            let same = wanted.get(host).is_some_and(|(_, settings)| *settings == slot.settings);
            same || matches!(slot.place, Place::Away { .. })
        });
        for (host, (name, settings)) in wanted {
            // Whoever was told of a lost pin is given it only once something changed; who waits for one, when it is free.
            let settled = self.slots.get(&host).is_some_and(|slot| !slot.waits());
            if settled {
                continue;
            }
            let slot = if self.in_use(&settings, host) {
                Slot { settings, place: Place::None(LINGERS.to_owned()), light: None }
            } else {
                self.take(&name, settings)
            };
            self.slots.insert(host, slot);
        }
    }

    /// Whether a pin is with the action of a host that had it before.
    fn in_use(&self, settings: &GpioPower, host: HostId) -> bool {
        let others = self.slots.iter().filter(|(other, _)| **other != host);
        others
            .filter(|(_, slot)| !matches!(slot.place, Place::None(_)))
            .any(|(_, slot)| slot.settings.pins().any(|(_, theirs)| settings.pins().any(|(_, ours)| ours == theirs)))
    }

    fn take(&mut self, name: &str, settings: GpioPower) -> Slot {
        match self.open(name, &settings) {
            Ok((machine, light)) => Slot { settings, place: Place::Here(machine), light },
            Err(why) => {
                tracing::warn!(host = name, why, "its power cannot be switched");
                Slot { settings, place: Place::None(why), light: None }
            }
        }
    }

    fn open(&mut self, name: &str, settings: &GpioPower) -> Result<(Machine, Option<Light>), String> {
        settings.check().map_err(|(_, sentence)| sentence)?;
        for (setting, pin) in settings.pins() {
            if let Some(user) = self.config.oled.pin_user(pin) {
                return Err(format!("GPIO {pin} is {setting} of {name} and {user} at once"));
            }
        }
        let board = match &self.board {
            Some(board) => board,
            None => {
                let opened = Board::open(self.config.gpio, self.config.gpio_chip, &self.state_dir);
                self.board.insert(opened.map_err(|error| crate::chain(&error))?)
            }
        };
        let taken = Machine::take(board, settings).and_then(|machine| Ok((machine, Light::take(board, settings)?)));
        taken.map_err(|error| crate::chain(&error))
    }

    /// Looks at every light, and tells what is new.
    fn look(&mut self) {
        let now = Instant::now();
        let standings = self.slots.iter_mut().map(|(host, slot)| (*host, slot.standing(now)));
        let seen: BTreeMap<HostId, Standing> = standings.collect();
        self.seen.send_if_modified(|known| {
            let new = **known != seen;
            if new {
                *known = Arc::new(seen);
            }
            new
        });
    }

    fn answer(&mut self, ask: Ask) {
        let Ask { host, verb, answer } = ask;
        // Settings that were stored a moment ago count.
        self.follow(&self.inventory.snapshot());
        self.look();
        let reserved = self.reserve(host, verb);
        if let Err(Ok(ticket)) = answer.send(reserved) {
            // Who asked went away; the machine comes back by itself.
            drop(ticket);
        }
    }

    fn reserve(&mut self, host: HostId, verb: Verb) -> Result<Ticket, PowerError> {
        let light = self.seen.borrow().get(&host).map_or(PowerState::Unknown, |standing| standing.state);
        let slot = self.slots.get_mut(&host).ok_or(PowerError::NoDriver)?;
        match &slot.place {
            Place::None(why) => return Err(PowerError::NoPins(why.clone())),
            Place::Away { verb, .. } => return Err(PowerError::Busy(*verb)),
            Place::Here(_) => {}
        }
        let steps = slot.settings.plan(verb, light)?;
        let how = slot.settings.how(verb);
        let (keep, stop) = threads::channel();
        let away = Place::Away { verb, _stop: keep };
        let machine = match std::mem::replace(&mut slot.place, away) {
            Place::Here(machine) => Some(machine),
            Place::None(_) | Place::Away { .. } => None,
        };
        self.look();
        Ok(Ticket { how, host, steps, machine, back: self.bring.clone(), seen: self.seen.subscribe(), stop })
    }

    fn take_back(&mut self, back: Back) {
        let Back { host, machine, told } = back;
        if let Some(slot) = self.slots.get_mut(&host) {
            slot.place = Place::Here(machine);
        }
        self.look();
        if let Some((tell, done)) = told {
            let _ = tell.send(done);
        }
    }

    /// An alarm while a host's pin is somebody else's by the settings of the box.
    async fn alarm(&mut self) {
        let troubles = self.slots.values().filter_map(|slot| match &slot.place {
            Place::None(why) if !slot.waits() => Some(why.clone()),
            Place::None(_) | Place::Here(_) | Place::Away { .. } => None,
        });
        let troubles: Vec<String> = troubles.collect();
        if self.told.as_ref() == Some(&troubles) {
            return;
        }
        let text = troubles.first().map(|first| {
            let more =
                if troubles.len() > 1 { format!(" So it is with {} more.", troubles.len() - 1) } else { String::new() };
            CleanText::new(&format!("The power of a host cannot be switched: {first}.{more}"))
        });
        let done = self
            .inventory
            .transact(move |tx| match text {
                Some(text) => tx.raise_alarm(ALARM, None, text),
                None => tx.settle_alarm(ALARM, Actor::Box).map(|_| ()),
            })
            .await;
        match done {
            Ok(()) => self.told = Some(troubles),
            Err(error) => {
                tracing::error!(error = crate::chain(&error), "the alarm about power pins could not be stored");
                // Not again and again.
                self.told = Some(troubles);
            }
        }
    }

    /// Ends what is under way, and lets go of every pin.
    async fn end(mut self) {
        self.asks.close();
        let away = self.slots.values().filter(|slot| matches!(slot.place, Place::Away { .. })).count();
        // Their senders fall with them.
        self.slots.clear();
        for _ in 0..away {
            if let Some(Back { machine, told, .. }) = self.back.recv().await {
                drop(machine);
                if let Some((tell, done)) = told {
                    let _ = tell.send(done);
                }
            }
        }
    }
}

/// Why a host that was given another's pin waits for it.
const LINGERS: &str = "the host that had one of them before is still being switched";

impl Slot {
    /// Whether it is to have pins that another host's action still works.
    fn waits(&self) -> bool {
        matches!(&self.place, Place::None(why) if why == LINGERS)
    }

    fn standing(&mut self, now: Instant) -> Standing {
        let has_light = self.light.is_some();
        let lit = self.light.as_mut().map_or(PowerState::Unknown, |light| light.look(now));
        match &self.place {
            Place::Here(machine) if machine.is_cut() => {
                Standing { state: PowerState::Off, cut: true, has_light, ..Standing::default() }
            }
            Place::Here(_) => Standing { state: lit, has_light, ..Standing::default() },
            Place::Away { verb, .. } => Standing { state: lit, has_light, busy: Some(*verb), ..Standing::default() },
            Place::None(why) => Standing { trouble: Some(why.clone()), ..Standing::default() },
        }
    }
}
