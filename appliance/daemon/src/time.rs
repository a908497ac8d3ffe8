//! The time of day, which is only shown: asked of time servers (SNTP, RFC 4330), and on the SD card set by them.
//!
//! | module | one sentence |
//! |---|---|
//! | `packet` | question and answer as bytes |
//! | `choice` | whom to believe |
//! | `ask` | one server asked a few times |
//! | `serve` | the box asked by hosts, once its own time is known |
//! | `helper` | root's process that sets the card's clock, and the daemon's way to it |
//!
//! Nothing is decided by this clock ([`rackberry_core::time::Timestamp`] is what decides), so a step of it moves no lease and no
//! session; and nothing waits for it. Without a helper the clock is somebody else's: it is compared, and never set.

mod ask;
mod choice;
mod helper;
mod packet;
mod serve;
#[cfg(test)]
mod tests;

pub use helper::{HelperError, Keeper, Places, run};
pub use serve::{answers, serve};

use crate::{
    config::{MOST_TIME_SERVERS, TimeServer},
    net::NetworkView,
};
use choice::{Choice, Sample, choose, nanos};
use futures_util::future::join_all;
use rackberry_core::time::WallTime;
use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// The machine's clock, as the time since 1970.
pub type Wall = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The clock is left alone while it is that near: nobody reads it more closely.
const NEAR: i128 = 100_000_000;
/// In nanoseconds: a difference that people are told of.
const WORTH_TELLING: i128 = 2_000_000_000;
/// A server that wants no questions is left alone for so long.
const DENIED: Duration = Duration::from_secs(86_400);
/// RFC 5905's longest interval, 2^17 s.
const LONGEST: Duration = Duration::from_secs(1 << 17);

/// How often and how long is asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long a name may take to be found.
    pub lookup: Duration,
    /// How long one answer is awaited.
    pub patience: Duration,
    /// Between two questions to one server.
    pub between: Duration,
    /// From a round without a time to the next one; doubles from round to round, up to 16 times this.
    pub unset: Duration,
    /// From a round with a time to the next one.
    pub settled: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            lookup: Duration::from_secs(5),
            patience: Duration::from_secs(2),
            between: Duration::from_secs(2),
            unset: Duration::from_secs(64),
            settled: Duration::from_secs(2048),
        }
    }
}

/// Whom to ask, and what is done with the answer.
#[derive(Clone)]
pub struct Setup {
    /// Asked before those of the lease.
    pub servers: Vec<TimeServer>,
    /// What `net-up` wrote down of the lease, read anew for each round.
    pub lease: Option<PathBuf>,
    /// The helper's socket; without one the clock is only compared.
    pub helper: Option<PathBuf>,
    pub pace: Pace,
    pub wall: Wall,
}

impl Setup {
    /// By the kernel's clock, at the usual pace.
    #[must_use]
    pub fn new(servers: Vec<TimeServer>, lease: Option<PathBuf>, helper: Option<PathBuf>) -> Self {
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Setup { servers, lease, helper, pace: Pace::default(), wall: Arc::new(wall) }
    }
}

/// The last time that was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub server: TimeServer,
    /// How far that server is ahead of this machine's clock as it is now, in nanoseconds.
    pub offset: i128,
    at: Instant,
    basis: Basis,
}

/// What a time that was believed rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Basis {
    source: packet::Source,
    /// On the network to its server, there and back.
    delay: Duration,
    /// How far it may be off, all in all.
    distance: Duration,
    server: Option<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct View {
    /// The clock is ours to set.
    sets: bool,
    /// Whom to ask is known.
    servers: bool,
    told: Option<Told>,
    /// Why the last round gave no time; empty if it did.
    trouble: String,
}

/// What is known of the time, as others ask it; clones are of the same box.
#[derive(Debug, Clone)]
pub struct Time(watch::Receiver<View>);

impl Default for Time {
    fn default() -> Self {
        Time(watch::channel(View::default()).1)
    }
}

impl Time {
    /// The last time that was believed.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        self.0.borrow().told.clone()
    }

    /// Where the time is from and what is wrong with it, for people who read a clock that says `wall`; empty where there is nothing
    /// to say.
    #[must_use]
    pub fn sentence(&self, wall: WallTime) -> String {
        self.0.borrow().sentence(wall)
    }
}

