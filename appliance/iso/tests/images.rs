//! Images as other programs make them, compared file by file with what other programs read out of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests may fail a test")]

mod support;

use rackberry_iso::{Error, Image, Media, Platform, TreeKind};
use std::{fs::File, path::Path, time::Instant};
use support::{folder, have, make_tree, noise, ours, run, same, without_modes};

/// How an image is made, and the trees it has to have.
const RECIPES: &[(&str, &str, &[TreeKind])] = {
    use TreeKind::{Joliet, Plain, RockRidge, Udf};
    &[
        ("level 1", "genisoimage -quiet -iso-level 1 -o IMAGE tree", &[Plain]),
        ("level 2", "genisoimage -quiet -iso-level 2 -D -o IMAGE tree", &[Plain]),
        ("level 3", "xorriso -as mkisofs -quiet -iso-level 3 --norock -o IMAGE tree", &[Plain]),
        ("level 4", "genisoimage -quiet -iso-level 4 -m caf* -o IMAGE tree", &[Plain]),
        ("relaxed", "genisoimage -quiet -U -m caf* -o IMAGE tree", &[Plain]),
        ("Rock Ridge, directories moved", "genisoimage -quiet -R -o IMAGE tree", &[RockRidge, Plain]),
        ("Rock Ridge, rationalized, deep", "genisoimage -quiet -r -D -o IMAGE tree", &[RockRidge, Plain]),
        ("Joliet", "genisoimage -quiet -J -joliet-long -o IMAGE tree", &[Joliet, Plain]),
        ("Rock Ridge and Joliet", "genisoimage -quiet -R -J -o IMAGE tree", &[RockRidge, Joliet, Plain]),
        ("bridge", "genisoimage -quiet -R -J -joliet-long -udf -o IMAGE tree", &[RockRidge, Udf, Joliet, Plain]),
        ("bridge without Rock Ridge", "genisoimage -quiet -D -udf -J -o IMAGE tree", &[Udf, Joliet, Plain]),
        ("xorriso", "xorriso -as mkisofs -quiet -R -J -joliet-long -o IMAGE tree", &[RockRidge, Joliet, Plain]),
        (
            "xorriso, Rock Ridge 1.12, directories moved",
            "xorriso -compliance new_rr:aaip_susp_1_10_off -as mkisofs -quiet -R -rr_reloc_dir /rr_moved -o IMAGE tree",
            &[RockRidge, Plain],
        ),
        (
            "boots by BIOS, as hybrid and from an appended partition",
            "xorriso -as mkisofs -quiet -R -J -o IMAGE -b isolinux/boot.img -no-emul-boot -boot-load-size 4 \
             -append_partition 2 0xef tree/EFI/BOOT/efi.img -appended_part_as_gpt -eltorito-alt-boot \
             -e --interval:appended_partition_2:all:: -no-emul-boot -isohybrid-gpt-basdat tree",
            &[RockRidge, Joliet, Plain],
        ),
    ]
};

/// What xorriso takes out of an image; `read` chooses the tree.
fn extracted(folder_of_it: &Path, image: &str, read: &str) -> std::path::PathBuf {
    let out = folder_of_it.join(format!("{image}-{read}"));
    run(folder_of_it, &format!("xorriso -osirrox on -read_fs {read} -indev {image} -extract / {}", out.display()));
    out
}

