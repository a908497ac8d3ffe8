//! Lists an image: `list_image IMAGE [rock-ridge|udf|joliet|plain]`.

use rackberry_iso::{Image, TreeKind};
use std::{fs::File, io::Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which image?")?;
    let image = Image::open(File::open(&path)?)?;
    let tree = match arguments.next().as_deref() {
        None => image.best_tree()?,
        Some("rock-ridge") => image.tree(TreeKind::RockRidge)?,
        Some("udf") => image.tree(TreeKind::Udf)?,
        Some("joliet") => image.tree(TreeKind::Joliet)?,
        Some("plain") => image.tree(TreeKind::Plain)?,
        Some(other) => return Err(format!("there is no tree {other}").into()),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} tree of {:?}; all: {:?}", tree.kind(), tree.label(), image.trees())?;
    for boot in image.boot_images()? {
        writeln!(out, "{:?} {:?} at byte {}", boot.platform, boot.media, boot.offset)?;
    }
    let mut walk = tree.walk();
    for item in &mut walk {
        let (path, entry) = item?;
        let mode = entry.mode.unwrap_or_default();
        write!(out, "{:?} {mode:o} {} {}", entry.kind, entry.size, path.escape_ascii())?;
        match &entry.target {
            Some(target) => writeln!(out, " -> {}", target.escape_ascii())?,
            None => writeln!(out)?,
        }
    }
    writeln!(out, "{} entries cannot be named", walk.unnameable())?;
    Ok(())
}
