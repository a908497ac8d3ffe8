//! Relay agents: RFC 3046 (option 82), 3527 (link selection), 3011 (subnet selection), 5107 (server identifier override).

use crate::bench::{Ask, Config, FAR_LEASE, RELAY, Seen};
use crate::cases::{Cases, Peer};
use anyhow::{Result, ensure};
use std::net::SocketAddrV4;
use system_tests::pxe::Kind;
use system_tests::pxe::message::{kind, option};

const CIRCUIT: &[u8] = &[1, 4, 0xde, 0xad, 0xbe, 0xef, 2, 6, 0x52, 0x54, 0, 0x77, 0xff, 0];

fn relayed(ask: &Ask<'_>, kind: Kind, dress: impl Fn(&mut system_tests::pxe::Message)) -> Result<Seen> {
    let mut discover = ask.discover(&ask.machine(kind));
    discover.giaddr = RELAY;
    dress(&mut discover);
    ask.answer(&discover)
}

pub fn add(cases: &mut Cases) {
    let both = Peer::Dnsmasq;
    let server = Config::Server;
    cases.section("RFC 3046 relay information");
    cases.rule(server, both, "option 82 comes back byte for byte in an OFFER", |ask| {
        let offer = relayed(ask, Kind::Plain, |message| message.set(option::RELAY, CIRCUIT))?;
        ensure!(offer.option(option::RELAY) == Some(CIRCUIT), "{:x?}", offer.option(option::RELAY));
        Ok(())
    });
    cases.rule(server, both, "option 82 comes back in an ACK", |ask| {
        let machine = ask.plain();
        let mut discover = ask.discover(&machine);
        discover.giaddr = RELAY;
        discover.set(option::RELAY, CIRCUIT);
        let offer = ask.answer(&discover)?;
        let mut request = ask.select(&machine, &offer);
        request.giaddr = RELAY;
        request.set(option::RELAY, CIRCUIT);
        let ack = ask.answer(&request)?.of_kind(kind::ACK)?;
        ensure!(ack.option(option::RELAY) == Some(CIRCUIT));
        Ok(())
    });
    cases.rule(server, both, "option 82 is the last one", |ask| {
        for kind in [Kind::Plain, Kind::UefiPxe(7)] {
            let offer = relayed(ask, kind, |message| message.set(option::RELAY, CIRCUIT))?;
            ensure!(offer.order().0.last() == Some(&82), "{:?}", offer.order().0);
        }
        Ok(())
    });
    cases.rule(server, both, "without option 82 none is made up", |ask| {
        ensure!(relayed(ask, Kind::Plain, |_| {})?.option(option::RELAY).is_none());
        Ok(())
    });
    cases.rule(server, both, "giaddr comes back", |ask| {
        ensure!(relayed(ask, Kind::Plain, |_| {})?.message.giaddr == RELAY);
        Ok(())
    });
    cases.rule(server, both, "the far subnet has its own router, mask and lease time", |ask| {
        let offer = relayed(ask, Kind::Plain, |_| {})?;
        ensure!(offer.message.address(3) == Some(RELAY) && offer.option(1) == Some(&[255, 255, 255, 0][..]));
        ensure!(offer.message.number(51) == Some(FAR_LEASE), "{:?}", offer.message.number(51));
        Ok(())
    });
    cases.rule(server, both, "the far subnet has its own options", |ask| {
        let offer = relayed(ask, Kind::Plain, |message| message.set(option::PARAMETERS, &[1, 3, 42]))?;
        ensure!(offer.option(42) == Some(&[10, 88, 0, 2][..]), "{:?}", offer.option(42));
        Ok(())
    });
    cases.rule(server, both, "the near subnet's options do not reach the far one", |ask| {
        let offer = relayed(ask, Kind::Plain, |message| message.set(option::PARAMETERS, &[1, 3, 72]))?;
        ensure!(offer.option(72).is_none());
        Ok(())
    });
    cases.rule(server, Peer::No("repeats the relay's hops"), "hops of a relay do not come back", |ask| {
        ensure!(relayed(ask, Kind::Plain, |message| message.hops = 3)?.message.hops == 0);
        Ok(())
    });
    cases.rule(server, both, "a boot client behind a relay gets its loader as well", |ask| {
        let offer = relayed(ask, Kind::UefiPxe(7), |_| {})?;
        ensure!(offer.message.boot_file().as_deref() == Some("snponly-x64.efi"), "{:?}", offer.message.boot_file());
        Ok(())
    });

    cases.section("RFC 3527 link selection");
    cases.rule(server, both, "82.5 chooses the subnet, giaddr where the answer goes", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.giaddr = ask.own_address();
        discover.set(option::RELAY, &[5, 4, 10, 88, 0, 0]);
        let offer = ask.answer(&discover)?;
        ensure!(offer.yiaddr().octets()[..3] == [10, 88, 0], "{}", offer.yiaddr());
        ensure!(offer.envelope.to == SocketAddrV4::new(discover.giaddr, 67), "{}", offer.envelope.to);
        Ok(())
    });
    cases.rule(server, both, "82.5 comes back with the rest", |ask| {
        let sub = [1, 1, 7, 5, 4, 10, 88, 0, 0];
        let mut discover = ask.discover(&ask.plain());
        discover.giaddr = ask.own_address();
        discover.set(option::RELAY, &sub);
        ensure!(ask.answer(&discover)?.option(option::RELAY) == Some(&sub[..]));
        Ok(())
    });
    cases.rule(server, both, "82.5 of nobody's subnet is met with silence", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.giaddr = RELAY;
        discover.set(option::RELAY, &[5, 4, 172, 20, 0, 0]);
        ask.silent(&discover)
    });

    cases.section("RFC 3011 subnet selection");
    cases.rule(server, both, "118 chooses the subnet", |ask| {
        let offer = relayed(ask, Kind::Plain, |message| {
            message.giaddr = ask.own_address();
            message.set(118, &[10, 88, 0, 0]);
        })?;
        ensure!(offer.yiaddr().octets()[..3] == [10, 88, 0], "{}", offer.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "118 comes back", |ask| {
        let offer = relayed(ask, Kind::Plain, |message| {
            message.giaddr = ask.own_address();
            message.set(118, &[10, 88, 0, 0]);
        })?;
        ensure!(offer.option(118) == Some(&[10, 88, 0, 0][..]), "{:?}", offer.option(118));
        Ok(())
    });
    cases.rule(server, both, "82.5 counts before 118", |ask| {
        let offer = relayed(ask, Kind::Plain, |message| {
            message.giaddr = ask.own_address();
            message.set(118, &[10, 77, 0, 0]);
            message.set(option::RELAY, &[5, 4, 10, 88, 0, 0]);
        })?;
        ensure!(offer.yiaddr().octets()[..3] == [10, 88, 0], "{}", offer.yiaddr());
        Ok(())
    });

    cases.section("RFC 5107 server override");
    cases.rule(server, both, "82.11 is what the client hears as the server", |ask| {
        let sub = [11, 4, 10, 88, 0, 1];
        let offer = relayed(ask, Kind::Plain, |message| message.set(option::RELAY, &sub))?;
        ensure!(offer.message.address(option::SERVER_ID) == Some(RELAY), "{:?}", offer.option(54));
        Ok(())
    });
    cases.rule(server, both, "a REQUEST for the relay as server is ours", |ask| {
        let machine = ask.plain();
        let mut discover = ask.discover(&machine);
        discover.giaddr = RELAY;
        discover.set(option::RELAY, &[11, 4, 10, 88, 0, 1]);
        let offer = ask.answer(&discover)?;
        let mut request = ask.select(&machine, &offer);
        request.giaddr = RELAY;
        request.set(option::RELAY, &[11, 4, 10, 88, 0, 1]);
        ask.answer(&request)?.of_kind(kind::ACK).map(drop)
    });
}
