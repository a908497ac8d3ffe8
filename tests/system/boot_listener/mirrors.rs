//! `coreos-install` and `flatcar-install` at their mirror: the box, with files that a person dropped there and with imported media.

use super::{PATIENCE, ask, host, own_file};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Dice, Faults, Impairment, Life, Site,
    fake_installer::{arm, import_bytes, import_folder, reach},
    pxe::web,
    side_by_side,
    site::{BOOT, BOX_LINK, ROOM},
};

const COREOS: &str = "coreos_production_image.bin.bz2";
const FLATCAR: &str = "flatcar_production_image.bin.bz2";

/// Somebody who signs releases, and a release of theirs.
struct Release {
    /// The public key, as gpgv reads it.
    keyring: PathBuf,
    disk: Vec<u8>,
    packed: Vec<u8>,
    signature: Vec<u8>,
}

fn run(command: &mut Command) -> Result<()> {
    let ran = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(())
}

impl Release {
    fn new(scratch: &Path) -> Result<Self> {
        // gpg's helper listens on a socket in there, whose name may not be long.
        let home = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp")?;
        let gpg = || {
            let mut gpg = Command::new("gpg");
            gpg.arg("--homedir").arg(home.path()).args(["--batch", "--quiet", "--passphrase", ""]);
            gpg
        };
        let (image, keyring) = (scratch.join("release"), scratch.join("keyring.gpg"));
        let disk = system_tests::site::disk_image(3 << 20);
        std::fs::write(&image, &disk)?;
        run(Command::new("bzip2").arg("--keep").arg("--force").arg(&image))?;
        let packed = scratch.join("release.bz2");
        run(gpg().args(["--quick-gen-key", "Releases <releases@example.org>", "ed25519", "sign", "never"]))?;
        run(gpg().arg("--export").arg("--output").arg(&keyring))?;
        run(gpg().args(["--yes", "--detach-sign"]).arg(&packed))?;
        run(Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "gpg-agent"]))?;
        let signature = std::fs::read(scratch.join("release.bz2.sig"))?;
        Ok(Self { keyring, disk, packed: std::fs::read(packed)?, signature })
    }

    /// As it lies on a mirror.
    fn folder(&self, version: &str, name: &str) -> Vec<(String, Vec<u8>)> {
        let image = format!("{version}/{name}");
        vec![(format!("{image}.sig"), self.signature.clone()), (image, self.packed.clone())]
    }

    /// Runs the installer's requests against a mirror; what it wrote, and how it ended.
    fn install(&self, site: &Site, kind: &str, base: &str, version: &str) -> Result<(Output, Option<Vec<u8>>)> {
        let target = site.scratch().join("target");
        let _ = std::fs::remove_file(&target);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("system/boot_listener/mirror-install.sh");
        let mut command = site.room.command("sh");
        command.arg(script).args([kind, base, version]).arg(&target).arg(&self.keyring);
        let ran = command.output().context("run mirror-install.sh")?;
        Ok((ran, std::fs::read(target).ok()))
    }

    fn installs(&self, site: &Site, kind: &str, base: &str, version: &str) -> Result<()> {
        let (ran, written) = self.install(site, kind, base, version)?;
        let said = String::from_utf8_lossy(&ran.stderr);
        ensure!(ran.status.success(), "{kind} {version} from {base}: {said}");
        ensure!(written.as_ref() == Some(&self.disk), "{kind} {version} from {base}: another disk");
        Ok(())
    }

    /// It ends with this reason, and nothing is written.
    fn fails(&self, site: &Site, kind: &str, base: &str, version: &str, why: &str) -> Result<()> {
        let (ran, written) = self.install(site, kind, base, version)?;
        let said = String::from_utf8_lossy(&ran.stderr);
        ensure!(!ran.status.success() && said.contains(why), "{kind} {version} from {base}: {said}");
        ensure!(written.is_none(), "{kind} {version} from {base}: something was written");
        Ok(())
    }
}

fn drop_files(appliance: &Appliance, files: Vec<(String, Vec<u8>)>) -> Result<()> {
    files.into_iter().try_for_each(|(path, content)| own_file(appliance, &path, content))
}

