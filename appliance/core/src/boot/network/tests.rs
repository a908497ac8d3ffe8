use super::*;
use std::fmt::Write as _;

const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 1]);
const SECOND: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 2]);

/// The five shapes a network can have.
const SHAPES: &[(&str, &[(&str, &str)])] = &[
    ("dhcp", &[]),
    ("static", FIXED),
    ("vlan", &[FIXED[0], FIXED[1], FIXED[2], FIXED[3], ("vlan", "100")]),
    ("bond", &[("bond", "active-backup")]),
    ("bond-vlan", &[FIXED[0], FIXED[1], FIXED[2], FIXED[3], ("vlan", "100"), ("bond", "802.3ad")]),
];
const FIXED: &[(&str, &str)] = &[
    ("address", "192.168.77.20/24"),
    ("gateway", "192.168.77.1"),
    ("dns", "192.168.77.1, 9.9.9.9"),
    ("domain", "rack.example"),
];

fn read(parameters: &[(&str, &str)]) -> Result<Network, Vec<(String, String)>> {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Network::read(&parameters, MAC, &[MAC, SECOND])
}

#[test]
fn every_format_of_every_shape_is_the_reviewed_one() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/network");
    for format in Format::ALL {
        for (shape, parameters) in SHAPES {
            let mut out = String::new();
            for file in read(parameters).unwrap().files(format) {
                let _ = writeln!(out, "==> {} {}", file.mode, file.path);
                out.push_str(&file.content);
            }
            let golden = folder.join(format.name()).join(shape);
            if std::env::var_os("BLESS").is_some() {
                std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
                std::fs::write(&golden, &out).unwrap();
            }
            let reviewed = std::fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(out, reviewed, "{} (BLESS=1 renews it)", golden.display());
        }
    }
}

#[test]
fn every_value_at_fault_is_named_with_a_sentence() {
    for (parameters, name, said) in [
        (&[("address", "192.168.77.20")][..], "address", "prefix length"),
        (&[("address", "192.168.77.0/24")], "address", "broadcast"),
        (&[("address", "192.168.77.255/24")], "address", "broadcast"),
        (&[("address", "192.168.77.20/33")], "address", "8 to 31"),
        (&[("address", "127.0.0.1/8")], "address", "one machine"),
        (&[("gateway", "192.168.77.1")], "gateway", "address too"),
        (&[("address", "192.168.77.20/24"), ("gateway", "10.0.0.1")], "gateway", "not in the network"),
        (&[("address", "192.168.77.20/24"), ("gateway", "192.168.77.20")], "gateway", "own address"),
        (&[("address", "192.168.77.20/24"), ("gateway", "gw")], "gateway", "no IPv4"),
        (&[("address", "192.168.77.20/24"), ("dns", "9.9.9.9 one.one")], "dns", "one.one"),
        (&[("dns", "9.9.9.9")], "dns", "address too"),
        (&[("domain", "a..b")], "domain", "a..b"),
        (&[("domain", "a\nb")], "domain", "no domain"),
        (&[("vlan", "4095")], "vlan", "4094"),
        (&[("vlan", "0")], "vlan", "4094"),
        (&[("bond", "lacp")], "bond", "802.3ad"),
        (&[("bond", "802.3ad 52:54:00:77:00:01")], "bond", "two ports"),
        (&[("bond", "802.3ad 52:54:00:77:00:01 52-54-00-77-00-01")], "bond", "twice"),
        (&[("bond", "802.3ad eth0 eth1")], "bond", "MAC"),
    ] {
        let wrong = read(parameters).unwrap_err();
        let [(named, sentence)] = wrong.as_slice() else { panic!("{parameters:?}: {wrong:?}") };
        assert_eq!(named, name);
        assert!(sentence.contains(said) && sentence.starts_with(name), "{sentence}");
    }
    let several = read(&[("address", "x"), ("vlan", "x"), ("bond", "x")]).unwrap_err();
    assert_eq!(several.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["address", "vlan", "bond"]);
}

#[test]
fn a_bond_takes_the_known_ports_unless_some_are_named() {
    assert_eq!(read(&[("bond", "802.3ad")]).unwrap().bond.unwrap().macs, [MAC, SECOND]);
    let named = read(&[("bond", "802.3ad 52:54:00:77:00:02,52:54:00:77:00:03")]).unwrap().bond.unwrap();
    assert_eq!(named.macs, [SECOND, MacAddr([0x52, 0x54, 0, 0x77, 0, 3])]);
    let alone = BTreeMap::from([("bond".to_owned(), "802.3ad".to_owned())]);
    assert!(Network::read(&alone, MAC, &[MAC]).unwrap_err()[0].1.contains("one is known"));
}

#[test]
fn a_network_of_two_addresses_has_no_broadcast() {
    let point = read(&[("address", "10.0.0.0/31"), ("gateway", "10.0.0.1")]).unwrap();
    assert_eq!(point.values().netmask.as_deref(), Some("255.255.255.254"));
    assert!(!point.values().dhcp && point.values().plain);
}

#[test]
fn blank_values_ask_dhcp() {
    let blank: Vec<_> = PARAMETERS.iter().map(|name| (*name, "  ")).collect();
    assert_eq!(read(&blank).unwrap(), read(&[]).unwrap());
}
