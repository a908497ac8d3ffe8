//! The inventory on a real file: what is acknowledged stays, what fails leaves nothing, and no machine is taken for
//! another one.

mod durability;
mod file;
mod identity;
mod installs;
mod scale;
mod support;
