//! Rights that the box gives up once its sockets are open (capabilities(7)).

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};

/// Gives up every capability, and with them the way back: no program started from here gets one either.
///
/// Capabilities belong to threads, and new threads inherit them: call it while there is only one.
///
/// # Errors
/// The kernel's.
pub(super) fn give_up() -> Result<(), Errno> {
    set_no_new_privs(true)?;
    for capability in CapabilitySet::all() {
        match remove_capability_from_bounding_set(capability) {
            // Only root may, and nobody else needs to: without new privileges the bound is met already. A kernel does not know
            // the capabilities of a later one.
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}
