//! UDP sockets tied to one interface.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

/// A socket that could not be had; the sentence says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error(
        "open UDP port {port} on {device}: not allowed; start as root or with CAP_NET_BIND_SERVICE, CAP_NET_RAW and CAP_NET_ADMIN"
    )]
    Forbidden {
        port: u16,
        device: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "open UDP port {port} on {device}: another program has it; stop it, or choose another port in rackberry.toml"
    )]
    Taken {
        port: u16,
        device: String,
        #[source]
        source: std::io::Error,
    },
    #[error("open UDP port {port} on {device}")]
    Other {
        port: u16,
        device: String,
        #[source]
        source: std::io::Error,
    },
}

/// A non-blocking UDP socket on `port` that hears and speaks through `device` only, broadcasts included.
///
/// # Errors
/// [`SocketError`].
pub fn udp(device: &str, port: u16) -> Result<UdpSocket, SocketError> {
    open(device, port, false)
}

/// The same, where another program may sit on the port as well: a DHCP client on 68.
///
/// # Errors
/// [`SocketError`].
pub fn shared_udp(device: &str, port: u16) -> Result<UdpSocket, SocketError> {
    open(device, port, true)
}

fn open(device: &str, port: u16, shared: bool) -> Result<UdpSocket, SocketError> {
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_broadcast(true)?;
        socket.set_reuse_address(shared)?;
        socket.bind_device(Some(device.as_bytes()))?;
        socket.set_nonblocking(true)?;
        // A rack that is switched on at once fills the default.
        socket.set_recv_buffer_size(1 << 20)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        Ok::<_, std::io::Error>(socket.into())
    };
    open().map_err(|source| {
        let device = device.to_owned();
        match source.kind() {
            std::io::ErrorKind::PermissionDenied => SocketError::Forbidden { port, device, source },
            std::io::ErrorKind::AddrInUse => SocketError::Taken { port, device, source },
            _ => SocketError::Other { port, device, source },
        }
    })
}
