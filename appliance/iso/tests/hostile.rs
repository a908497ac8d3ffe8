//! Discs and paths that are made to do harm: none of them reaches anything but the image, and each is answered.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may fail a test")]

mod support;

use rackberry_iso::{Error, Image, Kind, ReadAt, TreeKind};
use std::{collections::BTreeSet, io, time::Instant};
use support::{
    iso_disc::{GOES_ON, Record, directory, disc, goes_on_field, link_field, name_field, number},
    noise,
    sparse::Sparse,
};

/// The names of the root of a disc's best tree.
fn names(image: &Sparse) -> (Vec<String>, u32) {
    let image = Image::open(image).unwrap();
    let tree = image.best_tree().unwrap();
    let listing = tree.list(tree.root()).unwrap();
    let names = listing.entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
    (names, listing.unnameable)
}

/// What became of asking for the content of a path.
fn content(image: &Sparse, path: &str) -> Result<Vec<u8>, Error> {
    let opened = Image::open(image)?;
    let tree = opened.best_tree()?;
    let contents = tree.contents(&tree.find(path)?)?;
    let mut bytes = vec![0; usize::try_from(contents.len()).unwrap()];
    contents.read_at(image, 0, &mut bytes).unwrap();
    Ok(bytes)
}

/// Counts what is read.
struct Counting<'a>(&'a Sparse, std::cell::Cell<u64>);

impl ReadAt for Counting<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(offset, buf)?;
        self.1.set(self.1.get() + count as u64);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

#[test]
fn five_thousand_hostile_paths_bring_nothing_from_outside_of_the_image() {
    let began = Instant::now();
    let link = |name: &[u8], target: &[(u8, &[u8])]| {
        Record::file(name, 0, 0).with(&name_field(name)).with(&link_field(target))
    };
    let named = |record: Record| {
        let name = record.name.clone();
        record.with(&name_field(&name))
    };
    // Links that climb out, lead to each other, to a root, and to themselves.
    let mut image = disc(
        true,
        &[
            named(Record::file(b"inside", 30, 6)),
            named(Record::directory(b"etc", 21)),
            link(b"up", &[(4, b""), (4, b""), (4, b""), (0, b"etc"), (0, b"passwd")]),
            link(b"root", &[(8, b""), (0, b"etc"), (0, b"passwd")]),
            link(b"slashes", &[(0, b"/../../../../etc/passwd")]),
            link(b"a", &[(0, b"b")]),
            link(b"b", &[(2, b""), (0, b"a")]),
            link(b"self", &[(0, b"self"), (0, b"self")]),
        ],
    );
    directory(&mut image, 21, true, &[named(Record::file(b"hostname", 31, 7)), link(b"back", &[(4, b""), (0, b"up")])]);
    image.put(30 * 2048, b"inside");
    image.put(31 * 2048, b"in disc");
    let own: BTreeSet<&[u8]> = [&b"inside"[..], b"in disc"].into();

    let parts = [
        "..",
        ".",
        "",
        "etc",
        "passwd",
        "hostname",
        "inside",
        "up",
        "root",
        "slashes",
        "a",
        "self",
        "back",
        "...",
        "....",
        "..\\",
        "\\..\\..",
        "%2e%2e",
        "%2e%2e%2f",
        "..%00",
        "\0",
        "..\0",
        "etc\0",
        "\u{202e}",
        "\u{ff0e}\u{ff0e}",
        "~",
        "~root",
        "C:",
        "\\\\host\\share",
        "etc;1",
        "INSIDE",
        "proc",
        "self",
        "fd",
        "dev",
        "file:",
        "|id",
        "$(id)",
        "*",
        "?",
        "-",
        "\r\n",
        "\u{7f}",
    ];
    let dice = noise(5000 * 12, 77);
    let (mut asked, mut found, mut foreign) = (0, 0, 0);
    for throw in dice.chunks(12).take(5000) {
        let length = 1 + usize::from(throw[0] % 10).min(usize::from(throw[11] % 11));
        let chosen: Vec<&str> = throw[1..=length].iter().map(|die| parts[usize::from(*die) % parts.len()]).collect();
        let separator = ["/", "//", "/./", "\\"][usize::from(throw[11] % 4)];
        let mut path =
            ["", "/", "//", "./", "../"][usize::from(throw[11] / 4 % 5)].to_owned() + &chosen.join(separator);
        if throw[11] == 255 {
            path = path.repeat(400);
        }
        asked += 1;
        if let Ok(bytes) = content(&image, &path) {
            found += 1;
            foreign += usize::from(!own.contains(&bytes[..]));
        }
    }
    println!("{asked} paths, {found} of them name a file of the disc, {foreign} others; {:?}", began.elapsed());
    assert_eq!(foreign, 0);
    assert!(found > 10, "some of them do name a file");
    assert_eq!(content(&image, "/etc/./hostname").unwrap(), b"in disc");
    for path in ["up", "slashes", "etc/back", "../inside", "etc/../inside"] {
        assert!(matches!(content(&image, path), Err(Error::LeadsOut { .. })), "{path}");
    }
    for path in ["a", "self", "b/etc"] {
        assert!(matches!(content(&image, path), Err(Error::LinkLoop { .. })), "{path}");
    }
    assert!(matches!(content(&image, "root"), Err(Error::NotFound { .. })), "the root is the disc's");
    assert!(matches!(content(&image, "inside/x"), Err(Error::NotADirectory { .. })));
    assert!(matches!(content(&image, "etc"), Err(Error::NotAFile { .. })));
    assert!(matches!(content(&image, &"x/".repeat(3000)), Err(Error::PathTooLong { .. })));
}

