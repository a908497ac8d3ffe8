//! Sockets handed in by whoever started us (sd_listen_fds(3)), by name.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{FromRawFd as _, OwnedFd},
};

/// A socket that was passed in and does not fit the settings.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    #[error("cannot take the sockets that were passed in")]
    Take(#[source] io::Error),
    #[error("cannot use the socket that was passed in as {name}")]
    Use {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "the socket passed in as {name} is on port {passed}, rackberry.toml says {wanted}: make them the same (systemctl edit rackberry-{name}.socket), or disable that socket"
    )]
    Port { name: &'static str, passed: u16, wanted: u16 },
}

/// The sockets not yet taken; those left over are closed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    by_name: BTreeMap<String, OwnedFd>,
}

impl Passed {
    /// Takes what the environment names; nothing if it names nothing.
    pub fn take() -> Result<Self, PassedError> {
        if std::env::var_os("LISTEN_FDS").is_none() {
            return Ok(Passed::default());
        }
        let mut by_name = BTreeMap::new();
        for (descriptor, name) in sd_notify::listen_fds_with_names().map_err(PassedError::Take)? {
            // SAFETY: the protocol gives these descriptors to this process alone, and this is the only place that takes
            // them, once, before any other file is opened by number.
            let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
            by_name.insert(name, owned);
        }
        Ok(Passed { by_name })
    }

    /// A listening TCP socket on any port.
    pub fn page(&mut self) -> Result<Option<TcpListener>, PassedError> {
        self.tcp("page").map(|listener| listener.map(|(listener, _)| listener))
    }

    /// A listening TCP socket on the port that the settings say.
    pub fn listener(&mut self, name: &'static str, port: u16) -> Result<Option<TcpListener>, PassedError> {
        let Some((listener, address)) = self.tcp(name)? else { return Ok(None) };
        same_port(name, address, port).map(|()| Some(listener))
    }

    fn tcp(&mut self, name: &'static str) -> Result<Option<(TcpListener, SocketAddr)>, PassedError> {
        let Some(descriptor) = self.by_name.remove(name) else { return Ok(None) };
        let listener = TcpListener::from(descriptor);
        let address = listener.set_nonblocking(true).and_then(|()| listener.local_addr());
        address.map(|address| Some((listener, address))).map_err(|source| PassedError::Use { name, source })
    }

    /// A UDP socket on the port that the settings say.
    pub fn udp(&mut self, name: &'static str, port: u16) -> Result<Option<UdpSocket>, PassedError> {
        let Some(descriptor) = self.by_name.remove(name) else { return Ok(None) };
        let socket = UdpSocket::from(descriptor);
        let address = socket.set_nonblocking(true).and_then(|()| socket.local_addr());
        let address = address.map_err(|source| PassedError::Use { name, source })?;
        same_port(name, address, port).map(|()| Some(socket))
    }
}

fn same_port(name: &'static str, address: SocketAddr, wanted: u16) -> Result<(), PassedError> {
    if address.port() == wanted { Ok(()) } else { Err(PassedError::Port { name, passed: address.port(), wanted }) }
}
