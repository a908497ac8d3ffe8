//! Memory that pieces of files are read into, used again: taking new memory for each piece costs page faults and zeroing.

use bytes::Bytes;
use std::cell::RefCell;

/// How much of a file is read at once: large enough that a card reads ahead, small enough that a piece is still in the
/// processor's cache when it is sent, and for many clients.
const PIECE: usize = 128 << 10;
/// Kept on each thread.
const KEPT: usize = 4;

thread_local! {
    /// The one used last is taken first, as the processor's cache may still have it.
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Room for one piece; goes back to its like when it is dropped.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
}

impl Buffer {
    /// Room for the next piece of a file that has `left` bytes to go.
    pub fn take(left: u64) -> Self {
        let used = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
        let bytes = used.unwrap_or_else(|| vec![0; PIECE]);
        let length = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        Buffer { bytes, length }
    }

    /// The room; what it holds is of no meaning.
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }

    /// Its first `length` bytes as a piece.
    pub fn filled(mut self, length: usize) -> Bytes {
        self.length = length.min(self.length);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // A thread that ends keeps nothing.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_as_long_as_it_was_filled_and_never_longer_than_what_is_left() {
        let mut buffer = Buffer::take(1 << 40);
        buffer.room().fill(7);
        assert_eq!(buffer.filled(3), Bytes::from_static(&[7, 7, 7]));
        let mut again = Buffer::take(2);
        assert_eq!(again.room().len(), 2);
        again.room().copy_from_slice(b"ab");
        assert_eq!(again.filled(2), Bytes::from_static(b"ab"));
    }
}
