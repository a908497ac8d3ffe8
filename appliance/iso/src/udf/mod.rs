//! UDF 1.02 to 2.60 as on DVDs, Blu-ray discs and the installation media of Windows (ECMA-167 3rd edition; OSTA UDF 2.60): one
//! volume, written once or closed. What is rewritten block by block (VAT, sparing tables) is refused.

mod allocation;
mod descriptor;
mod file_entry;
mod names;
mod partition;
mod volume;

pub(crate) use partition::Address;
pub(crate) use volume::Volume;
