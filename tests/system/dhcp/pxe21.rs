//! PXE 2.1: proxy answers on port 67 and the boot server on 4011, and what an answer with an address carries.

use crate::bench::{Ask, Config, Seen};
use crate::cases::{Cases, PATIENCE, Peer};
use anyhow::{Result, bail, ensure};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};
use system_tests::pxe::client::new_xid;
use system_tests::pxe::message::{kind, option};
use system_tests::pxe::{Kind, Machine, Message};
use system_tests::site::BOX;

/// Asks on port 4011 from an address of its own.
fn ask_4011(ask: &Ask<'_>, machine: &Machine, port: u16, dress: impl Fn(&mut Message)) -> Result<Seen> {
    let mut message = machine.message(kind::REQUEST, new_xid());
    message.ciaddr = ask.own_address();
    message.broadcast = false;
    dress(&mut message);
    let (from, to) = (SocketAddrV4::new(message.ciaddr, port), SocketAddrV4::new(BOX, 4011));
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        ask.send_from(message.mac, from, to, message.encode())?;
        if let Some(seen) = ask.next(&message, Instant::now() + Duration::from_secs(2))? {
            return Ok(seen);
        }
    }
    bail!("no answer on port 4011 within {PATIENCE:?}")
}

pub fn add(cases: &mut Cases) {
    let both = Peer::Dnsmasq;
    let proxy = Config::Proxy;
    cases.section("PXE 2.1 proxy DHCP");
    for (kind, name) in [(Kind::BiosPxe, "a BIOS ROM"), (Kind::UefiPxe(7), "UEFI"), (Kind::UefiPxe(9), "UEFI as EBC")] {
        cases.rule(proxy, both, format!("{name} is answered without an address"), move |ask| {
            let offer = ask.offer(&ask.machine(kind))?;
            ensure!(offer.yiaddr().is_unspecified(), "{}", offer.yiaddr());
            Ok(())
        });
        cases.rule(proxy, both, format!("{name}: the class is PXEClient"), move |ask| {
            let offer = ask.offer(&ask.machine(kind))?;
            ensure!(offer.option(60).is_some_and(|class| class.starts_with(b"PXEClient")));
            Ok(())
        });
        cases.rule(proxy, both, format!("{name}: the proxy names itself in option 54"), move |ask| {
            ensure!(ask.offer(&ask.machine(kind))?.message.address(54) == Some(BOX));
            Ok(())
        });
        cases.rule(proxy, both, format!("{name}: the answer is broadcast, with the flag set"), move |ask| {
            let mut discover = ask.discover(&ask.machine(kind));
            discover.broadcast = false;
            let offer = ask.answer(&discover)?;
            ensure!(*offer.envelope.to.ip() == Ipv4Addr::BROADCAST && offer.message.broadcast, "{}", offer.envelope.to);
            Ok(())
        });
        cases.rule(proxy, both, format!("{name}: no parameters of the network"), move |ask| {
            let offer = ask.offer(&ask.machine(kind))?;
            for code in [1, 3, 6, 51, 58, 59] {
                ensure!(offer.option(code).is_none(), "option {code}");
            }
            Ok(())
        });
        cases.rule(proxy, both, format!("{name}: option 97 comes back"), move |ask| {
            let machine = ask.machine(kind);
            let sent = ask.discover(&machine).get(97).map(<[u8]>::to_vec);
            ensure!(ask.offer(&machine)?.option(97) == sent.as_deref());
            Ok(())
        });
    }
    cases.rule(
        proxy,
        Peer::No("points BIOS ROMs to a menu"),
        "a BIOS ROM is told its file and to skip discovery",
        |ask| {
            let offer = ask.offer(&ask.machine(Kind::BiosPxe))?;
            ensure!(
                offer.option(43) == Some(&[6, 1, 8, 255][..])
                    && offer.message.boot_file().as_deref() == Some("undionly.kpxe")
            );
            Ok(())
        },
    );
    cases.rule(proxy, both, "UEFI gets no vendor options, and so asks on port 4011", |ask| {
        ensure!(ask.offer(&ask.machine(Kind::UefiPxe(7)))?.option(43).is_none());
        Ok(())
    });
    cases.rule(proxy, Peer::No("knows iPXE as any PXE client"), "iPXE is told its script at once", |ask| {
        let offer = ask.offer(&ask.machine(Kind::Ipxe(7)))?;
        ensure!(offer.message.boot_file().is_some_and(|file| file.contains("/boot.ipxe?")));
        Ok(())
    });
    cases.rule(proxy, both, "a plain client gets silence", |ask| ask.silent(&ask.discover(&ask.plain())));
    cases.rule(proxy, both, "a plain client that asks for its address gets silence", |ask| {
        ask.silent(&ask.reboot(&ask.plain(), Ipv4Addr::new(10, 77, 64, 9)))
    });
    cases.rule(proxy, both, "a REQUEST for another server's offer gets no address and no NAK", |ask| {
        let mut request = ask.reboot(&ask.machine(Kind::UefiPxe(7)), Ipv4Addr::new(10, 77, 0, 99));
        request.set(option::SERVER_ID, &[10, 77, 0, 2]);
        ask.send(&request)?;
        ask.offer(&ask.machine(Kind::BiosPxe))?;
        let seen = ask.next(&request, Instant::now() + Duration::from_millis(50))?;
        ensure!(seen.is_none_or(|seen| seen.yiaddr().is_unspecified() && seen.message.message_type() != kind::NAK));
        Ok(())
    });

    cases.section("PXE 2.1 boot server (4011)");
    for (kind, file) in [(Kind::BiosPxe, "undionly.kpxe"), (Kind::UefiPxe(7), "snponly-x64.efi")] {
        let menu = Peer::No("lets BIOS ROMs choose from its menu first");
        let proven = if kind == Kind::BiosPxe { menu } else { both };
        for (config, peer) in [(proxy, proven), (Config::Server, Peer::No("opens 4011 as a proxy only"))] {
            cases.rule(config, peer, format!("{kind:?} gets its file by an ACK ({config:?})"), move |ask| {
                let ack = ask_4011(ask, &ask.machine(kind), 4011, |_| {})?.of_kind(kind::ACK)?;
                let told = ack.message.boot_file().unwrap_or_default();
                // dnsmasq numbers the files of its menu.
                ensure!(told == file || told == format!("{file}.0"), "{told}");
                Ok(())
            });
        }
        cases.rule(
            proxy,
            both,
            format!("{kind:?}: the answer comes from port 4011 to the sender's address"),
            move |ask| {
                let seen = ask_4011(ask, &ask.machine(kind), 4011, |_| {})?;
                ensure!(seen.envelope.from == SocketAddrV4::new(BOX, 4011), "{}", seen.envelope.from);
                ensure!(*seen.envelope.to.ip() == seen.message.ciaddr || *seen.envelope.to.ip() != Ipv4Addr::BROADCAST);
                Ok(())
            },
        );
        cases.rule(proxy, both, format!("{kind:?}: 54, 60 and 97 are in it"), move |ask| {
            let machine = ask.machine(kind);
            let seen = ask_4011(ask, &machine, 4011, |_| {})?;
            let sent = machine.message(kind::REQUEST, 0).get(97).map(<[u8]>::to_vec);
            ensure!(seen.message.address(54) == Some(BOX) && seen.option(97) == sent.as_deref());
            ensure!(seen.option(60).is_some_and(|class| class.starts_with(b"PXEClient")));
            Ok(())
        });
        cases.rule(proxy, both, format!("{kind:?}: no address is given on 4011"), move |ask| {
            let seen = ask_4011(ask, &ask.machine(kind), 4011, |_| {})?;
            ensure!(seen.yiaddr().is_unspecified() && seen.option(51).is_none());
            Ok(())
        });
    }
    cases.rule(
        proxy,
        Peer::No("answers to port 68 whatever the sender's was"),
        "the answer goes to the port that asked",
        |ask| {
            for port in [68, 4011, 31_000] {
                let seen = ask_4011(ask, &ask.machine(Kind::UefiPxe(7)), port, |_| {})?;
                ensure!(seen.envelope.to.port() == port, "{} instead of {port}", seen.envelope.to);
            }
            Ok(())
        },
    );
    cases.rule(proxy, Peer::No("has no menu entry for it"), "an architecture nobody knows is answered", |ask| {
        let machine = ask.machine(Kind::UefiPxe(0x7fff));
        ask_4011(ask, &machine, 4011, |_| {})?.of_kind(kind::ACK).map(drop)
    });
    cases.rule(proxy, both, "43.71 of the question comes back", |ask| {
        let item = [71, 4, 0x80, 0, 0, 0, 255];
        let seen = ask_4011(ask, &ask.machine(Kind::BiosPxe), 4011, |message| message.set(43, &item))?;
        let vendor = seen.option(43).unwrap_or_default();
        ensure!(vendor.windows(6).any(|window| window == &item[..6]), "{vendor:x?}");
        Ok(())
    });
    cases.rule(proxy, Peer::No("sends iPXE the file of its menu"), "iPXE on 4011 gets its script", |ask| {
        let seen = ask_4011(ask, &ask.machine(Kind::Ipxe(7)), 4011, |_| {})?;
        ensure!(seen.message.boot_file().is_some_and(|file| file.contains("/boot.ipxe?")));
        Ok(())
    });

    cases.section("PXE 2.1 with an address");
    let server = Config::Server;
    let no = Peer::No("leaves 43 to the settings");
    cases.rule(server, no, "a ROM that gets its address here is told to skip discovery", |ask| {
        ensure!(ask.offer(&ask.machine(Kind::BiosPxe))?.option(43) == Some(&[6, 1, 8, 255][..]));
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("ends its options with what it has last"),
        "option 67 is the last one before END",
        |ask| {
            let (codes, _) = ask.offer(&ask.machine(Kind::UefiPxe(7)))?.order();
            ensure!(codes.last() == Some(&67), "{codes:?}");
            Ok(())
        },
    );
    cases.rule(server, Peer::No("sends 150 to nobody by itself"), "option 150 is sent to who asks", |ask| {
        ensure!(ask.offer(&ask.machine(Kind::BiosPxe))?.message.address(150) == Some(BOX));
        let without = ask.machine(Kind::BiosPxe).with(option::PARAMETERS, &[1, 3, 66, 67]);
        ensure!(ask.offer(&without)?.option(150).is_none());
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("says nothing in option 175 by itself"),
        "iPXE need not wait for a proxy (175.176)",
        |ask| {
            ensure!(ask.offer(&ask.machine(Kind::Ipxe(7)))?.option(175) == Some(&[0xb0, 1, 1][..]));
            Ok(())
        },
    );
    cases.rule(
        server,
        Peer::No("is not told of them here"),
        "a Raspberry Pi 4 hears Raspberry Pi Boot, by its option 97",
        |ask| {
            let id = [0, b'R', b'P', b'i', b'4', 0x11, 0x14, 0xa0, 3, 0x32, 1, 0x36, 0xc2, 0xef, 0xfd, 0xfe, 0x9f];
            let offer = ask.offer(&ask.machine(Kind::BiosPxe).with(option::MACHINE_ID, &id))?;
            ensure!(offer.option(43).is_some_and(|menu| menu.windows(17).any(|text| text == b"Raspberry Pi Boot")));
            ensure!(offer.message.text(66).as_deref() == Some("10.77.0.1"));
            Ok(())
        },
    );
}
