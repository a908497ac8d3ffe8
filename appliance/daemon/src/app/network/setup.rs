//! What DHCP starts with, and what it asks about hosts while it runs.

use super::NetworkError;
use crate::{
    config::Config,
    dhcp::{self, Alert, Ports, Setup, Status},
    http::State,
    inventory::{HostEntry, Identity, MAX_AUTOMATIC_HOSTS, Snapshot},
    net::{self, LinkFacts},
};
use rackberry_core::{
    dhcp::{HostView, LeaseTimes, Link, LinkId, Note, Pool, ProbeTimes, Request, Services, Stage, Subnet},
    event::Station,
    host::BootPolicy,
    install::Phase,
    time::Timestamp,
};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

/// A host that fetched something of ours this long ago counts as booted by us: its system asks for an address too.
const RECENT: Duration = Duration::from_secs(3600);

pub(super) async fn setup(state: &State, config: &Config, facts: LinkFacts) -> Result<Setup, NetworkError> {
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
    if let Some((first, last)) = subnet.pool {
        let most = std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3").ok();
        let most = most.and_then(|text| text.trim().parse().ok());
        if let Some(warning) = too_many(u32::from(last).saturating_sub(u32::from(first)).saturating_add(1), most) {
            tracing::warn!("{warning}");
        }
    }
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
        services: Services::default(),
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

/// What is to be said where the kernel remembers fewer neighbours than there may be clients.
fn too_many(clients: u32, neighbours: Option<u32>) -> Option<String> {
    let neighbours = neighbours.filter(|most| *most < clients)?;
    Some(format!(
        "the pool has {clients} addresses, and this kernel remembers {neighbours} neighbours for all interfaces together: beyond \
         it packets are lost. If there are as many machines, raise net.ipv4.neigh.default.gc_thresh3 (sysctl)"
    ))
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
pub(super) async fn reservations(mut hosts: watch::Receiver<Arc<Snapshot>>, commands: mpsc::Sender<dhcp::Command>) {
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

pub(super) fn ports(
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
        health: state.health.clone(),
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

#[cfg(test)]
mod tests {
    use super::too_many;

    #[test]
    fn a_pool_beyond_the_kernels_neighbours_is_told_of() {
        assert!(
            too_many(1025, Some(1024))
                .is_some_and(|warning| warning.contains("1025") && warning.contains("gc_thresh3"))
        );
        assert_eq!(too_many(1024, Some(1024)), None);
        assert_eq!(too_many(65_536, None), None, "where the kernel does not say");
    }
}
