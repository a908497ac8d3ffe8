//! Time servers that are right, wrong, rude and silent, on loopback; a clock that is only written down, never set.

mod decide;
mod helper;

use super::{
    Pace, Setup, Time, View,
    ask::{AskError, Heard, ask},
    packet::{LENGTH, Unusable},
    watch,
};
use crate::{config::TimeServer, net::NetworkView};
use std::{
    net::UdpSocket,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch as channel;

/// For what has to happen, on a slow machine as well.
const SOON: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// From 1900 to 1970.
const EPOCH: u64 = 2_208_988_800;

/// The machine's clock, which tests take for the true one.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn timestamp(time: Duration) -> u64 {
    ((time.as_secs() + EPOCH) << 32) | ((u64::from(time.subsec_nanos()) << 32) / 1_000_000_000)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The answer of a server in order whose clock says `time`.
fn answer(question: &[u8], time: Duration) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    put(&mut bytes, 0, &[0x24, 2, 6, 0xe9]);
    put(&mut bytes, 4, &(1_u32 << 10).to_be_bytes());
    put(&mut bytes, 8, &(1_u32 << 9).to_be_bytes());
    put(&mut bytes, 12, &[10, 0, 0, 1]);
    put(&mut bytes, 16, &timestamp(time - Duration::from_secs(100)).to_be_bytes());
    put(&mut bytes, 24, &question[40..48]);
    put(&mut bytes, 32, &timestamp(time).to_be_bytes());
    put(&mut bytes, 40, &timestamp(time).to_be_bytes());
    bytes
}

/// A server on an ephemeral port of loopback; `answers` makes the datagrams for the n-th question. Ends with the test's process.
struct Server {
    name: TimeServer,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(answers: impl Fn(&[u8], usize) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let name = socket.local_addr().unwrap().to_string().parse().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let question = &buffer[..length];
                assert_eq!((length, question[0]), (LENGTH, 0x23), "version 4, client");
                assert!(question[1..40].iter().all(|byte| *byte == 0), "nothing is told: {question:?}");
                for answer in answers(question, counted.fetch_add(1, Ordering::SeqCst)) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Server { name, asked }
    }

    /// In order, and ahead of the true time by so many seconds.
    fn ahead(seconds: i64) -> Self {
        Self::start(move |question, _| {
            let time = u64::try_from(i64::try_from(now().as_nanos()).unwrap() + seconds * 1_000_000_000).unwrap();
            vec![answer(question, Duration::from_nanos(time))]
        })
    }

