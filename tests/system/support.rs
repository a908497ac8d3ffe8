//! The virtual rack itself: what it promises to the tests that stand on it.

use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};
use system_tests::pxe::message::{kind, option};
use system_tests::pxe::{Kind, Machine, tftp};
use system_tests::wire::Counters;
use system_tests::{Appliance, DiskBus, Dnsmasq, Firmware, Impairment, Netns, Nic, PxeClient, Vm, Wire, leftovers};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 91, 0, 1);

#[test]
fn a_namespace_is_private_and_gone_when_dropped() -> Result<()> {
    let ns = Netns::new()?;
    let name = ns.name().to_owned();
    ns.bridge("br0", Some("10.91.0.1/24"))?;
    assert!(ns.ip("address show br0")?.contains("10.91.0.1/24"));
    let local = ns.enter(|| Ok(UdpSocket::bind("10.91.0.1:0")?.local_addr()?))?;
    assert_eq!(local.ip(), SERVER);
    assert!(UdpSocket::bind("10.91.0.1:0").is_err(), "the address is in the namespace alone");
    let mut sleeper = ns.command("sleep").arg("600").spawn()?;
    while ns.pids()?.is_empty() {
        std::thread::yield_now();
    }
    drop(ns);
    assert!(!std::path::Path::new("/run/netns").join(name).exists());
    assert!(!sleeper.wait()?.success(), "what ran inside ended with it");
    Ok(())
}

#[test]
fn what_a_killed_test_left_behind_is_swept() -> Result<()> {
    let mut maker = std::process::Command::new("true").spawn()?;
    let dead = maker.id();
    maker.wait()?;
    let name = format!("rb-{dead}-0");
    std::process::Command::new("ip").args(["netns", "add", &name]).status()?;
    let folder = std::env::temp_dir().join(format!("rackberry-state-{dead}-x"));
    std::fs::create_dir_all(folder.join("deep"))?;
    let (own, own_folder) = (Netns::new()?, leftovers::folder("state")?);
    leftovers::sweep();
    assert!(!std::path::Path::new("/run/netns").join(&name).exists() && !folder.exists());
    assert!(std::path::Path::new("/run/netns").join(own.name()).exists(), "what is in use stays");
    assert!(own_folder.path().exists());
    Ok(())
}

#[test]
fn a_wire_loses_repeats_reorders_and_delays_as_told() -> Result<()> {
    let (a, b) = (Netns::new()?, Netns::new()?);
    let wire = Wire::between((&a, "wa"), (&b, "wb"), Impairment::default(), 7)?;
    a.up("wa", Some("10.91.0.1/24"))?;
    b.up("wb", Some("10.91.0.2/24"))?;
    let from = a.enter(|| Ok(UdpSocket::bind("10.91.0.1:0")?))?;
    let to = b.enter(|| Ok(UdpSocket::bind("10.91.0.2:0")?))?;
    from.connect(to.local_addr()?)?;

    let mut perfect = numbers_through(&from, &to, 500)?;
    // A sender that moves to another processor may be overtaken in the kernel, before the wire sees its packets.
    perfect.sort_unstable();
    assert_eq!(perfect, (0..500).collect::<Vec<u32>>(), "a perfect cable");

    wire.set(Impairment { loss: 20.0, ..Impairment::default() });
    let before = wire.counters();
    let lossy = numbers_through(&from, &to, 2000)?.len();
    let after = wire.counters();
    // 2000 frames at 20 %: 1600 expected, standard deviation 18.
    assert!((1520..=1680).contains(&lossy), "{lossy} of 2000 arrived");
    assert!(after.lost - before.lost >= 2000 - lossy as u64, "{before:?} {after:?}");

    wire.set(Impairment { duplicate: 30.0, ..Impairment::default() });
    let repeated = numbers_through(&from, &to, 500)?.len();
    assert!((580..=720).contains(&repeated), "{repeated} arrived of 500 at 30 % repeats");

    wire.set(Impairment { reorder: 10.0, delay: Duration::from_millis(1), ..Impairment::default() });
    let mut shuffled = numbers_through(&from, &to, 500)?;
    assert!(!shuffled.is_sorted(), "some were overtaken");
    shuffled.sort_unstable();
    assert_eq!(shuffled, (0..500).collect::<Vec<u32>>(), "and none was lost");

    wire.set(Impairment { delay: Duration::from_millis(100), ..Impairment::default() });
    let sent = Instant::now();
    assert_eq!(numbers_through(&from, &to, 1)?.len(), 1);
    assert!(sent.elapsed() >= Duration::from_millis(100), "{:?}", sent.elapsed());
    println!("wire: 2000 frames at 20 % loss: {lossy} arrived; {:?}", wire.counters());
    assert_ne!(wire.counters(), Counters::default());
    Ok(())
}

