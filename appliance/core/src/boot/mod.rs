//! What a network-booting host is given: the decision, and the texts that carry it out.
//!
//! | module | one sentence |
//! |---|---|
//! | [`decide`] | from a host's state to local disk, RAM OS, installer, live system, own files or silence |
//! | [`script`] | the decision as an iPXE script |
//! | [`pxelinux`], [`grub`] | the same for the loaders that look for a configuration |
//! | [`config`] | the names under which they look, and which own files come before ours |
//! | [`own`] | what of a person's own files a host is led to |
//! | [`path`] | a request path, by TFTP or HTTP, to the thing it names |
//! | [`answers`] | a plan's templates, rendered for one host |
//! | [`args`] | a kernel's arguments, as each loader hands them on |
//! | [`initrd`] | archives that extend an initrd by being put behind it |
//! | [`network`] | the network of an installed system, in the format its distribution reads |

pub mod answers;
pub mod args;
pub mod config;
pub mod decide;
pub mod grub;
pub mod initrd;
pub mod network;
pub mod own;
pub mod path;
pub mod pxelinux;
pub mod script;

pub use decide::{BootDecision, HostState, decide};
pub use script::script;

#[cfg(test)]
mod facts;
#[cfg(test)]
mod tests;
