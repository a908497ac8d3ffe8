//! The DHCP shell against real clients and a real second server, in network namespaces of its own. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside #[test] functions"
)]

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use rackberry::{
    config::{Controller, Oled},
    dhcp::{Alert, Command, Ports, Setup, Sockets, Status, spawn},
    display::Health,
    net::{Netlink, SocketError, choose, default_pool, facts, list, net_up, up::FALLBACK},
    oled::{
        panel::Driver,
        writer::{self, Frame, Pace, Report},
    },
};
use rackberry_core::{
    dhcp::{Change, HostView, LeaseRow, LeaseTimes, Link, Mode, Note, Pool, ProbeTimes, Stage, Subnet},
    display::{Panel, StatusView, picture},
    host::MacAddr,
    time::Timestamp,
};
use std::{
    net::{Ipv4Addr, UdpSocket},
    process::{Child, Command as Process, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};

const BOX: Ipv4Addr = Ipv4Addr::new(10, 93, 0, 1);

#[test]
fn ram_os_gets_a_durable_lease_and_a_laptop_gets_none() {
    let Some(rack) = Rack::new("lease") else { return };
    let shell = rack.serve(Mode::Auto, Duration::from_millis(200));
    shell.reaches(Stage::PxeOnly);
    let client = rack.join("client", None);
    assert_eq!(client.udhcpc(&[]), None, "a laptop");
    let address = client.udhcpc(&["-V", "rackberry-ramos"]).expect("a lease");
    assert!((Ipv4Addr::new(10, 93, 0, 128)..=Ipv4Addr::new(10, 93, 0, 254)).contains(&address));
    let recorded = shell.recorded.lock().unwrap().clone();
    let [Change::Put(row)] = recorded.as_slice() else { panic!("{recorded:?}") };
    assert_eq!(row.address, address, "written, and once");
    assert_eq!(shell.leases().into_iter().map(|row| row.address).collect::<Vec<_>>(), [address]);
    assert_eq!(client.udhcpc(&["-V", "rackberry-ramos"]), Some(address), "the same machine, the same address");
}

#[test]
fn an_address_that_somebody_uses_is_never_offered() {
    let Some(rack) = Rack::new("conflict") else { return };
    let shell = rack.serve(Mode::Server, Duration::from_millis(300));
    // The first two addresses of the pool are taken by machines that never asked us.
    let _squatters = [128, 129].map(|last| rack.join(&format!("s{last}"), Some(Ipv4Addr::new(10, 93, 0, last))));
    let client = rack.join("client", None);
    assert_eq!(client.udhcpc(&[]), Some(Ipv4Addr::new(10, 93, 0, 130)));
    drop(shell);
}

#[test]
fn a_second_server_ends_leases_within_five_seconds_of_the_next_client() {
    let Some(rack) = Rack::new("foreign") else { return };
    let shell = rack.serve(Mode::Auto, Duration::ZERO);
    shell.reaches(Stage::PxeOnly);
    let other = rack.join("other", Some(Ipv4Addr::new(10, 93, 0, 2)));
    let Some(_server) = other.dnsmasq(&["--no-ping"]) else {
        eprintln!("not run: dnsmasq is missing");
        return;
    };
    let client = rack.join("client", None);
    let began = Instant::now();
    // Both answer; whoever wins, the box notices.
    client.udhcpc(&["-V", "rackberry-ramos"]);
    shell.reaches(Stage::Proxy);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let before = shell.recorded.lock().unwrap().len();
    let late = rack.join("late", None);
    let address = late.udhcpc(&["-V", "rackberry-ramos"]);
    assert!(address.is_some_and(|address| address < Ipv4Addr::new(10, 93, 0, 128)), "the other's: {address:?}");
    assert_eq!(shell.recorded.lock().unwrap().len(), before, "no new lease of ours");
    assert!(matches!(shell.alerts.lock().unwrap().try_recv(), Ok(Alert::Stage { .. })));
}

#[test]
fn beside_a_server_from_the_start_the_box_is_a_proxy() {
    let Some(rack) = Rack::new("proxy") else { return };
    let other = rack.join("other", Some(Ipv4Addr::new(10, 93, 0, 2)));
    let Some(_server) = other.dnsmasq(&["--no-ping"]) else {
        eprintln!("not run: dnsmasq is missing");
        return;
    };
    let shell = rack.serve(Mode::Auto, Duration::ZERO);
    shell.reaches(Stage::Proxy);
    assert_eq!(shell.recorded.lock().unwrap().len(), 0);
}

/// How often the box starts beside another server.
const STARTS: usize = 200;

#[test]
fn beside_a_server_that_is_there_at_every_start_no_address_is_ever_offered() {
    let Some(rack) = Rack::new("starts") else { return };
    let other = rack.join("other", Some(Ipv4Addr::new(10, 93, 0, 2)));
    let Some(server) = other.dnsmasq(&["--no-ping"]) else {
        eprintln!("not run: dnsmasq is missing");
        return;
    };
    let mut server = Some(server);
    let machine = rack.join("box", Some(BOX));
    let crowd = Crowd::new(&rack, "crowd");
    let began = Instant::now();
    for start in 0..STARTS {
        if start == STARTS - 4 {
            // The last four times it tries each address out for seconds before it offers it, and is deaf meanwhile.
            drop(server.take());
            server = other.dnsmasq(&[]);
        }
        // Every other time it was alone here when it ran last.
        let remembered = (start % 2 == 1).then_some(Stage::PxeOnly);
        let shell = machine.serve(Mode::Auto, Duration::ZERO, remembered);
        shell.reaches(Stage::Proxy);
        assert_eq!(shell.recorded.lock().unwrap().len(), 0, "start {start}");
    }
    let (asked, ours) = crowd.end();
    drop(server);
    println!("{STARTS} starts in {:?}: {asked} clients asked, {} addresses from us", began.elapsed(), ours.len());
    assert!(asked > STARTS, "{asked}");
    assert_eq!(ours.len(), 0);
}

#[test]
fn a_server_that_appears_ends_new_leases_within_five_seconds_and_running_installs_keep_theirs() {
    let Some(rack) = Rack::new("appears") else { return };
    let machine = rack.join("box", Some(BOX));
    let shell = machine.serve(Mode::Auto, Duration::ZERO, None);
    shell.reaches(Stage::PxeOnly);
    let client = rack.join("client", Some(Ipv4Addr::new(10, 93, 0, 9)));
    let socket = client.socket();
    let installing = lease(&socket, INSTALLING, Duration::from_secs(30)).expect("a lease before");
    let idle = lease(&socket, MacAddr([2, 7, 0, 0, 0, 1]), Duration::from_secs(30)).expect("another");
    let crowd = Crowd::new(&rack, "crowd");
    let until = Instant::now() + Duration::from_secs(30);
    while shell.recorded.lock().unwrap().len() < 10 {
        assert!(Instant::now() < until, "the crowd gets addresses before");
        std::thread::sleep(Duration::from_millis(20));
    }
    let other = rack.join("other", Some(Ipv4Addr::new(10, 93, 0, 2)));
    let Some(_server) = other.dnsmasq(&[]) else {
        eprintln!("not run: dnsmasq is missing");
        return;
    };
    let appeared = Instant::now();
    std::thread::sleep(Duration::from_secs(8));
    let (asked, ours) = crowd.end();
    let last = ours.iter().filter_map(|at| at.checked_duration_since(appeared)).max();
    println!("{asked} clients asked, {} leases in all, the last one {last:?} after the other server came", ours.len());
    assert!(last.is_none_or(|last| last < Duration::from_secs(5)));
    let kept = renew(&socket, INSTALLING, installing, Duration::from_secs(30));
    assert!(kept, "the lease of a running install is renewed");
    assert!(!renew(&socket, MacAddr([2, 7, 0, 0, 0, 1]), idle, Duration::from_secs(2)), "others are not");
}

#[test]
fn the_first_client_after_a_quiet_time_gets_no_address_beside_a_server_that_came_meanwhile() {
    let Some(rack) = Rack::new("quiet") else { return };
    let machine = rack.join("box", Some(BOX));
    let shell = machine.serve(Mode::Auto, Duration::ZERO, None);
    shell.reaches(Stage::PxeOnly);
    let client = rack.join("client", Some(Ipv4Addr::new(10, 93, 0, 9)));
    let other = rack.join("other", Some(Ipv4Addr::new(10, 93, 0, 2)));
    let Some(_server) = other.dnsmasq(&[]) else {
        eprintln!("not run: dnsmasq is missing");
        return;
    };
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(lease(&client.socket(), MacAddr([2, 7, 0, 0, 0, 2]), Duration::from_secs(8)), None);
    shell.reaches(Stage::Proxy);
    assert_eq!(shell.recorded.lock().unwrap().len(), 0);
}

#[test]
fn net_up_takes_a_lease_where_there_is_a_server_and_falls_back_where_there_is_none() {
    let Some(rack) = Rack::new("netup") else { return };
    let lonely = rack.join("lonely", None);
    let (_, up) = lonely.inside(|| net_up(Some("eth0"), None, Duration::from_secs(1), 7)).unwrap();
    assert_eq!(up, rackberry::net::NetUp::Fallback);
    let (_, up) = lonely.inside(|| net_up(Some("eth0"), None, Duration::from_secs(1), 7)).unwrap();
    assert_eq!(up, rackberry::net::NetUp::Kept(FALLBACK, 24), "once is enough");
    let _shell = rack.serve(Mode::Server, Duration::ZERO);
    let guest = rack.join("guest", None);
    let (interface, up) = guest.inside(|| net_up(Some("eth0"), None, Duration::from_secs(5), 7)).unwrap();
    let rackberry::net::NetUp::Leased { address, prefix: 24, server: BOX, .. } = up else { panic!("{up:?}") };
    let now = guest.inside(|| {
        let mut netlink = Netlink::open().unwrap();
        let found = choose(&list(&mut netlink).unwrap(), Some("eth0")).unwrap();
        (found.index, found.addresses)
    });
    assert_eq!(now, (interface.index, vec![(address, 24)]));
}

/// How often the display's bus fails.
const FAILURES: u64 = 10_000;

/// A bus that fails so often in every way there is, some of them slow, and works from then on.
struct FailingBus(Arc<AtomicU64>);

impl ErrorType for FailingBus {
    type Error = ErrorKind;
}

impl I2c for FailingBus {
    fn transaction(&mut self, _: u8, _: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        let sources = [NoAcknowledgeSource::Address, NoAcknowledgeSource::Data, NoAcknowledgeSource::Unknown];
        let missing = sources.map(ErrorKind::NoAcknowledge);
        let kinds = [ErrorKind::Bus, ErrorKind::ArbitrationLoss, ErrorKind::Overrun, ErrorKind::Other];
        let failed = self.0.fetch_add(1, Ordering::Relaxed);
        if failed >= FAILURES {
            return Ok(());
        }
        if failed.is_multiple_of(50) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(*missing.iter().chain(&kinds).nth(usize::try_from(failed % 7).unwrap()).unwrap())
    }
}

/// A bus that takes a write and never ends it.
struct StuckBus;

impl ErrorType for StuckBus {
    type Error = ErrorKind;
}

impl I2c for StuckBus {
    fn transaction(&mut self, _: u8, _: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        loop {
            std::thread::park();
        }
    }
}

/// A display's thread on such a bus, with a new picture every millisecond until the sender falls.
fn display<B: I2c + 'static>(bus: impl Fn() -> B + Send + 'static) -> (Report, Arc<AtomicBool>)
where
    B::Error: std::fmt::Display,
{
    let (frames, shown) = watch::channel(None);
    let (report, ended) = (Report::default(), Arc::new(AtomicBool::new(false)));
    let open = move || Ok::<_, ErrorKind>(Driver::new(bus(), Controller::Ssd1306, &Oled::default()));
    let pace = Pace { first: Duration::from_micros(500), most: Duration::from_millis(1), ..Pace::default() };
    writer::spawn(shown, open, pace, report.clone());
    let over = Arc::clone(&ended);
    std::thread::spawn(move || {
        for hosts in 0.. {
            let view = StatusView { hosts, ..StatusView::default() };
            frames.send_replace(Some(Arc::new(Frame { picture: picture(&view, 0, Panel::Tall), dimmed: false })));
            std::thread::sleep(Duration::from_millis(1));
            if over.load(Ordering::Relaxed) {
                return;
            }
        }
    });
    (report, ended)
}

