//! Makes a sound packet wrong: bytes, lengths and options changed, cut, doubled. Repeatable by its dice.

use system_tests::Dice;

/// Nothing longer fits into a frame.
const LONGEST: usize = 1500;
/// Where the options of a DHCP packet begin.
const OPTIONS: usize = 240;

/// One to five changes to a copy of `sound`.
pub fn mutate(sound: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..=dice.below(4) {
        let at = below(dice, bytes.len());
        let value = u8::try_from(dice.below(256)).unwrap_or_default();
        match dice.below(8) {
            0 | 1 => set(&mut bytes, at, value),
            // Where options are, their lengths lie.
            2 | 3 => {
                let at = OPTIONS + below(dice, bytes.len().saturating_sub(OPTIONS));
                set(&mut bytes, at, value);
            }
            4 => bytes.truncate(at.max(1)),
            5 => bytes.insert(at.min(bytes.len()), value),
            6 => {
                let part = bytes.get(at..).unwrap_or_default().to_vec();
                bytes.extend(part);
                bytes.truncate(LONGEST);
            }
            // Another machine, so that a bound on each sender does not take all.
            _ => {
                for (offset, byte) in [0x52, value, 0, 7, value].into_iter().enumerate() {
                    set(&mut bytes, 28 + offset, byte);
                }
            }
        }
    }
    bytes
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

fn below(dice: &mut Dice, end: usize) -> usize {
    usize::try_from(dice.below(u32::try_from(end).unwrap_or(u32::MAX))).unwrap_or_default()
}
