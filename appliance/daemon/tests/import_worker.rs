//! The process that looks at foreign media: what it says of good media, and what becomes of an import when it fails.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail a test")]

use rackberry::media::{Import, Media};
use rackberry_core::{
    image::{Image, ImageKind, System},
    time::WallTime,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A folder as a tar, taken in by a box whose worker is this program.
fn import(worker: PathBuf) -> Image {
    let folder = tempfile::tempdir().unwrap();
    let media = Media::new(folder.path().join("assets"), folder.path().join("state")).unwrap().with_worker(worker);
    let script = "mkdir -p in/.disk; echo 'Debian GNU/Linux 13.1.0 \"Trixie\" - Official amd64 NETINST' > in/.disk/info; tar -cf out -C in .";
    assert!(Command::new("sh").arg("-ec").arg(script).current_dir(folder.path()).status().unwrap().success());
    let mut import = Import::start(&media, "x").unwrap();
    import.write(&std::fs::read(folder.path().join("out")).unwrap()).unwrap();
    let image = import.finish("x".into(), "test".into(), None, WallTime(0)).unwrap();
    assert!(media.image_path(&image.digest).is_file());
    image
}

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("worker");
    // Written by another process: one that this one starts meanwhile would hold the file open for writing, and it could not run.
    let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\"; chmod 755 \"$0\"";
    assert!(Command::new("sh").args(["-ec", write]).arg(&path).arg(text).status().unwrap().success());
    path
}

#[test]
fn the_program_itself_says_what_media_are() {
    let image = import(PathBuf::from(env!("CARGO_BIN_EXE_rackberry")));
    assert_eq!(
        (image.kind, image.system, image.unread.clone()),
        (ImageKind::Tree, Some(System::Debian), None),
        "{image:?}"
    );
    assert_eq!(image.version.unwrap().as_str(), "13.1.0");
}

#[test]
fn a_worker_that_crashes_or_talks_nonsense_holds_up_no_import() {
    let folder = tempfile::tempdir().unwrap();
    for (text, said) in [
        ("kill -SEGV $$", "signal: 11"),
        ("exit 3", "exit status: 3"),
        ("echo '{\"kind\":\"castle\"}'", "does not read"),
        ("head -c 1000000 /dev/zero", "found nothing out"),
        ("true", "does not read"),
    ] {
        let image = import(script(folder.path(), text));
        assert_eq!((image.kind, image.system), (ImageKind::Unknown, None), "{text}");
        let unread = image.unread.unwrap();
        assert!(unread.as_str().contains(said), "{text}: {unread}");
    }
    let image = import(folder.path().join("none"));
    assert!(image.unread.unwrap().as_str().contains("could not be started"));
}

/// The worker's own words about an empty file, started by `start`.
fn words(start: &str) -> serde_json::Value {
    let script = format!("{start} < /dev/null");
    let run =
        Command::new("sh").args(["-ec", &script]).env("WORKER", env!("CARGO_BIN_EXE_rackberry")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn where_namespaces_are_not_to_be_had_it_says_so_and_looks() {
    let usual = words("\"$WORKER\" import-worker");
    assert_eq!(usual["found"]["kind"], "unknown", "{usual}");
    assert!(!usual["without"].as_array().unwrap().contains(&"network".into()), "{usual}");
    let inside = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$WORKER\" import-worker";
    let without = words(&format!("unshare --user --map-root-user sh -ec '{inside}'"));
    assert_eq!(without["found"]["kind"], "unknown", "{without}");
    assert!(without["without"].as_array().unwrap().contains(&"network".into()), "{without}");
}
