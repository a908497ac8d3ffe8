//! RFC 4578: what a PXE client says of itself (93, 94, 97), and the loader it gets for that.

use crate::bench::{Ask, Config};
use crate::cases::{Cases, Peer};
use anyhow::{Result, ensure};
use system_tests::pxe::Kind;
use system_tests::pxe::message::option;
use system_tests::site::BOX;

/// Architecture, loader, and whether dnsmasq is set up for it here.
const LOADERS: [(u16, &str, bool); 6] = [
    (0, "undionly.kpxe", true),
    (6, "ipxe-ia32.efi", true),
    (7, "snponly-x64.efi", true),
    (8, "snponly-x64.efi", false),
    (9, "snponly-x64.efi", true),
    (11, "ipxe-arm64.efi", true),
];

fn rom(arch: u16) -> Kind {
    if arch == 0 { Kind::BiosPxe } else { Kind::UefiPxe(arch) }
}

fn loader(ask: &Ask<'_>, arch: &[u8]) -> Result<Option<String>> {
    let offer = ask.offer(&ask.machine(Kind::UefiPxe(7)).with(option::ARCHITECTURE, arch))?;
    Ok(offer.message.boot_file())
}

pub fn add(cases: &mut Cases) {
    let both = Peer::Dnsmasq;
    let server = Config::Server;
    cases.section("RFC 4578 architecture");
    for (arch, file, known) in LOADERS {
        let peer = if known { both } else { Peer::No("knows a loader for the architectures of its settings only") };
        cases.rule(server, peer, format!("architecture {arch} gets {file}"), move |ask| {
            let offer = ask.offer(&ask.machine(rom(arch)))?;
            ensure!(offer.message.boot_file().as_deref() == Some(file), "{:?}", offer.message.boot_file());
            Ok(())
        });
        cases.rule(server, peer, format!("architecture {arch}: the loader's server is in siaddr"), move |ask| {
            let offer = ask.offer(&ask.machine(rom(arch)))?;
            ensure!(offer.message.siaddr == BOX, "{}", offer.message.siaddr);
            Ok(())
        });
    }
    cases.rule(
        server,
        Peer::No("sends the options or the fields, as the client lists"),
        "the loader is in header and option 67 alike",
        |ask| {
            let offer = ask.offer(&ask.machine(Kind::UefiPxe(7)))?;
            ensure!(
                offer.message.file == b"snponly-x64.efi"
                    && offer.message.text(67).as_deref() == Some("snponly-x64.efi")
            );
            ensure!(offer.message.sname == b"10.77.0.1" && offer.message.text(66).as_deref() == Some("10.77.0.1"));
            Ok(())
        },
    );
    cases.rule(
        server,
        Peer::No("takes the first architecture, known or not"),
        "of several architectures the first known one counts",
        |ask| {
            ensure!(loader(ask, &[0xff, 0xfe, 0, 11, 0, 7])?.as_deref() == Some("ipxe-arm64.efi"));
            Ok(())
        },
    );
    cases.rule(server, both, "of several architectures the first one counts if it is known", |ask| {
        ensure!(loader(ask, &[0, 11, 0, 7])?.as_deref() == Some("ipxe-arm64.efi"));
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("goes by option 93 alone"),
        "without option 93 the vendor class says the architecture",
        |ask| {
            ensure!(loader(ask, &[])?.as_deref() == Some("snponly-x64.efi"));
            Ok(())
        },
    );
    cases.rule(server, both, "an architecture nobody knows gets an address and no wrong loader", |ask| {
        ensure!(loader(ask, &[0x7f, 0xff])?.is_none());
        Ok(())
    });
    cases.rule(server, Peer::No("speaks PXE as a proxy only here"), "option 97 comes back", |ask| {
        let machine = ask.machine(Kind::UefiPxe(7));
        let sent = ask.discover(&machine).get(option::MACHINE_ID).map(<[u8]>::to_vec);
        let offer = ask.offer(&machine)?;
        ensure!(sent.is_some() && offer.option(option::MACHINE_ID) == sent.as_deref(), "{:?}", offer.option(97));
        Ok(())
    });
    cases.rule(server, both, "a client without option 97 is served", |ask| {
        let offer = ask.offer(&ask.machine(Kind::UefiPxe(7)).with(option::MACHINE_ID, b""))?;
        ensure!(offer.option(option::MACHINE_ID).is_none());
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("sends back whatever stands in option 97"),
        "an option 97 of a wrong length does not come back",
        |ask| {
            let offer = ask.offer(&ask.machine(Kind::UefiPxe(7)).with(option::MACHINE_ID, &[0, 1, 2]))?;
            ensure!(offer.option(option::MACHINE_ID).is_none());
            Ok(())
        },
    );
    cases.rule(
        server,
        Peer::No("speaks PXE as a proxy only here"),
        "a PXE answer carries the vendor class PXEClient",
        |ask| {
            let offer = ask.offer(&ask.machine(Kind::UefiPxe(7)))?;
            ensure!(offer.option(option::VENDOR_CLASS).is_some_and(|class| class.starts_with(b"PXEClient")));
            Ok(())
        },
    );
    cases.rule(server, both, "a plain client gets no vendor class and no loader", |ask| {
        let offer = ask.offer(&ask.plain())?;
        ensure!(offer.option(option::VENDOR_CLASS).is_none() && offer.message.boot_file().is_none());
        Ok(())
    });
    cases.rule(server, Peer::No("is not told of a script here"), "iPXE gets the script by HTTP", |ask| {
        for arch in [0, 7] {
            let offer = ask.offer(&ask.machine(Kind::Ipxe(arch)))?;
            let file = offer.message.boot_file().unwrap_or_default();
            ensure!(file.starts_with("http://10.77.0.1/boot.ipxe?mac="), "{file}");
        }
        Ok(())
    });
    cases.rule(
        server,
        Peer::No("is not told of a script here"),
        "iPXE is known by a counted user class, too (RFC 3004)",
        |ask| {
            let offer = ask.offer(&ask.machine(Kind::BiosPxe).with(option::USER_CLASS, b"\x04iPXE"))?;
            ensure!(offer.message.boot_file().is_some_and(|file| file.contains("/boot.ipxe?")));
            Ok(())
        },
    );
    cases.rule(
        server,
        Peer::No("is not told of a script here"),
        "a plain user class of another name is no iPXE",
        |ask| {
            let offer = ask.offer(&ask.machine(Kind::BiosPxe).with(option::USER_CLASS, b"\x04mine"))?;
            ensure!(offer.message.boot_file().as_deref() == Some("undionly.kpxe"));
            Ok(())
        },
    );
    cases.rule(
        server,
        Peer::No("has no boot file for one host here"),
        "a boot file set for the host comes before the loader",
        |ask| {
            let (machine, _) = ask.fixed_number(Kind::UefiPxe(7), 1);
            ensure!(ask.offer(&machine)?.message.boot_file().as_deref() == Some("own/boot.efi"));
            Ok(())
        },
    );
}
