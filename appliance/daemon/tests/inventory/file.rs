//! The database file: who may open it, and what becomes of a broken one.

use crate::support::*;
use rackberry::inventory::{DATABASE, Inventory, OpenError, OpenOptions, TokenPurpose};
use rackberry_core::{image::Digest, install::Phase};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

#[tokio::test]
async fn only_its_owner_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    observe(&inventory, asks(1, None, None)).await;
    inventory.backup(dir.path().join("copy.db")).await.unwrap();
    for file in [DATABASE, "inventory.db-wal", "copy.db"] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn two_daemons_cannot_open_one_state_folder() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    let error = Inventory::open(OpenOptions::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    inventory.close().await;
    open(dir.path());
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    let path = dir.path().join(DATABASE);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
    let error = Inventory::open(OpenOptions::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 999, .. }));
    assert!(error.to_string().contains("newer Rackberry"), "{error}");
    assert!(path.exists());
}

#[tokio::test]
async fn after_a_roll_back_the_copy_from_before_the_update_is_used_and_what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    let kept = observe(&inventory, asks(1, Some(1), None)).await;
    let install = arm(&inventory, kept.id).await;
    // A later version, which knows one format more: it copies, changes the format, and goes on.
    let database = rusqlite::Connection::open(dir.path().join(DATABASE)).unwrap();
    let format: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let copy = dir.path().join(format!("backups/before-format-{}.db", format + 1));
    inventory.backup(&copy).await.unwrap();
    let lost = observe(&inventory, asks(2, Some(2), None)).await;
    inventory.close().await;
    database.execute_batch("CREATE TABLE later (x)").unwrap();
    database.pragma_update(None, "user_version", format + 1).unwrap();
    drop(database);

    let inventory = open(dir.path());
    let recovery = inventory.recovery().unwrap().clone();
    assert_eq!(recovery.restored, Some(copy));
    let snapshot = inventory.snapshot();
    assert_eq!(snapshot.host(kept.id).unwrap().host, kept);
    assert!(snapshot.host(lost.id).is_none());
    let text = snapshot.alarms["inventory-restored"].text.to_string();
    for wanted in
        ["An update was undone", lost.name.as_str(), recovery.set_aside.file_name().unwrap().to_str().unwrap()]
    {
        assert!(text.contains(wanted), "{wanted} is not in: {text}");
    }
    assert_eq!(snapshot.install(install.id).unwrap().state.phase, Phase::Cancelled);
    // The later one is whole, for the version that knows it.
    let later = rusqlite::Connection::open(&recovery.set_aside).unwrap();
    let hosts: i64 = later.query_row("SELECT count(*) FROM hosts", [], |row| row.get(0)).unwrap();
    assert_eq!(hosts, 2);
    inventory.close().await;
    assert!(open(dir.path()).recovery().is_none());
}

#[tokio::test]
async fn after_a_roll_back_without_a_sound_copy_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    let path = dir.path().join(DATABASE);
    let database = rusqlite::Connection::open(&path).unwrap();
    let format: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    database.pragma_update(None, "user_version", format + 1).unwrap();
    drop(database);
    fs::create_dir_all(dir.path().join("backups")).unwrap();
    fs::write(dir.path().join(format!("backups/before-format-{}.db", format + 1)), "noise").unwrap();
    let before = fs::read(&path).unwrap();
    let error = Inventory::open(OpenOptions::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { .. }));
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// Overwrites everything after the header of the first page.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().skip(100).for_each(|byte| *byte ^= 0x5a);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_broken_file_is_set_aside_and_the_newest_backup_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let inventory = open_by(dir.path(), &clock);
    let host = observe(&inventory, asks(1, Some(1), None)).await;
    let install = arm(&inventory, host.id).await;
    let token = Digest([3; 32]);
    let id = host.id;
    inventory.transact(move |tx| tx.add_token(token, id, None, TokenPurpose::Boot, mac(1))).await.unwrap();
    inventory.close().await;
    // A start two hours later makes the backup that knows all this.
    clock.pass(Duration::from_secs(7200));
    open_by(dir.path(), &clock).close().await;
    damage(&dir.path().join(DATABASE));

    let inventory = open_by(dir.path(), &clock);
    let recovery = inventory.recovery().unwrap().clone();
    assert!(recovery.set_aside.exists());
    assert!(recovery.restored.is_some());
    let snapshot = inventory.snapshot();
    assert_eq!(snapshot.host(host.id).unwrap().host, host);
    assert!(snapshot.alarms.contains_key("inventory-restored"));
    // The backup may not know that the install was consumed, so it may erase nothing.
    assert_eq!(snapshot.install(install.id).unwrap().state.phase, Phase::Cancelled);
    assert_eq!(snapshot.active_installs().count(), 0);
    assert_eq!(look(&inventory, move |tx| tx.token(token).unwrap()).await, None);
    inventory.close().await;
    assert!(open_by(dir.path(), &clock).recovery().is_none());
}

