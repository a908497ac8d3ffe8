//! Commits: shared, durable before the answer, and nothing of what failed.

use crate::support::*;
use rackberry::inventory::{Clock as _, OpenOptions, StoreError, TransactError};
use rackberry_core::{
    event::{Actor, EventKind},
    time::{Timestamp, WallTime},
};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    let host = observe(&inventory, asks(0x7700_0001, Some(1), Some("S3Z8"))).await;
    assert_eq!(host.name.as_str(), "host-000001");
    assert_eq!(inventory.snapshot().host_by_mac(mac(0x7700_0001)).unwrap().host, host);
    let install = arm(&inventory, host.id).await;
    inventory.close().await;

    let inventory = open(dir.path());
    assert_eq!(look(&inventory, move |tx| tx.host_by_mac(mac(0x7700_0001))).await.unwrap(), host);
    assert_eq!(inventory.snapshot().active_installs().collect::<Vec<_>>(), [&install]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closures_that_wait_together_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    let before = inventory.commits();
    // The first one holds the thread until all others wait.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let first = tokio::spawn({
        let inventory = inventory.clone();
        async move { look(&inventory, move |_| held.recv().unwrap()).await }
    });
    tokio::task::yield_now().await;
    let mut others = tokio::task::JoinSet::new();
    for number in 0..100 {
        let inventory = inventory.clone();
        others.spawn(async move { observe(&inventory, asks(number, None, None)).await });
    }
    // All of them have queued once each was polled.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    first.await.unwrap();
    assert_eq!(others.join_all().await.len(), 100);
    let commits = inventory.commits() - before;
    assert!(commits < 50, "100 closures took {commits} commits");
    assert_eq!(inventory.snapshot().hosts.len(), 100);
}

#[tokio::test]
async fn a_panic_or_an_error_takes_only_its_own_step_back() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    let panicking = inventory.transact(|tx| {
        tx.observe(&asks(1, None, None), None, None)?;
        if tx.hosts().count() == 1 {
            panic!("a mistake");
        }
        Ok::<_, StoreError>(())
    });
    let failing = inventory.transact(|tx| {
        tx.observe(&asks(2, None, None), None, None)?;
        Err::<(), _>(StoreError::NotFound { what: "host", id: "x".to_owned() })
    });
    let working = inventory.transact(|tx| tx.observe(&asks(3, None, None), None, None));
    let (panicking, failing, working) = tokio::join!(panicking, failing, working);
    assert!(matches!(panicking, Err(TransactError::Panicked(text)) if text == "a mistake"));
    assert!(matches!(failing, Err(TransactError::Failed(StoreError::NotFound { .. }))));
    let kept = working.unwrap().id;
    let hosts =
        |snapshot: std::sync::Arc<rackberry::inventory::Snapshot>| snapshot.hosts.keys().copied().collect::<Vec<_>>();
    assert_eq!(hosts(inventory.snapshot()), [kept]);
    inventory.close().await;
    assert_eq!(hosts(open(dir.path()).snapshot()), [kept]);
}

#[tokio::test]
async fn the_snapshot_is_published_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    for number in 0..50 {
        let host = observe(&inventory, asks(number, None, None)).await;
        assert!(inventory.snapshot().host(host.id).is_some());
    }
}

#[tokio::test]
async fn a_closed_inventory_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    let other = inventory.clone();
    inventory.close().await;
    assert!(matches!(other.transact(|_| Ok::<_, StoreError>(())).await, Err(TransactError::Closed)));
    other.close().await;
}

const CHILD: &str = "RACKBERRY_TEST_KILL_DIR";

/// The test runs itself as a child that acknowledges hosts until it is killed.
#[test]
fn after_kill_9_everything_acknowledged_is_there() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(dir) = std::env::var_os(CHILD) {
        let inventory = open(dir.as_ref());
        for number in 0.. {
            runtime.block_on(observe(&inventory, asks(number, None, None)));
            println!("acknowledged {number}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["durability::after_kill_9_everything_acknowledged_is_there", "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = round * 40;
        while acknowledged < enough {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, number)) = line.split_once("acknowledged ") {
                acknowledged = acknowledged.max(number.parse::<u32>().unwrap());
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts too.
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u32>().ok()) {
                acknowledged = acknowledged.max(number);
            }
        }
        let inventory = open(dir.path());
        let snapshot = inventory.snapshot();
        assert!((0..=acknowledged).all(|number| snapshot.host_by_mac(mac(number)).is_some()));
        assert!(inventory.recovery().is_none());
        runtime.block_on(inventory.close());
    }
}

#[tokio::test]
async fn time_goes_on_within_a_boot_and_stands_still_while_the_box_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let inventory = open_by(dir.path(), &clock);
    let begin = inventory.now();
    clock.pass(Duration::from_secs(10));
    assert_eq!(inventory.now(), begin.after(Duration::from_secs(10)));
    observe(&inventory, asks(1, None, None)).await;
    inventory.close().await;

    // The same boot of the kernel: the daemon was away for a minute.
    clock.pass(Duration::from_secs(60));
    let inventory = open_by(dir.path(), &clock);
    assert_eq!(inventory.now(), begin.after(Duration::from_secs(70)));
    inventory.close().await;

    clock.power_cycle();
    let inventory = open_by(dir.path(), &clock);
    assert_eq!(inventory.now(), begin.after(Duration::from_secs(70)));
    clock.set_wall(-5);
    assert_eq!(inventory.wall(), WallTime(-5));
    clock.pass(Duration::from_secs(1));
    assert_eq!(inventory.now(), begin.after(Duration::from_secs(71)));
}

