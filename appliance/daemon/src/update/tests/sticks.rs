//! Sticks: the one file on one of them is taken; whatever else they hold does nothing, and is told once.

use super::{
    super::{
        Brought, Updates, UpdatesError,
        plugged::{STICK, watch_sticks},
        stick::{self, FILE, Found, StickError, Sticks},
        words::{OtherState, Step},
    },
    *,
};
use crate::{
    inventory::{Inventory, OpenOptions},
    sensors::Sensors,
};
use rackberry_core::{display::Notice, event::Actor};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

fn looks(folder: &Path) -> Sticks {
    let stick = folder.join("stick");
    fs::create_dir_all(&stick).unwrap();
    Sticks { sys: folder.join("sys"), own: "sda".to_owned(), open: Box::new(move |_| stick::open_in(&stick)) }
}

fn look(bench: &Bench, sticks: &Sticks) -> Found {
    sticks.look(&bench.key(), &facts(), &mut |_, _| {})
}

fn why(found: Found) -> String {
    match found {
        Found::Nothing { why } => why,
        Found::Refused { why } => format!("refused: {why}"),
        Found::Bundle { .. } => "a bundle".to_owned(),
    }
}

#[test]
fn only_disks_on_usb_with_a_medium_are_sticks() {
    let folder = tempfile::tempdir().unwrap();
    let sys = folder.path();
    assert_eq!(stick::plugged(sys), BTreeMap::new());
    plug(sys, "sdb", 7, 1);
    plug(sys, "sdc", 8, 0);
    fs::write(sys.join("block/sdc/size"), "0\n").unwrap();
    let inside = sys.join("devices/platform/usbless/mmc0/block/mmcblk0");
    fs::create_dir_all(&inside).unwrap();
    fs::write(inside.join("size"), "2048\n").unwrap();
    symlink(&inside, sys.join("block/mmcblk0")).unwrap();
    assert_eq!(stick::plugged(sys), BTreeMap::from([("sdb".to_owned(), 7)]));
}

