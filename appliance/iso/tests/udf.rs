//! UDF discs of every form that is read, compared with what was put on them and with what 7-Zip takes out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may fail a test")]

mod support;

use rackberry_iso::{Error, Image, Kind, ReadAt, TreeKind};
use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt, path::Path, time::Instant};
use support::{
    Content, Found, folder, have, make_tree, noise, ours, run, same,
    sparse::Sparse,
    udf_disc::{Node, Recipe, seal, write},
    without_modes,
};

const PLAIN: Recipe =
    Recipe { revision: 0x0102, block: 2048, metadata: false, split: false, extended: false, only_mirror: false };

const RECIPES: &[(&str, Recipe)] = &[
    ("1.02, as a DVD", PLAIN),
    ("1.50, blocks of 512 bytes", Recipe { revision: 0x0150, block: 512, ..PLAIN }),
    ("2.01, extended file entries", Recipe { revision: 0x0201, extended: true, ..PLAIN }),
    ("2.01, blocks of 4096 bytes", Recipe { revision: 0x0201, block: 4096, extended: true, ..PLAIN }),
    ("2.50, metadata partition", Recipe { revision: 0x0250, metadata: true, ..PLAIN }),
    ("2.60, metadata partition", Recipe { revision: 0x0260, metadata: true, extended: true, ..PLAIN }),
    ("2.60, metadata in two parts", Recipe { revision: 0x0260, metadata: true, split: true, extended: true, ..PLAIN }),
    ("2.60, mirror only", Recipe { revision: 0x0260, metadata: true, extended: true, only_mirror: true, ..PLAIN }),
];

/// All forms a file can have. Links, and descriptors that go on, are `beyond` what 7-Zip reads.
fn content(block: u32, beyond: bool) -> BTreeMap<String, Node> {
    let block = block as usize;
    let mut root = BTreeMap::new();
    let mut add = |name: &str, node: Node| root.insert(name.to_owned(), node);
    add("empty", Node::File(Vec::new(), 1));
    add("embedded", Node::File(noise(200, 1), 0));
    add("one", Node::File(noise(3 * block, 2), 1));
    add("odd", Node::File(noise(block + 1, 3), 1));
    add("six stretches", Node::File(noise(11 * block + 5, 4), 6));
    add("caf\u{e9}", Node::File(b"Latin-1\n".to_vec(), 1));
    add("\u{20ac}\u{1f600}", Node::File(b"UTF-16\n".to_vec(), 0));
    let many = (0..120).map(|number| (format!("file {number}"), Node::File(noise(number, number as u64), 0)));
    add("many", Node::Directory(many.collect()));
    let mut deep = BTreeMap::from([("bottom".to_owned(), Node::File(b"deep\n".to_vec(), 1))]);
    for level in 0..12 {
        deep = BTreeMap::from([(format!("level {level}"), Node::Directory(deep))]);
    }
    add("deep", Node::Directory(deep));
    if beyond {
        add("holes", Node::Holes(noise(9 * block + 100, 5)));
        add("many stretches", Node::File(noise(300 * block, 6), 150));
        add("link", Node::Link("deep/../many/file 7"));
        add("up", Node::Link("/one"));
    }
    root
}

/// What a directory of nodes has to look like.
fn expected(root: &BTreeMap<String, Node>, block: u32) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![(String::new(), root)];
    while let Some((above, names)) = waiting.pop() {
        for (name, node) in names {
            let path = format!("{above}/{name}");
            let (kind, content, target) = match node {
                Node::File(content, _) => ("file", content.clone(), ""),
                Node::Holes(content) => {
                    let parts = content.chunks(block as usize).enumerate();
                    let holes =
                        parts.flat_map(|(n, part)| if n % 3 == 0 { part.to_vec() } else { vec![0; part.len()] });
                    ("file", holes.collect(), "")
                }
                Node::Link(target) => ("link", Vec::new(), *target),
                Node::Directory(inner) => {
                    waiting.push((path.clone(), inner));
                    ("directory", Vec::new(), "")
                }
            };
            let item = Found {
                kind,
                size: content.len() as u64,
                content: Content(content),
                target: target.to_owned(),
                mode: (kind != "link").then_some(0o755),
                modified: (kind == "file").then_some(981_173_106),
            };
            found.insert(path, item);
        }
    }
    found
}

fn store(image: &Sparse, path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(image.size().unwrap()).unwrap();
    for (number, sector) in &image.sectors {
        file.write_all_at(sector, number * 2048).unwrap();
    }
}

fn seven_zip() -> Option<&'static str> {
    ["7zz", "7z"].into_iter().find(|program| have(program))
}

