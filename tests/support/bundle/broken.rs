//! Bundles that no box may take, each made of a good one: small, as every fault is one of the beginning, the signature or the root.

use super::{Forge, pack, script};
use crate::netns::output;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Where what is signed begins, in bytes.
const SIGNED_AT: usize = 1024;
const MAGIC: &[u8] = b"rackberry-update 1\n";
/// Where a squashfs says how long it is.
const USED: std::ops::Range<usize> = 40..48;
/// Later than every version that runs in a test, and than the one that runs now.
const VERSION: &str = "0.1.2";

/// One kind of broken bundle.
#[derive(Debug)]
pub struct Kind {
    /// What is wrong with it.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Words of the sentence that a person gets.
    pub says: &'static str,
}

/// A good bundle, and the parts that the broken ones are put together from.
struct Good<'a> {
    forge: &'a Forge,
    bytes: Vec<u8>,
    header: Value,
    root: Vec<u8>,
}

impl<'a> Good<'a> {
    fn new(forge: &'a Forge) -> Result<Self> {
        let folder = forge.folder.path().join("small");
        std::fs::create_dir_all(&folder)?;
        // Nothing that packs well, so that there is a middle to be damaged.
        let mut noise = crate::Dice::new(1);
        std::fs::write(folder.join("noise"), (0..100_000).map(|_| noise.throw().to_le_bytes()[0]).collect::<Vec<_>>())?;
        let bytes = bundle(&folder, &forge.secret, &folder.with_extension("good"))?;
        let signed = bytes.get(SIGNED_AT..).context("a bundle without an end")?;
        let line = signed.iter().position(|byte| *byte == b'\n').context("a bundle without a header")?;
        let (header, root) = signed.split_at(line);
        let header = serde_json::from_slice(header)?;
        let root = root.get(1..).unwrap_or_default().to_vec();
        Ok(Self { forge, bytes, header, root })
    }

    fn cut(&self, length: usize) -> Vec<u8> {
        self.bytes.iter().copied().take(length).collect()
    }

    fn flipped(&self, at: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 0x10);
        bytes
    }

    /// The byte behind this text.
    fn behind(&self, text: &str) -> Result<usize> {
        let found = self.bytes.windows(text.len()).position(|window| window == text.as_bytes());
        Ok(found.with_context(|| format!("no {text} in a bundle"))? + text.len())
    }

    /// Signed by the key that the card trusts, whatever it is.
    fn signed(&self, content: &[u8]) -> Result<Vec<u8>> {
        let (file, signature) = (self.forge.folder.path().join("signed"), self.forge.folder.path().join("signature"));
        std::fs::write(&file, content)?;
        let mut sign = Command::new("minisign");
        sign.args(["-S", "-W", "-t", "test", "-c", "rackberry update", "-s"]).arg(&self.forge.secret);
        output(sign.arg("-m").arg(&file).arg("-x").arg(&signature))?;
        let mut bytes = [MAGIC, &std::fs::read(signature)?].concat();
        ensure!(bytes.len() < SIGNED_AT, "the signature is too long");
        bytes.resize(SIGNED_AT, 0);
        bytes.extend(content);
        Ok(bytes)
    }

    /// With another value in the header, at this JSON pointer.
    fn word(&self, place: &'static str, value: Value) -> Result<Vec<u8>> {
        let mut header = self.header.clone();
        *header.pointer_mut(place).with_context(|| format!("a header has no {place}"))? = value;
        self.headed(&header, &self.root)
    }

    fn headed(&self, header: &Value, root: &[u8]) -> Result<Vec<u8>> {
        self.signed(&[&serde_json::to_vec(header)?, &b"\n"[..], root].concat())
    }

    /// With another root, and a header that says so.
    fn root(&self, root: &[u8]) -> Result<Vec<u8>> {
        let packed = self.forge.folder.path().join("other.squashfs");
        let out = packed.with_extension("bundle");
        std::fs::write(&packed, root)?;
        script(&packed, &self.forge.secret, VERSION, &out)?;
        Ok(std::fs::read(out)?)
    }
}

fn bundle(root: &Path, secret: &Path, out: &Path) -> Result<Vec<u8>> {
    script(&pack(root)?, secret, VERSION, out)?;
    Ok(std::fs::read(out)?)
}

impl Forge {
    fn kinds(&self, kinds: Vec<(&'static str, Vec<u8>, &'static str)>) -> Result<Vec<Kind>> {
        let kind = |(what, bytes, says): (&'static str, Vec<u8>, &'static str)| {
            let path = self.folder.path().join(what.replace(' ', "-"));
            std::fs::write(&path, bytes)?;
            Ok(Kind { what, path, says })
        };
        kinds.into_iter().map(kind).collect()
    }

