//! The boot catalogue of El Torito (version 1.0, 1995): which parts of a disc firmware starts.

use crate::{
    Error,
    entry::{Contents, Extent},
    source::{Medium, Piece},
    volume::{SECTOR, sector},
};

/// Entries of one catalogue; real ones have one to four.
const MOST_ENTRIES: usize = 64;
/// Sectors a catalogue may take.
const MOST_SECTORS: u32 = 4;

/// The firmware a boot image is for (figure 2; EFI: UEFI 13.3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Platform {
    X86Bios,
    PowerPc,
    Mac,
    Efi,
    Other(u8),
}

/// What the firmware makes of an image (figure 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    NoEmulation,
    /// A floppy disk of so many KiB.
    Floppy(u32),
    HardDisk,
    Other(u8),
}

/// One bootable part of a disc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootImage {
    pub platform: Platform,
    /// Whether the firmware may start it.
    pub bootable: bool,
    pub media: Media,
    /// The segment a BIOS loads it to; 0 is 0x7c0.
    pub load_segment: u16,
    /// Sectors of 512 bytes that the catalogue tells the firmware to load.
    pub sectors: u16,
    /// Bytes from the start of the image.
    pub offset: u64,
    /// Where it lies, checked to be within the image: a floppy's size for a floppy; what the catalogue states otherwise;
    /// up to the end of the image for EFI where it states 0 or 1 (UEFI 13.3.2.1) and for a hard disk.
    pub contents: Contents,
}

/// Reads the catalogue in the given sector.
pub(crate) fn catalogue(medium: Medium<'_>, number: u32) -> Result<Vec<BootImage>, Error> {
    const WHAT: &str = "the boot catalogue";
    let mut block = sector(medium, WHAT, number)?;
    for more in 1..MOST_SECTORS {
        let offset = (u64::from(number) + u64::from(more)) * SECTOR;
        if medium.check(WHAT, offset, SECTOR).is_ok() {
            medium.append(WHAT, offset, SECTOR, &mut block.bytes)?;
        }
    }
    let piece = block.piece();
    let validation = piece.part(0, 32)?;
    if validation.u8(0)? != 1 || validation.u16(30)? != 0xaa55 {
        return Err(piece.malformed("its first entry is not marked as one"));
    }
    let (words, _) = validation.bytes.as_chunks::<2>();
    if words.iter().fold(0_u16, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word))) != 0 {
        return Err(piece.malformed("its checksum is wrong"));
    }
    let mut images = vec![image(medium, piece.part(32, 32)?, platform(validation.u8(1)?))?];
    // Sections: a header, and as many entries as it says. Entries of kind 0x44 only add to the one before.
    let mut at = 64;
    let mut section = None;
    while images.len() < MOST_ENTRIES {
        let Ok(entry) = piece.part(at, 32) else { break };
        at += 32;
        match (entry.u8(0)?, section) {
            (0x90 | 0x91, _) => section = Some((platform(entry.u8(1)?), entry.u16(2)?, entry.u8(0)? == 0x91)),
            (0x44, _) => {}
            (_, Some((platform, left @ 1.., last))) => {
                images.push(image(medium, entry, platform)?);
                section = Some((platform, left - 1, last));
                if left == 1 && last {
                    break;
                }
            }
            _ => break,
        }
    }
    Ok(images)
}

fn platform(id: u8) -> Platform {
    match id {
        0 => Platform::X86Bios,
        1 => Platform::PowerPc,
        2 => Platform::Mac,
        0xef => Platform::Efi,
        other => Platform::Other(other),
    }
}

/// A default or section entry (figures 3 and 5).
fn image(medium: Medium<'_>, entry: Piece<'_>, platform: Platform) -> Result<BootImage, Error> {
    const WHAT: &str = "a boot image";
    let media = match entry.u8(1)? & 0x0f {
        0 => Media::NoEmulation,
        1 => Media::Floppy(1200),
        2 => Media::Floppy(1440),
        3 => Media::Floppy(2880),
        4 => Media::HardDisk,
        other => Media::Other(other),
    };
    let sectors = entry.u16(6)?;
    let offset = u64::from(entry.u32(8)?) * SECTOR;
    let up_to_the_end = medium.size.saturating_sub(offset);
    let length = match (media, platform, sectors) {
        (Media::Floppy(kib), ..) => u64::from(kib) * 1024,
        (Media::HardDisk, ..) | (_, Platform::Efi, 0 | 1) => up_to_the_end,
        _ => u64::from(sectors) * 512,
    };
    let contents = Contents::new(WHAT, medium, vec![Extent { offset: Some(offset), length }])?;
    Ok(BootImage {
        platform,
        bootable: entry.u8(0)? == 0x88,
        media,
        load_segment: entry.u16(2)?,
        sectors,
        offset,
        contents,
    })
}
