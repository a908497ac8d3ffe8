//! The provisioning side: waits for an interface with an address, serves DHCP, TFTP and the boot listener on it, and waits
//! again when the address is gone.

mod news;
mod services;
mod setup;

use super::listeners::Beside;
use crate::{
    dhcp::{self, DhcpError, Sockets, Status},
    http::{self, NetworkView, State},
    inventory::StoreError,
    net::{self, LinkEvents, LinkFacts, Netlink, mdns::Mdns},
    tftp,
    time::Wall,
};
use rackberry_core::dhcp::{Services, Stage};
use std::{io, net::UdpSocket, path::PathBuf, slice, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Whoever gives an interface its address sets the route right behind it.
const SETTLE: Duration = Duration::from_secs(1);
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
    pub beside: Beside,
    /// What `net-up` wrote down of this machine's lease.
    pub lease: Option<PathBuf>,
    pub wall: Wall,
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
        let mut setup = setup::setup(&self.state, &config, facts.clone()).await?;
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
        let name = tell_name(&self.state, &facts).await;
        let mut tasks = JoinSet::new();
        let giving = status.subscribe();
        let services = services::start(self, &facts, &subnets, giving, &stop, &mut tasks).await.map_err(unusable)?;
        // Tried out before the first lease: an installer that was told of no name server stops and asks for one. The time is not
        // waited for: a box that does not know it says nothing, and nobody gets an address meanwhile.
        setup.link.services = Services { names: services.names_answer().await, time: false };
        let ports = setup::ports(&self.state, notes, alerts, status, obeyed, stop.clone());
        let dhcp = dhcp::spawn(sockets, setup, ports)?;

        for listener in boot {
            tasks.spawn(http::serve_boot(listener, facts.address, self.state.clone(), stop.clone()));
        }
        tasks.spawn(news::timeline(noted, self.state.inventory.clone()));
        tasks.spawn(news::alarms(alerted, self.state.inventory.clone()));
        tasks.spawn(setup::reservations(kept, commands.clone()));
        tasks.spawn(services.offer(commands.clone(), stop.clone()));
        tasks.spawn(news::show(
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
        // The goodbye may take a moment.
        let _ = tokio::task::spawn_blocking(move || drop(name)).await;
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

/// Tells the box's name on this link, if it is to be told; without it the box serves as well.
async fn tell_name(state: &State, facts: &LinkFacts) -> Option<Mdns> {
    if !state.config.mdns {
        return None;
    }
    let machine = state.config.mdns_name.clone().unwrap_or_else(net::box_name);
    let (interface, address, page) = (facts.name.clone(), facts.address, state.config.page_listen.port());
    let told = tokio::task::spawn_blocking(move || Mdns::start(&machine, &interface, address, page)).await.ok()?;
    told.inspect_err(|error| tracing::warn!(error = crate::chain(error), "the box has no name on its link")).ok()
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
