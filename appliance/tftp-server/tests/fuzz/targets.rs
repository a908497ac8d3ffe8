//! What is fuzzed, as plain functions of bytes: each panics when a promise is broken.

use std::time::Duration;
use tftp_server::transfer::{Blocks, Step};
use tftp_server::{ErrorCode, Limits, Packet, ReadRequest, RollOver, Transfer, path};

/// A datagram: reads or is refused; what reads is written and reads the same again.
pub fn packet(bytes: &[u8]) {
    if let Ok(packet) = Packet::decode(bytes) {
        assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }
}

/// A requested name: refused, or relative without anything that leads up or elsewhere, and stable.
pub fn path(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    let Ok(normal) = path::normalize(&name) else { return };
    assert!(!normal.contains(['\\', '\0']), "{name:?} became {normal:?}");
    assert!(normal.split('/').all(|segment| !["", ".", ".."].contains(&segment)), "{name:?} became {normal:?}");
}

/// One transfer: two bytes choose its terms, then each pair of bytes is one thing that happens to it.
///
/// Whatever comes in whatever order: blocks lie within the window after the last acknowledged one, within the file, and nothing follows
/// the end; a client that answers nothing gets six packets at most, none of them larger than 512 bytes of data.
pub fn session(bytes: &[u8]) {
    let [terms, size, happenings @ ..] = bytes else { return };
    let windowed = terms & 1 == 1;
    let mut request = ReadRequest::octet("x");
    if windowed {
        request = request.with("blksize", 8 + u16::from(terms >> 2)).with("windowsize", 1 + u16::from(*size));
    }
    let roll_over = if terms & 2 == 0 { RollOver::ToZero } else { RollOver::ToOne };
    let limits = Limits { roll_over, ..Limits::default() };
    let len = u64::from(*size) * 997;
    let mut now = Duration::ZERO;
    let (mut transfer, first) = Transfer::start(&request, len, &limits, now);
    let mut watch = Watch { len, heard: false, unheard: 0, ended: false };
    watch.step(&transfer, &first);
    for pair in happenings.chunks_exact(2) {
        let &[what, detail] = pair else { continue };
        let acked = transfer.acked_bytes() / u64::from(transfer.agreed().blksize);
        let step = match what % 5 {
            // An acknowledgement near the window.
            0 => {
                watch.heard = true;
                let number = (acked + u64::from(detail)).wrapping_sub(4) & 0xffff;
                transfer.on_packet(&Packet::Ack(u16::try_from(number).unwrap()), now)
            }
            1 => {
                now += Duration::from_millis(u64::from(detail) * u64::from(detail));
                transfer.on_timeout(now)
            }
            2 => transfer.on_repeated_request(now),
            3 => {
                watch.heard = true;
                transfer.on_packet(&Packet::error(ErrorCode(u16::from(detail)), ""), now)
            }
            _ => {
                let raw = [0, detail % 8, what, detail, 0];
                watch.heard = true;
                Packet::decode(&raw).map_or(Step::Wait, |packet| transfer.on_packet(&packet, now))
            }
        };
        watch.step(&transfer, &step);
    }
}

struct Watch {
    len: u64,
    heard: bool,
    unheard: u32,
    ended: bool,
}

impl Watch {
    fn step(&mut self, transfer: &Transfer, step: &Step) {
        assert!(!self.ended || *step == Step::Wait, "{step:?} after the end");
        if let Step::SendBlocks(Blocks { first, count }) = *step {
            let agreed = transfer.agreed();
            let acked = transfer.acked_bytes().div_ceil(u64::from(agreed.blksize));
            assert!(count >= 1 && first > acked && first + count - 1 <= acked + u64::from(agreed.windowsize));
            for block in (first..first + count).map(|number| transfer.block(number)) {
                assert!(block.offset + block.len as u64 <= self.len && block.len <= usize::from(agreed.blksize));
                assert!(self.heard || block.len <= 512, "{} bytes to a client that has answered nothing", block.len);
            }
            assert!(self.heard || count == 1, "a window for a client that has answered nothing");
        }
        if !self.heard && matches!(step, Step::SendBlocks(_) | Step::SendOack(_)) {
            self.unheard += 1;
            assert!(self.unheard <= 6, "{} packets to a client that has answered nothing", self.unheard);
        }
        self.ended |= matches!(step, Step::End(_));
    }
}
