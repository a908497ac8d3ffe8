//! Packets of real firmware, recorded once: each is decoded, recognised and answered.

use super::{packets::*, pcap::datagrams};
use crate::{
    dhcp::{Kind, Outcome, Packet, Port, Request, Stage, reply, wire::decode},
    host::{Arch, Firmware},
};

/// One recorded machine: what each of its packets is, and the file it is given. Every answer has to be the one in
/// `testdata/answers`, byte for byte.
fn replay(name: &str, file: &[u8], stage: Stage) -> Vec<(Kind, u8, String)> {
    let mut rack = rack(stage);
    let mut told = Vec::new();
    let mut golden = String::new();
    for datagram in datagrams(file) {
        let port = match datagram.to.port() {
            67 => Port::Dhcp,
            4011 => Port::BootServer,
            _ => continue,
        };
        let Packet::Request(request) = decode(&datagram.payload, port, datagram.from).unwrap() else { continue };
        let mut request = *request;
        // What the other server of the recording gave is not ours to confirm.
        if stage == Stage::PxeOnly && request.server_id.is_some() {
            request.server_id = Some(BOX);
            request.requested = Some(rack.table.leases(rack.now).next().map_or(FIRST, |row| row.address));
        }
        rack.host.booted_recently = !told.is_empty();
        let outcome = reply(&request, &rack.link, &mut rack.table, &rack.host, rack.now);
        golden.push_str(&describe(&request, &outcome));
        let answer = outcome.reply.map(|bytes| Got::read(&bytes));
        if let Some(answer) = &answer {
            assert_eq!(answer.bytes[4..8], request.xid.to_be_bytes());
            assert_eq!(answer.bytes[28..34], request.mac.0);
            assert!(answer.bytes.len() <= request.max_payload);
        }
        let (kind, name) = answer.map_or((0, String::new()), |answer| (answer.kind(), answer.file().to_owned()));
        told.push((Kind::of(&request), kind, name));
    }
    compare(name, &golden);
    told
}

/// A packet and its answer, so that a person can review it: the header's fields, then every option in its order.
fn describe(request: &Request, outcome: &Outcome) -> String {
    let mut text = format!("{:?} on {:?} from {} xid {:08x}\n", request.kind, request.port, request.mac, request.xid);
    let Some(bytes) = &outcome.reply else { return text + "  silence\n\n" };
    let got = Got::read(bytes);
    let header = [
        format!("to {:?}", outcome.to),
        format!("{} bytes, flags {:02x}{:02x}", bytes.len(), bytes[10], bytes[11]),
        format!("ciaddr {} yiaddr {} siaddr {}", got.ciaddr(), got.yiaddr(), got.siaddr()),
        format!("sname {:?} file {:?}", got.sname(), got.file()),
    ];
    for line in header {
        text += &format!("  {line}\n");
    }
    for (code, value) in &got.options {
        let printable = value.len() > 4 && value.iter().all(|byte| (32..127).contains(byte));
        let shown = match printable {
            true => format!("{:?}", String::from_utf8_lossy(value)),
            false => value.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
        };
        text += &format!("  {code:>3} {shown}\n");
    }
    text + "\n"
}

fn compare(name: &str, answers: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/answers/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, answers).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, answers, "run once with UPDATE_GOLDEN=1 and review the difference");
}

macro_rules! recording {
    ($name:literal) => {
        include_bytes!(concat!("../../../testdata/transcripts/", $name, ".pcap"))
    };
}

fn files(told: &[(Kind, u8, String)]) -> Vec<(u8, &str)> {
    told.iter().map(|(_, kind, file)| (*kind, file.split('?').next().unwrap_or_default())).collect()
}

const SCRIPT: &str = "http://10.77.0.1/boot.ipxe";