#[test]
fn names_that_no_path_can_name_are_left_out_and_counted() {
    let wrong: [&[u8]; 6] = [b"a/b", b"nul\0nul", b"..", b".", b"/etc/passwd", b""];
    let records: Vec<Record> = wrong
        .iter()
        .map(|name| Record::file(b"X.;1", 30, 1).with(&name_field(name)))
        .chain([Record::file(b"Y.;1", 30, 1).with(&name_field(b"sound"))])
        .collect();
    assert_eq!(names(&disc(true, &records)), (vec!["sound".to_owned()], 6));
    let plain: Vec<Record> =
        [&b"A/B.;1"[..], b"..;1", b";1", b"OK.TXT;1"].map(|name| Record::file(name, 30, 1)).to_vec();
    assert_eq!(names(&disc(false, &plain)), (vec!["OK.TXT".to_owned()], 3));
}

#[test]
fn plain_names_come_without_version_and_in_any_case() {
    let mut image = disc(false, &[Record::file(b"VMLINUZ.;1", 30, 4), Record::file(b"Initrd.gz;1", 31, 4)]);
    image.put(30 * 2048, b"linu");
    image.put(31 * 2048, b"init");
    assert_eq!(content(&image, "/vmlinuz").unwrap(), b"linu");
    assert_eq!(content(&image, "/VMLINUZ").unwrap(), b"linu");
    assert_eq!(content(&image, "INITRD.GZ").unwrap(), b"init");
    assert!(content(&image, "/vmlinuz.;1").is_err());
    // Rock Ridge is exact.
    let exact = disc(true, &[Record::file(b"A.;1", 30, 4).with(&name_field(b"Vmlinuz"))]);
    assert!(content(&exact, "Vmlinuz").is_ok() && content(&exact, "vmlinuz").is_err());
}

#[test]
fn directories_that_hold_each_other_end_a_walk() {
    let mut image = disc(false, &[Record::directory(b"A", 21)]);
    directory(&mut image, 21, false, &[Record::directory(b"ROOT", 20), Record::directory(b"SELF", 21)]);
    let opened = Image::open(&image).unwrap();
    let tree = opened.best_tree().unwrap();
    assert!(matches!(tree.walk().last(), Some(Err(Error::DirectoryLoop { .. }))));
    assert_eq!(tree.find("A/ROOT/A/SELF/SELF/ROOT").unwrap().kind, Kind::Directory, "a path ends by itself");
    assert!(matches!(tree.find("A/ROOT/".repeat(200)), Err(Error::PathTooLong { .. })));
    // A directory that was moved, and is its own ancestor.
    let moved = Record::file(b"M", 0, 0).with(&name_field(b"moved")).with(b"CL\x0c\x01").with(&number(20));
    let image = disc(true, &[moved]);
    let opened = Image::open(&image).unwrap();
    let tree = opened.best_tree().unwrap();
    assert!(matches!(tree.walk().last(), Some(Err(Error::DirectoryLoop { .. }))));
}

#[test]
fn directories_that_overlap_are_read_no_more_than_the_image_is_long() {
    // Each of sixty directories claims everything behind it.
    let mut records: Vec<Record> = Vec::new();
    for number in 0..40_u32 {
        let name = format!("D{number}");
        records.push(Record { length: 2048 * (79 - number), ..Record::directory(name.as_bytes(), 21 + number) });
    }
    let image = disc(false, &records);
    let counting = Counting(&image, 0.into());
    let opened = Image::open(&counting).unwrap();
    let last = opened.best_tree().unwrap().walk().last().unwrap();
    assert!(matches!(last, Err(Error::DirectoryLoop { .. })), "{last:?}");
    assert!(counting.1.get() < 2 * image.size, "{} bytes of {}", counting.1.get(), image.size);
}

