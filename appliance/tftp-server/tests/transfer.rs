//! What a transfer decides, packet by packet, with virtual time and no socket.

use proptest::prelude::*;
use std::borrow::Cow;
use std::time::Duration;
use tftp_server::transfer::Blocks;
use tftp_server::{ErrorCode, Limits, Mode, Outcome, Packet, ReadRequest, RollOver, Step, Transfer};

const MS: Duration = Duration::from_millis(1);

#[test]
fn without_options_one_block_of_512_bytes_goes_out_at_a_time() {
    let (mut transfer, step) = start(&ReadRequest::octet("x"), 1000);
    assert_eq!(step, send(1, 1));
    assert_eq!(transfer.block(1).len, 512);
    assert_eq!(transfer.on_packet(&Packet::Ack(1), MS), send(2, 1));
    assert_eq!(transfer.block(2).len, 488);
    assert_eq!(transfer.on_packet(&Packet::Ack(2), 2 * MS), Step::End(Outcome::Complete));
    assert_eq!(transfer.acked_bytes(), 1000);
}

#[test]
fn a_length_that_is_a_multiple_of_blksize_ends_with_an_empty_block() {
    for (len, last) in [(0, 1), (512, 2), (1024, 3)] {
        let (mut transfer, _) = start(&ReadRequest::octet("x"), len);
        for block in 1..last {
            assert_eq!(transfer.on_packet(&Packet::Ack(block), MS), send(block as u64 + 1, 1));
        }
        assert_eq!(transfer.block(last.into()).len, 0);
        assert_eq!(transfer.on_packet(&Packet::Ack(last), MS), Step::End(Outcome::Complete));
    }
}

#[test]
fn no_data_leaves_before_the_oack_is_acknowledged() {
    let (mut transfer, step) = start(&windowed(16), 1 << 20);
    let Step::SendOack(options) = step else { panic!("no OACK") };
    assert_eq!(options[0].name, "windowsize");
    assert_eq!(transfer.on_packet(&Packet::Ack(1), MS), Step::Wait);
    assert_eq!(transfer.on_packet(&Packet::Ack(0), MS), send(1, 16));
}

#[test]
fn a_client_that_never_answers_gets_one_packet_and_five_repeats_within_thirty_seconds() {
    for request in [ReadRequest::octet("x"), windowed(64), windowed(64).with("blksize", 1428).with("timeout", 255)] {
        let (mut transfer, first) = start(&request, 1 << 20);
        let mut repeats = 0;
        let end = loop {
            match transfer.on_timeout(transfer.deadline()) {
                Step::End(outcome) => break outcome,
                step => assert_eq!(step, first),
            }
            repeats += 1;
        };
        assert_eq!((repeats, end), (5, Outcome::TimedOut));
        assert!(transfer.deadline() < 30_000 * MS);
    }
}

#[test]
fn repeated_requests_count_among_the_repeats() {
    let (mut transfer, first) = start(&windowed(4), 5000);
    for _ in 0..5 {
        assert_eq!(transfer.on_repeated_request(MS), first);
    }
    assert_eq!(transfer.on_repeated_request(MS), Step::Wait);
    assert_eq!(transfer.on_timeout(transfer.deadline()), Step::End(Outcome::TimedOut));
}

#[test]
fn a_repeated_request_after_the_first_answer_means_nothing() {
    let (mut transfer, _) = start(&windowed(4), 5000);
    transfer.on_packet(&Packet::Ack(0), MS);
    assert_eq!(transfer.on_repeated_request(2 * MS), Step::Wait);
}

#[test]
fn a_duplicate_ack_of_a_single_block_never_sends_anything() {
    let (mut transfer, _) = start(&ReadRequest::octet("x"), 10_000);
    transfer.on_packet(&Packet::Ack(1), MS);
    for later in [1, 2, 500] {
        assert_eq!(transfer.on_packet(&Packet::Ack(1), later * MS), Step::Wait);
        assert_eq!(transfer.on_packet(&Packet::Ack(0), later * MS), Step::Wait);
    }
}

#[test]
fn a_gap_sends_everything_after_the_acknowledged_block_again() {
    let (mut transfer, _) = start(&windowed(8), 1 << 20);
    transfer.on_packet(&Packet::Ack(0), MS);
    assert_eq!(transfer.on_packet(&Packet::Ack(3), 2 * MS), send(4, 8));
}

