//! What the box itself is started and kept with.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct UpdateArgs {
    /// The bundle: one signed file.
    pub file: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<UpdateCommand>,
}

#[derive(Debug, Subcommand)]
pub enum UpdateCommand {
    /// Which versions are on the card, and how far an update is.
    Status,
    /// Takes a bundle in and verifies it; nothing of the running system changes.
    Load { file: PathBuf },
    /// Installs the bundle that was taken in, and starts the box again to try it.
    Install,
    /// Lets the bundle that was taken in go.
    Drop,
}

#[derive(Debug, Args)]
pub struct UpdateHelperArgs {
    /// What the initramfs found and chose.
    #[arg(long, default_value = "/run/card/env")]
    pub env: PathBuf,
    /// Where questions come in.
    #[arg(long, default_value = "/run/update/socket")]
    pub socket: PathBuf,
    /// Where the versions in the slots are remembered.
    #[arg(long, default_value = "/var/lib/card/update.json")]
    pub record: PathBuf,
    /// The minisign key that bundles have to be signed with.
    #[arg(long, default_value = "/etc/rackberry/update.pub")]
    pub key: PathBuf,
    /// What the initramfs waits at while a version is on trial.
    #[arg(long, default_value = "/run/card/trial")]
    pub trial: PathBuf,
    /// Where the kernel shows the sticks that are plugged in.
    #[arg(long, default_value = "/sys", hide = true)]
    pub sys: PathBuf,
}

#[derive(Debug, Args)]
pub struct ClockHelperArgs {
    /// Where questions come in; the owner of the state folder may ask.
    #[arg(long, default_value = "/run/clock/socket")]
    pub socket: PathBuf,
    /// When this card was made: no earlier time is set.
    #[arg(long, default_value = "/etc/rackberry/built")]
    pub built: PathBuf,
    /// Where the time is kept for the next start.
    #[arg(long, default_value = "/var/lib/card/clock")]
    pub floor: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum OledCommand {
    /// Draws what the display shows now, whether there is one or not.
    Preview(OledArgs),
}

#[derive(Debug, Args)]
pub struct OledArgs {
    /// Where to: a name that ends in .png, .pbm or .txt; the terminal if none.
    pub file: Option<PathBuf>,
    /// 128x64 or 128x32; what the box has if not given.
    #[arg(long)]
    pub size: Option<String>,
    /// Draws the state in this file, as --json prints one, and asks no box.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The second to draw; pages turn by it.
    #[arg(long, value_name = "SECOND")]
    pub tick: Option<u64>,
}

#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The settings; /etc/rackberry/rackberry.toml if it exists, else none.
    #[arg(long, env = "RACKBERRY_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub file: ConfigFile,
    /// Takes the rackberry.toml in this folder, the way of the SD card: a setting with a mistake stands at its default,
    /// and an alarm names it.
    #[arg(long, value_name = "FOLDER", conflicts_with = "config")]
    pub card: Option<PathBuf>,
    /// Writes the seconds since this machine's start into this file each second while all is well, for who feeds a
    /// hardware watchdog.
    #[arg(long, value_name = "FILE", env = "RACKBERRY_HEARTBEAT")]
    pub heartbeat: Option<PathBuf>,
    /// Where the kernel shows the hardware.
    #[arg(long, value_name = "FOLDER", env = "RACKBERRY_SYS", default_value = "/sys", hide = true)]
    pub sys: PathBuf,
    /// The socket of `rackberry update-helper`; without one the box is not updated by its page.
    #[arg(long, value_name = "SOCKET")]
    pub updates: Option<PathBuf>,
    /// The socket of `rackberry clock-helper`; without one the clock is compared with the time servers', and never set.
    #[arg(long, value_name = "SOCKET")]
    pub clock: Option<PathBuf>,
    /// What `rackberry net-up --lease FILE` wrote: its time servers are asked after those of the settings.
    #[arg(long, value_name = "FILE")]
    pub lease: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CardSetupArgs {
    /// Where the card's FAT partition is mounted.
    pub card: PathBuf,
    /// A folder for what init takes from here; of this start alone.
    #[arg(long, default_value = "/run/card")]
    pub out: PathBuf,
    /// The folder of the root's own passwd, shadow and group.
    #[arg(long, default_value = "/etc")]
    pub base: PathBuf,
    /// Folders beside the state folder that a reset empties.
    #[arg(long, value_name = "FOLDER")]
    pub wipe: Vec<PathBuf>,
    /// The card is mounted read-only: it is made writable while something is written.
    #[arg(long)]
    pub remount: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every value and where it comes from.
    Show(ConfigFile),
    /// The sample file: every setting with its meaning and default.
    Sample {
        /// The one for the SD card: with the box's own part, everything commented out.
        #[arg(long)]
        card: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum AlarmCommand {
    /// Every alarm that nobody has settled.
    List,
    /// Takes an alarm off the page; history keeps it.
    Settle {
        /// As `alarm list` shows it.
        id: String,
    },
}
