//! Commands on hosts, and what is done to them.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Every host and what it does.
    List,
    /// One host, whole.
    Show { host: String },
    /// Enrols a host before its first boot.
    Add { mac: String, name: Option<String> },
    /// Changes a host: name=node-02, policy=local-disk, loader=pxelinux, note=TEXT, tags=a,b, add_mac=52:54:00:77:00:02, power=gpio,
    /// power_pin=17, power_kind=button|relay, power_active=high|low, reset_pin=18, led_pin=22, led_active=low|high.
    Set {
        host: String,
        #[arg(required_unless_present_any = ["address", "option", "no_options"], value_name = "KEY=VALUE")]
        changes: Vec<String>,
        /// The IPv4 address DHCP keeps for it; - for none.
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
        /// A DHCP option for it alone, for example 67=boot/own.efi; replaces those set before. May be repeated.
        #[arg(long, value_name = "NUMBER=VALUE")]
        option: Vec<String>,
        /// Takes its DHCP options away.
        #[arg(long)]
        no_options: bool,
    },
    /// Forgets a host; a network boot enters it anew.
    Rm { host: String },
    /// Enrols a list: MAC[, name[, serial[, uuid]]] a line; an IPv4 address behind the MAC becomes its fixed one.
    Import {
        csv: PathBuf,
        /// Names for those without one, for example node-%02d.
        #[arg(long, default_value = "")]
        pattern: String,
    },
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    pub host: String,
    pub profile: String,
    /// only, smallest, largest, smallest-nvme, serial:NUMBER, wwn:NUMBER or name:sda.
    #[arg(long, default_value = "only")]
    pub disk: String,
    /// A parameter of the profile.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Erase the disk also if it holds data.
    #[arg(long)]
    pub yes: bool,
}

/// What is to be done to a host's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PowerAction {
    On,
    /// By force: the system is not asked.
    Off,
    /// Off by force, then on.
    Cycle,
    /// The reset switch.
    Reset,
    /// A short press of its button, whatever it does now.
    Short,
    /// A press of 5 s, whatever it does now.
    Long,
    /// Changes nothing.
    Status,
}

impl PowerAction {
    /// The API's word for it; none for the status.
    pub fn verb(self) -> Option<&'static str> {
        match self {
            PowerAction::On => Some("on"),
            PowerAction::Off => Some("off"),
            PowerAction::Cycle => Some("cycle"),
            PowerAction::Reset => Some("reset"),
            PowerAction::Short => Some("short"),
            PowerAction::Long => Some("long"),
            PowerAction::Status => None,
        }
    }
}
