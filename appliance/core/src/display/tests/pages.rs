//! Which page when, and what keeps a panel from burning in.

use super::{
    super::{Alarm, Light, Notice, Panel, StatusView, Step, Turned, dimmed, picture},
    PANELS,
    samples::{ready, samples},
};
use std::time::Duration;

fn sample(name: &str) -> StatusView {
    samples().into_iter().find(|(known, ..)| *known == name).unwrap().1
}

/// Ticks at which another picture comes, within one minute and without its slow movement.
fn changes(view: &StatusView) -> Vec<u64> {
    let shown = |tick| picture(view, tick, Panel::Tall);
    (1..60).filter(|tick| shown(*tick) != shown(tick - 1)).collect()
}

#[test]
fn pages_take_turns_every_six_seconds() {
    let turning = sample("installs-many");
    assert_eq!(changes(&turning), [6, 12, 18, 24, 30, 36, 42, 48, 54]);
    assert_eq!(changes(&ready("10.20.0.2")), Vec::<u64>::new(), "one page alone stays");
}

#[test]
fn an_alarm_is_pinned_and_blinks() {
    let mut view = sample("installs-many");
    view.alarms = sample("alarm").alarms;
    for tick in 0..40 {
        assert_eq!(picture(&view, tick, Panel::Tall), picture(&sample("alarm"), tick, Panel::Tall), "{tick}");
    }
    assert_eq!(changes(&view).len(), 59, "lit and dark swap each second");
}

#[test]
fn a_notice_comes_before_an_alarm() {
    let mut view = sample("alarm");
    view.notice = Some(Notice::ResetMarked);
    for panel in PANELS {
        assert_eq!(picture(&view, 7, panel), picture(&sample("reset-marked"), 7, panel));
    }
}

#[test]
fn a_press_turns_the_page_and_half_a_minute_later_pages_turn_by_themselves() {
    let alarm = Alarm { title: "Card is read-only".to_owned(), text: "It cannot be written.".to_owned() };
    let pinned = StatusView { alarms: vec![alarm], button: true, ..ready("10.20.0.2") };
    let pressed = |presses, at| StatusView { turned: Some(Turned { presses, first: 100, at }), ..pinned.clone() };
    let shown = |view: &StatusView, tick| picture(view, tick, Panel::Tall);
    assert_eq!(shown(&pressed(0, 100), 100), shown(&pinned, 100));
    assert_ne!(shown(&pressed(1, 100), 100), shown(&pinned, 100), "its details");
    let behind = StatusView { alarms: Vec::new(), ..pinned.clone() };
    assert_ne!(shown(&pressed(2, 100), 100), shown(&behind, 100), "behind it the box says that there is an alarm");
    assert_eq!(shown(&pressed(3, 100), 100), shown(&pinned, 100), "round again");
    assert_ne!(shown(&pressed(1, 100), 129), shown(&pinned, 129));
    assert_eq!(shown(&pressed(1, 100), 130), shown(&pinned, 130));
}

#[test]
fn the_first_press_turns_away_from_what_is_shown() {
    let view = StatusView { button: true, ..sample("installs-many") };
    for tick in 0..24 {
        let pressed = StatusView { turned: Some(Turned { presses: 1, first: tick, at: tick }), ..view.clone() };
        assert_ne!(picture(&pressed, tick, Panel::Tall), picture(&view, tick, Panel::Tall), "{tick}");
    }
}

#[test]
fn the_picture_moves_and_swaps_sides_so_that_no_pixel_is_always_lit() {
    let view = ready("10.20.0.2");
    for panel in PANELS {
        let shown: Vec<_> = (0..1200).step_by(10).map(|tick| picture(&view, tick, panel)).collect();
        let pixels = 128 * panel.rows();
        let always =
            (0..pixels).filter(|pixel| shown.iter().all(|picture| picture.lit(pixel % 128, pixel / 128))).count();
        println!("{}: {always} of {pixels} pixels are lit for 20 minutes", panel.word());
        assert!(always * 40 < pixels, "{always} pixels of {} are lit for 20 minutes", panel.word());
    }
    let top = |tick| (0..64).find(|y| (0..128).any(|x| picture(&view, tick, Panel::Tall).lit(x, *y))).unwrap();
    let tops: Vec<usize> = (0..480).step_by(80).map(top).collect();
    assert_eq!(tops, [0, 1, 2, 3, 2, 1]);
}

#[test]
fn five_quiet_minutes_dim_the_panel() {
    assert!(!dimmed(Duration::from_secs(299)));
    assert!(dimmed(Duration::from_secs(300)));
}

#[test]
fn the_light_calls_for_a_person_before_it_tells_of_work() {
    assert_eq!(Light::of(&ready("10.20.0.2")), Light::Steady);
    assert_eq!(Light::of(&sample("no-network")), Light::Slow);
    assert_eq!(Light::of(&sample("install")), Light::Slow);
    assert_eq!(Light::of(&sample("install-failed")), Light::Fast);
    assert_eq!(Light::of(&sample("alarm")), Light::Fast);
    assert_eq!(Light::of(&sample("consent")), Light::Fast);
    assert_eq!(Light::of(&sample("goodbye")), Light::Off);
    let lit = |light: Light| (0..8).filter(|n| light.lit(Duration::from_millis(n * 250))).count();
    assert_eq!([Light::Steady, Light::Slow, Light::Fast, Light::Off].map(lit), [8, 4, 4, 0]);
}

#[test]
fn the_worst_installs_are_on_the_page_when_not_all_are() {
    let mut view = sample("installs-4");
    let busy = view.installs.first().cloned().unwrap();
    view.installs = vec![busy; 6];
    let before = picture(&view, 0, Panel::Tall);
    view.installs.last_mut().unwrap().step = Step::Failed("Failed".to_owned());
    assert_ne!(picture(&view, 0, Panel::Tall), before);
}

#[test]
fn a_view_is_the_same_after_a_journey_as_json() {
    for (name, view, _) in samples() {
        let json = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<StatusView>(&json).unwrap(), view, "{name}");
    }
    let sparse: StatusView = serde_json::from_str(r#"{"name": "box", "hosts": 3}"#).unwrap();
    assert_eq!((sparse.name.as_str(), sparse.hosts), ("box", 3));
}
