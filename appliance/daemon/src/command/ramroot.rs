//! Roots that live in memory, built on this machine by the scripts that come with the program.

use super::RamrootArgs;
use anyhow::{Context, bail};
use std::{path::Path, process::Command};

/// What is built with, by its place in the folder.
const SCRIPTS: [(&str, &str); 8] = [
    ("build.sh", include_str!("../../../../images/diskless/build.sh")),
    ("ram.sh", include_str!("../../../../images/diskless/ram.sh")),
    ("initramfs-tools/scripts/ram", include_str!("../../../../images/diskless/initramfs-tools/scripts/ram")),
    ("initramfs-tools/hooks/rackberry", include_str!("../../../../images/diskless/initramfs-tools/hooks/rackberry")),
    (
        "initramfs-tools/conf-hooks.d/rackberry",
        include_str!("../../../../images/diskless/initramfs-tools/conf-hooks.d/rackberry"),
    ),
    ("dracut/module-setup.sh", include_str!("../../../../images/diskless/dracut/module-setup.sh")),
    ("dracut/parse-rackberry.sh", include_str!("../../../../images/diskless/dracut/parse-rackberry.sh")),
    ("dracut/rackberryroot.sh", include_str!("../../../../images/diskless/dracut/rackberryroot.sh")),
];

/// Runs the build; its words go to whoever typed the command.
///
/// # Errors
/// When it failed, having said why.
pub fn build(args: &RamrootArgs) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("rackberry-ramroot-scripts-{}", std::process::id()));
    // Not one that somebody else made in a folder that everybody may write to.
    std::fs::create_dir(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let done = put(&folder).and_then(|()| run(&folder, args));
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing the folder {}", folder.display()))?;
    done
}

fn put(folder: &Path) -> anyhow::Result<()> {
    for (name, text) in SCRIPTS {
        let path = folder.join(name);
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above).with_context(|| format!("making the folder {}", above.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn run(folder: &Path, args: &RamrootArgs) -> anyhow::Result<()> {
    let mut command = Command::new("sh");
    command.arg(folder.join("build.sh")).args(&args.arguments);
    let status = command.status().context("starting sh for the build")?;
    if !status.success() {
        bail!("the root was not built ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_of_the_folder_is_in_the_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/diskless");
        let mut left = vec![root.clone()];
        let mut found = Vec::new();
        while let Some(folder) = left.pop() {
            for item in std::fs::read_dir(folder).unwrap() {
                let path = item.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        let mut known: Vec<_> = SCRIPTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        known.sort();
        assert_eq!(found, known);
    }
}
