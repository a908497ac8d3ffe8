//! Questions as machines ask them, as nobody should, and as bytes fall; servers that are right, wrong, slow and silent.

use super::{
    cache::Cache,
    question::{Book, Decision, decide},
    uplink::{Uplink, ask},
    wire::{self, Asked, LONGEST},
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata},
};
use proptest::prelude::*;
use rackberry_core::text::HostName;
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);

/// node-1 is at [`NODE`], node-2 is nowhere now.
struct Rack(Vec<Name>);

impl Book for Rack {
    fn address_of(&self, name: &HostName) -> Option<Option<Ipv4Addr>> {
        match name.as_str() {
            "node-1" => Some(Some(NODE)),
            "node-2" => Some(None),
            _ => None,
        }
    }

    fn name_of(&self, address: Ipv4Addr) -> Option<HostName> {
        (address == NODE).then(|| HostName::new("node-1").unwrap())
    }

    fn domains(&self) -> &[Name] {
        &self.0
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn rack() -> Rack {
    Rack(vec![name("rack.example."), name("far.example.")])
}

fn question(text: &str, wanted: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), wanted));
    message
}

fn asked(text: &str, wanted: RecordType) -> Asked {
    Asked::new(question(text, wanted)).unwrap()
}

/// What is answered; None if somebody else is asked.
fn told(message: &Message, uplink: bool) -> Option<Message> {
    match decide(&message.to_vec().unwrap(), &rack(), uplink) {
        Decision::Answer(answer) => {
            assert_eq!((answer.metadata.id, answer.metadata.message_type), (0x1234, MessageType::Response));
            assert_eq!(answer.metadata.recursion_desired, message.metadata.recursion_desired);
            Some(*answer)
        }
        Decision::Forward(_) => None,
        Decision::Silence => panic!("silence"),
    }
}

#[test]
fn hosts_are_found_by_bare_and_full_names_and_backwards() {
    for (text, wanted, data) in [
        ("node-1.", RecordType::A, RData::A(rdata::A(NODE))),
        ("NODE-1.", RecordType::A, RData::A(rdata::A(NODE))),
        ("node-1.rack.example.", RecordType::A, RData::A(rdata::A(NODE))),
        ("Node-1.far.Example.", RecordType::A, RData::A(rdata::A(NODE))),
        ("20.0.77.10.in-addr.arpa.", RecordType::PTR, RData::PTR(rdata::PTR(name("node-1.rack.example.")))),
    ] {
        for uplink in [false, true] {
            let answer = told(&question(text, wanted), uplink).unwrap();
            let [record] = answer.answers.as_slice() else { panic!("{text}: {answer:?}") };
            assert_eq!((&record.data, &record.name), (&data, &name(text)), "{text}");
            assert!(answer.metadata.authoritative && record.ttl <= 60, "{answer:?}");
        }
    }
}

#[test]
fn what_is_not_there_is_said_rightly_with_and_without_somebody_to_ask() {
    use ResponseCode::{NXDomain, NoError, ServFail};
    let (here, away) = (Some, None);
    for (text, wanted, alone, with_uplink) in [
        // The host is there, but has no such record.
        ("node-1.", RecordType::AAAA, NoError, here(NoError)),
        ("node-1.rack.example.", RecordType::MX, NoError, here(NoError)),
        ("node-2.", RecordType::A, NoError, here(NoError)),
        ("20.0.77.10.in-addr.arpa.", RecordType::A, NoError, here(NoError)),
        // A bare name is nobody else's.
        ("node-3.", RecordType::A, NXDomain, here(NXDomain)),
        ("node-3.", RecordType::AAAA, NXDomain, here(NXDomain)),
        ("box.local.", RecordType::A, NXDomain, here(NXDomain)),
        ("localhost.", RecordType::A, NXDomain, here(NXDomain)),
        ("x.invalid.", RecordType::A, NXDomain, here(NXDomain)),
        // Others may know more of this place.
        ("node-3.rack.example.", RecordType::A, NXDomain, away),
        ("rack.example.", RecordType::SOA, NXDomain, away),
        ("a.node-1.rack.example.", RecordType::A, NXDomain, away),
        ("21.0.77.10.in-addr.arpa.", RecordType::PTR, NXDomain, away),
        // The world.
        ("mirror.example.org.", RecordType::A, ServFail, away),
        ("1.1.1.1.in-addr.arpa.", RecordType::PTR, ServFail, away),
        ("1.77.10.in-addr.arpa.", RecordType::PTR, ServFail, away),
        ("300.0.77.10.in-addr.arpa.", RecordType::PTR, ServFail, away),
        ("org.", RecordType::DS, ServFail, away),
        (".", RecordType::NS, ServFail, away),
    ] {
        let message = question(text, wanted);
        let code = |uplink| told(&message, uplink).map(|answer| answer.metadata.response_code);
        assert_eq!((code(false), code(true)), (Some(alone), with_uplink), "{text} {wanted}");
    }
}

