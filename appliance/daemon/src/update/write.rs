//! A verified root goes into the slot that is not in use.

use super::{
    bundle::Bundle,
    medium::{Card, Medium},
    words::Step,
};
use rackberry_core::{image::Digest, update::Slot};
use sha2::{Digest as _, Sha256};
use std::{fs::File, io, os::unix::fs::FileExt as _};

const PIECE: usize = 1 << 20;
/// The start of a root is written last, so that nothing half-written looks like one.
const START: usize = 4096;

/// Why a root did not get into a slot; what runs now stays what is started.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("The bundle cannot be read.")]
    Bundle(#[source] io::Error),
    #[error("Slot {slot} of the card cannot be {doing}. The card may be worn out.")]
    Slot { doing: &'static str, slot: Slot, source: io::Error },
    #[error("The card's state block cannot be written. The card may be worn out.")]
    Block(#[source] io::Error),
    #[error("The bundle changed while it was read.")]
    Changed,
    #[error("What the card gives back from slot {slot} is not what was written to it. The card may be worn out.")]
    Unlike { slot: Slot },
}

/// Writes the root of `file` into `slot`, and reads it back from the card. Until that is done no start looks at the slot, and the
/// state block says so before the first byte.
///
/// # Errors
/// [`WriteError`]; the slot may hold anything then, and is not started.
pub fn write<M: Medium>(
    card: &mut Card<M>,
    slot: Slot,
    file: &File,
    bundle: &Bundle,
    told: &mut dyn FnMut(Step, u64, u64),
) -> Result<(), WriteError> {
    let block = card.block().map_err(WriteError::Block)?;
    // Also a trial that failed: its slot holds something else from now on. And what runs is good, or nobody could ask.
    if block.now.good == slot || block.now.trying.is_some() {
        card.change(|block| block.good(slot.other())).map_err(WriteError::Block)?;
    }
    let length = bundle.header.root.length;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; PIECE];
    let mut start = Vec::new();
    let failed = |source| WriteError::Slot { doing: "written", slot, source };
    clear(card, slot)?;
    pieces(length, |at, wanted| {
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(piece, bundle.root_at + at).map_err(WriteError::Bundle)?;
        hash.update(&*piece);
        if at == 0 {
            let held = piece.get_mut(..START.min(wanted)).unwrap_or_default();
            start = held.to_vec();
            held.fill(0);
        }
        card.slot(slot).write(piece, at).map_err(failed)?;
        told(Step::Write, at + wanted as u64, length);
        Ok(())
    })?;
    card.slot(slot).sync().map_err(failed)?;
    // The file lies where its sender can change it: what was verified is only what has this digest.
    if Digest(hash.finalize().into()) != bundle.header.root.sha256 {
        return Err(WriteError::Changed);
    }
    card.slot(slot).write(&start, 0).and_then(|()| card.slot(slot).sync()).map_err(failed)?;
    let found = digest(card, slot, length, &mut |done| told(Step::ReadBack, done, length))?;
    if found == bundle.header.root.sha256 { Ok(()) } else { Err(WriteError::Unlike { slot }) }
}

/// Makes a slot hold nothing that could be mounted.
///
/// # Errors
/// [`WriteError::Slot`].
pub fn clear<M: Medium>(card: &mut Card<M>, slot: Slot) -> Result<(), WriteError> {
    let cleared = card.slot(slot).write(&[0; START], 0).and_then(|()| card.slot(slot).sync());
    cleared.map_err(|source| WriteError::Slot { doing: "written", slot, source })
}

/// The digest of so many bytes of a slot, as the card gives them.
///
/// # Errors
/// [`WriteError::Slot`].
pub fn digest<M: Medium>(
    card: &mut Card<M>,
    slot: Slot,
    length: u64,
    told: &mut dyn FnMut(u64),
) -> Result<Digest, WriteError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; PIECE];
    pieces(length, |at, wanted| {
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        card.slot(slot).read(piece, at).map_err(|source| WriteError::Slot { doing: "read", slot, source })?;
        hash.update(&*piece);
        told(at + wanted as u64);
        Ok(())
    })?;
    Ok(Digest(hash.finalize().into()))
}

fn pieces(length: u64, mut each: impl FnMut(u64, usize) -> Result<(), WriteError>) -> Result<(), WriteError> {
    let mut at = 0;
    while at < length {
        let wanted = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
        each(at, wanted)?;
        at += wanted as u64;
    }
    Ok(())
}
