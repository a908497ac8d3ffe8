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
//!
//! What the server owes these pages:
//!
//! - `GET /events/stream?show=alarms|hosts|host&host=<id>`, as [`views::Watch`] says: named events `host-<key>` ([`host_row`]), `host-<key>-live` ([`host_live`]), `hosts`
//!   ([`hosts_list`] of the unfiltered page), `alarm` ([`alarm`]) and, every 5 s, `tick` with any text, as browsers
//!   drop events without data. `<key>` is [`render::key`] of the host's id. A reconnecting browser sends
//!   `Last-Event-ID`, a page that reopens the stream sends `?last=<id>`; the header counts if both come.
//! - Forms: `POST /login` {user, password}; `/first-run` {code, user, password, password2}; `/logout`;
//!   `/theme` {theme: system, light, dark; contrast: system, more; back}; `/hosts/enrol` {list, pattern};
//!   `/hosts/{id}/install` {profile, disk, confirm, p.<name>}; `/hosts/{id}/{disarm, cancel, resume, forget, ask}`;
//!   `/hosts/{id}/live` {profile, p.<name>}; `/hosts/{id}/live/off`;
//!   `/hosts/{id}/confirm` {code}; `/images/{id}/remove`; `/images/fetch` {url, name, sha256, checksums, signature, key, go: look, begin};
//!   `/fetches/{id}/cancel`; `/profiles/{profile}/media/{medium}`; `/updates/{install, drop, rollback}`; `/updates/load`, which is
//!   `multipart/form-data` with the file `bundle` last. Each carries `csrf`. Success is a 303 to a page, refusal the page again
//!   with the field marked (status 422); both also for requests of the script, which follows a 303 by leaving the page.
//! - `GET /hosts/{id}/install?profile=&disk=` shows what these choices mean; the whole page or [`install_dialog`] do.
//! - `GET /activity?host=&before=`, `GET /?q=&state=` with the states of [`views::StateKind::filter`].
//! - `GET /assets/<path>?v=<tag>` may be cached for ever, as every page names the tag of its own build.

pub mod assets;
pub mod format;
pub mod render;
pub mod views;

pub use assets::{Asset, asset};
pub use render::{
    activity, alarm, enrol, error, fetch, first_run, host, host_live, host_row, hosts, hosts_list, images, install,
    install_dialog, live, login, not_found, profiles, updates,
};
