//! What the box serves beside booting: host names, the time, a place for installers' logs. Each is tried out through its socket,
//! and told to hosts only while it answers.

use super::{Network, Status};
use crate::{
    config::Serve,
    dhcp,
    names::{self, Book, Uplink},
    net::{AskedSocket, Audience, LinkFacts, box_name},
    syslog, time,
};
use rackberry_core::{
    dhcp::{Services, Stage, Subnet},
    text::HostName,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Between two trials.
const AGAIN: Duration = Duration::from_secs(5);
/// Options 6 and 42 name an address alone; these ports are meant (RFC 2132 sections 3.8 and 8.3).
const NAMES_PORT: u16 = 53;
const TIME_PORT: u16 = 123;

/// The servers of one round.
pub(super) struct Running {
    address: Ipv4Addr,
    name: HostName,
    names: bool,
    time: bool,
}

/// Starts what has a socket. Ends with the tasks.
pub(super) async fn start(
    network: &Network,
    facts: &LinkFacts,
    subnets: &[Subnet],
    status: watch::Receiver<Status>,
    stop: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> io::Result<Running> {
    let (config, beside, address) = (&network.state.config, &network.beside, facts.address);
    let name = HostName::nearest(config.mdns_name.as_deref().unwrap_or(&box_name()));
    if let Some(sockets) = &beside.names {
        let own = network.state.inventory.clone();
        let domains = subnets.iter().filter_map(|subnet| subnet.domain.as_deref());
        let book = Book::new(own, name.clone(), address, domains);
        let uplink = Uplink {
            servers: config.names_forward.iter().map(|server| SocketAddrV4::new(*server, NAMES_PORT)).collect(),
            file: Some(network.lease.clone().unwrap_or_else(|| PathBuf::from(RESOLVERS))),
            own: address,
        };
        let let_in = audience(config.names, address, subnets, status.clone());
        let server = names::Server::new(sockets.try_clone()?, address, book, uplink, let_in).await;
        match server {
            Ok(server) => drop(tasks.spawn(server.run(stop.clone()))),
            Err(error) => tracing::error!(error = crate::chain(&error), "names are not served"),
        }
    }
    if let Some(socket) = &beside.time {
        let socket = AskedSocket::new(socket.try_clone()?, address)?;
        let let_in = audience(config.time_serve, address, subnets, status);
        tasks.spawn(time::serve(socket, network.state.time.clone(), network.wall.clone(), let_in, stop.clone()));
    }
    if let Some(sockets) = &beside.syslog {
        tasks.spawn(syslog::serve(sockets, address, network.state.inventory.clone(), stop.clone())?);
    }
    Ok(Running {
        address,
        name,
        names: beside.names.is_some() && config.names_port == NAMES_PORT,
        time: beside.time.is_some() && config.time_port == TIME_PORT,
    })
}

/// What this machine itself asks, where nobody wrote a lease down.
const RESOLVERS: &str = "/etc/resolv.conf";

/// The box itself, and machines of the subnets while they may be led here.
fn audience(serve: Serve, own: Ipv4Addr, subnets: &[Subnet], status: watch::Receiver<Status>) -> Audience {
    let subnets = subnets.to_vec();
    std::sync::Arc::new(move |from| {
        let led = match (serve, status.borrow().stage) {
            (Serve::Off, _) => false,
            (Serve::On, _) | (Serve::Auto, Stage::PxeOnly | Stage::Server) => true,
            (Serve::Auto, Stage::Observe | Stage::ProxyEnrolled | Stage::Proxy) => false,
        };
        from == own || (led && subnets.iter().any(|subnet| subnet.contains(from)))
    })
}

impl Running {
    /// Tries the names out.
    pub(super) async fn names_answer(&self) -> bool {
        self.names && names::answers(&self.name, self.address, NAMES_PORT).await
    }

    /// Tries all of them out.
    async fn answering(&self) -> Services {
        let time = async { self.time && time::answers(SocketAddrV4::new(self.address, TIME_PORT)).await };
        let (names, time) = tokio::join!(self.names_answer(), time);
        Services { names, time }
    }

    /// Keeps DHCP told of who answers.
    pub(super) async fn offer(self, commands: mpsc::Sender<dhcp::Command>, mut stop: watch::Receiver<bool>) {
        loop {
            let services = tokio::select! {
                services = self.answering() => services,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            if commands.send(dhcp::Command::Services(services)).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = commands.closed() => return,
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}
