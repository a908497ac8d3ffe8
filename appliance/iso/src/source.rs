//! Where an image's bytes come from, and the pieces that are read of it.

use crate::Error;
use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt,
    sync::Arc,
};

/// Bytes that many readers can share: a read says where, and there is no position to keep.
pub trait ReadAt {
    /// Fills the beginning of `buf` from `offset` on and says how many bytes that were; 0 only at the end.
    ///
    /// # Errors
    /// What the file or device below says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// How many bytes there are.
    ///
    /// # Errors
    /// What the file or device below says.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        let metadata = self.metadata()?;
        if metadata.is_file() {
            return Ok(metadata.len());
        }
        // A drive: only its end says how large it is.
        let mut device = self;
        device.seek(SeekFrom::End(0))
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let length = from.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..length), from.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buf)
    }

    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }
}

/// An image as this crate reads it: its bytes, and where they end.
#[derive(Clone, Copy)]
pub(crate) struct Medium<'a> {
    source: &'a dyn ReadAt,
    pub size: u64,
}

impl<'a> Medium<'a> {
    pub fn new(source: &'a dyn ReadAt, size: u64) -> Self {
        Self { source, size }
    }

    /// Fails unless all of it lies within the image.
    pub fn check(&self, what: &'static str, offset: u64, length: u64) -> Result<(), Error> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Error::Outside { what, offset, length, size: self.size }),
        }
    }

    /// Appends a stretch of the image. Memory is taken only for what the image really has.
    pub fn append(&self, what: &'static str, offset: u64, length: u64, to: &mut Vec<u8>) -> Result<(), Error> {
        self.check(what, offset, length)?;
        let too_large = || Error::Limit { what, offset, limit: usize::MAX as u64 };
        let mut done = to.len();
        let end = usize::try_from(length).ok().and_then(|length| done.checked_add(length)).ok_or_else(too_large)?;
        if to.is_empty() {
            // Comes as zeros from the system.
            *to = vec![0; end];
        } else {
            to.resize(end, 0);
        }
        let mut at = offset;
        while let Some(rest) = to.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.source.read_at(at, rest) {
                Ok(0) => {
                    let source = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err(Error::Io { what, offset: at, source });
                }
                // Whoever claims more than there was room for is not believed.
                Ok(count) => {
                    let count = count.min(rest.len());
                    done += count;
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Io { what, offset: at, source }),
            }
        }
        Ok(())
    }

    /// A stretch of the image as one block.
    pub fn read(&self, what: &'static str, offset: u64, length: u64) -> Result<Block, Error> {
        let mut bytes = Vec::new();
        self.append(what, offset, length, &mut bytes)?;
        Ok(Block { what, offset, bytes })
    }
}

/// Bytes of the image that are ours.
pub(crate) struct Block {
    pub what: &'static str,
    pub offset: u64,
    pub bytes: Vec<u8>,
}

impl Block {
    pub fn piece(&self) -> Piece<'_> {
        Piece { what: self.what, offset: self.offset, bytes: &self.bytes }
    }
}

/// Bytes that know what they are and where they came from, so that each missing field can be told of.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub what: &'static str,
    pub offset: u64,
    pub bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    pub fn malformed(&self, why: &'static str) -> Error {
        Error::Malformed { what: self.what, offset: self.offset, why }
    }

    pub fn unsupported(&self, why: &'static str) -> Error {
        Error::Unsupported { what: self.what, offset: self.offset, why }
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Error> {
        let bytes = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
        bytes.copied().ok_or_else(|| self.malformed("it ends within a field"))
    }

    /// `length` bytes from `at` on.
    pub fn part(&self, at: usize, length: usize) -> Result<Piece<'a>, Error> {
        let bytes = at.checked_add(length).and_then(|end| self.bytes.get(at..end));
        let bytes = bytes.ok_or_else(|| self.malformed("it ends within a field"))?;
        Ok(Piece { what: self.what, offset: self.offset.saturating_add(at as u64), bytes })
    }

    /// Everything from `at` on; nothing when it ends before.
    pub fn rest(&self, at: usize) -> Piece<'a> {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        Piece { what: self.what, offset: self.offset.saturating_add(at as u64), bytes }
    }

    pub fn u8(&self, at: usize) -> Result<u8, Error> {
        self.array::<1>(at).map(|[byte]| byte)
    }

    /// Little-endian, as are the first halves of ISO 9660's both-byte-order fields (ECMA-119 7.2.3, 7.3.3).
    pub fn u16(&self, at: usize) -> Result<u16, Error> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// Little-endian.
    pub fn u32(&self, at: usize) -> Result<u32, Error> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Little-endian.
    pub fn u64(&self, at: usize) -> Result<u64, Error> {
        self.array(at).map(u64::from_le_bytes)
    }
}
