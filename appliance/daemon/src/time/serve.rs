//! The box asked for the time by hosts (RFC 4330 section 6, RFC 5905 section 7.3): only while it knows it itself.
//!
//! It speaks as a server of the stratum behind the one that it follows. An answer is never longer than its question, and one
//! address gets so many in a while: after that one last word, RATE, then none.

use super::{
    Basis, NEAR, Time, Told, WORTH_TELLING, Wall,
    packet::{self, LENGTH},
};
use crate::net::{AskedSocket, Audience};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};
use tokio::{net::UdpSocket, sync::watch, time::timeout};

/// From 1970 back to 1900, in seconds.
const FROM_UNIX: u64 = 2_208_988_800;
/// What was learnt longer ago is known no more: so many rounds of questions failed since.
const OLDEST: Duration = Duration::from_secs(86_400);
/// RFC 5905's PHI: a clock drifts by so many millionths.
const DRIFT: u128 = 15;
/// Our clock's ticks, as a power of two seconds: about a millionth.
const PRECISION: u8 = 0xec;
/// RFC 5905's MAXSTRAT: who is that far from a clock has no time.
const UNSET: u8 = 16;
/// Answers to one address in one [`WINDOW`]; a client that begins asks eight times.
const ANSWERS: u16 = 32;
const WINDOW: Duration = Duration::from_secs(30);
/// Addresses counted at a time; more get no answer until the next window.
const MOST: usize = 16_384;

/// What the box can say about its time at this moment; none if it does not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    stratum: u8,
    leap: u8,
    delay: Duration,
    dispersion: Duration,
    reference: [u8; 4],
    /// How long ago it was learnt.
    age: Duration,
}

impl Known {
    fn new(told: &Told) -> Option<Self> {
        let Told { offset, at, basis: Basis { source, delay, distance, server }, .. } = told;
        let age = at.elapsed();
        // A clock that others set, and set wrongly, is not handed on.
        if age > OLDEST || offset.abs() > WORTH_TELLING {
            return None;
        }
        let way = source.delay + *delay;
        // The distance has half of the way in it (RFC 5905 section 11.2): the rest is what may have been added.
        let drift = Duration::from_nanos(u64::try_from(age.as_nanos() * DRIFT / 1_000_000).unwrap_or(u64::MAX));
        let apart = Duration::from_nanos(u64::try_from(offset.abs().max(NEAR / 100)).unwrap_or(u64::MAX));
        let dispersion = distance.saturating_sub(way / 2) + drift + apart;
        let stratum = source.stratum.checked_add(1).filter(|stratum| *stratum < UNSET)?;
        Some(Known { stratum, leap: source.leap, delay: way, dispersion, reference: reference(*server), age })
    }
}

/// Whom we follow, so that he does not follow us (RFC 5905 section 7.3). An IPv6 address is known by the start of a digest of it.
fn reference(server: Option<IpAddr>) -> [u8; 4] {
    match server.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => address.octets(),
        Some(IpAddr::V6(address)) => match Sha256::digest(address.octets()).as_slice() {
            [a, b, c, d, ..] => [*a, *b, *c, *d],
            _ => [0; 4],
        },
        None => [0; 4],
    }
}

/// The answer to a question that came at `received`; none to what is no question. Pure.
fn answer(question: &[u8], known: &Known, received: Duration, now: Duration) -> Option<[u8; LENGTH]> {
    let (head, poll, transmit) = ask(question)?;
    let mut answer = [0; LENGTH];
    // Mode 4: a server; the version is the asker's (RFC 4330 section 6).
    let first = [known.leap << 6 | head & 0x38 | 4, known.stratum, poll, PRECISION];
    let set = now.saturating_sub(known.age);
    let parts = [
        &first[..],
        &short(known.delay),
        &short(known.dispersion),
        &known.reference,
        &long(set),
        transmit,
        &long(received),
        &long(now),
    ];
    fill(&mut answer, &parts);
    Some(answer)
}

/// Kiss-o'-death RATE (RFC 5905 section 7.4).
fn rate(question: &[u8]) -> Option<[u8; LENGTH]> {
    let (head, poll, transmit) = ask(question)?;
    let mut answer = [0; LENGTH];
    let (first, nothing) = ([3 << 6 | head & 0x38 | 4, 0, poll, PRECISION], [0; 8]);
    fill(&mut answer, &[&first, &nothing, b"RATE", &nothing, transmit]);
    Some(answer)
}

