//! A card that stalls and fails: reads of 200 ms and I/O errors below `images` and `files`, by a FUSE file system.

use super::{PATIENCE, ask, by_tftp, host, meet, open, percentile};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, FakeHost, PxeClient, Site, SlowDisk,
    pxe::{Kind, Machine},
    site::{self, ROOM, ROOM_LINK},
};

const DELAY: Duration = Duration::from_millis(200);

struct Card {
    images: SlowDisk,
    files: SlowDisk,
}

impl Card {
    /// Puts what the box has imported, and some files, onto such a disk; the box is started again over it.
    fn under(appliance: &mut Appliance, image: &str, content: &[u8]) -> Result<Self> {
        appliance.stop(PATIENCE)?;
        let state = appliance.state_dir();
        let images = SlowDisk::mount(&state.join("images"), &[(image, content)], &["incoming"])?;
        let files = SlowDisk::mount(
            &state.join("files"),
            &[("rootfs.squashfs", &vec![5; 3 << 20]), ("pxelinux.cfg/default", b"# own\n")],
            &[],
        )?;
        appliance.restart()?;
        Ok(Self { images, files })
    }

    fn slow_down(&self, delay: Duration) {
        self.images.slow_down(delay);
        self.files.slow_down(delay);
    }
}

/// A box on such a disk.
struct Scene {
    card: Card,
    appliance: Appliance,
    /// A host that it knows.
    node: FakeHost,
    /// An image's path and content.
    path: String,
    content: Vec<u8>,
}

fn box_on_a_card(site: &Site) -> Result<Scene> {
    let mut appliance = site.serve("")?;
    let image = site.import_image(&appliance)?;
    let digest = image.get("digest").and_then(Value::as_str).context("no digest")?.to_owned();
    let content = site::disk_image(1 << 20);
    let node = host(site, 1)?;
    meet(site, &node)?;
    let card = Card::under(&mut appliance, &digest, &content)?;
    Ok(Scene { card, appliance, node, path: format!("/images/{digest}"), content })
}

#[test]
fn a_stalling_and_failing_card_holds_up_no_lease_and_ends_transfers_only() -> Result<()> {
    let site = Site::new()?;
    // Dropped in order: the box before the disk under it.
    let Scene { card, appliance, path, content, node: _ } = box_on_a_card(&site)?;
    assert_eq!(ask(&site, ROOM, "GET", &path)?.body, content, "the disk is the same when it is well");

    // Known hosts' leases: before a first offer to a card, an address is probed for 0.3 s.
    drop(leases(&site)?);

    // Stalls: every transfer is slow and right, and DHCP knows nothing of it.
    card.slow_down(DELAY);
    let mut leases = with_load(&site, &path, 24)?;
    println!(
        "card of {DELAY:?} a read, 24 readers: {} leases (2 exchanges each): p50 {:?}, p99 {:?}; {} reads",
        leases.len(),
        percentile(&mut leases, 50),
        percentile(&mut leases, 99),
        card.images.reads() + card.files.reads(),
    );
    let began = Instant::now();
    assert_eq!(by_tftp(&site, ROOM, "pxelinux.cfg/default")?.as_deref(), Some(&b"# own\n"[..]));
    println!("an own configuration by TFTP from it: {:?}", began.elapsed());
    assert_eq!(ask(&site, ROOM, "GET", "/rootfs.squashfs")?.body.len(), 3 << 20);

    // Fails: whoever reads gets an error and no wrong byte; the box lives.
    card.slow_down(Duration::ZERO);
    card.images.fail(true);
    card.files.fail(true);
    let lines = appliance.log().text().lines().count();
    let refused = |path: &str| {
        site.room.enter(|| {
            let cut = open(ROOM)?.request("GET", path, &[]);
            ensure!(cut.as_ref().map_or(true, |reply| reply.status >= 500), "{path}: {cut:?}");
            Ok(())
        })
    };
    for _ in 0..300 {
        refused(&path)?;
        refused("/rootfs.squashfs")?;
    }
    for _ in 0..5 {
        assert!(!matches!(by_tftp(&site, ROOM, "rootfs.squashfs"), Ok(Some(_))), "a file by TFTP from a dead disk");
    }
    let said = appliance.log().text().lines().count() - lines;
    println!("600 transfers from a dead disk: {said} lines of log");
    assert!((1..200).contains(&said), "{said} lines");
    let mut leases = with_load(&site, &path, 8)?;
    println!("dead disk: {} leases: p99 {:?}", leases.len(), percentile(&mut leases, 99));

    // And when it is well again, so is everything.
    card.images.fail(false);
    card.files.fail(false);
    assert_eq!(ask(&site, ROOM, "GET", &path)?.body, content);
    assert_eq!(appliance.log().count("panicked"), 0);
    drop(appliance);
    Ok(())
}

