//! What a network-booting host is given: the decision, and the texts that carry it out.
//!
//! | module | one sentence |
//! |---|---|
//! | [`decide`] | from a host's state to local disk, RAM OS, own files or silence |
//! | [`script`] | the decision as an iPXE script |
//! | [`path`] | a request path, by TFTP or HTTP, to the thing it names |
//! | [`answers`] | a plan's file templates, rendered for one host |

pub mod answers;
pub mod decide;
pub mod path;
pub mod script;

pub use decide::{BootDecision, HostState, decide};
pub use script::script;
