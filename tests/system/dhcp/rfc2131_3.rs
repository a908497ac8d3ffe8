//! RFC 2131 section 3: the exchanges as a client lives them.

use crate::bench::{Ask, Config, GATEWAY, NEAR_LEASE};
use crate::cases::{Cases, Peer};
use anyhow::{Result, ensure};
use std::net::Ipv4Addr;
use system_tests::pxe::message::{kind, option};
use system_tests::site::BOX;

const NEAR: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 77, 64, 0), Ipv4Addr::new(10, 77, 127, 255));

pub fn add(cases: &mut Cases) {
    let both = Peer::Dnsmasq;
    let server = Config::Server;
    cases.section("RFC 2131 3.1 allocation");
    cases.rule(server, both, "an OFFER names an address of the pool", |ask| {
        let offer = ask.offer(&ask.plain())?;
        ensure!((NEAR.0..=NEAR.1).contains(&offer.yiaddr()), "{}", offer.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "an OFFER names the server in option 54", |ask| {
        let offer = ask.offer(&ask.plain())?;
        ensure!(offer.message.address(option::SERVER_ID) == Some(BOX));
        Ok(())
    });
    cases.rule(server, both, "an ACK confirms the address of the OFFER", |ask| {
        let machine = ask.plain();
        let offer = ask.offer(&machine)?;
        let ack = ask.answer(&ask.select(&machine, &offer))?.of_kind(kind::ACK)?;
        ensure!(ack.yiaddr() == offer.yiaddr(), "{} offered, {} given", offer.yiaddr(), ack.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "offer and ACK carry the same parameters", |ask| {
        let machine = ask.plain();
        let offer = ask.offer(&machine)?;
        let ack = ask.answer(&ask.select(&machine, &offer))?;
        for code in [1, 3, 6, 15, 28, 42, 51, 54] {
            ensure!(offer.option(code) == ack.option(code), "option {code} differs");
        }
        Ok(())
    });
    cases.rule(server, both, "two clients get two addresses", |ask| {
        let (one, other) = (ask.lease(&ask.plain())?, ask.lease(&ask.plain())?);
        ensure!(one.yiaddr() != other.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "a DISCOVER that is repeated gets the same offer", |ask| {
        let machine = ask.plain();
        let first = ask.offer(&machine)?;
        let again = ask.offer(&machine)?;
        ensure!(first.yiaddr() == again.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "a REQUEST that is repeated gets the same ACK", |ask| {
        let machine = ask.plain();
        let offer = ask.offer(&machine)?;
        let request = ask.select(&machine, &offer);
        let (first, again) = (ask.answer(&request)?.of_kind(kind::ACK)?, ask.answer(&request)?.of_kind(kind::ACK)?);
        ensure!(first.yiaddr() == again.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "a client that took another server's offer gets no answer", |ask| {
        let machine = ask.plain();
        let offer = ask.offer(&machine)?;
        let mut request = ask.select(&machine, &offer);
        request.set(option::SERVER_ID, &[10, 77, 0, 200]);
        ask.silent(&request)
    });
    cases.rule(
        server,
        Peer::No("keeps an offered address for the client that refused it"),
        "an offer that was not taken can be given to the next",
        |ask| {
            let mut first = ask.discover(&ask.plain());
            first.giaddr = crate::bench::RELAY;
            let offer = ask.answer(&first)?;
            let mut elsewhere = first.clone();
            elsewhere.set(option::MESSAGE_TYPE, &[kind::REQUEST]);
            elsewhere.set(option::SERVER_ID, &[10, 88, 0, 9]);
            elsewhere.set(option::REQUESTED_ADDRESS, &[10, 88, 0, 9]);
            ask.send(&elsewhere)?;
            let mut next = ask.discover(&ask.plain());
            next.giaddr = crate::bench::RELAY;
            next.set(option::REQUESTED_ADDRESS, &offer.yiaddr().octets());
            ensure!(ask.answer(&next)?.yiaddr() == offer.yiaddr());
            Ok(())
        },
    );

    cases.section("RFC 2131 3.2 reuse");
    cases.rule(server, both, "a client that restarts keeps its address by REQUEST alone", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        let ack = ask.answer(&ask.reboot(&machine, lease.yiaddr()))?.of_kind(kind::ACK)?;
        ensure!(ack.yiaddr() == lease.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "a client that restarts gets its address offered again", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        ensure!(ask.offer(&machine)?.yiaddr() == lease.yiaddr());
        Ok(())
    });
    for (config, peer) in
        [(server, Peer::No("is silent there unless it is authoritative")), (Config::Authoritative, both)]
    {
        cases.rule(config, peer, format!("a client that comes from another network is told so ({config:?})"), |ask| {
            let nak = ask.answer(&ask.reboot(&ask.plain(), Ipv4Addr::new(192, 168, 5, 5)))?;
            nak.of_kind(kind::NAK).map(drop)
        });
    }
    cases.rule(server, both, "an address of somebody else is refused", |ask| {
        let taken = ask.lease(&ask.plain())?;
        let machine = ask.plain();
        ask.lease(&machine)?;
        ask.answer(&ask.reboot(&machine, taken.yiaddr()))?.of_kind(kind::NAK).map(drop)
    });

    cases.section("RFC 2131 3.3 time");
    cases.rule(server, both, "a lease lasts as long as the settings say", |ask| time(ask, None, NEAR_LEASE));
    cases.rule(server, both, "who asks for less time gets less", |ask| time(ask, Some(1200), 1200));
    cases.rule(server, both, "who asks for more time gets what the settings say", |ask| {
        time(ask, Some(86_400), NEAR_LEASE)
    });
    cases.rule(server, both, "who asks for ever gets what the settings say", |ask| {
        time(ask, Some(u32::MAX), NEAR_LEASE)
    });
    cases.rule(server, both, "nobody is given a lease of a second", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.set(option::LEASE_TIME, &1u32.to_be_bytes());
        let seconds = ask.answer(&discover)?.message.number(option::LEASE_TIME).unwrap_or_default();
        ensure!(seconds >= 60, "{seconds} s");
        Ok(())
    });
    cases.rule(server, both, "T1 comes before T2 and T2 before the end (4.4.5)", |ask| {
        let ack = ask.lease(&ask.plain())?;
        let number = |code| ack.message.number(code).unwrap_or_default();
        let (t1, t2, end) = (number(58), number(59), number(51));
        ensure!(0 < t1 && t1 < t2 && t2 < end, "{t1}, {t2}, {end}");
        Ok(())
    });
    cases.rule(server, both, "T1 is half of the lease and T2 seven eighths (4.4.5)", |ask| {
        let ack = ask.lease(&ask.plain())?;
        let number = |code| ack.message.number(code).unwrap_or_default();
        let end = number(51);
        ensure!(number(58).abs_diff(end / 2) <= end / 20, "T1 {}", number(58));
        ensure!(number(59).abs_diff(end / 8 * 7) <= end / 20, "T2 {}", number(59));
        Ok(())
    });

    cases.section("RFC 2131 3.4 INFORM");
    cases.rule(server, both, "a client with an address of its own gets the parameters", |ask| {
        let ack = inform(ask)?;
        ensure!(ack.message.address(option::ROUTER) == Some(GATEWAY));
        Ok(())
    });
    cases.rule(server, both, "an INFORM gives no address", |ask| {
        let ack = inform(ask)?;
        ensure!(ack.yiaddr().is_unspecified(), "{}", ack.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "an INFORM gives no time", |ask| {
        let ack = inform(ask)?;
        for code in [51, 58, 59] {
            ensure!(ack.option(code).is_none(), "option {code}");
        }
        Ok(())
    });
    cases.rule(server, both, "the answer to an INFORM goes to its address", |ask| {
        let ack = inform(ask)?;
        ensure!(*ack.envelope.to.ip() == ack.message.ciaddr && ack.envelope.to.port() == 68, "{}", ack.envelope.to);
        Ok(())
    });

    cases.section("RFC 2131 3.5 parameters");
    for (code, wanted) in [
        (1u8, vec![255, 255, 0, 0]),
        (3, GATEWAY.octets().to_vec()),
        (6, vec![10, 77, 0, 53, 10, 77, 0, 54]),
        (15, b"rack.example".to_vec()),
        (26, vec![0x05, 0xdc]),
        (28, vec![10, 77, 255, 255]),
        (42, vec![10, 77, 0, 123]),
        (72, vec![10, 77, 0, 72]),
    ] {
        cases.rule(server, both, format!("who asks for option {code} gets it"), move |ask| {
            let mut discover = ask.discover(&ask.plain());
            discover.set(option::PARAMETERS, &[1, code]);
            let offer = ask.answer(&discover)?;
            ensure!(offer.option(code) == Some(wanted.as_slice()), "{:?}", offer.option(code));
            Ok(())
        });
    }
    cases.rule(server, both, "an option that nobody asked for and nobody forces is not sent", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.set(option::PARAMETERS, &[1, 3]);
        ensure!(ask.answer(&discover)?.option(72).is_none());
        Ok(())
    });
    cases.rule(server, both, "an option that nobody set is left out", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.set(option::PARAMETERS, &[1, 3, 9, 17, 252]);
        let offer = ask.answer(&discover)?;
        for code in [9, 17, 252] {
            ensure!(offer.option(code).is_none(), "option {code}");
        }
        Ok(())
    });
}

fn time(ask: &Ask<'_>, wish: Option<u32>, wanted: u32) -> Result<()> {
    let machine = ask.plain();
    let mut discover = ask.discover(&machine);
    if let Some(wish) = wish {
        discover.set(option::LEASE_TIME, &wish.to_be_bytes());
    }
    let offer = ask.answer(&discover)?.of_kind(kind::OFFER)?;
    let mut request = ask.select(&machine, &offer);
    if let Some(wish) = wish {
        request.set(option::LEASE_TIME, &wish.to_be_bytes());
    }
    let ack = ask.answer(&request)?.of_kind(kind::ACK)?;
    for seen in [offer, ack] {
        let given = seen.message.number(option::LEASE_TIME);
        ensure!(given == Some(wanted), "{given:?} s instead of {wanted} s");
    }
    Ok(())
}

fn inform(ask: &Ask<'_>) -> Result<crate::bench::Seen> {
    let mut inform = ask.discover(&ask.plain());
    inform.set(option::MESSAGE_TYPE, &[kind::INFORM]);
    inform.ciaddr = ask.own_address();
    ask.answer(&inform)?.of_kind(kind::ACK)
}
