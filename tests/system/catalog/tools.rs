//! The formats' own programs, where `prepare.sh` beside this file unpacked them.

use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The folder that `prepare.sh` filled.
pub struct Tools(PathBuf);

impl Tools {
    pub fn find() -> Result<Self> {
        let folder = std::env::var_os("RACKBERRY_ANSWER_TOOLS").context(
            "RACKBERRY_ANSWER_TOOLS is not set: ./x test system sets it, or run tests/system/catalog/prepare.sh FOLDER",
        )?;
        let tools = Tools(folder.into());
        if !tools.0.join("done").is_file() {
            bail!("{} was not filled by tests/system/catalog/prepare.sh", tools.0.display());
        }
        Ok(tools)
    }

    fn unpacked(&self, places: &[&str]) -> PathBuf {
        let root = self.0.join("root");
        places.iter().map(|place| root.join(place)).find(|path| path.exists()).unwrap_or_else(|| {
            panic!("none of {places:?} is in {}", root.display());
        })
    }

    fn with_libraries(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        let machine = std::env::consts::ARCH;
        command.env("LD_LIBRARY_PATH", self.0.join(format!("root/usr/lib/{machine}-linux-gnu")));
        command
    }

    pub fn ksvalidator(&self, version: &str, file: &Path) -> Command {
        let mut command = Command::new("/usr/bin/python3");
        let folder = self.0.join("pykickstart");
        command.env("PYTHONPATH", &folder).arg(folder.join("tools/ksvalidator.py")).args(["-v", version]).arg(file);
        command
    }

    pub fn cloud_init_schema(&self, file: &Path) -> Command {
        let mut command = Command::new("/usr/bin/python3");
        command.env("PYTHONPATH", self.0.join("root/usr/lib/python3/dist-packages"));
        command.args(["-m", "cloudinit.cmd.main", "schema", "--config-file"]).arg(file);
        command
    }

    pub fn ignition_validate(&self, file: &Path) -> Command {
        let mut command = Command::new(self.unpacked(&["usr/bin/ignition-validate"]));
        command.arg(file);
        command
    }

    /// Netplan's generator, writing below `root` what networkd would read.
    pub fn netplan(&self, root: &Path) -> Command {
        let program =
            self.unpacked(&["usr/libexec/netplan/generate", "lib/netplan/generate", "usr/lib/netplan/generate"]);
        let mut command = self.with_libraries(program);
        command.arg("--root-dir").arg(root);
        command
    }

    pub fn ifquery(&self, file: &Path) -> Command {
        let mut command = Command::new(self.unpacked(&["sbin/ifquery", "usr/sbin/ifquery"]));
        command.arg("--interfaces").arg(file);
        command
    }

    /// Reads a connection from its input and prints what it understood.
    pub fn nmcli(&self) -> Command {
        let mut command = self.with_libraries(self.unpacked(&["usr/bin/nmcli"]));
        command.args(["--offline", "connection", "modify", "connection.autoconnect", "yes"]);
        command
    }
}

/// Both outputs of a program that has to succeed.
pub fn run(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if !out.status.success() {
        bail!("{:?} refused it: {said}", command.get_program());
    }
    Ok(said)
}

/// A program that has to refuse what it was given.
pub fn refused(command: &mut Command) -> Result<()> {
    let out = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    if out.status.success() {
        bail!("{:?} takes what is spoilt", command.get_program());
    }
    Ok(())
}
