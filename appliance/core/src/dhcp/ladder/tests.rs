//! The ladder over time: probes, other servers, silence.

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn ladder(mode: Mode, remembered: Option<Stage>) -> Ladder {
    Ladder::new(mode, ProbeTimes::default(), remembered, 7, at(0))
}

fn server(last: u8, boots: bool) -> ForeignServer {
    ForeignServer {
        address: Ipv4Addr::new(10, 0, 0, last),
        mac: None,
        leases: true,
        boots,
        vendor: CleanText::default(),
    }
}

#[test]
fn a_silent_link_gets_pxe_only_after_probes_at_0_2_4_8_and_ten_seconds_more() {
    let mut ladder = ladder(Mode::Auto, None);
    let mut probes = Vec::new();
    for second in 0..18 {
        for step in ladder.tick(at(second)) {
            let Step::Probe { mac, .. } = step else { panic!("{step:?}") };
            assert!(mac.is_station());
            probes.push(second);
        }
        assert_eq!(ladder.stage(), Stage::Observe);
    }
    assert_eq!(probes, [0, 2, 4, 8]);
    assert_eq!(ladder.tick(at(18)), [Step::Stage { from: Stage::Observe, to: Stage::PxeOnly }]);
}

#[test]
fn a_foreign_offer_makes_a_proxy_at_once_and_later_silence_does_not_undo_it_in_one_round() {
    let mut ladder = ladder(Mode::Auto, None);
    ladder.tick(at(0));
    let steps = ladder.foreign(server(1, false));
    assert!(matches!(steps.as_slice(), [Step::Alarm(_), Step::Stage { to: Stage::Proxy, .. }]), "{steps:?}");
    assert_eq!(ladder.foreign(server(1, false)), [], "one alarm per server");
    ladder.tick(at(18));
    assert_eq!(ladder.stage(), Stage::Proxy);
    let mut rounds = 0;
    while ladder.stage() == Stage::Proxy {
        rounds += usize::from(matches!(ladder.round, Round::Waiting { .. }));
        let now = ladder.wakeup();
        ladder.tick(now);
    }
    assert_eq!(ladder.stage(), Stage::PxeOnly);
    assert_eq!(rounds, 2);
}

#[test]
fn beside_another_boot_server_only_enrolled_hosts_are_served() {
    let mut ladder = ladder(Mode::Auto, None);
    ladder.tick(at(0));
    ladder.foreign(server(1, false));
    ladder.foreign(server(1, true));
    assert_eq!(ladder.stage(), Stage::ProxyEnrolled);
}

#[test]
fn a_server_that_appears_mid_run_ends_pxe_only() {
    for mode in [Mode::Auto, Mode::PxeOnly] {
        let mut ladder = ladder(mode, Some(Stage::PxeOnly));
        assert_eq!(ladder.stage(), Stage::PxeOnly, "the stored verdict counts at once");
        ladder.foreign(server(1, false));
        assert_eq!(ladder.stage(), Stage::Proxy);
    }
}

#[test]
fn in_server_mode_a_foreign_server_only_alarms() {
    let mut ladder = ladder(Mode::Server, None);
    assert!(matches!(ladder.foreign(server(1, true)).as_slice(), [Step::Alarm(_)]));
    assert_eq!(ladder.stage(), Stage::Server);
}

#[test]
fn probing_goes_on_every_ten_minutes_more_or_less() {
    let mut ladder = ladder(Mode::Auto, None);
    ladder.tick(at(0));
    ladder.tick(at(18));
    let next = ladder.wakeup().since(at(18));
    assert!((Duration::from_secs(540)..=Duration::from_secs(660)).contains(&next), "{next:?}");
}

#[test]
fn server_mode_is_never_entered_by_itself() {
    assert_eq!(ladder(Mode::Auto, Some(Stage::Server)).stage(), Stage::Observe);
}

#[test]
fn a_client_that_asks_between_rounds_makes_the_box_look_again_but_not_every_time() {
    let mut ladder = ladder(Mode::Auto, None);
    ladder.asked(at(0));
    ladder.tick(at(0));
    ladder.tick(at(18));
    ladder.asked(at(19));
    assert_eq!(ladder.wakeup(), at(19));
    assert!(matches!(ladder.tick(at(19)).as_slice(), [Step::Probe { .. }]));
    for second in 20..=22 {
        assert_eq!(ladder.wakeup(), at(second), "and a second later again, as a server may just be starting");
        assert_eq!(ladder.tick(at(second)).len(), 1);
    }
    assert!(ladder.wakeup() > at(500), "then silence until somebody asks");
    for tenth in 0..100 {
        ladder.asked(Timestamp(100_000 + tenth * 100));
        ladder.tick(Timestamp(100_000 + tenth * 100));
    }
    assert!(ladder.probed.iter().zip(ladder.probed.iter().skip(1)).all(|(a, b)| b.since(*a) >= LOOK_AGAIN));
    ladder.asked(at(112));
    ladder.foreign(server(1, false));
    assert_eq!(ladder.tick(at(200)), [], "a proxy has nothing to lose");
}

#[test]
fn a_new_lease_waits_for_a_look_that_nobody_answered_and_is_never_five_seconds_behind() {
    let patience = Duration::from_millis(500);
    let mut ladder = ladder(Mode::Auto, None);
    ladder.tick(at(0));
    ladder.tick(at(18));
    // A quiet time passed: the first client waits.
    assert_eq!(ladder.clear_at(at(100), patience), Timestamp(100_500));
    ladder.tick(at(100));
    assert_eq!(ladder.clear_at(Timestamp(100_200), patience), Timestamp(100_500), "for the look under way");
    assert_eq!(ladder.clear_at(Timestamp(100_500), patience), Timestamp(100_500));
    assert_eq!(ladder.clear_at(Timestamp(104_900), patience), Timestamp(104_900), "the next ones do not");
    assert_eq!(ladder.clear_at(Timestamp(105_100), patience), Timestamp(105_600), "what is old says nothing");
    for (mode, stage) in [(Mode::Server, Stage::Server), (Mode::Proxy, Stage::Proxy)] {
        let mut chosen = Ladder::new(mode, ProbeTimes::default(), None, 7, at(0));
        assert_eq!((chosen.stage(), chosen.clear_at(at(50), patience)), (stage, at(50)), "a person chose it");
    }
}

#[test]
fn mode_words_are_the_settings() {
    for mode in [Mode::Auto, Mode::Observe, Mode::Proxy, Mode::PxeOnly, Mode::Server] {
        assert_eq!(mode.word().parse(), Ok(mode));
    }
    assert!("full".parse::<Mode>().is_err());
}
