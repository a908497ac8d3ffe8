//! Rules of the pages that a person's safety or understanding hangs on.

use crate::html;
use crate::samples::Samples;
use rackberry_web::views::*;

fn samples() -> Samples<fn(&str) -> String> {
    Samples { t: str::to_owned, theme: Theme::System, contrast: Contrast::System }
}

fn ticked(page: &str) -> Vec<String> {
    let tags = html::read(page).unwrap();
    let chosen = tags.iter().filter(|tag| tag.get("name") == Some("disk") && tag.get("checked").is_some());
    chosen.filter_map(|tag| tag.get("value").map(str::to_owned)).collect()
}

#[test]
fn one_of_several_disks_is_never_chosen_beforehand() {
    assert!(ticked(&rackberry_web::install_dialog(&samples().dialog())).is_empty());
    assert_eq!(ticked(&rackberry_web::install_dialog(&samples().dialog_chosen())), ["serial:S4EVNF0M912873"]);
    assert_eq!(ticked(&rackberry_web::install_dialog(&samples().dialog_empty_disk())), ["serial:W0012"]);
}

#[test]
fn a_refused_disk_cannot_be_chosen() {
    let dialog = InstallDialog { disk: "serial:U1".into(), ..samples().dialog() };
    assert!(ticked(&rackberry_web::install_dialog(&dialog)).is_empty());
}

#[test]
fn the_button_is_red_and_asks_for_the_name_unless_the_disk_is_empty() {
    let red = |page: &str| page.contains("Erase and install") && page.contains("name=\"confirm\"");
    assert!(red(&rackberry_web::install_dialog(&samples().dialog())));
    assert!(red(&rackberry_web::install_dialog(&samples().dialog_chosen())));
    let mut unknown = samples().dialog_empty_disk();
    unknown.disks[0].disk.as_mut().unwrap().contents = Contents::Unknown;
    assert!(red(&rackberry_web::install_dialog(&unknown)));
    unknown.disks[0].disk = None;
    assert!(red(&rackberry_web::install_dialog(&unknown)));
    let empty = rackberry_web::install_dialog(&samples().dialog_empty_disk());
    assert!(
        !empty.contains("Erase and install") && !empty.contains("name=\"confirm\"") && empty.contains("btn main big")
    );
}

#[test]
fn a_disk_with_data_and_no_partitions_is_not_drawn_as_free() {
    let mut raid = samples().dialog_empty_disk();
    raid.disks[0].disk.as_mut().unwrap().contents =
        Contents::Data { summary: "Linux RAID member.".into(), parts: Vec::new() };
    let page = rackberry_web::install_dialog(&raid);
    assert!(page.contains("no partitions") && !page.contains(">free<"), "{page}");
}

#[test]
fn without_a_disk_or_a_system_the_button_is_locked() {
    for dialog in [
        InstallDialog { disks: Vec::new(), ..samples().dialog() },
        InstallDialog { profile: String::new(), ..samples().dialog() },
    ] {
        let tags = html::read(&rackberry_web::install_dialog(&dialog)).unwrap();
        let button = tags.iter().find(|tag| tag.name == "button" && tag.get("form") == Some("f")).unwrap();
        assert!(button.get("disabled").is_some());
    }
}

#[test]
fn a_silent_install_says_so_and_promises_nothing() {
    let progress = Progress {
        percent: Some(18),
        task: "Run installer".into(),
        rate: Some(5),
        left_ms: Some(60_000),
        silent_ms: 34_900,
    };
    let state = StateView {
        kind: StateKind::Silent,
        sentence: "No news for 34 s.".into(),
        aside: String::new(),
        progress: Some(progress),
    };
    let row = HostRow { state, ..samples().rows().remove(0) };
    let drawn = rackberry_web::host_row(&row);
    assert!(
        drawn.contains("No news for 34 s") && drawn.contains("quiet-bar") && drawn.contains("data-state=\"quiet\"")
    );
    assert!(!drawn.contains(" left") && !drawn.contains("B/s") && !drawn.contains("live"));
}

#[test]
fn an_install_without_percent_draws_no_bar() {
    let drawn = rackberry_web::host_row(&samples().rows()[2]);
    assert!(drawn.contains("Boot RAM OS") && !drawn.contains("<progress") && !drawn.contains(" %"));
}

