//! The agent's life: greet the box, wait for orders, leave when told.

use crate::{
    console,
    crew::{Crew, Leave},
    http::HttpError,
    link::{Backoff, Link},
    machine::Machine,
};
use rackberry_core::{agent::Answer, text::CleanText};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Sender},
    },
    time::{Duration, Instant},
};

/// An answer that came sooner than this was not held; asking again at once would be a storm.
const TOO_SOON: Duration = Duration::from_secs(1);
/// For a person in front of the screen.
const READING_TIME: Duration = Duration::from_secs(5);

/// Serves the box until the machine is to restart or to go off; `idle` bounds the wait for a box that is away.
#[must_use]
pub fn run(link: Arc<Link>, machine: Machine, idle: Duration) -> Leave {
    let (leave, left) = mpsc::channel();
    let over = Arc::new(AtomicBool::new(false));
    let listener = Listener { crew: Crew::new(Arc::clone(&link), machine, leave.clone()), link, idle, leave };
    let done = Arc::clone(&over);
    // Polling has its own thread, as a run that ends in a restart must not wait for an answer that is held.
    let polling = std::thread::Builder::new().name("orders".to_owned()).spawn(move || listener.listen(&done));
    if let Err(error) = polling {
        console::say(&format!("Cannot start: {error}. Restarting."));
        return Leave::Restart;
    }
    let leave = left.recv().unwrap_or(Leave::Restart);
    over.store(true, Ordering::Relaxed);
    leave
}

struct Listener {
    link: Arc<Link>,
    crew: Arc<Crew>,
    idle: Duration,
    leave: Sender<Leave>,
}

impl Listener {
    fn listen(&self, over: &AtomicBool) {
        let mut backoff = Backoff::default();
        let (mut greeted, mut shown, mut complained) = (false, CleanText::default(), false);
        while !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let tried = if greeted { self.next(&mut shown) } else { self.greet().map(|()| Turn::Orders) };
            match tried {
                Ok(turn) => {
                    (greeted, complained) = (true, false);
                    backoff = Backoff::default();
                    if turn == Turn::Nothing {
                        std::thread::sleep(TOO_SOON.saturating_sub(asked.elapsed()));
                    }
                }
                Err(error) => {
                    // After 404 the box has to hear who we are before anything else.
                    greeted = greeted && error.status() != Some(404);
                    if !complained {
                        complained = true;
                        console::say(&format!("{}; trying again until the box answers.", console::chain(&error)));
                    }
                    self.give_up(&error);
                    backoff.wait();
                }
            }
        }
    }

    fn greet(&self) -> Result<(), HttpError> {
        let welcome = self.link.hello()?;
        console::say(&format!("this machine is {}. {}", welcome.name, welcome.message));
        if welcome.restart {
            console::say("The box has another version of this system; restarting from the network to get it.");
            std::thread::sleep(READING_TIME);
            self.leave(Leave::Restart);
        }
        Ok(())
    }

    /// Asks for orders and passes them on.
    fn next(&self, shown: &mut CleanText) -> Result<Turn, HttpError> {
        let (leave, message) = match self.link.next(self.crew.running())? {
            Answer::Wait { message } => {
                if message != *shown {
                    console::say(message.as_str());
                    *shown = message;
                }
                return Ok(Turn::Nothing);
            }
            Answer::Run { run, order } => {
                self.crew.order(run, *order);
                return Ok(Turn::Orders);
            }
            Answer::Stop { run } => {
                self.crew.stop(&run);
                return Ok(Turn::Orders);
            }
            Answer::ToDisk { message } | Answer::Restart { message } => (Leave::Restart, message),
            Answer::PowerOff { message } => (Leave::PowerOff, message),
        };
        // The box repeats itself until the runs under way are over.
        if self.crew.running().is_empty() {
            console::say(message.as_str());
            self.leave(leave);
        }
        Ok(Turn::Nothing)
    }

    /// Lets a machine that has a system go its way when the box stays away.
    fn give_up(&self, error: &HttpError) {
        if self.link.silence() < self.idle || !self.crew.running().is_empty() {
            return;
        }
        if error.status() == Some(404) {
            console::say("The box does not know this boot; restarting from the network.");
        } else if self.link.holds_system() {
            console::say(&format!("The box has not answered for {} s; restarting.", self.idle.as_secs()));
        } else {
            return;
        }
        self.leave(Leave::Restart);
    }

    fn leave(&self, leave: Leave) {
        // Nobody listens any more only when the agent is leaving already.
        let _ = self.leave.send(leave);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Orders,
    /// Whether held or not, asking again at once is not called for.
    Nothing,
}