#[test]
fn a_display_that_fails_ten_thousand_times_or_hangs_costs_no_dhcp_answer() {
    let Some(rack) = Rack::new("oled") else { return };
    let shell = rack.serve(Mode::Server, Duration::ZERO);
    shell.reaches(Stage::Server);
    let socket = rack.join("client", None).socket();
    let began = Instant::now();
    let (hanging, hangs_on) = display(|| StuckBus);
    let tried = Arc::new(AtomicU64::new(0));
    let bus = Arc::clone(&tried);
    let (failing, fails_on) = display(move || FailingBus(Arc::clone(&bus)));
    let (mut asked, mut missed, mut slowest) = (0_u64, 0, Duration::ZERO);
    let until = began + Duration::from_secs(240);
    loop {
        // Fewer than the pool has for strangers, each at a pace that is no flood.
        std::thread::sleep(Duration::from_millis(10));
        let machine = u8::try_from(asked % 90).unwrap();
        let asking = Instant::now();
        let answer = lease(&socket, MacAddr([2, 9, 0, 0, 0, machine]), Duration::from_secs(30));
        slowest = slowest.max(asking.elapsed());
        asked += 1;
        missed += u64::from(answer.is_none());
        let recovered = failing.health() == Some(Health::Shown);
        if recovered && failing.failures() >= FAILURES && hanging.health() == Some(Health::Stuck) {
            break;
        }
        assert!(
            Instant::now() < until,
            "{} failures, {:?}, {:?}",
            failing.failures(),
            failing.health(),
            hanging.health()
        );
    }
    for ended in [hangs_on, fails_on] {
        ended.store(true, Ordering::Relaxed);
    }
    println!(
        "{} failures of one display's bus and another one stuck for {:?}: {asked} clients asked, {missed} missed an \
         answer, the slowest lease took {slowest:?}",
        failing.failures(),
        began.elapsed()
    );
    assert_eq!(missed, 0);
    drop(shell);
}

