//! SNTP's packet, client side (RFC 4330, RFC 5905 section 7.3): bytes in, a reading or a reason out. Pure.

use std::time::Duration;

/// The header, which is all that is sent; answers may have more behind it.
pub const LENGTH: usize = 48;
/// From 1900 to 1970, in seconds.
const TO_UNIX: u64 = 2_208_988_800;
/// RFC 5905's MAXDISP: a server that far from its source knows no time.
const FARTHEST: Duration = Duration::from_secs(16);
/// A clock that was set longer ago has drifted as far by RFC 5905's PHI, 15 millionths, whatever its server says.
const STALE: Duration = Duration::from_secs(1_066_666);

/// A question. `cookie` is random and stands in place of the time (RFC 9109's reason, and nobody else needs ours): only who
/// saw the question can repeat it.
#[must_use]
pub fn question(cookie: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    // No leap, version 4, mode 3: a client.
    let head = std::iter::once(0x23).chain(std::iter::repeat_n(0, 39));
    for (slot, byte) in bytes.iter_mut().zip(head.chain(cookie.to_be_bytes())) {
        *slot = byte;
    }
    bytes
}

/// What a server's answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When it got the question, since 1970.
    pub received: Duration,
    /// When it sent the answer, since 1970.
    pub sent: Duration,
    /// How far it may be off, by its own word: half the way to its source, and what it added on it.
    pub distance: Duration,
    pub source: Source,
}

/// How a server comes by its time, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// 1 is a clock, each server behind counts one more.
    pub stratum: u8,
    /// Whether this day has a second more (1) or less (2).
    pub leap: u8,
    /// The whole way to the clock and back.
    pub delay: Duration,
}

/// Why an answer gives no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not an answer to this question: a stranger's, or a late one. The right one may still come.
    #[error("it is no answer to this question")]
    Stray,
    /// Kiss-o'-death DENY or RSTR: it wants no questions of ours.
    #[error("it refuses to answer")]
    Denied,
    /// Kiss-o'-death RATE, or one that is not known: it wants fewer.
    #[error("it wants to be asked less often")]
    Rate,
    #[error("its own clock is not set")]
    Unset,
    #[error("its stratum is {0}")]
    Stratum(u8),
    #[error("it is too far from its own source")]
    Far,
    #[error("its times contradict each other")]
    Nonsense,
}

/// Reads an answer to the question with this cookie.
///
/// # Errors
/// [`Unusable`].
pub fn read(bytes: &[u8], cookie: u64) -> Result<Reading, Unusable> {
    let long = |at: usize| bytes.get(at..at + 8).and_then(|raw| raw.try_into().ok()).map(u64::from_be_bytes);
    let short = |at: usize| bytes.get(at..at + 4).and_then(|raw| raw.try_into().ok()).map(u32::from_be_bytes);
    let [head, stratum, ..] = bytes else { return Err(Unusable::Stray) };
    let (leap, version, mode) = (head >> 6, head >> 3 & 7, head & 7);
    let fields = (short(4), short(8), long(16), long(24), long(32), long(40));
    let (Some(delay), Some(dispersion), Some(reference), Some(origin), Some(received), Some(sent)) = fields else {
        return Err(Unusable::Stray);
    };
    if origin != cookie || mode != 4 || !(1..=4).contains(&version) {
        return Err(Unusable::Stray);
    }
    match (stratum, bytes.get(12..16)) {
        (0, Some(b"DENY" | b"RSTR")) => return Err(Unusable::Denied),
        // What is not synchronised yet says so by a kiss as well.
        (0, Some(b"INIT" | b"STEP")) => return Err(Unusable::Unset),
        (0, _) => return Err(Unusable::Rate),
        (1..=15, _) => {}
        (other, _) => return Err(Unusable::Stratum(*other)),
    }
    if leap == 3 {
        return Err(Unusable::Unset);
    }
    let delay = parts(u64::from(delay), 16);
    let distance = delay / 2 + parts(u64::from(dispersion), 16);
    if distance >= FARTHEST {
        return Err(Unusable::Far);
    }
    let (received, sent) = (moment(received)?, moment(sent)?);
    if sent < received {
        return Err(Unusable::Nonsense);
    }
    // Some servers leave this field empty. Nobody sets his clock by what he knows only later (RFC 5905, A.5.1.1).
    if reference != 0 {
        let age = sent.checked_sub(moment(reference)?).ok_or(Unusable::Nonsense)?;
        if age > STALE {
            return Err(Unusable::Far);
        }
    }
    Ok(Reading { received, sent, distance, source: Source { stratum: *stratum, leap, delay } })
}

/// A timestamp as the time since 1970. One with the first bit set belongs to the years 1968 to 2036, any other to 2036 to
/// 2104 (RFC 4330 section 3), so that our own clock is not needed to tell.
fn moment(timestamp: u64) -> Result<Duration, Unusable> {
    let era = if timestamp >> 63 == 1 { 0 } else { 1 << 32 };
    let seconds = ((timestamp >> 32) + era).checked_sub(TO_UNIX).filter(|_| timestamp != 0);
    let seconds = seconds.ok_or(Unusable::Nonsense)?;
    Ok(Duration::from_secs(seconds) + parts(timestamp & 0xffff_ffff, 32))
}

/// A fixed-point number of seconds with so many bits behind the point.
fn parts(number: u64, bits: u32) -> Duration {
    let rest = number & ((1 << bits) - 1);
    Duration::from_secs(number >> bits) + Duration::from_nanos((rest * 1_000_000_000) >> bits)
}