#[tokio::test]
async fn damaged_backups_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    for number in 0..3 {
        // This start makes the backup, which is whole once it is closed; what comes after must not be in it.
        open_by(dir.path(), &clock).close().await;
        let inventory = open_by(dir.path(), &clock);
        observe(&inventory, asks(number, None, None)).await;
        inventory.close().await;
        clock.pass(Duration::from_secs(7200));
    }
    let backups = dir.path().join("backups");
    damage(&backups.join("inventory-000003.db"));
    damage(&dir.path().join(DATABASE));
    let inventory = open_by(dir.path(), &clock);
    let restored = inventory.recovery().unwrap().restored.clone().unwrap();
    assert_eq!(restored, backups.join("inventory-000002.db"));
    assert_eq!(inventory.snapshot().hosts.len(), 1);
}

#[tokio::test]
async fn without_a_backup_it_begins_empty_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(DATABASE), "this is no database, only text that is longer than a header").unwrap();
    let inventory = open(dir.path());
    assert!(inventory.recovery().unwrap().restored.is_none());
    assert!(inventory.snapshot().alarms.get("inventory-restored").unwrap().text.as_str().contains("begins empty"));
}

#[tokio::test]
async fn a_truncated_file_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let inventory = open_by(dir.path(), &clock);
    observe(&inventory, asks(1, None, None)).await;
    inventory.close().await;
    clock.pass(Duration::from_secs(7200));
    open_by(dir.path(), &clock).close().await;
    fs::write(dir.path().join(DATABASE), "").unwrap();
    let inventory = open_by(dir.path(), &clock);
    assert_eq!(inventory.snapshot().hosts.len(), 1);
    assert!(inventory.recovery().is_some());
}

#[tokio::test]
async fn a_restoration_that_a_power_cut_broke_off_is_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let inventory = open_by(dir.path(), &clock);
    observe(&inventory, asks(1, None, None)).await;
    inventory.close().await;
    clock.pass(Duration::from_secs(7200));
    open_by(dir.path(), &clock).close().await;
    // The former file is moved away already, the copy is not yet in its place.
    fs::rename(dir.path().join(DATABASE), dir.path().join("inventory.db.broken-1")).unwrap();
    fs::write(dir.path().join("inventory.restoring"), "half a copy").unwrap();
    let inventory = open_by(dir.path(), &clock);
    assert_eq!(inventory.snapshot().hosts.len(), 1);
    assert!(inventory.recovery().unwrap().set_aside.ends_with("inventory.db.broken-1"));
    inventory.close().await;
    assert!(open_by(dir.path(), &clock).recovery().is_none());
}

#[tokio::test]
async fn what_a_backup_permits_is_withdrawn_also_if_the_first_start_after_it_broke_off() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    let host = observe(&inventory, asks(1, Some(1), None)).await;
    let install = arm(&inventory, host.id).await;
    let copy = dir.path().join("copy.db");
    inventory.backup(&copy).await.unwrap();
    inventory.close().await;
    let options = OpenOptions { restore: Some(copy.clone()), ..OpenOptions::new(dir.path()) };
    Inventory::open(options).unwrap().close().await;
    // As the restored file was before that start wrote to it: the mark alone.
    fs::copy(&copy, dir.path().join(DATABASE)).unwrap();
    let mark = r#"{"set_aside":"/x/inventory.db.broken-1","restored":"/x/copy.db"}"#;
    rusqlite::Connection::open(dir.path().join(DATABASE))
        .unwrap()
        .execute("INSERT INTO settings (key, json) VALUES ('restored', ?1)", [mark])
        .unwrap();
    let inventory = open(dir.path());
    assert_eq!(inventory.snapshot().install(install.id).unwrap().state.phase, Phase::Cancelled);
    assert!(inventory.recovery().is_some());
    inventory.close().await;
    assert!(open(dir.path()).recovery().is_none());
}

#[tokio::test]
async fn three_backups_are_kept_and_quick_restarts_make_none() {
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::new();
    let names = || {
        let mut names: Vec<String> = fs::read_dir(dir.path().join("backups"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    for _ in 0..5 {
        open_by(dir.path(), &clock).close().await;
        clock.pass(Duration::from_secs(3600));
    }
    let five = ["inventory-000003.db", "inventory-000004.db", "inventory-000005.db"];
    assert_eq!(names(), five);
    for _ in 0..5 {
        open_by(dir.path(), &clock).close().await;
        clock.pass(Duration::from_secs(60));
    }
    assert_eq!(names(), ["inventory-000004.db", "inventory-000005.db", "inventory-000006.db"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_while_it_runs_can_be_restored() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = open(dir.path());
    let host = observe(&inventory, asks(0, None, None)).await;
    let writing = tokio::spawn({
        let inventory = inventory.clone();
        async move {
            for number in 1..200 {
                observe(&inventory, asks(number, None, None)).await;
            }
        }
    });
    let copy = dir.path().join("copy.db");
    inventory.backup(&copy).await.unwrap();
    writing.await.unwrap();
    inventory.close().await;

    let options = OpenOptions { restore: Some(copy), ..OpenOptions::new(dir.path()) };
    let inventory = Inventory::open(options).unwrap();
    assert_eq!(inventory.snapshot().host(host.id).unwrap().host, host);
    assert!(inventory.recovery().is_some());
}

#[test]
fn what_is_no_inventory_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.db");
    fs::write(&copy, "no database at all").unwrap();
    let options = OpenOptions { restore: Some(copy.clone()), ..OpenOptions::new(dir.path()) };
    assert!(matches!(Inventory::open(options), Err(OpenError::File { path, .. }) if path == copy));
}
