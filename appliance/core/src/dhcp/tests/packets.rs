//! Builds client packets and reads answers, apart from the code under test.

use crate::{
    dhcp::{
        HostView, LeaseTable, LeaseTimes, Link, Outcome, Packet, Pool, Port, Request, Services, Stage, Subnet, reply,
        wire::decode,
    },
    host::MacAddr,
    time::Timestamp,
};
use std::net::{Ipv4Addr, SocketAddrV4};

pub const BOX: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
pub const LAST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
pub const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const DECLINE: u8 = 4;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;
pub const RELEASE: u8 = 7;
pub const INFORM: u8 = 8;

#[derive(Clone)]
pub struct Client {
    pub bytes: Vec<u8>,
    pub port: Port,
    pub from: SocketAddrV4,
}

/// A packet of message type `kind` from machine `number`, with 53 and no other option.
pub fn client(kind: u8, number: u8) -> Client {
    let mut bytes = vec![0; 240];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&[0xaa, 0xbb, 0xcc, number]);
    bytes[28..34].copy_from_slice(&mac(number).0);
    bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
    bytes.extend([53, 1, kind]);
    Client { bytes, port: Port::Dhcp, from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68) }
}

pub fn mac(number: u8) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0x77, 0, number])
}

impl Client {
    pub fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.bytes.extend([code, u8::try_from(value.len()).unwrap()]);
        self.bytes.extend(value);
        self
    }

    /// A PXE ROM of this architecture.
    pub fn pxe(self, arch: u16) -> Self {
        let class = format!("PXEClient:Arch:{arch:05}:UNDI:003016");
        self.option(60, class.as_bytes()).option(93, &arch.to_be_bytes()).option(94, &[1, 3, 16])
    }

    pub fn ipxe(self, arch: u16) -> Self {
        self.pxe(arch).option(77, b"iPXE").option(175, &[0x13, 1, 1, 0x15, 1, 1, 0x24, 1, 1])
    }

    fn field(mut self, at: usize, value: &[u8]) -> Self {
        self.bytes[at..at + value.len()].copy_from_slice(value);
        self
    }

    pub fn broadcast(self) -> Self {
        self.field(10, &[0x80, 0])
    }

    pub fn ciaddr(mut self, address: Ipv4Addr) -> Self {
        self.from = SocketAddrV4::new(address, 68);
        self.field(12, &address.octets())
    }

    pub fn relay(self, address: Ipv4Addr) -> Self {
        self.field(24, &address.octets())
    }

    pub fn mac(self, mac: MacAddr) -> Self {
        self.field(28, &mac.0)
    }

    /// To port 4011, from an address and port of its own.
    pub fn on_4011(mut self, address: Ipv4Addr, port: u16) -> Self {
        self = self.ciaddr(address);
        self.port = Port::BootServer;
        self.from = SocketAddrV4::new(address, port);
        self
    }

    pub fn decode(&self) -> Request {
        match decode(&self.bytes, self.port, self.from).unwrap() {
            Packet::Request(request) => *request,
            Packet::Reply(reply) => panic!("{reply:?}"),
        }
    }
}

/// An answer, read by rules of its own.
#[derive(Debug, Clone)]
pub struct Got {
    pub bytes: Vec<u8>,
    /// In order of appearance.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Got {
    pub fn read(bytes: &[u8]) -> Self {
        assert_eq!(bytes[0], 2, "BOOTREPLY");
        assert_eq!(bytes[236..240], [99, 130, 83, 99]);
        let mut options = Vec::new();
        let mut at = 240;
        while bytes[at] != 255 {
            assert_ne!(bytes[at], 0, "no padding before END");
            let length = usize::from(bytes[at + 1]);
            options.push((bytes[at], bytes[at + 2..at + 2 + length].to_vec()));
            at += 2 + length;
        }
        assert!(bytes[at + 1..].iter().all(|byte| *byte == 0), "only padding after END");
        let codes: std::collections::HashSet<u8> = options.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.len(), options.len(), "every option once");
        assert!(!codes.contains(&52), "no overload");
        Got { bytes: bytes.to_vec(), options }
    }

    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(found, _)| *found == code).map(|(_, value)| value.as_slice())
    }

    pub fn text(&self, code: u8) -> &str {
        std::str::from_utf8(self.option(code).unwrap_or_default()).unwrap()
    }

    pub fn kind(&self) -> u8 {
        self.option(53).unwrap()[0]
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::from(<[u8; 4]>::try_from(&self.bytes[at..at + 4]).unwrap())
    }

    pub fn ciaddr(&self) -> Ipv4Addr {
        self.address(12)
    }

    pub fn yiaddr(&self) -> Ipv4Addr {
        self.address(16)
    }

    pub fn siaddr(&self) -> Ipv4Addr {
        self.address(20)
    }

    pub fn broadcast(&self) -> bool {
        self.bytes[10] & 0x80 != 0
    }

    fn string(&self, range: std::ops::Range<usize>) -> &str {
        let field = &self.bytes[range];
        let end = field.iter().position(|byte| *byte == 0).expect("a NUL ends the field");
        std::str::from_utf8(&field[..end]).unwrap()
    }

    pub fn file(&self) -> &str {
        self.string(108..236)
    }

    pub fn sname(&self) -> &str {
        self.string(44..108)
    }
}

/// A box on a link in one stage.
pub struct Rack {
    pub link: Link,
    pub table: LeaseTable,
    pub host: HostView,
    pub now: Timestamp,
}

pub fn subnet() -> Subnet {
    Subnet {
        network: Ipv4Addr::new(10, 77, 0, 0),
        prefix: 24,
        pool: Some((FIRST, LAST)),
        router: None,
        dns: Vec::new(),
        domain: None,
        ntp: Vec::new(),
        lease: None,
        dynamic_bootp: false,
        options: Vec::new(),
    }
}

pub fn rack(stage: Stage) -> Rack {
    let link = Link {
        address: BOX,
        http_port: 80,
        stage,
        authoritative: false,
        times: LeaseTimes::default(),
        subnet: subnet(),
        relayed: Vec::new(),
        services: Services::default(),
    };
    let table = LeaseTable::new(&[Pool { first: FIRST, last: LAST, except: vec![BOX] }], [], Timestamp(0));
    Rack { link, table, host: HostView::default(), now: Timestamp(1000) }
}

impl Rack {
    pub fn outcome(&mut self, client: &Client) -> Outcome {
        reply(&client.decode(), &self.link, &mut self.table, &self.host, self.now)
    }

    pub fn ask(&mut self, client: &Client) -> Option<Got> {
        self.outcome(client).reply.map(|bytes| Got::read(&bytes))
    }

    /// DISCOVER and REQUEST: the address and the ACK.
    pub fn lease(&mut self, number: u8, dress: impl Fn(Client) -> Client) -> Option<(Ipv4Addr, Got)> {
        let offer = self.ask(&dress(client(DISCOVER, number)))?;
        let address = offer.yiaddr();
        let request = client(REQUEST, number).option(50, &address.octets()).option(54, &BOX.octets());
        Some((address, self.ask(&dress(request))?))
    }
}
