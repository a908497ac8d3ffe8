//! How many connections a listener holds, and which one makes room for a newcomer.
//!
//! A stranger can open thousands of connections and say nothing, or little. So a listener has a number of seats, and each
//! address a part of them; who comes to a full room takes the seat of one that is silent, above all of an address that
//! holds many, and then of the one silent for the longest time. A request that is being answered, above all an agent's
//! long poll, costs no seat and is never put out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Connections at once on one listener, besides those whose request is being answered.
pub(super) const SEATS: usize = 256;
/// Of these, from one address.
pub(super) const SEATS_PER_ADDRESS: usize = 64;
/// Connections at once in all; agents hold one each.
const MOST: usize = 8192;
/// A client sends its request right after it connected; one that has not yet by then may be put out.
const MUTE: Duration = Duration::from_millis(50);
/// So may one that has spoken before, once neither side sent anything for this long.
const SILENT: Duration = Duration::from_secs(5);
/// More connections than any honest client keeps; of an address that holds more, even a short silence is enough.
const CROWD: usize = 8;
const CROWD_SILENT: Duration = Duration::from_millis(500);

/// One connection's place.
#[derive(Debug)]
pub(super) struct Seat {
    taken: Instant,
    /// Milliseconds from `taken` to the last byte that moved.
    moved: AtomicU64,
    spoke: AtomicBool,
    serving: AtomicBool,
    left: AtomicBool,
    put_out: Notify,
}

impl Seat {
    pub fn new() -> Self {
        Seat {
            taken: Instant::now(),
            moved: AtomicU64::new(0),
            spoke: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            left: AtomicBool::new(false),
            put_out: Notify::new(),
        }
    }

    /// Bytes moved in either direction.
    pub fn moved(&self) {
        let at = u64::try_from(self.taken.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(at, Ordering::Relaxed);
    }

    /// A request's head has come.
    pub fn spoke(&self) {
        self.spoke.store(true, Ordering::Relaxed);
    }

    /// A whole request is being answered, or that is over.
    pub fn serving(&self, on: bool) {
        self.serving.store(on, Ordering::Relaxed);
    }

    /// Resolves once the seat was given to another.
    pub async fn put_out(&self) {
        self.put_out.notified().await;
    }

    /// The connection is over.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// For how long it has been silent, if that is long enough to lose the seat; a mute one loses it before all others.
    fn silence(&self, now: Instant, of_crowd: bool) -> Option<(bool, Duration)> {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        let silent = now.duration_since(self.taken).saturating_sub(moved);
        let mute = !self.spoke.load(Ordering::Relaxed);
        let serving = self.serving.load(Ordering::Relaxed);
        // A head that comes byte by byte is no head yet.
        let silent = if mute { now.duration_since(self.taken) } else { silent };
        let enough = match (mute, of_crowd) {
            (true, _) => MUTE,
            (false, true) => CROWD_SILENT,
            (false, false) => SILENT,
        };
        (!serving && silent >= enough).then_some((mute, silent))
    }
}

/// What a newcomer gets.
#[derive(Debug)]
pub(super) enum Welcome {
    Seat(Arc<Seat>),
    /// Nobody can be put out just now: ask again in a moment.
    Wait,
    /// Its own address has too many.
    Refused,
}

/// A listener's seats; owned by its accept loop.
#[derive(Debug, Default)]
pub(super) struct Room {
    seats: Vec<(IpAddr, Arc<Seat>)>,
}

impl Room {
    /// A seat for a connection from `peer`, if need be somebody else's.
    pub fn admit(&mut self, peer: IpAddr) -> Welcome {
        let now = Instant::now();
        self.seats.retain(|(_, seat)| !seat.left.load(Ordering::Relaxed));
        if self.seats.len() >= MOST {
            return Welcome::Wait;
        }
        let waiting = |seat: &Seat| !seat.serving.load(Ordering::Relaxed);
        let in_all = self.seats.iter().filter(|(_, seat)| waiting(seat)).count();
        let of_peer = self.seats.iter().filter(|(address, seat)| *address == peer && waiting(seat)).count();
        if of_peer >= SEATS_PER_ADDRESS {
            if !self.put_out(now, |address| address == peer) {
                return Welcome::Refused;
            }
        } else if in_all >= SEATS && !self.put_out(now, |_| true) {
            return Welcome::Wait;
        }
        let seat = Arc::new(Seat::new());
        self.seats.push((peer, seat.clone()));
        Welcome::Seat(seat)
    }

