use super::*;
use crate::{
    event::{Actor, BootKey, Event, TaskName},
    id::{BoxId, EventId, HostId},
    image::{Compression, Digest},
    install::{
        Action, Arm, Binding, Fleet, Install, Limits, Next, Phase, Plan, PlannedImage, next_for_agent, plan, transition,
    },
    profile::Profile,
    task::DiskRule,
    text::HostName,
    time::WallTime,
};
use std::collections::BTreeMap;

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn disk() -> SeenDisk {
    SeenDisk { name: "sda".into(), serial: "S1".into(), size_bytes: 1 << 30, content: "Windows".to_owned() }
}

/// Install number `number`, its host in the RAM OS since the tenth second.
fn install(number: u128, rule: ConsentRule) -> Install {
    let toml = "title = \"T\"\nimage = \"i\"\narch = \"x86_64\"\n";
    let profile = Profile::parse("t", toml, &BTreeMap::new()).unwrap();
    let (digest, compression) = (Digest([1; 32]), Compression::None);
    let plan = Plan {
        profile: profile.name.clone(),
        title: profile.title.clone(),
        way: profile.way,
        arch: profile.arch,
        boot: None,
        image: PlannedImage { digest, name: "i".into(), size_bytes: 1, compression, raw_bytes: None },
        disk: DiskRule::Only,
        seen_disk: None,
        erase: true,
        hostname: HostName::new("node").unwrap(),
        parameters: BTreeMap::new(),
        files: Vec::new(),
        seed: profile.seed,
        grow: true,
        boot_order: profile.boot_order,
    };
    let bound = Binding { macs: Vec::new(), uuid: None };
    let fresh = Install {
        id: InstallId(uuid::Uuid::from_u128(number)),
        host: HostId(uuid::Uuid::from_u128(number)),
        plan,
        state: InstallState::armed(&profile.workflow.unwrap(), bound, rule, at(0), Duration::from_secs(7200)),
        created: at(0),
        created_wall: WallTime(0),
        by: "me".into(),
    };
    moved(fresh, EventKind::AgentHello { boot: boot(), address: "".into() }, 10)
}

fn boot() -> BootKey {
    BootKey(Digest([2; 32]))
}

fn step(install: &Install, kind: EventKind, now: Timestamp) -> Result<InstallState, Rejected> {
    let nil = uuid::Uuid::nil();
    let (id, origin, wall) = (EventId(nil), BoxId(nil), WallTime(0));
    let event = Event { id, origin, at: now, wall, host: None, install: None, actor: Actor::Host, kind };
    transition(&install.state, &event, now)
}

fn moved(install: Install, kind: EventKind, seconds: u64) -> Install {
    let state = step(&install, kind, at(seconds)).unwrap();
    Install { state, ..install }
}

fn needed() -> EventKind {
    EventKind::ConsentNeeded { disk: disk() }
}

fn asked() -> EventKind {
    EventKind::ConsentAsked { disk: "".into(), seconds: 60 }
}

fn given(by: ConsentWay) -> EventKind {
    EventKind::ConsentGiven { by }
}

fn claim() -> EventKind {
    EventKind::TaskClaimed { task: TaskName::from("write-image"), attempt: 1, boot: boot() }
}

fn due(installs: &[&Install], seconds: u64) -> Vec<(InstallId, Action)> {
    plan(&Fleet { installs: installs.to_vec(), limits: Limits { per_box: 1, ..Limits::default() } }, at(seconds))
}

/// The display asks about it since the twentieth second.
fn waiting(number: u128) -> Install {
    moved(moved(install(number, ConsentRule::Always), needed(), 15), asked(), 20)
}

#[test]
fn nothing_is_claimed_before_a_yes_whatever_happened_before() {
    let fresh = install(1, ConsentRule::Data);
    let queued = moved(fresh.clone(), needed(), 15);
    let asked = moved(queued.clone(), asked(), 20);
    let wrong = moved(asked.clone(), EventKind::ConsentRefused { left: 2 }, 25);
    let expired = moved(asked.clone(), EventKind::ConsentExpired, 80);
    for install in [&fresh, &queued, &asked, &wrong, &expired] {
        assert_eq!(step(install, claim(), at(90)), Err(Rejected::NoConsent), "{:?}", install.state.consent);
        assert!(due(&[install], 90).iter().all(|(_, action)| !matches!(action, Action::Release { .. })));
    }
    let yes = moved(asked, given(ConsentWay::Press), 30);
    assert_eq!(due(&[&yes], 31).len(), 1);
    let claimed = moved(yes, claim(), 31);
    assert_eq!(claimed.state.phase, Phase::Installing);
    assert_eq!(claimed.state.arm.consumed, Some(at(31)));
    assert_eq!(step(&claimed, needed(), at(32)), Err(Rejected::ArmConsumed), "nobody is asked twice for one Arm");
}

