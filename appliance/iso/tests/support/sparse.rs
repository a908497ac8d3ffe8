//! An image as its sectors that are not zeros: small enough to commit, and as large as it likes.

use rackberry_iso::ReadAt;
use std::{collections::BTreeMap, io};

const SECTOR: usize = 2048;

/// Sectors by their number; all others are zeros.
#[derive(Clone, Default)]
pub struct Sparse {
    pub sectors: BTreeMap<u64, Vec<u8>>,
    pub size: u64,
}

impl Sparse {
    pub fn put(&mut self, offset: u64, bytes: &[u8]) {
        for (number, byte) in (offset..).zip(bytes) {
            let sector = self.sectors.entry(number / SECTOR as u64).or_insert_with(|| vec![0; SECTOR]);
            sector[(number % SECTOR as u64) as usize] = *byte;
        }
        self.size = self.size.max((offset + bytes.len() as u64).next_multiple_of(SECTOR as u64));
    }

    pub fn of(image: &[u8]) -> Self {
        let mut sparse = Self { size: image.len() as u64, ..Self::default() };
        for (number, sector) in image.chunks(SECTOR).enumerate() {
            if sector.iter().any(|byte| *byte != 0) {
                sparse.sectors.insert(number as u64, sector.to_vec());
            }
        }
        sparse
    }
}

impl Sparse {
    /// How the fuzz targets' corpus writes a disc (tests/fuzz/iso.rs of the workspace).
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = ((self.size / SECTOR as u64) as u32).to_le_bytes().to_vec();
        for (number, sector) in &self.sectors {
            let length = sector.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.extend((*number as u32).to_le_bytes());
            bytes.extend((length as u16).to_le_bytes());
            bytes.extend(&sector[..length]);
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut sparse = Self { size: u64::from(word(0)) * SECTOR as u64, ..Self::default() };
        let mut at = 4;
        while at < bytes.len() {
            let length = usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
            let mut sector = bytes[at + 6..at + 6 + length].to_vec();
            sector.resize(SECTOR, 0);
            sparse.sectors.insert(word(at).into(), sector);
            at += 6 + length;
        }
        sparse
    }
}

impl ReadAt for Sparse {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if offset >= self.size {
            return Ok(0);
        }
        let within = (offset % SECTOR as u64) as usize;
        let left = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
        let count = (SECTOR - within).min(buf.len()).min(left);
        match self.sectors.get(&(offset / SECTOR as u64)) {
            Some(sector) => buf[..count].copy_from_slice(&sector[within..within + count]),
            None => buf[..count].fill(0),
        }
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}
