//! Rock Ridge: POSIX names, modes, links and deep directories in the system use fields of directory records (SUSP 1.12, RRIP
//! 1.12).

use crate::{
    Error,
    source::{Medium, Piece},
    time,
};

/// Continuation areas of one record: a name and a link of full length need fewer than ten.
const MOST_CONTINUATIONS: usize = 32;
/// Bytes of all of them.
const LARGEST_CONTINUATION: u64 = 64 << 10;
/// Bytes of a link's target.
const LONGEST_TARGET: usize = 4096;

/// What the records of one directory may make be read elsewhere, in bytes: links of full length need a third of it. Without
/// it each of a million records could ask for as much as one may.
pub(crate) struct Budget(u64);

impl Budget {
    pub fn of(directory: u64) -> Self {
        Self(directory.saturating_mul(64).saturating_add(LARGEST_CONTINUATION))
    }

    pub fn spend(&mut self, what: &'static str, offset: u64, length: u64) -> Result<(), Error> {
        self.0 = self.0.checked_sub(length).ok_or(Error::Limit { what, offset, limit: LARGEST_CONTINUATION })?;
        Ok(())
    }
}

/// What the fields of one record say.
#[derive(Default)]
pub(crate) struct Fields {
    /// NM.
    pub name: Option<Vec<u8>>,
    /// PX.
    pub mode: Option<u32>,
    /// TF.
    pub modified: Option<i64>,
    /// SL.
    pub target: Option<Vec<u8>>,
    /// CL: the block of the directory that was moved elsewhere, as ISO 9660 allows eight levels only.
    pub child: Option<u32>,
    /// RE: such a directory where it was moved to.
    pub relocated: bool,
    /// ZF, SF: why the stored bytes are not the file's.
    pub encoded: Option<&'static str>,
}

/// How many bytes to pass over in each record's area, if the first record of the root directory has Rock Ridge (SUSP 5.3).
pub(crate) fn promised(medium: Medium<'_>, block: u64, area: Piece<'_>) -> Result<Option<u8>, Error> {
    // Behind fourteen bytes on a disc of the CD-ROM XA kind.
    for start in [0, 14] {
        let area = area.rest(start);
        let [b'S', b'P', 7, _, 0xbe, 0xef, skip] = area.bytes.first_chunk::<7>().copied().unwrap_or_default() else {
            continue;
        };
        let mut seen = false;
        each_field(medium, block, area, &mut Budget::of(0), |name, field| {
            seen |= match name {
                b"PX" | b"RR" => true,
                // The extension's identifier follows four lengths and a version (SUSP 5.5).
                b"ER" => {
                    let identifier = field.rest(8).bytes;
                    [&b"RRIP_"[..], b"IEEE_P1282", b"IEEE_1282"].iter().any(|known| identifier.starts_with(known))
                }
                _ => false,
            };
            Ok(())
        })?;
        return Ok(seen.then_some(skip));
    }
    Ok(None)
}

/// Reads the fields of one record, wherever they go on.
pub(crate) fn fields(medium: Medium<'_>, block: u64, area: Piece<'_>, budget: &mut Budget) -> Result<Fields, Error> {
    let mut fields = Fields::default();
    let mut target = Target::default();
    each_field(medium, block, area, budget, |name, field| {
        match name {
            // 4.1.1
            b"PX" => fields.mode = Some(field.u32(4)?),
            // 4.1.4: a name may take several fields.
            b"NM" => {
                let name = fields.name.get_or_insert_default();
                match field.u8(4)? & (IS_CURRENT | IS_PARENT) {
                    IS_CURRENT => name.push(b'.'),
                    IS_PARENT => name.extend(b".."),
                    _ => name.extend(field.rest(5).bytes),
                }
            }
            // 4.1.3
            b"SL" => target.extend(field.rest(5))?,
            // 4.1.5.1, 4.1.5.3
            b"CL" => fields.child = Some(field.u32(4)?),
            b"RE" => fields.relocated = true,
            b"TF" => fields.modified = modified(field)?.or(fields.modified),
            b"ZF" => fields.encoded = Some("compressed by zisofs"),
            // 4.1.7
            b"SF" => fields.encoded = Some("as a sparse file of Rock Ridge"),
            _ => {}
        }
        Ok(())
    })?;
    fields.target = target.text;
    Ok(fields)
}

