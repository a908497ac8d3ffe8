//! Writes the sample pages and the assets into a folder, to look at them in a browser:
//! `cargo run -p rackberry-web --example render -- OUT [light|dark|more|plain]`, then serve OUT with any static server.

#[path = "../tests/web/samples/mod.rs"]
mod samples;

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use rackberry_web::views::{Contrast, Theme};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = PathBuf::from(arguments.next().ok_or("name the folder to write to")?);
    let (theme, contrast) = match arguments.next().as_deref() {
        Some("dark") => (Theme::Dark, Contrast::System),
        Some("more") => (Theme::Light, Contrast::More),
        Some("light") => (Theme::Light, Contrast::System),
        _ => (Theme::System, Contrast::System),
    };
    fs::create_dir_all(out.join("assets"))?;
    for name in ["style.css", "script.js", "icons.svg", "logo.svg"] {
        let asset = rackberry_web::asset(name).ok_or("an asset is missing")?;
        fs::write(out.join("assets").join(name), asset.bytes)?;
    }
    for (name, html) in (samples::Samples { t: str::to_owned, theme, contrast }).all() {
        fs::write(out.join(format!("{name}.html")), html)?;
    }
    Ok(())
}
