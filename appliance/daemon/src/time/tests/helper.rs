//! Root's end, with a clock that is only written down.

use super::{super::*, HOUR, Server, asking, now, soon};
use crate::inventory::{Clock, Inventory, OpenOptions, Session, StoreError, User};
use rackberry_core::{
    dhcp::{Change, LeaseRow},
    host::MacAddr,
    image::Digest,
};
use rustix::{process::Uid, thread::set_thread_uid};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

/// When the card of these tests was made.
const BUILT: u64 = 1_767_225_600;

/// A helper that serves until the test's process ends.
struct Helper {
    folder: tempfile::TempDir,
    /// What the clock was set to.
    set: Arc<Mutex<Vec<Duration>>>,
}

impl Helper {
    fn start(mut also: impl FnMut(Duration) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        // Everybody comes as far as the socket here, so that who asks is what counts.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(place("built"), format!("{BUILT}\n")).unwrap();
        fs::write(place("clock"), "1\n").unwrap();
        let set: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let places = Places {
            socket: place("socket"),
            built: place("built"),
            floor: place("clock"),
            state_dir: folder.path().to_owned(),
        };
        let recorder = set.clone();
        let keeper = Keeper::new(&places, move |time| {
            recorder.lock().unwrap().push(time);
            also(time);
            Ok(())
        })
        .unwrap();
        let listener = keeper.listen(&places.socket).unwrap();
        std::thread::spawn(move || keeper.attend(&listener));
        Helper { folder, set }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn floor(&self) -> String {
        fs::read_to_string(self.folder.path().join("clock")).unwrap()
    }

    /// Its answer to this line.
    fn told(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut said = String::new();
        let _ = BufReader::new(stream).read_line(&mut said);
        said
    }

    fn set(&self) -> Vec<Duration> {
        self.set.lock().unwrap().clone()
    }
}

#[test]
fn only_a_believable_time_is_set_and_not_often() {
    let helper = Helper::start(|_| {});
    let late = BUILT + 30 * 365 * 86_400 + 1;
    for (line, why) in [
        ("{\"seconds\":1,\"nanos\":0}\n".to_owned(), "before this card was made"),
        (format!("{{\"seconds\":{},\"nanos\":999999999}}\n", BUILT - 1), "before this card was made"),
        (format!("{{\"seconds\":{late},\"nanos\":0}}\n"), "more than 30 years after"),
        (format!("{{\"seconds\":{},\"nanos\":0}}\n", u64::MAX), "more than 30 years after"),
        (format!("{{\"seconds\":{BUILT},\"nanos\":1000000000}}\n"), "fewer nanoseconds"),
        (format!("{{\"seconds\":{BUILT},\"nanos\":0,\"path\":\"/etc\"}}\n"), "takes seconds and nanos"),
        ("{\"seconds\":-1,\"nanos\":0}\n".to_owned(), "takes seconds and nanos"),
        ("date -s tomorrow\n".to_owned(), "takes seconds and nanos"),
    ] {
        let said = helper.told(&line);
        assert!(said.contains("refused") && said.contains(why), "{line}{said}");
    }
    assert_eq!((helper.set(), helper.floor().as_str()), (vec![], "1\n"), "nothing was set");
    let right = format!("{{\"seconds\":{},\"nanos\":5}}\n", BUILT + 9);
    assert_eq!(helper.told(&right), "\"set\"\n");
    assert_eq!(helper.set(), [Duration::new(BUILT + 9, 5)]);
    assert_eq!(helper.floor(), format!("{}\n", BUILT + 9), "the next start goes on from there");
    let said = helper.told(&right);
    assert!(said.contains("refused") && said.contains("30 s ago"), "{said}");
    assert_eq!(helper.set().len(), 1);
}

#[test]
fn an_endless_line_or_none_ends_nothing() {
    let helper = Helper::start(|_| {});
    let silent = UnixStream::connect(helper.socket()).unwrap();
    drop(silent);
    helper.told(&"9".repeat(4000));
    assert!(helper.told("\n").contains("takes seconds and nanos"));
    assert_eq!(helper.set(), []);
}

#[test]
fn nobody_but_the_daemons_user_and_root_may_ask() {
    if !rustix::process::geteuid().is_root() {
        println!("time: only root can ask as somebody else; left out");
        return;
    }
    let helper = Helper::start(|_| {});
    let socket = helper.socket();
    // Credentials belong to threads; this one ends with them.
    let said = std::thread::spawn(move || {
        set_thread_uid(Uid::from_raw(65_534)).unwrap();
        let mut stream = UnixStream::connect(socket).unwrap();
        // It answers without reading, and may be gone before this is written.
        let _ = stream.write_all(format!("{{\"seconds\":{BUILT},\"nanos\":0}}\n").as_bytes());
        let mut said = String::new();
        BufReader::new(stream).read_line(&mut said).map(|_| said)
    });
    let said = said.join().unwrap();
    assert_eq!(helper.set(), [], "{said:?}");
    assert!(said.is_err() || said.is_ok_and(|said| said.is_empty() || said.contains("user 65534 may not")));
    assert_eq!(helper.told(&format!("{{\"seconds\":{BUILT},\"nanos\":0}}\n")), "\"set\"\n");
}

/// A box whose wall clock is off by what it holds, in milliseconds, and whose other clocks are right.
#[derive(Debug, Clone)]
struct Wrong(Arc<AtomicI64>);

impl Clock for Wrong {
    fn boot_id(&self) -> String {
        "this".to_owned()
    }