/// The machine whose install runs.
const INSTALLING: MacAddr = MacAddr([2, 7, 0, 0, 0, 9]);

/// A message of a PXE client that wants its answers broadcast.
fn message(kind: u8, mac: MacAddr, xid: u32, ciaddr: Ipv4Addr, more: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0];
    bytes.extend(xid.to_be_bytes());
    bytes.extend([0, 0, 0x80, 0]);
    bytes.extend(ciaddr.octets());
    bytes.resize(28, 0);
    bytes.extend(mac.0);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind, 60, 9]);
    bytes.extend(b"PXEClient");
    bytes.extend([93, 2, 0, 7]);
    bytes.extend(more);
    bytes.push(255);
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

/// Message type and address of an answer of the box; `None` for anything else.
fn from_box(bytes: &[u8], from: std::net::SocketAddr, xid: Option<u32>) -> Option<(u8, MacAddr, u32, Ipv4Addr)> {
    let number = |at: usize| bytes.get(at..at + 4).map(|quad| u32::from_be_bytes(quad.try_into().unwrap()));
    let found = number(4)?;
    let ours = from.ip() == BOX && bytes.first() == Some(&2) && xid.is_none_or(|xid| xid == found);
    let kind = *bytes.get(242).filter(|_| ours)?;
    Some((kind, MacAddr(bytes.get(28..34)?.try_into().ok()?), found, Ipv4Addr::from(number(16)?)))
}

