//! Whom a request means: no machine is taken for another one.

use crate::support::*;
use proptest::prelude::*;
use rackberry::inventory::{Enrolment, Identity, Inventory, StoreError, TransactError};
use rackberry_core::{
    event::Actor,
    host::Host,
    id::HostId,
    install::Phase,
    power::{GpioPower, Level, Power, Switch},
    text::HostName,
};
use std::{collections::BTreeMap, sync::Arc};

async fn fresh() -> (tempfile::TempDir, Inventory) {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    (dir, inventory)
}

#[tokio::test]
async fn the_rules_as_a_table() {
    // What was seen before; then a request; then: the host it names (by number of the request before), mismatch, machine.
    type Ask = (u32, Option<u8>, Option<&'static str>);
    type Row = (&'static str, &'static [Ask], Ask, Option<usize>, bool, Option<usize>);
    let table: &[Row] = &[
        ("unknown", &[], (1, Some(1), None), None, false, None),
        ("by both", &[(1, Some(1), None)], (1, Some(1), None), Some(0), false, Some(0)),
        ("by UUID at another port", &[(1, Some(1), None)], (2, Some(1), None), Some(0), false, Some(0)),
        ("by MAC, no UUID said", &[(1, Some(1), None)], (1, None, None), Some(0), false, Some(0)),
        ("by MAC, learns its UUID", &[(1, None, None)], (1, Some(1), None), Some(0), false, Some(0)),
        ("another UUID, new to us", &[(1, Some(1), None)], (1, Some(2), None), Some(0), true, None),
        ("another UUID, known", &[(1, Some(1), None), (2, Some(2), None)], (1, Some(2), None), Some(0), true, Some(1)),
        (
            "MAC of a host without UUID",
            &[(1, None, None), (2, Some(2), None)],
            (1, Some(2), None),
            Some(0),
            true,
            Some(1),
        ),
        ("no UUID, other serial", &[(1, None, Some("A1"))], (1, None, Some("B2")), Some(0), true, None),
        (
            "no UUID, serial left to the vendor",
            &[(1, None, Some("A1"))],
            (1, None, Some("Default string")),
            Some(0),
            false,
            Some(0),
        ),
        ("serial written differently", &[(1, None, Some("ab-12"))], (1, None, Some("AB 12")), Some(0), false, Some(0)),
        ("UUID of two serials, own port", &[(1, Some(1), Some("A1"))], (2, Some(1), Some("B2")), None, false, None),
        ("UUID of two serials, same port", &[(1, Some(1), Some("A1"))], (1, Some(1), Some("B2")), Some(0), true, None),
        (
            "shared UUID counts as none",
            &[(1, Some(1), Some("A1")), (2, Some(1), Some("B2"))],
            (3, Some(1), None),
            None,
            false,
            None,
        ),
        (
            "shared UUID, known by MAC",
            &[(1, Some(1), Some("A1")), (2, Some(1), Some("B2"))],
            (2, Some(1), Some("B2")),
            Some(1),
            false,
            Some(1),
        ),
        (
            "an adapter passed on between machines without UUID",
            &[(1, None, Some("A1")), (1, None, Some("B2"))],
            (1, None, Some("A1")),
            Some(1),
            true,
            Some(0),
        ),
    ];
    for (rule, before, ask, host, mismatch, machine) in table {
        let (_dir, inventory) = fresh().await;
        let mut seen = Vec::new();
        for (mac, uuid, serial) in *before {
            seen.push(observe(&inventory, asks(*mac, *uuid, *serial)).await.id);
        }
        let (mac, uuid, serial) = *ask;
        let found = inventory.snapshot().identify(&asks(mac, uuid, serial));
        let number = |host: Option<Arc<Host>>| host.and_then(|host| seen.iter().position(|id| *id == host.id));
        let known = found.host.is_some();
        assert_eq!((number(found.host), found.mismatch, number(found.machine)), (*host, *mismatch, *machine), "{rule}");
        assert_eq!(known, host.is_some(), "{rule}");
        inventory.close().await;
    }
}

#[tokio::test]
async fn another_machine_under_an_armed_hosts_address_disarms_it() {
    let (_dir, inventory) = fresh().await;
    let host = observe(&inventory, asks(1, Some(1), None)).await;
    let install = arm(&inventory, host.id).await;
    let other = observe(&inventory, asks(1, Some(2), None)).await;
    assert_ne!(other.id, host.id);
    let snapshot = inventory.snapshot();
    assert_eq!(snapshot.install(install.id).unwrap().state.phase, Phase::Cancelled);
    assert!(snapshot.alarms.contains_key(&format!("mismatch-{}", host.id)));
    assert_eq!(snapshot.host_by_mac(mac(1)).unwrap().host.id, other.id);
    assert!(snapshot.host(host.id).unwrap().host.macs.is_empty());
    // The machine itself is still known by its UUID, and gets no install.
    let again = observe(&inventory, asks(1, Some(1), None)).await;
    assert_eq!(again.id, host.id);
    assert!(inventory.snapshot().host(host.id).unwrap().active_install().is_none());
}

#[tokio::test]
async fn a_pin_belongs_to_one_host_also_after_a_restart() {
    let (dir, inventory) = fresh().await;
    let wire = |number: u32, pin: u8, led_pin: Option<u8>| {
        move |tx: &mut rackberry::inventory::Tx<'_>| {
            let mut host = Host::clone(&*tx.host_by_mac(mac(number)).unwrap());
            host.power = Some(Power::Gpio(GpioPower {
                pin,
                kind: Switch::Relay,
                active: Level::High,
                reset_pin: None,
                led_pin,
                led_active: Level::Low,
            }));
            tx.put_host(&host)
        }
    };
    observe(&inventory, asks(1, None, None)).await;
    observe(&inventory, asks(2, None, None)).await;
    inventory.transact(wire(1, 17, Some(22))).await.unwrap();
    inventory.close().await;
    let inventory = open(dir.path());
    let pins: Vec<u8> = inventory.snapshot().host_by_mac(mac(1)).unwrap().host.pins().map(|(_, pin)| pin).collect();
    assert_eq!(pins, [17, 22]);
    for taken in [17, 22] {
        let refused = inventory.transact(wire(2, taken, None)).await.unwrap_err();
        assert!(
            matches!(refused, TransactError::Failed(StoreError::PinTaken { pin, .. }) if pin == taken),
            "{refused}"
        );
    }
    // A pin that its host no longer needs is free, and so are all of one that is forgotten.
    inventory.transact(wire(1, 18, None)).await.unwrap();
    inventory.transact(wire(2, 17, Some(22))).await.unwrap();
    let id = inventory.snapshot().host_by_mac(mac(2)).unwrap().host.id;
    inventory.transact(move |tx| tx.remove_host(id, Actor::Box)).await.unwrap();
    inventory.transact(wire(1, 17, Some(22))).await.unwrap();
    assert_eq!(inventory.snapshot().hosts_with_pins().count(), 2, "two pins of one host");
}