#[test]
fn every_state_has_its_word_shape_and_one_button() {
    let expected = [
        ("busy", "Installing", "Watch"),
        ("quiet", "Installing", "Watch"),
        ("busy", "Installing", "Watch"),
        ("failed", "Failed", "See why"),
        ("failed", "Timed out", "See why"),
        ("failed", "Interrupted", "Resume"),
        ("armed", "Armed", "Disarm"),
        ("waiting", "Waiting", "Install"),
        ("waiting", "Waiting", "Install"),
        ("found", "Discovered", "Install"),
        ("cancelled", "Cancelled", "Install"),
        ("running", "Running", "Open"),
        ("running", "Running", "Open"),
        ("off", "Off", "Install"),
    ];
    let rows = samples().rows();
    assert_eq!(rows.len(), expected.len());
    for (row, (data, word, button)) in rows.iter().zip(expected) {
        let drawn = rackberry_web::host_row(row);
        assert!(drawn.contains(&format!("class=\"chip\" data-state=\"{data}\"")), "{word}: {drawn}");
        assert!(drawn.contains(&format!("</svg>{word}</span>")), "{word}: {drawn}");
        let tags = html::read(&drawn).unwrap();
        let buttons: Vec<_> =
            tags.iter().filter(|tag| tag.get("class").is_some_and(|c| c.starts_with("btn"))).collect();
        assert_eq!(buttons.len(), 1);
        assert!(buttons[0].get("aria-label").unwrap().starts_with(button), "{word}: {drawn}");
    }
}

#[test]
fn a_timeline_always_has_six_stations_and_one_reason_when_stuck() {
    for host in [samples().host(), samples().host_discovered()] {
        let drawn = rackberry_web::host_live(&HostView { earlier: None, ..host });
        let boot = drawn.split("<ol class=\"boot\">").nth(1).unwrap().split("</ol>").next().unwrap();
        assert_eq!(boot.matches("<li ").count(), 6);
    }
    let stuck = rackberry_web::host_live(&samples().host_discovered());
    assert_eq!(stuck.matches("class=\"why\"").count(), 1);
    assert!(stuck.contains("never asked for the loader"));
}

#[test]
fn the_list_keeps_search_and_filter_together() {
    let page = rackberry_web::hosts(&HostsPage { query: "r1 n&x".into(), state: "failed".into(), ..samples().hosts() });
    assert!(
        page.contains("href=\"/?q=r1%20n%26x&#38;state=waiting\"")
            || page.contains("href=\"/?q=r1%20n%26x&amp;state=waiting\""),
        "{page}"
    );
    assert!(page.contains("<input type=\"hidden\" name=\"state\" value=\"failed\">"));
    // A filtered list cannot take the stream's whole list: it asks for its own.
    assert!(page.contains("hx-trigger=\"sse:hosts\"") && !page.contains("sse-swap=\"hosts\""));
}

#[test]
fn empty_lists_name_the_next_step() {
    let hosts = rackberry_web::hosts(&samples().hosts_empty());
    assert!(hosts.contains("No machines yet") && hosts.contains("Listening on eth0 as 10.20.0.2"));
    let shell = Shell::default();
    assert!(
        rackberry_web::images(&ImagesPage { shell: shell.clone(), ..ImagesPage::default() })
            .contains("rackberry image import PATH")
    );
    assert!(
        rackberry_web::profiles(&ProfilesPage { shell: shell.clone(), ..ProfilesPage::default() })
            .contains("No profiles")
    );
    assert!(
        rackberry_web::activity(&ActivityPage { shell, ..ActivityPage::default() }).contains("Nothing happened yet")
    );
}

#[test]
fn no_alarm_still_sends_something() {
    // Browsers drop an event whose data is empty, and the old card would stay.
    assert!(!rackberry_web::alarm(None).trim().is_empty());
}

#[test]
fn nothing_of_an_update_is_offered_while_one_goes_on_or_to_who_may_only_look() {
    let offers = |card: CardView| {
        let page = rackberry_web::updates(&samples().updates(card));
        let main = page.split("<main").nth(1).unwrap().split("</main>").next().unwrap().to_owned();
        main.matches("/updates/").count()
    };
    // Install, drop, roll back, and the form's two addresses.
    assert_eq!(offers(samples().card()), 5);
    assert_eq!(offers(samples().card_plain()), 2);
    for other in [OtherSlot::Empty, OtherSlot::Failed] {
        assert_eq!(offers(CardView { other, ..samples().card() }), 4, "{other:?}");
    }
    for card in [
        samples().card_writing(false),
        samples().card_writing(true),
        CardView { trying: true, ..samples().card() },
        CardView { admin: false, ..samples().card() },
    ] {
        assert_eq!(offers(card.clone()), 0, "{card:?}");
    }
}

#[test]
fn only_an_update_that_goes_on_asks_for_news() {
    let asks = |card| rackberry_web::updates(&samples().updates(card)).contains("hx-trigger=\"every");
    assert!(asks(samples().card_writing(true)) && asks(CardView { trying: true, ..samples().card() }));
    assert!(!asks(samples().card()));
}