/// What a client says to take an offer of the box.
fn take(address: Ipv4Addr) -> Vec<u8> {
    [&[50, 4][..], &address.octets(), &[54, 4], &BOX.octets()].concat()
}

/// Asks the box for an address until the time is over.
fn lease(socket: &UdpSocket, mac: MacAddr, patience: Duration) -> Option<Ipv4Addr> {
    let until = Instant::now() + patience;
    let none = Ipv4Addr::UNSPECIFIED;
    let mut buffer = [0; 2048];
    while Instant::now() < until {
        socket.send_to(&message(1, mac, 77, none, &[]), SERVERS).unwrap();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            match from_box(&buffer[..length], from, Some(77)) {
                Some((2, of, _, address)) if of == mac && !address.is_unspecified() => {
                    socket.send_to(&message(3, mac, 77, none, &take(address)), SERVERS).unwrap();
                }
                Some((5, of, _, address)) if of == mac => return Some(address),
                _ => {}
            }
        }
    }
    None
}

/// Whether the box renews a lease within the time.
fn renew(socket: &UdpSocket, mac: MacAddr, address: Ipv4Addr, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    let mut buffer = [0; 2048];
    while Instant::now() < until {
        // By ciaddr 0 and the address it remembers: so the answer is broadcast, and nobody has to have the address.
        let again = message(3, mac, 78, Ipv4Addr::UNSPECIFIED, &[&[50, 4][..], &address.octets()].concat());
        socket.send_to(&again, SERVERS).unwrap();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if from_box(&buffer[..length], from, Some(78)).is_some_and(|(kind, of, ..)| (kind, of) == (5, mac)) {
                return true;
            }
        }
    }
    false
}

