//! Who holds which address, and for how long.

use crate::{
    dhcp::{
        Change, LeaseRow, LeaseTable, Pool,
        table::{Granted, Key},
    },
    host::MacAddr,
    time::Timestamp,
};
use proptest::prelude::*;
use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    time::Duration,
};

const POOL: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(10, 0, 0, 13));
const HOUR: Duration = Duration::from_secs(3600);

fn table() -> LeaseTable {
    LeaseTable::new(&[Pool { first: POOL.0, last: POOL.1, except: Vec::new() }], [], Timestamp(0))
}

fn key(number: u8) -> Key {
    Key::new(MacAddr([2, 0, 0, 0, 0, number]), None)
}

fn take(table: &mut LeaseTable, number: u8, now: Timestamp) -> Option<Ipv4Addr> {
    let address = table.offer(&key(number), POOL, None, None, true, now)?;
    table.bind(&key(number), address, None, HOUR, now)?;
    Some(address)
}

#[test]
fn an_open_offer_lapses_after_30_seconds() {
    let mut table = table();
    let given: Vec<_> = (0..4).map(|n| table.offer(&key(n), POOL, None, None, true, Timestamp(0)).unwrap()).collect();
    assert_eq!(table.offer(&key(9), POOL, None, None, true, Timestamp(29_999)), None);
    assert_eq!(table.offer(&key(9), POOL, None, None, true, Timestamp(30_000)), Some(given[0]));
}

#[test]
fn a_client_gets_its_old_address_back_while_nobody_needs_it() {
    let mut table = table();
    let first = take(&mut table, 1, Timestamp(0)).unwrap();
    take(&mut table, 2, Timestamp(0)).unwrap();
    let later = Timestamp(0).after(HOUR * 3);
    assert_eq!(table.held(&key(1), later), None);
    assert_eq!(table.offer(&key(1), POOL, None, None, true, later), Some(first));
}

#[test]
fn a_declined_address_rests_for_ten_minutes() {
    let mut table = table();
    let address = take(&mut table, 1, Timestamp(0)).unwrap();
    assert_eq!(table.decline(&key(2), address, Timestamp(0)), None, "only its holder can decline");
    assert_eq!(table.decline(&key(1), address, Timestamp(0)), Some(Change::Remove(address)));
    let others: Vec<_> = (1..=4).filter_map(|n| take(&mut table, n, Timestamp(599_999))).collect();
    assert_eq!(others.len(), 3);
    assert!(!others.contains(&address));
    assert_eq!(take(&mut table, 9, Timestamp(600_000)), Some(address));
}

#[test]
fn a_renewal_with_over_three_quarters_left_is_not_written() {
    let mut table = table();
    let address = take(&mut table, 1, Timestamp(0)).unwrap();
    let early = table.bind(&key(1), address, None, HOUR, Timestamp(800_000)).unwrap();
    assert_eq!(early, Granted { time: HOUR - Duration::from_secs(800), change: None });
    let late = table.bind(&key(1), address, None, HOUR, Timestamp(900_000)).unwrap();
    assert_eq!(late.time, HOUR);
    assert!(late.change.is_some());
}

#[test]
fn a_known_machine_takes_the_open_offer_of_a_stranger() {
    let mut table = table();
    for number in 0..4 {
        table.offer(&key(number), POOL, None, None, false, Timestamp(0)).unwrap();
    }
    assert_eq!(table.offer(&key(8), POOL, None, None, false, Timestamp(1)), None);
    assert!(table.offer(&key(9), POOL, None, None, true, Timestamp(1)).is_some());
}

#[test]
fn strangers_leave_an_eighth_of_a_larger_pool() {
    let pool = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 16));
    let mut table = LeaseTable::new(&[Pool { first: pool.0, last: pool.1, except: Vec::new() }], [], Timestamp(0));
    let given = (0..16).filter_map(|n| table.offer(&key(n), pool, None, None, false, Timestamp(0))).count();
    assert_eq!(given, 14);
}

#[test]
fn a_reserved_address_goes_to_its_machine_under_any_identifier() {
    let mut table = table();
    let reserved = Ipv4Addr::new(10, 0, 0, 11);
    table.reserve([reserved]);
    let rom = key(1);
    let system = Key::new(rom.mac, Some(b"\xff\0\0\0\0dui"));
    assert_ne!(rom, system);
    for key in [&rom, &system] {
        assert_eq!(table.offer(key, POOL, Some(reserved), None, true, Timestamp(0)), Some(reserved));
        assert!(table.bind(key, reserved, Some(reserved), HOUR, Timestamp(0)).is_some());
    }
    let others: Vec<_> = (2..9).filter_map(|n| take(&mut table, n, Timestamp(0))).collect();
    assert_eq!(others.len(), 3);
    assert!(!others.contains(&reserved));
}

#[test]
fn machines_from_one_image_do_not_share_an_address() {
    let duid = b"\xff\0\0\0\0same";
    let mut table = table();
    let mut given = HashSet::new();
    for number in 1..=2 {
        let key = Key::new(MacAddr([2, 0, 0, 0, 0, number]), Some(duid));
        given.insert(table.offer(&key, POOL, None, None, true, Timestamp(0)).unwrap());
    }
    assert_eq!(given.len(), 2);
}

