//! The server on loopback, asked by a small client of its own that can be told to misbehave.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use support::{Client, Files, Running, noise};
use tftp_server::{ErrorCode, Limits, Mode, Outcome, Packet, ReadRequest, Refusal, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn files_arrive_whole_at_every_size_from_memory_and_from_disk() {
    let mut files = Files::default();
    let sizes = [0usize, 1, 511, 512, 513, 1024, 70_000, 1_000_000];
    for size in sizes {
        files.memory(&format!("memory-{size}"), noise(size));
        files.disk(&format!("disk-{size}"), &noise(size));
    }
    let server = Running::start(files, Settings::default());
    for size in sizes {
        for (blksize, window) in [(512, 1), (1428, 1), (1428, 16), (512, 64), (8192, 4)] {
            for place in ["memory", "disk"] {
                let request = ReadRequest::octet(format!("{place}-{size}"))
                    .with("blksize", blksize)
                    .with("windowsize", window)
                    .with("tsize", 0);
                let got = server.client().fetch(&request).unwrap();
                assert!(got.data == noise(size), "{place} {size} at {blksize} x {window}");
                assert_eq!(got.option("tsize").unwrap(), size.to_string());
            }
        }
    }
    let outcomes = server.stop().await.outcomes();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Complete), "{outcomes:?}");
    assert_eq!(outcomes.len(), sizes.len() * 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn seventy_thousand_blocks_arrive_whole() {
    let mut files = Files::default();
    let data = noise(70_000 * 512 + 100);
    files.disk("big", &data);
    let server = Running::start(files, Settings::default());
    let got = server.client().fetch(&ReadRequest::octet("big").with("windowsize", 64)).unwrap();
    assert!(got.data == data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_options_gets_blocks_of_512_and_no_oack() {
    let server = Running::start(Files::with("file", noise(2000)), Settings::default());
    let got = server.client().fetch(&ReadRequest::octet("file")).unwrap();
    assert_eq!((got.options.len(), got.data.len()), (0, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn netascii_translates_line_ends_and_tells_no_size() {
    let server = Running::start(Files::with("text", "a\nb\n".into()), Settings::default());
    let mut request = ReadRequest::octet("text").with("tsize", 0);
    request.mode = Mode::Netascii;
    let got = server.client().fetch(&request).unwrap();
    assert_eq!((got.data.as_slice(), got.options.len()), (&b"a\r\nb\r\n"[..], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_error() {
    let settings = Settings { max_sessions_per_host: 64, ..Settings::default() };
    let server = Running::start(Files::with("file", noise(10)), settings);
    let refused = |request: &Packet<'_>| {
        let client = server.client();
        client.send_first(request);
        match client.receive() {
            Some(Packet::Error { code, message }) => (code, message),
            other => panic!("{other:?}"),
        }
    };
    let read = |name: &str| Packet::Read(ReadRequest::octet(name));
    assert_eq!(refused(&read("missing")).0, ErrorCode::NOT_FOUND);
    assert_eq!(refused(&read("../file")).0, ErrorCode::ACCESS_VIOLATION);
    assert_eq!(refused(&read("busy")), (ErrorCode::UNDEFINED, "try later".to_owned()));
    assert_eq!(refused(&Packet::Write(ReadRequest::octet("file"))).0, ErrorCode::ACCESS_VIOLATION);
    let mail = ReadRequest { mode: Mode::Mail, ..ReadRequest::octet("file") };
    assert_eq!(refused(&Packet::Read(mail)).0, ErrorCode::ILLEGAL_OPERATION);
    let log = server.stop().await;
    assert_eq!(log.refusals().len(), 5);
    assert!(log.refusals().contains(&Refusal::Write));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_or_not_for_the_client_gets_silence() {
    let server = Running::start(Files::with("file", noise(10)), Settings::default());
    let client = server.client();
    for datagram in
        [&b""[..], b"\0", b"\0\x01file", b"\0\x01file\0binary\0", b"\0\x04\0\0", b"\0\x05\0\0no\0", &[0; 9000]]
    {
        client.send_raw(datagram);
    }
    client.send_first(&Packet::Read(ReadRequest::octet("silent")));
    client.send_first(&Packet::Read(ReadRequest::octet("x".repeat(2000))));
    // The server answers in order, so an answer to a later request shows that the earlier ones got none.
    let later = server.client();
    assert_eq!(later.fetch(&ReadRequest::octet("file")).unwrap().data.len(), 10);
    assert_eq!(client.receive_within(Duration::from_millis(200)), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_comes_from_a_fresh_port_of_the_address_that_was_asked() {
    let listening = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = listening.local_addr().unwrap().port();
    // The clients do not repeat themselves, so none may be refused while another's session is being cleared away.
    let settings = Settings { max_sessions_per_host: 64, ..Settings::default() };
    let server = Running::on(vec![listening], Files::with("file", noise(10)), settings);
    for last in [1, 2, 77] {
        let asked = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let client = Client::of(SocketAddr::new(asked, port));
        client.send_first(&Packet::Read(ReadRequest::octet("file")));
        let (_, from) = client.receive_from().unwrap();
        assert_eq!(from.ip(), asked);
        assert_ne!(from.port(), port);
        client.send_to(&Packet::Ack(1), from);
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_and_dual_stack_sockets_serve() {
    let Ok(listening) = UdpSocket::bind("[::]:0") else {
        println!("not run: no IPv6");
        return;
    };
    let port = listening.local_addr().unwrap().port();
    let server = Running::on(vec![listening], Files::with("file", noise(5000)), Settings::default());
    for asked in ["::1", "127.0.0.1"] {
        let client = Client::of(SocketAddr::new(asked.parse().unwrap(), port));
        let got = client.fetch(&ReadRequest::octet("file").with("blksize", 9000)).unwrap();
        assert_eq!(got.data, noise(5000));
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_from_another_port_gets_error_5_and_disturbs_nothing() {
    let server = Running::start(Files::with("file", noise(2000)), Settings::default());
    let (client, stranger) = (server.client(), server.client());
    client.send_first(&Packet::Read(ReadRequest::octet("file")));
    let (_, session) = client.receive_from().unwrap();
    stranger.send_to(&Packet::Ack(1), session);
    let Some(Packet::Error { code, .. }) = stranger.receive() else { panic!("no answer to the stranger") };
    assert_eq!(code, ErrorCode::UNKNOWN_TID);
    stranger.send_to(&Packet::error(ErrorCode::UNDEFINED, "stop"), session);
    client.send_to(&Packet::Ack(1), session);
    let Some(Packet::Data { block: 2, .. }) = client.receive() else { panic!("the transfer was disturbed") };
    assert_eq!(stranger.receive_within(Duration::from_millis(100)), None, "an ERROR is never answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_its_first_packet_again_from_the_same_session() {
    let server = Running::start(Files::with("file", noise(2000)), Settings::default());
    let client = server.client();
    let request = Packet::Read(ReadRequest::octet("file").with("blksize", 1000));
    client.send_first(&request);
    let (first, session) = client.receive_from().unwrap();
    client.send_first(&request);
    assert_eq!(client.receive_from().unwrap(), (first, session));
    client.send_to(&Packet::Ack(0), session);
    assert!(matches!(client.receive(), Some(Packet::Data { block: 1, .. })));
    assert_eq!(server.log().started(), 1);
}

// In one thread with the server, so that the copy waits already when the client is first heard.
#[tokio::test]
async fn a_request_repeated_for_want_of_an_answer_and_late_does_not_disturb_its_transfer() {
    let data = noise(200_000);
    let server = Running::start(Files::with("file", data.clone()), Settings::default());
    let client = server.client();
    let request = Packet::Read(ReadRequest::octet("file").with("tsize", 0));
    client.send_first(&request);
    let receiving = tokio::task::spawn_blocking(move || {
        let (_, session) = client.receive_from().unwrap();
        (client, session)
    });
    let (client, session) = receiving.await.unwrap();
    // The answer was lost, the client waited for a second, and then both sides repeat themselves at once.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.send_to(&Packet::Ack(0), session);
    client.send_first(&request);
    let fetching = tokio::task::spawn_blocking(move || client.carry_on(session));
    assert!(fetching.await.unwrap().unwrap().data == data);
    assert_eq!(server.stop().await.outcomes(), [Outcome::Complete]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_from_the_same_port_replaces_the_session() {
    let mut files = Files::with("one", noise(2000));
    files.memory("two", noise(10));
    let server = Running::start(files, Settings::default());
    let client = server.client();
    client.send_first(&Packet::Read(ReadRequest::octet("one")));
    let (_, first) = client.receive_from().unwrap();
    client.send_first(&Packet::Read(ReadRequest::octet("two")));
    let (packet, second) = client.receive_from().unwrap();
    assert_eq!(packet, Packet::Data { block: 1, data: noise(10).into() });
    assert_ne!(first, second);
    assert_eq!(server.log().wait_for_end().await, Outcome::Replaced);
    client.send_to(&Packet::Ack(1), second);
    let outcomes = server.stop().await.outcomes();
    assert_eq!(outcomes, [Outcome::Replaced, Outcome::Complete]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_probe_ends_without_failure_and_reads_nothing() {
    let mut files = Files::default();
    files.unreadable("file", 123_456);
    let server = Running::start(files, Settings::default());
    let client = server.client();
    client.send_first(&Packet::Read(ReadRequest::octet("file").with("tsize", 0)));
    let (packet, session) = client.receive_from().unwrap();
    let Packet::Oack(options) = packet else { panic!("{packet:?}") };
    assert_eq!(options[0].value, "123456");
    client.send_to(&Packet::error(ErrorCode::OPTION_REFUSED, "User aborted the transfer"), session);
    assert_eq!(server.log().wait_for_end().await, Outcome::Probed);
}

// In one thread with the server, so that both packets wait together before it looks.
#[tokio::test]
async fn what_comes_together_with_an_acknowledgement_is_not_overlooked() {
    let server = Running::start(Files::with("file", noise(20_000)), Settings::default());
    let client = server.client();
    client.send_first(&Packet::Read(ReadRequest::octet("file")));
    let receiving = tokio::task::spawn_blocking(move || {
        let (_, session) = client.receive_from().unwrap();
        (client, session)
    });
    let (client, session) = receiving.await.unwrap();
    client.send_to(&Packet::Ack(1), session);
    client.send_to(&Packet::error(ErrorCode::UNDEFINED, "enough"), session);
    let outcome = server.log().wait_for_end().await;
    assert_eq!(outcome, Outcome::Refused { code: ErrorCode::UNDEFINED, message: "enough".to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_ends_its_own_transfer_only() {
    let mut files = Files::with("good", noise(5000));
    files.unreadable("bad", 123_456);
    let server = Running::start(files, Settings::default());
    let other = server.client();
    other.send_first(&Packet::Read(ReadRequest::octet("good")));
    let (_, session) = other.receive_from().unwrap();
    let error = server.client().fetch(&ReadRequest::octet("bad")).unwrap_err();
    assert_eq!(error.0, ErrorCode::UNDEFINED);
    other.send_to(&Packet::Ack(1), session);
    assert!(matches!(other.receive(), Some(Packet::Data { block: 2, .. })));
    assert!(matches!(server.log().wait_for_end().await, Outcome::ReadFailed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_bounded_per_host_and_those_that_fell_silent_make_room() {
    let server = Running::start(Files::with("file", noise(2000)), Settings::default());
    let ask = || {
        let client = server.client();
        client.send_first(&Packet::Read(ReadRequest::octet("file")));
        client
    };
    let (first, second) = (ask(), ask());
    assert!(first.receive().is_some() && second.receive().is_some());
    let begun = Instant::now();
    let third = ask();
    assert_eq!(third.receive_within(Duration::from_millis(300)), None, "refused in silence");
    assert_eq!(server.log().refusals(), [Refusal::HostSessionsFull]);
    // A client repeats its request until there is room, which a silent session makes after a second.
    let got = third.fetch(&ReadRequest::octet("file")).unwrap();
    assert_eq!(got.data.len(), 2000);
    assert!(begun.elapsed() > Duration::from_millis(700));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_bounded_in_all() {
    let settings = Settings { max_sessions: 3, max_sessions_per_host: 9, ..Settings::default() };
    let server = Running::start(Files::with("file", noise(2000)), settings);
    let clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for client in &clients {
        client.send_first(&Packet::Read(ReadRequest::octet("file")));
    }
    let answered = clients.iter().filter(|client| client.receive_within(Duration::from_millis(300)).is_some());
    assert_eq!(answered.count(), 3);
    assert_eq!(server.log().refusals(), [Refusal::SessionsFull]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_answers_costs_six_packets_at_most() {
    let limits = Limits { first_timeout: Duration::from_millis(5), ..Limits::default() };
    let server = Running::start(Files::with("file", noise(200_000)), Settings { limits, ..Settings::default() });
    let client = server.client();
    client.send_first(&Packet::Read(ReadRequest::octet("file").with("windowsize", 64).with("blksize", 1428)));
    assert_eq!(server.log().wait_for_end().await, Outcome::TimedOut);
    let mut packets = 0;
    while let Some(packet) = client.receive_within(Duration::from_millis(50)) {
        assert!(matches!(packet, Packet::Oack(_)));
        packets += 1;
    }
    assert_eq!(packets, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_packets_are_repaired_at_every_window() {
    let data = noise(300_000);
    let server = Running::start(Files::with("file", data.clone()), Settings::default());
    for window in [1, 4, 16, 64] {
        let client = server.client().losing(5);
        let got = client.fetch(&ReadRequest::octet("file").with("windowsize", window)).unwrap();
        assert!(got.data == data, "window {window}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_a_running_transfer_finish() {
    let data = noise(3_000_000);
    let server = Running::start(Files::with("file", data.clone()), Settings::default());
    let client = server.client();
    client.send_first(&Packet::Read(ReadRequest::octet("file").with("tsize", 0)));
    let (_, session) = client.receive_from().unwrap();
    let fetching = tokio::task::spawn_blocking(move || client.carry_on(session));
    let log = server.stop().await;
    assert!(fetching.await.unwrap().unwrap().data == data);
    assert_eq!(log.outcomes(), [Outcome::Complete]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_what_outlasts_the_grace_and_tells_the_client() {
    let settings = Settings { stop_grace: Duration::from_millis(50), ..Settings::default() };
    let server = Running::start(Files::with("file", noise(2000)), settings);
    let client = server.client();
    client.send_first(&Packet::Read(ReadRequest::octet("file")));
    assert!(matches!(client.receive(), Some(Packet::Data { .. })));
    assert_eq!(server.stop().await.outcomes(), [Outcome::Stopped]);
    assert!(matches!(client.receive(), Some(Packet::Error { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_panics_costs_its_own_request_only() {
    let settings = Settings { max_sessions_per_host: 64, ..Settings::default() };
    let server = Running::start(Files::with("file", noise(10)), settings);
    for _ in 0..5 {
        server.client().send_first(&Packet::Read(ReadRequest::octet("panic")));
    }
    let client = server.client();
    assert_eq!(client.fetch(&ReadRequest::octet("file")).unwrap().data.len(), 10);
}