#[test]
fn every_form_of_a_udf_disc_is_read() {
    for (name, recipe) in RECIPES {
        let root = content(recipe.block, true);
        let disc = write(*recipe, &root);
        let image = Image::open(&disc).unwrap();
        assert_eq!(image.trees(), [TreeKind::Udf], "{name}");
        assert_eq!(image.udf_revision(), Some(recipe.revision));
        assert_eq!(image.label(TreeKind::Udf), "a label");
        let tree = image.best_tree().unwrap();
        same(name, &ours(&tree, &disc), &expected(&root, recipe.block));
        // Links are followed, case matters only between names that differ in nothing else.
        assert_eq!(tree.find("/LINK").unwrap().name, b"file 7");
        assert_eq!(tree.find("up").unwrap().name, b"one");
        assert_eq!(tree.find("CAF\u{c9}").unwrap().size, 8);
        assert!(matches!(tree.find("gone"), Err(Error::NotFound { .. })), "deleted names are gone");
        let holes = tree.contents(&tree.find("holes").unwrap()).unwrap();
        assert_eq!(holes.extents().iter().filter(|extent| extent.offset.is_none()).count(), 3);
    }
}

#[test]
fn seven_zip_sees_the_same_discs() {
    let Some(program) = seven_zip() else { return };
    let began = Instant::now();
    for (name, recipe) in RECIPES {
        // What 7-Zip does not read.
        if recipe.only_mirror || recipe.split || recipe.block > 2048 {
            continue;
        }
        let temporary = tempfile::tempdir().unwrap();
        let root = content(recipe.block, false);
        let disc = write(*recipe, &root);
        store(&disc, &temporary.path().join("made.udf"));
        run(temporary.path(), &format!("{program} x -y -bd -tudf -otaken made.udf"));
        let image = Image::open(&disc).unwrap();
        let found = ours(&image.best_tree().unwrap(), &disc);
        same(name, &without_modes(found), &without_modes(folder(&temporary.path().join("taken"))));
    }
    println!("compared with {program} in {:?}", began.elapsed());
}

/// What was put on the discs in `testdata`, which Linux 6.12 wrote to (mkudffs 2.3, mounted, files grown in turns so that they lie
/// in many pieces, one with holes, one deleted).
fn linux_wrote() -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    let mut add = |path: &str, kind: &'static str, content: Vec<u8>, target: &str| {
        let size = content.len() as u64;
        let item = Found { kind, size, content: Content(content), target: target.into(), mode: None, modified: None };
        found.insert(path.to_owned(), item);
    };
    let blocks = |word: &str, count: usize| {
        let block = |number| {
            let mut block = format!("{word} {number}").into_bytes();
            block.resize(4096, 0);
            block
        };
        (0..count).flat_map(block).collect::<Vec<u8>>()
    };
    for path in ["/d", "/d/e", "/d/e/f", "/many", "/lost+found"] {
        add(path, "directory", Vec::new(), "");
    }
    add("/small", "file", b"small\n".to_vec(), "");
    add("/d/hard", "file", b"small\n".to_vec(), "");
    add("/d/e/f/bottom", "file", b"bottom\n".to_vec(), "");
    add("/caf\u{e9} \u{20ac}", "file", b"u\n".to_vec(), "");
    add("/empty", "file", Vec::new(), "");
    add("/d/up", "link", Vec::new(), "../small");
    add("/d/abs", "link", Vec::new(), "/big");
    add("/big", "file", [blocks("big", 20), b"end".to_vec()].concat(), "");
    add("/frag-a", "file", blocks("a", 60), "");
    add("/frag-b", "file", blocks("b", 60), "");
    let mut sparse = vec![0; 61 * 4096];
    sparse[5 * 4096..6 * 4096].copy_from_slice(&blocks("hole", 2)[..4096]);
    sparse[60 * 4096..].copy_from_slice(&blocks("hole", 2)[4096..]);
    add("/sparse", "file", sparse, "");
    for number in 0..40 {
        add(&format!("/many/name-{number}"), "file", format!("{number}\n").into_bytes(), "");
    }
    found
}

#[test]
fn discs_that_linux_wrote_to_are_read() {
    let mut expected = linux_wrote();
    for (name, revision) in [("150-2048", 0x0150), ("201-2048", 0x0201)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(format!("linux-{name}.sectors"));
        let disc = Sparse::decode(&std::fs::read(path).unwrap());
        let image = Image::open(&disc).unwrap();
        assert_eq!(image.udf_revision(), Some(revision));
        let label = if name == "201-2048" { "Gr\u{f6}\u{df}e" } else { "LinuxUDF" };
        assert_eq!(image.label(TreeKind::Udf), label);
        let tree = image.best_tree().unwrap();
        let mut found = ours(&tree, &disc);
        assert_eq!((found["/small"].mode, found["/small"].modified), (Some(0o640), Some(981_173_106)));
        assert_eq!(found["/big"].mode, Some(0o4755));
        // Some revisions of mkudffs make this folder.
        found.remove("/lost+found");
        expected.remove("/lost+found");
        same(name, &without_modes(found), &expected);
        assert_eq!(tree.find("d/up").unwrap().name, b"small");
        let pieces = tree.contents(&tree.find("frag-a").unwrap()).unwrap();
        assert!(pieces.extents().len() > 20, "the file is in {} pieces", pieces.extents().len());
    }
}

