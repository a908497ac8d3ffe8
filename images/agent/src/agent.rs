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
                let new = self.crew.order(run, *order);
                return Ok(if new { Turn::Orders } else { Turn::Nothing });
            }
            Answer::Stop { run } => {
                // It takes a moment to stop, and until then the box may say the same again.
                self.crew.stop(&run);
                return Ok(Turn::Nothing);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::Client,
        testing::{self, Reply, Server},
    };
    use rackberry_core::{
        agent::{Run, Welcome},
        event::TaskName,
        id::InstallId,
        image::{Compression, Digest},
        task::TaskOrder,
    };
    use serde_json::{Value, json};
    use sha2::{Digest as _, Sha256};
    use std::sync::Mutex;

    const DISK: u64 = 4 << 20;

    fn run_named(task: &str) -> Run {
        Run { install: InstallId(uuid::Uuid::nil()), task: TaskName::from(task), attempt: 1 }
    }

    fn welcome() -> Value {
        let message = "Waiting.".into();
        json!(Welcome { protocol: 1, name: "node-01".into(), message, restart: false })
    }

    fn serve(server: &Server, machine: Machine, idle: Duration) -> Leave {
        let link = Arc::new(Link::new(Client::default(), server.url(), testing::hello()));
        run(link, machine, idle)
    }

    #[test]
    fn an_order_is_done_once_although_orders_are_repeated_and_answers_lost() {
        let folder = tempfile::tempdir().unwrap();
        let machine = testing::machine_with_disk(folder.path(), DISK);
        let image = Arc::new(testing::Dice(5).bytes(1_000_000));
        let digest = Digest(Sha256::digest(image.as_slice()).into());
        let log = Arc::new(Mutex::new(Vec::<String>::new()));
        let (seen, mut asked, mut reports, base) = (Arc::clone(&log), 0, 0, Arc::new(Mutex::new(String::new())));
        let url = Arc::clone(&base);
        let server = Server::start(move |request| {
            let mut seen = seen.lock().unwrap();
            match request.path.as_str() {
                "/image" => {
                    seen.push("image".to_owned());
                    Reply::File { bytes: Arc::clone(&image), cut: usize::MAX }
                }
                "/agent/v1/hello" => {
                    seen.push("hello".to_owned());
                    Reply::Json(200, welcome())
                }
                "/agent/v1/next" => {
                    asked += 1;
                    let done = |what: &str| seen.iter().any(|line| line == what);
                    let (task, order) = if done("done write kept") {
                        ("restart", TaskOrder::Restart {})
                    } else {
                        let url = format!("{}/image", url.lock().unwrap());
                        let (compression, size_bytes) = (Compression::None, image.len() as u64);
                        let disk = testing::target(DISK);
                        let raw_bytes = None;
                        let order = TaskOrder::WriteImage {
                            url,
                            digest,
                            compression,
                            size_bytes,
                            raw_bytes,
                            disk,
                            grow: false,
                        };
                        ("write", order)
                    };
                    match asked {
                        2 => Reply::Nothing,
                        3 => Reply::Json(404, json!({})),
                        _ => Reply::Json(200, json!(Answer::Run { run: run_named(task), order: Box::new(order) })),
                    }
                }
                _ => {
                    let report = request.json();
                    let news = report["news"].as_str().unwrap();
                    if !matches!(news, "started" | "done") {
                        return Reply::Json(200, json!({}));
                    }
                    reports += 1;
                    let task = report["run"]["task"].as_str().unwrap();
                    // Taken, but the answer is lost; unknown for a moment; then all is well.
                    let (word, reply) = match reports % 3 {
                        1 => ("lost", Reply::Nothing),
                        2 => ("unknown", Reply::Json(404, json!({}))),
                        _ => ("kept", Reply::Json(200, json!({}))),
                    };
                    seen.push(format!("{news} {task} {word}"));
                    reply
                }
            }
        });
        *base.lock().unwrap() = server.url();
        assert_eq!(serve(&server, machine, Duration::from_secs(60)), Leave::Restart);
        let log = log.lock().unwrap();
        let count = |what: &str| log.iter().filter(|line| line.as_str() == what).count();
        assert_eq!(count("image"), 1, "{log:?}");
        assert_eq!(count("started write kept"), 1, "{log:?}");
        assert_eq!(count("done restart kept"), 1, "{log:?}");
        let place = |what: &str| log.iter().position(|line| line == what).unwrap();
        assert!(place("started write kept") < place("image") && place("image") < place("done write kept"));
        assert_eq!(
            log.last().map(String::as_str),
            Some("done restart kept"),
            "left before the box had written it down"
        );
        assert!(count("hello") >= 2, "after 404 the box was not greeted: {log:?}");
    }

    #[test]
    fn a_stopped_run_ends_without_a_report() {
        let folder = tempfile::tempdir().unwrap();
        let machine = testing::machine_with_disk(folder.path(), DISK);
        let (log, base) = (Arc::new(Mutex::new(Vec::<String>::new())), Arc::new(Mutex::new(String::new())));
        let (seen, url) = (Arc::clone(&log), Arc::clone(&base));
        let server = Server::start(move |request| {
            let mut seen = seen.lock().unwrap();
            match request.path.as_str() {
                // Always one byte more, so that only the stop ends it.
                "/image" => {
                    seen.push("image".to_owned());
                    Reply::File { bytes: Arc::new(vec![1; 1 << 20]), cut: 1 }
                }
                "/agent/v1/hello" => Reply::Json(200, welcome()),
                "/agent/v1/next" => {
                    let next = request.json();
                    let running = !next["running"].as_array().unwrap().is_empty();
                    let order = TaskOrder::WriteImage {
                        url: format!("{}/image", url.lock().unwrap()),
                        digest: Digest([0; 32]),
                        compression: Compression::None,
                        size_bytes: 1 << 20,
                        raw_bytes: None,
                        disk: testing::target(DISK),
                        grow: false,
                    };
                    let begun = seen.iter().any(|line| line == "image");
                    let stopped = seen.iter().any(|line| line == "stop");
                    let answer = match (begun, running) {
                        (true, true) => {
                            seen.push("stop".to_owned());
                            Answer::Stop { run: run_named("write") }
                        }
                        (_, false) if stopped => Answer::PowerOff { message: "Off.".into() },
                        (_, false) => Answer::Run { run: run_named("write"), order: Box::new(order) },
                        (false, true) => Answer::Wait { message: "".into() },
                    };
                    Reply::Json(200, json!(answer))
                }
                _ => {
                    seen.push(request.json()["news"].as_str().unwrap().to_owned());
                    Reply::Json(200, json!({}))
                }
            }
        });
        *base.lock().unwrap() = server.url();
        assert_eq!(serve(&server, machine, Duration::from_secs(60)), Leave::PowerOff);
        let log = log.lock().unwrap();
        assert!(!log.iter().any(|line| line == "done" || line == "failed"), "{log:?}");
    }

    #[test]
    fn a_machine_with_a_system_does_not_wait_for_a_box_for_ever() {
        let server = Server::start(|_| Reply::Nothing);
        let mut hello = testing::hello();
        let folder = tempfile::tempdir().unwrap();
        let machine = testing::machine_with_disk(folder.path(), DISK);
        let mut disk = crate::facts::disks::read(&machine, "sda").unwrap();
        disk.content.system = Some("Debian".into());
        hello.facts.disks = vec![disk];
        let link = Arc::new(Link::new(Client::default(), server.url(), hello));
        assert_eq!(run(link, machine, Duration::from_millis(100)), Leave::Restart);
    }
}
