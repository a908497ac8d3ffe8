//! One transfer as a state machine: no socket, no file, no clock.
//!
//! [`Transfer`] knows how many bytes there are, not which. Each input returns a [`Step`] that says what to send; the shell
//! fetches the bytes of each [`Block`]. Time comes in as the age of the transfer, on any clock that does not jump.

use crate::options::{Agreed, Limits, RollOver};
use crate::packet::{ErrorCode, Packet, RawOption, ReadRequest};
use crate::rtt::RoundTrip;
use std::time::Duration;

/// A client heard this lately is there, and what is missing was lost.
const ALIVE: Duration = Duration::from_secs(2);

/// A window repeated in vain is left alone for this long. A client whose acknowledgement was lost may pass over blocks it holds and speak
/// only after a silence of its own choice; 5 s is the longest seen (atftp).
const SILENCE: Duration = Duration::from_secs(6);

/// What to do after an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing until a packet comes or [`Transfer::deadline`] passes.
    Wait,
    /// Send this option acknowledgement.
    SendOack(Vec<RawOption>),
    /// Send these blocks, in order.
    SendBlocks(Blocks),
    /// The transfer is over.
    End(Outcome),
}

/// A run of consecutive blocks, counted from 1 without roll-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The first block.
    pub first: u64,
    /// How many, at least one.
    pub count: u64,
}

/// One block: its number on the wire and its place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The number in the DATA packet, after roll-over.
    pub wire: u16,
    /// Where its data starts, in bytes.
    pub offset: u64,
    /// How many bytes it carries; fewer than blksize in the last block, which may be empty.
    pub len: usize,
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The client acknowledged the last block.
    Complete,
    /// Everything was sent and the last acknowledgement never came: most likely only that was lost.
    Unconfirmed,
    /// The client only wanted to know the size, or whether the file is there: it ended with ERROR 0 or 8 before
    /// acknowledging any data. Boot ROMs do this first and ask again from another port.
    Probed,
    /// The client ended the transfer after it took some data.
    Refused {
        /// The client's error code; 0 is how GRUB and PXELINUX close a file they have read enough of.
        code: ErrorCode,
        /// The client's text.
        message: String,
    },
    /// The client fell silent.
    TimedOut,
    /// The file could not be read to its end; the text says why.
    ReadFailed(String),
    /// A new request of the same client took its place.
    Replaced,
    /// The server stopped.
    Stopped,
}