#[test]
fn what_is_no_question_for_this_server_is_refused_by_its_kind() {
    let code = |change: fn(&mut Message)| {
        let mut message = question("mirror.example.org.", RecordType::A);
        change(&mut message);
        told(&message, true).map(|answer| answer.metadata.response_code)
    };
    assert_eq!(code(|m| m.metadata.op_code = OpCode::Update), Some(ResponseCode::NotImp));
    assert_eq!(code(|m| m.queries.clear()), Some(ResponseCode::FormErr));
    assert_eq!(code(|m| m.queries[0].query_class = DNSClass::CH), Some(ResponseCode::Refused));
    assert_eq!(code(|m| m.queries[0].query_type = RecordType::AXFR), Some(ResponseCode::Refused));
    assert_eq!(code(|m| m.metadata.recursion_desired = false), Some(ResponseCode::Refused));
    let strange = code(|m| {
        let mut edns = Edns::new();
        edns.set_version(1);
        m.set_edns(edns);
    });
    assert_eq!(strange, Some(ResponseCode::BADVERS));
    let mut reply = question("node-1.", RecordType::A);
    reply.metadata.message_type = MessageType::Response;
    assert!(
        matches!(decide(&reply.to_vec().unwrap(), &rack(), true), Decision::Silence),
        "servers that answer each other"
    );
    let cut = question("node-1.", RecordType::A).to_vec().unwrap();
    assert!(matches!(decide(&cut[..11], &rack(), true), Decision::Silence));
    let Decision::Answer(answer) = decide(&cut[..20], &rack(), true) else { panic!() };
    assert_eq!((answer.metadata.id, answer.metadata.response_code), (0x1234, ResponseCode::FormErr));
}

#[test]
fn an_answer_that_is_too_long_for_udp_says_so() {
    let asked = asked("long.example.", RecordType::A);
    let mut found = asked.question(1);
    found.metadata.message_type = MessageType::Response;
    for last in 0..200 {
        let data = RData::A(rdata::A(Ipv4Addr::new(192, 0, 2, last)));
        found.add_answer(Record::from_rdata(name("long.example."), 300, data));
    }
    let answer = asked.answer(Some(found));
    let short = wire::bytes(&answer, asked.limit()).unwrap();
    let read = Message::from_vec(&short).unwrap();
    assert!(short.len() <= 512 && read.metadata.truncation, "{} bytes", short.len());
    let whole = Message::from_vec(&wire::bytes(&answer, u16::MAX).unwrap()).unwrap();
    assert!(!whole.metadata.truncation && whole.answers.len() == 200);
}

#[test]
fn an_answer_is_kept_as_long_as_it_may_be_and_no_longer() {
    let (mut cache, start) = (Cache::default(), Instant::now());
    let asked = asked("www.example.", RecordType::A);
    let mut found = asked.question(1);
    found.add_answer(Record::from_rdata(name("www.example."), 100, RData::A(rdata::A(NODE))));
    cache.put(&asked, &found, 60, start);
    let other = self::asked("WWW.example.", RecordType::A);
    let kept = cache.get(&other, start + Duration::from_secs(40)).unwrap();
    assert_eq!(kept.answers[0].ttl, 60);
    assert!(cache.get(&asked, start + Duration::from_secs(100)).is_none());
    assert!(cache.get(&self::asked("www.example.", RecordType::AAAA), start).is_none());
    let unkept = |change: fn(&mut Message), length| {
        let (mut cache, mut found) = (Cache::default(), found.clone());
        change(&mut found);
        cache.put(&asked, &found, length, start);
        cache.get(&asked, start).is_none()
    };
    assert!(unkept(|m| m.answers[0].ttl = 0, 60));
    assert!(unkept(|m| m.metadata.response_code = ResponseCode::ServFail, 60));
    assert!(
        unkept(|m| m.answers.clear(), 60),
        "that there is nothing holds as long as the zone says, and it says nothing"
    );
    assert!(unkept(|_| {}, 5000));
    for number in 0..5000 {
        let asked = self::asked(&format!("n{number}.example."), RecordType::A);
        cache.put(&asked, &found, 60, start);
        assert!(cache.get(&asked, start).is_some());
    }
    assert!(format!("{cache:?}").matches("Kept").count() <= 1024, "its size is bounded");
}

/// A name server on loopback, over UDP and TCP; `answers` makes the datagrams. Ends with the test's process.
fn server(answers: impl Fn(&Message) -> Vec<Vec<u8>> + Send + 'static, by_tcp: Option<Message>) -> SocketAddrV4 {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let SocketAddr::V4(address) = udp.local_addr().unwrap() else { panic!() };
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            for answer in answers(&Message::from_vec(&buffer[..length]).unwrap()) {
                udp.send_to(&answer, from).unwrap();
            }
        }
    });
    if let Some(mut answer) = by_tcp {
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let (mut stream, mut length) = (stream.unwrap(), [0; 2]);
                stream.read_exact(&mut length).unwrap();
                let mut question = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut question).unwrap();
                answer.metadata.id = Message::from_vec(&question).unwrap().metadata.id;
                let bytes = answer.to_vec().unwrap();
                stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&bytes).unwrap();
            }
        });
    }
    address
}

