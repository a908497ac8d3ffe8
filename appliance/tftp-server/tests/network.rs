//! Transfers over a simulated network that loses, doubles and delays, with virtual time and no socket.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use tftp_server::transfer::Blocks;
use tftp_server::{Limits, Outcome, Packet, ReadRequest, RollOver, Step, Transfer};

const MS: Duration = Duration::from_millis(1);

#[test]
fn seventy_thousand_and_more_blocks_arrive_whole_with_either_roll_over() {
    for roll_over in [RollOver::ToZero, RollOver::ToOne] {
        for window in [1, 16] {
            let network = Network { loss: 1, duplicate: 1, jitter: 1, copies_late: 0, seed: 7 };
            let case = Case { len: 140_000 * 8, blksize: 8, window, roll_over };
            let run = simulate(&case, network);
            assert_eq!(run.outcome, Outcome::Complete);
            assert!(run.received == content(case.len), "{roll_over:?} window {window}");
        }
    }
}

#[test]
fn late_copies_do_not_double_the_rest_of_the_file() {
    for window in [1, 4, 16] {
        let case = Case { len: 512 * 4000, blksize: 512, window, roll_over: RollOver::ToZero };
        let run = simulate(&case, Network { loss: 0, duplicate: 1, jitter: 0, copies_late: 3, seed: 3 });
        let blocks = case.len / 512 + 1;
        assert!(run.data_packets < blocks * 5 / 4, "window {window}: {} packets for {blocks}", run.data_packets);
    }
}

#[test]
fn loss_slows_a_transfer_but_does_not_stall_it() {
    for (loss, jitter, window, most) in [
        (1, 0, 1, 3),
        (1, 0, 16, 1),
        (1, 0, 64, 1),
        (10, 0, 1, 10),
        (10, 0, 16, 10),
        (10, 0, 64, 10),
        (10, 1, 16, 25),
        (20, 1, 4, 120),
    ] {
        let case = Case { len: 1428 * 2000, blksize: 1428, window, roll_over: RollOver::ToZero };
        let run = simulate(&case, Network { loss, duplicate: 1, jitter, copies_late: 0, seed: 11 });
        println!("loss {loss} window {window}: {:?}, {} packets", run.took, run.data_packets);
        assert!(run.finished && run.took < most * 1000 * MS, "{loss} % loss, window {window}: {:?}", run.took);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lossy_network_delivers_exactly_the_bytes(
        len in prop_oneof![
            prop::sample::select(vec![0u64, 1, 511, 512, 513, 1023, 1024, 1428 * 16, 65_464]),
            0u64..200_000
        ],
        blksize in prop::sample::select(vec![8u16, 512, 1024, 1428, 1468, 65464]),
        window in prop::sample::select(vec![1u16, 2, 4, 16, 64]),
        loss in 0u32..=20, duplicate in 0u32..=20, jitter in 0u32..=6, seed: u64,
    ) {
        let len = len.min(u64::from(blksize) * 3000);
        let case = Case { len, blksize, window, roll_over: RollOver::ToZero };
        let run = simulate(&case, Network { loss, duplicate, jitter, copies_late: 0, seed });
        prop_assert!(run.finished, "the client never got the file: {:?}", run.outcome);
        prop_assert!(run.received == content(len));
        prop_assert!(matches!(run.outcome, Outcome::Complete | Outcome::Unconfirmed), "{:?}", run.outcome);
    }
}

fn content(len: u64) -> Vec<u8> {
    (0..len).map(byte_at).collect()
}

fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(2_654_435_761) >> 13) as u8
}

struct Case {
    len: u64,
    blksize: u16,
    window: u16,
    roll_over: RollOver,
}

/// Percent lost and duplicated; milliseconds of extra delay at most for each packet, and in addition for second copies.
struct Network {
    loss: u32,
    duplicate: u32,
    jitter: u32,
    copies_late: u32,
    seed: u64,
}

