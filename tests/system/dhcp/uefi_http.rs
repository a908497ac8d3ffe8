//! UEFI HTTP boot (UEFI specification, network protocols): class `HTTPClient` and a URI.

use crate::bench::Config;
use crate::cases::{Cases, Peer};
use anyhow::ensure;
use system_tests::pxe::Kind;
use system_tests::pxe::message::kind;

pub fn add(cases: &mut Cases) {
    let both = Peer::Dnsmasq;
    cases.section("UEFI HTTP boot");
    for (arch, file, known) in [
        (15u16, "ipxe-ia32.efi", false),
        (16, "snponly-x64.efi", true),
        (19, "ipxe-arm64.efi", true),
        (20, "undionly.kpxe", false),
    ] {
        let peer = if known { both } else { Peer::No("knows a loader for the architectures of its settings only") };
        cases.rule(Config::Server, peer, format!("architecture {arch} gets a URI"), move |ask| {
            let offer = ask.offer(&ask.machine(Kind::UefiHttp(arch)))?;
            let wanted = format!("http://10.77.0.1/{file}");
            ensure!(offer.message.boot_file().as_deref() == Some(wanted.as_str()), "{:?}", offer.message.boot_file());
            Ok(())
        });
        cases.rule(Config::Server, peer, format!("architecture {arch}: the class is HTTPClient"), move |ask| {
            let offer = ask.offer(&ask.machine(Kind::UefiHttp(arch)))?;
            ensure!(offer.option(60) == Some(&b"HTTPClient"[..]), "{:?}", offer.message.text(60));
            Ok(())
        });
    }
    cases.rule(Config::Server, both, "the ACK carries the URI, too", |ask| {
        let ack = ask.lease(&ask.machine(Kind::UefiHttp(16)))?.of_kind(kind::ACK)?;
        ensure!(ack.message.boot_file().is_some_and(|file| file.starts_with("http://")));
        Ok(())
    });
    cases.rule(Config::Server, both, "an HTTP client gets name servers, as a URI may hold a name", |ask| {
        ensure!(ask.offer(&ask.machine(Kind::UefiHttp(16)))?.option(6).is_some());
        Ok(())
    });
    cases.rule(Config::Server, both, "an HTTP client gets no PXE options", |ask| {
        ensure!(ask.offer(&ask.machine(Kind::UefiHttp(16)))?.option(43).is_none());
        Ok(())
    });
    cases.rule(
        Config::Server,
        Peer::No("knows a loader for the architectures of its settings only"),
        "architecture 18 has no loader and so no wrong one",
        |ask| {
            ensure!(ask.offer(&ask.machine(Kind::UefiHttp(18)))?.message.boot_file().is_none());
            Ok(())
        },
    );
    cases.rule(
        Config::Server,
        Peer::No("is set up by architecture, not by class, here"),
        "an HTTP architecture under the PXE class gets a URI",
        |ask| {
            let offer = ask.offer(&ask.machine(Kind::UefiPxe(16)))?;
            ensure!(offer.message.boot_file().is_some_and(|file| file.starts_with("http://")));
            Ok(())
        },
    );
    cases.rule(
        Config::Proxy,
        Peer::No("is a proxy for PXE alone"),
        "a proxy offers the URI without an address",
        |ask| {
            let offer = ask.offer(&ask.machine(Kind::UefiHttp(16)))?;
            ensure!(offer.yiaddr().is_unspecified() && offer.option(60) == Some(&b"HTTPClient"[..]));
            ensure!(offer.message.boot_file().as_deref() == Some("http://10.77.0.1/snponly-x64.efi"));
            Ok(())
        },
    );
}
