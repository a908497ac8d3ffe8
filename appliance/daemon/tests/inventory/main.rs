//! The inventory on a real file: what is acknowledged stays, what fails leaves nothing, and no machine is taken for
//! another one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may fail a test")]

mod durability;
mod file;
mod identity;
mod installs;
mod scale;
mod support;
