//! The network formats, read by the programs of the distributions they are for.

use super::{
    root,
    tools::{Tools, refused, run},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const SHAPES: [&str; 5] = ["dhcp", "static", "vlan", "bond", "bond-vlan"];

/// The files of a format in a shape, below a folder of their own.
fn laid_out(format: &str, shape: &str) -> Result<(tempfile::TempDir, Vec<PathBuf>)> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir()?;
    let golden = root().join("appliance/core/testdata/network").join(format).join(shape);
    let text = fs::read_to_string(&golden).with_context(|| golden.display().to_string())?;
    let mut files = Vec::new();
    for part in text.split("==> ").skip(1) {
        let (head, content) = part.split_once('\n').context("no content")?;
        let (mode, path) = head.split_once(' ').context("no path")?;
        let name = if path.is_empty() { "/one" } else { path };
        let path = folder.path().join(name.trim_start_matches('/'));
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(u32::from_str_radix(mode, 8)?))?;
        files.push(path);
    }
    ensure!(!files.is_empty(), "{} is empty", golden.display());
    Ok((folder, files))
}

#[test]
fn netplan_makes_of_ours_what_networkd_reads() -> Result<()> {
    let tools = Tools::find()?;
    for shape in SHAPES {
        let (folder, _) = laid_out("netplan", shape)?;
        let said = run(&mut tools.netplan(folder.path())).context(shape)?;
        ensure!(said.trim().is_empty(), "{shape}: {said}");
        let made = folder.path().join("run/systemd/network");
        let all: String =
            fs::read_dir(made)?.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
        let mut wanted = vec!["52:54:00:77:00:01"];
        if shape != "dhcp" && shape != "bond" {
            wanted.extend(["Address=192.168.77.20/24", "Gateway=192.168.77.1", "DNS=192.168.77.1"]);
        }
        if shape.contains("bond") {
            wanted.extend(["52:54:00:77:00:02", "Kind=bond"]);
        }
        if shape.contains("vlan") {
            wanted.extend(["Kind=vlan", "Id=100"]);
        }
        for word in wanted {
            ensure!(all.contains(word), "{shape}: netplan made no {word} of it:\n{all}");
        }
    }
    let (folder, files) = laid_out("netplan", "static")?;
    let spoilt = fs::read_to_string(&files[0])?.replace("addresses:", "adresses:");
    fs::write(&files[0], spoilt)?;
    refused(&mut tools.netplan(folder.path()))
}

#[test]
fn ifupdown_reads_addresses_bonds_and_vlans() -> Result<()> {
    let tools = Tools::find()?;
    for shape in SHAPES {
        let (_folder, files) = laid_out("interfaces", shape)?;
        let top = match shape {
            "vlan" => "lan0.100",
            "bond" => "bond0",
            "bond-vlan" => "bond0.100",
            _ => "lan0",
        };
        let said = run(tools.ifquery(&files[0]).arg(top)).context(shape)?;
        if shape != "dhcp" && shape != "bond" {
            for word in ["address: 192.168.77.20", "netmask: 255.255.255.0", "gateway: 192.168.77.1"] {
                ensure!(said.contains(word), "{shape}: ifquery found no {word}:\n{said}");
            }
        }
        if shape.contains("bond") {
            let said = run(tools.ifquery(&files[0]).arg("bond0")).context(shape)?;
            ensure!(said.contains("bond-slaves: lan0 lan1"), "{shape}: {said}");
        }
        refused(tools.ifquery(&files[0]).arg("lan7"))?;
    }
    let (_folder, files) = laid_out("interfaces", "static")?;
    fs::write(&files[0], fs::read_to_string(&files[0])?.replace("inet static", "inet sttaic"))?;
    refused(tools.ifquery(&files[0]).arg("lan0"))
}