/// Sends the numbers below `count` and returns those that arrive, in their order, until nothing came for a second.
fn numbers_through(from: &UdpSocket, to: &UdpSocket, count: u32) -> Result<Vec<u32>> {
    to.set_read_timeout(Some(Duration::from_secs(1)))?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || -> Result<()> {
            for number in 0..count {
                from.send(&number.to_be_bytes())?;
                // The receiver's buffer holds some hundred datagrams; the wire is the only one that may lose.
                if number % 50 == 49 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            Ok(())
        });
        let mut arrived = Vec::new();
        let mut bytes = [0u8; 4];
        while to.recv(&mut bytes).is_ok() {
            arrived.push(u32::from_be_bytes(bytes));
        }
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        Ok(arrived)
    })
}

#[test]
fn the_scripted_client_boots_from_a_server_that_is_not_ours() -> Result<()> {
    let (rack, room) = (Netns::new()?, Netns::new()?);
    rack.veth("s0", &room, "c0")?;
    rack.up("s0", Some("10.91.0.1/24"))?;
    let arguments = [
        "interface=s0",
        "enable-tftp",
        "dhcp-range=10.91.0.10,10.91.0.99,255.255.255.0,10m",
        "dhcp-boot=tag:!ipxe,loader",
        "dhcp-userclass=set:ipxe,iPXE",
        "dhcp-boot=tag:ipxe,script",
    ];
    let server = Dnsmasq::start(&rack, &arguments)?;
    let client = PxeClient::new(&room, "c0")?;

    let kinds = [Kind::BiosPxe, Kind::UefiPxe(7), Kind::Ipxe(0), Kind::Plain];
    for (number, kind) in (1..).zip(kinds) {
        let machine = Machine::new(number, kind);
        let lease = client.lease(&machine, Duration::from_secs(10))?;
        assert_eq!(lease.address(option::SERVER_ID), Some(SERVER), "{kind:?}");
        assert!(lease.yiaddr.octets().starts_with(&[10, 91, 0]), "{kind:?}");
        let wanted = if kind == Kind::Ipxe(0) { "script" } else { "loader" };
        assert_eq!(lease.boot_file().as_deref(), Some(wanted), "{kind:?}");
    }
    // One machine has one address, whichever of its programs asks.
    let machine = Machine::new(9, Kind::BiosPxe);
    let first = client.lease(&machine, Duration::from_secs(10))?;
    client.settle(&machine, &first)?;

    for size in [0usize, 511, 512, 513, 100_000] {
        let data: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        // A name of its own: dnsmasq shares what it has open, and may not have closed the file before yet.
        let name = format!("loader-{size}");
        server.put(&name, &data)?;
        for options in
            [tftp::Options::default(), tftp::Options { blksize: Some(1428), tsize: true, ..tftp::Options::default() }]
        {
            let fetched = client.tftp(SERVER, &name, &options)?;
            assert!(fetched.data == data, "{size} bytes with {options:?}");
            assert_eq!(fetched.size, options.tsize.then_some(size as u64));
        }
    }
    let probe = client.tftp(SERVER, "loader-100000", &tftp::Options { only_size: true, ..tftp::Options::default() })?;
    assert_eq!(probe.size, Some(100_000));
    let missing = client.tftp(SERVER, "nothing", &tftp::Options::default()).expect_err("there is no such file");
    assert!(missing.to_string().contains("TFTP error 1"), "{missing}");

    // A lease taken back and a request for what was never offered.
    let mut wrong = first.clone();
    wrong.yiaddr = Ipv4Addr::new(192, 168, 55, 5);
    let answer = client.request(&machine, &wrong)?;
    assert_eq!(answer.message.message_type(), kind::NAK);
    Ok(())
}

