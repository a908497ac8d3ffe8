//! All sockets of the box, opened before anything else: passed in by a service manager, else bound here.
//!
//! They are bound on all interfaces, since the one to serve may be known only later, and its address may change, when the right
//! to open them is long given up. Who serves on them lets in only what came to the box's own address or interface.

use super::{
    AppError,
    passed::{Passed, PassedError},
};
use crate::{
    config::Config,
    dhcp,
    net::{PacketSocket, sockets},
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
        Ok(Listeners { page, boot, tftp, dhcp })
    }
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
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A connection of the former run that still lingers does not keep the port (as std and tokio do).
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|source| listen_error(what, address, source))
}

fn listen_error(what: &'static str, address: SocketAddr, source: io::Error) -> AppError {
    AppError::Listen { what, address: address.to_string(), source }
}
