//! The DHCP shell against real clients and a real second server, in network namespaces of its own. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside #[test] functions"
)]

mod clients;
mod display;
mod rack;

use clients::*;
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use rack::*;
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
    dhcp::{Change, HostView, LeaseRow, LeaseTimes, Link, Mode, Note, Pool, ProbeTimes, Services, Stage, Subnet},
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
