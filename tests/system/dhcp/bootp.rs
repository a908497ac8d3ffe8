//! BOOTP: RFC 951, its clarifications (1542) and its clients beside DHCP (1534).

use crate::bench::{Ask, Config, RELAY, Seen};
use crate::cases::{Cases, Peer};
use anyhow::{Result, ensure};
use std::net::{Ipv4Addr, SocketAddrV4};
use system_tests::pxe::client::new_xid;
use system_tests::pxe::{Kind, Machine, Message};
use system_tests::site::BOX;

fn question(machine: &Machine) -> Message {
    Message::from_client(machine.mac, new_xid())
}

/// Asks as number-th machine with a fixed address.
fn ask_fixed(ask: &Ask<'_>) -> Result<(Seen, Ipv4Addr)> {
    let (machine, fixed) = ask.fixed(Kind::Plain)?;
    Ok((ask.answer(&question(&machine))?, fixed))
}

pub fn add(cases: &mut Cases) {
    let both = Peer::Dnsmasq;
    let server = Config::Server;
    cases.section("RFC 951, 1534, 1542 BOOTP");
    cases.rule(server, both, "a BOOTP client gets its fixed address", |ask| {
        let (seen, fixed) = ask_fixed(ask)?;
        ensure!(seen.yiaddr() == fixed, "{}", seen.yiaddr());
        Ok(())
    });
    cases.rule(server, both, "a BOOTP answer has no option 53", |ask| {
        ensure!(ask_fixed(ask)?.0.option(53).is_none());
        Ok(())
    });
    cases.rule(server, both, "a BOOTP answer has no lease time", |ask| {
        let seen = ask_fixed(ask)?.0;
        for code in [51, 58, 59] {
            ensure!(seen.option(code).is_none(), "option {code}");
        }
        Ok(())
    });
    cases.rule(server, both, "a BOOTP answer has the mask", |ask| {
        let seen = ask_fixed(ask)?.0;
        ensure!(seen.option(1) == Some(&[255, 255, 0, 0][..]));
        Ok(())
    });
    cases.rule(server, both, "a BOOTP answer has 300 bytes", |ask| {
        let length = ask_fixed(ask)?.0.bytes().len();
        ensure!(length == 300, "{length}");
        Ok(())
    });
    cases.rule(server, both, "a BOOTP answer repeats xid, flags and card", |ask| {
        let (machine, _) = ask.fixed(Kind::Plain)?;
        let mut message = question(&machine);
        message.broadcast = true;
        let seen = ask.answer(&message)?;
        ensure!(seen.message.broadcast && seen.message.mac == machine.mac);
        ensure!(seen.envelope.to == SocketAddrV4::new(Ipv4Addr::BROADCAST, 68), "{}", seen.envelope.to);
        Ok(())
    });
    cases.rule(server, both, "without the broadcast flag it goes to the new address", |ask| {
        let (seen, fixed) = ask_fixed(ask)?;
        ensure!(*seen.envelope.to.ip() == fixed, "{}", seen.envelope.to);
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("names a next server only with a boot file"),
        "a BOOTP answer names the server in siaddr",
        |ask| {
            ensure!(ask_fixed(ask)?.0.message.siaddr == BOX);
            Ok(())
        },
    );
    cases.rule(server, both, "a BOOTP client nobody knows gets silence", |ask| ask.silent(&question(&ask.plain())));
    cases.rule(
        Config::Authoritative,
        both,
        "where it is set, a BOOTP client nobody knows gets an address of the pool",
        |ask| {
            let seen = ask.answer(&question(&ask.plain()))?;
            ensure!((64..128).contains(&seen.yiaddr().octets()[2]), "{}", seen.yiaddr());
            Ok(())
        },
    );
    cases.rule(Config::Authoritative, both, "a BOOTP client gets the same address at its next start", |ask| {
        let machine = ask.plain();
        let first = ask.answer(&question(&machine))?.yiaddr();
        ensure!(ask.answer(&question(&machine))?.yiaddr() == first);
        Ok(())
    });
    cases.rule(Config::Authoritative, both, "a BOOTP client's address is nobody else's", |ask| {
        let taken = ask.answer(&question(&ask.plain()))?.yiaddr();
        let mut wish = ask.discover(&ask.plain());
        wish.set(50, &taken.octets());
        ensure!(ask.answer(&wish)?.yiaddr() != taken);
        Ok(())
    });
    cases.rule(server, both, "a subnet behind a relay may give addresses to BOOTP clients", |ask| {
        let mut message = question(&ask.plain());
        message.giaddr = RELAY;
        let seen = ask.answer(&message)?;
        ensure!(seen.yiaddr().octets()[..3] == [10, 88, 0] && seen.envelope.to == SocketAddrV4::new(RELAY, 67));
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("answers with a cookie and options"),
        "a client without cookie gets no cookie and no options",
        |ask| {
            let (machine, fixed) = ask.fixed(Kind::Plain)?;
            let message = question(&machine);
            let mut bytes = message.encode();
            bytes[236..].fill(0);
            let seen = ask.answer_to(&message, bytes)?;
            ensure!(seen.yiaddr() == fixed && seen.bytes()[236..].iter().all(|byte| *byte == 0));
            Ok(())
        },
    );
    cases.rule(
        server,
        Peer::No("answers whatever server a client names"),
        "a client that names another server gets no answer (RFC 951 7.3)",
        |ask| {
            let (machine, _) = ask.fixed(Kind::Plain)?;
            let mut message = question(&machine);
            message.sname = b"another".to_vec();
            ask.silent(&message)
        },
    );
    cases.rule(Config::Proxy, both, "beside another server no BOOTP client is answered", |ask| {
        ask.silent(&question(&ask.plain()))
    });
    cases.rule(
        Config::PxeOnly,
        Peer::No("has no such mode"),
        "in pxe-only a fixed address reaches a BOOTP client and strangers get silence",
        |ask| {
            let (machine, fixed) = ask.fixed(Kind::Plain)?;
            ensure!(ask.answer(&question(&machine))?.yiaddr() == fixed);
            ask.silent(&question(&ask.plain()))
        },
    );
}
