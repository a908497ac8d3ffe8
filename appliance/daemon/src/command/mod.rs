//! The commands as they are typed.
//!
//! | module | one sentence |
//! |---|---|
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
mod import;
pub mod initrd;
mod oled;
mod password;
pub mod ramroot;
pub mod show;
mod update;

use clap::{Args, Subcommand, ValueEnum};
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

#[derive(Debug, Subcommand)]
pub enum InitrdCommand {
    /// What FILE is made of: its archives, whatever they are packed with, and the files in them.
    List { file: PathBuf },
    /// Unpacks FILE into FOLDER, which is made.
    Unpack { file: PathBuf, folder: PathBuf },
    /// Puts an archive of FOLDER's files behind FILE, and the result into OUT. FILE stays as it is, and is the first part of OUT.
    Append { file: PathBuf, folder: PathBuf, out: PathBuf },
    /// Makes an initrd of FOLDER's files alone.
    Pack { folder: PathBuf, out: PathBuf },
}

#[derive(Debug, Subcommand)]
pub enum RamrootCommand {
    /// Builds kernel, initramfs and root of a system that runs from memory, ready for `image import`. Needs root and mmdebstrap;
    /// says what is missing. `ramroot build --out FOLDER` makes a small Debian; without arguments that it knows it names all that it takes.
    Build(RamrootArgs),
}

#[derive(Debug, Args)]
pub struct RamrootArgs {
    /// What the build takes, for example --out FOLDER --keys FILE.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "ARGUMENTS")]
    pub arguments: Vec<String>,
}

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

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Takes an image in, from a file or a URL; its digest is printed and pinned.
    Import {
        /// An ISO, disk image, archive, kernel, initrd or squashfs; a folder, which is packed on the way; or a URL that the box fetches.
        #[arg(value_name = "FILE|FOLDER|URL")]
        file: PathBuf,
        /// The name profiles know it by; the file's name without endings if none.
        #[arg(long)]
        name: Option<String>,
        /// Refuse it unless it has this digest.
        #[arg(long)]
        sha256: Option<String>,
        /// Keep a packed archive packed, for machines that unpack it themselves: nothing is served out of it then.
        #[arg(long)]
        as_it_is: bool,
        #[command(flatten)]
        origin: OriginArgs,
    },
    /// Files that the box fetches from elsewhere, and the last that it fetched.
    Fetches,
    /// Calls a fetch off; nothing of it is kept.
    Cancel {
        /// As `image fetches` shows it.
        fetch: u64,
    },
    /// Names the images that no profile names and no install reads, and with --yes removes them.
    Prune {
        #[arg(long)]
        yes: bool,
    },
    /// Every image.
    List,
    /// Reads an image's file again and compares it with its digest.
    Verify { image: String },
    /// Removes an image that no install under way reads.
    Rm { image: String },
}

/// Where an image comes from, and what vouches for it.
#[derive(Debug, Args)]
pub struct OriginArgs {
    /// With a URL: the same file elsewhere, tried where the first breaks off. May be repeated.
    #[arg(long, value_name = "URL")]
    pub mirror: Vec<String>,
    /// A list of checksums that has to name the file: a URL with a URL, a file with a file.
    #[arg(long, value_name = "URL|FILE")]
    pub checksums: Option<String>,
    /// An OpenPGP signature, of the list if there is one, else of the file: a URL with a URL, a file with a file.
    #[arg(long, value_name = "URL|FILE")]
    pub signature: Option<String>,
    /// A file with the keys that may have signed; else the name of one in the box's folder of keys.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// With a URL: fetch it also from an address that is not the internet's.
    #[arg(long)]
    pub allow_private: bool,
    /// With a URL: only say how big it is.
    #[arg(long)]
    pub size: bool,
}

impl OriginArgs {
    /// The first option that was given and goes with a URL alone.
    fn of_url(&self) -> Option<&'static str> {
        [("--mirror", !self.mirror.is_empty()), ("--allow-private", self.allow_private), ("--size", self.size)]
            .into_iter()
            .find_map(|(option, given)| given.then_some(option))
    }
}

#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Every profile.
    List,
    /// One profile, whole.
    Show { profile: String },
    /// What PROFILE needs on the box, and where that is.
    Media { profile: String },
    /// Has the box fetch what PROFILE still needs, or one of it, from where its vendors offer it.
    Get {
        profile: String,
        /// As `profile media` names it; all that can be fetched if none.
        medium: Option<String>,
        /// Only say how big it is.
        #[arg(long)]
        size: bool,
        /// Fetch it also from an address that is not the internet's.
        #[arg(long)]
        allow_private: bool,
    },
    /// Every file that PROFILE would put into HOST, or one of them.
    Render { host: String, profile: String, file: Option<String> },
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

/// What somebody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// See everything, change nothing.
    Viewer,
    Admin,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Admin => "admin",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Everybody who may log in.
    List,
    /// Adds a person; the password is read from standard input.
    Add {
        name: String,
        #[arg(long, value_enum, default_value = "admin")]
        role: Role,
    },
    /// Gives a new password, read from standard input; every session of theirs ends.
    Passwd { name: String },
    /// Says what a person may.
    Role { name: String, role: Role },
    /// Removes a person, whose sessions and tokens go too.
    Rm { name: String },
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Every token, without its text.
    List,
    /// Makes a token and prints it, this once.
    Add {
        /// What it is for.
        name: String,
        #[arg(long, value_enum, default_value = "admin")]
        role: Role,
    },
    /// Takes a token back; it opens nothing from now on.
    Rm { name: String },
}
