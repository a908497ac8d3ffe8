use super::*;

#[test]
fn an_empty_file_and_the_sample_mean_the_same() {
    let (config, shown) = Config::parse_shown(&sample()).unwrap();
    assert_eq!(config, Config::parse("").unwrap());
    assert_eq!((config.boot_port, config.dhcp_mode, config.discovery), (80, Mode::Auto, true));
    assert!(shown.iter().all(|shown| matches!(shown.origin, Origin::File(_))));
}

#[test]
fn the_sample_file_in_the_documentation_is_this_one() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rackberry.toml");
    let written = std::fs::read_to_string(file).unwrap_or_default();
    if written != sample() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, sample()).unwrap();
        return;
    }
    assert_eq!(written, sample(), "run once with UPDATE_GOLDEN=1 and read the difference");
}

#[test]
fn every_problem_is_named_with_its_line() {
    let toml = "[dhcp]\nmode = \"full\"\npol = \"x\"\nlease_s = 1\n\n[bot]\nport = 1\n[tftp]\nport = 70000\n";
    let InvalidConfig(problems) = Config::parse(toml).unwrap_err();
    let found: Vec<(usize, &str)> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    assert_eq!(found, [(2, "dhcp.mode"), (3, "dhcp.pol"), (4, "dhcp.lease_s"), (6, "bot"), (9, "tftp.port")]);
}

#[test]
fn block_numbers_roll_over_to_0_or_1_and_nothing_else() {
    let read = |text: &str| Config::parse(text).map(|config| config.tftp_rollover_to_one);
    assert_eq!(read("").ok(), Some(false));
    assert_eq!(read("[tftp]\nrollover = 0\n").ok(), Some(false));
    assert_eq!(read("[tftp]\nrollover = 1\n").ok(), Some(true));
    assert!(read("[tftp]\nrollover = 2\n").is_err());
}

#[test]
fn a_syntax_error_has_a_line_too() {
    let InvalidConfig(problems) = Config::parse("[dhcp]\nmode = \n").unwrap_err();
    assert_eq!(problems.first().unwrap().line, 2);
}

#[test]
fn subnets_are_read_with_all_their_settings() {
    let toml = "[dhcp]\nmode = \"server\"\n[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\npool = \"10.2.1.0-10.2.1.9\"\n\
                gateway = \"10.2.0.1\"\nlease_s = 900\ndynamic_bootp = true\noptions = { 42 = \"10.2.0.1\", 26 = \"hex:05dc\" }\n\
                [[dhcp.subnet]]\nnetwork = \"10.3.0.0/24\"\n";
    let config = Config::parse(toml).unwrap();
    let [one, other] = config.dhcp_subnets.as_slice() else { panic!("{:?}", config.dhcp_subnets) };
    assert_eq!((one.prefix, one.lease, one.dynamic_bootp), (16, Some(Duration::from_secs(900)), true));
    assert_eq!(one.options.iter().map(|o| (o.code(), o.value().len())).collect::<Vec<_>>(), [(26, 2), (42, 4)]);
    assert_eq!((other.pool, other.router), (None, None));
    let commented = sample().replace("# [[dhcp.subnet]]", "[[dhcp.subnet]]");
    let shown: String = commented
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains("  # ")).unwrap_or(line).to_owned() + "\n")
        .collect();
    assert_eq!(Config::parse(&shown).unwrap().dhcp_subnets.len(), 1, "the example works once it is uncommented");
}

#[test]
fn every_problem_of_a_subnet_is_named() {
    for (toml, line, key) in [
        ("[[dhcp.subnet]]\npool = \"10.2.1.0-10.2.1.9\"\n", 1, "dhcp.subnet"),
        ("[[dhcp.subnet]]\nnetwork = \"10.2.0.1/16\"\n", 2, "dhcp.subnet.network"),
        ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0\"\n", 2, "dhcp.subnet.network"),
        ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\npool = \"10.3.0.1-10.3.0.2\"\n", 1, "dhcp.subnet.pool"),
        ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\ngateway = \"10.3.0.1\"\n", 1, "dhcp.subnet.gateway"),
        ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\ncolour = \"red\"\n", 3, "dhcp.subnet.colour"),
        ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\noptions = { 53 = \"x\" }\n", 3, "dhcp.subnet.options"),
        ("[dhcp]\nsubnet = 7\n", 2, "dhcp.subnet"),
        ("[dhcp]\noptions = { 300 = \"x\" }\n", 2, "dhcp.options"),
    ] {
        let InvalidConfig(problems) = Config::parse(toml).unwrap_err();
        let found: Vec<_> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
        assert_eq!(found, [(line, key)], "{toml}");
    }
    let twice = "[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\n[[dhcp.subnet]]\nnetwork = \"10.2.3.0/24\"\n";
    let InvalidConfig(problems) = Config::parse(twice).unwrap_err();
    assert!(problems.first().unwrap().what.contains("overlap"));
}

#[test]
fn the_boxs_own_part_is_left_to_the_box() {
    assert!(Config::parse("[box]\nhostname = \"rackberry\"\n").is_ok());
}

#[test]
fn a_yes_at_the_box_takes_a_display_that_shows_what_is_asked() {
    let display = "[oled]\ncontroller = \"ssd1306\"\n";
    let config = Config::parse(&format!("[install]\nconsent = \"data\"\nconsent_s = 30\n{display}")).unwrap();
    assert_eq!((config.consent, config.consent_patience), (ConsentRule::Data, Duration::from_secs(30)));
    let config = Config::parse(display).unwrap();
    assert_eq!((config.consent, config.consent_patience), (ConsentRule::Never, Duration::from_secs(60)));
    // A button alone shows nobody what it says yes to.
    let blind = "[oled]\nconfirm_gpio = 27\n[install]\nconsent = \"always\"\n";
    let InvalidConfig(problems) = Config::parse(blind).unwrap_err();
    let found: Vec<_> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    assert_eq!(found, [(4, "install.consent")]);
    assert!(problems[0].what.contains("oled.controller"), "{problems:?}");
    let (config, problems) = Config::parse_leniently(blind);
    assert_eq!((config.consent, problems.len()), (ConsentRule::Never, 1), "nobody is locked out, and it is told");
    let InvalidConfig(problems) = Config::parse("[install]\nconsent = \"maybe\"\n").unwrap_err();
    assert_eq!(problems[0].what, "takes never, data or always");
}

#[test]
fn time_servers_are_names_or_addresses_with_or_without_a_port() {
    let read = |list: &str| Config::parse(&format!("[time]\nntp = {list}\n")).map(|config| config.time_servers);
    let shown = |list: &str| read(list).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown("[]"), Vec::<String>::new());
    let right = ["ntp.example.org", "192.0.2.1", "192.0.2.1:1123", "localhost:99", "2001:db8::1", "[2001:db8::1]:99"];
    assert_eq!(shown(&format!("{right:?}")), right);
    assert_eq!(shown("[\"192.0.2.1:123\"]"), ["192.0.2.1"]);
    for wrong in [
        "\"ntp.example.org\"",
        "[\"\"]",
        "[\"10.0.0.300\"]",
        "[\"a b\"]",
        "[\"a..b\"]",
        "[\"host:0\"]",
        "[\"host:x\"]",
        "[7]",
    ] {
        let InvalidConfig(problems) = read(wrong).unwrap_err();
        assert_eq!(problems.iter().map(|p| (p.line, p.key.as_str())).collect::<Vec<_>>(), [(2, "time.ntp")], "{wrong}");
    }
    assert!(read(&format!("{:?}", ["a"; 9])).is_err());
}