    /// Whose address holds the most seats loses one first, so that a crowd makes room for others out of its own.
    fn put_out(&mut self, now: Instant, of: impl Fn(IpAddr) -> bool) -> bool {
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for (address, seat) in &self.seats {
            *held.entry(*address).or_default() += usize::from(!seat.serving.load(Ordering::Relaxed));
        }
        let silent = self.seats.iter().enumerate().filter(|(_, (address, _))| of(*address));
        let longest = silent.filter_map(|(at, (address, seat))| {
            let held = held.get(address).copied().unwrap_or_default();
            let (mute, silence) = seat.silence(now, held > CROWD)?;
            Some((held, mute, silence, at))
        });
        let Some((_, _, _, at)) = longest.max() else { return false };
        let (_, seat) = self.seats.swap_remove(at);
        seat.put_out.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))
    }

    fn seat(room: &mut Room, peer: IpAddr) -> Arc<Seat> {
        match room.admit(peer) {
            Welcome::Seat(seat) => seat,
            other => panic!("{other:?}"),
        }
    }

    fn aged(room: &mut Room, by: Duration) {
        for (_, seat) in &mut room.seats {
            let seat = Arc::get_mut(seat).unwrap();
            seat.taken = seat.taken.checked_sub(by).unwrap();
        }
    }

    #[test]
    fn a_full_room_waits_until_somebody_has_been_mute_long_enough() {
        let mut room = Room::default();
        for number in 0..SEATS {
            drop(seat(&mut room, address(u32::try_from(number).unwrap())));
        }
        assert!(matches!(room.admit(address(9999)), Welcome::Wait));
        aged(&mut room, MUTE);
        assert!(matches!(room.admit(address(9999)), Welcome::Seat(_)));
        assert_eq!(room.seats.len(), SEATS);
        assert!(!room.seats.iter().any(|(peer, _)| *peer == address(0)), "the one that came first went");
    }

    #[test]
    fn one_address_cannot_take_the_whole_room() {
        let mut room = Room::default();
        for _ in 0..SEATS_PER_ADDRESS {
            drop(seat(&mut room, address(1)));
        }
        assert!(matches!(room.admit(address(1)), Welcome::Refused));
        assert!(matches!(room.admit(address(2)), Welcome::Seat(_)));
    }

    #[test]
    fn a_crowd_of_few_addresses_makes_room_out_of_its_own_seats() {
        let mut room = Room::default();
        let first = seat(&mut room, address(1));
        for number in 0..SEATS - 1 {
            drop(seat(&mut room, address(2 + u32::try_from(number % 8).unwrap())));
        }
        drop(first);
        aged(&mut room, MUTE);
        for _ in 0..200 {
            assert!(matches!(room.admit(address(5)), Welcome::Seat(_)));
            aged(&mut room, MUTE);
        }
        assert!(room.seats.iter().any(|(peer, _)| *peer == address(1)), "it came first, and alone");
    }

    #[test]
    fn requests_under_way_cost_no_seat_and_stay() {
        let mut room = Room::default();
        for number in 0..SEATS {
            seat(&mut room, address(u32::try_from(number).unwrap())).serving(true);
        }
        aged(&mut room, Duration::from_secs(60));
        assert!(matches!(room.admit(address(9999)), Welcome::Seat(_)));
        assert_eq!(room.seats.len(), SEATS + 1);
    }

    #[test]
    fn who_has_spoken_keeps_the_seat_longer_than_who_has_not() {
        let mut room = Room::default();
        for number in 0..SEATS {
            let seat = seat(&mut room, address(u32::try_from(number).unwrap()));
            if number != 7 {
                seat.spoke();
            }
        }
        aged(&mut room, MUTE);
        assert!(matches!(room.admit(address(9999)), Welcome::Seat(_)));
        assert!(!room.seats.iter().any(|(peer, _)| *peer == address(7)));
        assert!(matches!(room.admit(address(9998)), Welcome::Wait));
    }
}
