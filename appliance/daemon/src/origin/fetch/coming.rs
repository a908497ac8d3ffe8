//! A file while it comes: its bytes, who watches them, and the note that lets it go on after the box was off.

use super::{Known, Order};
use crate::{
    media::{Import, ImportError, Media},
    origin::{
        notes::{Note, Place},
        proof::Watch,
    },
};
use std::time::{Duration, Instant};

/// What may have to come again after a power cut: so many bytes,
const SETTLE: u64 = 8 << 20;
/// or those of so long.
const SETTLE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Coming {
    import: Import,
    watch: Watch,
    note: Note,
    settled: Instant,
    /// The last field: what has to go goes once nobody writes there any more.
    place: Place,
}

impl Coming {
    /// From where the note says that it is, or from as much as is there. Blocks on the disk.
    pub fn resume(media: Media, mut watch: Watch, mut note: Note, place: Place) -> Result<Self, ImportError> {
        let import = Import::resume(&media, place.data(), note.offset, |bytes| watch.update(bytes))?;
        let import = import.as_it_is(note.order.as_it_is);
        note.offset = import.written();
        Ok(Coming { import, watch, note, settled: Instant::now(), place })
    }

    /// From nothing. Blocks on the disk.
    pub fn anew(self, media: Media, watch: Watch) -> Result<Self, ImportError> {
        let Coming { import, note, place, .. } = self;
        drop(import);
        let note = Note { offset: 0, known: None, ..note };
        // Before the first byte of another version of the file, which must not be taken for one of the version before.
        place.store(&note)?;
        Self::resume(media, watch, note, place)
    }

    pub fn got(&self) -> u64 {
        self.import.written()
    }

    pub fn size(&self) -> Option<u64> {
        self.known()?.size
    }

    pub fn known(&self) -> Option<&Known> {
        self.note.known.as_ref()
    }

    pub fn learn(&mut self, known: Known) {
        self.note.known = Some(known);
    }

    /// Whether nothing is missing.
    pub fn whole(&self) -> bool {
        self.got() > 0 && self.size() == Some(self.got())
    }

    /// Takes the next bytes. Blocks on the disk.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        self.import.write(bytes)?;
        self.watch.update(bytes);
        if self.got() >= self.note.offset.saturating_add(SETTLE) || self.settled.elapsed() >= SETTLE_EVERY {
            self.settle()?;
        }
        Ok(())
    }

    /// Makes sure that what came will not have to come again. Blocks on the disk.
    pub fn settle(&mut self) -> Result<(), ImportError> {
        if self.got() > self.note.offset {
            self.import.sync()?;
            self.note.offset = self.got();
            self.place.store(&self.note)?;
        }
        self.settled = Instant::now();
        Ok(())
    }

    /// To be finished, whole and settled. Blocks on the disk.
    pub fn into_parts(mut self) -> Result<(Import, Watch, Order, Place), ImportError> {
        self.settle()?;
        Ok((self.import, self.watch, self.note.order, self.place))
    }
}
