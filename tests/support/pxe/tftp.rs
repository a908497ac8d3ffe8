//! Reading a file by TFTP (RFC 1350, 2347, 2348, 2349, 7440), as strict as the oldest ROM.

use anyhow::{Context, Result, bail, ensure};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// What the client asks for; the default asks for nothing beyond RFC 1350.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Block size in bytes.
    pub blksize: Option<u16>,
    /// Blocks before an acknowledgement.
    pub windowsize: Option<u16>,
    /// Whether to ask for the file's size.
    pub tsize: bool,
    /// Ends the transfer right after the server told the size, as firmware that probes does.
    pub only_size: bool,
}

/// A file as it came.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its bytes; none for a size probe.
    pub data: Vec<u8>,
    /// The size that the server told, when asked.
    pub size: Option<u64>,
    /// The options that the server granted, in its order.
    pub granted: Vec<(String, String)>,
    /// How often this client had to ask again.
    pub repeats: u32,
}

const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;
const PATIENCE: Duration = Duration::from_secs(1);
const TRIES: u32 = 30;

/// Fetches one file.
///
/// # Errors
/// When the server sends ERROR, grants what was not asked, breaks the order, or is silent for 30 s.
pub fn fetch(socket: UdpSocket, server: SocketAddrV4, path: &str, options: &Options) -> Result<Fetched> {
    let mut request = [&[0, 1][..], path.as_bytes(), b"\0octet\0"].concat();
    let mut ask =
        |name: &str, value: String| request.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    if options.tsize || options.only_size {
        ask("tsize", "0".into());
    }
    if let Some(size) = options.blksize {
        ask("blksize", size.to_string());
    }
    if let Some(window) = options.windowsize {
        ask("windowsize", window.to_string());
    }
    let asked = options.tsize || options.only_size || options.blksize.is_some() || options.windowsize.is_some();

    let mut fetched = Fetched { data: Vec::new(), size: None, granted: Vec::new(), repeats: 0 };
    let mut peer: Option<SocketAddr> = None;
    let mut last = request;
    let mut block_size = 512usize;
    let mut window = 1u16;
    let mut expected: u16 = 1;
    let mut since_ack = 0u16;
    let mut gap_told = false;
    let mut buffer = vec![0u8; 65_536];
    send(&socket, &last, peer, server)?;
    loop {
        let (length, from) = match receive(&socket, &mut buffer, peer, server)? {
            Some(received) => received,
            None => {
                fetched.repeats += 1;
                ensure!(fetched.repeats < TRIES, "{server} is silent in the middle of {path}");
                send(&socket, &last, peer, server)?;
                since_ack = 0;
                gap_told = false;
                continue;
            }
        };
        peer = Some(from);
        let packet = buffer.get(..length).unwrap_or_default();
        let Some((&[a, b], body)) = packet.split_first_chunk::<2>() else {
            bail!("{from} sent {length} bytes, which is no TFTP packet");
        };
        match u16::from_be_bytes([a, b]) {
            OACK if asked && expected == 1 && fetched.data.is_empty() => {
                fetched.granted = pairs(body)?;
                for (name, value) in &fetched.granted {
                    let number: u64 = value.parse().with_context(|| format!("the OACK's {name}={value}"))?;
                    match name.to_ascii_lowercase().as_str() {
                        "tsize" if options.tsize || options.only_size => fetched.size = Some(number),
                        "blksize" if options.blksize.is_some_and(|asked| number <= u64::from(asked)) => {
                            block_size = usize::try_from(number)?;
                        }
                        "windowsize" if options.windowsize.is_some_and(|asked| number <= u64::from(asked)) => {
                            window = u16::try_from(number)?;
                        }
                        _ => bail!("the server grants {name}={value}, which was not asked"),
                    }
                }
                if options.only_size {
                    send(&socket, b"\0\x05\0\x08User aborted the transfer\0", peer, server)?;
                    return Ok(fetched);
                }
                last = vec![0, 4, 0, 0];
                send(&socket, &last, peer, server)?;
            }
            // A repeated OACK says that the ACK of block 0 was lost.
            OACK if asked => send(&socket, &last, peer, server)?,
            DATA => {
                let Some((&number, data)) = body.split_first_chunk::<2>() else {
                    bail!("a DATA packet without a block number");
                };
                let ahead = u16::from_be_bytes(number).wrapping_sub(expected);
                if ahead != 0 {
                    // RFC 7440 section 4: a gap is told at once, and once. The last block held, when it comes again, asks for an
                    // acknowledgement that was lost, also in the middle of a window: the server may count its windows from elsewhere.
                    let gap = ahead < 0x8000 && !gap_told;
                    let again = ahead == u16::MAX;
                    gap_told |= gap;
                    if gap || again {
                        since_ack = 0;
                        send(&socket, &last, peer, server)?;
                    }
                    continue;
                }
                gap_told = false;
                ensure!(data.len() <= block_size, "a block of {} bytes, {block_size} were agreed", data.len());
                fetched.data.extend(data);
                last = [&ACK.to_be_bytes()[..], &number].concat();
                expected = expected.wrapping_add(1);
                since_ack += 1;
                let end = data.len() < block_size;
                if end || since_ack >= window {
                    since_ack = 0;
                    send(&socket, &last, peer, server)?;
                }
                if end {
                    return Ok(fetched);
                }
            }
            ERROR => {
                let text = body.get(2..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
                let code = body.get(1).copied().unwrap_or_default();
                bail!("{path}: TFTP error {code}: {}", String::from_utf8_lossy(text));
            }
            other => bail!("an unexpected TFTP packet of type {other}"),
        }
    }
}

fn send(socket: &UdpSocket, packet: &[u8], peer: Option<SocketAddr>, server: SocketAddrV4) -> Result<()> {
    let to = peer.unwrap_or(SocketAddr::V4(server));
    socket.send_to(packet, to).map(drop).with_context(|| format!("send to {to}"))
}

/// The next packet of the transfer's peer; before there is one, of any port of the server.
fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    peer: Option<SocketAddr>,
    server: SocketAddrV4,
) -> Result<Option<(usize, SocketAddr)>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(buffer) {
            Ok((length, from)) if peer.is_none_or(|peer| peer == from) && from.ip() == *server.ip() => {
                return Ok(Some((length, from)));
            }
            Ok((_, from)) => {
                // RFC 1350 section 4: another port is told that it is not ours.
                socket.send_to(b"\0\x05\0\x05unknown transfer\0", from)?;
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("receive"),
        }
    }
}

fn pairs(body: &[u8]) -> Result<Vec<(String, String)>> {
    let body = body.strip_suffix(&[0]).context("the OACK does not end in NUL")?;
    let words: Vec<String> = body.split(|byte| *byte == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    ensure!(words.len().is_multiple_of(2), "the OACK has an option without a value: {words:?}");
    let mut words = words.into_iter();
    Ok(std::iter::from_fn(|| Some((words.next()?, words.next()?))).collect())
}
