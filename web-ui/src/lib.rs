//! Rackberry's pages: view structs in, HTML out. No sockets, no files at run time, no clock.
//!
//! - [`views`]: what each page shows, as plain structs; texts in them may be hostile.
//! - [`render`]: one function for each page and each fragment that the event stream carries.
//! - [`assets`]: style sheets, script, icons and logo, embedded at build time.
//! - [`format`]: durations, sizes, rates and moments in the wording all pages share.
//!
//! Rules: askama escapes every text; no inline style or script, so that the policy
//! `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'`
//! holds; every action is a real form that works without JavaScript.

pub mod assets;
pub mod format;
pub mod render;
pub mod views;

pub use assets::{Asset, asset};
pub use render::{
    activity, alarm, enrol, error, first_run, host, host_live, host_row, hosts, hosts_list, images, install,
    install_dialog, login, not_found, profiles,
};