    fn boottime(&self) -> Duration {
        Duration::from_secs(1000)
    }

    fn wall(&self) -> WallTime {
        WallTime(i64::try_from(now().as_millis()).unwrap() + self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_step_of_the_clock_moves_no_lease_and_ends_no_session() {
    const YEARS: i64 = 8 * 365 * 86_400_000;
    let clock = Wrong(Arc::new(AtomicI64::new(-YEARS)));
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { clock: Arc::new(clock.clone()), ..OpenOptions::new(folder.path()) };
    let inventory = Inventory::open(options).unwrap();
    let (address, mac, hash) = ("192.0.2.7".parse().unwrap(), MacAddr([2, 0, 0, 0, 0, 7]), Digest([7; 32]));
    let row = inventory
        .transact(move |tx| {
            let user = User { name: "ops".into(), password: "none".to_owned(), role: "admin".to_owned() };
            tx.put_user(&user)?;
            let expires = tx.now().after(HOUR);
            tx.add_session(&Session { hash, user: user.name, expires, csrf: "0".to_owned() })?;
            let row = LeaseRow { address, mac, client_id: None, expires };
            tx.change_leases(&[Change::Put(row.clone())])?;
            Ok::<_, StoreError>(row)
        })
        .await
        .unwrap();
    let (before, wall_before) = (inventory.clock().now(), inventory.wall());

    // The step takes the real way: a server, the client, the helper's socket; only the last move is written down in place of done.
    let (stepped, server) = (clock.clone(), Server::ahead(0));
    let helper = Helper::start(move |target| {
        let off = i128::try_from(target.as_millis()).unwrap() - i128::try_from(now().as_millis()).unwrap();
        stepped.0.store(i64::try_from(off).unwrap(), Ordering::SeqCst);
    });
    let wall = clock.clone();
    let asking = asking(&[&server], |setup| {
        setup.helper = Some(helper.socket());
        setup.wall = Arc::new(move || Duration::from_millis(u64::try_from(wall.wall().0).unwrap()));
    });
    let told = soon("a time", || asking.time.told()).await;
    assert_eq!((told.offset, helper.set().len()), (0, 1));
    assert_eq!(asking.time.sentence(WallTime::FIRST), format!("Time from {}, just now.", server.name));
    let jump = inventory.wall().0 - wall_before.0;
    assert!((jump - YEARS).abs() < 3_600_000, "the wall clock made its jump: {jump} ms");

    assert_eq!(inventory.clock().now(), before, "the time that decides did not");
    let (leases, session) =
        inventory.transact(move |tx| Ok::<_, StoreError>((tx.leases()?, tx.session(hash)?))).await.unwrap();
    assert_eq!(leases, [row]);
    assert!(session.is_some());
}

#[tokio::test]
async fn a_helper_that_refuses_or_is_not_there_is_told_of_and_asked_again() {
    let server = Server::ahead(60);
    let gone = asking(&[&server], |setup| setup.helper = Some("/no/such/socket".into()));
    let said = soon("the trouble", || Some(gone.says()).filter(|said| said.contains("does not answer"))).await;
    assert!(said.starts_with("The part of the box that sets its clock") && said.contains("may be wrong"), "{said}");
    // Before this card was made.
    let early = Server::ahead(0);
    let helper = Helper::start(|_| {});
    fs::write(helper.folder.path().join("built"), "4000000000").unwrap();
    let places = Places {
        socket: helper.folder.path().join("other"),
        built: helper.folder.path().join("built"),
        floor: helper.folder.path().join("clock"),
        state_dir: helper.folder.path().to_owned(),
    };
    let keeper = Keeper::new(&places, |_| Ok(())).unwrap();
    let listener = keeper.listen(&places.socket).unwrap();
    std::thread::spawn(move || keeper.attend(&listener));
    let refused = asking(&[&early], |setup| {
        setup.helper = Some(places.socket);
        setup.wall = Arc::new(|| now() - HOUR);
    });
    let said = soon("the refusal", || Some(refused.says()).filter(|said| said.contains("not set"))).await;
    assert!(said.contains("before this card was made"), "{said}");
    assert!(refused.time.told().is_none());
}
