//! The provisioning side: waits for an interface with an address, serves DHCP, TFTP and the boot listener on it, and waits
//! again when the address is gone.

use crate::{
    config::Config,
    dhcp::{self, Alert, DhcpError, Ports, Setup, Sockets, Status},
    http::{self, NetworkView, State},
    inventory::{HostEntry, Identity, Inventory, MAX_AUTOMATIC_HOSTS, Snapshot, StoreError},
    net::{self, LinkEvents, LinkFacts, Netlink},
    tftp,
};
use rackberry_core::{
    dhcp::{Fact, HostView, Kind, LeaseTimes, Link, LinkId, Note, Pool, ProbeTimes, Request, Stage, Subnet},
    event::{Actor, EventKind, Station},
    host::BootPolicy,
    install::Phase,
    text::CleanText,
    time::Timestamp,
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    slice,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Whoever gives an interface its address sets the route right behind it.
const SETTLE: Duration = Duration::from_secs(1);
/// A host that fetched something of ours this long ago counts as booted by us: its system asks for an address too.
const RECENT: Duration = Duration::from_secs(3600);
/// Why the network side ended.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("take the boot sockets into use on {interface}")]
    Sockets { interface: String, source: io::Error },
    #[error(transparent)]
    Netlink(#[from] net::NetlinkError),
    #[error("DHCP ended")]
    Dhcp(#[from] dhcp::DhcpError),
    #[error("TFTP ended")]
    Tftp(#[from] tftp_server::ServerError),
    #[error("the leases cannot be read")]
    Leases(#[source] crate::inventory::TransactError<StoreError>),
    #[error("the kernel gives no random bytes")]
    Random,
    #[error("a part of the network side panicked")]
    Panicked,
}

/// The network side, with sockets that outlive every address.
pub(super) struct Network {
    pub state: State,
    pub view: watch::Sender<Arc<NetworkView>>,
    pub boot: Vec<std::net::TcpListener>,
    pub tftp: UdpSocket,
    pub dhcp: Sockets,
}

impl Network {
    /// Runs until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), NetworkError> {
        loop {
            let facts = tokio::select! {
                facts = self.find() => facts?,
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            match self.serve(facts, stop.clone()).await? {
                End::Stopped => return Ok(()),
                End::AddressLost => {}
            }
        }
    }

    /// Waits for an interface that can be served, and says what it waits for.
    async fn find(&self) -> Result<LinkFacts, NetworkError> {
        let mut events = LinkEvents::open()?;
        let (mut said, mut settled) = (String::new(), false);
        loop {
            let named = self.state.config.interface.clone();
            let looked = tokio::task::spawn_blocking(move || look(named.as_deref())).await;
            let waiting = match looked {
                Ok(Ok(facts)) if said.is_empty() || settled => return Ok(facts),
                Ok(Ok(_)) => {
                    tokio::time::sleep(SETTLE).await;
                    settled = true;
                    continue;
                }
                Ok(Err(sentence)) => sentence,
                Err(error) => error.to_string(),
            };
            if said != waiting {
                tracing::warn!("waiting for the network: {waiting}");
                self.view.send_replace(Arc::new(NetworkView {
                    boot_port: self.state.config.boot_port,
                    mode: format!("Waiting for the network: {waiting}"),
                    mode_word: WAITING.to_owned(),
                    ..NetworkView::default()
                }));
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&waiting)]);
                said = waiting;
            }
            settled = false;
            events.changed().await?;
        }
    }

    /// Serves on this interface until told to stop, or until the address is gone.
    async fn serve(&self, facts: LinkFacts, mut all_stop: watch::Receiver<bool>) -> Result<End, NetworkError> {
        let config = self.state.config.clone();
        let unusable = |source| NetworkError::Sockets { interface: facts.name.clone(), source };
        let sockets = self.dhcp.try_clone().map_err(unusable)?;
        let tftp_socket = self.tftp.try_clone().map_err(unusable)?;
        let mut boot = Vec::new();
        for listener in &self.boot {
            boot.push(listener.try_clone().and_then(TcpListener::from_std).map_err(unusable)?);
        }
        let (round, stop) = watch::channel(false);
        let setup = setup(&self.state, &config, facts.clone()).await?;
        let kept = self.state.inventory.subscribe();
        let (notes, noted) = mpsc::channel(1024);
        let (alerts, alerted) = mpsc::channel(64);
        let (commands, obeyed) = mpsc::channel(16);
        let status = watch::Sender::new(Status {
            mode: setup.mode,
            stage: Stage::Observe,
            link: facts.id(),
            foreign: Vec::new(),
        });
        let seen = status.subscribe();
        let subnets = [slice::from_ref(&setup.link.subnet), &setup.link.relayed].concat();
        let ports = ports(&self.state, notes, alerts, status, obeyed, stop.clone());
        let dhcp = dhcp::spawn(sockets, setup, ports)?;

        let mut tasks = JoinSet::new();
        for listener in boot {
            tasks.spawn(http::serve_boot(listener, facts.address, self.state.clone(), stop.clone()));
        }
        tasks.spawn(timeline(noted, self.state.inventory.clone()));
        tasks.spawn(alarms(alerted, self.state.inventory.clone()));
        tasks.spawn(reservations(kept, commands.clone()));
        tasks.spawn(show(
            seen,
            self.view.clone(),
            facts.clone(),
            config.boot_port,
            self.state.inventory.clone(),
            stop.clone(),
        ));
        let tftp = {
            let (desk, inventory, address) = (self.state.desk.clone(), self.state.inventory.clone(), facts.address);
            tokio::spawn(
                async move { tftp::run(vec![tftp_socket], address, desk, inventory, &config, subnets, stop).await },
            )
        };
        tracing::info!(interface = facts.name, address = %facts.address, "rackberry is ready");
        let serving = format!("Serving {} on {}.", facts.address, facts.name);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&serving)]);

        // The DHCP thread ends when told to, or because it cannot go on; either way its handle says so.
        let mut dhcp = tokio::task::spawn_blocking(move || dhcp.join());
        let ended = tokio::select! {
            ended = &mut dhcp => Some(ended),
            _ = all_stop.wait_for(|stop| *stop) => None,
        };
        round.send_replace(true);
        drop(commands);
        let ended = match ended {
            Some(ended) => ended,
            None => dhcp.await,
        };
        tftp.await.map_err(|_| NetworkError::Panicked)??;
        while tasks.join_next().await.is_some() {}
        match ended {
            Ok(Ok(Ok(()))) => Ok(End::Stopped),
            Ok(Ok(Err(lost @ DhcpError::AddressLost { .. }))) => {
                tracing::warn!("{lost}");
                Ok(End::AddressLost)
            }
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Err(_)) | Err(_) => Err(NetworkError::Panicked),
        }
    }
}

