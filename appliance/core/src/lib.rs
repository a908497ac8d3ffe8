//! What Rackberry decides.
