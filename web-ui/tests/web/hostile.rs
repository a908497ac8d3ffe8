//! Hostile text in every field of every page changes no element and no attribute name.

use crate::html;
use crate::samples::Samples;
use rackberry_web::views::{Alarm, Contrast, ErrorPage, Link, Section, Shell, Theme};

const PAYLOADS: [&str; 8] = [
    "\"><script>alert(1)</script>",
    "' onmouseover='alert(1)' x='",
    "</textarea></title></style><svg/onload=alert(1)>",
    "<img src=x onerror=alert(1)>",
    "&lt;script&gt; &amp;amp; &#60;b&#62; &copy &",
    "{{ 7*7 }} {% raw %} ${7*7} <!-- --> ]]>",
    "a\r\nb\tc\u{0}d\u{2028}e\u{202e}f",
    "javascript:alert(1)",
];

fn samples<F: Fn(&str) -> String>(t: F) -> Samples<F> {
    Samples { t, theme: Theme::Dark, contrast: Contrast::More }
}

fn shape(page: &str) -> Vec<String> {
    html::read(page).expect("well-formed").iter().map(html::Tag::shape).collect()
}

#[test]
fn hostile_text_changes_no_structure() {
    let calm = samples(str::to_owned).all();
    for payload in PAYLOADS {
        let hostile = samples(|text| format!("{text}{payload}")).all();
        for ((name, calm), (_, hostile)) in calm.iter().zip(&hostile) {
            let read = html::read(hostile).unwrap_or_else(|why| panic!("{name} with {payload:?}: {why}"));
            let read: Vec<String> = read.iter().map(html::Tag::shape).collect();
            assert_eq!(read, shape(calm), "{name} with {payload:?}");
            // The display's picture is the one image there is.
            let foreign = hostile.replace("<img class=\"oled\"", "");
            assert!(!foreign.contains("<script>") && !foreign.contains("<img"), "{name} with {payload:?}");
        }
    }
}

#[test]
fn long_and_empty_texts_stay_well_formed() {
    for text in ["", "x", &"Ω<".repeat(500)] {
        for (name, page) in samples(|_| text.to_owned()).all() {
            html::read(&page).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
}

#[test]
fn links_of_alarms_and_errors_stay_on_the_box() {
    for href in
        ["javascript:alert(1)", "//evil.example/", "/\\evil.example/", "https://evil.example/", "", "/\n/evil.example"]
    {
        let link = Link { label: "go".into(), href: href.into() };
        let alarm = Alarm { links: vec![link.clone()], ..Alarm::default() };
        let page = ErrorPage { link: Some(link), ..ErrorPage::default() };
        for drawn in [rackberry_web::alarm(Some(&alarm)), rackberry_web::error(&page)] {
            assert!(drawn.contains("href=\"/\">go</a>"), "{href:?} in {drawn}");
        }
        let shell = Shell { back: href.into(), ..Shell::default() };
        assert!(rackberry_web::not_found(Some(&shell), "/x").contains("name=\"back\" value=\"/\""), "{href:?}");
    }
    let link = Link { label: "go".into(), href: "/hosts/h-1?x=1#y".into() };
    assert!(
        rackberry_web::alarm(Some(&Alarm { links: vec![link], ..Alarm::default() }))
            .contains("href=\"/hosts/h-1?x=1#y\"")
    );
}

#[test]
fn ids_become_one_path_segment_and_one_event_name() {
    let page = rackberry_web::host_row(&samples(|text| format!("{text}/../x y,z?q#\"")).rows()[0]);
    let tags = html::read(&page).unwrap();
    assert_eq!(tags[0].get("sse-swap"), Some("host-h-03----x-y-z-q--"));
    let link = tags.iter().find(|tag| tag.name == "a").unwrap();
    assert_eq!(link.get("href"), Some("/hosts/h-03%2F..%2Fx%20y%2Cz%3Fq%23%22"));
}

#[test]
fn secrets_are_never_written_back() {
    let calm = samples(str::to_owned);
    assert!(calm.dialog().params.iter().any(|p| p.value == "never-shown-again"), "the sample holds a secret");
    for (name, page) in calm.all() {
        assert!(!page.contains("never-shown-again"), "{name}");
    }
}

#[test]
fn fragments_of_the_stream_hold_no_token() {
    let calm = samples(str::to_owned);
    let token = calm.shell(Section::Hosts).csrf;
    for (name, page) in calm.all() {
        let shared = ["fragment-row", "fragment-list", "fragment-host", "fragment-alarm"].contains(&name);
        assert!(!(shared && page.contains(&token)), "{name}");
    }
}