/// First byte, poll interval and transmit time of a client's question.
fn ask(question: &[u8]) -> Option<(u8, u8, &[u8])> {
    let ([head, _, poll, ..], transmit) = (question.get(..LENGTH)?, question.get(40..LENGTH)?) else { return None };
    let (version, mode) = (head >> 3 & 7, head & 7);
    ((1..=4).contains(&version) && mode == 3).then_some((*head, *poll, transmit))
}

fn fill(answer: &mut [u8; LENGTH], parts: &[&[u8]]) {
    for (slot, byte) in answer.iter_mut().zip(parts.iter().copied().flatten()) {
        *slot = *byte;
    }
}

/// NTP's long format. The count of seconds begins anew in 2036, as it shall.
fn long(time: Duration) -> [u8; 8] {
    let seconds = (time.as_secs() + FROM_UNIX) & 0xffff_ffff;
    let parts = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
    (seconds << 32 | parts).to_be_bytes()
}

/// NTP's short format.
fn short(time: Duration) -> [u8; 4] {
    let parts = (time.as_nanos() << 16) / 1_000_000_000;
    u32::try_from(parts).unwrap_or(u32::MAX).to_be_bytes()
}

/// How many answers each address got.
#[derive(Debug)]
struct Gate {
    began: Instant,
    counts: HashMap<Ipv4Addr, u16>,
}

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Answer,
    LastWord,
    Silence,
}

impl Gate {
    fn admit(&mut self, from: Ipv4Addr, now: Instant) -> Entry {
        if now.saturating_duration_since(self.began) >= WINDOW {
            self.began = now;
            self.counts.clear();
        }
        if self.counts.len() >= MOST && !self.counts.contains_key(&from) {
            return Entry::Silence;
        }
        let count = self.counts.entry(from).or_default();
        *count = count.saturating_add(1);
        match *count {
            ..=ANSWERS => Entry::Answer,
            count if count == ANSWERS + 1 => Entry::LastWord,
            _ => Entry::Silence,
        }
    }
}

/// Answers those whom `audience` lets in, until told to stop; nobody while the time is not known.
pub async fn serve(socket: AskedSocket, time: Time, wall: Wall, audience: Audience, mut stop: watch::Receiver<bool>) {
    let mut gate = Gate { began: Instant::now(), counts: HashMap::new() };
    let mut buffer = [0; 512];
    loop {
        let (length, from) = tokio::select! {
            received = socket.receive(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!("take a question for the time: {error}");
                    continue;
                }
            },
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let received = wall();
        let question = buffer.get(..length).unwrap_or_default();
        let Some(known) = time.told().as_ref().and_then(Known::new).filter(|_| audience(*from.ip())) else { continue };
        let said = match gate.admit(*from.ip(), Instant::now()) {
            Entry::Answer => answer(question, &known, received, wall()),
            Entry::LastWord => rate(question),
            Entry::Silence => None,
        };
        if let Some(said) = said {
            socket.answer(&said, from);
        }
    }
}

