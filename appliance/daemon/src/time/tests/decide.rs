//! What is decided without a network: packets, whom to believe, what is said.

use super::{super::*, EPOCH, HOUR, answer, now, put, timestamp};
use crate::time::{ask::judge, packet};

const COOKIE: u64 = 0x0123_4567_89ab_cdef;
const TRIP: Duration = Duration::from_millis(20);

fn sample(seconds: i64, distance_ms: u64) -> Sample {
    let distance = Duration::from_millis(distance_ms);
    let source = packet::Source { stratum: 2, leap: 0, delay: Duration::ZERO };
    Sample { offset: i128::from(seconds) * 1_000_000_000, delay: distance, distance, source }
}

#[test]
fn more_than_half_have_to_agree_and_the_nearest_of_them_is_followed() {
    for (what, words, choice) in [
        ("nobody", vec![], Choice::Nobody),
        ("one alone", vec![sample(5000, 10)], Choice::Follow(0)),
        ("two that agree", vec![sample(5, 30), sample(5, 10)], Choice::Follow(1)),
        ("two that do not", vec![sample(5, 10), sample(9, 10)], Choice::Split),
        ("one liar of three", vec![sample(9000, 1), sample(5, 20), sample(5, 10)], Choice::Follow(2)),
        ("three that do not", vec![sample(1, 10), sample(5, 10), sample(9, 10)], Choice::Split),
        ("two against two", vec![sample(1, 9), sample(1, 9), sample(9, 9), sample(9, 9)], Choice::Split),
        ("a wide one between", vec![sample(0, 3000), sample(2, 10), sample(-2, 5)], Choice::Follow(2)),
        ("behind", vec![sample(-5000, 10), sample(-5000, 20)], Choice::Follow(0)),
    ] {
        let chosen = choose(&words);
        if what == "a wide one between" {
            // It agrees with both, who do not agree: either pair is more than half.
            assert!(matches!(chosen, Choice::Follow(1 | 2)), "{what}: {chosen:?}");
        } else {
            assert_eq!(chosen, choice, "{what}");
        }
    }
}

#[test]
fn the_century_of_a_timestamp_needs_no_clock_of_ours() {
    // RFC 4330 section 3: the count begins anew on 7 February 2036, 06:28:16.
    let turn = (1_u64 << 32) - EPOCH;
    for seconds in [1_793_491_200, turn - 1, turn, turn + 1, turn + 20 * 365 * 86_400] {
        let mut bytes = answer(&packet::question(COOKIE), Duration::from_secs(seconds));
        // Two words of the header count from the other side of the turn.
        for at in [16, 32, 40] {
            let back = if at == 16 { 100 } else { 0 };
            let ticks = (seconds - back + EPOCH) & 0xffff_ffff;
            put(&mut bytes, at, &(ticks << 32).to_be_bytes());
        }
        if (seconds + EPOCH) & 0xffff_ffff == 0 {
            // All zeros means that there is no time.
            bytes[47] = 1;
        }
        let reading = packet::read(&bytes, COOKIE);
        let Ok(reading) = reading else {
            assert_eq!(seconds, turn, "{reading:?}");
            continue;
        };
        assert_eq!(reading.sent.as_secs(), seconds);
    }
}

#[test]
fn a_question_tells_nothing_of_the_box() {
    let bytes = packet::question(COOKIE);
    assert_eq!((bytes[0], bytes.len()), (0x23, 48));
    assert!(bytes[1..40].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[40..], COOKIE.to_be_bytes());
}

#[test]
fn who_claims_to_have_thought_longer_than_the_answer_took_is_not_believed() {
    let asked = now();
    let mut bytes = answer(&packet::question(COOKIE), asked);
    assert!(judge(&bytes, COOKIE, asked, TRIP).is_ok());
    put(&mut bytes, 40, &timestamp(asked + TRIP * 2).to_be_bytes());
    assert!(judge(&bytes, COOKIE, asked, TRIP).is_err());
    put(&mut bytes, 40, &timestamp(asked - TRIP).to_be_bytes());
    assert!(judge(&bytes, COOKIE, asked, TRIP).is_err(), "nor who answers before the question");
}

