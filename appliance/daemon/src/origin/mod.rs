//! What is fetched from elsewhere, and who vouches for it.
//!
//! | module | one sentence |
//! |---|---|
//! | `address` | which addresses may be fetched from |
//! | `url` | where something is |
//! | `client` | one request, and its answer |
//! | `fetch` | one file comes in: what vouches for it, then its bytes, from mirror to mirror |
//! | `proof` | what vouches for a file, fetched or sent |
//! | `desk` | the fetches under way |
//! | `notes` | what a box that starts again goes on by |
//! | `signature` | OpenPGP: who signed a file or a list |
//! | `keys` | the folder of keys that people trust |
//! | `checksums` | lists of digests, in the forms that distributions write |

pub mod address;
pub mod checksums;
pub mod client;
pub mod desk;
pub mod fetch;
pub mod keys;
pub mod notes;
pub mod proof;
pub mod signature;
#[cfg(test)]
pub(crate) mod testing;
pub mod url;