#[test]
fn a_lost_first_block_of_a_window_is_told_by_a_duplicate_and_believed_once() {
    let (mut transfer, _) = start(&windowed(8), 1 << 20);
    transfer.on_packet(&Packet::Ack(0), MS);
    transfer.on_packet(&Packet::Ack(8), 3 * MS);
    assert_eq!(transfer.on_packet(&Packet::Ack(8), 3 * MS), Step::Wait, "sooner than an answer can come");
    assert_eq!(transfer.on_packet(&Packet::Ack(8), 5 * MS), send(9, 8));
    assert_eq!(transfer.on_packet(&Packet::Ack(8), 8 * MS), Step::Wait, "believed once");
    transfer.on_packet(&Packet::Ack(16), 9 * MS);
    assert_eq!(transfer.on_packet(&Packet::Ack(16), 14 * MS), Step::Wait, "its own second copy may be the cause");
}

#[test]
fn gap_reports_of_the_first_copy_do_not_send_a_repeated_window_once_more() {
    let (mut transfer, _) = start(&windowed(8), 1 << 20);
    transfer.on_packet(&Packet::Ack(0), 10 * MS);
    transfer.on_packet(&Packet::Ack(8), 20 * MS);
    assert_eq!(transfer.on_packet(&Packet::Ack(10), 30 * MS), send(11, 8));
    assert_eq!(transfer.on_packet(&Packet::Ack(12), 31 * MS), send(19, 2));
}

#[test]
fn repeats_follow_the_measured_round_trip_and_double() {
    let (mut transfer, _) = start(&ReadRequest::octet("x"), 1 << 20);
    let mut now = Duration::ZERO;
    for block in 1..=20 {
        now += 10 * MS;
        transfer.on_packet(&Packet::Ack(block), now);
    }
    let mut waits = Vec::new();
    for _ in 0..4 {
        waits.push((transfer.deadline() - now).as_millis());
        assert_eq!(transfer.on_timeout(transfer.deadline() - MS), Step::Wait);
        now = transfer.deadline();
        assert_eq!(transfer.on_timeout(now), send(21, 1));
    }
    // A client heard within two seconds is not left waiting for longer than 200 ms.
    assert_eq!(waits, [30, 60, 120, 200]);
}

#[test]
fn a_window_repeated_in_vain_is_followed_by_a_silence_in_which_the_client_may_speak() {
    let (mut transfer, _) = start(&windowed(8), 1 << 20);
    transfer.on_packet(&Packet::Ack(0), 10 * MS);
    let (mut now, mut waits) = (10 * MS, Vec::new());
    while now < 15_000 * MS {
        waits.push(transfer.deadline() - now);
        now = transfer.deadline();
        assert_eq!(transfer.on_timeout(now), send(1, 8));
    }
    let silent = waits.iter().position(|wait| *wait >= 6000 * MS).unwrap();
    assert!(waits[..silent].iter().sum::<Duration>() < 3000 * MS, "{waits:?}");
    assert!(waits[silent..].iter().all(|wait| *wait >= 6000 * MS), "{waits:?}");
    assert_eq!(transfer.on_packet(&Packet::Ack(8), now + MS), send(9, 8));
}

#[test]
fn the_round_trip_of_a_repeated_block_is_not_measured() {
    let (mut transfer, _) = start(&ReadRequest::octet("x"), 1 << 20);
    transfer.on_packet(&Packet::Ack(1), 100 * MS);
    let late = transfer.deadline();
    transfer.on_timeout(late);
    // Answered 1 ms after the repeat: taken for a round trip, it would shorten the wait far below 300 ms.
    transfer.on_packet(&Packet::Ack(2), late + MS);
    assert!(transfer.deadline() - (late + MS) >= 300 * MS);
}

#[test]
fn a_client_that_took_data_is_waited_for_twenty_seconds() {
    let (mut transfer, _) = start(&ReadRequest::octet("x"), 1 << 20);
    transfer.on_packet(&Packet::Ack(1), MS);
    loop {
        let now = transfer.deadline();
        if let Step::End(outcome) = transfer.on_timeout(now) {
            assert_eq!(outcome, Outcome::TimedOut);
            assert!(now > 20_000 * MS && now < 30_000 * MS, "{now:?}");
            break;
        }
    }
}