#[test]
fn what_lies_outside_of_the_image_is_told_and_not_read() {
    let image = disc(
        false,
        &[
            Record::file(b"FAR.;1", u32::MAX, u32::MAX),
            Record::file(b"LONG.;1", 30, u32::MAX),
            Record::file(b"EMPTY.;1", u32::MAX, 0),
            Record { length: u32::MAX, ..Record::directory(b"HUGE", 22) },
            Record::directory(b"GONE", 4_000_000),
        ],
    );
    for path in ["FAR", "LONG", "HUGE/x", "GONE/x"] {
        let error = content(&image, path).unwrap_err();
        assert!(matches!(error, Error::Outside { .. }), "{path}: {error}");
    }
    assert_eq!(content(&image, "EMPTY").unwrap(), b"", "an empty file lies nowhere");
    let mut short = disc(false, &[]);
    short.size = 40_000;
    assert!(matches!(Image::open(&short), Err(Error::Outside { what: "the root directory", .. })));
}

#[test]
fn a_file_in_sections_is_one_and_an_unfinished_one_is_an_error() {
    let section = |first, length, flags| Record { flags, ..Record::file(b"BIG.;1", first, length) };
    let mut image = disc(false, &[section(30, 2048, GOES_ON), section(40, 2048, GOES_ON), section(50, 5, 0)]);
    image.put(30 * 2048, &noise(2048, 1));
    image.put(40 * 2048, &noise(2048, 2));
    image.put(50 * 2048, b"end..");
    let whole = [noise(2048, 1), noise(2048, 2), b"end..".to_vec()].concat();
    assert_eq!(content(&image, "big").unwrap(), whole);
    assert_eq!(names(&image).0, ["BIG"]);
    for records in
        [vec![section(30, 2048, GOES_ON)], vec![section(30, 2048, GOES_ON), Record::file(b"OTHER.;1", 40, 1)]]
    {
        let error = content(&disc(false, &records), "big").unwrap_err();
        assert!(error.to_string().contains("not complete"), "{error}");
    }
}

#[test]
fn forms_that_cannot_be_served_in_place_are_refused_by_name() {
    let image = disc(
        true,
        &[
            Record { unit: 2, ..Record::file(b"I", 30, 9) },
            Record::file(b"Z", 30, 9).with(b"ZF\x10\x01pz\x04\x0f").with(&number(100)),
            Record::file(b"S", 30, 9).with(b"SF\x15\x01").with(&number(0)).with(&number(9)).with(&[1]),
        ],
    );
    for (path, word) in [("I", "interleaved"), ("Z", "zisofs"), ("S", "sparse")] {
        let error = content(&image, path).unwrap_err();
        assert!(matches!(error, Error::Encoded { .. }) && error.to_string().contains(word), "{error}");
    }
}

#[test]
fn continuation_areas_that_lead_to_themselves_or_on_and_on_end() {
    let mut image = disc(true, &[Record::file(b"A", 30, 1).with(&goes_on_field(25, 0, 100))]);
    image.put(25 * 2048, &goes_on_field(25, 0, 100));
    assert!(matches!(content(&image, "A"), Err(Error::Malformed { .. })));
    let huge = disc(true, &[Record::file(b"A", 30, 1).with(&goes_on_field(25, 0, 150_000))]);
    assert!(matches!(content(&huge, "A"), Err(Error::Limit { .. })));
    let outside = disc(true, &[Record::file(b"A", 30, 1).with(&goes_on_field(u32::MAX, u32::MAX, 100))]);
    assert!(matches!(content(&outside, "A"), Err(Error::Outside { .. })));
    // A name and a target in two areas each are whole.
    let first = [name_field(b"first-"), link_field(&[(0, b"a"), (1, b"b")]), goes_on_field(25, 10, 200)].concat();
    let mut sound = disc(true, &[Record::file(b"A", 0, 0).with(&first)]);
    let second = [name_field(b"second"), link_field(&[(0, b"c"), (4, b"")])].concat();
    sound.put(25 * 2048 + 10, &second);
    let opened = Image::open(&sound).unwrap();
    let entry = opened.best_tree().unwrap().find_link("first-second").unwrap();
    assert_eq!(entry.target.unwrap(), b"a/bc/..");
}

#[test]
fn what_is_no_disc_is_told_apart_from_a_broken_one() {
    for bytes in [vec![], vec![0; 100], vec![0; 1 << 20], noise(1 << 20, 3)] {
        assert!(matches!(Image::open(bytes), Err(Error::NotAnImage)));
    }
    let mut odd = disc(false, &[]);
    odd.put(32768 + 158, &40_u32.to_le_bytes());
    odd.put(32768 + 128, &[0, 4, 4, 1]);
    assert!(Image::open(&odd).is_ok(), "blocks of 1,024 bytes");
    odd.put(32768 + 128, &[7, 0, 0, 7]);
    assert!(matches!(Image::open(&odd), Err(Error::Malformed { offset: 32768, .. })));
    let opened = disc(false, &[]);
    assert!(matches!(Image::open(&opened).unwrap().tree(TreeKind::Joliet), Err(Error::NoTree(TreeKind::Joliet))));
}
