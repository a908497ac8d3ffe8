//! The power goes away at every step of an install, a commit, a roll-back: the slot that is started is always a whole one.

use super::*;
use rackberry_core::update::Block;

/// Cuts the power after each step of `act`; what is started then has to be one of `whole`.
fn cut_everywhere(prepare: impl Fn(&Bench), act: impl Fn(&Bench), whole: &[Vec<u8>]) -> usize {
    for steps in 0.. {
        let bench = Bench::new();
        prepare(&bench);
        {
            let mut power = bench.power.lock().unwrap();
            power.left = Some(steps);
            power.seed = steps as u64 + 1;
        }
        act(&bench);
        let over = bench.power.lock().unwrap().left.is_some_and(|left| left > 0);
        let [block, a, b] = [0, 1, 2].map(|part| bench.card[part].power_up());
        let copies = [&block[..COPY], &block[COPY..]].map(rackberry_core::update::Slots::parse);
        let boot = Block::choose(copies).boot();
        for lost in [false, true] {
            if lost {
                let _ = std::fs::remove_file(bench.folder.path().join("record.json"));
            }
            let mounted = if boot.first == Slot::A { &a } else { &b };
            assert!(
                whole.iter().any(|root| mounted.starts_with(root)),
                "after {steps} steps slot {} is started, and is not whole",
                boot.first
            );
            // And whoever comes up there finds its way.
            let mut keeper = bench.keeper(boot.first, boot.trying);
            keeper.status().unwrap();
            if boot.trying {
                keeper.health(&[]).unwrap();
                assert_eq!(keeper.card.block().unwrap().now.good, boot.first);
            }
        }
        if over {
            return steps;
        }
    }
    unreachable!()
}

fn installed(bench: &Bench, slot: Slot, seed: u64) {
    let mut keeper = bench.keeper(slot, false);
    let file = bench.file(&bench.bundle(&root(seed, 300_000), |_| {}));
    let _ = keeper.install(&file, &mut quiet);
}

#[test]
fn a_cut_in_an_install_leaves_a_whole_slot_to_start() {
    let whole = [root(1, 200_000), root(2, 300_000)];
    let steps = cut_everywhere(|_| {}, |bench| installed(bench, Slot::A, 2), &whole);
    println!("update: the power cut at each of {steps} steps of a first install: a whole slot each time");
    assert!(steps > 8);
}

#[test]
fn a_cut_in_an_install_over_an_older_version_leaves_a_whole_slot_to_start() {
    let prepare = |bench: &Bench| {
        installed(bench, Slot::A, 2);
        let mut trial = bench.boot();
        trial.health(&[]).unwrap();
    };
    let whole = [root(2, 300_000), root(3, 300_000)];
    let steps = cut_everywhere(prepare, |bench| installed(bench, Slot::B, 3), &whole);
    println!("update: the power cut at each of {steps} steps of a second install: a whole slot each time");
}

#[test]
fn a_cut_in_an_install_after_a_failed_one_leaves_a_whole_slot_to_start() {
    let prepare = |bench: &Bench| {
        installed(bench, Slot::A, 2);
        for _ in 0..4 {
            bench.boot();
        }
    };
    let whole = [root(1, 200_000), root(3, 300_000)];
    cut_everywhere(prepare, |bench| installed(bench, Slot::A, 3), &whole);
}

#[test]
fn a_cut_in_a_commit_or_a_roll_back_leaves_a_whole_slot_to_start() {
    let whole = [root(1, 200_000), root(2, 300_000)];
    let on_trial = |bench: &Bench| {
        installed(bench, Slot::A, 2);
    };
    cut_everywhere(
        on_trial,
        |bench| {
            let mut keeper = bench.keeper(Slot::B, true);
            let _ = keeper.health(&[]);
        },
        &whole,
    );
    let proved = |bench: &Bench| {
        installed(bench, Slot::A, 2);
        bench.boot().health(&[]).unwrap();
    };
    cut_everywhere(
        proved,
        |bench| {
            let _ = bench.keeper(Slot::B, false).roll_back(&mut quiet);
        },
        &whole,
    );
}
