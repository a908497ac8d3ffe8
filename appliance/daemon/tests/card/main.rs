//! The SD card's FAT partition: what people write there, and what they write wrongly.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail a test")]

mod corpus;
mod setup;
