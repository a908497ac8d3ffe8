//! Fuzz targets as plain functions: bytes in, laws asserted. The committed corpus is replayed through each of them as a
//! test, and mutated from a seed for as long as there is time: a few seconds, or with `RACKBERRY_SOAK` an hour or what
//! `RACKBERRY_FUZZ_S` says. A find belongs into the corpus under a name of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside #[test] functions")]

mod dhcp;
mod iso;
mod mutate;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};
use system_tests::Dice;

/// A law about any bytes.
type Target = fn(&[u8]);

/// A way to make a sound input wrong.
type Mutate = fn(&[u8], &mut Dice) -> Vec<u8>;

/// The inputs of one folder, by name.
fn corpus(folder: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(folder);
    let mut inputs: Vec<(String, Vec<u8>)> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 20, "{} has only {} inputs", path.display(), inputs.len());
    inputs
}

fn replay(folder: &str, targets: &[(&str, Target)]) {
    for (name, bytes) in corpus(folder) {
        for (target, run) in targets {
            assert!(catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_ok(), "{target} breaks on {folder}/{name}");
        }
    }
}

/// Breaks inputs until the time is over; one that finds something is printed to be committed.
fn search(folder: &str, mutate: Mutate, targets: &[(&str, Target)]) {
    let soak = std::env::var_os("RACKBERRY_SOAK").is_some();
    let given = std::env::var("RACKBERRY_FUZZ_S").ok().and_then(|seconds| seconds.parse().ok());
    let time = Duration::from_secs(given.unwrap_or(if soak { 3600 } else { 4 }));
    let seed = Dice::seed();
    let (inputs, mut dice, began, mut tries) = (corpus(folder), Dice::new(seed), Instant::now(), 0_u64);
    while began.elapsed() < time {
        for _ in 0..100 {
            let bytes = mutate(&dice.pick(&inputs).1.clone(), &mut dice);
            for (target, run) in targets {
                tries += 1;
                let whole = catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_ok();
                assert!(whole, "{target} breaks (RACKBERRY_SEED={seed}) on {bytes:02x?}");
            }
        }
    }
    println!("{folder}: {tries} executions in {:?}, seed {seed}", began.elapsed());
}

#[test]
fn the_dhcp_corpus_breaks_nothing() {
    replay("dhcp", dhcp::TARGETS);
}

#[test]
fn mutated_dhcp_packets_break_nothing() {
    search("dhcp", mutate::mutate, dhcp::TARGETS);
}

#[test]
fn the_corpus_of_discs_breaks_nothing() {
    replay("iso", iso::TARGETS);
}

#[test]
fn mutated_discs_break_nothing() {
    search("iso", iso::mutate, iso::TARGETS);
}
