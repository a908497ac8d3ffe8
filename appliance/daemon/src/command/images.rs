//! Commands on images, profiles, and what is built of them.

use clap::{Args, Subcommand};
use std::path::PathBuf;

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
    pub(super) fn of_url(&self) -> Option<&'static str> {
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
