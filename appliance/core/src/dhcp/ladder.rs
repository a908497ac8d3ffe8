//! Whether this link may be served: observe, then proxy beside another server, or PXE-only leases alone.
//!
//! Pure: time and evidence go in, probes and verdicts come out. The shell sends, listens, and keeps the verdict of
//! each link (gateway MAC and subnet) for the next start.

use crate::{host::MacAddr, text::CleanText, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, fmt, net::Ipv4Addr, str::FromStr, time::Duration};

/// The `[dhcp] mode` setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Find out by probing.
    #[default]
    Auto,
    /// Listen, answer nothing.
    Observe,
    /// Boot files beside another DHCP server, never an address.
    Proxy,
    /// Short leases to boot clients only, until another server shows up.
    PxeOnly,
    /// A person chose to serve everybody.
    Server,
}

/// A word that is none of the five modes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no DHCP mode: auto, observe, proxy, pxe-only or server")]
pub struct InvalidMode(String);

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        Ok(match text {
            "auto" => Mode::Auto,
            "observe" => Mode::Observe,
            "proxy" => Mode::Proxy,
            "pxe-only" => Mode::PxeOnly,
            "server" => Mode::Server,
            other => return Err(InvalidMode(crate::text::clean(other, 40))),
        })
    }
}

impl Mode {
    /// The word of the setting.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Observe => "observe",
            Mode::Proxy => "proxy",
            Mode::PxeOnly => "pxe-only",
            Mode::Server => "server",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the box does on this link now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Nothing.
    Observe,
    /// Proxy answers to hosts a person enrolled: somebody else's boot server is here too.
    ProxyEnrolled,
    /// Proxy answers.
    Proxy,
    /// Short leases to boot clients.
    PxeOnly,
    /// Leases to all.
    Server,
}

impl Stage {
    /// The stage that [`word`](Self::word) means, for a verdict kept on disk.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Stage::Observe, Stage::ProxyEnrolled, Stage::Proxy, Stage::PxeOnly, Stage::Server]
            .into_iter()
            .find(|stage| stage.word() == word)
    }

    /// For pages and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Stage::Observe => "observe",
            Stage::ProxyEnrolled => "proxy for enrolled hosts",
            Stage::Proxy => "proxy",
            Stage::PxeOnly => "pxe-only",
            Stage::Server => "server",
        }
    }

    /// Whether new leases are given.
    #[must_use]
    pub fn leases(self) -> bool {
        match self {
            Stage::PxeOnly | Stage::Server => true,
            Stage::Observe | Stage::ProxyEnrolled | Stage::Proxy => false,
        }
    }
}