/// The word for what the box does while it has no interface to serve.
const WAITING: &str = "waiting";

/// How serving one address ended.
enum End {
    Stopped,
    AddressLost,
}

/// The interface to serve and its address, or the sentence why there is none yet.
fn look(named: Option<&str>) -> Result<LinkFacts, String> {
    let mut netlink = Netlink::open().map_err(|error| crate::chain(&error))?;
    let interfaces = net::list(&mut netlink).map_err(|error| crate::chain(&error))?;
    let chosen = net::choose(&interfaces, named).map_err(|error| error.to_string())?;
    net::facts(&mut netlink, &chosen).map_err(|error| crate::chain(&error))?.ok_or_else(|| {
        format!("{} has no address: give it one, or run `rackberry net-up {}`", chosen.name, chosen.name)
    })
}

async fn setup(state: &State, config: &Config, facts: LinkFacts) -> Result<Setup, NetworkError> {
    let id = facts.id();
    let most = config.max_hosts;
    let (leases, remembered, reserved) = state
        .inventory
        .transact(move |tx| {
            tx.set_setting(MAX_AUTOMATIC_HOSTS, &most)?;
            let reserved: Vec<Ipv4Addr> = tx.hosts().filter_map(|entry| entry.host.fixed_address).collect();
            Ok((tx.leases()?, tx.setting::<String>(&verdict_key(&id))?, reserved))
        })
        .await
        .map_err(NetworkError::Leases)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| NetworkError::Random)?;
    let (subnet, relayed) = subnets(config, &facts);
    let pools = std::iter::once(&subnet)
        .chain(&relayed)
        .filter_map(|subnet| {
            let (first, last) = subnet.pool?;
            Some(Pool { first, last, except: facts.taken().into_iter().chain(subnet.router).collect() })
        })
        .collect();
    let link = Link {
        address: facts.address,
        http_port: config.boot_port,
        stage: Stage::Observe,
        authoritative: config.dhcp_authoritative,
        times: LeaseTimes { server: config.dhcp_lease, ..LeaseTimes::default() },
        subnet,
        relayed,
    };
    Ok(Setup {
        link,
        pools,
        reserved,
        leases,
        mode: config.dhcp_mode,
        times: ProbeTimes {
            sends: [0, 1, 2, 4].map(|times| config.dhcp_probe_unit * times).to_vec(),
            listen: config.dhcp_probe_listen,
            again: config.dhcp_probe_every,
        },
        remembered: remembered.and_then(|word| Stage::of_word(&word)),
        random: u64::from_le_bytes(random),
        conflict_wait: config.dhcp_conflict,
        look_wait: config.dhcp_look,
        facts,
    })
}