    /// In order but for what `spoil` does to each answer.
    fn spoiled(spoil: impl Fn(&mut Vec<u8>) + Send + 'static) -> Self {
        Self::start(move |question, _| {
            let mut bytes = answer(question, now());
            spoil(&mut bytes);
            vec![bytes]
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Awaits every answer that comes.
fn patient() -> Pace {
    let short = Duration::from_millis(1);
    Pace { lookup: SOON, patience: SOON, between: short, unset: Duration::from_millis(20), settled: HOUR }
}

/// Awaits what does not come, but not for long.
fn brief() -> Pace {
    Pace { patience: Duration::from_millis(30), ..patient() }
}

async fn heard(server: &TimeServer, pace: Pace) -> Heard {
    ask(server, &pace, &(Arc::new(now) as super::Wall)).await
}

/// Waits until `found` finds something.
async fn soon<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = found() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come");
}

/// A box that asks these servers, and ends with it.
struct Asking {
    time: Time,
    network: channel::Sender<Arc<NetworkView>>,
    _stop: channel::Sender<bool>,
}

fn asking(servers: &[&Server], change: impl FnOnce(&mut Setup)) -> Asking {
    let servers = servers.iter().map(|server| server.name.clone()).collect();
    let mut setup = Setup { pace: patient(), ..Setup::new(servers, None, None) };
    change(&mut setup);
    let (network, seen) = channel::channel(Arc::default());
    let (stop, stopped) = channel::channel(false);
    let (time, run) = watch(setup, seen, stopped);
    tokio::spawn(run);
    Asking { time, network, _stop: stop }
}

impl Asking {
    fn says(&self) -> String {
        self.time.sentence(rackberry_core::time::WallTime::FIRST)
    }
}

#[tokio::test]
async fn a_server_in_order_tells_how_far_the_clock_is_off() {
    for ahead in [0, 7, -3600, 400 * 86_400] {
        let server = Server::ahead(ahead);
        let sample = heard(&server.name, patient()).await.sample.unwrap();
        let wrong = (sample.offset - i128::from(ahead) * 1_000_000_000).unsigned_abs();
        assert!(wrong <= sample.distance.as_nanos() + 1000, "{sample:?} for {ahead} s");
        assert_eq!(server.asked(), 4, "a few questions, of which the quickest counts");
    }
}

#[tokio::test]
async fn the_quickest_answer_counts() {
    // What hung on its way back says that it is later than it is.
    let slow = Duration::from_millis(300);
    let server = Server::start(move |question, number| {
        let bytes = answer(question, now());
        if number != 2 {
            std::thread::sleep(slow);
        }
        vec![bytes]
    });
    let sample = heard(&server.name, patient()).await.sample.unwrap();
    assert_eq!(server.asked(), 4);
    assert!(sample.offset.unsigned_abs() <= sample.distance.as_nanos() + 1000, "{sample:?}");
}

#[tokio::test]
async fn no_answer_that_is_not_in_order_gives_a_time() {
    type Spoil = fn(&mut Vec<u8>);
    let cases: [(&str, Spoil, Option<Unusable>); 17] = [
        ("another's question", |bytes| bytes[31] ^= 1, None),
        ("a question again", |bytes| bytes[0] = 0x23, None),
        ("a broadcast", |bytes| bytes[0] = 0x25, None),
        ("no version", |bytes| bytes[0] = 0x04, None),
        ("47 bytes", |bytes| bytes.truncate(LENGTH - 1), None),
        ("nothing", Vec::clear, None),
        ("kiss RATE", |bytes| kiss(bytes, b"RATE"), Some(Unusable::Rate)),
        ("kiss DENY", |bytes| kiss(bytes, b"DENY"), Some(Unusable::Denied)),
        ("kiss RSTR", |bytes| kiss(bytes, b"RSTR"), Some(Unusable::Denied)),
        ("an unknown kiss", |bytes| kiss(bytes, b"XHUG"), Some(Unusable::Rate)),
        ("kiss INIT", |bytes| kiss(bytes, b"INIT"), Some(Unusable::Unset)),
        ("stratum 16", |bytes| bytes[1] = 16, Some(Unusable::Stratum(16))),
        ("leap 3", |bytes| bytes[0] |= 0xc0, Some(Unusable::Unset)),
        ("dispersion of 16 s", |bytes| put(bytes, 8, &[0, 16, 0, 0]), Some(Unusable::Far)),
        (
            "set a fortnight ago",
            |bytes| put(bytes, 16, &timestamp(now() - HOUR * 336).to_be_bytes()),
            Some(Unusable::Far),
        ),
        ("no transmit time", |bytes| put(bytes, 40, &[0; 8]), Some(Unusable::Nonsense)),
        ("set by what comes later", |bytes| put(bytes, 16, &[0xff; 8]), Some(Unusable::Nonsense)),
    ];
    for (what, spoil, wanted) in cases {
        let server = Server::spoiled(spoil);
        let heard = heard(&server.name, if wanted.is_some() { patient() } else { brief() }).await;
        assert_eq!(heard.sample, None, "{what}");
        match (heard.trouble, wanted) {
            (Some(AskError::Unusable(found)), Some(wanted)) => assert_eq!(found, wanted, "{what}"),
            (Some(AskError::Silent), None) => {}
            (trouble, wanted) => panic!("{what}: {trouble:?} in place of {wanted:?}"),
        }
        let kissed = matches!(wanted, Some(Unusable::Rate | Unusable::Denied));
        assert_eq!(server.asked(), if kissed { 1 } else { 4 }, "{what}: who wants no questions gets no more");
    }
}

/// As servers say why they give no time (RFC 5905 section 7.4).
fn kiss(bytes: &mut [u8], code: &[u8; 4]) {
    bytes[0] |= 0xc0;
    bytes[1] = 0;
    put(bytes, 12, code);
}

#[tokio::test]
async fn times_that_cannot_be_are_not_believed() {
    for ahead in [-40 * 365 * 86_400, 31 * 365 * 86_400, 70 * 365 * 86_400] {
        let server = Server::ahead(ahead);
        let heard = heard(&server.name, patient()).await;
        assert!(heard.sample.is_none(), "{ahead}");
        assert!(matches!(heard.trouble, Some(AskError::Absurd | AskError::Unusable(Unusable::Nonsense))), "{heard:?}");
    }
}

#[tokio::test]
async fn a_late_duplicate_and_a_strangers_word_are_passed_over() {
    let before: Mutex<Vec<u8>> = Mutex::default();
    let server = Server::start(move |question, _| {
        let mut before = before.lock().unwrap();
        let late = std::mem::replace(&mut *before, answer(question, now() + HOUR));
        let mut stranger = answer(question, now() + HOUR);
        stranger[24] ^= 0x10;
        vec![late, stranger, answer(question, now()), answer(question, now() + HOUR)]
    });
    let heard = heard(&server.name, patient()).await;
    let sample = heard.sample.unwrap();
    assert!(heard.trouble.is_none());
    assert!(sample.offset.unsigned_abs() <= sample.distance.as_nanos() + 1000, "{sample:?}");
}

#[tokio::test]
async fn who_is_not_there_is_told_apart_from_who_is_silent() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string().parse().unwrap();
    let trouble = heard(&gone, patient()).await.trouble;
    assert!(matches!(trouble, Some(AskError::Reach(_))), "{trouble:?}");
    let silent = Server::start(|_, _| Vec::new());
    let trouble = heard(&silent.name, brief()).await.trouble;
    assert!(matches!(trouble, Some(AskError::Silent)), "{trouble:?}");
    let nameless = "nobody.invalid:123".parse().unwrap();
    let trouble = heard(&nameless, Pace { lookup: Duration::from_secs(5), ..patient() }).await.trouble;
    assert!(matches!(trouble, Some(AskError::Name(_))), "{trouble:?}");
}

#[tokio::test]
async fn without_a_helper_a_clock_that_is_wrong_is_told_of() {
    let asking_right = asking(&[&Server::ahead(0)], |_| {});
    let asking_wrong = asking(&[&Server::ahead(65)], |_| {});
    let right = soon("a time", || asking_right.time.told()).await;
    assert_eq!(asking_right.says(), format!("The time agrees with {}'s, just now.", right.server));
    let wrong = soon("a time", || asking_wrong.time.told()).await;
    let said = asking_wrong.says();
    assert!(said.starts_with("This machine's clock is 1 min ") && said.contains("behind"), "{said}");
    assert!(said.contains(&wrong.server.to_string()), "{said}");
}

#[tokio::test]
async fn of_three_the_one_that_lies_is_not_followed_and_of_two_neither() {
    let (one, liar, other) = (Server::ahead(0), Server::ahead(86_400), Server::ahead(0));
    let three = asking(&[&liar, &one, &other], |_| {});
    let told = soon("a time", || three.time.told()).await;
    assert!(told.offset.abs() < 3_600_000_000_000 && told.server != liar.name, "{told:?}");
    let two = asking(&[&one, &liar], |_| {});
    let said = soon("the contradiction", || Some(two.says()).filter(|said| !said.is_empty())).await;
    assert!(said.contains("contradict each other") && said.contains("Times may be wrong."), "{said}");
    assert!(two.time.told().is_none());
}

#[tokio::test]
async fn who_wants_fewer_questions_gets_no_more_while_others_are_asked_on() {
    let rude = Server::spoiled(|bytes| kiss(bytes, b"RATE"));
    let unset = Server::spoiled(|bytes| bytes[0] |= 0xc0);
    let asking = asking(&[&rude, &unset], |_| {});
    soon("the fourth round", || (unset.asked() >= 16).then_some(())).await;
    assert_eq!(rude.asked(), 1);
    let said = asking.says();
    assert!(said.contains("its own clock is not set") && said.contains("Times may be wrong."), "{said}");
}

#[tokio::test]
async fn servers_of_the_lease_are_asked_after_those_of_the_settings_and_read_anew_when_the_address_changes() {
    let folder = tempfile::tempdir().unwrap();
    let lease = folder.path().join("lease");
    let server = Server::spoiled(|bytes| bytes[1] = 16);
    std::fs::write(&lease, "dns=192.0.2.1\nntp=127.0.0.1\nntp=nonsense\n").unwrap();
    let mut setup = Setup::new(vec![server.name.clone()], Some(lease), None);
    setup.pace = patient();
    let (view, _) = channel::channel(View::default());
    let asker = super::Asker { setup, view, held: std::collections::HashMap::new(), failures: 0, compared: false };
    let names: Vec<String> = asker.servers().await.iter().map(ToString::to_string).collect();
    assert_eq!(names, [server.name.to_string(), "127.0.0.1".to_owned()]);

    let asking = asking(&[&server], |setup| setup.pace.unset = HOUR);
    soon("the first round", || (server.asked() == 4).then_some(())).await;
    let view = NetworkView { address: Some("192.0.2.9".parse().unwrap()), ..NetworkView::default() };
    asking.network.send_replace(Arc::new(view));
    soon("a round at the new address", || (server.asked() == 8).then_some(())).await;
}