#[test]
fn without_the_setting_nobody_is_asked() {
    let free = install(1, ConsentRule::Never);
    assert!(matches!(due(&[&free], 11).as_slice(), [(_, Action::Release { .. })]));
    assert_eq!(step(&free, asked(), at(11)), Err(Rejected::ConsentNotAsked));
    assert!(moved(free, claim(), 11).state.arm.consumed.is_some());
}

#[test]
fn an_empty_disk_is_waved_through_unless_always_is_set() {
    let waived = || EventKind::ConsentWaived { reason: "".into() };
    let data = moved(install(1, ConsentRule::Data), waived(), 11);
    assert_eq!(data.state.consent, Consent::NotNeeded);
    assert_eq!(step(&install(1, ConsentRule::Always), waived(), at(11)), Err(Rejected::ConsentNotAsked));
    assert_eq!(step(&waiting(1), waived(), at(30)), Err(Rejected::ConsentNotAsked));
    let wants = |rule: ConsentRule| [rule.wants(true), rule.wants(false)];
    let words = ["never", "data", "always"].map(|word| wants(word.parse().unwrap()));
    assert_eq!(words, [[false, false], [false, true], [true, true]]);
}

#[test]
fn the_time_to_say_yes_ends() {
    let asked = waiting(1);
    assert_eq!(due(&[&asked], 79), []);
    assert_eq!(due(&[&asked], 80), [(asked.id, Action::ExpireConsent)]);
    assert_eq!(step(&asked, EventKind::ConsentExpired, at(79)), Err(Rejected::ConsentNotAsked));
    for by in [ConsentWay::Press, ConsentWay::Code] {
        assert_eq!(step(&asked, given(by), at(80)), Err(Rejected::ConsentOver));
    }
    let expired = moved(asked, EventKind::ConsentExpired, 80);
    assert_eq!(step(&expired, given(ConsentWay::Press), at(81)), Err(Rejected::ConsentNotAsked));
    let again = moved(expired, EventKind::ConsentWanted, 90);
    assert_eq!(due(&[&again], 90), [(again.id, Action::AskConsent)]);
    let again = moved(again, self::asked(), 91);
    assert_eq!(again.state.consent.asked_until(), Some(at(151)));
}

#[test]
fn the_third_wrong_code_ends_the_request_and_a_new_one_has_its_own_three() {
    let mut asked = waiting(1);
    assert_eq!(step(&asked, EventKind::ConsentRefused { left: 0 }, at(21)), Err(Rejected::ConsentNotAsked));
    for left in [2, 1, 0] {
        asked = moved(asked, EventKind::ConsentRefused { left }, 22);
    }
    assert!(matches!(asked.state.consent, Consent::Denied { wrong_digits: true, .. }));
    assert_eq!(step(&asked, given(ConsentWay::Code), at(23)), Err(Rejected::ConsentNotAsked));
    assert_eq!(step(&asked, EventKind::ConsentRefused { left: 2 }, at(23)), Err(Rejected::ConsentNotAsked));
    let again = moved(moved(asked, EventKind::ConsentWanted, 30), self::asked(), 31);
    assert!(matches!(again.state.consent, Consent::Asked { tries_left: CONSENT_TRIES, .. }));
}

#[test]
fn a_press_for_the_question_before_does_not_count_for_this_one() {
    let asked = waiting(1);
    assert_eq!(step(&asked, given(ConsentWay::Press), Timestamp(20_999)), Err(Rejected::ConsentTooSoon));
    assert!(step(&asked, given(ConsentWay::Press), at(21)).is_ok());
    assert!(step(&asked, given(ConsentWay::Code), at(20)).is_ok(), "digits are of this question alone");
}