#[tokio::test]
async fn a_token_does_not_live_again_because_the_wall_clock_jumps() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let inventory = open_by(dir.path(), &clock);
    let host = observe(&inventory, asks(1, None, None)).await.id;
    let hash = rackberry_core::image::Digest([9; 32]);
    inventory
        .transact(move |tx| tx.add_token(hash, host, None, rackberry::inventory::TokenPurpose::Boot, mac(1)))
        .await
        .unwrap();
    for wall in [0, i64::MAX, -1] {
        clock.set_wall(wall);
        assert!(look(&inventory, move |tx| tx.token(hash).unwrap()).await.is_some(), "early at wall time {wall}");
    }
    clock.set_wall(0);
    clock.pass(rackberry::inventory::UNUSED_TTL);
    assert!(look(&inventory, move |tx| tx.token(hash).unwrap()).await.is_none());
    clock.set_wall(0);
    inventory.close().await;
    clock.power_cycle();
    let inventory = open_by(dir.path(), &clock);
    assert!(look(&inventory, move |tx| tx.token(hash).unwrap()).await.is_none());
}

#[tokio::test]
async fn ids_sort_by_the_order_they_were_made_in_also_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let inventory = open_by(dir.path(), &clock);
        // More than the counter holds within one millisecond.
        ids.extend(look(&inventory, |tx| (0..5000).map(|_| tx.install_id().unwrap()).collect::<Vec<_>>()).await);
        observe(&inventory, asks(1, None, None)).await;
        inventory.close().await;
        clock.pass(Duration::from_secs(1));
    }
    assert!(ids.is_sorted() && ids.iter().all(|id| id.0.get_version_num() == 7));
    ids.dedup();
    assert_eq!(ids.len(), 15_000);
}

#[tokio::test]
async fn the_box_keeps_its_id_and_events_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut origins = Vec::new();
    for _ in 0..2 {
        let inventory = open(dir.path());
        let kind = EventKind::BoxStarted { version: "1".into() };
        let event = inventory.transact(move |tx| tx.record(None, None, Actor::Box, kind)).await.unwrap();
        assert!(event.at > Timestamp(0));
        origins.push(event.origin);
        inventory.close().await;
    }
    assert_eq!(origins.first(), origins.last());
    let inventory = open(dir.path());
    let filter = rackberry::inventory::EventFilter { limit: 10, ..Default::default() };
    let (newest, followed) = inventory
        .read(move |reader| {
            let newest = reader.events(&filter)?;
            let after = newest.last().map(|stored| stored.seq);
            let followed =
                reader.follow(&rackberry::inventory::EventFilter { after, limit: 10, ..Default::default() })?;
            Ok::<_, StoreError>((newest, followed))
        })
        .await
        .unwrap();
    assert_eq!(newest.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(followed.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn settings_keep_their_type() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = rackberry::inventory::Inventory::open(OpenOptions::new(dir.path())).unwrap();
    inventory.transact(|tx| tx.set_setting("limit", &7_u32)).await.unwrap();
    assert_eq!(look(&inventory, |tx| tx.setting::<u32>("limit").unwrap()).await, Some(7));
    assert!(look(&inventory, |tx| tx.setting::<String>("limit")).await.is_err());
    assert_eq!(look(&inventory, |tx| tx.setting::<u32>("other").unwrap()).await, None);
}

#[tokio::test]
async fn wall_clock_jumps_of_ten_years_and_restarts_end_nothing_early_and_revive_nothing() {
    const JUMPS: u32 = 1000;
    const TEN_YEARS: i64 = 10 * 365 * 86_400_000;
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let mut inventory = open_by(dir.path(), &clock);
    let host = observe(&inventory, asks(1, None, None)).await.id;
    // What has passed while the box ran, which is all that may count.
    let mut passed = Duration::ZERO;
    let mut given: Vec<(rackberry_core::image::Digest, Duration)> = Vec::new();
    let (mut lived, mut over, mut random) = (0_u32, 0_u32, 0x2545_f491_4f6c_dd1d_u64);
    for jump in 0..JUMPS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let step = Duration::from_secs(random % 600);
        clock.pass(step);
        passed += step;
        let sign = if random & 1 == 0 { 1 } else { -1 };
        clock.set_wall(clock.wall().0.saturating_add(sign * TEN_YEARS));
        match random >> 8 & 15 {
            0 => {
                inventory.close().await;
                clock.power_cycle();
                inventory = open_by(dir.path(), &clock);
            }
            1 => {
                inventory.close().await;
                inventory = open_by(dir.path(), &clock);
            }
            _ => {}
        }
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&jump.to_le_bytes());
        let hash = rackberry_core::image::Digest(bytes);
        let purpose = rackberry::inventory::TokenPurpose::FirstBoot;
        inventory.transact(move |tx| tx.add_token(hash, host, None, purpose, mac(1))).await.unwrap();
        given.push((hash, passed));
        let recent = given[given.len().saturating_sub(40)..].to_vec();
        let there: Vec<bool> =
            look(&inventory, move |tx| recent.iter().map(|(hash, _)| tx.token(*hash).unwrap().is_some()).collect())
                .await;
        for ((_, at), there) in given[given.len().saturating_sub(40)..].iter().zip(there) {
            let age = passed - *at;
            assert_eq!(there, age < rackberry::inventory::UNUSED_TTL, "jump {jump}: a token of age {age:?}");
            lived += u32::from(there);
            over += u32::from(!there);
        }
    }
    println!("{JUMPS} jumps: {lived} looks at tokens that live, {over} at those that are over, none wrong");
    assert!(lived > 1000 && over > 1000, "{lived} {over}");
}