fn reply(question: &Message, last: u8) -> Message {
    let mut answer = question.clone();
    answer.metadata.message_type = MessageType::Response;
    let data = RData::A(rdata::A(Ipv4Addr::new(192, 0, 2, last)));
    answer.add_answer(Record::from_rdata(question.queries[0].name.clone(), 300, data));
    answer
}

async fn found(servers: &[SocketAddrV4]) -> Option<RData> {
    let (answer, _) = ask(servers, &asked("www.example.", RecordType::A)).await?;
    Some(answer.answers[0].data.clone())
}

fn last(number: u8) -> Option<RData> {
    Some(RData::A(rdata::A(Ipv4Addr::new(192, 0, 2, number))))
}

#[tokio::test]
async fn who_answers_is_heard_whoever_else_is_silent_dead_or_does_not_know() {
    let good = || server(|question| vec![reply(question, 7).to_vec().unwrap()], None);
    let silent = server(|_| Vec::new(), None);
    let gone: SocketAddrV4 = {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().to_string().parse().unwrap()
    };
    let unable = server(
        |question| {
            let mut answer = reply(question, 9);
            answer.metadata.response_code = ResponseCode::ServFail;
            vec![answer.to_vec().unwrap()]
        },
        None,
    );
    for servers in [vec![good()], vec![silent, good()], vec![gone, good()], vec![unable, gone, silent, good()]] {
        assert_eq!(found(&servers).await, last(7), "{servers:?}");
    }
    assert_eq!(found(&[gone, unable]).await, None);
    assert_eq!(found(&[]).await, None);
}

#[tokio::test]
async fn a_forged_answer_that_comes_first_is_passed_over() {
    let good = server(
        |question| {
            let mut forged = reply(question, 66);
            forged.metadata.id ^= 1;
            let mut of_other = reply(question, 66);
            of_other.queries[0].name = name("other.example.");
            let mut question_again = reply(question, 66);
            question_again.metadata.message_type = MessageType::Query;
            let right = reply(question, 7);
            [forged, of_other, question_again]
                .iter()
                .map(|m| m.to_vec().unwrap())
                .chain([vec![7; 30], right.to_vec().unwrap()])
                .collect()
        },
        None,
    );
    assert_eq!(found(&[good]).await, last(7));
}

#[tokio::test]
async fn what_is_cut_is_asked_again_by_tcp() {
    let whole = reply(&question("www.example.", RecordType::A), 7);
    let cut = |question: &Message| {
        let mut answer = reply(question, 1);
        answer.metadata.truncation = true;
        vec![answer.to_vec().unwrap()]
    };
    assert_eq!(found(&[server(cut, Some(whole))]).await, last(7));
}

#[tokio::test]
async fn others_are_those_of_the_settings_and_of_the_file_and_never_the_box_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lease");
    let set = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5353);
    let uplink = Uplink { servers: vec![set], file: Some(file.clone()), own: NODE };
    assert_eq!(uplink.servers().await, [set], "no file is no harm");
    let text = format!(
        "dns=192.0.2.2\nntp=192.0.2.9\nnameserver 192.0.2.3\ndns={NODE}\nnameserver 127.0.0.53\nnameserver ::1\ndns=192.0.2.2\n"
    );
    std::fs::write(&file, text).unwrap();
    let far = |last| SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, last), 53);
    assert_eq!(uplink.servers().await, [set, far(2), far(3)]);
}

/// A packet that was right once.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let names =
        prop_oneof![Just("node-1."), Just("node-1.rack.example."), Just("20.0.77.10.in-addr.arpa."), Just("a.b.c.d.")];
    (names, any::<u16>(), any::<bool>(), any::<bool>()).prop_map(|(text, wanted, edns, answered)| {
        let mut message = question(text, RecordType::from(wanted));
        if answered {
            message = reply(&message, 1);
        }
        if edns {
            message.set_edns(Edns::new());
        }
        message.to_vec().unwrap()
    })
}

/// Whatever is said about a packet can be sent, fits, and answers the question that was asked.
fn holds(bytes: &[u8]) {
    for uplink in [false, true] {
        let message = match decide(bytes, &rack(), uplink) {
            Decision::Silence => continue,
            Decision::Answer(message) => *message,
            Decision::Forward(asked) => {
                assert!(uplink);
                // What comes back may be as wild.
                let answer = Message::from_vec(bytes).ok();
                Cache::default().put(&asked, &asked.answer(answer.clone()), bytes.len(), Instant::now());
                asked.answer(answer)
            }
        };
        for limit in [512, LONGEST, u16::MAX] {
            let Some(sent) = wire::bytes(&message, limit) else { continue };
            assert!(sent.len() <= limit.into());
            assert_eq!((&sent[..2], sent[2] >> 7), (&bytes[..2], 1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        holds(&bytes);
    }

    #[test]
    fn no_packet_that_was_changed_breaks_it(
        mut bytes in packet(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        for (place, byte) in changes {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        holds(&bytes);
    }
}
