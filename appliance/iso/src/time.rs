//! The three ways a disc writes a date, as seconds since 1970 in UTC.

use crate::source::Piece;

/// Seven bytes of a directory record or a Rock Ridge TF field (ECMA-119 9.1.5); the zone counts quarters of an hour.
pub(crate) fn short(date: Piece<'_>) -> Option<i64> {
    let [year, month, day, hour, minute, second, zone] = *date.bytes.first_chunk::<7>()?;
    let zone = i64::from(i8::from_le_bytes([zone]));
    seconds(1900 + i64::from(year), [month, day, hour, minute, second], zone * 15)
}

/// Sixteen digits and a zone (ECMA-119 8.4.26.1); all zeros mean that nothing is recorded.
pub(crate) fn long(date: Piece<'_>) -> Option<i64> {
    let digits = |from: usize, to: usize| {
        let text = std::str::from_utf8(date.bytes.get(from..to)?).ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten()
    };
    let two = |at: usize| digits(at, at + 2).and_then(|value| u8::try_from(value).ok());
    let zone = i64::from(i8::from_le_bytes([*date.bytes.get(16)?]));
    seconds(i64::from(digits(0, 4)?), [two(4)?, two(6)?, two(8)?, two(10)?, two(12)?], zone * 15)
}

/// The timestamp of ECMA-167 1/7.3; the zone counts minutes, and -2047 is none (UDF 2.1.4.1).
pub(crate) fn udf(date: Piece<'_>) -> Option<i64> {
    let [zone_low, zone_high, year_low, year_high, month, day, hour, minute, second] =
        *date.bytes.first_chunk::<9>()?;
    // Twelve bits with a sign; the four above them are the kind.
    let zone = i64::from(i16::from_le_bytes([zone_low, zone_high]).wrapping_shl(4) >> 4);
    let zone = if zone == -2047 { 0 } else { zone };
    seconds(i64::from(i16::from_le_bytes([year_low, year_high])), [month, day, hour, minute, second], zone)
}

fn seconds(year: i64, [month, day, hour, minute, second]: [u8; 5], zone_minutes: i64) -> Option<i64> {
    let sound = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61
        && (-16 * 60..=16 * 60).contains(&zone_minutes);
    if !sound {
        return None;
    }
    // Days since 1970 of a Gregorian date, with years that begin in March so that leap days end them.
    let month = i64::from(month);
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second) - zone_minutes * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8]) -> Piece<'_> {
        Piece { what: "a date", offset: 0, bytes }
    }

    #[test]
    fn the_three_forms_of_one_instant_agree() {
        // 2024-02-29 23:30:15 at UTC+1.
        let expected = Some(1_709_245_815);
        assert_eq!(short(piece(&[124, 2, 29, 23, 30, 15, 4])), expected);
        assert_eq!(long(piece(b"2024022923301500\x04")), expected);
        assert_eq!(udf(piece(&[60, 0x10, 0xe8, 7, 2, 29, 23, 30, 15, 0, 0, 0])), expected);
    }

    #[test]
    fn the_edges_of_the_calendar_are_right() {
        assert_eq!(short(piece(&[70, 1, 1, 0, 0, 0, 0])), Some(0));
        assert_eq!(short(piece(&[0, 3, 1, 0, 0, 0, 0])), Some(-2_203_891_200));
        assert_eq!(short(piece(&[200, 3, 1, 0, 0, 0, 0])), Some(4_107_542_400));
        assert_eq!(udf(piece(&[0x01, 0x18, 0xd0, 7, 1, 1, 0, 0, 0, 0, 0, 0])), Some(946_684_800));
        assert_eq!(udf(piece(&[0xc4, 0x1f, 0xd0, 7, 1, 1, 0, 0, 0, 0, 0, 0])), Some(946_684_800 + 3600));
    }

    #[test]
    fn no_date_is_no_date() {
        assert_eq!(short(piece(&[0; 7])), None);
        assert_eq!(long(piece(b"0000000000000000\0")), None);
        assert_eq!(long(piece(b"+024022923301500\0")), None);
        assert_eq!(udf(piece(&[0; 12])), None);
        assert_eq!(short(piece(&[1, 1])), None);
    }
}
