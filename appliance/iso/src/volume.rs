//! The volume descriptors that begin at byte 32768 (ECMA-119 6.7.1, 8): what the disc is, and where its trees begin.

use crate::{
    Error,
    directory::{Naming, Root},
    joliet,
    source::{Block, Medium, Piece},
    time,
};

/// Bytes of a logical sector, in which volume descriptors are counted (ECMA-119 6.1.2).
pub(crate) const SECTOR: u64 = 2048;
/// The sector the descriptors begin at.
const FIRST: u64 = 16;
/// Honest images have three to eight descriptors.
const MOST_DESCRIPTORS: u64 = 64;

/// What an image says of itself in its primary volume descriptor (ECMA-119 8.4). All text is as it was found, less the blanks
/// that fill it: untrusted, and for the caller to clean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeInfo {
    /// What the disc is called: 8.4.6.
    pub volume_id: String,
    /// The system that may act on the first 32 KiB: 8.4.5.
    pub system_id: String,
    pub volume_set_id: String,
    pub publisher: String,
    pub preparer: String,
    pub application: String,
    /// Seconds since 1970.
    pub created: Option<i64>,
    /// Bytes the whole volume takes; an image with fewer was cut short.
    pub stated_size: u64,
}

/// The descriptors of one image.
#[derive(Default)]
pub(crate) struct Descriptors {
    pub info: Option<VolumeInfo>,
    pub plain: Option<Root>,
    pub joliet: Option<Root>,
    pub joliet_label: String,
    /// The sector of El Torito's catalogue.
    pub boot_catalogue: Option<u32>,
    /// Whether the volume recognition sequence names UDF (ECMA-167 2/9, 3/9.1).
    pub udf: bool,
}

/// Reads the descriptors of ISO 9660 and, behind them, the marks of UDF.
pub(crate) fn descriptors(medium: Medium<'_>) -> Result<Descriptors, Error> {
    let mut found = Descriptors::default();
    // A disc of 4096-byte sectors has UDF's marks in every other place.
    let mut blanks = 0;
    for number in FIRST..FIRST + MOST_DESCRIPTORS {
        let offset = number * SECTOR;
        if medium.check("a volume descriptor", offset, SECTOR).is_err() {
            break;
        }
        let block = medium.read("a volume descriptor", offset, SECTOR)?;
        let piece = block.piece();
        match piece.part(1, 5)?.bytes {
            b"CD001" => descriptor(piece, &mut found)?,
            b"NSR02" | b"NSR03" => found.udf = true,
            b"BEA01" | b"TEA01" | b"BOOT2" | b"CDW02" => {}
            _ if blanks == 0 => blanks = 1,
            _ => break,
        }
    }
    Ok(found)
}

fn descriptor(piece: Piece<'_>, found: &mut Descriptors) -> Result<(), Error> {
    match piece.u8(0)? {
        0 if piece.part(7, 23)?.bytes == b"EL TORITO SPECIFICATION" => {
            // El Torito 1.0, figure 7.
            found.boot_catalogue = found.boot_catalogue.or(Some(piece.u32(0x47)?));
        }
        1 if found.plain.is_none() => {
            let root = root(piece, Naming::Plain)?;
            let text = |at, length| piece.part(at, length).map(|part| text(part.bytes));
            found.info = Some(VolumeInfo {
                volume_id: text(40, 32)?,
                system_id: text(8, 32)?,
                volume_set_id: text(190, 128)?,
                publisher: text(318, 128)?,
                preparer: text(446, 128)?,
                application: text(574, 128)?,
                created: time::long(piece.part(813, 17)?),
                stated_size: u64::from(piece.u32(80)?) * u64::from(root.block),
            });
            found.plain = Some(root);
        }
        // Version 2 is ISO 9660:1999's enhanced descriptor, which shows the primary tree once more.
        2 if found.joliet.is_none() && piece.u8(6)? == 1 && joliet::is_marked(piece.part(88, 32)?.bytes) => {
            found.joliet = Some(root(piece, Naming::Joliet)?);
            found.joliet_label = joliet::name(piece.part(40, 32)?.bytes).trim_end_matches([' ', '\0']).to_owned();
        }
        _ => {}
    }
    Ok(())
}

/// The record of the root directory within a descriptor (8.4.18).
fn root(piece: Piece<'_>, naming: Naming) -> Result<Root, Error> {
    let block = piece.u16(128)?;
    if !matches!(block, 512 | 1024 | 2048) {
        return Err(piece.malformed("its logical blocks are neither 512, 1024 nor 2048 bytes long"));
    }
    let record = piece.part(156, 34)?;
    let block = u32::from(block);
    let first = record.u32(2)?.saturating_add(u32::from(record.u8(1)?));
    Ok(Root {
        offset: u64::from(first) * u64::from(block),
        length: u64::from(record.u32(10)?),
        modified: time::short(record.part(18, 7)?),
        block,
        naming,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches([' ', '\0']).to_owned()
}

/// One sector, for what is found by its number.
pub(crate) fn sector(medium: Medium<'_>, what: &'static str, number: u32) -> Result<Block, Error> {
    medium.read(what, u64::from(number) * SECTOR, SECTOR)
}
