//! Installs, tokens, the boot timeline and telemetry.

use crate::support::*;
use rackberry::inventory::{
    ApplyError, BOOT_TOKENS, EventFilter, Inventory, REPEAT_TTL, StoreError, StoredEvent, Telemetry, TokenPurpose,
    TransactError, UNUSED_TTL,
};
use rackberry_core::{
    agent::Progress,
    event::{Actor, EventKind, Station},
    host::Host,
    id::HostId,
    image::Digest,
    install::{Phase, Rejected},
};
use std::{sync::Arc, time::Duration};

async fn rack() -> (tempfile::TempDir, HandClock, Inventory, Arc<Host>) {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let inventory = open_by(dir.path(), &clock);
    let host = observe(&inventory, asks(1, Some(1), None)).await;
    (dir, clock, inventory, host)
}

async fn events(inventory: &Inventory, host: HostId) -> Vec<StoredEvent> {
    let filter = EventFilter { host: Some(host), limit: 100, ..Default::default() };
    inventory
        .read(move |reader| reader.follow(&filter))
        .await
        .unwrap_or_else(|error: rackberry::inventory::ReadError<StoreError>| panic!("{error}"))
}

#[tokio::test]
async fn a_host_has_one_install_at_a_time() {
    let (_dir, _clock, inventory, host) = rack().await;
    let first = arm(&inventory, host.id).await;
    let id = host.id;
    let second = inventory
        .transact(move |tx| {
            let install = install(tx, id);
            tx.arm(install)
        })
        .await;
    assert!(matches!(second, Err(TransactError::Failed(StoreError::InstallActive { .. }))));
    let removed = inventory.transact(move |tx| tx.remove_host(id, Actor::Box)).await;
    assert!(matches!(removed, Err(TransactError::Failed(StoreError::InstallActive { .. }))));
    apply(&inventory, &first, EventKind::Disarmed { reason: "no".into() }).await.unwrap();
    let third = arm(&inventory, host.id).await;
    assert_eq!(look(&inventory, move |tx| tx.active_install(id)).await.unwrap().id, third.id);
    let history = inventory
        .read(move |reader| reader.installs(id, 10))
        .await
        .map_err(|error: rackberry::inventory::ReadError<StoreError>| error.to_string());
    assert_eq!(history.unwrap().iter().map(|install| install.id).collect::<Vec<_>>(), [third.id, first.id]);
}

#[tokio::test]
async fn an_install_that_ends_as_done_makes_the_system_known() {
    let (dir, clock, inventory, host) = rack().await;
    let install = arm(&inventory, host.id).await;
    let token = Digest([5; 32]);
    let (id, of) = (install.id, host.id);
    inventory.transact(move |tx| tx.add_token(token, of, Some(id), TokenPurpose::FirstBoot, mac(1))).await.unwrap();
    for kind in to_first_boot() {
        apply(&inventory, &install, kind).await.unwrap();
    }
    let kind = EventKind::FirstBoot { address: "192.0.2.7".into() };
    let done = apply(&inventory, &install, kind.clone()).await.unwrap();
    assert_eq!(done.state.phase, Phase::Done);
    let known = inventory.snapshot().host(host.id).unwrap().host.clone();
    assert_eq!(known.installed.as_ref().unwrap().profile.as_str(), "debian-13");

    // The answer was lost, so the report comes again: accepted, and no second line of history.
    let lines = events(&inventory, host.id).await.len();
    assert!(look(&inventory, move |tx| tx.token(token).unwrap()).await.is_some());
    assert_eq!(apply(&inventory, &install, kind).await.unwrap(), done);
    assert_eq!(events(&inventory, host.id).await.len(), lines);
    clock.pass(REPEAT_TTL);
    assert!(look(&inventory, move |tx| tx.token(token).unwrap()).await.is_none());

    inventory.close().await;
    let inventory = open_by(dir.path(), &clock);
    let entry = inventory.snapshot().host(host.id).unwrap().clone();
    assert_eq!((&entry.host, entry.install.as_ref().unwrap()), (&known, &done));
    assert!(entry.active_install().is_none());
}

#[tokio::test]
async fn a_first_boot_token_dies_with_a_failed_install_but_not_with_a_late_one() {
    for (end, lives) in [
        (EventKind::Cancelled { reason: "stop".into() }, false),
        (EventKind::TaskTimedOut { task: "wait-first-boot".into() }, true),
    ] {
        let (_dir, _clock, inventory, host) = rack().await;
        let install = arm(&inventory, host.id).await;
        let token = Digest([5; 32]);
        let (id, of) = (install.id, host.id);
        inventory.transact(move |tx| tx.add_token(token, of, Some(id), TokenPurpose::FirstBoot, mac(1))).await.unwrap();
        for kind in to_first_boot() {
            apply(&inventory, &install, kind).await.unwrap();
        }
        let started = EventKind::TaskStarted { task: "wait-first-boot".into(), attempt: 1 };
        apply(&inventory, &install, started).await.unwrap();
        assert!(apply(&inventory, &install, end).await.unwrap().state.phase.ended());
        assert_eq!(look(&inventory, move |tx| tx.token(token).unwrap()).await.is_some(), lives);
        if lives {
            let kind = EventKind::FirstBoot { address: "192.0.2.7".into() };
            assert_eq!(apply(&inventory, &install, kind).await.unwrap().state.phase, Phase::Done);
        }
    }
}