#[tokio::test]
async fn a_vendors_filler_takes_no_real_serials_place() {
    let (_dir, inventory) = fresh().await;
    for (said, known) in [
        (None, None),
        (Some("Default string"), Some("Default string")),
        (Some("A1"), Some("A1")),
        (Some("None"), Some("A1")),
        (Some("a-1"), Some("A1")),
    ] {
        let host = observe(&inventory, asks(1, Some(1), said)).await;
        assert_eq!(host.serial.as_ref().map(|serial| serial.as_str()), known, "after {said:?}");
    }
}

#[tokio::test]
async fn an_install_under_way_outlives_a_lost_address() {
    let (_dir, inventory) = fresh().await;
    let host = observe(&inventory, asks(1, Some(1), None)).await;
    let install = arm(&inventory, host.id).await;
    for kind in to_first_boot().into_iter().take(3) {
        apply(&inventory, &install, kind).await.unwrap();
    }
    observe(&inventory, asks(1, Some(2), None)).await;
    assert_eq!(inventory.snapshot().install(install.id).unwrap().state.phase, Phase::Installing);
}

#[tokio::test]
async fn an_entry_that_was_only_an_address_goes_with_it() {
    let (_dir, inventory) = fresh().await;
    let bare = observe(&inventory, asks(2, None, None)).await;
    let machine = observe(&inventory, asks(1, Some(1), None)).await;
    let moved = observe(&inventory, asks(2, Some(1), None)).await;
    assert_eq!((moved.id, moved.macs.len()), (machine.id, 2));
    assert!(inventory.snapshot().host(bare.id).is_none());
}