#[test]
fn seabios_with_an_ipxe_rom() {
    let told = replay("bios-ipxe", recording!("bios-ipxe"), Stage::PxeOnly);
    assert_eq!(files(&told), [(OFFER, SCRIPT), (OFFER, SCRIPT), (ACK, SCRIPT)]);
    let Kind::Ipxe(arch, features) = told[0].0 else { panic!("{:?}", told[0]) };
    assert_eq!((arch.arch(), arch.firmware()), (Some(Arch::X86_64), Some(Firmware::Bios)));
    assert!(features.http && features.tftp && features.iscsi && !features.https && !features.efi);
    assert_eq!(features.version, Some([1, 0, 0]));
}

#[test]
fn seabios_and_then_udhcpc_of_the_system_it_booted() {
    let told = replay("bios-pxelinux", recording!("bios-pxelinux"), Stage::PxeOnly);
    assert_eq!(files(&told).last(), Some(&(ACK, "")));
    assert_eq!(told.last().unwrap().0, Kind::Plain);
}

#[test]
fn ovmf_pxe_and_then_ipxe() {
    let told = replay("uefi-pxe", recording!("uefi-pxe"), Stage::PxeOnly);
    let loader = "snponly-x64.efi";
    assert_eq!(files(&told), [(OFFER, loader), (ACK, loader), (OFFER, SCRIPT), (OFFER, SCRIPT), (ACK, SCRIPT)]);
    assert!(matches!(told[0].0, Kind::PxeRom(arch) if arch.firmware() == Some(Firmware::Uefi)));
}

#[test]
fn ovmf_http_boot_and_then_ipxe() {
    let told = replay("uefi-http", recording!("uefi-http"), Stage::PxeOnly);
    let uri = "http://10.77.0.1/snponly-x64.efi";
    assert_eq!(files(&told), [(OFFER, uri), (ACK, uri), (OFFER, SCRIPT), (OFFER, SCRIPT), (ACK, SCRIPT)]);
    assert!(matches!(told[0].0, Kind::HttpRom(_)));
}

#[test]
fn arm64_firmware() {
    let told = replay("arm64-pxe", recording!("arm64-pxe"), Stage::PxeOnly);
    assert_eq!(files(&told), [(OFFER, "ipxe-arm64.efi"), (ACK, "ipxe-arm64.efi")]);
    assert_eq!(told[0].0.arch(), Some(Arch::Aarch64));
}

#[test]
fn u_boot_first_by_its_own_name_and_then_as_pxe_client() {
    let told = replay("arm64-uboot", recording!("arm64-uboot"), Stage::PxeOnly);
    assert_eq!(told[0].0, Kind::UBoot);
    assert_eq!(files(&told), [(OFFER, ""), (ACK, ""), (OFFER, "ipxe-arm64.efi"), (ACK, "ipxe-arm64.efi")]);
}

#[test]
fn ipxe_beside_another_server() {
    let told = replay("bios-ipxe-proxy", recording!("bios-ipxe-proxy"), Stage::Proxy);
    // Two offers, silence to the REQUEST for the other server, the file on port 4011.
    assert_eq!(files(&told), [(OFFER, SCRIPT), (OFFER, SCRIPT), (0, ""), (ACK, SCRIPT)]);
}

#[test]
fn ovmf_beside_another_server() {
    let told = replay("uefi-pxe-proxy", recording!("uefi-pxe-proxy"), Stage::Proxy);
    let loader = "snponly-x64.efi";
    assert_eq!(files(&told), [(OFFER, loader), (0, ""), (ACK, loader), (OFFER, SCRIPT), (0, ""), (ACK, SCRIPT)]);
}

#[test]
fn the_recorded_servers_are_seen_as_foreign() {
    let mut seen = 0;
    for file in [&recording!("bios-ipxe-proxy")[..], recording!("uefi-pxe-proxy")] {
        for datagram in datagrams(file).into_iter().filter(|datagram| datagram.from.port() == 67) {
            let Packet::Reply(reply) = decode(&datagram.payload, Port::Dhcp, datagram.from).unwrap() else {
                panic!("a reply")
            };
            assert_eq!(reply.server, *datagram.from.ip());
            assert_eq!(reply.boots, reply.yiaddr.is_unspecified(), "the proxy names a boot server");
            seen += 1;
        }
    }
    assert_eq!(seen, 11);
}