#[tokio::test]
async fn what_does_not_follow_changes_nothing() {
    let (_dir, _clock, inventory, host) = rack().await;
    let install = arm(&inventory, host.id).await;
    let lines = events(&inventory, host.id).await.len();
    let early = EventKind::TaskDone { task: "write-image".into(), attempt: 1 };
    let refused = apply(&inventory, &install, early).await;
    assert!(matches!(refused, Err(ApplyError::Rejected { source: Rejected::WrongAttempt { .. }, .. })));
    assert_eq!(inventory.snapshot().install(install.id).unwrap(), &install);
    assert_eq!(events(&inventory, host.id).await.len(), lines);
    let stranger = look(&inventory, |tx| tx.install_id().unwrap()).await;
    let unknown = inventory.transact(move |tx| tx.apply(stranger, Actor::Box, EventKind::Resumed)).await;
    assert!(matches!(unknown, Err(TransactError::Failed(ApplyError::NotFound(id))) if id == stranger));
}

#[tokio::test]
async fn each_station_is_one_line_of_each_boot() {
    let (_dir, clock, inventory, host) = rack().await;
    let install = arm(&inventory, host.id).await;
    let id = host.id;
    let reach = async |station: Station| {
        inventory.transact(move |tx| tx.reach(id, station, "x".into(), None, None)).await.unwrap()
    };
    let stations = || {
        let trace = inventory.snapshot().host(id).unwrap().trace.clone().unwrap();
        trace.stations.iter().map(|(station, _, _)| *station).collect::<Vec<_>>()
    };
    use Station::{Discover, Loader, Offer, Script};
    assert!(reach(Discover).await);
    assert_eq!(inventory.snapshot().install(install.id).unwrap().state.phase, Phase::Booting);
    assert!(!reach(Discover).await, "a repeated request is no other boot");
    assert!(reach(Offer).await && reach(Loader).await && !reach(Loader).await);
    // iPXE asks for an address again on its way to the script.
    assert!(!reach(Discover).await);
    assert!(reach(Script).await);
    assert_eq!(stations(), [Discover, Offer, Loader, Script]);
    assert!(reach(Discover).await, "after the script it is the next boot");
    assert_eq!(stations(), [Discover]);
    clock.pass(Duration::from_secs(31));
    assert!(reach(Discover).await, "after a pause it is the next boot");
    assert!(reach(Loader).await);
    assert_eq!(stations(), [Discover, Loader]);
    let recorded = events(&inventory, id).await;
    let reached = recorded.iter().filter(|stored| matches!(stored.event.kind, EventKind::BootReached { .. })).count();
    assert_eq!(reached, 7);
}

#[tokio::test]
async fn boot_tokens_are_bounded_bound_and_expire_unused() {
    let (_dir, clock, inventory, host) = rack().await;
    let id = host.id;
    let hash = |number: u8| Digest([number; 32]);
    for number in 1..=12 {
        clock.pass(Duration::from_secs(1));
        inventory.transact(move |tx| tx.add_token(hash(number), id, None, TokenPurpose::Boot, mac(1))).await.unwrap();
    }
    let living = async || {
        look(&inventory, move |tx| (1..=12).filter(|n| tx.token(hash(*n)).unwrap().is_some()).collect::<Vec<u8>>())
            .await
    };
    assert_eq!(living().await, (5..=12).collect::<Vec<_>>());
    assert_eq!(living().await.len(), BOOT_TOKENS);
    let address = "192.0.2.7".parse().unwrap();
    inventory.transact(move |tx| tx.bind_token(hash(12), address)).await.unwrap();
    assert_eq!(look(&inventory, move |tx| tx.token(hash(12)).unwrap()).await.unwrap().address, Some(address));
    clock.pass(UNUSED_TTL);
    assert_eq!(living().await, [12], "a boot that goes on keeps its token");
    inventory.transact(move |tx| tx.drop_token(hash(12))).await.unwrap();
    let gone = inventory.transact(move |tx| tx.bind_token(hash(12), address)).await;
    assert!(matches!(gone, Err(TransactError::Failed(StoreError::NotFound { .. }))));
}