#[test]
fn a_file_comes_whole_over_a_wire_that_loses_a_tenth() -> Result<()> {
    let (rack, room) = (Netns::new()?, Netns::new()?);
    let bad = Impairment { loss: 10.0, duplicate: 2.0, reorder: 2.0, delay: Duration::from_micros(200) };
    let wire = Wire::between((&rack, "s0"), (&room, "c0"), bad, 3)?;
    rack.up("s0", Some("10.91.0.1/24"))?;
    let server = Dnsmasq::start(&rack, &["interface=s0", "enable-tftp", "dhcp-range=10.91.0.10,10.91.0.99,10m"])?;
    let data: Vec<u8> = (0..20_000u32).flat_map(u32::to_be_bytes).collect();
    server.put("file", &data)?;
    let client = PxeClient::new(&room, "c0")?;
    let machine = Machine::new(1, Kind::BiosPxe);
    let lease = client.lease(&machine, Duration::from_secs(20))?;
    client.settle(&machine, &lease)?;
    let fetched = client.tftp(SERVER, "file", &tftp::Options { blksize: Some(1428), ..tftp::Options::default() })?;
    assert!(fetched.data == data);
    println!("80,000 bytes, {} repeats, {:?}", fetched.repeats, wire.counters());
    assert!(wire.counters().lost > 0);
    Ok(())
}

#[test]
fn a_machine_without_a_server_says_so_and_can_be_controlled() -> Result<()> {
    let ns = Netns::new()?;
    ns.bridge("br0", None)?;
    ns.tap("t0", Some("br0"))?;
    let mut vm = Vm::builder(Firmware::Bios).start(&ns, "t0")?;
    vm.wait_for("iPXE", Duration::from_secs(60))?;
    assert_eq!(vm.state()?, "running");
    let silence = vm.wait_for("never said", Duration::from_millis(100)).expect_err("nobody says that");
    assert!(format!("{silence:#}").contains("iPXE"), "a time-out shows what was said last: {silence:#}");
    let mark = vm.console().mark();
    vm.reset()?;
    vm.wait_after(mark, "iPXE", Duration::from_secs(60))?;
    let dir = vm.dir().to_owned();
    drop(vm);
    assert!(!dir.exists());
    assert!(ns.pids()?.is_empty(), "no QEMU is left");
    Ok(())
}

#[test]
fn a_machine_boots_the_script_that_a_server_names() -> Result<()> {
    let ns = Netns::new()?;
    ns.bridge("br0", Some("10.91.0.1/24"))?;
    ns.tap("t0", Some("br0"))?;
    let server = Dnsmasq::start(
        &ns,
        &["interface=br0", "enable-tftp", "dhcp-range=10.91.0.10,10.91.0.99,10m", "dhcp-boot=boot.ipxe"],
    )?;
    server.put("boot.ipxe", b"#!ipxe\necho the script of ${net0/mac} ${serial} runs\nshell\n")?;
    let vm = Vm::builder(Firmware::Bios).mac(Some("52:54:00:7b:77:01")).serial("RB-SCRIPT").start(&ns, "t0")?;
    let line = vm.wait_for("the script of", Duration::from_secs(90))?;
    assert!(line.contains("52:54:00:7b:77:01 RB-SCRIPT runs"), "{line}");
    server.log().wait_for("boot.ipxe", Duration::from_secs(5))?;
    Ok(())
}