#[test]
fn a_bridge_disc_of_mkisofs_is_read_as_7_zip_reads_it() {
    let Some(program) = seven_zip() else { return };
    if !have("genisoimage") {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    make_tree(temporary.path());
    run(temporary.path(), "genisoimage -quiet -R -J -udf -o made.iso tree");
    run(temporary.path(), &format!("{program} x -y -bd -tudf -otaken made.iso"));
    let image = Image::open(File::open(temporary.path().join("made.iso")).unwrap()).unwrap();
    let found = ours(&image.tree(TreeKind::Udf).unwrap(), image.source());
    assert!(found.len() > 150);
    same("bridge", &without_modes(found), &without_modes(folder(&temporary.path().join("taken"))));
}

#[test]
fn a_disc_that_is_still_being_written_is_refused_by_what_it_is() {
    for (kind, word) in
        [("*UDF Virtual Partition", "VAT"), ("*UDF Sparable Partition", "spare"), ("*Else", "not known")]
    {
        let recipe = Recipe { revision: 0x0250, metadata: true, ..PLAIN };
        let mut disc = write(recipe, &content(2048, false));
        for begin in [96_u64, 128] {
            let sector = disc.sectors.get_mut(&(begin + 2)).unwrap();
            let length = 16 + usize::from(u16::from_le_bytes([sector[10], sector[11]]));
            sector[451..474].fill(0);
            sector[451..451 + kind.len()].copy_from_slice(kind.as_bytes());
            seal(&mut sector[..length]);
        }
        let image = Image::open(&disc).unwrap();
        assert!(image.trees().is_empty());
        let Err(error) = image.best_tree() else { panic!("{kind} was read") };
        assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_copy_of_the_volume_descriptors_serves_when_the_first_is_broken() {
    let mut disc = write(PLAIN, &content(2048, false));
    for number in 96..100 {
        disc.sectors.remove(&number);
    }
    assert!(Image::open(&disc).unwrap().best_tree().unwrap().find("one").is_ok());
    disc.sectors.remove(&256);
    assert!(Image::open(&disc).unwrap().best_tree().unwrap().find("one").is_ok(), "the anchor at the end");
}

#[test]
fn directories_and_descriptors_that_go_in_circles_end() {
    // The directory "deep" is made the root's own block: it contains itself.
    let root = BTreeMap::from([
        ("again".to_owned(), Node::Directory(BTreeMap::new())),
        ("long".to_owned(), Node::File(noise(100 * 2048, 1), 50)),
    ]);
    let mut disc = write(PLAIN, &root);
    let sector = disc.sectors.get_mut(&302).unwrap();
    // The root's entry holds its names: parent (40 bytes), then "again".
    let at = 176 + 40;
    assert_eq!(&sector[at + 38..at + 44], b"\x08again");
    sector[at + 24..at + 28].copy_from_slice(&2_u32.to_le_bytes());
    seal(&mut sector[at..at + 44]);
    let length = 16 + usize::from(u16::from_le_bytes([sector[10], sector[11]]));
    seal(&mut sector[..length]);
    let image = Image::open(&disc).unwrap();
    let tree = image.best_tree().unwrap();
    let last = tree.walk().last().unwrap();
    assert!(matches!(last, Err(Error::DirectoryLoop { .. })), "{last:?}");
    assert_eq!(tree.find("again/again/again/long").unwrap().kind, Kind::File, "a path ends by itself");
    assert!(matches!(tree.find("again/".repeat(300)), Err(Error::PathTooLong { .. })));
    // Allocation descriptors that lead back to the first table of them.
    let file = tree.find("long").unwrap();
    let (first, second) = {
        let mut tables: Vec<u64> = disc.sectors.iter().filter(|(_, s)| s[..2] == [2, 1]).map(|(n, _)| *n).collect();
        tables.sort_unstable();
        (tables[3], tables[2])
    };
    assert!(tree.contents(&file).is_ok());
    let mut circle = disc.clone();
    let copy = circle.sectors[&first].clone();
    circle.sectors.insert(second, copy);
    let image = Image::open(&circle).unwrap();
    let tree = image.best_tree().unwrap();
    let error = tree.contents(&tree.find("long").unwrap()).unwrap_err();
    assert!(error.to_string().contains("circles"), "{error}");
}
