//! Replays the committed corpora and looks for new inputs nearby; a failure prints the input, which then belongs into the corpus.
//!
//! `TFTP_FUZZ_ROUNDS` (inputs per target, 50,000) makes it look longer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of these tests stand outside test functions"
)]

mod targets;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::path::Path;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "the corpus of {name} is missing");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Every input of the corpus, then changed ones: always the same, so that a failure can be repeated.
fn replay_and_search(name: &str, target: fn(&[u8])) {
    let inputs = corpus(name);
    let attempt = |input: &[u8]| {
        let outcome = std::panic::catch_unwind(|| target(input));
        assert!(outcome.is_ok(), "{name} fails for \"{}\"", input.escape_ascii());
    };
    inputs.iter().for_each(|input| attempt(input));
    let rounds = std::env::var("TFTP_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(50_000);
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for _ in 0..rounds {
        attempt(&changed(&inputs, &mut rng));
    }
}

fn changed(inputs: &[Vec<u8>], rng: &mut TestRng) -> Vec<u8> {
    let mut below = |end: usize| if end == 0 { 0 } else { rng.next_u32() as usize % end };
    let mut input = inputs[below(inputs.len())].clone();
    for _ in 0..1 + below(6) {
        let at = below(input.len() + 1);
        match below(5) {
            0 => input.truncate(at),
            1 => input.insert(at, below(256) as u8),
            2 if at < input.len() => input[at] = below(256) as u8,
            3 if at < input.len() => input[at] ^= 1 << below(8),
            _ => {
                let other = &inputs[below(inputs.len())];
                let (from, to) = (below(other.len() + 1), below(other.len() + 1));
                input.extend_from_slice(&other[from.min(to)..from.max(to)]);
            }
        }
    }
    input
}

#[test]
fn no_datagram_breaks_the_wire_format() {
    replay_and_search("packet", targets::packet);
}

#[test]
fn no_name_leads_out() {
    replay_and_search("path", targets::path);
}

#[test]
fn nothing_that_happens_makes_a_transfer_break_its_promises() {
    replay_and_search("session", targets::session);
}
