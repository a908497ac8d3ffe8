//! A folder to make images of, the programs that make and read them, and both sides' view as one kind of list.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may fail a test")]

pub mod iso_disc;
pub mod sparse;
pub mod udf_disc;

use rackberry_iso::{Kind, ReadAt, Tree};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

/// What one path is: enough to tell any two files apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub kind: &'static str,
    pub size: u64,
    pub content: Content,
    pub target: String,
    pub mode: Option<u32>,
    pub modified: Option<i64>,
}

/// Bytes that are shown as few.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content(pub Vec<u8>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}...", self.0.get(..24).unwrap_or(&self.0).escape_ascii().to_string())
    }
}

/// Whether a program is there; says which is not, so that nobody takes silence for success.
pub fn have(program: &str) -> bool {
    let there = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !there {
        println!("not run: no {program}");
    }
    there
}

/// Runs a program to its good end.
pub fn run(folder: &Path, command: &str) -> String {
    let words = command.split(' ').filter(|word| !word.is_empty());
    let done =
        Command::new("timeout").arg("300").args(words).current_dir(folder).env("LC_ALL", "C.UTF-8").output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{command}: {told}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A folder with all that names, sizes, links and depths can bring up: `tree` below `folder`.
pub fn make_tree(folder: &Path) {
    let tree = folder.join("tree");
    let deep = tree.join("deep/b/c/d/e/f/g/h/i/j/k");
    for path in [&deep, &tree.join("empty"), &tree.join("isolinux"), &tree.join("many"), &tree.join("EFI/BOOT")] {
        fs::create_dir_all(path).unwrap();
    }
    let write = |name: &str, bytes: &[u8]| fs::write(tree.join(name), bytes).unwrap();
    write("isolinux/vmlinuz", &noise(300_001, 1));
    write("isolinux/initrd.gz", &noise(1_048_576, 2));
    write("isolinux/boot.img", &noise(2048, 3));
    write("EFI/BOOT/efi.img", &noise(4096, 4));
    for size in [0, 1, 2047, 2048, 2049] {
        write(&format!("size.{size}"), &noise(size, 5));
    }
    write("README", b"no ending\n");
    write("Two.Dots.tar.gz", b"two dots\n");
    write(&format!("{}.long", "n".repeat(190)), b"long name\n");
    write("caf\u{e9} \u{20ac}.txt", b"beyond ASCII\n");
    fs::write(deep.join("bottom"), b"at the bottom\n").unwrap();
    // More than one sector of records.
    for number in 0..150 {
        write(&format!("many/file-{number:03}"), format!("{number}\n").as_bytes());
    }
    fs::hard_link(tree.join("isolinux/vmlinuz"), tree.join("hard")).unwrap();
    symlink("isolinux/vmlinuz", tree.join("kernel")).unwrap();
    symlink("/deep/b", tree.join("absolute")).unwrap();
    symlink("../../../../README", tree.join("deep/b/c/d/up")).unwrap();
    symlink("../../../../../etc/passwd", tree.join("deep/out")).unwrap();
    symlink("circle-b", tree.join("circle-a")).unwrap();
    symlink("circle-a", tree.join("circle-b")).unwrap();
    // Two records' worth; with three genisoimage 1.1.11 never ends.
    symlink("x".repeat(250) + "/../" + &"y/".repeat(30), tree.join("long-link")).unwrap();
    fs::set_permissions(tree.join("README"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(tree.join("size.1"), fs::Permissions::from_mode(0o4755)).unwrap();
    run(folder, "touch -d 2001-02-03T04:05:06Z tree/README tree/size.1");
}

/// Bytes that repeat nowhere, the same each time.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A tree of an image as this crate reads it, each file by its extents.
pub fn ours(tree: &Tree<'_>, image: &impl ReadAt) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    let mut walk = tree.walk();
    for item in &mut walk {
        let (path, entry) = item.unwrap();
        let (mut content, mut size) = (Vec::new(), 0);
        if entry.kind == Kind::File {
            let contents = tree.contents(&entry).unwrap();
            size = contents.len();
            assert_eq!(size, entry.size);
            let mut bytes = vec![0; 70_001];
            let mut at = 0;
            while at < size {
                let count = contents.read_at(image, at, &mut bytes).unwrap();
                content.extend(&bytes[..count]);
                at += count as u64;
            }
        }
        let path = String::from_utf8(path).unwrap();
        // One of many is enough.
        if !path.contains("many/") || path.ends_with("77") {
            let again = tree.find_link(&path).unwrap();
            assert_eq!((again.kind, again.size, again.modified), (entry.kind, entry.size, entry.modified), "{path}");
        }
        let item = Found {
            kind: match entry.kind {
                Kind::File => "file",
                Kind::Directory => "directory",
                Kind::Symlink => "link",
                Kind::Special => "special",
            },
            size,
            content: Content(content),
            target: String::from_utf8(entry.target.unwrap_or_default()).unwrap(),
            mode: entry.mode.map(|mode| mode & 0o7777).filter(|_| entry.kind != Kind::Symlink),
            modified: entry.modified.filter(|_| entry.kind == Kind::File),
        };
        assert!(found.insert(path.clone(), item).is_none(), "{path} is there twice");
    }
    assert_eq!(walk.unnameable(), 0);
    found
}

/// A folder as it lies on the disk.
pub fn folder(top: &Path) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mut item = Found {
                kind: "special",
                size: 0,
                content: Content::default(),
                target: String::new(),
                mode: Some(metadata.mode() & 0o7777),
                modified: None,
            };
            if metadata.is_symlink() {
                item.kind = "link";
                item.mode = None;
                item.target = fs::read_link(&path).unwrap().to_str().unwrap().to_owned();
            } else if metadata.is_dir() {
                item.kind = "directory";
                waiting.push(path.clone());
            } else if metadata.is_file() {
                let bytes = fs::read(&path).unwrap();
                item.kind = "file";
                item.size = metadata.len();
                item.content = Content(bytes);
                item.modified = Some(metadata.mtime());
            }
            found.insert(format!("/{}", path.strip_prefix(top).unwrap().to_str().unwrap()), item);
        }
    }
    found
}

/// Fails with the first paths that differ.
pub fn same(what: &str, ours: &BTreeMap<String, Found>, theirs: &BTreeMap<String, Found>) {
    let mut wrong = Vec::new();
    for path in ours.keys().chain(theirs.keys().filter(|path| !ours.contains_key(*path))) {
        if ours.get(path) != theirs.get(path) {
            wrong.push(format!("{path}\n  ours   {:?}\n  theirs {:?}", ours.get(path), theirs.get(path)));
        }
    }
    assert!(wrong.is_empty(), "{what}: {} differ\n{}", wrong.len(), wrong[..wrong.len().min(8)].join("\n"));
}

/// Leaves out what a tree does not know.
pub fn without_modes(mut found: BTreeMap<String, Found>) -> BTreeMap<String, Found> {
    for item in found.values_mut() {
        item.mode = None;
        item.modified = None;
    }
    found
}
