//! What every page keeps to: the content security policy, forms that work without a script, the size budget.

use std::collections::HashSet;
use std::io::Write;

use crate::html;
use crate::samples::{Page, Samples};
use flate2::Compression;
use flate2::write::GzEncoder;
use rackberry_web::asset;
use rackberry_web::views::{Contrast, Theme};
use sha2::{Digest, Sha256};

fn pages() -> Vec<Page> {
    Samples { t: str::to_owned, theme: Theme::System, contrast: Contrast::System }.all()
}

fn gzip(bytes: &[u8]) -> usize {
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap().len()
}

#[test]
fn nothing_inline_and_nothing_from_outside() {
    for (name, page) in pages() {
        for tag in html::read(&page).unwrap_or_else(|why| panic!("{name}: {why}")) {
            assert!(tag.name != "style" && tag.name != "iframe" && tag.name != "base", "{name}: {tag:?}");
            for (attribute, value) in &tag.attributes {
                let inline = attribute == "style" || attribute.starts_with("on") || attribute.starts_with("hx-on");
                assert!(!inline, "{name}: {tag:?}");
                // htmx evaluates these, which the policy forbids.
                assert!(
                    !(value.starts_with("js:") || attribute == "hx-trigger" && value.contains('[')),
                    "{name}: {tag:?}"
                );
                if ["href", "src", "action", "formaction", "hx-get", "hx-post", "sse-connect"]
                    .contains(&attribute.as_str())
                {
                    assert!(
                        value.starts_with('/') && !value.starts_with("//") || value.starts_with('#'),
                        "{name}: {tag:?}"
                    );
                }
            }
            if tag.name == "script" {
                let own = |src: &str| src.starts_with("/assets/") && src.contains(".js?v=");
                assert!(tag.get("src").is_some_and(own), "{name}: {tag:?}");
            }
        }
    }
}

#[test]
fn every_form_that_changes_something_posts_a_token() {
    let mut forms = 0;
    for (name, page) in pages() {
        for form in page.split("<form").skip(1) {
            let form = form.split("</form>").next().unwrap_or_default();
            let head = form.split('>').next().unwrap_or_default();
            if head.contains("method=\"get\"") {
                assert!(!form.contains("name=\"csrf\""), "{name}: a token in an address");
            } else {
                forms += 1;
                assert!(head.contains("method=\"post\"") && head.contains("action=\"/"), "{name}: {head}");
                assert!(
                    form.contains("<input type=\"hidden\" name=\"csrf\" value=\"c5f-0123456789\">"),
                    "{name}: {head}"
                );
            }
        }
        let buttons = html::read(&page)
            .unwrap()
            .into_iter()
            .filter(|tag| tag.name == "button" && tag.get("formaction").is_some());
        for button in buttons {
            assert_eq!(button.get("form"), Some("act"), "{name}: {button:?}");
        }
    }
    assert!(forms > 50);
}

#[test]
fn ids_are_unique_and_every_reference_leads_somewhere() {
    for (name, page) in pages() {
        let tags = html::read(&page).unwrap();
        let mut ids = HashSet::new();
        for id in tags.iter().filter_map(|tag| tag.get("id")) {
            assert!(ids.insert(id), "{name}: {id} twice");
        }
        if name.starts_with("fragment") {
            continue;
        }
        for tag in &tags {
            for attribute in ["for", "form", "aria-labelledby", "aria-describedby"] {
                // The dialog's heading comes with its content.
                for id in tag.get(attribute).unwrap_or_default().split(' ').filter(|id| !id.is_empty() && *id != "dt") {
                    assert!(ids.contains(id), "{name}: {attribute}={id} in {tag:?}");
                }
            }
            if let Some(id) = tag.get("href").and_then(|href| href.strip_prefix('#')) {
                assert!(ids.contains(id), "{name}: #{id}");
            }
        }
    }
}

#[test]
fn every_field_has_a_label() {
    for (name, page) in pages() {
        let tags = html::read(&page).unwrap();
        let labelled: HashSet<&str> =
            tags.iter().filter(|tag| tag.name == "label").filter_map(|tag| tag.get("for")).collect();
        for tag in tags.iter().filter(|tag| ["input", "select", "textarea"].contains(&tag.name.as_str())) {
            let wrapped = ["hidden", "radio", "checkbox"].contains(&tag.get("type").unwrap_or_default());
            assert!(wrapped || tag.get("id").is_some_and(|id| labelled.contains(id)), "{name}: {tag:?}");
        }
    }
}

#[test]
fn every_asset_and_shape_a_page_names_is_there() {
    let icons = asset("icons.svg").unwrap();
    let icons = std::str::from_utf8(&icons.bytes).unwrap();
    for (name, page) in pages() {
        for tag in html::read(&page).unwrap() {
            for url in
                [tag.get("href"), tag.get("src")].into_iter().flatten().filter_map(|url| url.strip_prefix("/assets/"))
            {
                let (path, version) = url.split_once("?v=").unwrap();
                let (version, shape) = version.split_once('#').unwrap_or((version, ""));
                assert_eq!(asset(path).unwrap().etag, format!("\"{version}\""), "{name}: {url}");
                assert!(shape.is_empty() || icons.contains(&format!("<symbol id=\"{shape}\"")), "{name}: {shape}");
            }
        }
    }
}

#[test]
fn a_first_view_is_at_most_60_kb_compressed_and_6_requests() {
    let shared = ["style.css", "script.js", "icons.svg", "logo.svg"];
    let weight: usize = shared.iter().map(|name| gzip(&asset(name).unwrap().bytes)).sum();
    for (name, page) in pages() {
        assert!(weight + gzip(page.as_bytes()) <= 60_000, "{name}: {} bytes", weight + gzip(page.as_bytes()));
    }
    // The page itself and its event stream are the other two.
    assert!(shared.len() + 2 <= 6);
}

#[test]
fn only_files_for_pages_are_served() {
    for path in [
        "vendor/README.md",
        "vendor/htmx.LICENSE",
        "../Cargo.toml",
        "/etc/passwd",
        "",
        ".",
        "style.css/",
        "nothing.css",
    ] {
        assert!(asset(path).is_none(), "{path}");
    }
    assert_eq!(asset("style.css").unwrap().content_type, "text/css; charset=utf-8");
    assert_eq!(asset("app.js").unwrap().content_type, "text/javascript; charset=utf-8");
}

#[test]
fn the_own_scripts_are_small_and_evaluate_nothing() {
    for (file, most) in [("app.js", 200), ("import.js", 75)] {
        let script = asset(file).unwrap();
        let script = std::str::from_utf8(&script.bytes).unwrap();
        assert!(script.lines().count() <= most, "{file}");
        for word in
            ["eval(", "new Function", "innerHTML +", "document.write", "insertAdjacentHTML", "http://", "https://"]
        {
            assert!(!script.contains(word), "{file}: {word}");
        }
    }
}

#[test]
fn vendored_scripts_are_the_ones_noted() {
    let notes = include_str!("../../assets/vendor/README.md");
    for file in ["htmx.min.js", "htmx-ext-sse.min.js"] {
        let bytes = asset(&format!("vendor/{file}")).unwrap().bytes;
        let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let line = notes.lines().find(|line| line.contains(&format!("| {file} |"))).unwrap();
        assert!(line.contains(&sum), "{file} has {sum}");
    }
}
