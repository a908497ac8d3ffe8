//! A UDP socket on all interfaces that hears what was sent to one address, and answers from it.
//!
//! The questions of this machine itself, which come by loopback, are among them: so a server can be tried out through its socket.

use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
        sockopt::Ipv4PacketInfo,
    },
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd as _,
};
use tokio::io::Interest;

/// Whether this address may be answered.
pub type Audience = std::sync::Arc<dyn Fn(Ipv4Addr) -> bool + Send + Sync>;

/// The socket, as those see it who ask at one address.
#[derive(Debug)]
pub struct AskedSocket {
    socket: tokio::net::UdpSocket,
    address: Ipv4Addr,
}

impl AskedSocket {
    /// Takes the socket into use for what is sent to `address`.
    ///
    /// # Errors
    /// When an option is refused or no runtime is there.
    pub fn new(socket: UdpSocket, address: Ipv4Addr) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
        Ok(AskedSocket { socket: tokio::net::UdpSocket::from_std(socket)?, address })
    }

    /// The port.
    ///
    /// # Errors
    /// The kernel's.
    pub fn port(&self) -> io::Result<u16> {
        self.socket.local_addr().map(|address| address.port())
    }

    /// The next datagram that was sent to the address: its length in `buffer`, where what is longer is cut, and its sender.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddrV4)> {
        loop {
            let (length, from, to) = self.socket.async_io(Interest::READABLE, || take(&self.socket, buffer)).await?;
            match from {
                Some(from) if to == Some(self.address) => return Ok((length, from)),
                _ => {}
            }
        }
    }

    /// Sends an answer from the address; a full buffer loses it.
    pub fn answer(&self, bytes: &[u8], to: SocketAddrV4) {
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(self.address.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let (parts, to) = ([IoSlice::new(bytes)], SockaddrIn::from(to));
        let sent = sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&to));
        if let Err(error) = sent {
            tracing::debug!(to = %to, "an answer was not sent: {error}");
        }
    }
}

/// One datagram: length, sender, and the address that it was sent to.
fn take(
    socket: &tokio::net::UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SocketAddrV4>, Option<Ipv4Addr>)> {
    let (mut parts, mut control) = ([IoSliceMut::new(buffer)], cmsg_space!(libc::in_pktinfo));
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let to = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())),
        _ => None,
    });
    Ok((message.bytes, message.address.map(Into::into), to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn only_what_came_to_the_address_is_heard_and_answers_come_from_it() {
        let own = Ipv4Addr::new(127, 0, 0, 7);
        let wide = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = wide.local_addr().unwrap().port();
        let asked = AskedSocket::new(wide, own).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        client.send_to(b"elsewhere", (Ipv4Addr::LOCALHOST, port)).unwrap();
        client.send_to(b"here", (own, port)).unwrap();
        let mut buffer = [0; 16];
        let heard = tokio::time::timeout(Duration::from_secs(30), asked.receive(&mut buffer)).await.unwrap();
        let (length, from) = heard.unwrap();
        assert_eq!((&buffer[..length], from.port()), (&b"here"[..], client.local_addr().unwrap().port()));
        asked.answer(b"yes", from);
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"yes"[..], (own, port).into()));
    }
}
