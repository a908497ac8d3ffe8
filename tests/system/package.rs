//! The .deb on a fresh Debian: put in, served, taken out again, nothing left.

use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use system_tests::{
    Console, Site, leftovers, output,
    pxe::web::Connection,
    site::{BOOT, BOX, BOX_LINK},
};

const PATIENCE: Duration = Duration::from_secs(120);

fn given(name: &str) -> Result<PathBuf> {
    let value = std::env::var_os(name).with_context(|| format!("{name} is not set: ./x test sets it"))?;
    Ok(value.into())
}

/// Everything in the root but what dpkg and the C library keep for themselves.
fn everything(root: &Path) -> Result<BTreeSet<String>> {
    let list = output(Command::new("find").arg(root).args(["-xdev", "-printf", "%P\\n"]))?;
    let own =
        |path: &str| path.starts_with("var/lib/dpkg") || path.starts_with("var/log") || path.starts_with("var/cache");
    Ok(list.lines().filter(|path| !own(path)).map(ToOwned::to_owned).collect())
}

fn on(suite: &str) -> Result<()> {
    let began = Instant::now();
    let folder = leftovers::disk_folder("package")?;
    let root = folder.path().join("root");
    std::fs::create_dir(&root)?;
    let fresh = given("RACKBERRY_ROOTS")?.join(format!("{suite}.tar"));
    output(Command::new("tar").arg("-xpf").arg(&fresh).arg("-C").arg(&root))?;
    let package = given("RACKBERRY_DEB")?;
    std::fs::copy(&package, root.join("rackberry.deb"))?;
    let before = everything(&root)?;
    let inside = |command: &str| {
        let mut chroot = Command::new("chroot");
        chroot.arg(&root).args(["/bin/sh", "-c", command]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        chroot
    };

    output(&mut inside("dpkg -i /rackberry.deb"))?;
    output(&mut inside("rackberry check-config /etc/rackberry/rackberry.toml"))?;
    for unit in ["rackberry.service", "rackberry-dhcp.socket", "rackberry-net-up.service"] {
        ensure!(root.join("usr/lib/systemd/system").join(unit).is_file(), "{unit} is not there");
    }
    let enabled =
        everything(&root)?.into_iter().filter(|path| path.starts_with("etc/systemd") && path.contains("rackberry"));
    ensure!(enabled.count() == 0, "the package starts something by itself");

    // Served, with the files of the package: page, script, loader and RAM OS.
    let site = Site::new()?;
    std::fs::write(root.join("etc/rackberry/rackberry.toml"), format!("[network]\ninterface = \"{BOX_LINK}\"\n"))?;
    let mut command = site.seat.command("chroot");
    command
        .arg(&root)
        .args(["/usr/bin/rackberry", "serve"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    leftovers::end_with_us(&mut command);
    let mut serve = command.spawn().context("start the box in the root")?;
    let console = Console::new();
    console.follow(serve.stdout.take().context("its output")?, None)?;
    console.follow(serve.stderr.take().context("its errors")?, None)?;
    let served = (|| -> Result<usize> {
        console.wait_for("one-time code", PATIENCE)?;
        let page = site.room.enter(|| Connection::open(SocketAddrV4::new(BOX, 8000))?.request("GET", "/", &[]));
        ensure!(page.is_ok_and(|reply| reply.status == 303 || reply.status == 200), "the page does not answer");
        let mut bytes = 0;
        for path in ["/boot.ipxe?mac=52:54:00:00:00:01", "/loaders/undionly.kpxe", "/ramos/x86_64/vmlinuz"] {
            let reply = until(PATIENCE, || {
                site.room
                    .enter(|| Connection::open(BOOT)?.request("GET", path, &[]))
                    .ok()
                    .filter(|reply| reply.status == 200)
            });
            bytes += reply.with_context(|| format!("{path} is not served"))?.body.len();
        }
        Ok(bytes)
    })();
    let pid = rustix::process::Pid::from_child(&serve);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let ended = serve.wait()?;
    let bytes = served.with_context(|| console.text())?;
    ensure!(ended.success(), "the box ended with {ended}: {}", console.text());

    output(&mut inside("dpkg --purge rackberry"))?;
    let after = everything(&root)?;
    let left: Vec<&String> = after.difference(&before).collect();
    let lost: Vec<&String> = before.difference(&after).collect();
    ensure!(left.is_empty() && lost.is_empty(), "left behind: {left:?}; missing: {lost:?}");
    println!(
        "{suite}: installed, {bytes} bytes served, removed, nothing left; {} files before and after, {:.0} s",
        before.len(),
        began.elapsed().as_secs_f32()
    );
    Ok(())
}

fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        let found = ask();
        if found.is_some() || Instant::now() > end {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_package_leaves_nothing_on_debian_12() -> Result<()> {
    on("bookworm")
}

#[test]
fn the_package_leaves_nothing_on_debian_13() -> Result<()> {
    on("trixie")
}

#[test]
fn two_builds_of_the_package_are_the_same() -> Result<()> {
    // Made twice by ./x, from the same program and files.
    let first = given("RACKBERRY_DEB")?;
    let second = first.with_extension("again.deb");
    ensure!(std::fs::read(&first)? == std::fs::read(&second)?, "{} and {} differ", first.display(), second.display());
    Ok(())
}