/// The link's own subnet as the settings have it, and the others.
fn subnets(config: &Config, facts: &LinkFacts) -> (Subnet, Vec<Subnet>) {
    let mut own = Subnet {
        network: facts.network(),
        prefix: facts.prefix,
        pool: config.dhcp_pool.or_else(|| net::default_pool(facts.address, facts.prefix)),
        router: config.dhcp_gateway.or(facts.gateway),
        dns: config.dhcp_dns.clone(),
        domain: config.dhcp_domain.clone(),
        ntp: config.dhcp_ntp.clone(),
        lease: Some(config.dhcp_lease),
        dynamic_bootp: config.dhcp_dynamic_bootp,
        options: config.dhcp_options.clone(),
    };
    let mut relayed = Vec::new();
    for subnet in config.dhcp_subnets.iter().cloned() {
        if subnet.contains(facts.address) {
            own = Subnet { pool: subnet.pool.or(own.pool), router: subnet.router.or(own.router), ..subnet };
        } else {
            relayed.push(subnet);
        }
    }
    (own, relayed)
}

/// Keeps the DHCP thread's list of fixed addresses in step with the hosts.
async fn reservations(mut hosts: watch::Receiver<Arc<Snapshot>>, commands: mpsc::Sender<dhcp::Command>) {
    let mut known: Option<Arc<Snapshot>> = None;
    loop {
        let now = hosts.borrow_and_update().clone();
        if !known.as_ref().is_some_and(|before| now.fixes_as(before)) {
            let addresses = now.fixed_addresses().collect();
            if commands.send(dhcp::Command::Reserve(addresses)).await.is_err() {
                return;
            }
        }
        known = Some(now);
        tokio::select! {
            changed = hosts.changed() => if changed.is_err() { return },
            () = commands.closed() => return,
        }
    }
}

fn verdict_key(link: &LinkId) -> String {
    format!("verdict {link}")
}

fn ports(
    state: &State,
    notes: mpsc::Sender<Note>,
    alerts: mpsc::Sender<Alert>,
    status: watch::Sender<Status>,
    commands: mpsc::Receiver<dhcp::Command>,
    stop: watch::Receiver<bool>,
) -> Ports {
    let (recorder, viewer, keeper, clock) =
        (state.inventory.clone(), state.inventory.clone(), state.inventory.clone(), state.inventory.clone());
    Ports {
        record: Box::new(move |changes| {
            let inventory = recorder.clone();
            Box::pin(async move {
                inventory.transact(move |tx| tx.change_leases(&changes)).await.map_err(|error| Box::new(error).into())
            })
        }),
        host_view: Box::new(move |request, now| host_view(&viewer.snapshot(), request, now)),
        now: Box::new(move || clock.clock().now()),
        keep_verdict: Box::new(move |link, stage| {
            keeper.later(move |tx| tx.set_setting(&verdict_key(&link), &stage.word().to_owned()));
        }),
        notes,
        alerts,
        status,
        commands,
        stop,
    }
}

fn host_view(snapshot: &Snapshot, request: &Request, now: Timestamp) -> HostView {
    let identity = Identity { mac: request.mac, uuid: request.uuid(), serial: None };
    let Some(host) = snapshot.identify(&identity).machine else { return HostView::default() };
    let entry = snapshot.host(host.id);
    let install_running =
        entry.and_then(|entry| entry.active_install()).is_some_and(|install| match install.state.phase {
            Phase::Installing | Phase::Waiting => true,
            Phase::Armed
            | Phase::Booting
            | Phase::Interrupted
            | Phase::Done
            | Phase::Failed
            | Phase::Cancelled
            | Phase::TimedOut => false,
        });
    HostView {
        known: true,
        enrolled: host.enrolled,
        ignore: host.policy == BootPolicy::Ignore,
        loader: host.loader,
        strategy: host.strategy,
        name: Some(host.name.clone()),
        reservation: host.fixed_address,
        options: host.dhcp_options.clone(),
        booted_recently: entry.is_some_and(|entry| booted_recently(entry, now)),
        install_running,
    }
}

fn booted_recently(entry: &HostEntry, now: Timestamp) -> bool {
    entry.ram.is_some()
        || entry.trace.as_ref().is_some_and(|trace| {
            trace.stations.iter().any(|(station, at, _)| *station >= Station::Loader && now.since(*at) < RECENT)
        })
}

