//! All sockets of the box, opened before anything else: passed in by a service manager, else bound here.
//!
//! They are bound on all interfaces, since the one to serve may be known only later, and its address may change, when the right
//! to open them is long given up. Who serves on them lets in only what came to the box's own address or interface.

use super::{
    AppError,
    passed::{Passed, PassedError},
};
use crate::{
    config::{Config, Serve},
    dhcp, names,
    net::{PacketSocket, sockets},
    syslog,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

/// The client port of DHCP (RFC 2131); no setting changes it.
const DHCP_CLIENT: u16 = 68;
/// Connections that wait to be taken; a rack comes at once.
const BACKLOG: i32 = 1024;

/// The sockets, not yet served.
#[derive(Debug)]
pub(super) struct Listeners {
    pub page: TcpListener,
    /// One or two.
    pub boot: Vec<TcpListener>,
    pub tftp: UdpSocket,
    pub dhcp: dhcp::Sockets,
    pub beside: Beside,
}

/// Sockets without which the box does its work all the same.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub names: Option<names::Sockets>,
    pub time: Option<UdpSocket>,
    pub syslog: Option<syslog::Sockets>,
}

impl Listeners {
    /// Opens them; a socket that was passed in comes before one of our own.
    ///
    /// # Errors
    /// [`AppError`], naming the port that cannot be had.
    pub fn open(config: &Config) -> Result<Self, AppError> {
        let mut passed = Passed::take()?;
        let page = match passed.page()? {
            Some(listener) => listener,
            None => tcp("the page's port", config.page_listen)?,
        };
        let mut boot = Vec::new();
        let ports = [
            ("boot", "the boot port", config.boot_port),
            ("boot-alias", "the second boot port", config.boot_alias_port),
        ];
        for (name, what, port) in ports {
            match passed.listener(name, port)? {
                Some(listener) => boot.push(listener),
                None if port == 0 => {}
                None => boot.push(tcp(what, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?),
            }
        }
        let tftp = match passed.udp("tftp", config.tftp_port)? {
            Some(socket) => socket,
            None => {
                let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.tftp_port));
                UdpSocket::bind(address).map_err(|source| listen_error("the TFTP port", address, source))?
            }
        };
        let dhcp = dhcp::Sockets {
            dhcp: udp(passed.udp("dhcp", config.dhcp_port), || sockets::udp(config.dhcp_port))?,
            boot_server: udp(passed.udp("proxydhcp", config.dhcp_proxy_port), || sockets::udp(config.dhcp_proxy_port))?,
            client: udp(passed.udp("dhcp-client", DHCP_CLIENT), || sockets::shared_udp(DHCP_CLIENT))?,
            packet: packet(),
        };
        let beside = Beside::open(config, &mut passed)?;
        Ok(Listeners { page, boot, tftp, dhcp, beside })
    }
}

impl Beside {
    /// Those that the settings want and that can be had; the log says in one sentence what is not served, and why.
    ///
    /// # Errors
    /// Sockets that were passed in and do not fit.
    fn open(config: &Config, passed: &mut Passed) -> Result<Self, AppError> {
        let mut beside = Beside::default();
        if config.names != Serve::Off {
            let port = config.names_port;
            let both = udp_and_tcp(passed.udp("names", port)?, passed.listener("names-tcp", port)?, port);
            let both = both.map(|(udp, tcp)| names::Sockets { udp, tcp });
            beside.names = both.map_err(|error| not_served("Names are", "names.dns", port, &error)).ok();
        }
        if config.time_serve != Serve::Off {
            let port = config.time_port;
            let udp = passed.udp("time", port)?.map_or_else(|| plain_udp(port), Ok);
            beside.time = udp.map_err(|error| not_served("The time is", "time.serve", port, &error)).ok();
        }
        if config.syslog_port != 0 {
            let port = config.syslog_port;
            let both = udp_and_tcp(passed.udp("syslog", port)?, passed.listener("syslog-tcp", port)?, port);
            let both = both.map(|(udp, tcp)| syslog::Sockets { udp, tcp });
            beside.syslog = both.map_err(|error| not_served("Installers' logs are", "syslog.port", port, &error)).ok();
        }
        Ok(beside)
    }
}

/// The same port by both, of which either may have been passed in.
fn udp_and_tcp(udp: Option<UdpSocket>, tcp: Option<TcpListener>, port: u16) -> io::Result<(UdpSocket, TcpListener)> {
    let udp = udp.map_or_else(|| plain_udp(port), Ok)?;
    let tcp = tcp.map_or_else(|| plain_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))), Ok)?;
    Ok((udp, tcp))
}

fn plain_udp(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
}

fn not_served(what: &str, setting: &str, port: u16, error: &io::Error) {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "another program on this machine has it".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "this user lacks the right to open it (CAP_NET_BIND_SERVICE), and no service manager passed it in"
                .to_owned()
        }
        _ => error.to_string(),
    };
    tracing::warn!(
        "{what} not served here, as port {port} cannot be had: {why}. All else goes on; {setting} ends this sentence."
    );
}

fn udp(
    passed: Result<Option<UdpSocket>, PassedError>,
    open: impl FnOnce() -> Result<UdpSocket, sockets::SocketError>,
) -> Result<UdpSocket, AppError> {
    match passed? {
        Some(socket) => Ok(socket),
        None => Ok(open()?),
    }
}

/// The one socket that no service manager passes.
fn packet() -> Option<PacketSocket> {
    PacketSocket::open()
        .map_err(|error| {
            tracing::warn!(
                "no packet socket ({error}; it takes root or CAP_NET_RAW at start): addresses are offered without asking by \
                 ARP first, and DHCP answers to machines without an address are broadcast"
            );
        })
        .ok()
}

fn tcp(what: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    plain_tcp(address).map_err(|source| listen_error(what, address, source))
}

fn plain_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A connection of the former run that still lingers does not keep the port (as std and tokio do).
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn listen_error(what: &'static str, address: SocketAddr, source: io::Error) -> AppError {
    AppError::Listen { what, address: address.to_string(), source }
}
