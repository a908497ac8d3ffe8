//! The box as the agent speaks to it: three messages, each repeated until it is answered.

use crate::{
    console,
    http::{Client, HttpError},
};
use rackberry_core::agent::{Answer, Hello, News, Next, Received, Report, Run, Welcome};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The box holds a `next` for 25 s.
const LONG_POLL: Duration = Duration::from_secs(40);
const SHORT: Duration = Duration::from_secs(10);
/// Telemetry that takes longer is worth nothing.
const FLEETING: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Waiting times between tries: they double from half a second to five.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(FIRST_PAUSE)
    }
}

impl Backoff {
    /// Sleeps, longer each time.
    pub fn wait(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// What the box makes of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Taken, and durable there.
    Taken,
    /// The run is over for the box: stop it.
    NotWanted,
}

/// One box, one boot.
#[derive(Debug)]
pub struct Link {
    client: Client,
    url: String,
    hello: Hello,
    heard: Mutex<Instant>,
}

impl Link {
    /// Speaks to the box at `url` as the machine that `hello` describes.
    #[must_use]
    pub fn new(client: Client, url: String, hello: Hello) -> Self {
        Link { client, url, hello, heard: Mutex::new(Instant::now()) }
    }

    /// The client, for downloads.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How long ago the box said anything.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Whether some disk holds a system that the machine could start without the box.
    #[must_use]
    pub fn holds_system(&self) -> bool {
        self.hello.facts.holds_system()
    }

    /// Introduces this machine, once.
    ///
    /// # Errors
    /// [`HttpError`] unless the box welcomes it.
    pub fn hello(&self) -> Result<Welcome, HttpError> {
        self.post("hello", &self.hello, SHORT)
    }

    /// Asks what to do; answered within 25 s.
    ///
    /// # Errors
    /// [`HttpError`]; status 404 means that the box does not know this boot.
    pub fn next(&self, running: Vec<Run>) -> Result<Answer, HttpError> {
        self.post("next", &Next { token: self.hello.token.clone(), running }, LONG_POLL)
    }

    /// Reports until the box has answered, however long it is away; a `stop` that gets set counts as not wanted.
    pub fn insist(&self, news: &News, stop: &AtomicBool) -> Verdict {
        let mut backoff = Backoff::default();
        let mut complained = false;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Verdict::NotWanted;
            }
            let error = match self.report(news, SHORT) {
                Ok(Received { stop: false }) => return Verdict::Taken,
                Ok(Received { stop: true }) => return Verdict::NotWanted,
                Err(error) => error,
            };
            match error.status() {
                Some(409) => return Verdict::NotWanted,
                Some(404) => {
                    // It may have lost this boot; if the greeting fails too, the next report tells.
                    let _ = self.hello();
                }
                Some(_) | None if !complained => {
                    complained = true;
                    console::say(&format!("{}; trying again until the box answers.", console::chain(&error)));
                }
                Some(_) | None => {}
            }
            backoff.wait();
        }
    }

    /// Reports once, without caring whether it arrives; true if the box wants the run stopped.
    pub fn mention(&self, news: &News) -> bool {
        match self.report(news, FLEETING) {
            Ok(received) => received.stop,
            Err(error) => error.status() == Some(409),
        }
    }

    fn report(&self, news: &News, timeout: Duration) -> Result<Received, HttpError> {
        self.post("report", &Report { token: self.hello.token.clone(), news: news.clone() }, timeout)
    }

    fn post<M, A>(&self, message: &str, body: &M, timeout: Duration) -> Result<A, HttpError>
    where
        M: serde::Serialize,
        A: serde::de::DeserializeOwned,
    {
        let answer = self.client.post(&format!("{}/agent/v1/{message}", self.url), body, timeout);
        // A refusal is a sign of life as well, but a box that knows nothing of this boot will never give it orders.
        if !matches!(&answer, Err(error) if error.status().is_none_or(|status| status == 404)) {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        answer
    }
}
