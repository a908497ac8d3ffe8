//! Trials: what proves itself stays, what does not is left for what ran before.

use super::{
    super::{
        keeper::KeeperError,
        words::{OtherState, Outcome},
    },
    *,
};

fn update(bench: &Bench, change: impl FnOnce(&mut Header)) -> Keeper<Memory> {
    let mut keeper = bench.boot();
    let file = bench.file(&bench.bundle(&root(2, 150_000), change));
    keeper.install(&file, &mut quiet).unwrap();
    keeper
}

#[test]
fn a_healthy_trial_becomes_the_good_slot_and_raises_the_floor() {
    let bench = Bench::new();
    update(&bench, |header| header.floor = Version(0, 1, 5));
    let mut trial = bench.boot();
    assert_eq!((trial.slot, trial.trying), (Slot::B, true));
    let status = trial.status().unwrap();
    assert_eq!((status.version, status.other.version, status.floor), (NEW, Some(OLD), None));
    assert_eq!(status.last.unwrap().outcome, Outcome::Trial);
    assert!(!trial.health(&["the page does not answer".to_owned()]).unwrap());
    assert!(trial.health(&[]).unwrap());
    // Said again, as after a lost answer.
    assert!(!trial.health(&[]).unwrap());
    let mut next = bench.boot();
    assert_eq!((next.slot, next.trying), (Slot::B, false));
    let status = next.status().unwrap();
    assert_eq!(status.last.unwrap().outcome, Outcome::Running);
    assert_eq!(status.floor, Some(Version(0, 1, 5)));
    assert_eq!(status.other.state, OtherState::Ready);
    // The floor holds against bundles, and against the way back.
    let old = bench.file(&bench.bundle(&root(5, 9000), |header| {
        header.version = Version(0, 1, 4);
        header.floor = OLD;
    }));
    assert!(matches!(next.install(&old, &mut quiet), Err(KeeperError::Bundle(_))));
    assert!(matches!(next.roll_back(&mut quiet), Err(KeeperError::BelowFloor { .. })));
}

#[test]
fn a_trial_that_never_gets_healthy_is_left_after_its_tries_and_people_are_told() {
    let bench = Bench::new();
    update(&bench, |header| header.floor = NEW);
    for attempt in 0..3 {
        let mut trial = bench.boot();
        assert_eq!((trial.slot, trial.trying), (Slot::B, true), "start {attempt}");
        assert!(matches!(trial.install(&bench.file(&[]), &mut quiet), Err(KeeperError::OnTrial { .. })));
        assert!(matches!(trial.roll_back(&mut quiet), Err(KeeperError::OnTrial { .. })));
        trial.health(&["the page does not answer".to_owned()]).unwrap();
        trial.expired();
    }
    let mut back = bench.boot();
    assert_eq!((back.slot, back.trying, back.version()), (Slot::A, false, OLD));
    let status = back.status().unwrap();
    let last = status.last.unwrap();
    assert_eq!((last.outcome, last.version, last.from), (Outcome::Failed, NEW, OLD));
    assert_eq!(last.why, "the page does not answer");
    assert_eq!(status.other.state, OtherState::Failed);
    // What failed sets no floor, and nobody goes back to it.
    assert_eq!(status.floor, None);
    assert!(!status.told);
    back.told().unwrap();
    assert!(bench.boot().status().unwrap().told);
    assert!(matches!(back.roll_back(&mut quiet), Err(KeeperError::Failed { slot: Slot::B })));
    // But a better bundle may follow.
    update(&bench, |header| header.version = Version(0, 2, 1));
    let mut trial = bench.boot();
    assert_eq!(trial.version(), Version(0, 2, 1));
    assert!(trial.health(&[]).unwrap());
}

#[test]
fn a_slot_that_the_initramfs_gave_up_counts_as_failed() {
    let bench = Bench::new();
    let mut keeper = update(&bench, |_| {});
    // It could not be mounted: the good one is started at once.
    keeper.card.change(rackberry_core::update::Block::given_up).unwrap();
    let mut back = bench.keeper(Slot::A, false);
    let last = back.status().unwrap().last.unwrap();
    assert_eq!((last.outcome, last.why.as_str()), (Outcome::Failed, "it did not start"));
}

#[test]
fn going_back_is_a_trial_too_and_a_damaged_root_is_not_gone_back_to() {
    let bench = Bench::new();
    let mut keeper = bench.boot();
    assert!(matches!(keeper.roll_back(&mut quiet), Err(KeeperError::NothingThere { slot: Slot::B })));
    update(&bench, |_| {});
    bench.boot().health(&[]).unwrap();
    let mut newer = bench.boot();
    assert_eq!(newer.roll_back(&mut quiet).unwrap(), OLD);
    let mut back = bench.boot();
    assert_eq!((back.slot, back.trying, back.version()), (Slot::A, true, OLD));
    assert!(back.health(&[]).unwrap());
    bench.card[2].lasts.lock().unwrap()[100_000] ^= 1;
    assert!(matches!(bench.boot().roll_back(&mut quiet), Err(KeeperError::Damaged { slot: Slot::B })));
    assert_eq!(bench.boot().slot, Slot::A);
}

#[test]
fn a_full_or_broken_card_fails_the_install_and_what_runs_stays() {
    let bench = Bench::new();
    let mut keeper = bench.boot();
    bench.card[2].lasts.lock().unwrap().truncate(64 << 10);
    let file = bench.file(&bench.bundle(&root(2, 150_000), |_| {}));
    let error = keeper.install(&file, &mut quiet).unwrap_err();
    assert!(matches!(error, KeeperError::Write(_)), "{error}");
    assert_eq!(keeper.record.last.as_ref().unwrap().outcome, Outcome::Failed);
    assert!(!keeper.card.block().unwrap().boot().trying);
}