#[test]
fn a_hanging_card_holds_up_nobody_who_needs_nothing_of_it() -> Result<()> {
    let site = Site::new()?;
    let Scene { card, appliance, node, path, content } = box_on_a_card(&site)?;
    std::thread::scope(|scope| {
        // Asked for just now, so they are open when the card begins to hang.
        assert_eq!(ask(&site, ROOM, "GET", &path)?.body, content);
        assert_eq!(ask(&site, ROOM, "GET", "/rootfs.squashfs")?.body.len(), 3 << 20);
        card.images.hang(true);
        card.files.hang(true);
        let waiting: Vec<_> = (0..24)
            .map(|number| {
                let path = if number % 2 == 0 { &*path } else { "/rootfs.squashfs" };
                let site = &site;
                scope.spawn(move || ask(site, ROOM, "GET", path).map(|reply| reply.body.len()))
            })
            .collect();
        let began = Instant::now();
        let answered = (0..40).try_for_each(|_| {
            for path in [node.ask(), "/snponly-x64.efi".into(), "/ramos/x86_64/early.img".into()] {
                ensure!(ask(&site, node.address, "GET", &path)?.status == 200, "{path}");
            }
            Ok(())
        });
        println!("120 answers beside 24 readers of a hanging card: {:?}", began.elapsed());
        let early = waiting.iter().filter(|waiting| waiting.is_finished()).count();
        card.images.hang(false);
        card.files.hang(false);
        answered?;
        ensure!(early == 0, "{early} readers got something from a hanging card");
        for (number, waiting) in waiting.into_iter().enumerate() {
            let got = waiting.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
            ensure!(got == if number % 2 == 0 { content.len() } else { 3 << 20 }, "reader {number} got {got} bytes");
        }
        Ok(())
    })?;
    drop(appliance);
    Ok(())
}

/// Takes leases while that many readers load the disk; how long each of their DHCP exchanges took.
fn with_load(site: &Site, path: &str, readers: usize) -> Result<Vec<Duration>> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut loading = Vec::new();
        for _ in 0..readers {
            loading.push(scope.spawn(|| -> Result<()> {
                site.room.join_current_thread()?;
                while !stop.load(Ordering::Relaxed) {
                    let _ = open(ROOM).and_then(|mut line| line.request("GET", path, &[]));
                    let _ = open(ROOM).and_then(|mut line| line.request("GET", "/rootfs.squashfs", &[]));
                }
                Ok(())
            }));
        }
        let taken = leases(site);
        stop.store(true, Ordering::Relaxed);
        for reader in loading {
            reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        }
        taken
    })
}

fn leases(site: &Site) -> Result<Vec<Duration>> {
    let client = PxeClient::new(&site.room, ROOM_LINK)?;
    let mut times = Vec::new();
    for number in 0..60 {
        let machine = Machine::new(7000 + number, Kind::Ipxe(7));
        let began = Instant::now();
        let offer = client.offer(&machine, PATIENCE)?;
        times.push(began.elapsed());
        let began = Instant::now();
        client.request(&machine, &offer.message)?;
        times.push(began.elapsed());
    }
    Ok(times)
}