#[tokio::test]
async fn telemetry_reaches_the_snapshot_soon_and_costs_no_commit() {
    let (dir, clock, inventory, host) = rack().await;
    let install = arm(&inventory, host.id).await;
    for kind in to_first_boot().into_iter().take(3) {
        apply(&inventory, &install, kind).await.unwrap();
    }
    let commits = inventory.commits();
    let mut snapshots = inventory.subscribe();
    snapshots.mark_unchanged();
    let first = snapshots.borrow().version;
    for done_bytes in 1..=1000 {
        let progress = Progress { done_bytes, total_bytes: 1000, ..Progress::default() };
        inventory.progress(install.id, "write-image".into(), progress);
        let lines = vec![format!("line {done_bytes}").as_str().into()];
        inventory.telemetry(Telemetry::Log { host: host.id, lines });
    }
    let wanted = |snapshot: &Arc<rackberry::inventory::Snapshot>| {
        let entry = snapshot.host(host.id).unwrap();
        entry.live.as_ref().is_some_and(|live| live.progress.values().any(|progress| progress.done_bytes == 1000))
    };
    tokio::time::timeout(Duration::from_secs(10), snapshots.wait_for(wanted)).await.unwrap().unwrap();
    let snapshot = inventory.snapshot();
    assert!(snapshot.version - first <= 3, "2000 pieces of news made {} snapshots", snapshot.version - first);
    let entry = snapshot.host(host.id).unwrap();
    assert_eq!(entry.log.len(), rackberry::inventory::LOG_LINES);
    assert_eq!(entry.log.last().unwrap().as_str(), "line 1000");
    assert_eq!(inventory.commits(), commits);

    // It is written when the box stops, so a restart shows the last state.
    let live = entry.live.clone();
    inventory.close().await;
    let inventory = open_by(dir.path(), &clock);
    assert_eq!(inventory.snapshot().host(host.id).unwrap().live, live);
    // Another install begins without the former one's percents.
    apply(&inventory, &install, EventKind::Cancelled { reason: "stop".into() }).await.unwrap();
    arm(&inventory, host.id).await;
    assert_eq!(inventory.snapshot().host(host.id).unwrap().live, None);
}

#[tokio::test]
async fn an_alarm_is_raised_once_and_settled_once() {
    let (_dir, _clock, inventory, host) = rack().await;
    let id = host.id;
    let lines = events(&inventory, id).await.len();
    for _ in 0..3 {
        inventory.transact(move |tx| tx.raise_alarm("hot", Some(id), "It is hot.".into())).await.unwrap();
    }
    assert_eq!(inventory.snapshot().alarms.len(), 1);
    assert!(inventory.transact(|tx| tx.settle_alarm("hot", Actor::Box)).await.unwrap());
    assert!(!inventory.transact(|tx| tx.settle_alarm("hot", Actor::Box)).await.unwrap());
    assert_eq!(events(&inventory, id).await.len(), lines + 2);
}

#[tokio::test]
async fn only_our_own_lease_moves_a_token() {
    use rackberry_core::dhcp::{Change, LeaseRow};
    let (dir, clock, inventory, _host) = rack().await;
    let expires = inventory.now().after(Duration::from_secs(60));
    let lease = LeaseRow { address: "192.0.2.9".parse().unwrap(), mac: mac(1), client_id: None, expires };
    let changes = [Change::Put(lease.clone())];
    inventory.transact(move |tx| tx.change_leases(&changes)).await.unwrap();
    let moved = async |number: u32, address: &str| {
        let address = address.parse().unwrap();
        look(&inventory, move |tx| tx.lease_moved(mac(number), address).unwrap()).await
    };
    assert!(moved(1, "192.0.2.9").await && moved(1, "::ffff:192.0.2.9").await);
    assert!(!moved(2, "192.0.2.9").await && !moved(1, "192.0.2.8").await);
    clock.pass(Duration::from_secs(60));
    assert!(!moved(1, "192.0.2.9").await);
    inventory.close().await;
    let inventory = open_by(dir.path(), &clock);
    assert_eq!(look(&inventory, |tx| tx.leases().unwrap()).await, [lease]);
    inventory.transact(|tx| tx.change_leases(&[Change::Remove("192.0.2.9".parse().unwrap())])).await.unwrap();
    assert!(look(&inventory, |tx| tx.leases().unwrap()).await.is_empty());
}

#[tokio::test]
async fn who_is_removed_is_logged_out() {
    use rackberry::inventory::{Session, User};
    let (_dir, clock, inventory, _host) = rack().await;
    let user = User { name: "ada".into(), password: "$argon2id$x".to_owned(), role: "admin".to_owned() };
    let expires = inventory.now().after(Duration::from_secs(60));
    let session =
        |number: u8| Session { hash: Digest([number; 32]), user: "ada".into(), expires, csrf: "c".to_owned() };
    let begin = |number: u8| {
        let session = session(number);
        inventory.transact(move |tx| tx.add_session(&session))
    };
    assert!(begin(1).await.is_err(), "no session without a person");
    inventory.transact(move |tx| tx.put_user(&user)).await.unwrap();
    begin(1).await.unwrap();
    begin(2).await.unwrap();
    let known = |number: u8| look(&inventory, move |tx| tx.session(Digest([number; 32])).unwrap());
    assert_eq!(known(1).await, Some(session(1)));
    inventory.transact(|tx| tx.remove_session(Digest([1; 32]))).await.unwrap();
    assert_eq!(known(1).await, None);
    clock.pass(Duration::from_secs(60));
    assert_eq!(known(2).await, None);
    inventory.transact(|tx| tx.remove_user(&"ada".into())).await.unwrap();
    assert!(look(&inventory, |tx| tx.users().unwrap()).await.is_empty());
}
