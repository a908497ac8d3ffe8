//! The state block (docs/sd-card.md, `buildroot/initramfs/slots.sh`): one line of text in each of two sectors. A change is
//! written over the copy that does not count, so that a power cut leaves one of the two.

use super::Slot;

/// The length of a copy in bytes: one sector, which a card writes as a whole or not at all.
pub const COPY: usize = 512;
/// How often a slot is started to prove itself.
pub const TRIES: u8 = 3;

const MAGIC: &str = "rackberry-slots 1";
/// `seq` stays below it.
const SEQ_END: u32 = 1_000_000_000;

/// What one copy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Counts changes, from 1.
    pub seq: u32,
    /// The slot that is known to work.
    pub good: Slot,
    /// A slot that has to prove itself, or failed to.
    pub trying: Option<Slot>,
    /// How many more times it is started.
    pub left: u8,
}

impl Slots {
    /// Reads a copy; `None` if it was never written or is damaged.
    #[must_use]
    pub fn parse(copy: &[u8]) -> Option<Self> {
        let end = copy.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(copy.get(..end)?).ok()?;
        let (body, sum) = line.rsplit_once(" crc=")?;
        if sum != format!("{:08x}", crc32(body.as_bytes())) {
            return None;
        }
        let mut words = body.strip_prefix(MAGIC)?.strip_prefix(' ')?.split(' ');
        let mut value = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        let (seq, good, trying, left) = (value("seq")?, value("good")?, value("try")?, value("left")?);
        if words.next().is_some() || !plain(seq, 9) || seq.starts_with('0') || !plain(left, 1) {
            return None;
        }
        let trying = if trying == "-" { None } else { Some(Slot::parse(trying)?) };
        Some(Slots { seq: seq.parse().ok()?, good: Slot::parse(good)?, trying, left: left.parse().ok()? })
    }

    /// The copy's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let trying = self.trying.map_or("-", Slot::word);
        let body = format!("{MAGIC} seq={} good={} try={trying} left={}", self.seq, self.good, self.left.min(9));
        let mut copy = format!("{body} crc={:08x}\n", crc32(body.as_bytes())).into_bytes();
        copy.resize(COPY, 0);
        copy
    }
}

fn plain(digits: &str, longest: usize) -> bool {
    (1..=longest).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// CRC-32 as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !sum
}

/// Which slots the initramfs mounts, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    pub first: Slot,
    pub second: Slot,
    /// The first is on trial, and this start uses a try up.
    pub trying: bool,
}

/// Both copies together: what counts, and where the next change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub now: Slots,
    /// The copy to overwrite next: 0 or 1.
    pub spare: usize,
}

impl Block {
    /// Chooses the valid copy with the higher count. Without one, as on a fresh card, slot A is good.
    #[must_use]
    pub fn choose(copies: [Option<Slots>; 2]) -> Self {
        let fresh = Block { now: Slots { seq: 0, good: Slot::A, trying: None, left: 0 }, spare: 0 };
        copies.into_iter().enumerate().fold(fresh, |best, (index, copy)| match copy {
            Some(now) if now.seq > best.now.seq => Block { now, spare: 1 - index },
            _ => best,
        })
    }

    /// What the initramfs does with it.
    #[must_use]
    pub fn boot(&self) -> Boot {
        let Slots { good, trying, left, .. } = self.now;
        match trying {
            Some(slot) if slot != good && left > 0 => Boot { first: slot, second: slot.other(), trying: true },
            _ => Boot { first: good, second: good.other(), trying: false },
        }
    }

    /// The next change, to be written over copy [`spare`](Self::spare).
    fn next(&self, good: Slot, trying: Option<Slot>, left: u8) -> Slots {
        // It counts writes of people's updates; should it ever run out, it stays valid and the change is lost, not the box.
        Slots { seq: (self.now.seq + 1).min(SEQ_END - 1), good, trying, left }
    }

    /// `slot` works: it is started from now on, and nothing is on trial.
    #[must_use]
    pub fn good(&self, slot: Slot) -> Slots {
        self.next(slot, None, 0)
    }

    /// `slot` is started [`TRIES`] times to prove itself; else it stays as it is.
    #[must_use]
    pub fn trial(&self, slot: Slot) -> Slots {
        self.next(slot.other(), Some(slot), TRIES)
    }