#[test]
fn when_only_the_last_ack_is_missing_the_transfer_is_no_failure() {
    let (mut transfer, _) = start(&ReadRequest::octet("x"), 600);
    transfer.on_packet(&Packet::Ack(1), MS);
    assert!(transfer.lingers());
    let outcome = loop {
        match transfer.on_timeout(transfer.deadline()) {
            Step::End(outcome) => break outcome,
            step => assert_eq!(step, send(2, 1)),
        }
    };
    assert_eq!(outcome, Outcome::Unconfirmed);
    assert!(outcome.is_normal());
}

#[test]
fn a_size_probe_is_no_failure() {
    for code in [ErrorCode::UNDEFINED, ErrorCode::OPTION_REFUSED] {
        let (mut transfer, _) = start(&ReadRequest::octet("x").with("tsize", 0), 600);
        let step = transfer.on_packet(&Packet::error(code, "User aborted"), MS);
        assert_eq!(step, Step::End(Outcome::Probed));
    }
}

#[test]
fn an_error_after_data_or_of_another_kind_is_the_clients_refusal() {
    let (mut transfer, _) = start(&ReadRequest::octet("x"), 6000);
    transfer.on_packet(&Packet::Ack(1), MS);
    let step = transfer.on_packet(&Packet::error(ErrorCode::UNDEFINED, "closed"), MS);
    assert_eq!(step, Step::End(Outcome::Refused { code: ErrorCode::UNDEFINED, message: "closed".into() }));
    let (mut transfer, _) = start(&ReadRequest::octet("x"), 6000);
    let step = transfer.on_packet(&Packet::error(ErrorCode(3), "disk full"), MS);
    let Step::End(outcome) = step else { panic!("goes on") };
    assert!(!outcome.is_normal());
}

#[test]
fn netascii_agrees_no_size() {
    let mut request = ReadRequest::octet("x").with("tsize", 0);
    request.mode = Mode::Netascii;
    assert_eq!(start(&request, 10).1, send(1, 1));
}

#[test]
fn block_numbers_roll_over_as_the_limits_say() {
    for (roll_over, after) in [(RollOver::ToZero, [65535, 0, 1]), (RollOver::ToOne, [65535, 1, 2])] {
        let limits = Limits { roll_over, ..Limits::default() };
        let (transfer, _) = Transfer::start(&ReadRequest::octet("x"), 512 * 200_000, &limits, Duration::ZERO);
        assert_eq!([65535, 65536, 65537].map(|block| transfer.block(block).wire), after);
    }
    let limits = Limits { roll_over: RollOver::ToOne, ..Limits::default() };
    let (transfer, _) = Transfer::start(&ReadRequest::octet("x"), 512 * 200_000, &limits, Duration::ZERO);
    assert_eq!(transfer.block(131_071).wire, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_packets_panics_or_sends_beyond_the_window(
        inputs in prop::collection::vec((0u8..6, any::<u16>(), 0u32..3000), 0..200),
        len in 0u64..100_000, window in 1u16..=64,
    ) {
        let request = windowed(window);
        let (mut transfer, _) = start(&request, len);
        let mut now = Duration::ZERO;
        for (kind, number, wait) in inputs {
            now += wait * MS;
            let step = match kind {
                0 => transfer.on_packet(&Packet::Ack(number), now),
                1 | 2 => transfer.on_packet(&Packet::Ack(number % 80), now),
                3 => transfer.on_packet(&Packet::Data { block: number, data: Cow::Borrowed(b"x") }, now),
                4 => transfer.on_repeated_request(now),
                _ => transfer.on_timeout(now),
            };
            if let Step::SendBlocks(Blocks { first, count }) = step {
                prop_assert!(count >= 1 && count <= window.into());
                let acked = transfer.acked_bytes() / 512;
                prop_assert!(first > acked && first + count - 1 <= acked + u64::from(window));
                prop_assert!(first + count - 1 <= len / 512 + 1);
            }
        }
    }
}

fn start(request: &ReadRequest, len: u64) -> (Transfer, Step) {
    Transfer::start(request, len, &Limits::default(), Duration::ZERO)
}

fn windowed(window: u16) -> ReadRequest {
    ReadRequest::octet("x").with("windowsize", window)
}

fn send(first: u64, count: u64) -> Step {
    Step::SendBlocks(Blocks { first, count })
}