#[test]
fn identifiers_that_say_no_more_than_the_mac_count_as_none() {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    assert_eq!(Key::new(mac, Some(&[1, 2, 0, 0, 0, 0, 1])), Key::new(mac, None));
    assert_eq!(Key::new(mac, Some(&[0; 17])), Key::new(mac, None));
    assert_ne!(Key::new(mac, Some(&[1, 2, 0, 0, 0, 0, 2])), Key::new(mac, None));
}

#[test]
fn rows_from_disk_are_held_until_they_lapse() {
    let row = LeaseRow { address: POOL.0, mac: key(1).mac, client_id: None, expires: Timestamp(1000) };
    let pools = [Pool { first: POOL.0, last: POOL.0, except: Vec::new() }];
    let mut table = LeaseTable::new(&pools, [row], Timestamp(0));
    assert_eq!(table.offer(&key(2), (POOL.0, POOL.0), None, None, true, Timestamp(999)), None);
    assert_eq!(table.offer(&key(2), (POOL.0, POOL.0), None, None, true, Timestamp(1000)), Some(POOL.0));
}

#[test]
fn what_arp_shows_is_avoided_but_not_taken_from_its_holder() {
    let row = LeaseRow { address: POOL.0, mac: key(1).mac, client_id: None, expires: Timestamp(9000) };
    let mut table = LeaseTable::new(&[Pool { first: POOL.0, last: POOL.1, except: Vec::new() }], [row], Timestamp(0));
    table.avoid([POOL.0, POOL.1], Timestamp(0));
    assert_eq!(table.held(&key(1), Timestamp(0)), Some(POOL.0));
    let others: Vec<_> = (2..9).filter_map(|n| take(&mut table, n, Timestamp(0))).collect();
    assert_eq!(others.len(), 2);
    assert!(!others.contains(&POOL.1));
}

#[derive(Debug, Clone)]
enum Act {
    Offer(u8, Option<u8>, bool),
    Bind(u8),
    Release(u8),
    Decline(u8),
    Conflict(u8),
    Withdraw(u8),
    Wait(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..12u8, proptest::option::of(0..8u8), any::<bool>()).prop_map(|(c, w, k)| Act::Offer(c, w, k)),
        (0..12u8).prop_map(Act::Bind),
        (0..12u8).prop_map(Act::Release),
        (0..12u8).prop_map(Act::Decline),
        (8..16u8).prop_map(Act::Conflict),
        (0..12u8).prop_map(Act::Withdraw),
        (0..20_000u16).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn no_address_is_ever_given_to_two_clients(acts in proptest::collection::vec(act(), 1..200)) {
        let pool = (Ipv4Addr::new(10, 0, 0, 8), Ipv4Addr::new(10, 0, 0, 15));
        let mut table =
            LeaseTable::new(&[Pool { first: pool.0, last: pool.1, except: vec![pool.0] }], [], Timestamp(0));
        let mut now = Timestamp(0);
        let time = Duration::from_secs(60);
        let mut offered: HashMap<u8, Ipv4Addr> = HashMap::new();
        // The clients' own view: who believes to hold what, until when.
        let mut believed: HashMap<Ipv4Addr, (u8, Timestamp)> = HashMap::new();
        for act in acts {
            match act {
                Act::Offer(client, wish, known) => {
                    let wish = wish.map(|n| Ipv4Addr::new(10, 0, 0, 8 + n));
                    if let Some(address) = table.offer(&key(client), pool, None, wish, known, now) {
                        prop_assert_ne!(address, pool.0);
                        if let Some((holder, until)) = believed.get(&address) {
                            prop_assert!(*holder == client || *until <= now, "{address} offered twice");
                        }
                        offered.insert(client, address);
                    }
                }
                Act::Bind(client) => {
                    let Some(address) = offered.get(&client).copied() else { continue };
                    if let Some(granted) = table.bind(&key(client), address, None, time, now) {
                        if let Some((holder, until)) = believed.get(&address) {
                            prop_assert!(*holder == client || *until <= now, "{address} bound twice");
                        }
                        prop_assert!(granted.time <= time);
                        believed.retain(|_, (holder, _)| *holder != client);
                        believed.insert(address, (client, now.after(granted.time)));
                        prop_assert_eq!(table.holder(address, now), Some(key(client).mac));
                    }
                }
                Act::Release(client) => {
                    if let Some(address) = table.held(&key(client), now) {
                        table.release(&key(client), address, now);
                        believed.remove(&address);
                    }
                }
                Act::Decline(client) => {
                    if let Some(address) = table.held(&key(client), now) {
                        table.decline(&key(client), address, now);
                        believed.remove(&address);
                    }
                }
                // Only for addresses nobody holds: the shell probes before the first offer.
                Act::Conflict(last) => {
                    let address = Ipv4Addr::new(10, 0, 0, last);
                    if table.holder(address, now).is_none() {
                        table.conflict(address, now);
                    }
                }
                Act::Withdraw(client) => table.withdraw(&key(client), now),
                Act::Wait(ms) => now = now.after(Duration::from_millis(u64::from(ms))),
            }
            let held: Vec<_> = table.leases(now).map(|row| row.address).collect();
            prop_assert_eq!(held.len(), held.iter().collect::<HashSet<_>>().len());
        }
    }
}