#[test]
fn a_hundred_thousand_changed_answers_give_no_panic_and_no_wrong_time() {
    const ROUNDS: u32 = 100_000;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 11).unwrap() % below
    };
    let asked = Duration::from_secs(1_800_000_000);
    let right = answer(&packet::question(COOKIE), asked + TRIP / 2);
    let (mut taken, mut liars) = (0, 0);
    for round in 0..ROUNDS {
        let mut bytes = right.clone();
        for _ in 0..=random(4) {
            match random(10) {
                0 => bytes.truncate(random(bytes.len() + 1)),
                1 => bytes.extend(std::iter::repeat_n(u8::try_from(random(256)).unwrap(), random(40))),
                2 => {
                    let at = random(bytes.len() + 1);
                    bytes.insert(at, u8::try_from(random(256)).unwrap());
                }
                _ if bytes.is_empty() => {}
                3 => {
                    let at = random(bytes.len());
                    bytes.remove(at);
                }
                4..=6 => {
                    let at = random(bytes.len());
                    bytes[at] ^= 1 << random(8);
                }
                _ => {
                    let at = random(bytes.len());
                    bytes[at] = u8::try_from(random(256)).unwrap();
                }
            }
        }
        let Ok(sample) = judge(&bytes, COOKIE, asked, TRIP) else { continue };
        taken += 1;
        assert_eq!(bytes[24..32], COOKIE.to_be_bytes(), "round {round}: {bytes:?}");
        // The truth is 0; what is told may be off by what is said to be possible.
        if sample.offset.unsigned_abs() > sample.distance.as_nanos() + 1000 {
            // Only where both of its times were moved alike: a lie in perfect form, which is for the other servers to outvote.
            assert!(
                bytes[32..40] != right[32..40] && bytes[40..48] != right[40..48],
                "round {round}: {sample:?} {bytes:?}"
            );
            liars += 1;
        }
    }
    println!("time: {ROUNDS} changed answers, {taken} taken, {liars} of them lies in perfect form");
    assert!(taken > 1000 && taken < ROUNDS / 2 + ROUNDS / 4, "{taken}: the changes change nothing, or everything");
    assert!(liars < 20, "{liars}");
}

#[test]
fn what_is_said_tells_where_the_time_is_from_and_whether_to_trust_it() {
    let server: TimeServer = "10.0.0.1".parse().unwrap();
    let told = |offset_s: i64| {
        let Sample { delay, distance, source, .. } = sample(0, 1);
        let basis = Basis { source, delay, distance, server: None };
        Some(Told { server: server.clone(), offset: i128::from(offset_s) * 1_000_000_000, at: Instant::now(), basis })
    };
    let at = |told: Option<Told>| told.map(|told| Told { at: Instant::now().checked_sub(HOUR / 20).unwrap(), ..told });
    let trouble = "No time from 10.0.0.1: it does not answer.".to_owned();
    let plain = View::default();
    let card = View { sets: true, ..View::default() };
    let asked = View { servers: true, ..card.clone() };
    let (set, unset) = (WallTime::FIRST, WallTime(0));
    for (view, wall, said) in [
        (plain.clone(), set, ""),
        (plain.clone(), unset, "This machine's clock is not set: times are wrong."),
        (card.clone(), set, "No time server: times may be wrong."),
        (asked.clone(), set, ""),
        (
            View { trouble: trouble.clone(), ..asked.clone() },
            set,
            "No time from 10.0.0.1: it does not answer. Times may be wrong.",
        ),
        (View { told: at(told(0)), ..asked.clone() }, set, "Time from 10.0.0.1, 3 min ago."),
        (
            View { told: at(told(0)), trouble, ..asked },
            set,
            "Time from 10.0.0.1, 3 min ago. No time from 10.0.0.1: it does not answer.",
        ),
        (View { told: at(told(1)), ..plain.clone() }, set, "The time agrees with 10.0.0.1's, 3 min ago."),
        (
            View { told: at(told(-90)), ..plain },
            set,
            "This machine's clock is 1 min 30 s ahead of 10.0.0.1's, compared 3 min ago.",
        ),
    ] {
        assert_eq!(view.sentence(wall), said, "{view:?}");
    }
}
