//! RFC 2131 section 4.3: what a server does with each message.

use crate::bench::{Config, RELAY, SMALL_RELAY};
use crate::cases::{Cases, PATIENCE, Peer};
use anyhow::ensure;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use system_tests::pxe::client::new_xid;
use system_tests::pxe::message::{kind, option};
use system_tests::pxe::{Kind, Machine};
use system_tests::site::BOX;

pub fn add(cases: &mut Cases) {
    let both = Peer::Dnsmasq;
    let server = Config::Server;
    cases.section("RFC 2131 4.3.1 DISCOVER");
    cases.rule(server, both, "the address a client has comes first", |ask| {
        let machine = ask.plain();
        let held = ask.lease(&machine)?.yiaddr();
        let mut discover = ask.discover(&machine);
        discover.set(option::REQUESTED_ADDRESS, &[10, 77, 99, 99]);
        ensure!(ask.answer(&discover)?.yiaddr() == held);
        Ok(())
    });
    cases.rule(server, both, "the address a client had and gave back comes next", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        let mut release = machine.message(kind::RELEASE, new_xid());
        release.ciaddr = lease.yiaddr();
        release.set(option::SERVER_ID, &BOX.octets());
        ask.send(&release)?;
        ensure!(ask.offer(&machine)?.yiaddr() == lease.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "then the address it wishes, if it is free and of the pool", |ask| {
        let machine = ask.plain();
        let wish = Ipv4Addr::new(10, 77, 101, machine.mac[5].clamp(1, 254));
        let mut discover = ask.discover(&machine);
        discover.set(option::REQUESTED_ADDRESS, &wish.octets());
        ensure!(ask.answer(&discover)?.yiaddr() == wish);
        Ok(())
    });
    cases.rule(server, both, "an address outside the pool that it wishes is not offered", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.set(option::REQUESTED_ADDRESS, &[10, 77, 200, 9]);
        ensure!(ask.answer(&discover)?.yiaddr() != Ipv4Addr::new(10, 77, 200, 9));
        Ok(())
    });
    cases.rule(server, both, "the address of somebody else that it wishes is not offered", |ask| {
        let taken = ask.lease(&ask.plain())?.yiaddr();
        let mut discover = ask.discover(&ask.plain());
        discover.set(option::REQUESTED_ADDRESS, &taken.octets());
        ensure!(ask.answer(&discover)?.yiaddr() != taken);
        Ok(())
    });
    cases.rule(server, both, "a fixed address comes before all of them", |ask| {
        let (machine, fixed) = ask.fixed(Kind::Plain)?;
        let mut discover = ask.discover(&machine);
        discover.set(option::REQUESTED_ADDRESS, &[10, 77, 99, 98]);
        ensure!(ask.answer(&discover)?.yiaddr() == fixed);
        Ok(())
    });
    cases.rule(server, both, "a fixed address is leased under every client identifier", |ask| {
        let (machine, fixed) = ask.fixed(Kind::Plain)?;
        for id in [&b"\xff\0\0\0\x01duid"[..], b""] {
            let lease = ask.lease(&machine.clone().with(option::CLIENT_ID, id))?;
            ensure!(lease.yiaddr() == fixed, "{}", lease.yiaddr());
        }
        Ok(())
    });
    cases.rule(server, both, "a fixed address is offered to nobody else", |ask| {
        let (_, fixed) = ask.fixed(Kind::Plain)?;
        let mut discover = ask.discover(&ask.plain());
        discover.set(option::REQUESTED_ADDRESS, &fixed.octets());
        ensure!(ask.answer(&discover)?.yiaddr() != fixed);
        Ok(())
    });
    cases.rule(server, both, "a client behind a relay gets an address of its subnet", |ask| {
        let offer = ask.relayed(&ask.plain(), RELAY)?;
        ensure!(offer.yiaddr().octets()[..3] == [10, 88, 0], "{}", offer.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "a client behind a relay of nobody's subnet gets silence", |ask| {
        let mut discover = ask.discover(&ask.plain());
        discover.giaddr = Ipv4Addr::new(10, 99, 0, 1);
        ask.silent(&discover)
    });
    cases.rule(server, both, "when all addresses are taken there is silence", |ask| {
        let mut given = HashSet::new();
        for _ in 0..8 {
            let mut discover = ask.discover(&ask.plain());
            discover.giaddr = SMALL_RELAY;
            ask.send(&discover)?;
            let offer = ask.next(&discover, Instant::now() + Duration::from_millis(1500))?;
            given.extend(offer.map(|offer| offer.yiaddr()));
        }
        ensure!(!given.is_empty() && given.len() <= 3, "{given:?}");
        Ok(())
    });

    cases.section("RFC 2131 4.3.2 REQUEST");
    cases.rule(server, both, "selecting: an address that was not offered is refused", |ask| {
        let machine = ask.plain();
        let offer = ask.offer(&machine)?;
        let taken = ask.lease(&ask.plain())?.yiaddr();
        let mut request = ask.select(&machine, &offer);
        request.set(option::REQUESTED_ADDRESS, &taken.octets());
        ask.answer(&request)?.of_kind(kind::NAK).map(drop)
    });
    cases.rule(server, both, "selecting: an address of another network is refused", |ask| {
        let machine = ask.plain();
        let offer = ask.offer(&machine)?;
        let mut request = ask.select(&machine, &offer);
        request.set(option::REQUESTED_ADDRESS, &[172, 16, 0, 9]);
        ask.answer(&request)?.of_kind(kind::NAK).map(drop)
    });
    cases.rule(server, both, "after a restart: no record and a fitting address is met with silence", |ask| {
        ask.silent(&ask.reboot(&ask.plain(), Ipv4Addr::new(10, 77, 102, 9)))
    });
    cases.rule(Config::Authoritative, both, "authoritative: no record and an unfitting address is refused", |ask| {
        ask.answer(&ask.reboot(&ask.plain(), Ipv4Addr::new(10, 77, 200, 9)))?.of_kind(kind::NAK).map(drop)
    });
    cases.rule(
        Config::Authoritative,
        Peer::No("authoritative there means: takes over leases it does not know"),
        "authoritative: no record and a fitting address is refused",
        |ask| ask.answer(&ask.reboot(&ask.plain(), Ipv4Addr::new(10, 77, 102, 9)))?.of_kind(kind::NAK).map(drop),
    );
    cases.rule(Config::Authoritative, both, "authoritative: another network is refused as well", |ask| {
        ask.answer(&ask.reboot(&ask.plain(), Ipv4Addr::new(192, 168, 9, 9)))?.of_kind(kind::NAK).map(drop)
    });
    cases.rule(Config::Authoritative, both, "authoritative: leases are given and kept as ever", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        ask.answer(&ask.reboot(&machine, lease.yiaddr()))?.of_kind(kind::ACK).map(drop)
    });
    cases.rule(server, both, "renewing: the time begins anew", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        ask.settle(lease.yiaddr())?;
        let ack = ask.answer(&ask.renew(&machine, lease.yiaddr()))?.of_kind(kind::ACK)?;
        let (given, left) = (lease.message.number(51).unwrap_or(0), ack.message.number(51).unwrap_or(0));
        // One that is renewed early may be told how much is left.
        ensure!(left <= given && left > given / 4 * 3, "{left} of {given} s");
        Ok(())
    });
    cases.rule(server, both, "renewing: the ACK names the same address in yiaddr", |ask| {
        let machine = ask.plain();
        let address = ask.lease(&machine)?.yiaddr();
        ask.settle(address)?;
        ensure!(ask.answer(&ask.renew(&machine, address))?.yiaddr() == address);
        Ok(())
    });
    cases.rule(server, both, "rebinding: a broadcast renewal is answered as well", |ask| {
        let machine = ask.plain();
        let address = ask.lease(&machine)?.yiaddr();
        ask.settle(address)?;
        let mut renew = ask.renew(&machine, address);
        renew.broadcast = true;
        ask.answer(&renew)?.of_kind(kind::ACK).map(drop)
    });
    cases.rule(server, both, "renewing: the address of somebody else is not confirmed", |ask| {
        let taken = ask.lease(&ask.plain())?.yiaddr();
        let thief = ask.plain();
        let renew = ask.renew(&thief, taken);
        ask.send(&renew)?;
        let answer = ask.next(&renew, Instant::now() + Duration::from_secs(1))?;
        ensure!(answer.is_none_or(|seen| seen.message.message_type() == kind::NAK));
        Ok(())
    });
    cases.rule(server, both, "renewing from behind a relay comes without it", |ask| {
        let machine = ask.plain();
        let offer = ask.relayed(&machine, RELAY)?;
        let mut request = ask.select(&machine, &offer);
        request.giaddr = RELAY;
        let ack = ask.answer(&request)?.of_kind(kind::ACK)?;
        ask.settle(ack.yiaddr())?;
        ask.answer(&ask.renew(&machine, ack.yiaddr()))?.of_kind(kind::ACK).map(drop)
    });
    cases.rule(server, both, "a REQUEST without any address gets no ACK", |ask| {
        let request = ask.plain().message(kind::REQUEST, new_xid());
        ask.send(&request)?;
        let answer = ask.next(&request, Instant::now() + Duration::from_secs(1))?;
        ensure!(answer.is_none_or(|seen| seen.message.message_type() == kind::NAK));
        Ok(())
    });

    cases.section("RFC 2131 4.3.3 DECLINE");
    cases.rule(server, both, "an address that was declined is not offered again soon", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        ask.send(&decline(&machine, lease.yiaddr()))?;
        let next = ask.offer(&machine)?.yiaddr();
        ensure!(next != lease.yiaddr(), "{next} again");
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("gives a declined address to the next who wishes it"),
        "an address that was declined is nobody's for a while",
        |ask| {
            let machine = ask.plain();
            let lease = ask.lease(&machine)?;
            ask.send(&decline(&machine, lease.yiaddr()))?;
            let mut wish = ask.discover(&ask.plain());
            wish.set(option::REQUESTED_ADDRESS, &lease.yiaddr().octets());
            ensure!(ask.answer(&wish)?.yiaddr() != lease.yiaddr());
            Ok(())
        },
    );
    cases.rule(server, both, "a DECLINE gets no answer", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        ask.silent(&decline(&machine, lease.yiaddr()))
    });
    cases.rule(server, both, "nobody declines the address of somebody else", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        ask.send(&decline(&ask.plain(), lease.yiaddr()))?;
        ask.answer(&ask.reboot(&machine, lease.yiaddr()))?.of_kind(kind::ACK).map(drop)
    });

    cases.section("RFC 2131 4.3.4 RELEASE");
    cases.rule(server, both, "an address that was given back can be another's", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        ask.send(&release(&machine, lease.yiaddr()))?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let mut wish = ask.discover(&ask.plain());
            wish.set(option::REQUESTED_ADDRESS, &lease.yiaddr().octets());
            if ask.answer(&wish)?.yiaddr() == lease.yiaddr() {
                return Ok(());
            }
        }
        anyhow::bail!("{} is still kept", lease.yiaddr())
    });
    cases.rule(server, both, "a RELEASE gets no answer", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        ask.silent(&release(&machine, lease.yiaddr()))
    });
    cases.rule(server, both, "nobody gives back the address of somebody else", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        ask.send(&release(&ask.plain(), lease.yiaddr()))?;
        ask.answer(&ask.reboot(&machine, lease.yiaddr()))?.of_kind(kind::ACK).map(drop)
    });
    cases.rule(server, both, "a RELEASE to another server changes nothing", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        let mut elsewhere = release(&machine, lease.yiaddr());
        elsewhere.set(option::SERVER_ID, &[10, 77, 0, 200]);
        ask.send(&elsewhere)?;
        ask.answer(&ask.reboot(&machine, lease.yiaddr()))?.of_kind(kind::ACK).map(drop)
    });

    cases.section("RFC 2131 4.3.5 INFORM");
    cases.rule(server, both, "an INFORM of a stranger changes no lease", |ask| {
        let machine = ask.plain();
        let lease = ask.lease(&machine)?;
        let mut inform = ask.plain().message(kind::INFORM, new_xid());
        inform.ciaddr = lease.yiaddr();
        ask.send(&inform)?;
        ask.answer(&ask.reboot(&machine, lease.yiaddr()))?.of_kind(kind::ACK).map(drop)
    });
    cases.rule(server, both, "the answer to an INFORM repeats ciaddr", |ask| {
        let mut inform = ask.plain().message(kind::INFORM, new_xid());
        inform.ciaddr = ask.own_address();
        ensure!(ask.answer(&inform)?.message.ciaddr == inform.ciaddr);
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("answers an INFORM of any address"),
        "an INFORM from an address of no subnet of ours gets silence",
        |ask| {
            let mut inform = ask.plain().message(kind::INFORM, new_xid());
            inform.ciaddr = Ipv4Addr::new(172, 16, 5, 5);
            ask.silent(&inform)
        },
    );

    cases.section("RFC 2131 4.3.6 client messages");
    cases.rule(server, both, "an OFFER has no ciaddr", |ask| {
        ensure!(ask.offer(&ask.plain())?.message.ciaddr.is_unspecified());
        Ok(())
    });
    cases.rule(Config::Authoritative, both, "a NAK has neither address nor parameters", |ask| {
        let nak = ask.answer(&ask.reboot(&ask.plain(), Ipv4Addr::new(192, 168, 5, 5)))?;
        ensure!(nak.yiaddr().is_unspecified() && nak.message.siaddr.is_unspecified());
        for code in [1, 3, 6, 51, 58, 59, 67] {
            ensure!(nak.option(code).is_none(), "option {code}");
        }
        Ok(())
    });
    cases.rule(Config::Authoritative, both, "a NAK names the server", |ask| {
        let nak = ask.answer(&ask.reboot(&ask.plain(), Ipv4Addr::new(192, 168, 5, 5)))?;
        ensure!(nak.message.address(option::SERVER_ID) == Some(BOX));
        Ok(())
    });
    for (what, number) in
        [("an OFFER", kind::OFFER), ("an ACK", kind::ACK), ("a NAK", kind::NAK), ("type 0", 0), ("type 99", 99)]
    {
        cases.rule(server, both, format!("{what} from a client gets no answer"), move |ask| {
            ask.silent(&ask.plain().message(number, new_xid()))
        });
    }
}

fn decline(machine: &Machine, address: Ipv4Addr) -> system_tests::pxe::Message {
    let mut decline = machine.message(kind::DECLINE, new_xid());
    decline.set(option::REQUESTED_ADDRESS, &address.octets());
    decline.set(option::SERVER_ID, &BOX.octets());
    decline
}

fn release(machine: &Machine, address: Ipv4Addr) -> system_tests::pxe::Message {
    let mut release = machine.message(kind::RELEASE, new_xid());
    release.ciaddr = address;
    release.set(option::SERVER_ID, &BOX.octets());
    release
}
