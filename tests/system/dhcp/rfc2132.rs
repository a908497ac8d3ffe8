//! RFC 2132 and what extends it: long options (3396), domain search (3397), client identifiers echoed (6842).

use crate::bench::Config;
use crate::cases::{Cases, Peer};
use anyhow::ensure;
use std::net::Ipv4Addr;
use system_tests::pxe::Kind;
use system_tests::pxe::client::new_xid;
use system_tests::pxe::message::{kind, option};

pub fn add(cases: &mut Cases) {
    let both = Peer::Dnsmasq;
    let server = Config::Server;
    cases.section("RFC 2132 options");
    cases.rule(server, both, "option 3 has one router, four bytes", |ask| {
        ensure!(ask.offer(&ask.plain())?.option(3).is_some_and(|value| value.len() == 4));
        Ok(())
    });
    cases.rule(server, both, "options 51, 58 and 59 have four bytes each", |ask| {
        let offer = ask.offer(&ask.plain())?;
        for code in [51, 58, 59] {
            ensure!(offer.option(code).is_some_and(|value| value.len() == 4), "option {code}");
        }
        Ok(())
    });
    cases.rule(server, both, "option 12 tells a host its name", |ask| {
        let (machine, _) = ask.fixed_number(Kind::Plain, 0);
        let ack = ask.lease(&machine)?;
        ensure!(ack.message.text(12).as_deref() == Some("fixed-0"), "{:?}", ack.message.text(12));
        Ok(())
    });
    cases.rule(server, both, "an option of the host comes before that of the subnet", |ask| {
        let (machine, _) = ask.fixed_number(Kind::Plain, 1);
        ensure!(ask.offer(&machine)?.option(42) == Some(&[10, 77, 0, 99][..]));
        Ok(())
    });
    cases.rule(server, both, "an option of the host is sent to it unasked", |ask| {
        let (machine, _) = ask.fixed_number(Kind::Plain, 1);
        let mut discover = ask.discover(&machine);
        discover.set(option::PARAMETERS, &[1]);
        ensure!(ask.answer(&discover)?.option(42) == Some(&[10, 77, 0, 99][..]));
        Ok(())
    });
    cases.rule(server, both, "option 57 below 576 counts as 576", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.set(option::MAX_SIZE, &300u16.to_be_bytes());
        let offer = ask.answer(&discover)?;
        ensure!(offer.option(51).is_some() && offer.option(1).is_some() && offer.bytes().len() <= 548);
        Ok(())
    });
    cases.rule(server, both, "an answer never exceeds option 57", |ask| {
        for limit in [576u16, 700, 1000, 1500] {
            let mut discover = ask.discover(&ask.machine(Kind::UefiPxe(7)));
            discover.set(option::MAX_SIZE, &limit.to_be_bytes());
            let length = ask.answer(&discover)?.bytes().len();
            ensure!(length <= usize::from(limit) - 28, "{length} bytes for {limit}");
        }
        Ok(())
    });
    for (code, value) in [
        (51u8, vec![1u8]),
        (50, vec![10, 77]),
        (57, vec![9]),
        (55, vec![]),
        (61, vec![]),
        (82, vec![1, 200]),
        (93, vec![7]),
        (12, vec![]),
    ] {
        cases.rule(server, both, format!("a wrong length of option {code} costs no answer"), move |ask| {
            let mut discover = ask.discover(&ask.plain());
            discover.set(code, &value);
            ask.answer(&discover)?.of_kind(kind::OFFER).map(drop)
        });
    }
    cases.rule(server, both, "an option that runs over the end of the message costs no server", |ask| {
        let discover = ask.discover(&ask.plain());
        let mut bytes = discover.encode();
        let end = bytes.iter().rposition(|byte| *byte == 255).unwrap_or(0);
        bytes.truncate(end);
        bytes.extend([60, 200, b'P']);
        ask.send_bytes(&discover, bytes)?;
        ask.offer(&ask.plain()).map(drop)
    });
    cases.rule(server, both, "the host name of a client is no obstacle, whatever it holds", |ask| {
        for name in [&b"<script>"[..], b"\xff\xfe", b"a b", b"..", &[b'x'; 255]] {
            let mut discover = ask.discover(&ask.plain());
            discover.set(option::MAX_SIZE, &1500u16.to_be_bytes());
            discover.set(option::HOST_NAME, name);
            ask.answer(&discover)?.of_kind(kind::OFFER)?;
        }
        Ok(())
    });

    cases.section("RFC 3396 long options");
    cases.rule(
        server,
        Peer::No("reads the first part of a split option only"),
        "an option in two parts is read as one",
        |ask| {
            let machine = ask.plain();
            let discover = {
                let mut message = ask.discover(&machine);
                message.remove(option::CLIENT_ID);
                message
            };
            let wish = Ipv4Addr::new(10, 77, 103, machine.mac[5].clamp(1, 254)).octets();
            let mut bytes = discover.encode();
            let end = bytes.iter().rposition(|byte| *byte == 255).unwrap_or(0);
            bytes.truncate(end);
            bytes.extend([50, 2, wish[0], wish[1], 12, 1, b'h', 50, 2, wish[2], wish[3], 255]);
            bytes.resize(bytes.len().max(300), 0);
            let offer = ask.answer_to(&discover, bytes)?;
            ensure!(offer.yiaddr().octets() == wish, "{}", offer.yiaddr());
            Ok(())
        },
    );

    cases.section("RFC 3397 domain search");
    cases.rule(server, both, "option 119 lists domains as DNS writes them", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.set(option::PARAMETERS, &[1, 119]);
        let offer = ask.answer(&discover)?;
        let value = offer.option(119).unwrap_or_default().to_vec();
        ensure!(value.starts_with(b"\x04rack\x07example\x00"), "{value:x?}");
        // The second one is written out, or points into the first.
        ensure!(value.ends_with(b"\x07example\x00") || value.ends_with(&[0xc0, 5]), "{value:x?}");
        Ok(())
    });

    cases.section("RFC 6842 client identifier");
    for (which, request) in
        [("an OFFER", kind::DISCOVER), ("an ACK", kind::REQUEST), ("an ACK to an INFORM", kind::INFORM)]
    {
        cases.rule(server, Peer::No("does not know RFC 6842"), format!("{which} repeats option 61"), move |ask| {
            let machine = ask.plain();
            let mut message = machine.message(request, new_xid());
            match request {
                kind::REQUEST => message = ask.select(&machine, &ask.offer(&machine)?),
                kind::INFORM => message.ciaddr = ask.own_address(),
                _ => {}
            }
            let seen = ask.answer(&message)?;
            ensure!(seen.option(61) == message.get(61) && seen.option(61).is_some(), "{:?}", seen.option(61));
            Ok(())
        });
    }
    cases.rule(Config::Authoritative, Peer::No("does not know RFC 6842"), "a NAK repeats option 61", |ask| {
        let message = ask.reboot(&ask.plain(), Ipv4Addr::new(192, 168, 5, 5));
        let nak = ask.answer(&message)?.of_kind(kind::NAK)?;
        ensure!(nak.option(61) == message.get(61));
        Ok(())
    });
    cases.rule(server, both, "without option 61 none is made up", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.remove(option::CLIENT_ID);
        ensure!(ask.answer(&discover)?.option(61).is_none());
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("leases by identifier alone, so copies of one image share an address"),
        "machines with one identifier get two addresses",
        |ask| {
            let id = b"\xff\0\0\0\0the-image";
            let one = ask.lease(&ask.plain().with(option::CLIENT_ID, id))?;
            let other = ask.lease(&ask.plain().with(option::CLIENT_ID, id))?;
            ensure!(one.yiaddr() != other.yiaddr());
            Ok(())
        },
    );
    cases.rule(server, both, "two identifiers on one card are two clients", |ask| {
        let machine = ask.plain();
        let one = ask.lease(&machine.clone().with(option::CLIENT_ID, b"\xffone"))?;
        let other = ask.lease(&machine.clone().with(option::CLIENT_ID, b"\xfftwo"))?;
        ensure!(one.yiaddr() != other.yiaddr());
        Ok(())
    });
}
