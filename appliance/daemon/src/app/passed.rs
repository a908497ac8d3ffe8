//! Sockets handed in by whoever started us (sd_listen_fds(3)), by name: `page`, `boot`, `boot-alias`, `tftp`.

use std::{
    collections::BTreeMap,
    io,
    net::{TcpListener, UdpSocket},
    os::fd::{FromRawFd as _, OwnedFd},
};

/// The sockets not yet taken; those left over are closed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    by_name: BTreeMap<String, OwnedFd>,
}

impl Passed {
    /// Takes what the environment names; nothing if it names nothing.
    pub fn take() -> io::Result<Self> {
        if std::env::var_os("LISTEN_FDS").is_none() {
            return Ok(Passed::default());
        }
        let mut by_name = BTreeMap::new();
        for (descriptor, name) in sd_notify::listen_fds_with_names()? {
            // SAFETY: the protocol gives these descriptors to this process alone, and this is the only place that takes
            // them, once, before any other file is opened by number.
            let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
            by_name.insert(name, owned);
        }
        Ok(Passed { by_name })
    }

    /// A listening TCP socket.
    pub fn tcp(&mut self, name: &str) -> Option<TcpListener> {
        let listener = TcpListener::from(self.by_name.remove(name)?);
        listener.set_nonblocking(true).ok().map(|()| listener)
    }

    /// A bound UDP socket.
    pub fn udp(&mut self, name: &str) -> Option<UdpSocket> {
        let socket = UdpSocket::from(self.by_name.remove(name)?);
        socket.set_nonblocking(true).ok().map(|()| socket)
    }
}
