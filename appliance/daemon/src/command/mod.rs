//! The commands as they are typed.
//!
//! | module | one sentence |
//! |---|---|
//! | `hosts`, `images`, `people`, `service` | what is typed behind the first word, by nouns |
//! | `ask` | a command as calls of the API |
//! | `show` | the answers, for people |
//! | `fetch` | files from elsewhere, and how far they are |
//! | `import` | media brought to the box, piece by piece |
//! | `oled` | the display's picture |
//! | `password` | one typed without being seen |
//! | `initrd` | initial RAM disks: listed, unpacked, extended |
//! | `ramroot` | roots that live in memory, built here |
//! | `update` | updates of the box, and how far they are |

pub mod ask;
mod fetch;
mod hosts;
mod images;
mod import;
pub mod initrd;
mod oled;
mod password;
mod people;
pub mod ramroot;
mod service;
pub mod show;
mod update;

pub use hosts::{HostCommand, InstallArgs, PowerAction};
pub use images::{ImageCommand, InitrdCommand, OriginArgs, ProfileCommand, RamrootArgs, RamrootCommand};
pub use people::{TokenCommand, UserCommand};
pub use service::{
    AlarmCommand, CardSetupArgs, ClockHelperArgs, ConfigCommand, ConfigFile, OledArgs, OledCommand, ServeArgs,
    UpdateArgs, UpdateCommand, UpdateHelperArgs,
};

use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the box.
    Serve(ServeArgs),
    /// Names every mistake of a settings file.
    CheckConfig { file: PathBuf },
    /// Makes the box what its SD card says: accounts, name, reset. Part of its start, needs root.
    CardSetup(CardSetupArgs),
    /// Settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Gives an interface an address: by DHCP, else 192.168.77.1. One-shot, needs root.
    NetUp {
        interface: Option<String>,
        /// Takes interface and address from the rackberry.toml in this folder, if they stand there.
        #[arg(long, value_name = "FOLDER")]
        card: Option<PathBuf>,
        /// Writes into this file which name servers and time servers it was told of: lines `dns=ADDRESS` and
        /// `ntp=ADDRESS`. Left alone where the interface has its address already.
        #[arg(long, value_name = "FILE")]
        lease: Option<PathBuf>,
    },
    /// Hosts.
    #[command(subcommand)]
    Host(HostCommand),
    /// Arms an install of PROFILE on HOST.
    Install(InstallArgs),
    /// Says yes to erasing HOST's disk with the digits that the display at the box shows, or has it ask again.
    Confirm {
        host: String,
        /// The four digits.
        #[arg(required_unless_present = "again", conflicts_with = "again")]
        code: Option<String>,
        /// Has the display ask once more.
        #[arg(long)]
        again: bool,
    },
    /// Has HOST boot a live PROFILE from the network from now on, or what the box decides again; nothing is erased.
    Live {
        host: String,
        #[arg(required_unless_present = "off", conflicts_with = "off")]
        profile: Option<String>,
        /// A parameter of the profile.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// No more.
        #[arg(long)]
        off: bool,
    },
    /// Switches HOST on or off, or says whether it is on: by pins that `host set` names.
    Power {
        host: String,
        #[arg(value_enum)]
        action: PowerAction,
        /// Also while something is being installed on it.
        #[arg(long)]
        yes: bool,
    },
    /// Disarms or stops the install on HOST.
    Cancel { host: String },
    /// Goes on with an interrupted install on HOST.
    Resume { host: String },
    /// Says what the media on its standard input is. Part of an import.
    #[command(hide = true)]
    ImportWorker,
    /// Images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Profiles.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// History.
    Events {
        #[arg(long)]
        host: Option<String>,
        /// Goes on with new ones.
        #[arg(long)]
        follow: bool,
    },
    /// What a person should look at.
    #[command(subcommand)]
    Alarm(AlarmCommand),
    /// People.
    #[command(subcommand)]
    User(UserCommand),
    /// What programs show in place of a login.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Copies the inventory into FILE, also while the box runs.
    Backup { file: PathBuf },
    /// Puts a backup in place of the inventory; the box must not run.
    Restore { file: PathBuf },
    /// What the box does now.
    Status,
    /// Updates of the box on its SD card. With FILE: takes the bundle in, installs it, and starts the box again.
    Update(UpdateArgs),
    /// Starts the box again with the version before, which is still on its SD card.
    Rollback,
    /// Writes updates to the SD card when the daemon asks. Part of the card's start, needs root.
    UpdateHelper(UpdateHelperArgs),
    /// Sets the SD card's clock when the daemon asks. Part of the card's start, needs root.
    ClockHelper(ClockHelperArgs),
    /// The display of the box.
    #[command(subcommand)]
    Oled(OledCommand),
    /// Initial RAM disks, on this machine.
    #[command(subcommand)]
    Initrd(InitrdCommand),
    /// Systems that need no disk, built on this machine.
    #[command(subcommand)]
    Ramroot(RamrootCommand),
    /// The API's description, as OpenAPI 3.1.
    Openapi,
}