const SERVERS: (Ipv4Addr, u16) = (Ipv4Addr::BROADCAST, 67);

/// New machines that keep asking, one every few milliseconds, and take what the box offers.
struct Crowd {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, Vec<Instant>)>,
    _machine: Machine,
}

impl Crowd {
    fn new(rack: &Rack, name: &str) -> Self {
        let machine = rack.join(name, Some(Ipv4Addr::new(10, 93, 0, 8)));
        let socket = machine.socket();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut asked, mut ours, mut buffer) = (0_u32, Vec::new(), [0; 2048]);
            while !told.load(Ordering::Relaxed) {
                asked += 1;
                // 96 machines take turns, so that the pool never runs out.
                let [.., a, b] = (asked % 96).to_be_bytes();
                let mac = MacAddr([2, 9, 0, 0, a, b]);
                let none = Ipv4Addr::UNSPECIFIED;
                socket.send_to(&message(1, mac, asked, none, &[]), SERVERS).unwrap();
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    match from_box(&buffer[..length], from, None) {
                        Some((2, of, xid, address)) if !address.is_unspecified() => {
                            socket.send_to(&message(3, of, xid, none, &take(address)), SERVERS).unwrap();
                        }
                        Some((5, _, _, address)) if !address.is_unspecified() => ours.push(Instant::now()),
                        _ => {}
                    }
                }
            }
            (usize::try_from(asked).unwrap(), ours)
        });
        Crowd { stop, thread, _machine: machine }
    }

    /// How many asked, and when the box confirmed addresses.
    fn end(self) -> (usize, Vec<Instant>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A switch in a namespace, with machines joined to it.
struct Rack {
    name: String,
}

struct Machine {
    namespace: String,
}

impl Rack {
    /// `None`, and a line saying so, where namespaces cannot be made.
    fn new(name: &str) -> Option<Self> {
        let rack = Rack { name: format!("rbd{}{name}", std::process::id()) };
        if !rustix::process::geteuid().is_root() || !ip(&["netns", "add", &rack.name]) {
            eprintln!("not run: needs root, ip and network namespaces");
            return None;
        }
        assert!(ip(&["-n", &rack.name, "link", "add", "br0", "type", "bridge"]));
        assert!(ip(&["-n", &rack.name, "link", "set", "br0", "up"]));
        Some(rack)
    }

    fn join(&self, name: &str, address: Option<Ipv4Addr>) -> Machine {
        let machine = Machine { namespace: format!("{}-{name}", self.name) };
        let (own, peer) = (self.name.as_str(), machine.namespace.as_str());
        let port = format!("p{name}");
        assert!(ip(&["netns", "add", peer]));
        assert!(ip(&["-n", own, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", peer]));
        assert!(ip(&["-n", own, "link", "set", &port, "master", "br0", "up"]));
        assert!(ip(&["-n", peer, "link", "set", "lo", "up"]));
        assert!(ip(&["-n", peer, "link", "set", "eth0", "up"]));
        if let Some(address) = address {
            assert!(ip(&["-n", peer, "addr", "add", &format!("{address}/24"), "dev", "eth0"]));
        }
        machine
    }

    /// Starts the shell on a machine of its own.
    fn serve(&self, mode: Mode, conflict_wait: Duration) -> Shell {
        let machine = self.join("box", Some(BOX));
        let mut shell = machine.serve(mode, conflict_wait, None);
        shell._machine = Some(machine);
        shell
    }
}

impl Machine {
    /// Starts the shell; the link was last seen as `remembered` says.
    fn serve(&self, mode: Mode, conflict_wait: Duration, remembered: Option<Stage>) -> Shell {
        let (stop, stopped) = watch::channel(false);
        let (commands, obeyed) = mpsc::channel(4);
        let (notes, noted) = mpsc::channel::<Note>(64);
        let (alerts, alerted) = mpsc::channel(64);
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&recorded);
        let (status, shown, thread) = self.inside(move || {
            let mut netlink = Netlink::open().unwrap();
            // No name is given: the only interface of the namespace is found.
            let interface = choose(&list(&mut netlink).unwrap(), None).unwrap();
            let facts = facts(&mut netlink, &interface).unwrap().unwrap();
            let (status, shown) =
                watch::channel(Status { mode, stage: Stage::Observe, link: facts.id(), foreign: vec![] });
            let pool = default_pool(facts.address, facts.prefix).unwrap();
            let link = Link {
                address: facts.address,
                http_port: 80,
                stage: Stage::Observe,
                authoritative: false,
                times: LeaseTimes::default(),
                subnet: Subnet {
                    network: facts.network(),
                    prefix: facts.prefix,
                    pool: Some(pool),
                    router: facts.gateway,
                    dns: Vec::new(),
                    domain: None,
                    ntp: Vec::new(),
                    lease: None,
                    dynamic_bootp: false,
                    options: Vec::new(),
                },
                relayed: Vec::new(),
            };
            let setup = Setup {
                pools: vec![Pool { first: pool.0, last: pool.1, except: facts.taken() }],
                facts,
                link,
                reserved: Vec::new(),
                leases: Vec::new(),
                mode,
                times: ProbeTimes {
                    sends: vec![Duration::ZERO, Duration::from_millis(300)],
                    listen: Duration::from_millis(700),
                    again: Duration::from_secs(600),
                },
                remembered,
                random: 7,
                conflict_wait,
                look_wait: Duration::from_millis(3500),
            };
            let began = Instant::now();
            let ports = Ports {
                record: Box::new(move |changes| {
                    book.lock().unwrap().extend(changes);
                    Box::pin(async { Ok(()) })
                }),
                host_view: Box::new(|request, _| HostView {
                    install_running: request.mac == INSTALLING,
                    ..HostView::default()
                }),
                now: Box::new(move || Timestamp(u64::try_from(began.elapsed().as_millis()).unwrap())),
                keep_verdict: Box::new(|_, _| {}),
                notes,
                alerts,
                status: status.clone(),
                commands: obeyed,
                stop: stopped,
            };
            // A program that another test starts this very moment has a copy of all sockets until it runs.
            let sockets = loop {
                match Sockets::open(67, 4011) {
                    Ok(sockets) => break sockets,
                    Err(SocketError::Taken { .. }) if began.elapsed() < Duration::from_secs(10) => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            (status, shown, spawn(sockets, setup, ports).unwrap())
        });
        drop(status);
        let alerts = Mutex::new(alerted);
        Shell { _machine: None, stop, commands, shown, recorded, alerts, _notes: noted, thread: Some(thread) }
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.name]);
    }
}

struct Shell {
    _machine: Option<Machine>,
    stop: watch::Sender<bool>,
    commands: mpsc::Sender<Command>,
    shown: watch::Receiver<Status>,
    recorded: Arc<Mutex<Vec<Change>>>,
    alerts: Mutex<mpsc::Receiver<Alert>>,
    _notes: mpsc::Receiver<Note>,
    thread: Option<std::thread::JoinHandle<Result<(), rackberry::dhcp::DhcpError>>>,
}

impl Shell {
    fn reaches(&self, stage: Stage) {
        let mut shown = self.shown.clone();
        let wait = async {
            let waited = tokio::time::timeout(Duration::from_secs(20), shown.wait_for(|now| now.stage == stage)).await;
            waited.expect("in time").expect("the shell runs").clone()
        };
        runtime().block_on(wait);
    }

    fn leases(&self) -> Vec<LeaseRow> {
        let (to, answer) = oneshot::channel();
        self.commands.blocking_send(Command::Leases(to)).unwrap();
        answer.blocking_recv().unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Machine {
    /// Runs a function on a thread that lives in the machine's namespace; threads it starts live there, too.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let namespace = std::fs::File::open(format!("/run/netns/{}", self.namespace)).unwrap();
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap()
    }

    /// A client's socket.
    fn socket(&self) -> UdpSocket {
        self.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
            // Without a route a broadcast needs its interface named.
            socket2::SockRef::from(&socket).bind_device(Some(b"eth0")).unwrap();
            socket.set_broadcast(true).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            socket
        })
    }

    fn process(&self, program: &str, arguments: &[&str]) -> Process {
        let mut process = Process::new("ip");
        process.args(["netns", "exec", &self.namespace, program]).args(arguments);
        process.stdin(Stdio::null()).stderr(Stdio::null());
        process
    }

    /// The address that BusyBox's DHCP client gets within nine seconds. It is not set on the interface.
    fn udhcpc(&self, arguments: &[&str]) -> Option<Ipv4Addr> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        std::fs::write(&file, "#!/bin/sh\n[ \"$1\" = bound ] && echo \"got $ip\"\nexit 0\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = file.to_str().unwrap();
        let mut all = vec!["udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "3", "-T", "3", "-s", path];
        all.extend(arguments);
        let output = self.process("busybox", &all).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.strip_prefix("got ")).map(|address| address.parse().unwrap())
    }

    /// dnsmasq giving out .10 to .20, its socket open; `None` where it is not installed.
    fn dnsmasq(&self, more: &[&str]) -> Option<Guard> {
        let arguments = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--leasefile-ro",
            "--interface=eth0",
            "--dhcp-range=10.93.0.10,10.93.0.20",
        ];
        let server = self.process("dnsmasq", &[&arguments, more].concat()).spawn().ok().map(Guard)?;
        // A probe that comes before its socket is open finds nobody, and the next one is minutes away.
        let port_67 = ":0043 ";
        let began = Instant::now();
        while !self.inside(|| std::fs::read_to_string("/proc/thread-self/net/udp").unwrap()).contains(port_67) {
            assert!(began.elapsed() < Duration::from_secs(30), "dnsmasq opened no DHCP socket");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.namespace]);
    }
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &[&str]) -> bool {
    Process::new("ip").args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
