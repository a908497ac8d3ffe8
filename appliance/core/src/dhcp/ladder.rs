//! Whether this link may be served: observe, then proxy beside another server, or PXE-only leases alone.
//!
//! Pure: time and evidence go in, probes and verdicts come out. The shell sends, listens, and keeps the verdict of
//! each link (gateway MAC and subnet) for the next start.

use super::stage::{Mode, Stage};
use crate::{host::MacAddr, text::CleanText, time::Timestamp};
use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};

/// When probes go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTimes {
    /// Offsets of the DISCOVERs of one round.
    pub sends: Vec<Duration>,
    /// Listening after the last one.
    pub listen: Duration,
    /// From the end of one round to the start of the next; a tenth more or less at random.
    pub again: Duration,
}

impl Default for ProbeTimes {
    fn default() -> Self {
        ProbeTimes {
            sends: [0, 2, 4, 8].map(Duration::from_secs).to_vec(),
            listen: Duration::from_secs(10),
            again: Duration::from_secs(600),
        }
    }
}

/// A DHCP server that is not us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignServer {
    pub address: Ipv4Addr,
    /// Of the frame's sender, where the shell can know it.
    pub mac: Option<MacAddr>,
    /// It gave or offered an address; a proxy names a boot server only.
    pub leases: bool,
    /// It named a boot server.
    pub boots: bool,
    /// What it said of itself.
    pub vendor: CleanText,
}

/// What the shell does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Broadcast a DISCOVER from a made-up MAC.
    Probe { xid: u32, mac: MacAddr, boots: bool },
    /// The box serves differently from now on; store `to` for this link unless it is `Observe`.
    Stage { from: Stage, to: Stage },
    /// Somebody else serves here: show and record it. Once per server until it was silent.
    Alarm(ForeignServer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Waiting { until: Timestamp },
    Running { began: Timestamp, sent: usize },
}

/// The state machine of one link.
#[derive(Debug, Clone)]
pub struct Ladder {
    mode: Mode,
    times: ProbeTimes,
    stage: Stage,
    round: Round,
    random: u64,
    /// Servers seen in this round.
    seen: Vec<ForeignServer>,
    /// Servers that were announced already; forgotten after a silent round.
    alarmed: Vec<Ipv4Addr>,
    /// When the last probes left, the newest last.
    probed: VecDeque<Timestamp>,
    /// A probe outside the rounds, because a client asked.
    look: Option<Timestamp>,
    /// Probes that follow it by themselves.
    follow: u8,
    /// Rounds in a row without any.
    silent: u32,
}

/// A probe caused by a client follows the one before no sooner.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// And so many leave in a row: the other server may be starting this very second, and the client that was offered an
/// address comes back for it a little later.
const LOOKS: u8 = 4;
/// A look that nobody answered says that no server was there then. What appeared since is no older than this when a
/// lease is given on the strength of it.
const LOOK_COUNTS: Duration = Duration::from_secs(5);
/// Probes remembered for that.
const MOST_LOOKS: usize = 8;
/// Servers remembered per round; more add nothing to the verdict.
const MOST_SERVERS: usize = 16;
/// Silent rounds after which a foreign server counts as gone.
const SILENT_ROUNDS: u32 = 2;

impl Ladder {
    /// Starts on a link that is up. `remembered` is the last verdict for it; `random` seeds MACs, xids and jitter.
    #[must_use]
    pub fn new(mode: Mode, times: ProbeTimes, remembered: Option<Stage>, random: u64, now: Timestamp) -> Self {
        let stage = match mode {
            Mode::Observe => Stage::Observe,
            Mode::Proxy => Stage::Proxy,
            Mode::Server => Stage::Server,
            // The chosen mode grants nothing before the link was heard, but a stored verdict counts at once.
            Mode::Auto | Mode::PxeOnly => remembered.filter(|stage| *stage != Stage::Server).unwrap_or(Stage::Observe),
        };
        let round = Round::Running { began: now, sent: 0 };
        // Zero is the one seed xorshift never leaves.
        Ladder {
            mode,
            times,
            stage,
            round,
            random: random | 1,
            seen: Vec::new(),
            alarmed: Vec::new(),
            probed: VecDeque::new(),
            look: None,
            follow: 0,
            silent: 0,
        }
    }