#[test]
fn every_tree_of_every_kind_of_image_is_read_as_xorriso_reads_it() {
    if !have("xorriso") || !have("genisoimage") {
        return;
    }
    let began = Instant::now();
    let temporary = tempfile::tempdir().unwrap();
    make_tree(temporary.path());
    let mut compared = 0;
    for (name, recipe, trees) in RECIPES {
        run(temporary.path(), &recipe.replace("IMAGE", "made.iso"));
        let path = temporary.path().join("made.iso");
        let image = Image::open(File::open(&path).unwrap()).unwrap();
        assert_eq!(image.trees(), *trees, "{name}");
        assert_eq!(image.best_tree().unwrap().kind(), trees[0]);
        assert!(image.info().unwrap().stated_size <= image.size(), "{name}");
        for kind in *trees {
            let read = match kind {
                TreeKind::RockRidge => "any",
                TreeKind::Joliet => "norock",
                TreeKind::Plain => "ecma119",
                TreeKind::Udf => continue,
            };
            let found = ours(&image.tree(*kind).unwrap(), image.source());
            let theirs = folder(&extracted(temporary.path(), "made.iso", read));
            match kind {
                TreeKind::RockRidge => same(&format!("{name}: {kind}"), &found, &theirs),
                _ => same(&format!("{name}: {kind}"), &without_modes(found.clone()), &without_modes(theirs)),
            }
            compared += found.len();
        }
        for kind in ["any", "norock", "ecma119"] {
            let _ = std::fs::remove_dir_all(temporary.path().join(format!("made.iso-{kind}")));
        }
    }
    println!("{compared} files of {} images in {:?}", RECIPES.len(), began.elapsed());
}