#[test]
fn one_question_is_asked_at_a_time_in_the_order_the_hosts_came() {
    let first = moved(install(2, ConsentRule::Always), needed(), 15);
    let second = moved(install(1, ConsentRule::Always), needed(), 16);
    let all = [&second, &first];
    assert_eq!(due(&all, 20), [(first.id, Action::AskConsent)]);
    let place = |install: &Install, since| consent_place(all.into_iter(), install.id, at(since));
    assert_eq!([place(&first, 15), place(&second, 16)], [0, 1]);
    let shown = moved(first, asked(), 20);
    assert_eq!(due(&[&second, &shown], 21), []);
    let over = moved(shown, EventKind::ConsentExpired, 80);
    assert_eq!(due(&[&second, &over], 80), [(second.id, Action::AskConsent)]);
    let mut consumed = waiting(3);
    consumed.state.arm = Arm { consumed: Some(at(1)), ..consumed.state.arm };
    let mut ended = waiting(4);
    ended.state.phase = Phase::Cancelled;
    assert_eq!(due(&[&second, &ended], 21), [(second.id, Action::AskConsent)], "what is over holds nobody up");
    assert!(due(&[&second, &consumed], 21).contains(&(second.id, Action::AskConsent)));
}

#[test]
fn those_who_wait_for_people_keep_nobody_from_writing() {
    let (asked, queued) = (waiting(1), moved(install(2, ConsentRule::Always), needed(), 15));
    let free = install(3, ConsentRule::Never);
    let fleet = Fleet {
        installs: vec![&asked, &queued, &free],
        limits: Limits { per_box: 1, per_image: 1, ..Limits::default() },
    };
    let next = |install: &Install| next_for_agent(&fleet, Some(install), &boot(), &[], at(21), at(21));
    assert_eq!([next(&asked), next(&queued)], [Next::Wait, Next::Wait]);
    assert!(matches!(next(&free), Next::Claim(_)));
    let fresh = install(4, ConsentRule::Data);
    let fleet = Fleet { installs: vec![&fresh], limits: fleet.limits };
    assert!(matches!(next_for_agent(&fleet, Some(&fresh), &boot(), &[], at(21), at(21)), Next::Consent(_)));
}

#[test]
fn a_yes_is_for_the_disk_that_was_shown() {
    let yes = moved(waiting(1), given(ConsentWay::Code), 30);
    let other = SeenDisk { serial: "S2".into(), ..disk() };
    let again = moved(yes, EventKind::ConsentNeeded { disk: other.clone() }, 31);
    assert_eq!(again.state.consent, Consent::Queued { since: at(31), disk: other });
    assert_eq!(step(&again, claim(), at(32)), Err(Rejected::NoConsent));
}

#[test]
fn a_question_that_lost_its_digits_is_asked_anew_with_its_whole_time_and_a_yes_stays() {
    let again = moved(moved(waiting(1), EventKind::ConsentRefused { left: 2 }, 25), asked(), 50);
    assert!(matches!(again.state.consent, Consent::Asked { until: Timestamp(110_000), tries_left: 3, .. }));
    let yes = moved(again, given(ConsentWay::Press), 60);
    let stored = serde_json::to_string(&yes.state).unwrap();
    assert_eq!(serde_json::from_str::<InstallState>(&stored).unwrap(), yes.state);
    assert_eq!(step(&yes, asked(), at(61)), Err(Rejected::ConsentNotAsked));
    let restarted = EventKind::AgentHello { boot: BootKey(Digest([3; 32])), address: "".into() };
    assert!(moved(yes, restarted, 70).state.consent.open(), "it belongs to the Arm, not to a boot");
}

#[test]
fn an_arm_that_runs_out_meanwhile_says_that_nobody_confirmed() {
    let queued = moved(install(1, ConsentRule::Always), needed(), 15);
    let over = moved(queued, EventKind::ArmExpired, 7200);
    assert!(over.state.reason.as_str().starts_with("Nobody at the box said yes"), "{}", over.state.reason);
    assert!(!over.state.waits_for_consent());
}

#[test]
fn an_install_stored_before_there_was_consent_needs_none() {
    let mut stored = serde_json::to_value(install(1, ConsentRule::Never).state).unwrap();
    stored.as_object_mut().unwrap().remove("consent");
    assert_eq!(serde_json::from_value::<InstallState>(stored).unwrap().consent, Consent::NotNeeded);
}
