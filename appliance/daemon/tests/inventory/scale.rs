//! Ten thousand hosts: a change costs one host, not all of them.

use crate::support::*;
use rackberry::inventory::{Enrolment, StoreError};
use rackberry_core::{event::Actor, text::HostName};
use std::{sync::Arc, time::Instant};

#[tokio::test]
async fn at_ten_thousand_hosts_a_change_shares_all_others() {
    const HOSTS: u32 = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    inventory
        .transact(|tx| {
            for number in 0..HOSTS {
                let name = HostName::nearest(&format!("node-{number}"));
                let enrolment = Enrolment {
                    name,
                    macs: vec![mac(number)],
                    uuid: None,
                    serial: None,
                    tags: Vec::new(),
                    fixed_address: None,
                };
                tx.enrol(enrolment, Actor::Box)?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    let before = inventory.snapshot();
    let began = Instant::now();
    for number in 0..100 {
        let host = observe(&inventory, asks(number, None, Some("S1"))).await.id;
        inventory
            .transact(move |tx| tx.reach(host, rackberry_core::event::Station::Discover, "x".into(), None, None))
            .await
            .unwrap();
    }
    let each = began.elapsed() / 200;
    let after = inventory.snapshot();
    let shared =
        before.hosts.values().zip(after.hosts.values()).filter(|(before, after)| Arc::ptr_eq(before, after)).count();
    assert_eq!(shared, HOSTS as usize - 100);
    println!("{each:?} for each of 200 commits at {HOSTS} hosts");
    // An fsync each; copying ten thousand hosts would cost far more.
    assert!(each.as_millis() < 200, "{each:?} for each commit");
    inventory.close().await;
    let began = Instant::now();
    assert_eq!(open(dir.path()).snapshot().hosts.len(), HOSTS as usize);
    println!("opened in {:?}", began.elapsed());
}
