//! What the display shows, held against pictures that were looked at.

mod hostile;
mod pages;
mod samples;

use super::{Panel, Picture, StatusView, picture};
use samples::samples;
use std::path::PathBuf;

const PANELS: [Panel; 2] = [Panel::Tall, Panel::Strip];

fn golden(name: &str, panel: Panel) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/display").join(format!("{name}.{}.txt", panel.word()))
}

/// `UPDATE_GOLDEN=1` writes them anew; look at each before it is committed.
#[test]
fn every_page_looks_as_it_was_reviewed() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (name, view, tick) in samples() {
        for panel in PANELS {
            let path = golden(name, panel);
            let drawn = picture(&view, tick, panel).text();
            if update {
                std::fs::write(&path, &drawn).unwrap();
            }
            let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
            compared += 1;
            if drawn != reviewed {
                wrong.push(format!("{name} on {} is now\n{drawn}", panel.word()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 40, "only {compared} pictures");
    println!("{compared} golden pictures are the same");
}

#[test]
fn no_golden_picture_is_left_over() {
    let known: Vec<PathBuf> =
        samples().into_iter().flat_map(|(name, ..)| PANELS.map(|panel| golden(name, panel))).collect();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/display");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(known.contains(&path), "{} belongs to no page", path.display());
    }
}

/// The text of the code in a picture, read as a camera would: each pixel many times as large, some room around.
fn decode(picture: &Picture) -> Option<String> {
    const SCALE: usize = 4;
    let (width, height) = (128 * SCALE, picture.panel().rows() * SCALE);
    let mut camera = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
        if picture.lit(x / SCALE, y / SCALE) { 255 } else { 0 }
    });
    camera.detect_grids().first().and_then(|grid| grid.decode().ok()).map(|(_, text)| text)
}

#[test]
fn the_code_is_read_from_the_picture_wherever_it_moved() {
    let urls = [
        ("http://192.168.77.1/", "HTTP://192.168.77.1/"),
        ("http://192.168.100.200/", "HTTP://192.168.100.200/"),
        ("http://10.0.0.1:8000/", "HTTP://10.0.0.1:8000/"),
        ("http://rackberry.local/", "HTTP://RACKBERRY.LOCAL/"),
    ];
    for (url, read) in urls {
        let view = StatusView { url: url.to_owned(), ..samples::ready("10.20.0.2") };
        for tick in (0..1500).step_by(40) {
            let shown = picture(&view, tick, Panel::Tall);
            assert_eq!(decode(&shown).as_deref(), Some(read), "at {tick}: {shown:?}");
        }
    }
}

#[test]
fn a_url_too_long_for_the_panel_is_written_out() {
    let view = StatusView { url: "http://192.168.100.200:8000/".to_owned(), ..samples::ready("192.168.100.200") };
    assert_eq!(decode(&picture(&view, 0, Panel::Tall)), None);
    let folder = StatusView { url: "http://10.0.0.1/A/b".to_owned(), ..samples::ready("10.0.0.1") };
    let read = decode(&picture(&folder, 0, Panel::Tall));
    assert!(read.is_none() || read.as_deref() == Some("http://10.0.0.1/A/b"), "a path keeps its case: {read:?}");
}
