//! Updates on cards in memory, with bundles made here.

mod broken;
mod cuts;
mod sticks;
mod trial;

use super::{
    bundle::{Key, SIGNED_AT},
    keeper::Keeper,
    medium::{Card, Medium},
    record::Record,
};
use rackberry_core::{
    image::Digest,
    update::{BoxFacts, COPY, FORMAT, Header, PRODUCT, Root, Slot, Version},
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// Small, as debug builds digest slowly.
const SLOT_BYTES: u64 = 512 << 10;
const OLD: Version = Version(0, 1, 0);
const NEW: Version = Version(0, 2, 0);

/// A power supply that ends after so many steps, and what is on the card then.
#[derive(Debug, Default)]
struct Power {
    /// Steps that still happen; none: for ever.
    left: Option<usize>,
    /// For what a cut leaves of writes that were not synced.
    seed: u64,
}

/// A part of the card in memory.
#[derive(Debug, Clone)]
struct Memory {
    power: Arc<Mutex<Power>>,
    lasts: Arc<Mutex<Vec<u8>>>,
    /// Written and not synced.
    waits: Arc<Mutex<Vec<Written>>>,
}

/// Bytes and where they go.
type Written = (usize, Vec<u8>);

/// A cut comes between such pieces, and a sector is written as a whole or not at all.
const STEP: usize = 64 << 10;
const SECTOR: usize = 512;

impl Memory {
    fn new(power: &Arc<Mutex<Power>>, length: u64) -> Self {
        let lasts = vec![0; usize::try_from(length).unwrap()];
        Memory { power: power.clone(), lasts: Arc::new(Mutex::new(lasts)), waits: Arc::default() }
    }

    fn step(&self) -> io::Result<()> {
        match &mut self.power.lock().unwrap().left {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What lies there once the power is back: of what was not synced, any sectors.
    fn power_up(&self) -> Vec<u8> {
        let mut power = self.power.lock().unwrap();
        power.left = None;
        let mut lasts = self.lasts.lock().unwrap();
        for (at, bytes) in self.waits.lock().unwrap().drain(..) {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                power.seed = power.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if power.seed >> 63 == 1 {
                    let at = at + index * SECTOR;
                    lasts[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        lasts.clone()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.lasts.lock().unwrap().clone();
        for (at, written) in self.waits.lock().unwrap().iter() {
            bytes[*at..at + written.len()].copy_from_slice(written);
        }
        bytes
    }
}

impl Medium for Memory {
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        buffer.copy_from_slice(&self.bytes()[at..at + buffer.len()]);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        if at + bytes.len() > self.lasts.lock().unwrap().len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for (index, piece) in bytes.chunks(STEP).enumerate() {
            self.step()?;
            self.waits.lock().unwrap().push((at + index * STEP, piece.to_vec()));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step()?;
        let mut lasts = self.lasts.lock().unwrap();
        for (at, written) in self.waits.lock().unwrap().drain(..) {
            lasts[at..at + written.len()].copy_from_slice(&written);
        }
        Ok(())
    }
}

/// Key, card and record of one box.
struct Bench {
    folder: tempfile::TempDir,
    keys: minisign::KeyPair,
    power: Arc<Mutex<Power>>,
    card: [Memory; 3],
}

impl Bench {
    /// A box with the old version in slot A, and nothing in slot B.
    fn new() -> Self {
        let power = Arc::new(Mutex::new(Power::default()));
        let card = [2 * COPY as u64, SLOT_BYTES, SLOT_BYTES].map(|length| Memory::new(&power, length));
        let old = root(1, 200_000);
        card[1].lasts.lock().unwrap()[..old.len()].copy_from_slice(&old);
        let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        Bench { folder: tempfile::tempdir().unwrap(), keys, power, card }
    }

    fn key(&self) -> Key {
        Key::parse(&self.keys.pk.to_box().unwrap().to_string()).unwrap()
    }

    /// The helper as it comes up in that slot.
    fn keeper(&self, slot: Slot, trying: bool) -> Keeper<Memory> {
        let [block, a, b] = self.card.clone();
        let record_path = self.folder.path().join("record.json");
        let mut keeper = Keeper {
            card: Card { block, copies_at: [0, COPY as u64], a, b, slot_bytes: SLOT_BYTES },
            record: Record::load(&record_path),
            record_path,
            key: self.key(),
            slot,
            trying,
            program: OLD,
            board: "pi64".to_owned(),
            arch: "aarch64".to_owned(),
            inspect: Box::new(|_| Ok(None)),
        };
        keeper.settle().unwrap();
        keeper
    }

    /// The initramfs: uses a try up, and says which slot is mounted.
    fn boot(&self) -> Keeper<Memory> {
        let [block, a, b] = self.card.clone();
        let mut card = Card { block, copies_at: [0, COPY as u64], a, b, slot_bytes: SLOT_BYTES };
        let boot = card.block().unwrap().boot();
        if boot.trying {
            card.change(|block| rackberry_core::update::Slots {
                seq: block.now.seq + 1,
                left: block.now.left - 1,
                ..block.now
            })
            .unwrap();
        }
        self.keeper(boot.first, boot.trying)
    }

    fn signed(&self, content: &[u8]) -> String {
        let signature =
            minisign::sign(None, &self.keys.sk, io::Cursor::new(content), Some("test"), Some("rackberry update"));
        signature.unwrap().into_string()
    }

    /// A bundle that only its `change` makes unfit.
    fn bundle(&self, root: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let mut header = header(root);
        change(&mut header);
        let content = [header.line().unwrap(), root.to_vec()].concat();
        joined(&self.signed(&content), &content)
    }

    fn file(&self, bytes: &[u8]) -> File {
        let path = self.folder.path().join("bundle");
        std::fs::write(&path, bytes).unwrap();
        File::open(path).unwrap()
    }

    fn card_bytes(&self) -> [Vec<u8>; 3] {
        [0, 1, 2].map(|part| self.card[part].bytes())
    }
}

/// The file: the signature, then what it is over.
fn joined(signature: &str, content: &[u8]) -> Vec<u8> {
    let mut file = format!("rackberry-update 1\n{signature}").into_bytes();
    assert!(file.len() < usize::try_from(SIGNED_AT).unwrap());
    file.resize(usize::try_from(SIGNED_AT).unwrap(), 0);
    file.extend_from_slice(content);
    file
}

fn header(root: &[u8]) -> Header {
    Header {
        format: FORMAT,
        product: PRODUCT.to_owned(),
        board: "pi64".to_owned(),
        arch: "aarch64".to_owned(),
        version: NEW,
        needs: OLD,
        floor: OLD,
        state: 3,
        root: Root { length: root.len() as u64, sha256: digest(root) },
        notes: "Better.".to_owned(),
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Bytes that begin as a squashfs does, which goes to their end.
fn root(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed;
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(length);
    bytes[..4].copy_from_slice(b"hsqs");
    bytes[40..48].copy_from_slice(&(length as u64).to_le_bytes());
    bytes
}

/// A box's helper over a card in memory, for tests of what asks it; its socket, and a bundle that it takes.
/// What lies in `stick` of the folder is on a stick, once [`plug`] was called.
pub(crate) fn served(folder: &std::path::Path) -> (PathBuf, Vec<u8>) {
    let bench = Bench::new();
    let bundle = bench.bundle(&root(2, 150_000), |_| {});
    let at = |name: &str| folder.join(name);
    let setup = super::helper::Setup {
        env: at("env"),
        socket: at("update.sock"),
        bundle: super::bundle_path(&at("state")),
        record: at("record.json"),
        key: at("key"),
        trial: at("trial"),
        sys: at("sys"),
    };
    let stick = at("stick");
    let open = Box::new(move |_: &str| super::stick::open_in(&stick));
    let sticks = super::stick::Sticks { sys: at("sys"), own: "mmcblk0".to_owned(), open };
    let sticks = Arc::new(Mutex::new(sticks));
    let socket = setup.socket.clone();
    let listener = super::helper::listen(&socket).unwrap();
    std::thread::spawn(move || {
        let mut keeper = bench.keeper(Slot::A, false);
        super::helper::attend(&mut keeper, &listener, &setup, &sticks, std::time::Instant::now(), &|| {})
    });
    (socket, bundle)
}

/// A disk on USB with so many partitions, as the kernel shows it; another number is another stick.
pub(crate) fn plug(sys: &std::path::Path, disk: &str, number: u64, partitions: usize) {
    let place = sys.join("devices/pci0/usb1/1-1/host0/block").join(disk);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::create_dir_all(sys.join("block")).unwrap();
    std::fs::write(place.join("size"), "2048\n").unwrap();
    std::fs::write(place.join("diskseq"), format!("{number}\n")).unwrap();
    for partition in 1..=partitions {
        let part = place.join(format!("{disk}{partition}"));
        std::fs::create_dir_all(&part).unwrap();
        std::fs::write(part.join("partition"), format!("{partition}\n")).unwrap();
    }
    let _ = std::os::unix::fs::symlink(&place, sys.join("block").join(disk));
}

/// What the daemon's own log has no use for.
fn quiet(_: super::words::Step, _: u64, _: u64) {}

fn facts() -> BoxFacts {
    BoxFacts { board: "pi64".to_owned(), arch: "aarch64".to_owned(), version: OLD, floor: None, slot_bytes: SLOT_BYTES }
}
