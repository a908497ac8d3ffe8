//! RFC 2131 section 4.1 and table 3: how an answer is built and where it is sent.

use crate::bench::{Ask, Config, RELAY, Seen};
use crate::cases::{Cases, Peer};
use anyhow::{Result, ensure};
use std::net::{Ipv4Addr, SocketAddrV4};
use system_tests::pxe::Kind;
use system_tests::pxe::link::BROADCAST_MAC;
use system_tests::pxe::message::{kind, option};
use system_tests::site::BOX;

/// The four kinds of answers a server gives.
const ANSWERS: [&str; 4] = ["OFFER", "ACK", "NAK", "ACK to an INFORM"];

fn answer(ask: &Ask<'_>, which: &str, dress: impl Fn(&mut system_tests::pxe::Message)) -> Result<Seen> {
    let machine = ask.plain();
    let mut message = match which {
        "OFFER" => ask.discover(&machine),
        "ACK" => {
            let offer = ask.offer(&machine)?;
            ask.select(&machine, &offer)
        }
        "NAK" => ask.reboot(&machine, Ipv4Addr::new(192, 168, 5, 5)),
        _ => {
            let mut inform = ask.discover(&machine);
            inform.set(option::MESSAGE_TYPE, &[kind::INFORM]);
            inform.ciaddr = ask.own_address();
            inform
        }
    };
    dress(&mut message);
    ask.answer(&message)
}

