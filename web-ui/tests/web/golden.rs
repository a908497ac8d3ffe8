//! Every page in its key states, compared with the reviewed files in `tests/golden`.
//! After a wanted change: `BLESS=1 cargo test -p rackberry-web --test web golden`, then read the difference.

use std::path::PathBuf;
use std::{env, fs};

use crate::samples::Samples;
use rackberry_web::views::{Contrast, Theme};

#[test]
fn pages_equal_their_golden_files() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = env::var_os("BLESS").is_some();
    let mut differing = Vec::new();
    let pages = Samples { t: str::to_owned, theme: Theme::System, contrast: Contrast::System }.all();
    for (name, html) in &pages {
        let file = folder.join(format!("{name}.html"));
        let html = format!("{}\n", without_versions(html).trim());
        if bless {
            fs::write(&file, html).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != html {
            differing.push(*name);
        }
    }
    assert!(differing.is_empty(), "these pages differ from their golden files: {differing:?}");
    let kept = fs::read_dir(&folder).unwrap().count();
    assert_eq!(kept, pages.len(), "a golden file has no page any more");
}

/// Style sheets may change without touching every page.
fn without_versions(html: &str) -> String {
    let mut out = String::new();
    for (n, piece) in html.split("?v=").enumerate() {
        let version = if n == 0 { 0 } else { piece.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(piece.len()) };
        if n > 0 {
            out.push_str("?v=0");
        }
        out.push_str(&piece[version..]);
    }
    out
}
