//! What Rackberry decides, apart from what it does: types and pure functions.
//!
//! | module | one sentence |
//! |---|---|
//! | [`id`], [`time`], [`text`] | identifiers, the clock's readings and untrusted text, each parsed once at the edge |
//! | [`option`](mod@option) | a DHCP option that a person sets for a subnet or a host |
//! | [`host`], [`hardware`] | a machine we may boot: who it is, and what it is made of |
//! | [`power`] | how a machine's power is switched, and which steps each verb takes |
//! | [`image`] | imported media and what was found out about them |
//! | [`event`] | one durable line of a host's history |
//! | [`task`] | one atomic step with one outcome, and the order an agent gets for it |
//! | [`workflow`] | the graph of tasks a profile asks for |
//! | [`profile`] | an installable system: `profile.toml`, parameters, templates |
//! | [`install`] | one run of a workflow on one host: the state machine, the Arm, the plan |
//! | [`status`] | what a host is doing, in one word and one sentence |
//! | [`update`] | the box's own SD card: which slot starts, which bundle is taken, when a version has proved itself |
//! | [`agent`] | the words the agent and the box exchange, one source for both ends |
//! | [`dhcp`] | (feature) what to answer to a DHCP packet |
//! | [`boot`] | (feature) what a network-booting host is given |
//! | [`display`] | (feature) what the display of the box shows |
//!
//! Rules: no tokio, database, files, sockets, clock or randomness in here; time, identifiers and random bytes are
//! passed in. Imports point one way: `{ text, time, id, option } <- { host, hardware, image, event, power } <- task
//! <- { workflow, agent } <- profile <- install <- { dhcp, boot, status, display, update }`, and the last ones never import each other.

pub mod agent;
#[cfg(feature = "boot")]
pub mod boot;
#[cfg(feature = "dhcp")]
pub mod dhcp;
#[cfg(feature = "display")]
pub mod display;
pub mod event;
pub mod hardware;
pub mod host;
pub mod id;
pub mod image;
pub mod install;
pub mod option;
pub mod power;
pub mod profile;
pub mod status;
pub mod task;
pub mod text;
pub mod time;
pub mod update;
pub mod workflow;
