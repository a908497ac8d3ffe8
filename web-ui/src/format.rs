//! Figures as people read them: durations, sizes, rates and moments, in the wording all pages share.

/// A duration in milliseconds: `8 s` under a minute, then `1 min 50 s`, `1 h 48 min`, `1 day 3 h`, `8 days`.
pub fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 if ms > 0 => format!("{ms} ms"),
        0..60 => format!("{s} s"),
        60..3600 => pair(s / 60, "min", s % 60, "s"),
        3600..86_400 => pair(s / 3600, "h", s % 3600 / 60, "min"),
        86_400..172_800 => pair(1, "day", s % 86_400 / 3600, "h"),
        _ => format!("{} days", s / 86_400),
    }
}

/// A short duration in milliseconds with a tenth under ten seconds: `40 ms`, `1.2 s`, `14 s`.
pub fn took(ms: u64) -> String {
    match ms {
        1000..10_000 if ms % 1000 >= 100 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => duration(ms),
    }
}

/// An age in milliseconds, coarse enough not to flicker: `now` under two seconds, then one unit.
pub fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..2 => "now".to_owned(),
        2..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h", s / 3600),
        86_400..172_800 => "1 day".to_owned(),
        _ => format!("{} days", s / 86_400),
    }
}

fn pair(big: u64, unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{big} {unit}"),
        _ => format!("{big} {unit} {small} {small_unit}"),
    }
}

/// A size in decimal units, as disks are sold: `512 B`, `38 MB`, `1.9 GB`, `18 TB`.
pub fn bytes(n: u64) -> String {
    scaled(n, 1000)
}

/// An amount of memory in binary steps under the names people use: 17179869184 is `16 GB`.
pub fn memory(n: u64) -> String {
    scaled(n, 1024)
}

/// A rate in bytes per second: `112 MB/s`.
pub fn rate(n: u64) -> String {
    format!("{}/s", bytes(n))
}

/// A link speed in megabits per second: `100 Mb/s`, `2.5 Gb/s`.
pub fn link_speed(mbit: u64) -> String {
    match mbit {
        0..1000 => format!("{mbit} Mb/s"),
        _ if mbit.is_multiple_of(1000) => format!("{} Gb/s", mbit / 1000),
        _ => format!("{}.{} Gb/s", mbit / 1000, mbit % 1000 / 100),
    }
}

fn scaled(n: u64, step: u64) -> String {
    let (mut whole, mut rest, mut unit) = (n, 0, "B");
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if whole < step {
            break;
        }
        (rest, whole, unit) = (whole % step, whole / step, next);
    }
    match (unit, whole, rest * 10 / step) {
        ("B", ..) | (_, 10.., _) | (_, _, 0) => format!("{whole} {unit}"),
        (_, _, tenth) => format!("{whole}.{tenth} {unit}"),
    }
}

/// A count with its noun: `1 host`, `2 hosts`.
pub fn count(n: u64, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        _ => format!("{n} {noun}s"),
    }
}

/// The start and end of a digest, enough to compare by eye; short texts stay whole.
pub fn short_digest(digest: &str) -> String {
    let signs: Vec<char> = digest.chars().collect();
    if signs.len() <= 16 {
        return digest.to_owned();
    }
    let head: String = signs.iter().take(8).collect();
    let tail: String = signs.iter().skip(signs.len() - 4).collect();
    format!("{head}…{tail}")
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A calendar moment in UTC, taken from milliseconds since 1970.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    second: u64,
}

/// Days to civil date by era arithmetic (400-year cycles starting on 1 March), exact for every date after 1970.
fn civil(unix_ms: u64) -> Civil {
    let days = unix_ms / 86_400_000 + 719_468;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    Civil {
        year: days / 146_097 * 400 + year_of_era + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * from_march + 2) / 5 + 1,
        second: unix_ms / 1000 % 86_400,
    }
}

/// A moment for `<time datetime>`: `2026-11-20T18:41:47Z` (RFC 3339).
pub fn iso(unix_ms: u64) -> String {
    let c = civil(unix_ms);
    let (h, m, s) = (c.second / 3600, c.second / 60 % 60, c.second % 60);
    format!("{:04}-{:02}-{:02}T{h:02}:{m:02}:{s:02}Z", c.year, c.month, c.day)
}

/// A moment for people, in UTC: `20 Nov, 18:41:47 UTC`; the page's script turns it into the reader's own time.
pub fn moment(unix_ms: u64) -> String {
    let c = civil(unix_ms);
    let (h, m, s) = (c.second / 3600, c.second / 60 % 60, c.second % 60);
    let month = usize::try_from(c.month).ok().and_then(|m| MONTHS.get(m.checked_sub(1)?)).unwrap_or(&"");
    format!("{} {month}, {h:02}:{m:02}:{s:02} UTC", c.day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_agreed_steps() {
        for (ms, text) in [
            (0, "0 s"),
            (40, "40 ms"),
            (999, "999 ms"),
            (34_000, "34 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (110_000, "1 min 50 s"),
            (6_480_000, "1 h 48 min"),
            (7_200_000, "2 h"),
            (97_200_000, "1 day 3 h"),
            (700_000_000, "8 days"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!((took(1234), took(40), took(14_000)), ("1.2 s".into(), "40 ms".into(), "14 s".into()));
        assert_eq!((age(900), age(34_500), age(200_000)), ("now".into(), "34 s".into(), "3 min".into()));
    }

    #[test]
    fn sizes_carry_a_tenth_only_below_ten() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1 kB"),
            (1_900_000_000, "1.9 GB"),
            (4_300_000_000, "4.3 GB"),
            (38_400_000, "38 MB"),
            (512_110_190_592, "512 GB"),
            (u64::MAX, "18446 PB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(memory(17_179_869_184), "16 GB");
        assert_eq!(memory(1_610_612_736), "1.5 GB");
        assert_eq!(rate(112_000_000), "112 MB/s");
        assert_eq!(
            (link_speed(1000), link_speed(2500), link_speed(100)),
            ("1 Gb/s".into(), "2.5 Gb/s".into(), "100 Mb/s".into())
        );
    }

    #[test]
    fn moments_match_the_calendar() {
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(951_782_399_000), "2000-02-28T23:59:59Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(iso(1_795_200_107_000), "2026-11-20T18:41:47Z");
        assert_eq!(moment(1_795_200_107_000), "20 Nov, 18:41:47 UTC");
    }

    #[test]
    fn a_digest_is_cut_by_signs_not_bytes() {
        assert_eq!(short_digest("9f2c41d8aaaaaaaaaaaae07b"), "9f2c41d8…e07b");
        assert_eq!(short_digest("ééééééééééééééééééééé"), "éééééééé…éééé");
        assert_eq!(short_digest("short"), "short");
    }
}
