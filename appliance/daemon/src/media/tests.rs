//! Files inside images, and bytes that are not what was imported.

use super::*;
use crate::inventory::OpenOptions;
use rackberry_core::{
    event::Actor,
    image::{Compression, ImageKind},
    time::WallTime,
};
use std::{os::unix::fs::FileExt as _, process::Command, time::Duration};

struct Box {
    media: Media,
    inventory: Inventory,
    folder: tempfile::TempDir,
}

impl Box {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let media = Media::new(folder.path().join("assets"), folder.path().join("state")).unwrap();
        let inventory = Inventory::open(OpenOptions::new(folder.path().join("state"))).unwrap();
        media.attend(&inventory);
        Box { media, inventory, folder }
    }

    /// A file or a folder that a script makes.
    fn make(&self, script: &str) -> PathBuf {
        let ran = Command::new("sh").arg("-ec").arg(script).current_dir(self.folder.path()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        self.folder.path().join("out")
    }

    async fn import(&self, name: &str, path: &Path) -> Image {
        let mut import = Import::start(&self.media, name).unwrap();
        import.write(&std::fs::read(path).unwrap()).unwrap();
        let image = import.finish(name.into(), "test".into(), None, WallTime(0)).unwrap();
        let row = image.clone();
        self.inventory.transact(move |tx| tx.put_image(row, Actor::Box).map(drop)).await.unwrap();
        image
    }

    async fn read(&self, image: &Image, path: &str) -> Result<Option<Vec<u8>>, OpenFileError> {
        let file = rackberry_core::boot::path::resolve(&format!("/images/{}/{path}", image.digest));
        let Some(file) = file else { return Ok(None) };
        let Some(opened) = self.media.open(&file).await? else { return Ok(None) };
        let mut bytes = vec![0; usize::try_from(opened.len).unwrap()];
        match &opened.blob {
            Blob::Bytes(held) => bytes.copy_from_slice(held),
            Blob::File(file) => file.read_exact_at(&mut bytes, 0).unwrap(),
            Blob::Part(part) => part.read_exact_at(&mut bytes, 0).unwrap(),
        }
        Ok(Some(bytes))
    }

    fn flip(&self, image: &Image, at: u64, bit: u8) {
        let file = File::options().read(true).write(true).open(self.media.image_path(&image.digest)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
    }
}

/// Numbers that only look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const TREE: &str = "mkdir -p tree/boot/grub tree/dists; head -c 20000 /dev/urandom > tree/boot/vmlinuz; : > tree/empty; \
                    echo menu > tree/boot/grub/grub.cfg; ln -s boot/vmlinuz tree/linux; echo 1 > tree/dists/Release;";
const ISO: &str = "xorriso -as mkisofs -quiet -no-pad -R -J -o out tree";

#[tokio::test]
async fn files_are_served_out_of_discs_and_archives() {
    for (script, kind) in [
        (ISO, ImageKind::Iso),
        ("tar -cf out -C tree .", ImageKind::Tree),
        ("tar -czf out -C tree .", ImageKind::Tree),
        ("tar -cJf out -C tree .", ImageKind::Tree),
        ("tar -cjf out -C tree .", ImageKind::Tree),
        (
            "tar -cf out.tar -C tree .; split -b 9000 out.tar p; for p in p*; do zstd -q $p -c; done > out",
            ImageKind::Tree,
        ),
    ] {
        let site = Box::new();
        let image = site.import("tree", &site.make(&format!("{TREE}{script}"))).await;
        assert_eq!((image.kind, image.compression), (kind, Compression::None), "{script}");
        let kernel = std::fs::read(site.folder.path().join("tree/boot/vmlinuz")).unwrap();
        for path in ["boot/vmlinuz", "linux", "boot//vmlinuz"] {
            assert_eq!(site.read(&image, path).await.unwrap().as_deref(), Some(kernel.as_slice()), "{script} {path}");
        }
        assert_eq!(site.read(&image, "boot/grub/grub.cfg").await.unwrap().as_deref(), Some(b"menu\n".as_slice()));
        assert_eq!(site.read(&image, "empty").await.unwrap().as_deref(), Some(b"".as_slice()));
        for path in ["boot", "boot/", "dists", "none", "boot/vmlinuz/x", "..", "boot/../../../inventory.db"] {
            assert_eq!(site.read(&image, path).await.unwrap(), None, "{script} {path}");
        }
        assert_eq!(site.media.find_inside(&image.digest, "linux").await.unwrap(), Some(20_000));
        assert_eq!(site.media.find_inside(&image.digest, "none").await.unwrap(), None);
        assert_eq!(site.media.find_inside(&Digest([1; 32]), "linux").await.unwrap(), None);
        assert!(image.came.is_some() == (kind == ImageKind::Tree && !script.starts_with("tar -cf out ")), "{script}");
    }
}

#[tokio::test]
async fn a_packed_archive_can_be_kept_as_it_is_and_a_broken_one_is_refused() {
    let site = Box::new();
    let packed = std::fs::read(site.make(&format!("{TREE}tar -czf out -C tree ."))).unwrap();
    let import = |bytes: &[u8], as_it_is| {
        let mut import = Import::start(&site.media, "x").unwrap().as_it_is(as_it_is);
        import.write(bytes).unwrap();
        import.finish("x".into(), "test".into(), None, WallTime(0))
    };
    let image = import(&packed, true).unwrap();
    assert_eq!((image.compression, image.came, image.size_bytes), (Compression::Gzip, None, packed.len() as u64));
    let error = import(&packed[..packed.len() - 1000], false).unwrap_err();
    assert!(matches!(error, ImportError::Unpack { .. }), "{error}");
    assert_eq!(std::fs::read_dir(site.media.incoming()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_may_go_on_can_be_finished_once_more() {
    for script in ["tar -czf out -C tree .", "cp tree/boot/vmlinuz out"] {
        let site = Box::new();
        let came = std::fs::read(site.make(&format!("{TREE}{script}"))).unwrap();
        let path = site.media.incoming().join("x");
        std::fs::write(&path, &came).unwrap();
        // The box goes off after the file has its name, and before anybody knows of it.
        let finish = |there: u64| {
            let import = Import::resume(&site.media, path.clone(), there, |_| {}).unwrap();
            import.finish("x".into(), "test".into(), None, WallTime(0)).unwrap()
        };
        let once = finish(came.len() as u64);
        assert_eq!(std::fs::read(&path).unwrap(), came, "{script}");
        let twice = finish(1 << 40);
        assert_eq!((twice.digest, twice.size_bytes), (once.digest, once.size_bytes), "{script}");
        let blobs = std::fs::read_dir(site.media.incoming().join("..")).unwrap();
        let blobs = blobs.flatten().filter(|entry| entry.file_name().len() == 64).count();
        assert_eq!(blobs, 1, "{script}");
        assert_eq!(site.media.digest_of(&once.digest).unwrap(), once.digest, "{script}");
    }
}

#[tokio::test]
async fn of_a_thousand_flipped_bits_none_is_served() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    for (script, path, flips) in [
        (ISO, "boot/vmlinuz", 334),
        ("tar -cf out -C tree .", "boot/vmlinuz", 333),
        ("cp tree/boot/vmlinuz out", "", 333),
    ] {
        let site = Box::new();
        let image = site.import("tree", &site.make(&format!("{TREE}{script}"))).await;
        let whole = site.read(&image, path).await.unwrap().unwrap();
        assert_eq!(whole.len(), 20_000);
        for _ in 0..flips {
            let (at, bit) = (dice.below(image.size_bytes), u8::try_from(dice.below(8)).unwrap());
            site.flip(&image, at, bit);
            let said = site.read(&image, path).await;
            assert!(
                matches!(said, Err(OpenFileError::Damaged(_))),
                "{script}: bit {bit} of byte {at}: {:?}",
                said.is_ok()
            );
            refused += 1;
            site.flip(&image, at, bit);
        }
        assert_eq!(site.read(&image, path).await.unwrap().unwrap(), whole, "{script}");
        let key = alarm_key(&image.digest);
        let mut snapshots = site.inventory.subscribe();
        let told = snapshots.wait_for(|snapshot| snapshot.alarms.contains_key(&key));
        let told = tokio::time::timeout(Duration::from_secs(30), told).await.unwrap().unwrap().clone();
        assert!(told.alarms[&key].text.as_str().contains("tree"), "{:?}", told.alarms[&key]);
    }
    assert_eq!(refused, 1000);
}

#[tokio::test]
async fn a_disc_costs_a_look_at_the_chunks_of_what_is_asked_for_alone() {
    let site = Box::new();
    let script = "mkdir tree; head -c 9000000 /dev/urandom > tree/a; head -c 9000000 /dev/urandom > tree/b; tar -cf out -C tree a b";
    let image = site.import("two", &site.make(script)).await;
    site.flip(&image, image.size_bytes - 2_000_000, 0);
    assert!(site.read(&image, "a").await.unwrap().is_some());
    assert!(matches!(site.read(&image, "b").await, Err(OpenFileError::Damaged(_))));
    assert!(matches!(site.read(&image, "").await, Err(OpenFileError::Damaged(_))));
}

#[tokio::test]
async fn a_list_of_sums_that_is_missing_or_broken_is_made_anew_from_a_good_file() {
    let site = Box::new();
    let image = site.import("tree", &site.make(&format!("{TREE}tar -cf out -C tree ."))).await;
    let list = sums::Beside::path(&site.media.image_path(&image.digest));
    let good = std::fs::read(&list).unwrap();
    for broken in [None, Some(b"{}".to_vec()), Some(good[..good.len() / 2].to_vec())] {
        match broken {
            Some(bytes) => std::fs::write(&list, bytes).unwrap(),
            None => std::fs::remove_file(&list).unwrap(),
        }
        site.media.forget(&image.digest).await;
        assert_eq!(site.media.find_inside(&image.digest, "linux").await.unwrap(), Some(20_000));
        assert_eq!(std::fs::read(&list).unwrap(), good);
    }
    std::fs::remove_file(&list).unwrap();
    site.flip(&image, 1000, 3);
    assert!(matches!(site.read(&image, "linux").await, Err(OpenFileError::Damaged(_))));
    assert!(!list.exists());
}

#[tokio::test]
async fn five_thousand_hostile_names_read_nothing_from_outside() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut found = 0;
    for script in [ISO, "tar -cf out -C tree ."] {
        let site = Box::new();
        let links = "ln -s ../../../../secret tree/up; ln -s / tree/root; ln -s /etc tree/etc;";
        let image = site.import("tree", &site.make(&format!("{TREE}{links}{script}"))).await;
        std::fs::write(site.folder.path().join("secret"), "secret").unwrap();
        std::fs::write(site.folder.path().join("state/images/secret"), "secret").unwrap();
        let parts = [
            "..",
            ".",
            "",
            "boot",
            "linux",
            "etc",
            "hostname",
            "passwd",
            "root",
            "up",
            "secret",
            "..\\..",
            "%2e%2e",
            "%2e",
            "\\",
            "//",
            "...",
            "images",
            "inventory.db",
            "state",
            "empty",
            "dists",
            "Release",
            "\u{202e}",
            "a:b",
            "c:\\x",
            "\0",
        ];
        for _ in 0..2500 {
            let length = 1 + dice.below(7);
            let name: Vec<&str> =
                (0..length).map(|_| parts[usize::try_from(dice.below(parts.len() as u64)).unwrap()]).collect();
            let name = name.join("/");
            if let Some(bytes) = site.read(&image, &name).await.unwrap() {
                // The archive as a whole, or what lies in it.
                let inside = bytes.len() as u64 == image.size_bytes
                    || bytes.len() == 20_000
                    || bytes == b"1\n"
                    || bytes.is_empty();
                assert!(inside, "{name:?} gave {} bytes", bytes.len());
                found += 1;
            }
        }
    }
    assert!(found > 50, "{found}");
}

#[test]
fn own_files_cannot_lead_outside() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("files");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    std::fs::write(root.join("sub/a.txt"), "a").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("etc")).unwrap();
    assert_eq!(open_beneath(&root, "sub/a.txt", true).unwrap().unwrap().len, 1);
    for path in ["link", "etc/hostname", "../secret", "sub/../../secret", "sub", "none", "sub/a.txt/x"] {
        assert!(open_beneath(&root, path, true).unwrap().is_none(), "{path}");
    }
}