pub fn add(cases: &mut Cases) {
    let both = Peer::Dnsmasq;
    let server = Config::Server;
    cases.section("RFC 2131 4.1 messages");
    for which in ANSWERS {
        // A server that is not authoritative may meet a wrong address with silence.
        let config = if which == "NAK" { Config::Authoritative } else { server };
        cases.rule(config, both, format!("{which}: op 2, Ethernet, no hops"), move |ask| {
            let seen = answer(ask, which, |_| {})?;
            ensure!(seen.bytes().get(..4) == Some(&[2, 1, 6, 0][..]), "{:?}", seen.bytes().get(..4));
            Ok(())
        });
        cases.rule(config, Peer::No("repeats the client's secs"), format!("{which}: secs is 0"), move |ask| {
            ensure!(answer(ask, which, |message| message.secs = 7)?.message.secs == 0);
            Ok(())
        });
        cases.rule(config, both, format!("{which}: comes from port 67 of the server"), move |ask| {
            let seen = answer(ask, which, |_| {})?;
            ensure!(seen.envelope.from == SocketAddrV4::new(BOX, 67), "{}", seen.envelope.from);
            Ok(())
        });
        cases.rule(config, both, format!("{which}: at least 300 bytes (RFC 1542 2.1)"), move |ask| {
            let seen = answer(ask, which, |_| {})?;
            ensure!(seen.bytes().len() >= 300, "{} bytes", seen.bytes().len());
            Ok(())
        });
        cases.rule(config, both, format!("{which}: option 53 comes first"), move |ask| {
            ensure!(answer(ask, which, |_| {})?.order().0.first() == Some(&53));
            Ok(())
        });
        cases.rule(config, both, format!("{which}: every option once, and nothing behind END"), move |ask| {
            let (codes, rest) = answer(ask, which, |_| {})?.order();
            let mut once = codes.clone();
            once.sort_unstable();
            once.dedup();
            ensure!(once.len() == codes.len() && rest.iter().all(|byte| *byte == 0), "{codes:?}, then {rest:?}");
            Ok(())
        });
    }
    cases.rule(server, both, "the broadcast flag is copied into an OFFER", |ask| {
        for flag in [false, true] {
            ensure!(answer(ask, "OFFER", |message| message.broadcast = flag)?.message.broadcast == flag, "{flag}");
        }
        Ok(())
    });
    cases.rule(server, both, "with the broadcast flag an OFFER goes to 255.255.255.255", |ask| {
        let to = answer(ask, "OFFER", |message| message.broadcast = true)?.envelope;
        ensure!(to.to == SocketAddrV4::new(Ipv4Addr::BROADCAST, 68) && to.to_mac == BROADCAST_MAC, "{}", to.to);
        Ok(())
    });
    cases.rule(server, both, "with the broadcast flag an ACK goes to 255.255.255.255", |ask| {
        let to = answer(ask, "ACK", |message| message.broadcast = true)?.envelope.to;
        ensure!(to == SocketAddrV4::new(Ipv4Addr::BROADCAST, 68), "{to}");
        Ok(())
    });
    cases.rule(server, both, "without the flag an OFFER goes to the new address at the client's card", |ask| {
        let seen = answer(ask, "OFFER", |message| message.broadcast = false)?;
        ensure!(
            *seen.envelope.to.ip() == seen.yiaddr() && seen.envelope.to_mac == seen.message.mac,
            "{}",
            seen.envelope.to
        );
        Ok(())
    });
    cases.rule(server, both, "without the flag an ACK goes to the new address at the client's card", |ask| {
        let seen = answer(ask, "ACK", |message| message.broadcast = false)?;
        ensure!(
            *seen.envelope.to.ip() == seen.yiaddr() && seen.envelope.to_mac == seen.message.mac,
            "{}",
            seen.envelope.to
        );
        Ok(())
    });
    cases.rule(server, both, "a client that uses its address is answered there", |ask| {
        let machine = ask.plain();
        let address = ask.lease(&machine)?.yiaddr();
        ask.settle(address)?;
        let seen = ask.answer(&ask.renew(&machine, address))?;
        ensure!(seen.envelope.to == SocketAddrV4::new(address, 68), "{}", seen.envelope.to);
        Ok(())
    });
    cases.rule(Config::Authoritative, both, "a NAK is broadcast, whatever the flag says", |ask| {
        let to = answer(ask, "NAK", |message| message.broadcast = false)?.envelope;
        ensure!(*to.to.ip() == Ipv4Addr::BROADCAST && to.to_mac == BROADCAST_MAC, "{}", to.to);
        Ok(())
    });
    for flag in [false, true] {
        cases.rule(server, both, format!("a relay is answered on port 67 (broadcast flag {flag})"), move |ask| {
            let mut discover = ask.discover(&ask.plain());
            (discover.giaddr, discover.broadcast) = (RELAY, flag);
            let to = ask.answer(&discover)?.envelope.to;
            ensure!(to == SocketAddrV4::new(RELAY, 67), "{to}");
            Ok(())
        });
    }
    cases.rule(Config::Authoritative, both, "a NAK through a relay has the broadcast flag set (4.3.2)", |ask| {
        let mut request = ask.reboot(&ask.plain(), Ipv4Addr::new(192, 168, 5, 5));
        (request.giaddr, request.broadcast) = (RELAY, false);
        let nak = ask.answer(&request)?.of_kind(kind::NAK)?;
        ensure!(nak.envelope.to == SocketAddrV4::new(RELAY, 67) && nak.message.broadcast, "{}", nak.envelope.to);
        Ok(())
    });
    cases.rule(server, both, "an answer is no longer than 576 bytes allow to a client that says nothing", |ask| {
        let mut discover = ask.discover(&ask.machine(Kind::UefiPxe(7)));
        discover.remove(option::MAX_SIZE);
        let seen = ask.answer(&discover)?;
        ensure!(seen.bytes().len() <= 548, "{} bytes", seen.bytes().len());
        Ok(())
    });
    cases.rule(server, both, "options come in the options field alone where they fit (no option 52)", |ask| {
        ensure!(answer(ask, "OFFER", |_| {})?.option(52).is_none());
        Ok(())
    });
    cases.rule(server, both, "a request with option overload is read in file and sname too", |ask| {
        // The address asked for stands in `file`, the identifier in `sname`.
        let machine = ask.plain();
        let wish = Ipv4Addr::new(10, 77, 100, machine.mac[5].max(1));
        let mut discover = ask.discover(&machine);
        discover.remove(option::CLIENT_ID);
        discover.set(52, &[3]);
        let mut bytes = discover.encode();
        let [a, b, c, d] = wish.octets();
        for (at, value) in
            [(108, &[50, 4, a, b, c, d, 255][..]), (44, &[61, 3, 0xee, machine.mac[4], machine.mac[5], 255])]
        {
            bytes[at..at + value.len()].copy_from_slice(value);
        }
        let offer = ask.answer_to(&discover, bytes)?;
        ensure!(offer.yiaddr() == wish, "{} instead of {wish}", offer.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "padding between options is passed over", |ask| {
        let discover = ask.discover(&ask.plain());
        let mut bytes = discover.encode();
        bytes.splice(240..240, [0, 0, 0]);
        ask.answer_to(&discover, bytes).map(drop)
    });
    cases.rule(server, both, "a message without END is answered or not, but the server lives", |ask| {
        let discover = ask.discover(&ask.plain());
        let mut bytes = discover.encode();
        let end = bytes.iter().rposition(|byte| *byte == 255).unwrap_or(bytes.len() - 1);
        bytes[end] = 0;
        ask.send_bytes(&discover, bytes)?;
        ask.offer(&ask.plain()).map(drop)
    });
    for (what, change) in [
        ("with a wrong cookie", (236usize, 98u8)),
        ("that is a reply", (0, 2)),
        ("with hardware addresses of 20 bytes", (2, 20)),
    ] {
        cases.rule(server, both, format!("a message {what} gets no answer"), move |ask| {
            let discover = ask.discover(&ask.plain());
            let mut bytes = discover.encode();
            bytes[change.0] = change.1;
            ask.silent_to(&discover, bytes)
        });
    }
    cases.rule(
        server,
        Peer::No("answers machines whose address is a group address"),
        "a group address is no machine's",
        |ask| {
            let mut machine = ask.plain();
            machine.mac[0] = 0x53;
            let mut discover = ask.discover(&machine);
            discover.mac[0] = 0x53;
            ask.silent(&discover)
        },
    );
    cases.rule(server, both, "a message that is cut gets no answer", |ask| {
        let discover = ask.discover(&ask.plain());
        ask.silent_to(&discover, discover.encode()[..200].to_vec())
    });
}