    /// What the box does now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Servers seen in the current round.
    #[must_use]
    pub fn foreign_servers(&self) -> &[ForeignServer] {
        &self.seen
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn wakeup(&self) -> Timestamp {
        self.look.unwrap_or(self.round_due()).min(self.round_due())
    }

    fn round_due(&self) -> Timestamp {
        match self.round {
            Round::Waiting { until } => until,
            Round::Running { began, sent } => match self.times.sends.get(sent) {
                Some(offset) => began.after(*offset),
                None => began.after(self.round_length()),
            },
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.look.take_if(|look| *look <= now).is_some() && self.stage == Stage::PxeOnly {
            steps.push(self.probe(false, now));
            if let Some(left) = self.follow.checked_sub(1) {
                self.follow = left;
                self.look = Some(now.after(LOOK_AGAIN));
            }
        }
        while self.round_due() <= now {
            match self.round {
                Round::Waiting { .. } => {
                    self.seen.clear();
                    self.round = Round::Running { began: now, sent: 0 };
                }
                Round::Running { began, sent } if sent < self.times.sends.len() => {
                    self.round = Round::Running { began, sent: sent + 1 };
                    // Half of them look like a PXE ROM, as some boot servers answer nobody else.
                    steps.push(self.probe(sent % 2 == 1, now));
                }
                Round::Running { .. } => {
                    steps.extend(self.conclude());
                    let tenth = self.times.again / 10;
                    let jitter = tenth.mul_f64((self.next_random() % 2048) as f64 / 1024.0);
                    self.round = Round::Waiting { until: now.after(self.times.again - tenth + jitter) };
                    // No progress without time: a schedule of zeros would spin here.
                    if self.round_due() <= now {
                        self.round = Round::Waiting { until: now.after(Duration::from_secs(1)) };
                    }
                }
            }
        }
        steps
    }

    /// A server that is not us was seen: an OFFER or ACK on the wire, or a client that chose it.
    pub fn foreign(&mut self, server: ForeignServer) -> Vec<Step> {
        self.silent = 0;
        let room = self.seen.len() < MOST_SERVERS;
        let mut steps = Vec::new();
        match self.seen.iter_mut().find(|seen| seen.address == server.address) {
            Some(seen) if (seen.leases || !server.leases) && (seen.boots || !server.boots) => return steps,
            Some(seen) => {
                seen.leases |= server.leases;
                seen.boots |= server.boots;
            }
            None if room => {
                self.seen.push(server.clone());
                if !self.alarmed.contains(&server.address) {
                    self.alarmed.push(server.address);
                    self.alarmed.truncate(4 * MOST_SERVERS);
                    steps.push(Step::Alarm(server));
                }
            }
            None => return steps,
        }
        // Within a round only downwards: servers of this round are heard one after the other.
        let boots = self.stage == Stage::ProxyEnrolled || self.seen.iter().any(|seen| seen.boots);
        match self.mode {
            Mode::Auto | Mode::PxeOnly => {
                steps.extend(self.become_stage(if boots { Stage::ProxyEnrolled } else { Stage::Proxy }));
            }
            // A person chose these: they alarm, and stay.
            Mode::Observe | Mode::Proxy | Mode::Server => {}
        }
        steps
    }

    /// A client asks for an address and would get one: look who else answers, now or as soon as the last look is old.
    ///
    /// Between rounds another server's unicast offers are not heard; one question of our own makes it show itself.
    pub fn asked(&mut self, now: Timestamp) {
        if self.is_alert() {
            self.follow = LOOKS - 1;
            if self.look.is_none() {
                self.look = Some(self.probed.back().map_or(now, |last| last.after(LOOK_AGAIN).max(now)));
            }
        }
    }

    /// When a new lease may be promised: now, or once a look that is under way went `patience` without an answer.
    ///
    /// Without this the first client after a quiet hour would get an address beside a server that appeared meanwhile.
    pub fn clear_at(&mut self, now: Timestamp, patience: Duration) -> Timestamp {
        if !self.is_alert() || patience.is_zero() {
            return now;
        }
        let fresh = self.probed.iter().filter(|sent| now.since(**sent) <= LOOK_COUNTS);
        match fresh.map(|sent| sent.after(patience)).min() {
            Some(answered) => answered.max(now),
            None => {
                self.asked(now);
                // One that is overdue has not left either.
                self.look.unwrap_or(now).max(now).after(patience)
            }
        }
    }

    /// Whether leases are given for as long as nobody else gives any.
    fn is_alert(&self) -> bool {
        matches!(self.mode, Mode::Auto | Mode::PxeOnly) && self.stage == Stage::PxeOnly
    }

    /// The link came up again, perhaps in another socket: everything starts over.
    pub fn link_up(&mut self, remembered: Option<Stage>, now: Timestamp) -> Vec<Step> {
        let from = self.stage;
        *self = Ladder::new(self.mode, self.times.clone(), remembered, self.random, now);
        if from == self.stage { Vec::new() } else { vec![Step::Stage { from, to: self.stage }] }
    }

    fn probe(&mut self, boots: bool, now: Timestamp) -> Step {
        while self.probed.len() >= MOST_LOOKS {
            self.probed.pop_front();
        }
        self.probed.push_back(now);
        let word = self.next_random();
        let [a, b, c, d, e, ..] = word.to_be_bytes();
        // Locally administered, no group address.
        let mac = MacAddr([0x02, a, b, c, d, e]);
        Step::Probe { xid: u32::try_from(word & 0xffff_ffff).unwrap_or_default(), mac, boots }
    }

    /// The round is over.
    fn conclude(&mut self) -> Option<Step> {
        let probing = matches!(self.mode, Mode::Auto | Mode::PxeOnly);
        if !self.seen.is_empty() {
            let boots = self.seen.iter().any(|seen| seen.boots);
            let calmer = probing && self.stage == Stage::ProxyEnrolled && !boots;
            return if calmer { self.become_stage(Stage::Proxy) } else { None };
        }
        self.alarmed.clear();
        self.silent += 1;
        let gone = self.stage == Stage::Observe || self.silent >= SILENT_ROUNDS;
        if probing && gone { self.become_stage(Stage::PxeOnly) } else { None }
    }

    fn become_stage(&mut self, to: Stage) -> Option<Step> {
        let from = std::mem::replace(&mut self.stage, to);
        (from != to).then_some(Step::Stage { from, to })
    }

    fn round_length(&self) -> Duration {
        self.times.sends.last().copied().unwrap_or_default() + self.times.listen
    }

    /// xorshift64: enough for MACs nobody else uses and for jitter.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests;