    /// What is refused before a byte of the card is written.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn refused(&self) -> Result<Vec<Kind>> {
        let good = Good::new(self)?;
        let stranger = self.folder.path().join("stranger");
        let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("../buildroot/bundle.sh");
        output(Command::new(key).arg("--new-key").arg(&stranger))?;
        let foreign =
            bundle(&self.folder.path().join("small"), &stranger.join("update.key"), &stranger.join("bundle"))?;
        let other = good.root(&[good.root.as_slice(), &[0; 4096]].concat())?;
        let swapped = [other.get(..SIGNED_AT).unwrap_or_default(), good.bytes.get(SIGNED_AT..).unwrap_or_default()];
        let mut unsigned = good.bytes.clone();
        unsigned.iter_mut().take(SIGNED_AT).skip(MAGIC.len()).for_each(|byte| *byte = 0);
        let mut long = good.root.clone();
        let used = u64::try_from(long.len())? + 1;
        long.get_mut(USED).context("a root without a beginning")?.copy_from_slice(&used.to_le_bytes());
        let half = good.bytes.len() / 2;
        self.kinds(vec![
            ("nothing", Vec::new(), "empty"),
            ("noise", good.root.clone(), "does not begin as one"),
            ("cut off in its first word", good.cut(10), "in the middle of its beginning"),
            ("cut off in its signature", good.cut(300), "in the middle of its beginning"),
            ("cut off in its header", good.cut(1100), "damaged, or was changed"),
            ("cut off in its root", good.cut(half), "damaged, or was changed"),
            ("cut off by one byte", good.cut(good.bytes.len() - 1), "damaged, or was changed"),
            ("one byte too long", [good.bytes.clone(), vec![0]].concat(), "damaged, or was changed"),
            ("twice behind itself", [good.bytes.clone(), good.bytes.clone()].concat(), "damaged, or was changed"),
            ("changed in its first word", good.flipped(3), "does not begin as one"),
            ("changed in its comment", good.flipped(good.behind("untrusted comment: ")? + 2), "does not read"),
            ("changed in its signed comment", good.flipped(good.behind("\ntrusted comment: ")? + 2), "signature"),
            ("changed in its header", good.flipped(1040), "damaged, or was changed"),
            ("changed in its root", good.flipped(half), "damaged, or was changed"),
            ("signed by somebody else", foreign, "another key"),
            ("with the signature of another bundle", swapped.concat(), "damaged, or was changed"),
            ("without a signature", unsigned, "does not read"),
            ("for another product", good.word("/product", json!("raspios"))?, "for raspios, not for rackberry"),
            ("for another processor", good.word("/arch", json!("x86_64"))?, "processors of another kind"),
            ("for another board", good.word("/board", json!("pc"))?, "for other machines"),
            ("for a later version", good.word("/needs", json!("9.9.9"))?, "Install 9.9.9 first"),
            ("below its own floor", good.word("/floor", json!("9.9.9"))?, "nothing older than 9.9.9"),
            ("of a later format", good.word("/format", json!(2))?, "has format 2"),
            ("with a header that is no JSON", good.signed(b"version: 2\nhsqs")?, "header does not read"),
            ("with a header that never ends", good.signed(&vec![b' '; 40_000])?, "header does not read"),
            ("whose header knows another length", good.word("/root/length", json!(4096))?, "its header says 4096"),
            ("whose header knows another digest", good.word("/root/sha256", json!("0".repeat(64)))?, "another digest"),
            ("without a root", good.headed(&good.header, &[])?, "has 0 bytes"),
            ("whose root is no squashfs", good.root(&[7; 5000])?, "no squashfs"),
            ("whose squashfs is longer than itself", good.root(&long)?, "no squashfs"),
        ])
    }

    /// What is whole and signed, and cannot be started: refused once it was written and looked into.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn unfit(&self) -> Result<Vec<Kind>> {
        let good = Good::new(self)?;
        let mut torn = good.root.clone();
        // Behind the first block, which is read before anything is mounted; what says where the tables are stays.
        torn.iter_mut().skip(96).for_each(|byte| *byte = 0xff);
        let rooted = |name: &str, files: &[(&str, &[u8], u32)]| {
            let root = self.folder.path().join(name);
            for (path, content, mode) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().context("a file without a folder")?)?;
                std::fs::write(&path, content)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode))?;
            }
            bundle(&root, &self.secret, &root.with_extension("bundle"))
        };
        let (init, program) = ("sbin/init", "usr/bin/rackberry");
        // The host's own program is one for another processor than the card's.
        let foreign = std::fs::read("/bin/true")?;
        self.kinds(vec![
            ("that cannot be mounted", good.root(&torn)?, "cannot be mounted"),
            ("without an init", rooted("no-init", &[(program, b"#!/bin/sh\n", 0o755)])?, "has no init"),
            ("without a program", rooted("no-program", &[(init, b"#!/bin/sh\n", 0o755)])?, "has no program"),
            (
                "whose init may not run",
                rooted("still", &[(init, b"#!/bin/sh\n", 0o644), (program, b"#!/bin/sh\n", 0o755)])?,
                "init cannot be run",
            ),
            (
                "whose program is for another processor",
                rooted("foreign", &[(init, b"#!/bin/sh\n", 0o755), (program, &foreign, 0o755)])?,
                "does not run",
            ),
            (
                "whose program fails",
                rooted("fails", &[(init, b"#!/bin/sh\n", 0o755), (program, b"#!/bin/sh\nexit 3\n", 0o755)])?,
                "does not run: exit status: 3",
            ),
        ])
    }
}