#[test]
fn installers_of_both_kinds_write_what_lies_in_the_files_folder() -> Result<()> {
    let began = Instant::now();
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let release = Release::new(site.scratch())?;
    drop_files(&appliance, release.folder("1185.5.0", COREOS))?;
    drop_files(&appliance, release.folder("coreos:stable/1185.5.0", COREOS))?;
    drop_files(&appliance, release.folder("amd64-usr/4081.2.1", FLATCAR))?;
    own_file(&appliance, "amd64-usr/current/version.txt", "FLATCAR_BUILD=4081\nFLATCAR_VERSION=4081.2.1\n")?;
    for base in ["http://10.77.0.1", "http://10.77.0.1:8080/", "http://10.77.0.1/coreos:stable"] {
        release.installs(&site, "coreos", base, "1185.5.0")?;
    }
    release.installs(&site, "coreos", "http://10.77.0.1:8080/coreos%3Astable", "1185.5.0")?;
    release.installs(&site, "flatcar", "http://10.77.0.1:8080/amd64-usr", "4081.2.1")?;
    release.installs(&site, "flatcar", "http://10.77.0.1/amd64-usr", "current")?;

    // What is missing shows at HEAD, before anything is written.
    let base = "http://10.77.0.1:8080";
    release.fails(&site, "coreos", base, "1186.0.0", "image unavailable: http://10.77.0.1:8080/1186.0.0/coreos")?;
    release.fails(&site, "flatcar", base, "current", "version.txt unavailable")?;
    std::fs::remove_file(appliance.state_dir().join(format!("files/1185.5.0/{COREOS}.sig")))?;
    release.fails(&site, "coreos", base, "1185.5.0", "signature unavailable")?;
    // Somebody else's bytes do not pass its signature.
    own_file(&appliance, &format!("1185.5.0/{COREOS}.sig"), &release.signature)?;
    let path = appliance.state_dir().join(format!("files/1185.5.0/{COREOS}"));
    File::options().write(true).open(path)?.write_all_at(b"?", 100)?;
    release.fails(&site, "coreos", base, "1185.5.0", "does not hold")?;

    // Colons in paths are the same file raw and escaped, for GET and HEAD.
    own_file(&appliance, "cloud-configs/00:25:90:c0:f7:86.yml", "#cloud-config\n")?;
    for name in ["00:25:90:c0:f7:86.yml", "00%3A25%3A90%3Ac0%3Af7%3A86.yml", "00%3a25:90%3ac0:f7%3a86.yml"] {
        let path = format!("/cloud-configs/{name}");
        let (head, get) = (ask(&site, ROOM, "HEAD", &path)?, ask(&site, ROOM, "GET", &path)?);
        assert_eq!((head.status, get.status, get.body.as_slice()), (200, 200, &b"#cloud-config\n"[..]), "{path}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
    println!("mirror in the files folder: 6 installs, 4 that fail with their reason, in {:?}", began.elapsed());
    Ok(())
}

#[test]
fn installers_of_both_profiles_write_what_their_media_hold() -> Result<()> {
    let began = Instant::now();
    let site = Site::new()?;
    let appliance = site.serve("")?;
    let release = Release::new(site.scratch())?;
    let kinds = [
        ("coreos", "coreos-container-linux-install", COREOS, "1855.4.0", "coreos-install -d "),
        ("flatcar", "flatcar", FLATCAR, "4081.2.1", "flatcar-install -d "),
    ];
    for (number, (kind, profile, name, version, program)) in (1..).zip(kinds) {
        for part in ["kernel", "initrd"] {
            import_bytes(&appliance, site.scratch(), &format!("{kind}-{part}"), format!("{kind} {part}").as_bytes())?;
        }
        let mut files = release.folder(version, name);
        files.push(("current/version.txt".to_owned(), format!("FLATCAR_VERSION={version}\n").into_bytes()));
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
        let digest = import_folder(&appliance, site.scratch(), &format!("{kind}-mirror"), &files)?;
        let node = host(&site, number)?;
        super::meet(&site, &node)?;
        arm(&appliance, &node, profile, &json!({ "version": version }))?;
        let mut life = Life::new(Faults::default(), 1);
        let installer = site.room.enter(|| reach(&node, BOOT, &mut life))?;
        // The plan's own words: which program runs, for which version, from where.
        let script = site.room.enter(|| installer.answer(&node, BOOT, "installer.sh"))?;
        let line = script.lines().find(|line| line.contains(program)).context("no line that installs")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |option: &str| {
            let at = words.iter().position(|word| *word == option)?;
            Some(words.get(at + 1)?.trim_matches('\''))
        };
        let (base, wanted) = (after("-b").context("no -b")?, after("-V").context("no -V")?);
        assert_eq!((base, wanted), (format!("http://10.77.0.1/images/{digest}").as_str(), version));
        release.installs(&site, kind, base, wanted)?;
        if kind == "flatcar" {
            release.installs(&site, kind, base, "current")?;
        }
        release.fails(&site, kind, base, "1.2.3", "image unavailable")?;
        // One bit that turned on the box's disk: refused at HEAD already, so that no disk is begun.
        let (stored, packed) = (appliance.state_dir().join("images").join(&digest), &release.packed);
        let bytes = std::fs::read(&stored)?;
        let at = bytes.windows(packed.len()).position(|part| part == packed).context("not in the archive")? + 5000;
        let place = u64::try_from(at)?;
        let file = File::options().write(true).open(&stored)?;
        file.write_all_at(&[bytes.get(at).context("a byte")? ^ 4], place)?;
        release.fails(&site, kind, base, version, "unavailable")?;
        assert_eq!(ask(&site, ROOM, "GET", &format!("/images/{digest}/{version}/{name}"))?.status, 409);
    }
    println!("mirror out of media: 2 profiles, 3 installs, 4 refusals, in {:?}", began.elapsed());
    Ok(())
}

/// RancherOS tries from 100 ms on, waits up to 30 s between two tries, and gives up after five minutes.
#[test]
fn row_3_every_cloud_config_arrives_over_a_cable_that_loses_a_tenth_though_the_box_is_killed_meanwhile() -> Result<()> {
    let seed = Dice::seed();
    let site = Site::over(Impairment { loss: 10.0, ..Impairment::default() }, seed)?;
    // Taps are no interfaces that the box would choose by itself.
    let mut appliance = site.serve(&format!("[network]\ninterface = \"{BOX_LINK}\"\n"))?;
    let config = "#cloud-config\nhostname: ros\n";
    own_file(&appliance, "cloud-configs/00:25:90:c0:f7:86.yml", config)?;
    let fetches: Vec<u32> = (0..if super::soak() { 5000 } else { 1000 }).collect();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let began = Instant::now();
    let tries = std::thread::scope(|scope| {
        let all = scope.spawn(|| {
            side_by_side(&site.room, 48, &fetches, |_, number| {
                let colon = if number % 2 == 0 { ":" } else { "%3A" };
                let path = format!("/cloud-configs/{}.yml", ["00", "25", "90", "c0", "f7", "86"].join(colon));
                let (mut pause, began, mut tries) = (Duration::from_millis(100), Instant::now(), 0u32);
                loop {
                    tries += 1;
                    let got = web::Connection::open_from(ROOM, BOOT, Duration::from_secs(10))
                        .and_then(|mut line| line.request("GET", &path, &[]));
                    if let Ok(reply) = got
                        && reply.status == 200
                    {
                        ensure!(reply.text() == config, "{reply:?}");
                        done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        return Ok(tries);
                    }
                    ensure!(began.elapsed() < Duration::from_secs(300), "fetch {number} gave up as RancherOS would");
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(PATIENCE);
                }
            })
        });
        // In the middle, whatever the machine's speed.
        let end = Instant::now() + Duration::from_secs(300);
        while done.load(std::sync::atomic::Ordering::Relaxed) < fetches.len() / 3 && !all.is_finished() {
            ensure!(Instant::now() < end, "hardly anything is served");
            std::thread::sleep(Duration::from_millis(5));
        }
        appliance.restart()?;
        all.join().map_err(|_| anyhow::anyhow!("a client panicked"))?
    })?;
    let lost = site.wire().context("no wire")?.counters();
    assert!(lost.lost > lost.seen / 20, "the cable lost {} of {} frames", lost.lost, lost.seen);
    println!(
        "cloud-config at 10 % loss: seed {seed}, {} fetches, {} tries, {} of {} frames lost, the box killed once, all served in {:?}",
        fetches.len(),
        tries.iter().sum::<u32>(),
        lost.lost,
        lost.seen,
        began.elapsed()
    );
    Ok(())
}