#[test]
fn network_manager_keeps_every_line_of_its_files() -> Result<()> {
    let tools = Tools::find()?;
    let understood = |path: &Path| -> Result<String> {
        let mut child = tools
            .nmcli()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("nmcli")?;
        child.stdin.take().context("no input")?.write_all(&fs::read(path)?)?;
        let out = child.wait_with_output()?;
        ensure!(out.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&out.stderr));
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    // What it does not know it leaves out.
    let lost = |path: &Path| -> Result<Vec<String>> {
        let kept = understood(path)?;
        let ours = fs::read_to_string(path)?;
        let lines = ours.lines().filter(|line| line.contains('=') && !line.starts_with('#'));
        // Later releases call a bond's ports by other words, and say so in these.
        let same = |line: &str| {
            let other = line.replace("master=", "controller=").replace("slave-type=", "port-type=");
            kept.lines().any(|kept| kept == line || kept == other)
        };
        Ok(lines.filter(|line| !same(line)).map(str::to_owned).collect())
    };
    for shape in SHAPES {
        let (_folder, files) = laid_out("keyfile", shape)?;
        for path in &files {
            let lost = lost(path)?;
            ensure!(lost.is_empty(), "{shape}: {} loses {lost:?}", path.display());
        }
    }
    let (_folder, files) = laid_out("keyfile", "static")?;
    fs::write(&files[0], fs::read_to_string(&files[0])?.replace("dns=", "dsn="))?;
    ensure!(!lost(&files[0])?.is_empty(), "nmcli keeps what is spoilt");
    Ok(())
}

#[test]
fn networkd_finds_nothing_wrong_in_its_files() -> Result<()> {
    // A namespace of its own, in which it finds no device and none of this machine's files.
    const SCRIPT: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/network && cp \"$1\"/* /run/systemd/network/ && \
        export SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console && exec /lib/systemd/systemd-networkd";
    let complaints = |folder: &Path| -> Result<Vec<String>> {
        let mut child = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "sh", "-c", SCRIPT, "sh"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("systemd-networkd")?;
        // It enumerates devices once it has read all of its files.
        let mut stderr = child.stderr.take().context("no output")?;
        let mut said = Vec::new();
        let mut block = [0; 4096];
        while !String::from_utf8_lossy(&said).contains("lo: ") {
            let count = stderr.read(&mut block)?;
            ensure!(count > 0, "systemd-networkd ended: {}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&block[..count]);
        }
        child.kill()?;
        child.wait()?;
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok(said.lines().filter(|line| line.contains("/run/systemd/network/")).map(str::to_owned).collect())
    };
    for shape in SHAPES {
        let (folder, _) = laid_out("networkd", shape)?;
        let wrong = complaints(&folder.path().join("etc/systemd/network"))?;
        ensure!(wrong.is_empty(), "{shape}: {wrong:?}");
    }
    let (folder, files) = laid_out("networkd", "static")?;
    fs::write(&files[0], fs::read_to_string(&files[0])?.replace("Address=", "Adress="))?;
    ensure!(!complaints(&folder.path().join("etc/systemd/network"))?.is_empty(), "networkd takes what is spoilt");
    Ok(())
}

#[test]
fn files_of_red_hat_and_suse_are_assignments_of_a_shell() -> Result<()> {
    // Neither family's readers are packaged here; both read these files as a shell does.
    for format in ["ifcfg", "suse"] {
        for shape in SHAPES {
            let (_folder, files) = laid_out(format, shape)?;
            let mut read = 0;
            for path in files.iter().filter(|path| path.to_string_lossy().contains("/ifcfg-")) {
                let said =
                    run(Command::new("sh").args(["-euc", ". \"$1\"; echo \"boot=$BOOTPROTO\"", "sh"]).arg(path))?;
                ensure!(
                    said.contains("boot=none") || said.contains("boot=dhcp") || said.contains("boot=static"),
                    "{said}"
                );
                read += 1;
            }
            ensure!(read > 0, "{format} {shape} has no ifcfg file");
        }
    }
    Ok(())
}

#[test]
fn ksvalidator_takes_the_network_line_of_the_oldest_and_the_newest() -> Result<()> {
    let tools = Tools::find()?;
    for version in ["RHEL6", "RHEL10"] {
        for shape in SHAPES {
            let (_folder, files) = laid_out("kickstart", shape)?;
            run(&mut tools.ksvalidator(version, &files[0])).with_context(|| format!("{version} {shape}"))?;
        }
    }
    let (_folder, files) = laid_out("kickstart", "vlan")?;
    fs::write(&files[0], fs::read_to_string(&files[0])?.replace("--vlanid", "--wlanid"))?;
    refused(&mut tools.ksvalidator("RHEL9", &files[0]))
}
