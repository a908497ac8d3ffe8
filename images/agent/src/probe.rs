//! What is on a disk.
use crate::machine::Machine;
use rackberry_core::hardware::DiskContent;
pub fn disk(_machine: &Machine, _name: &str, _size: u64) -> DiskContent {
    DiskContent::default()
}