/// Tries the server at this address out, through its socket.
pub async fn answers(address: SocketAddrV4) -> bool {
    const PATIENCE: Duration = Duration::from_secs(2);
    let exchange = async {
        let mut cookie = [0; 8];
        getrandom::fill(&mut cookie).ok()?;
        let cookie = u64::from_be_bytes(cookie);
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
        socket.connect(address).await.ok()?;
        socket.send(&packet::question(cookie)).await.ok()?;
        let mut buffer = [0; 128];
        let length = socket.recv(&mut buffer).await.ok()?;
        packet::read(buffer.get(..length)?, cookie).ok()
    };
    matches!(timeout(PATIENCE, exchange).await, Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::{super::packet::Source, *};
    use crate::config::TimeServer;

    const NOW: Duration = Duration::new(1_793_491_200, 250_000_000);
    const UPSTREAM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    fn told(change: impl FnOnce(&mut Told)) -> Told {
        let source = Source { stratum: 2, leap: 0, delay: Duration::from_millis(10) };
        let mut told = Told {
            server: TimeServer::from(UPSTREAM),
            offset: 0,
            at: Instant::now(),
            basis: Basis {
                source,
                delay: Duration::from_millis(4),
                distance: Duration::from_millis(9),
                server: Some(UPSTREAM.into()),
            },
        };
        change(&mut told);
        told
    }

    #[test]
    fn an_answer_is_one_that_our_own_client_believes() {
        let known = Known::new(&told(|_| {})).unwrap();
        let question = packet::question(0x0123_4567_89ab_cdef);
        let answer = answer(&question, &known, NOW, NOW + Duration::from_millis(1)).unwrap();
        let reading = packet::read(&answer, 0x0123_4567_89ab_cdef).unwrap();
        assert_eq!((reading.source.stratum, reading.source.leap), (3, 0), "one behind the one that is followed");
        assert_eq!(answer[12..16], UPSTREAM.octets());
        assert_eq!(answer[0], 0x24, "version 4, a server");
        let off = |a: Duration, b: Duration| a.abs_diff(b) < Duration::from_micros(30);
        assert!(off(reading.received, NOW) && off(reading.sent, NOW + Duration::from_millis(1)), "{reading:?}");
        assert!(off(reading.source.delay, Duration::from_millis(14)), "{reading:?}");
        let distance = reading.distance;
        assert!((9..20).contains(&distance.as_millis()), "no nearer than its source: {distance:?}");
    }

    #[test]
    fn the_answer_has_the_askers_version_and_poll() {
        let known = Known::new(&told(|told| told.basis.source.leap = 1)).unwrap();
        for version in 1..=4 {
            let mut question = packet::question(7);
            (question[0], question[2]) = (version << 3 | 3, 6);
            let answer = answer(&question, &known, NOW, NOW).unwrap();
            assert_eq!((answer[0], answer[2]), (1 << 6 | version << 3 | 4, 6));
        }
    }

    #[test]
    fn a_time_that_is_not_known_well_is_not_handed_on() {
        let none = |change: fn(&mut Told)| Known::new(&told(change)).is_none();
        assert!(none(|told| told.offset = 3_000_000_000), "somebody else's clock, and wrong");
        assert!(none(|told| told.offset = -3_000_000_000));
        assert!(none(|told| told.at = told.at.checked_sub(Duration::from_secs(90_000)).unwrap()));
        assert!(none(|told| told.basis.source.stratum = 15));
        let near = Known::new(&told(|told| told.offset = 500_000_000)).unwrap();
        assert!(near.dispersion >= Duration::from_millis(500), "what is off is told: {near:?}");
    }

    #[test]
    fn what_is_no_clients_question_gets_no_answer() {
        let known = Known::new(&told(|_| {})).unwrap();
        let good = packet::question(7);
        let said = |bytes: &[u8]| answer(bytes, &known, NOW, NOW).or(rate(bytes)).is_some();
        assert!(said(&good) && said(&[&good[..], &[0; 20]].concat()), "with a signature behind that nobody checks");
        for head in (0..=255_u8).filter(|head| head & 7 != 3 || !(1..=4).contains(&(head >> 3 & 7))) {
            let mut bytes = good;
            bytes[0] = head;
            assert!(!said(&bytes), "{head:#x}");
        }
        for length in 0..LENGTH {
            assert!(!said(&good[..length]));
        }
    }

    #[test]
    fn one_address_gets_so_many_answers_one_last_word_and_silence() {
        let start = Instant::now();
        let mut gate = Gate { began: start, counts: HashMap::new() };
        let (loud, calm) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let entries: Vec<Entry> = (0..100).map(|_| gate.admit(loud, start)).collect();
        assert_eq!(entries.iter().filter(|entry| **entry == Entry::Answer).count(), 32);
        assert_eq!(entries.iter().filter(|entry| **entry == Entry::LastWord).count(), 1);
        assert_eq!(gate.admit(calm, start), Entry::Answer);
        assert_eq!(gate.admit(loud, start + WINDOW), Entry::Answer);
        for number in 0..100_000 {
            gate.admit(Ipv4Addr::from(number), start + WINDOW);
        }
        assert!(gate.counts.len() <= MOST);
        let kiss = rate(&packet::question(7)).unwrap();
        assert_eq!(packet::read(&kiss, 7), Err(packet::Unusable::Rate));
    }
}