impl Outcome {
    /// Whether this end is part of ordinary operation, as opposed to something a person may want to look into.
    pub fn is_normal(&self) -> bool {
        match self {
            Self::Complete | Self::Unconfirmed | Self::Probed | Self::Replaced | Self::Stopped => true,
            Self::Refused { code, .. } => *code == ErrorCode::UNDEFINED,
            Self::TimedOut | Self::ReadFailed(_) => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The OACK is out and nothing has come back.
    Offered,
    /// Blocks are out.
    Sending,
    /// [`Step::End`] was returned.
    Ended,
}

/// One file on its way to one client.
#[derive(Debug, Clone)]
pub struct Transfer {
    agreed: Agreed,
    limits: Limits,
    len: u64,
    phase: Phase,
    /// The client has answered once, so its address is not forged.
    heard: bool,
    /// All blocks up to this one are acknowledged.
    acked: u64,
    /// Block `acked` was sent once only, so a second acknowledgement of it is not owed to a second copy of it.
    acked_once_sent: bool,
    /// The last block of the window in flight.
    sent: u64,
    /// The last block ever sent.
    highest: u64,
    /// Blocks from this one on were sent once only.
    fresh_from: u64,
    /// The window in flight holds blocks that were sent before.
    resent: bool,
    sent_at: Duration,
    progress_at: Duration,
    heard_at: Duration,
    retries: u32,
    round_trip: RoundTrip,
}

impl Transfer {
    /// Begins the transfer of `len` bytes (as they go on the wire) at time `now`; the step says what to send first.
    pub fn start(request: &ReadRequest, len: u64, limits: &Limits, now: Duration) -> (Self, Step) {
        let agreed = Agreed::negotiate(request, len, limits);
        let longest = agreed.timeout.map_or(limits.max_timeout, |asked| asked.min(limits.max_timeout));
        let mut transfer = Self {
            len,
            phase: Phase::Offered,
            heard: false,
            acked: 0,
            acked_once_sent: true,
            sent: 0,
            highest: 0,
            fresh_from: 0,
            resent: false,
            sent_at: now,
            progress_at: now,
            heard_at: now,
            retries: 0,
            round_trip: RoundTrip::new(limits.first_timeout, longest),
            limits: limits.clone(),
            agreed,
        };
        let step = if transfer.agreed.oack.is_empty() {
            transfer.phase = Phase::Sending;
            transfer.send_window(now)
        } else {
            Step::SendOack(transfer.agreed.oack.clone())
        };
        (transfer, step)
    }

    /// Takes a packet that came from the client of this transfer.
    pub fn on_packet(&mut self, packet: &Packet<'_>, now: Duration) -> Step {
        self.heard_at = now;
        match (self.phase, packet) {
            (Phase::Ended, _) => Step::Wait,
            (_, Packet::Error { code, message }) => self.end(self.ended_by_client(*code, message)),
            (Phase::Offered, Packet::Ack(0)) => self.on_oack_accepted(now),
            (Phase::Offered, Packet::Ack(_)) => Step::Wait,
            (Phase::Sending, Packet::Ack(wire)) => match self.acked_block(*wire) {
                Some(block) if block > self.acked => self.on_progress(block, now),
                Some(_) => self.on_duplicate(now),
                None => Step::Wait,
            },
            // A client has no business sending these; an answer would only feed a loop.
            (_, Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::Oack(_)) => Step::Wait,
        }
    }

    /// Tells that time has passed; before [`Self::deadline`] this changes nothing.
    pub fn on_timeout(&mut self, now: Duration) -> Step {
        if self.phase == Phase::Ended || now < self.deadline() {
            return Step::Wait;
        }
        let patient = self.heard && now.saturating_sub(self.progress_at) < self.limits.patience;
        if self.retries >= self.limits.retries && !patient {
            let outcome =
                if self.heard && self.sent == self.last_block() { Outcome::Unconfirmed } else { Outcome::TimedOut };
            return self.end(outcome);
        }
        self.retries += 1;
        self.round_trip.timed_out();
        self.repeat(now)
    }

    /// Takes a repeat of the very request that started this transfer.
    ///
    /// While the client has answered nothing, it gets the first packet again, counted among the repeats; afterwards the
    /// repeat is a late copy and means nothing.
    pub fn on_repeated_request(&mut self, now: Duration) -> Step {
        if self.heard || self.phase == Phase::Ended || self.retries >= self.limits.retries {
            return Step::Wait;
        }
        self.retries += 1;
        self.repeat(now)
    }

    /// Tells that what the last step asked for left only now, because the file was slow to read.
    pub fn on_sent(&mut self, now: Duration) {
        self.sent_at = self.sent_at.max(now);
    }

    /// When [`Self::on_timeout`] is due.
    pub fn deadline(&self) -> Duration {
        let alive = self.sent_at.saturating_add(self.round_trip.timeout_alive());
        if self.heard && alive < self.heard_at.saturating_add(ALIVE) {
            return alive;
        }
        let wait = self.round_trip.timeout();
        let in_vain = self.heard && self.retries > 0 && self.agreed.windowsize > 1 && self.agreed.timeout.is_none();
        self.sent_at.saturating_add(if in_vain { wait.max(SILENCE) } else { wait })
    }

    /// The place of block `number` (from 1) in the file and on the wire.
    pub fn block(&self, number: u64) -> Block {
        let blksize = u64::from(self.agreed.blksize);
        let offset = number.saturating_sub(1).saturating_mul(blksize).min(self.len);
        let len = (self.len - offset).min(blksize);
        Block {
            wire: self.wire(number),
            offset,
            // At most a blksize, so it fits.
            len: usize::try_from(len).unwrap_or(usize::MAX),
        }
    }

    /// The negotiated terms.
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Bytes the client has acknowledged.
    pub fn acked_bytes(&self) -> u64 {
        self.acked.saturating_mul(self.agreed.blksize.into()).min(self.len)
    }

    /// Whether the client has answered anything yet.
    pub fn heard(&self) -> bool {
        self.heard
    }

    /// Whether the last block is out and only its acknowledgement is missing.
    pub fn lingers(&self) -> bool {
        self.sent == self.last_block()
    }

    fn on_oack_accepted(&mut self, now: Duration) -> Step {
        self.acked_once_sent = self.retries == 0;
        if self.acked_once_sent {
            self.round_trip.measured(now.saturating_sub(self.sent_at), false);
        } else {
            self.round_trip.progress_untimed();
        }
        self.phase = Phase::Sending;
        self.progressed(now);
        self.send_window(now)
    }

    fn on_progress(&mut self, block: u64, now: Duration) -> Step {
        let age = now.saturating_sub(self.sent_at);
        self.acked = block;
        self.acked_once_sent = block >= self.fresh_from;
        // Short of the window's end an acknowledgement may have waited for the client's own timer.
        let prompt = block == self.sent || !self.round_trip.data_timed();
        if self.acked_once_sent && prompt {
            self.round_trip.measured(age, true);
        } else {
            self.round_trip.progress_untimed();
        }
        self.progressed(now);
        if block == self.last_block() {
            return self.end(Outcome::Complete);
        }
        // Short of the window's end it tells of a gap, so all after it is due again (RFC 7440 section 4), unless the repeat itself
        // is the cause: either it speaks of the first copies, or the client had them all and acknowledged its last block at
        // the sight of a second copy. To repeat again would go on to the end of the file, so only the window moves on.
        let told_of_first_copies = age < self.round_trip.half();
        let told_at_second_copies = block + 1 == self.fresh_from;
        if block < self.sent && self.resent && (told_of_first_copies || told_at_second_copies) {
            return self.extend_window(now);
        }
        self.send_window(now)
    }

    /// A second acknowledgement of the last acknowledged block.
    ///
    /// It never makes a single block go out again, or two copies of everything would travel to the end of the file (the
    /// Sorcerer's Apprentice, RFC 1123 section 4.2.3.1). In a window it also says that the first block was lost; that is
    /// believed where neither a second copy nor a packet still on its way can be the cause: once per window, or when a
    /// repeat would be due but for its doubling.
    fn on_duplicate(&mut self, now: Duration) -> Step {
        if self.agreed.windowsize == 1 {
            return Step::Wait;
        }
        let age = now.saturating_sub(self.sent_at);
        let all_sent_once = self.acked_once_sent && !self.resent;
        if (all_sent_once && age >= self.round_trip.half()) || age >= self.round_trip.single() {
            self.send_window(now)
        } else {
            Step::Wait
        }
    }

    fn ended_by_client(&self, code: ErrorCode, message: &str) -> Outcome {
        let closing = code == ErrorCode::UNDEFINED || code == ErrorCode::OPTION_REFUSED;
        if closing && self.acked == 0 {
            Outcome::Probed
        } else {
            Outcome::Refused { code, message: message.to_owned() }
        }
    }

    fn progressed(&mut self, now: Duration) {
        self.heard = true;
        self.retries = 0;
        self.progress_at = now;
    }

    fn end(&mut self, outcome: Outcome) -> Step {
        self.phase = Phase::Ended;
        Step::End(outcome)
    }

    fn repeat(&mut self, now: Duration) -> Step {
        match self.phase {
            Phase::Offered => {
                self.sent_at = now;
                Step::SendOack(self.agreed.oack.clone())
            }
            Phase::Sending => self.send_window(now),
            Phase::Ended => Step::Wait,
        }
    }

    /// Sends the window after the last acknowledged block, whatever of it is out already.
    fn send_window(&mut self, now: Duration) -> Step {
        let first = self.acked + 1;
        self.resent = first <= self.highest;
        self.send_from(first, now)
    }

    /// Sends what the window has gained at its end.
    fn extend_window(&mut self, now: Duration) -> Step {
        let first = self.sent + 1;
        if first > self.window_end() {
            return Step::Wait;
        }
        self.send_from(first, now)
    }

    fn send_from(&mut self, first: u64, now: Duration) -> Step {
        self.fresh_from = first.max(self.highest + 1);
        self.sent = self.window_end();
        self.highest = self.highest.max(self.sent);
        self.sent_at = now;
        Step::SendBlocks(Blocks { first, count: self.sent + 1 - first })
    }

    fn window_end(&self) -> u64 {
        (self.acked + u64::from(self.agreed.windowsize)).min(self.last_block())
    }

    /// The number of the block that ends the file: the one that is shorter than blksize.
    fn last_block(&self) -> u64 {
        self.len / u64::from(self.agreed.blksize.max(1)) + 1
    }

    fn wire(&self, number: u64) -> u16 {
        let wire = match self.limits.roll_over {
            RollOver::ToZero => number % 65536,
            RollOver::ToOne => number.checked_sub(1).map_or(0, |index| index % 65535 + 1),
        };
        // Reduced to 16 bits above.
        u16::try_from(wire).unwrap_or(0)
    }

    /// The block in flight, or the last acknowledged one, that carries this number on the wire.
    fn acked_block(&self, wire: u16) -> Option<u64> {
        (self.acked..=self.sent).find(|block| self.wire(*block) == wire)
    }
}