impl Network {
    fn random(&mut self, below: u32) -> u32 {
        // xorshift64*: the same cases on every run.
        self.seed = self.seed.max(1);
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        ((self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as u32) % below
    }

    /// The delays of the copies that arrive.
    fn fates(&mut self) -> Vec<Duration> {
        let mut copies = Vec::new();
        if self.random(100) >= self.loss {
            copies.push(self.delay());
        }
        if self.random(100) < self.duplicate {
            let late = MS * self.random(self.copies_late + 1);
            copies.push(self.delay() + late);
        }
        copies
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(200) + MS * self.random(self.jitter + 1)
    }
}

struct Run {
    outcome: Outcome,
    received: Vec<u8>,
    finished: bool,
    data_packets: u64,
    took: Duration,
}

/// A client by RFC 7440: acknowledges a full window, the end, and what is out of order (in a window once each); repeats itself each second.
struct Client {
    case: Case,
    received: Vec<u8>,
    blocks: u64,
    in_window: u16,
    gap_told: bool,
    finished: bool,
    wakes_at: Duration,
    last: Packet<'static>,
}

impl Client {
    fn wire(&self, number: u64) -> u16 {
        match self.case.roll_over {
            RollOver::ToZero => number as u16,
            RollOver::ToOne if number == 0 => 0,
            RollOver::ToOne => ((number - 1) % 65535 + 1) as u16,
        }
    }

    fn on_packet(&mut self, packet: &Packet<'_>, now: Duration) -> Option<Packet<'static>> {
        match packet {
            Packet::Oack(_) if self.blocks == 0 => self.ack(now),
            Packet::Data { block, data } if *block == self.wire(self.blocks + 1) && !self.finished => {
                self.received.extend_from_slice(data);
                self.blocks += 1;
                self.in_window += 1;
                self.gap_told = false;
                self.finished = data.len() < usize::from(self.case.blksize);
                if self.finished || self.in_window == self.case.window {
                    return self.ack(now);
                }
                self.wakes_at = now + 1000 * MS;
                None
            }
            Packet::Data { .. } if !self.gap_told || self.finished || self.case.window == 1 => {
                self.gap_told = true;
                self.ack(now)
            }
            _ => None,
        }
    }

    fn ack(&mut self, now: Duration) -> Option<Packet<'static>> {
        self.in_window = 0;
        self.wakes_at = now + 1000 * MS;
        self.last = Packet::Ack(self.wire(self.blocks));
        Some(self.last.clone())
    }
}

fn simulate(case: &Case, mut network: Network) -> Run {
    let mut request = ReadRequest::octet("file").with("blksize", case.blksize);
    if case.window > 1 {
        request = request.with("windowsize", case.window);
    }
    let limits = Limits { roll_over: case.roll_over, ..Limits::default() };
    let mut client = Client {
        case: Case { ..*case },
        received: Vec::new(),
        blocks: 0,
        in_window: 0,
        gap_told: false,
        finished: false,
        wakes_at: 1000 * MS,
        last: Packet::Read(request.clone()),
    };
    let (mut transfer, mut step) = Transfer::start(&request, case.len, &limits, Duration::ZERO);
    // Packets in flight by arrival and serial number; true means to the client.
    let mut flight: BTreeMap<(Duration, u64), (bool, Packet<'static>)> = BTreeMap::new();
    let mut serial = 0;
    let mut now = Duration::ZERO;
    let mut data_packets = 0;
    let outcome = loop {
        let mut out = Vec::new();
        match step {
            Step::Wait => {}
            Step::SendOack(options) => out.push((true, Packet::Oack(options))),
            Step::SendBlocks(Blocks { first, count }) => {
                for number in first..first + count {
                    let block = transfer.block(number);
                    let data: Vec<u8> = (block.offset..block.offset + block.len as u64).map(byte_at).collect();
                    out.push((true, Packet::Data { block: block.wire, data: data.into() }));
                    data_packets += 1;
                }
            }
            Step::End(outcome) => break outcome,
        }
        step = Step::Wait;
        let next = flight.first_key_value().map_or(Duration::MAX, |((at, _), _)| *at);
        let client_wakes = if client.finished { Duration::MAX } else { client.wakes_at };
        // What was just sent must be put into flight before time goes on.
        if out.is_empty() {
            now = next.min(transfer.deadline()).min(client_wakes).max(now);
            if now == next {
                let Some((_, (to_client, packet))) = flight.pop_first() else { unreachable!() };
                if to_client {
                    out.extend(client.on_packet(&packet, now).map(|packet| (false, packet)));
                } else {
                    step = match packet {
                        Packet::Read(_) => transfer.on_repeated_request(now),
                        packet => transfer.on_packet(&packet, now),
                    };
                }
            } else if now == transfer.deadline() {
                step = transfer.on_timeout(now);
            } else {
                client.wakes_at = now + 1000 * MS;
                client.gap_told = false;
                out.push((false, client.last.clone()));
            }
        }
        for (to_client, packet) in out {
            for delay in network.fates() {
                serial += 1;
                flight.insert((now + delay, serial), (to_client, packet.clone()));
            }
        }
    };
    Run { outcome, received: client.received, finished: client.finished, data_packets, took: now }
}
