//! Messages in a stream of bytes (RFC 6587): each with its length before it, or with an end of line behind it. Pure.

/// The longest message; what is longer is cut in two.
pub const LONGEST: usize = 8192;

/// Takes whole messages out of the bytes that came so far.
pub fn take(bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    while let Some((skip, length, end)) = next(bytes) {
        let message: Vec<u8> = bytes.drain(..end).skip(skip).take(length).collect();
        if !message.is_empty() {
            taken.push(message);
        }
    }
    taken
}

/// Where the next message begins, how long it is, and where what follows it begins.
fn next(bytes: &[u8]) -> Option<(usize, usize, usize)> {
    if let Some((skip, length)) = counted(bytes) {
        return (bytes.len() >= skip + length).then_some((skip, length, skip + length));
    }
    match bytes.iter().position(|byte| matches!(byte, b'\n' | 0)) {
        Some(at) if at <= LONGEST => Some((0, at, at + 1)),
        _ if bytes.len() >= LONGEST => Some((0, LONGEST, LONGEST)),
        _ => None,
    }
}

/// `42 <13>...`: the length, and how many bytes it takes to say it.
fn counted(bytes: &[u8]) -> Option<(usize, usize)> {
    let digits = bytes.iter().take(5).take_while(|byte| byte.is_ascii_digit()).count();
    match bytes.get(digits..digits + 2)? {
        b" <" => {
            let length: usize = std::str::from_utf8(bytes.get(..digits)?).ok()?.parse().ok()?;
            (1..=LONGEST).contains(&length).then_some((digits + 1, length))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_told_apart_however_the_bytes_come() {
        let stream = b"<13>one\n11 <13>two\nand\n<13>three\0\n4 <1>x<14>four\n";
        for size in 1..=stream.len() {
            let (mut waiting, mut taken) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                waiting.extend_from_slice(piece);
                taken.extend(take(&mut waiting));
            }
            let taken: Vec<String> = taken.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
            assert_eq!(
                taken,
                ["<13>one", "<13>two\nand", "<13>three", "<1>x", "<14>four"].map(str::to_owned),
                "by {size}"
            );
            assert!(waiting.is_empty());
        }
    }

    proptest! {
        #[test]
        fn what_waits_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..40_000)) {
            let mut waiting = Vec::new();
            for piece in bytes.chunks(1024) {
                waiting.extend_from_slice(piece);
                for message in take(&mut waiting) {
                    prop_assert!(message.len() <= LONGEST);
                }
                prop_assert!(waiting.len() <= LONGEST + 8);
            }
        }
    }
}
