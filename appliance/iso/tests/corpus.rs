//! The discs that the workspace's fuzz targets begin with: UPDATE_GOLDEN=1 makes them anew, with xorriso and genisoimage.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may fail a test")]

mod support;

use rackberry_iso::{Image, TreeKind};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use support::{
    run,
    sparse::Sparse,
    udf_disc::{Node, Recipe, write},
};

const MADE: &[(&str, &str)] = &[
    ("plain-1", "genisoimage -quiet -iso-level 1 -o IMAGE tree"),
    ("plain-4", "genisoimage -quiet -iso-level 4 -o IMAGE tree"),
    ("rock-ridge", "genisoimage -quiet -R -D -o IMAGE tree"),
    ("rock-ridge-moved", "genisoimage -quiet -R -o IMAGE tree"),
    ("joliet", "genisoimage -quiet -J -D -o IMAGE tree"),
    ("rock-ridge-joliet", "genisoimage -quiet -R -J -o IMAGE tree"),
    ("bridge", "genisoimage -quiet -R -J -udf -o IMAGE tree"),
    ("bridge-plain", "genisoimage -quiet -D -udf -o IMAGE tree"),
    ("zisofs", "genisoimage -quiet -R -z -o IMAGE packed"),
    ("xorriso", "xorriso -as mkisofs -quiet -R -J -no-pad -o IMAGE tree"),
    ("xorriso-moved", "xorriso -as mkisofs -quiet -R -rr_reloc_dir /rr_moved -no-pad -o IMAGE tree"),
    ("xorriso-plain", "xorriso -as mkisofs -quiet --norock -no-pad -o IMAGE tree"),
    (
        "xorriso-boot",
        "xorriso -as mkisofs -quiet -R -no-pad -o IMAGE -b boot.img -no-emul-boot -boot-load-size 4 -eltorito-alt-boot \
         -e boot.img -no-emul-boot tree",
    ),
    ("genisoimage-boot", "genisoimage -quiet -R -o IMAGE -b boot.img -no-emul-boot -boot-load-size 4 tree"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/iso")
}

#[test]
fn every_disc_of_the_corpus_is_still_read() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        make();
    }
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        // What was found broken once need not be readable.
        if path.file_name().unwrap().to_string_lossy().starts_with("find-") {
            continue;
        }
        let disc = Sparse::decode(&fs::read(&path).unwrap());
        let image = Image::open(&disc).unwrap();
        for kind in image.trees() {
            let names = image.tree(kind).unwrap().walk().map(Result::unwrap).fold(0, |count, _| count + 1);
            assert!(names >= 3, "{}: {kind}: {names}", path.display());
        }
        seen += image.trees().len();
    }
    assert!(seen > 30, "{seen} trees");
}

fn make() {
    let temporary = tempfile::tempdir().unwrap();
    let tree = temporary.path().join("tree");
    fs::create_dir_all(tree.join("d/e/f/g/h/i/j/k/l")).unwrap();
    // No content but zeros: what matters is what leads there.
    for (name, size) in
        [("boot.img", 2048), ("README", 3000), ("d/e/f/g/h/i/j/k/l/bottom", 1), ("n".repeat(60).as_str(), 0)]
    {
        fs::write(tree.join(name), vec![0; size]).unwrap();
    }
    symlink("d/../README", tree.join("link")).unwrap();
    symlink("/d/e/".to_owned() + &"x".repeat(230), tree.join("d/long-link")).unwrap();
    run(temporary.path(), "touch -d 2020-01-01T00:00:00Z tree/README");
    run(temporary.path(), "mkzftree tree packed");
    let store = |name: &str, disc: &Sparse| fs::write(folder().join(name), disc.encode()).unwrap();
    for (name, recipe) in MADE {
        run(temporary.path(), &recipe.replace("IMAGE", "made.iso"));
        store(name, &Sparse::of(&fs::read(temporary.path().join("made.iso")).unwrap()));
    }
    for (name, revision, block, metadata, split, extended) in [
        ("udf-102", 0x0102, 2048, false, false, false),
        ("udf-150-512", 0x0150, 512, false, false, false),
        ("udf-201", 0x0201, 2048, false, false, true),
        ("udf-201-4096", 0x0201, 4096, false, false, true),
        ("udf-250", 0x0250, 2048, true, false, false),
        ("udf-260", 0x0260, 2048, true, false, true),
        ("udf-260-split", 0x0260, 2048, true, true, true),
    ] {
        let recipe = Recipe { revision, block, metadata, split, extended, only_mirror: false };
        let file = |stretches| Node::File(vec![0; 3 * block as usize * stretches], stretches);
        let inner = BTreeMap::from([("i".to_owned(), Node::File(vec![1; 20], 0)), ("e".to_owned(), file(1))]);
        let root = BTreeMap::from([
            ("a".to_owned(), file(2)),
            ("many".to_owned(), file(25)),
            ("holes".to_owned(), Node::Holes(vec![0; 5 * block as usize])),
            ("\u{20ac}".to_owned(), Node::Directory(inner)),
            ("link".to_owned(), Node::Link("../a")),
        ]);
        store(name, &write(recipe, &root));
    }
    let image = Sparse::decode(&fs::read(folder().join("bridge")).unwrap());
    assert_eq!(Image::open(&image).unwrap().trees(), TreeKind::ALL);
}
