//! Machines on a switch, in namespaces, and the shell on one of them.

use super::*;

/// A switch in a namespace, with machines joined to it.
pub struct Rack {
    pub name: String,
}

pub struct Machine {
    pub namespace: String,
}

impl Rack {
    /// `None`, and a line saying so, where namespaces cannot be made.
    pub fn new(name: &str) -> Option<Self> {
        let rack = Rack { name: format!("rbd{}{name}", std::process::id()) };
        if !rustix::process::geteuid().is_root() || !ip(&["netns", "add", &rack.name]) {
            eprintln!("not run: needs root, ip and network namespaces");
            return None;
        }
        assert!(ip(&["-n", &rack.name, "link", "add", "br0", "type", "bridge"]));
        assert!(ip(&["-n", &rack.name, "link", "set", "br0", "up"]));
        Some(rack)
    }

    pub fn join(&self, name: &str, address: Option<Ipv4Addr>) -> Machine {
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
    pub fn serve(&self, mode: Mode, conflict_wait: Duration) -> Shell {
        let machine = self.join("box", Some(BOX));
        let mut shell = machine.serve(mode, conflict_wait, None);
        shell._machine = Some(machine);
        shell
    }
}

impl Machine {
    /// Starts the shell; the link was last seen as `remembered` says.
    pub fn serve(&self, mode: Mode, conflict_wait: Duration, remembered: Option<Stage>) -> Shell {
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
                services: Services::default(),
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
                // A server that tries addresses out speaks every three seconds, and later on a busy machine.
                look_wait: Duration::from_millis(4500),
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
                health: rackberry::health::Health::default(),
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

pub struct Shell {
    pub _machine: Option<Machine>,
    pub stop: watch::Sender<bool>,
    pub commands: mpsc::Sender<Command>,
    pub shown: watch::Receiver<Status>,
    pub recorded: Arc<Mutex<Vec<Change>>>,
    pub alerts: Mutex<mpsc::Receiver<Alert>>,
    pub _notes: mpsc::Receiver<Note>,
    pub thread: Option<std::thread::JoinHandle<Result<(), rackberry::dhcp::DhcpError>>>,
}

impl Shell {
    pub fn reaches(&self, stage: Stage) {
        let mut shown = self.shown.clone();
        let wait = async {
            let waited = tokio::time::timeout(Duration::from_secs(20), shown.wait_for(|now| now.stage == stage)).await;
            waited.expect("in time").expect("the shell runs").clone()
        };
        runtime().block_on(wait);
    }

    pub fn leases(&self) -> Vec<LeaseRow> {
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

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Machine {
    /// Runs a function on a thread that lives in the machine's namespace; threads it starts live there, too.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let namespace = std::fs::File::open(format!("/run/netns/{}", self.namespace)).unwrap();
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap()
    }

    /// A client's socket.
    pub fn socket(&self) -> UdpSocket {
        self.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
            // Without a route a broadcast needs its interface named.
            socket2::SockRef::from(&socket).bind_device(Some(b"eth0")).unwrap();
            socket.set_broadcast(true).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            socket
        })
    }

    pub fn process(&self, program: &str, arguments: &[&str]) -> Process {
        let mut process = Process::new("ip");
        process.args(["netns", "exec", &self.namespace, program]).args(arguments);
        process.stdin(Stdio::null()).stderr(Stdio::null());
        process
    }

    /// The address that BusyBox's DHCP client gets within nine seconds. It is not set on the interface.
    pub fn udhcpc(&self, arguments: &[&str]) -> Option<Ipv4Addr> {
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
    pub fn dnsmasq(&self, more: &[&str]) -> Option<Guard> {
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

pub struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn ip(arguments: &[&str]) -> bool {
    Process::new("ip").args(arguments).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