/// The time of the last change among those that are there (4.1.6), in the order of their bits.
fn modified(field: Piece<'_>) -> Result<Option<i64>, Error> {
    const CREATION: u8 = 1;
    const MODIFY: u8 = 1 << 1;
    const LONG_FORM: u8 = 1 << 7;
    let flags = field.u8(4)?;
    if flags & MODIFY == 0 {
        return Ok(None);
    }
    let length = if flags & LONG_FORM == 0 { 7 } else { 17 };
    let stamp = field.part(if flags & CREATION == 0 { 5 } else { 5 + length }, length)?;
    Ok(if flags & LONG_FORM == 0 { time::short(stamp) } else { time::long(stamp) })
}

/// In NM and SL alike.
const CONTINUES: u8 = 1;
const IS_CURRENT: u8 = 1 << 1;
const IS_PARENT: u8 = 1 << 2;
const IS_ROOT: u8 = 1 << 3;

/// A link's target as its parts come in.
#[derive(Default)]
struct Target {
    text: Option<Vec<u8>>,
    /// The last part goes on in the next one.
    within: bool,
}

impl Target {
    fn extend(&mut self, parts: Piece<'_>) -> Result<(), Error> {
        let text = self.text.get_or_insert_default();
        let mut rest = parts;
        while rest.bytes.len() >= 2 {
            let (flags, length) = (rest.u8(0)?, usize::from(rest.u8(1)?));
            let part = rest.part(2, length)?;
            rest = rest.rest(2 + length);
            if !self.within && !text.is_empty() && !text.ends_with(b"/") {
                text.push(b'/');
            }
            match flags & (IS_CURRENT | IS_PARENT | IS_ROOT) {
                IS_CURRENT => text.push(b'.'),
                IS_PARENT => text.extend(b".."),
                IS_ROOT => {
                    text.clear();
                    text.push(b'/');
                }
                _ => text.extend(part.bytes),
            }
            if text.len() > LONGEST_TARGET {
                let limit = LONGEST_TARGET as u64;
                return Err(Error::Limit { what: "the target of a symbolic link", offset: part.offset, limit });
            }
            self.within = flags & CONTINUES != 0;
        }
        Ok(())
    }
}

/// Shows every field of an area and of those it goes on in (SUSP 4, 5.1).
fn each_field(
    medium: Medium<'_>,
    block: u64,
    area: Piece<'_>,
    budget: &mut Budget,
    mut see: impl FnMut(&[u8; 2], Piece<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    const LIMITS: (&str, u64) = ("the continuation of a system use area", LARGEST_CONTINUATION);
    let mut next = in_area(area, &mut see)?;
    let mut bytes = 0_u64;
    for _ in 0..MOST_CONTINUATIONS {
        let Some(continuation) = next else { return Ok(()) };
        let offset = u64::from(continuation.block) * block + u64::from(continuation.offset);
        bytes += u64::from(continuation.length);
        if bytes > LARGEST_CONTINUATION {
            return Err(Error::Limit { what: LIMITS.0, offset, limit: LIMITS.1 });
        }
        budget.spend(LIMITS.0, offset, continuation.length.into())?;
        let area = medium.read(LIMITS.0, offset, continuation.length.into())?;
        next = in_area(area.piece(), &mut see)?;
    }
    match next {
        None => Ok(()),
        Some(_) => Err(area.malformed("it goes on in more places than any name needs")),
    }
}

/// A CE field.
struct Continuation {
    block: u32,
    offset: u32,
    length: u32,
}

/// Shows the fields of one area and says where they go on. Fewer than four bytes, and zeros, fill it up.
fn in_area(
    area: Piece<'_>,
    see: &mut impl FnMut(&[u8; 2], Piece<'_>) -> Result<(), Error>,
) -> Result<Option<Continuation>, Error> {
    let mut rest = area;
    let mut next = None;
    while let Some(&[first, second, length, _version]) = rest.bytes.first_chunk::<4>() {
        if length < 4 {
            break;
        }
        let field = Piece { what: "a Rock Ridge field", ..rest.part(0, length.into())? };
        match &[first, second] {
            b"ST" => break,
            b"CE" => next = Some(Continuation { block: field.u32(4)?, offset: field.u32(12)?, length: field.u32(20)? }),
            name => see(name, field)?,
        }
        rest = rest.rest(length.into());
    }
    Ok(next)
}