#[tokio::test]
async fn hosts_that_appear_by_themselves_are_bounded_and_never_push_others_out() {
    let (_dir, inventory) = fresh().await;
    inventory.transact(|tx| tx.set_setting(rackberry::inventory::MAX_AUTOMATIC_HOSTS, &3_usize)).await.unwrap();
    let enrolment = |number: u32| Enrolment {
        name: HostName::new(&format!("node-{number}")).unwrap(),
        macs: vec![mac(1000 + number)],
        uuid: None,
        serial: None,
        tags: Vec::new(),
        fixed_address: None,
    };
    for number in 0..3 {
        observe(&inventory, asks(number, None, None)).await;
    }
    let refused = inventory.transact(|tx| tx.observe(&asks(9, None, None), None, None)).await;
    assert!(matches!(refused, Err(TransactError::Failed(StoreError::TooManyHosts { limit: 3 }))));
    // Known ones still work, and a person may add more.
    observe(&inventory, asks(2, None, None)).await;
    for number in 0..5 {
        inventory.transact(move |tx| tx.enrol(enrolment(number), Actor::Box)).await.unwrap();
    }
    assert_eq!(inventory.snapshot().hosts.len(), 8);
    let group = Identity { mac: rackberry_core::host::MacAddr([0xff; 6]), uuid: None, serial: None };
    let refused = inventory.transact(move |tx| tx.observe(&group, None, None)).await;
    assert!(matches!(refused, Err(TransactError::Failed(StoreError::NotAStation { .. }))));
}

#[tokio::test]
async fn enrolling_names_a_machine_that_appeared_and_refuses_what_is_taken() {
    let (_dir, inventory) = fresh().await;
    let appeared = observe(&inventory, asks(1, Some(1), None)).await;
    let enrol = |name: &str, number: u32| {
        let enrolment = Enrolment {
            name: HostName::new(name).unwrap(),
            macs: vec![mac(number)],
            uuid: None,
            serial: None,
            tags: vec!["rack 1".into()],
            fixed_address: None,
        };
        inventory.transact(move |tx| tx.enrol(enrolment, Actor::User("ada".into())))
    };
    let enrolled = enrol("node-1", 1).await.unwrap();
    assert_eq!((enrolled.id, enrolled.enrolled, enrolled.uuid), (appeared.id, true, Some(uuid(1))));
    assert!(matches!(enrol("node-2", 1).await, Err(TransactError::Failed(StoreError::MacTaken { .. }))));
    assert!(matches!(enrol("node-1", 2).await, Err(TransactError::Failed(StoreError::NameTaken { .. }))));
    let found = inventory.read(|reader| Ok::<_, StoreError>(reader.search("RACK 1"))).await.unwrap();
    assert_eq!(found.len(), 1);
}

/// A machine as it stands in the rack.
#[derive(Debug, Clone)]
struct Machine {
    uuid: Option<u8>,
    serial: Option<String>,
    macs: Vec<u32>,
}

/// One request: which machine, which of its ports, and what of itself it says.
type Request = (usize, usize, bool, bool, bool);

