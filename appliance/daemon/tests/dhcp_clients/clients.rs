//! Clients as bytes, and a crowd of them.

use super::*;

/// The machine whose install runs.
pub const INSTALLING: MacAddr = MacAddr([2, 7, 0, 0, 0, 9]);

/// A message of a PXE client that wants its answers broadcast.
pub fn message(kind: u8, mac: MacAddr, xid: u32, ciaddr: Ipv4Addr, more: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0];
    bytes.extend(xid.to_be_bytes());
    bytes.extend([0, 0, 0x80, 0]);
    bytes.extend(ciaddr.octets());
    bytes.resize(28, 0);
    bytes.extend(mac.0);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind, 60, 9]);
    bytes.extend(b"PXEClient");
    bytes.extend([93, 2, 0, 7]);
    bytes.extend(more);
    bytes.push(255);
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

/// Message type and address of an answer of the box; `None` for anything else.
pub fn from_box(bytes: &[u8], from: std::net::SocketAddr, xid: Option<u32>) -> Option<(u8, MacAddr, u32, Ipv4Addr)> {
    let number = |at: usize| bytes.get(at..at + 4).map(|quad| u32::from_be_bytes(quad.try_into().unwrap()));
    let found = number(4)?;
    let ours = from.ip() == BOX && bytes.first() == Some(&2) && xid.is_none_or(|xid| xid == found);
    let kind = *bytes.get(242).filter(|_| ours)?;
    Some((kind, MacAddr(bytes.get(28..34)?.try_into().ok()?), found, Ipv4Addr::from(number(16)?)))
}

/// What a client says to take an offer of the box.
pub fn take(address: Ipv4Addr) -> Vec<u8> {
    [&[50, 4][..], &address.octets(), &[54, 4], &BOX.octets()].concat()
}

/// Asks the box for an address until the time is over.
pub fn lease(socket: &UdpSocket, mac: MacAddr, patience: Duration) -> Option<Ipv4Addr> {
    let until = Instant::now() + patience;
    let none = Ipv4Addr::UNSPECIFIED;
    let mut buffer = [0; 2048];
    while Instant::now() < until {
        socket.send_to(&message(1, mac, 77, none, &[]), SERVERS).unwrap();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            match from_box(&buffer[..length], from, Some(77)) {
                Some((2, of, _, address)) if of == mac && !address.is_unspecified() => {
                    socket.send_to(&message(3, mac, 77, none, &take(address)), SERVERS).unwrap();
                }
                Some((5, of, _, address)) if of == mac => return Some(address),
                _ => {}
            }
        }
    }
    None
}

/// Whether the box renews a lease within the time.
pub fn renew(socket: &UdpSocket, mac: MacAddr, address: Ipv4Addr, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    let mut buffer = [0; 2048];
    while Instant::now() < until {
        // By ciaddr 0 and the address it remembers: so the answer is broadcast, and nobody has to have the address.
        let again = message(3, mac, 78, Ipv4Addr::UNSPECIFIED, &[&[50, 4][..], &address.octets()].concat());
        socket.send_to(&again, SERVERS).unwrap();
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if from_box(&buffer[..length], from, Some(78)).is_some_and(|(kind, of, ..)| (kind, of) == (5, mac)) {
                return true;
            }
        }
    }
    false
}

pub const SERVERS: (Ipv4Addr, u16) = (Ipv4Addr::BROADCAST, 67);

/// New machines that keep asking, one every few milliseconds, and take what the box offers.
pub struct Crowd {
    pub stop: Arc<AtomicBool>,
    pub thread: std::thread::JoinHandle<(usize, Vec<Instant>)>,
    pub _machine: Machine,
}

impl Crowd {
    pub fn new(rack: &Rack, name: &str) -> Self {
        let machine = rack.join(name, Some(Ipv4Addr::new(10, 93, 0, 8)));
        let socket = machine.socket();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut asked, mut ours, mut buffer) = (0_u32, Vec::new(), [0; 2048]);
            while !told.load(Ordering::Relaxed) {
                asked += 1;
                // 96 machines take turns, so that the pool never runs out.
                let [.., a, b] = (asked % 96).to_be_bytes();
                let mac = MacAddr([2, 9, 0, 0, a, b]);
                let none = Ipv4Addr::UNSPECIFIED;
                socket.send_to(&message(1, mac, asked, none, &[]), SERVERS).unwrap();
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    match from_box(&buffer[..length], from, None) {
                        Some((2, of, xid, address)) if !address.is_unspecified() => {
                            socket.send_to(&message(3, of, xid, none, &take(address)), SERVERS).unwrap();
                        }
                        Some((5, _, _, address)) if !address.is_unspecified() => ours.push(Instant::now()),
                        _ => {}
                    }
                }
            }
            (usize::try_from(asked).unwrap(), ours)
        });
        Crowd { stop, thread, _machine: machine }
    }

    /// How many asked, and when the box confirmed addresses.
    pub fn end(self) -> (usize, Vec<Instant>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