#[test]
fn what_firmware_starts_lies_where_the_catalogue_says() {
    if !have("xorriso") {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    make_tree(temporary.path());
    let recipe = RECIPES.iter().find(|(name, ..)| name.starts_with("boots by BIOS")).unwrap().1;
    run(temporary.path(), &recipe.replace("IMAGE", "boot.iso"));
    let image = Image::open(File::open(temporary.path().join("boot.iso")).unwrap()).unwrap();
    let images = image.boot_images().unwrap();
    let read = |number: usize, length: usize| {
        let mut bytes = vec![0; length];
        let count = images[number].contents.read_at(image.source(), 0, &mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    };
    assert_eq!(images.len(), 2);
    assert_eq!(
        (images[0].platform, images[0].media, images[0].bootable),
        (Platform::X86Bios, Media::NoEmulation, true)
    );
    assert_eq!(read(0, 4096), noise(2048, 3), "four sectors are the whole boot.img");
    assert_eq!((images[1].platform, images[1].bootable), (Platform::Efi, true));
    assert_eq!(read(1, 4096), noise(4096, 4), "the appended partition");
    // What boots by BIOS is a file as well, and lies in one place for both.
    let tree = image.best_tree().unwrap();
    let file = tree.contents(&tree.find("isolinux/boot.img").unwrap()).unwrap();
    assert_eq!(file.extents(), images[0].contents.extents());
}

#[test]
fn names_dates_and_sizes_of_a_volume_are_those_it_was_given() {
    if !have("genisoimage") {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    make_tree(temporary.path());
    let made =
        "genisoimage -quiet -R -J -udf -V Label_1 -A an_application -publisher somebody -sysid LINUX -o made.iso tree";
    run(temporary.path(), made);
    let image = Image::open(File::open(temporary.path().join("made.iso")).unwrap()).unwrap();
    for kind in TreeKind::ALL {
        assert_eq!(image.label(kind), "Label_1", "{kind}");
        assert_eq!(image.tree(kind).unwrap().label(), "Label_1");
    }
    let info = image.info().unwrap();
    assert_eq!((info.volume_id.as_str(), info.system_id.as_str()), ("Label_1", "LINUX"));
    assert_eq!((info.application.as_str(), info.publisher.as_str()), ("an_application", "somebody"));
    assert!(info.created.unwrap() > 1_700_000_000);
    assert_eq!(info.stated_size, image.size());
    assert_eq!(image.udf_revision(), Some(0x0102));
    assert!(image.boot_images().unwrap().is_empty());
}

#[test]
fn compressed_files_are_listed_and_refused_by_name() {
    if !have("genisoimage") || !have("mkzftree") {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    make_tree(temporary.path());
    std::fs::write(temporary.path().join("tree/text"), "all the same\n".repeat(10_000)).unwrap();
    run(temporary.path(), "mkzftree tree packed");
    run(temporary.path(), "genisoimage -quiet -R -z -o made.iso packed");
    let image = Image::open(File::open(temporary.path().join("made.iso")).unwrap()).unwrap();
    let tree = image.best_tree().unwrap();
    let text = tree.find("/text").unwrap();
    let refused = tree.contents(&text).unwrap_err();
    assert!(matches!(refused, Error::Encoded { how: "compressed by zisofs", .. }), "{refused}");
    assert_eq!(
        refused.to_string(),
        "the content of text is stored compressed by zisofs, which cannot be served in place"
    );
    // What does not get smaller is stored as it is.
    assert_eq!(tree.contents(&tree.find("/README").unwrap()).unwrap().len(), 10);
}

#[test]
fn an_image_that_was_cut_short_tells_so_and_where() {
    if !have("xorriso") {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    make_tree(temporary.path());
    run(temporary.path(), "xorriso -as mkisofs -quiet -R -J -no-pad -o made.iso tree");
    let whole = std::fs::read(temporary.path().join("made.iso")).unwrap();
    let image = Image::open(&whole[..whole.len() - 100_000]).unwrap();
    assert!(image.info().unwrap().stated_size > image.size());
    let tree = image.best_tree().unwrap();
    let broken: Vec<Error> = tree
        .walk()
        .map(|item| item.unwrap().1)
        .filter(|entry| entry.kind == rackberry_iso::Kind::File)
        .filter_map(|entry| tree.contents(&entry).err())
        .collect();
    assert!(!broken.is_empty());
    assert!(broken.iter().all(|error| error.to_string().contains("is it complete?")), "{broken:?}");
    // At any length: an answer, and no panic.
    for length in (0..whole.len().min(600_000)).step_by(1777) {
        if let Ok(image) = Image::open(&whole[..length]) {
            let _ = image.best_tree().map(|tree| tree.walk().count());
        }
    }
}

#[test]
fn a_file_of_more_than_4_gib_is_one_file() {
    const GIB: u64 = 1 << 30;
    if std::env::var_os("RACKBERRY_SOAK").is_none() {
        println!("not run: writes 4.5 GiB, RACKBERRY_SOAK=1 does");
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    std::fs::create_dir(temporary.path().join("tree")).unwrap();
    let large = File::create(temporary.path().join("tree/large.bin")).unwrap();
    let size = 4 * GIB + GIB / 2 + 7;
    large.set_len(size).unwrap();
    // Marks around where one section ends and the next one begins.
    let marks: Vec<u64> = [0, GIB, 4 * GIB - 6144, 4 * GIB - 2048, 4 * GIB, size - 8].into();
    for mark in &marks {
        std::os::unix::fs::FileExt::write_all_at(&large, &noise(8, *mark), *mark).unwrap();
    }
    for maker in
        ["xorriso -as mkisofs -quiet -iso-level 3 -R -J", "genisoimage -quiet -iso-level 3 -allow-limited-size -udf -J"]
    {
        run(temporary.path(), &format!("{maker} -o made.iso tree"));
        let image = Image::open(File::open(temporary.path().join("made.iso")).unwrap()).unwrap();
        for kind in image.trees() {
            if maker.starts_with("genisoimage") && kind != TreeKind::Udf {
                continue;
            }
            let tree = image.tree(kind).unwrap();
            let file = tree.find("large.bin").unwrap();
            assert_eq!(file.size, size, "{maker}: {kind}");
            let contents = tree.contents(&file).unwrap();
            assert_eq!(contents.extents().len(), 1, "sections that follow each other are one");
            for mark in &marks {
                let mut bytes = [0; 8];
                contents.read_at(image.source(), *mark, &mut bytes).unwrap();
                assert_eq!(bytes, noise(8, *mark)[..], "{maker}: {kind} at {mark}");
            }
        }
    }
}