fn machines() -> impl Strategy<Value = Vec<Machine>> {
    let uuid = prop_oneof![3 => (1_u8..6).prop_map(Some), 1 => Just(None)];
    let serial = prop_oneof![3 => (1_u8..6).prop_map(|n| Some(format!("SN-{n}x{n}"))), 1 => Just(None)];
    // Few addresses, so that adapters move from machine to machine.
    let macs = prop::collection::vec(1_u32..8, 1..3);
    prop::collection::vec((uuid, serial, macs).prop_map(|(uuid, serial, macs)| Machine { uuid, serial, macs }), 2..6)
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    prop::collection::vec((any::<usize>(), any::<usize>(), any::<bool>(), any::<bool>(), any::<bool>()), 1..30)
}

fn identity(machine: &Machine, port: usize, says_uuid: bool, says_serial: bool) -> Identity {
    let number = machine.macs[port % machine.macs.len()];
    asks(number, machine.uuid.filter(|_| says_uuid), machine.serial.as_deref().filter(|_| says_serial))
}

fn check(inventory: &Inventory) {
    let snapshot = inventory.snapshot();
    let mut macs = BTreeMap::new();
    let mut uuids = BTreeMap::new();
    let mut names = BTreeMap::new();
    for entry in snapshot.hosts.values() {
        let host = &entry.host;
        for mac in &host.macs {
            assert_eq!(macs.insert(*mac, host.id), None, "{mac} belongs to two hosts");
        }
        if let Some(uuid) = host.uuid {
            assert_eq!(uuids.insert(uuid.key(), host.id), None, "{uuid} belongs to two hosts");
        }
        assert_eq!(names.insert(host.name.clone(), host.id), None, "{} names two hosts", host.name);
    }
    for (mac, id) in macs {
        assert_eq!(snapshot.host_by_mac(mac).map(|entry| entry.host.id), Some(id));
    }
    for number in 0..10 {
        if let Some(entry) = snapshot.host_by_mac(mac(number)) {
            assert!(entry.host.macs.contains(&mac(number)), "the look-up of {} is stale", mac(number));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_asks_keys_stay_unique_and_an_armed_host_meets_only_its_own_machine(
        machines in machines(),
        requests in requests(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let inventory = open(dir.path());
            for (machine, port, says_uuid, says_serial, arms) in requests {
                let machine = &machines[machine % machines.len()];
                let identity = identity(machine, port, says_uuid, says_serial);
                let before = inventory.snapshot();
                let found = before.identify(&identity);
                let host = observe(&inventory, identity.clone()).await;
                check(&inventory);
                let after = inventory.snapshot();
                prop_assert!(host.macs.contains(&identity.mac));
                // What identify says is what observe does.
                prop_assert!(found.machine.is_none_or(|machine| machine.id == host.id));
                if found.mismatch {
                    let former = found.host.unwrap();
                    prop_assert_ne!(former.id, host.id);
                    let waits = after.host(former.id).and_then(|entry| entry.active_install());
                    prop_assert!(waits.is_none_or(|install| install.state.arm.consumed.is_some()));
                }
                // The host found never has a UUID other than the one that was said.
                if let (Some(said), Some(known)) = (identity.uuid, host.uuid) {
                    prop_assert_eq!(said, known);
                }
                if arms && after.host(host.id).unwrap().active_install().is_none() {
                    arm(&inventory, host.id).await;
                }
            }
            // What was stored reads back as what was published.
            let published: Vec<(HostId, Host)> =
                inventory.snapshot().hosts.values().map(|entry| (entry.host.id, Host::clone(&entry.host))).collect();
            inventory.close().await;
            let inventory = open(dir.path());
            let stored: Vec<(HostId, Host)> =
                inventory.snapshot().hosts.values().map(|entry| (entry.host.id, Host::clone(&entry.host))).collect();
            prop_assert_eq!(published, stored);
            check(&inventory);
            inventory.close().await;
            Ok(())
        })?;
    }
}