#[test]
fn uefi_clients_ask_as_what_they_are() -> Result<()> {
    for (firmware, class) in
        [(Firmware::OvmfPxe, "PXEClient:Arch:00007"), (Firmware::OvmfHttp, "HTTPClient:Arch:00016")]
    {
        asks_as(firmware, class)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs qemu-system-arm and qemu-efi-aarch64"]
fn an_arm_board_asks_as_what_it_is() -> Result<()> {
    asks_as(Firmware::Aavmf, "PXEClient:Arch:00011")
}

#[test]
fn a_machine_with_secure_boot_asks_by_pxe() -> Result<()> {
    asks_as(Firmware::OvmfSecure, "PXEClient:Arch:00007")
}

fn asks_as(firmware: Firmware, class: &str) -> Result<()> {
    let ns = Netns::new()?;
    ns.bridge("br0", Some("10.91.0.1/24"))?;
    ns.tap("t0", Some("br0"))?;
    let server = Dnsmasq::start(&ns, &["interface=br0", "dhcp-range=10.91.0.10,10.91.0.99,10m"])?;
    let _vm = Vm::builder(firmware).disks(&[]).start(&ns, "t0")?;
    server.log().wait_for(class, Duration::from_secs(90))?;
    Ok(())
}

#[test]
fn every_card_and_every_disk_bus_can_be_built_in() -> Result<()> {
    let ns = Netns::new()?;
    ns.tap("t0", None)?;
    let cards = [Nic::Virtio, Nic::E1000e, Nic::Vmxnet3, Nic::E1000e];
    for (nic, bus) in cards.into_iter().zip([DiskBus::Virtio, DiskBus::Nvme, DiskBus::Megasas, DiskBus::Ahci]) {
        for firmware in [Firmware::Bios, Firmware::OvmfPxe] {
            let builder = Vm::builder(firmware).nic(nic).bus(bus).disks(&[1 << 30, 2 << 30]).extra(&["-S"]);
            let mut vm = builder.start(&ns, "t0")?;
            assert_eq!(vm.state()?, "prelaunch", "{nic:?} {bus:?} {firmware:?}");
            assert_eq!(std::fs::metadata(vm.dir().join("disk1.raw"))?.len(), 2 << 30);
        }
    }
    let refused = Vm::builder(Firmware::Bios).extra(&["-device", "no-such-card"]).start(&ns, "t0");
    let refused = format!("{:#}", refused.err().expect("QEMU knows no such card"));
    assert!(refused.contains("no-such-card"), "QEMU's own words are shown: {refused}");
    Ok(())
}

#[test]
fn the_appliance_gets_its_page_as_systemd_hands_it_over_and_survives_restarts() -> Result<()> {
    // A stand-in for the program: it says what it was given, so that this test needs no build of the real one.
    let dir = tempfile::tempdir()?;
    let stand_in = dir.path().join("stand-in");
    let script = "#!/bin/sh\n[ \"$LISTEN_PID\" = $$ ] || echo \"LISTEN_PID $LISTEN_PID is not $$\"\n\
        echo \"$LISTEN_FDS $LISTEN_FDNAMES $(readlink /proc/$$/fd/3) $1 $(cat \"$3\")\"\n\
        echo x >>\"$5/starts\"\necho 'one-time code: ABCD-2345' >&2\necho 'rackberry is ready' >&2\nexec sleep 600\n";
    std::fs::write(&stand_in, script)?;
    std::fs::set_permissions(&stand_in, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let ns = Netns::new()?;
    let mut appliance = Appliance::start_with(&stand_in, &ns, "mode = 'test'", &[])?;
    let given = appliance.log().wait_for("1 page socket:[", Duration::from_secs(5))?;
    assert!(given.ends_with("serve mode = 'test'"), "{given}");
    assert_eq!(appliance.log().count("is not"), 0, "{}", appliance.log().text());
    assert_eq!(appliance.one_time_code()?, "ABCD-2345");
    assert!(ns.pids()?.contains(&appliance.pid()?.as_raw_nonzero().get()), "it runs inside");
    let page = appliance.url("").replace("http://", "");
    std::net::TcpStream::connect(&page)?;
    appliance.restart()?;
    std::net::TcpStream::connect(&page)?;
    assert_eq!(std::fs::read_to_string(appliance.state_dir().join("starts"))?, "x\nx\n");
    assert!(!appliance.stop(Duration::from_secs(5))?.success(), "sleep ends by the signal");
    Ok(())
}

#[test]
fn ports_of_both_worlds_do_not_mix() -> Result<()> {
    // The appliance's page listens outside while its boot ports are inside: a thread's sockets stay where they began.
    let ns = Netns::new()?;
    let inside = ns.enter(|| Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))?;
    let port = inside.local_addr()?.port();
    let outside = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    assert!(std::net::TcpStream::connect(outside).is_err(), "the outer loopback has no such listener");
    ns.enter(|| Ok(std::net::TcpStream::connect(outside)?))?;
    Ok(())
}