impl View {
    fn sentence(&self, wall: WallTime) -> String {
        let told = self.told.as_ref().map(|told| {
            let ago = match rackberry_web::format::age(millis(told.at.elapsed())) {
                now if now == "now" => "just now".to_owned(),
                age => format!("{age} ago"),
            };
            let apart = told.offset.unsigned_abs();
            if told.offset.abs() > WORTH_TELLING {
                let side = if told.offset > 0 { "behind" } else { "ahead of" };
                let apart = u64::try_from(apart / 1_000_000).unwrap_or(u64::MAX);
                let apart = rackberry_web::format::duration(apart);
                format!("This machine's clock is {apart} {side} {}'s, compared {ago}.", told.server)
            } else if self.sets {
                format!("Time from {}, {ago}.", told.server)
            } else {
                format!("The time agrees with {}'s, {ago}.", told.server)
            }
        });
        match told {
            Some(told) if self.trouble.is_empty() => told,
            Some(told) => format!("{told} {}", self.trouble),
            None if !self.trouble.is_empty() => format!("{} Times may be wrong.", self.trouble),
            None if self.servers => String::new(),
            None if self.sets => "No time server: times may be wrong.".to_owned(),
            None if wall < WallTime::FIRST => "This machine's clock is not set: times are wrong.".to_owned(),
            None => String::new(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Asks until `stop` turns true: at once, when the network gives another address, and at the pace of `setup`.
pub fn watch(
    setup: Setup,
    mut network: watch::Receiver<Arc<NetworkView>>,
    mut stop: watch::Receiver<bool>,
) -> (Time, impl Future<Output = ()> + Send) {
    let (view, time) = watch::channel(View { sets: setup.helper.is_some(), ..View::default() });
    let run = async move {
        let mut asker = Asker { setup, view, held: HashMap::new(), failures: 0, compared: false };
        loop {
            let address = network.borrow_and_update().address;
            let wait = tokio::select! {
                wait = asker.round() => wait,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = another_address(&mut network, address) => asker.failures = 0,
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    };
    (Time(time), run)
}

async fn another_address(network: &mut watch::Receiver<Arc<NetworkView>>, before: Option<Ipv4Addr>) {
    let other = |view: &Arc<NetworkView>| view.address.is_some() && view.address != before;
    if network.wait_for(other).await.is_err() {
        // Nobody will tell.
        std::future::pending::<()>().await;
    }
}

/// A server that wanted to be left alone.
struct Hold {
    until: Instant,
    next: Duration,
}

struct Asker {
    setup: Setup,
    view: watch::Sender<View>,
    held: HashMap<TimeServer, Hold>,
    /// Rounds without a time, one after the other.
    failures: u32,
    /// The difference was logged.
    compared: bool,
}

impl Asker {
    /// Asks everybody once; how long to wait for the next time.
    async fn round(&mut self) -> Duration {
        let servers = self.servers().await;
        self.held.retain(|server, _| servers.contains(server));
        let now = Instant::now();
        let free = |server: &&TimeServer| self.held.get(*server).is_none_or(|hold| hold.until <= now);
        let asked: Vec<TimeServer> = servers.iter().filter(free).cloned().collect();
        let Setup { pace, wall, .. } = &self.setup;
        let heard = join_all(asked.iter().map(|server| ask::ask(server, pace, wall))).await;
        let (mut words, mut troubles) = (Vec::new(), Vec::new());
        for (server, heard) in asked.into_iter().zip(heard) {
            self.hold(&server, heard.trouble.as_ref());
            match (heard.sample, heard.trouble) {
                (Some(sample), _) => words.push((server, sample, heard.from)),
                (None, Some(trouble)) => {
                    tracing::debug!(%server, error = crate::chain(&trouble), "no time");
                    troubles.push(format!("{server}: {trouble}"));
                }
                (None, None) => {}
            }
        }
        let samples: Vec<Sample> = words.iter().map(|(_, sample, _)| *sample).collect();
        let outcome = match choose(&samples) {
            Choice::Follow(at) => match words.into_iter().nth(at) {
                Some((server, sample, from)) => self.follow(server, sample, from).await.map(Some),
                None => Ok(None),
            },
            Choice::Split => {
                let names: Vec<String> = words.iter().map(|(server, ..)| server.to_string()).collect();
                Err(format!("The time servers {} contradict each other.", names.join(", ")))
            }
            // Nobody was asked, or all were and none answered.
            Choice::Nobody => match troubles.as_slice() {
                [] => Ok(None),
                [one] => Err(format!("No time from {one}.")),
                [one, rest @ ..] => Err(format!("No time from {one}, nor from {} more.", rest.len())),
            },
        };
        let good = matches!(outcome, Ok(Some(_)));
        self.tell(!servers.is_empty(), outcome);
        if good {
            self.failures = 0;
            return self.setup.pace.settled;
        }
        let wait = self.setup.pace.unset * (1 << self.failures.min(4));
        self.failures += 1;
        wait
    }

    /// Those of the settings, then those of the lease, each once.
    async fn servers(&self) -> Vec<TimeServer> {
        let lease = match &self.setup.lease {
            Some(path) => tokio::fs::read_to_string(path).await.unwrap_or_default(),
            None => String::new(),
        };
        let of_lease = lease.lines().filter_map(|line| line.strip_prefix("ntp=")?.parse::<Ipv4Addr>().ok());
        let mut servers: Vec<TimeServer> = Vec::new();
        for server in self.setup.servers.iter().cloned().chain(of_lease.map(TimeServer::from)) {
            if !servers.contains(&server) && servers.len() < MOST_TIME_SERVERS {
                servers.push(server);
            }
        }
        servers
    }

    /// Respects a kiss-o'-death (RFC 5905 section 7.4): RATE doubles the pause each time, DENY and RSTR are asked again after a day.
    fn hold(&mut self, server: &TimeServer, trouble: Option<&ask::AskError>) {
        use packet::Unusable;
        let next = match trouble {
            Some(ask::AskError::Unusable(Unusable::Denied)) => DENIED,
            Some(ask::AskError::Unusable(Unusable::Rate)) => {
                let first = self.setup.pace.settled * 2;
                self.held.get(server).map_or(first, |hold| hold.next.saturating_mul(2)).min(LONGEST)
            }
            // Silence takes nothing back.
            Some(_) => return,
            None => {
                self.held.remove(server);
                return;
            }
        };
        tracing::info!(%server, seconds = next.as_secs(), "this time server wants to be left alone");
        self.held.insert(server.clone(), Hold { until: Instant::now() + next, next });
    }

    /// Takes a time that is believed: sets the clock if that is ours to do and it is off.
    async fn follow(&mut self, server: TimeServer, sample: Sample, from: Option<IpAddr>) -> Result<Told, String> {
        let Sample { mut offset, delay, distance, source } = sample;
        if let Some(socket) = self.setup.helper.as_ref().filter(|_| offset.abs() >= NEAR) {
            let wall = self.setup.wall.clone();
            let target = move || {
                let nanos = u64::try_from(nanos(wall()) + offset).ok();
                nanos.map(Duration::from_nanos)
            };
            helper::set(socket, target).await.map_err(|error| {
                tracing::debug!(error = crate::chain(&error), "the clock stays as it is");
                error.to_string()
            })?;
            tracing::info!(%server, by_ms = i64::try_from(offset / 1_000_000).unwrap_or_default(), "the clock was set");
            offset = 0;
        }
        if self.setup.helper.is_none() && offset.abs() > WORTH_TELLING && !self.compared {
            let ms = i64::try_from(offset / 1_000_000).unwrap_or_default();
            tracing::warn!(%server, behind_ms = ms, "this machine's clock is wrong; setting it is left to this machine");
            self.compared = true;
        }
        Ok(Told { server, offset, at: Instant::now(), basis: Basis { source, delay, distance, server: from } })
    }

    fn tell(&self, servers: bool, outcome: Result<Option<Told>, String>) {
        self.view.send_modify(|view| {
            view.servers = servers;
            match outcome {
                Ok(Some(told)) => {
                    if view.told.as_ref().is_none_or(|before| before.server != told.server) {
                        tracing::info!(server = %told.server, "the time is known");
                    }
                    (view.told, view.trouble) = (Some(told), String::new());
                }
                Ok(None) => {}
                Err(trouble) => {
                    if view.trouble != trouble {
                        tracing::warn!("{trouble}");
                    }
                    view.trouble = trouble;
                }
            }
        });
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("servers", &self.servers).field("helper", &self.helper).finish_non_exhaustive()
    }
}