    /// The slot on trial gets no more tries.
    #[must_use]
    pub fn given_up(&self) -> Slots {
        self.next(self.now.good, self.now.trying, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(seq: u32, good: Slot, trying: Option<Slot>, left: u8) -> Slots {
        Slots { seq, good, trying, left }
    }

    fn line(text: &str) -> Option<Slots> {
        let mut copy = format!("{text} crc={:08x}\n", crc32(text.as_bytes())).into_bytes();
        copy.resize(COPY, 0);
        Slots::parse(&copy)
    }

    #[test]
    fn the_sum_is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_written_reads_back() {
        for seq in [1, 7, 999_999_999] {
            for good in [Slot::A, Slot::B] {
                for trying in [None, Some(Slot::A), Some(Slot::B)] {
                    for left in 0..=9 {
                        let copy = slots(seq, good, trying, left);
                        assert_eq!(Slots::parse(&copy.bytes()), Some(copy));
                    }
                }
            }
        }
    }

    #[test]
    fn any_single_changed_bit_is_found_or_changes_nothing() {
        let copy = slots(41, Slot::A, Some(Slot::B), 3);
        let whole = copy.bytes();
        let text = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for bit in 0..COPY * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Behind the line nothing counts.
            let wanted = (bit / 8 >= text).then_some(copy);
            assert_eq!(Slots::parse(&damaged), wanted, "bit {bit}");
        }
    }

    #[test]
    fn a_copy_cut_off_anywhere_is_none() {
        let whole = slots(41, Slot::A, Some(Slot::B), 3).bytes();
        let text = whole.iter().position(|byte| *byte == b'\n').unwrap();
        for length in 0..=text {
            let mut torn = whole.clone();
            torn[length..].fill(0);
            assert_eq!(Slots::parse(&torn), None, "{length}");
            assert_eq!(Slots::parse(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn only_the_exact_form_counts() {
        assert!(line("rackberry-slots 1 seq=1 good=a try=- left=0").is_some());
        for bad in [
            "rackberry-slots 2 seq=1 good=a try=- left=0",
            "rackberry-slots 1 seq=0 good=a try=- left=0",
            "rackberry-slots 1 seq=01 good=a try=- left=0",
            "rackberry-slots 1 seq=1000000000 good=a try=- left=0",
            "rackberry-slots 1 seq= good=a try=- left=0",
            "rackberry-slots 1 seq=+1 good=a try=- left=0",
            "rackberry-slots 1 seq=1 good=c try=- left=0",
            "rackberry-slots 1 seq=1 good=- try=- left=0",
            "rackberry-slots 1 seq=1 good=a try=c left=0",
            "rackberry-slots 1 seq=1 good=a try=- left=10",
            "rackberry-slots 1 seq=1 good=a try=- left=x",
            "rackberry-slots 1 seq=1 good=a try=- left=0 more=1",
            "rackberry-slots 1 good=a seq=1 try=- left=0",
            " rackberry-slots 1 seq=1 good=a try=- left=0",
        ] {
            assert_eq!(line(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_valid_copy_with_the_higher_count_is_believed() {
        let (old, new) = (slots(4, Slot::A, None, 0), slots(5, Slot::B, None, 0));
        assert_eq!(Block::choose([Some(old), Some(new)]), Block { now: new, spare: 0 });
        assert_eq!(Block::choose([Some(new), Some(old)]), Block { now: new, spare: 1 });
        assert_eq!(Block::choose([None, Some(old)]), Block { now: old, spare: 0 });
        assert_eq!(Block::choose([Some(old), None]), Block { now: old, spare: 1 });
        let fresh = Block::choose([None, None]);
        assert_eq!(fresh.boot(), Boot { first: Slot::A, second: Slot::B, trying: false });
    }

    #[test]
    fn a_cut_in_any_change_leaves_the_state_before_or_after_it() {
        let mut copies = [None, None];
        let mut block = Block::choose(copies);
        for step in 0..8 {
            let next = match step % 4 {
                0 => block.trial(Slot::B),
                1 => block.given_up(),
                2 => block.trial(Slot::B),
                _ => block.good(Slot::B),
            };
            let bytes = next.bytes();
            for length in 0..=bytes.len() {
                let mut torn = copies[block.spare].map_or(vec![0; COPY], |copy: Slots| copy.bytes());
                torn[..length].copy_from_slice(&bytes[..length]);
                let mut after = copies;
                after[block.spare] = Slots::parse(&torn);
                let found = Block::choose(after).now;
                assert!(found == block.now || found == next, "step {step}, {length} bytes: {found:?}");
            }
            copies[block.spare] = Some(next);
            block = Block::choose(copies);
            assert_eq!(block.now, next);
        }
    }

    #[test]
    fn a_trial_starts_so_often_and_then_the_good_one() {
        let mut block = Block::choose([Some(slots(1, Slot::A, None, 0)), None]);
        let mut left = block.trial(Slot::B);
        for _ in 0..TRIES {
            block.now = left;
            assert_eq!(block.boot(), Boot { first: Slot::B, second: Slot::A, trying: true });
            left.left -= 1;
        }
        block.now = left;
        assert_eq!(block.boot(), Boot { first: Slot::A, second: Slot::B, trying: false });
        block.now = block.good(Slot::B);
        assert_eq!(block.boot(), Boot { first: Slot::B, second: Slot::A, trying: false });
    }
}