/// Writes what DHCP saw into the hosts' timelines.
async fn timeline(mut notes: mpsc::Receiver<Note>, inventory: Inventory) {
    while let Some(note) = notes.recv().await {
        let boots = match note.kind {
            Kind::PxeRom(_) | Kind::HttpRom(_) | Kind::Ipxe(..) | Kind::Pi(_) | Kind::UBoot => true,
            Kind::RamOs | Kind::Plain => false,
        };
        let (station, detail) = match note.fact {
            Fact::Discover => (Some(Station::Discover), note.vendor_class.to_string()),
            Fact::Offer(address) => (Some(Station::Offer), format!("{address} and a loader")),
            Fact::ProxyOffer => (Some(Station::Offer), "a loader, beside another server's address".to_owned()),
            Fact::Asked4011 => (Some(Station::Offer), "a loader, on port 4011".to_owned()),
            _ => (None, String::new()),
        };
        let address = match note.fact {
            Fact::Ack(address) => Some(IpAddr::V4(address)),
            _ => None,
        };
        let station = station.filter(|_| boots);
        if station.is_none() && address.is_none() {
            continue;
        }
        inventory.later(move |tx| {
            let identity = Identity { mac: note.mac, uuid: note.uuid, serial: None };
            let host = match station {
                Some(_) => Some(tx.observe(&identity, note.arch, note.firmware)?),
                None => tx.host_by_mac(note.mac),
            };
            let Some(host) = host else { return Ok(()) };
            if let Some(address) = address {
                tx.at_address(host.id, address);
                tx.seen(host.id);
            }
            if let Some(station) = station {
                tx.reach(host.id, station, CleanText::new(&detail), note.arch, note.firmware)?;
            }
            Ok(())
        });
    }
}

/// The alarm that a foreign DHCP server raises; one card, however many servers.
const FOREIGN: &str = "foreign-dhcp";

async fn alarms(mut alerts: mpsc::Receiver<Alert>, inventory: Inventory) {
    while let Some(alert) = alerts.recv().await {
        let raised = match alert {
            Alert::Foreign(server) => {
                let mac = server.mac.map(|mac| format!(", {mac}")).unwrap_or_default();
                let what = if server.leases { "offers addresses" } else { "names a boot server" };
                let text = format!("Another DHCP server is here: {}{mac} {what}.", server.address);
                tracing::warn!("{text}");
                inventory.transact(move |tx| tx.raise_alarm(FOREIGN, None, CleanText::new(&text))).await
            }
            Alert::Stage { from, to } => {
                let reason = format!("was {}", from.word());
                let kind = EventKind::LadderMoved { to: to.word().into(), reason: CleanText::new(&reason) };
                inventory.transact(move |tx| tx.record(None, None, Actor::Box, kind).map(|_| ())).await
            }
            Alert::NotDurable(why) => {
                let text = format!("Leases cannot be written; DHCP goes on from memory. {why}");
                inventory.transact(move |tx| tx.raise_alarm("leases", None, CleanText::new(&text))).await
            }
        };
        if let Err(error) = raised {
            tracing::error!(error = crate::chain(&error), "an alarm could not be recorded");
        }
    }
}

/// Keeps the page's words about the network true.
async fn show(
    mut status: watch::Receiver<Status>,
    view: watch::Sender<Arc<NetworkView>>,
    facts: LinkFacts,
    boot_port: u16,
    inventory: Inventory,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let now = status.borrow_and_update().clone();
        let sentence = sentence(&now);
        let (word, said) = (CleanText::new(now.stage.word()), CleanText::new(&sentence));
        let stored = inventory.transact(move |tx| tx.set_ladder(word, said)).await;
        if let Err(error) = stored {
            tracing::error!(error = crate::chain(&error), "the DHCP stage could not be recorded");
        }
        view.send_replace(Arc::new(NetworkView {
            interface: facts.name.clone(),
            address: Some(facts.address),
            boot_port,
            mode: sentence,
            mode_word: now.stage.word().to_owned(),
        }));
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn sentence(status: &Status) -> String {
    let other = status.foreign.first().map(|server| format!(" {} gives addresses here.", server.address));
    match status.stage {
        Stage::Observe => {
            format!("Listening for other DHCP servers; answering nobody yet.{}", other.unwrap_or_default())
        }
        Stage::ProxyEnrolled => {
            format!("Another boot server is here, so only enrolled hosts are answered.{}", other.unwrap_or_default())
        }
        Stage::Proxy => format!("Adding boot files beside another DHCP server.{}", other.unwrap_or_default()),
        Stage::PxeOnly => "Giving addresses to network-booting machines only.".to_owned(),
        Stage::Server => "Giving addresses to everybody.".to_owned(),
    }
}