/// A link as the verdict is stored for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkId {
    pub gateway: Option<MacAddr>,
    pub network: Ipv4Addr,
    pub prefix: u8,
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gateway {
            Some(mac) => write!(f, "{}/{} via {mac}", self.network, self.prefix),
            None => write!(f, "{}/{}", self.network, self.prefix),
        }
    }
}

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
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn ladder(mode: Mode, remembered: Option<Stage>) -> Ladder {
        Ladder::new(mode, ProbeTimes::default(), remembered, 7, at(0))
    }

    fn server(last: u8, boots: bool) -> ForeignServer {
        ForeignServer {
            address: Ipv4Addr::new(10, 0, 0, last),
            mac: None,
            leases: true,
            boots,
            vendor: CleanText::default(),
        }
    }

    #[test]
    fn a_silent_link_gets_pxe_only_after_probes_at_0_2_4_8_and_ten_seconds_more() {
        let mut ladder = ladder(Mode::Auto, None);
        let mut probes = Vec::new();
        for second in 0..18 {
            for step in ladder.tick(at(second)) {
                let Step::Probe { mac, .. } = step else { panic!("{step:?}") };
                assert!(mac.is_station());
                probes.push(second);
            }
            assert_eq!(ladder.stage(), Stage::Observe);
        }
        assert_eq!(probes, [0, 2, 4, 8]);
        assert_eq!(ladder.tick(at(18)), [Step::Stage { from: Stage::Observe, to: Stage::PxeOnly }]);
    }

    #[test]
    fn a_foreign_offer_makes_a_proxy_at_once_and_later_silence_does_not_undo_it_in_one_round() {
        let mut ladder = ladder(Mode::Auto, None);
        ladder.tick(at(0));
        let steps = ladder.foreign(server(1, false));
        assert!(matches!(steps.as_slice(), [Step::Alarm(_), Step::Stage { to: Stage::Proxy, .. }]), "{steps:?}");
        assert_eq!(ladder.foreign(server(1, false)), [], "one alarm per server");
        ladder.tick(at(18));
        assert_eq!(ladder.stage(), Stage::Proxy);
        let mut rounds = 0;
        while ladder.stage() == Stage::Proxy {
            rounds += usize::from(matches!(ladder.round, Round::Waiting { .. }));
            let now = ladder.wakeup();
            ladder.tick(now);
        }
        assert_eq!(ladder.stage(), Stage::PxeOnly);
        assert_eq!(rounds, 2);
    }

    #[test]
    fn beside_another_boot_server_only_enrolled_hosts_are_served() {
        let mut ladder = ladder(Mode::Auto, None);
        ladder.tick(at(0));
        ladder.foreign(server(1, false));
        ladder.foreign(server(1, true));
        assert_eq!(ladder.stage(), Stage::ProxyEnrolled);
    }

    #[test]
    fn a_server_that_appears_mid_run_ends_pxe_only() {
        for mode in [Mode::Auto, Mode::PxeOnly] {
            let mut ladder = ladder(mode, Some(Stage::PxeOnly));
            assert_eq!(ladder.stage(), Stage::PxeOnly, "the stored verdict counts at once");
            ladder.foreign(server(1, false));
            assert_eq!(ladder.stage(), Stage::Proxy);
        }
    }

    #[test]
    fn in_server_mode_a_foreign_server_only_alarms() {
        let mut ladder = ladder(Mode::Server, None);
        assert!(matches!(ladder.foreign(server(1, true)).as_slice(), [Step::Alarm(_)]));
        assert_eq!(ladder.stage(), Stage::Server);
    }

    #[test]
    fn probing_goes_on_every_ten_minutes_more_or_less() {
        let mut ladder = ladder(Mode::Auto, None);
        ladder.tick(at(0));
        ladder.tick(at(18));
        let next = ladder.wakeup().since(at(18));
        assert!((Duration::from_secs(540)..=Duration::from_secs(660)).contains(&next), "{next:?}");
    }

    #[test]
    fn server_mode_is_never_entered_by_itself() {
        assert_eq!(ladder(Mode::Auto, Some(Stage::Server)).stage(), Stage::Observe);
    }

    #[test]
    fn a_client_that_asks_between_rounds_makes_the_box_look_again_but_not_every_time() {
        let mut ladder = ladder(Mode::Auto, None);
        ladder.asked(at(0));
        ladder.tick(at(0));
        ladder.tick(at(18));
        ladder.asked(at(19));
        assert_eq!(ladder.wakeup(), at(19));
        assert!(matches!(ladder.tick(at(19)).as_slice(), [Step::Probe { .. }]));
        for second in 20..=22 {
            assert_eq!(ladder.wakeup(), at(second), "and a second later again, as a server may just be starting");
            assert_eq!(ladder.tick(at(second)).len(), 1);
        }
        assert!(ladder.wakeup() > at(500), "then silence until somebody asks");
        for tenth in 0..100 {
            ladder.asked(Timestamp(100_000 + tenth * 100));
            ladder.tick(Timestamp(100_000 + tenth * 100));
        }
        assert!(ladder.probed.iter().zip(ladder.probed.iter().skip(1)).all(|(a, b)| b.since(*a) >= LOOK_AGAIN));
        ladder.asked(at(112));
        ladder.foreign(server(1, false));
        assert_eq!(ladder.tick(at(200)), [], "a proxy has nothing to lose");
    }

    #[test]
    fn a_new_lease_waits_for_a_look_that_nobody_answered_and_is_never_five_seconds_behind() {
        let patience = Duration::from_millis(500);
        let mut ladder = ladder(Mode::Auto, None);
        ladder.tick(at(0));
        ladder.tick(at(18));
        // A quiet time passed: the first client waits.
        assert_eq!(ladder.clear_at(at(100), patience), Timestamp(100_500));
        ladder.tick(at(100));
        assert_eq!(ladder.clear_at(Timestamp(100_200), patience), Timestamp(100_500), "for the look under way");
        assert_eq!(ladder.clear_at(Timestamp(100_500), patience), Timestamp(100_500));
        assert_eq!(ladder.clear_at(Timestamp(104_900), patience), Timestamp(104_900), "the next ones do not");
        assert_eq!(ladder.clear_at(Timestamp(105_100), patience), Timestamp(105_600), "what is old says nothing");
        for (mode, stage) in [(Mode::Server, Stage::Server), (Mode::Proxy, Stage::Proxy)] {
            let mut chosen = Ladder::new(mode, ProbeTimes::default(), None, 7, at(0));
            assert_eq!((chosen.stage(), chosen.clear_at(at(50), patience)), (stage, at(50)), "a person chose it");
        }
    }

    #[test]
    fn mode_words_are_the_settings() {
        for mode in [Mode::Auto, Mode::Observe, Mode::Proxy, Mode::PxeOnly, Mode::Server] {
            assert_eq!(mode.word().parse(), Ok(mode));
        }
        assert!("full".parse::<Mode>().is_err());
    }
}
