//! A rack made of kernel namespaces and emulated machines, to try the appliance as its users' machines would.
//!
//! - [`netns`]: private networks: bridges, taps, veth pairs; nothing outside them hears a packet.
//! - [`leftovers`]: nothing stays of a run, however it ends.
//! - [`wire`]: a cable between two of them that loses, delays, repeats and reorders frames as told.
//! - [`console`]: text that a program prints, with waiting for a line.
//! - [`vm`]: a machine in QEMU with its firmware's own network boot; [`qmp`] is its control socket and [`accel`]
//!   decides whether hardware virtualisation can be trusted.
//! - [`card`]: the SD card in a machine of its own.
//! - [`appliance`]: the program under test, started, killed and started again on one state directory.
//! - [`dnsmasq`]: a foreign server on the same network, to prove the tests on and to stand beside.
//! - [`fake_host`]: a machine without hardware; [`fake_agent`] is its agent, [`life`] what it goes
//!   through, [`dice`] are its luck; [`fake_installer`] is a distribution's installer on it.
//! - [`loader_config`]: what a PXELINUX or GRUB configuration makes a machine do.
//! - [`crowd`]: many machines on one interface, side by side.
//! - [`site`]: the box, the hosts' side of a cable and stand-ins for served files; [`local_api`] asks the box.
//! - [`time_server`]: tells this machine's time.
//! - [`overheard`]: what machines ask the box for.
//! - [`slow_disk`]: a folder whose reads stall and fail.
//! - [`pxe`]: a network-boot client written from the RFCs alone, sharing no code with the server it checks.
//!
//! Everything here needs root and touches only namespaces that it made itself.

pub mod accel;
pub mod appliance;
pub mod bundle;
pub mod card;
pub mod console;
pub mod crowd;
pub mod dice;
pub mod dnsmasq;
pub mod fake_agent;
pub mod fake_host;
pub mod fake_installer;
pub mod leftovers;
pub mod life;
pub mod loader_config;
pub mod local_api;
pub mod mdns;
pub mod netns;
pub mod overheard;
pub mod pxe;
pub mod qmp;
pub mod rack;
pub mod site;
pub mod slow_disk;
pub mod time_server;
pub mod vm;
pub mod wire;

pub use appliance::Appliance;
pub use card::Card;
pub use console::Console;
pub use crowd::{Crowd, side_by_side};
pub use dice::Dice;
pub use dnsmasq::Dnsmasq;
pub use fake_agent::FakeAgent;
pub use fake_host::FakeHost;
pub use fake_installer::FakeInstaller;
pub use life::{Faults, Life};
pub use local_api::LocalApi;
pub use netns::{Netns, output};
pub use overheard::Overheard;
pub use pxe::PxeClient;
pub use site::Site;
pub use slow_disk::SlowDisk;
pub use time_server::TimeServer;
pub use vm::{DiskBus, Firmware, Nic, Vm};
pub use wire::{Impairment, Wire};