#[test]
fn what_is_no_bundle_on_a_stick_is_left_alone_and_named() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let (sticks, sys) = (looks(folder.path()), folder.path().join("sys"));
    let file = folder.path().join("stick").join(FILE);
    assert_eq!(why(look(&bench, &sticks)), "", "there is no stick");
    plug(&sys, "sda", 1, 1);
    assert_eq!(why(look(&bench, &sticks)), "", "the disk that the box runs from is none");
    plug(&sys, "sdb", 2, 1);
    assert!(why(look(&bench, &sticks)).contains("no file rackberry-update.bin"));
    let secret = folder.path().join("secret");
    fs::write(&secret, bench.bundle(&root(2, 9000), |_| {})).unwrap();
    symlink(&secret, &file).unwrap();
    assert!(why(look(&bench, &sticks)).contains("no plain file"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(why(look(&bench, &sticks)).contains("no plain file"));
    fs::remove_dir(&file).unwrap();
    fs::write(&file, b"").unwrap();
    assert!(why(look(&bench, &sticks)).contains("refused: The file is empty"));
    // Without a byte of it on the disk.
    File::create(&file).unwrap().set_len(1 << 40).unwrap();
    assert!(why(look(&bench, &sticks)).starts_with("refused: The file has 1099511627776 bytes"));
    let other = Bench::new();
    fs::write(&file, other.bundle(&root(2, 9000), |_| {})).unwrap();
    assert!(why(look(&bench, &sticks)).contains("another key"));
    fs::write(&file, bench.bundle(&root(2, 9000), |header| header.board = "x86".to_owned())).unwrap();
    assert!(why(look(&bench, &sticks)).starts_with("refused: "));
    fs::write(&file, bench.bundle(&root(2, 9000), |_| {})).unwrap();
    assert_eq!(why(look(&bench, &sticks)), "a bundle");
    plug(&sys, "sdb", 2, 2);
    assert!(why(look(&bench, &sticks)).contains("2 partitions"));
    let unformatted = Box::new(|_: &str| Err(StickError::NoFat(io::ErrorKind::InvalidInput.into())));
    let sticks = Sticks { open: unformatted, ..looks(folder.path()) };
    plug(&sys, "sdc", 3, 0);
    assert!(why(look(&bench, &sticks)).contains("no FAT file system"));
}

/// A box whose helper and eye on sticks run.
struct Live {
    folder: tempfile::TempDir,
    bundle: Vec<u8>,
    updates: Updates,
    inventory: Inventory,
    _stop: tokio::sync::watch::Sender<bool>,
}

impl Live {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (socket, bundle) = served(folder.path());
        let state = folder.path().join("state");
        fs::create_dir_all(folder.path().join("stick")).unwrap();
        let inventory = Inventory::open(OpenOptions::new(&state)).unwrap();
        let updates = Updates::new(Some(socket), &state);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let sys = folder.path().join("sys");
        tokio::spawn(watch_sticks(updates.clone(), inventory.clone(), sys, stopped));
        Live { folder, bundle, updates, inventory, _stop: stop }
    }

    fn plug(&self, content: &[u8], number: u64) {
        fs::write(self.folder.path().join("stick").join(FILE), content).unwrap();
        plug(&self.folder.path().join("sys"), "sdb", number, 1);
    }

    fn alarm(&self, key: &str) -> Option<String> {
        self.inventory.snapshot().alarms.get(key).map(|alarm| alarm.text.to_string())
    }

    fn asks(&self, button: bool) -> Option<Notice> {
        self.updates.notice(&self.inventory.snapshot(), button, self.inventory.now())
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what} did not come");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_of_a_stick_waits_until_a_person_says_yes() {
    let live = Live::new();
    live.plug(&live.bundle, 1);
    live.until("the alarm", |live| live.alarm(STICK).is_some()).await;
    assert!(live.alarm(STICK).unwrap().contains("brought version 0.2.0."));
    let view = live.updates.view().await.unwrap();
    assert_eq!(view.stick, "It brought version 0.2.0.");
    assert_eq!(view.kept.unwrap().bytes, live.bundle.len() as u64);
    assert_eq!((view.work, view.status.other.state), (None, OtherState::Empty), "nothing is written by itself");
    assert_eq!(live.asks(false), None, "without a button the display asks nothing");
    assert!(matches!(live.asks(true), Some(Notice::Offer { to, .. }) if to == "0.2.0"));
    live.updates.press(&live.inventory, &Sensors::default()).await.unwrap();
    assert!(!live.alarm(STICK).unwrap_or_default().contains("Not installed"));
    live.until("the restart", |live| live.updates.work().is_some_and(|work| work.step == Step::Restart)).await;
    assert!(matches!(live.asks(false), Some(Notice::Update { to, percent: 100, .. }) if to == "0.2.0"));
    live.until("the alarm's end", |live| live.alarm(STICK).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_stick_takes_nothing_away_and_is_told_once() {
    let live = Live::new();
    live.plug(&live.bundle, 1);
    live.until("the alarm", |live| live.alarm(STICK).is_some()).await;
    live.plug(b"nothing", 2);
    live.until("the other alarm", |live| live.alarm("stick-refused").is_some()).await;
    assert!(live.alarm("stick-refused").unwrap().contains("does not begin as one"));
    assert_eq!(live.updates.kept().unwrap().header.version, NEW, "the one that waits stays");
    // Settled by a person, it does not come again while the stick stays in.
    live.inventory.transact(|tx| tx.settle_alarm("stick-refused", Actor::Box).map(drop)).await.unwrap();
    assert!(matches!(live.updates.take_stick().await, Err(UpdatesError::Helper(_))));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(live.alarm("stick-refused"), None);
    assert!(live.alarm(STICK).is_some());
    live.updates.drop_kept().unwrap();
    live.until("the alarm's end", |live| live.alarm(STICK).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_taken_already_is_not_read_again() {
    let live = Live::new();
    live.plug(&live.bundle, 1);
    live.until("the alarm", |live| live.alarm(STICK).is_some()).await;
    let kept = super::super::bundle_path(&live.folder.path().join("state"));
    let before = fs::metadata(&kept).unwrap().modified().unwrap();
    assert!(matches!(live.updates.take_stick().await.unwrap(), Brought::Bundle(kept) if kept.header.version == NEW));
    assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), before);
}

/// The real way: root, a loop device and the kernel's vfat; where one of them is missing this test says so.
#[test]
fn the_file_is_opened_on_a_real_fat_and_nothing_stays_mounted() {
    use std::process::Command;
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("fat.img");
    File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let run = |program: &str, words: &[&str]| {
        let said = Command::new(program).args(words).output().ok().filter(|said| said.status.success())?;
        Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    let image = image.to_str().unwrap();
    let content = folder.path().join("content");
    fs::write(&content, b"the bundle").unwrap();
    let target = format!("::{FILE}");
    let made = run("mkfs.vfat", &[image])
        .and_then(|_| run("mcopy", &["-i", image, content.to_str().unwrap(), &target]))
        .and_then(|_| run("losetup", &["-r", "-f", "--show", image]));
    let Some(device) = made else {
        eprintln!("left out: it takes root, a loop device, mkfs.vfat and mcopy");
        return;
    };
    let at = folder.path().join("at");
    let opened = stick::open_on(Path::new(&device), &at);
    let mounted = fs::read_to_string("/proc/self/mounts").unwrap().contains(at.to_str().unwrap());
    let text = opened.and_then(|file| io::read_to_string(file).map_err(StickError::Unreadable));
    let _ = run("losetup", &["-d", &device]);
    assert!(!mounted);
    match text {
        Err(StickError::NoFat(error)) if error.raw_os_error() == Some(19) => {
            eprintln!("left out: this kernel has no vfat");
        }
        text => assert_eq!(text.unwrap(), "the bundle"),
    }
}
