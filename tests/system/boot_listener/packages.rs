//! Packages of a mirror, pulled through the box: its answers over real sockets, and a real apt behind it.

use super::{PATIENCE, ask, open, own_file, until};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use system_tests::{
    Appliance, Dice, Netns, Site,
    site::{BOX, ROOM},
};

/// What a mirror does when a file is asked for.
#[derive(Clone, Debug)]
enum Does {
    Answers(Vec<u8>),
    /// Says how long it is, and ends after the half.
    BreaksOff(Vec<u8>),
    /// The end of the connection is the end of the file, and it comes too early or not: nobody can tell.
    SaysNoLength(Vec<u8>),
    /// Takes the question and never says a word.
    Silent,
    Fails,
}

#[derive(Default)]
struct Shelf {
    files: BTreeMap<String, Does>,
    asked: BTreeMap<String, usize>,
    /// Connections that are left without a word.
    mute: Vec<TcpStream>,
}

/// A mirror in the box's namespace, which counts what it is asked for.
struct Mirror {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    ended: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    fn new(namespace: &Netns) -> Result<Self> {
        Self::at(namespace, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    fn at(namespace: &Netns, address: SocketAddr) -> Result<Self> {
        let listener = namespace.enter(|| TcpListener::bind(address).context("a mirror's port"))?;
        let (address, shelf) = (listener.local_addr()?, Arc::<Mutex<Shelf>>::default());
        let ended = Arc::<std::sync::atomic::AtomicBool>::default();
        let (files, ends) = (shelf.clone(), ended.clone());
        listener.set_nonblocking(true)?;
        let thread = std::thread::spawn(move || {
            while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let files = files.clone();
                        std::thread::spawn(move || serve(stream, &files));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Ok(Self { address, shelf, ended, thread: Some(thread) })
    }

    fn put(&self, path: &str, does: Does) {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).files.insert(path.to_owned(), does);
    }

    /// How often a file was asked for by GET.
    fn asked(&self, path: &str) -> usize {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).asked.get(path).copied().unwrap_or_default()
    }

    /// The settings of a box that pulls through from here.
    fn settings(&self, size_mb: u64) -> String {
        format!("[cache]\nmirrors = {{ debian = \"http://{}/debian\" }}\nsize_mb = {size_mb}\n", self.address)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.ended.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request, one answer, and the connection ends.
fn serve(stream: TcpStream, shelf: &Mutex<Shelf>) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut reader = BufReader::new(&stream);
    let (mut request, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        request.push_str(&line);
        line.clear();
    }
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    let does = {
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if method == "GET" {
            *shelf.asked.entry(path.clone()).or_default() += 1;
        }
        let does = shelf.files.get(&path).cloned();
        if matches!(does, Some(Does::Silent))
            && let Ok(held) = stream.try_clone()
        {
            shelf.mute.push(held);
            return;
        }
        does
    };
    let close = "Connection: close\r\n\r\n";
    let (head, body) = match &does {
        None => ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n".to_owned(), &[][..]),
        Some(Does::Fails | Does::Silent) => ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n".to_owned(), &[][..]),
        Some(Does::SaysNoLength(body)) => ("HTTP/1.1 200 OK\r\n".to_owned(), body.as_slice()),
        Some(Does::Answers(body) | Does::BreaksOff(body)) => {
            let date = "Last-Modified: Sun, 01 Nov 2026 10:00:00 GMT\r\n";
            (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"{:x}\"\r\n{date}", body.len(), body.len()), {
                if matches!(does, Some(Does::BreaksOff(_))) {
                    body.get(..body.len() / 2).unwrap_or_default()
                } else {
                    body
                }
            })
        }
    };
    let mut stream = &stream;
    let _ = stream.write_all(format!("{head}{close}").as_bytes());
    if method == "GET" {
        let _ = stream.write_all(body);
    }
}

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..length).map(|_| u8::try_from(dice.below(256)).unwrap_or_default()).collect()
}

/// Files that are kept, without what is known of them.
fn kept(appliance: &Appliance) -> Result<Vec<PathBuf>> {
    let folder = appliance.state_dir().join("cache");
    let files = std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    Ok(files.filter(|path| path.extension().is_none()).collect())
}

#[test]
fn a_package_is_fetched_once_and_answered_as_a_file() -> Result<()> {
    let site = Site::new()?;
    let mirror = Mirror::new(&site.seat)?;
    let package = bytes(1, 700_000);
    mirror.put("/debian/pool/a_1_all.deb", Does::Answers(package.clone()));
    let appliance = site.serve(&mirror.settings(64))?;
    // What a person dropped there is not what hosts get below this path by HTTP.
    own_file(&appliance, "cache/debian/pool/a_1_all.deb", "own")?;
    own_file(&appliance, "cache/own.txt", "own")?;
    site.room.enter(|| {
        let mut line = open(ROOM)?;
        let path = "/cache/debian/pool/a_1_all.deb";
        let length = Some("700000");
        let head = line.request("HEAD", path, &[])?;
        ensure!(head.status == 200 && head.header("content-length") == length && head.body.is_empty(), "{head:?}");
        ensure!(mirror.asked("/debian/pool/a_1_all.deb") == 0, "a HEAD fetched the whole file");
        for round in 0..3 {
            let whole = line.request("GET", path, &[])?;
            ensure!(whole.status == 200 && whole.body == package, "round {round}: {:?}", whole.headers);
            ensure!(whole.header("last-modified") == Some("Sun, 01 Nov 2026 10:00:00 GMT"), "{:?}", whole.headers);
        }
        let head = line.request("HEAD", path, &[])?;
        ensure!(head.status == 200 && head.header("content-length") == length, "{head:?}");
        // Until it is safe on the disk it is answered as it came in, whole.
        until("a part", || Ok(line.request("GET", path, &[("Range", "bytes=0-0")])?.status == 206))?;
        for (range, from, until) in
            [("bytes=0-0", 0, 1), ("bytes=1000-99999", 1000, 100_000), ("bytes=-5", 699_995, 700_000)]
        {
            let part = line.request("GET", path, &[("Range", range)])?;
            ensure!(
                part.status == 206 && package.get(from..until) == Some(part.body.as_slice()),
                "{range}: {}",
                part.status
            );
            let said = format!("bytes {from}-{}/700000", until - 1);
            ensure!(part.header("content-range") == Some(said.as_str()), "{range}: {:?}", part.headers);
        }
        let past = line.request("GET", path, &[("Range", "bytes=700000-")])?;
        ensure!(past.status == 416, "{past:?}");
        let known = line.request("GET", path, &[("If-Modified-Since", "Sun, 01 Nov 2026 10:00:00 GMT")])?;
        ensure!(known.status == 304 && known.body.is_empty(), "{known:?}");
        let date = ("If-Range", "Sun, 01 Nov 2026 10:00:00 GMT");
        let rest = line.request("GET", path, &[("Range", "bytes=699000-"), date])?;
        ensure!(rest.status == 206 && rest.body.len() == 1000, "{}", rest.status);
        ensure!(line.request("POST", path, &[])?.status == 405, "POST");
        Ok(())
    })?;
    assert_eq!(mirror.asked("/debian/pool/a_1_all.deb"), 1);
    for (path, why) in [
        ("/cache/debian/pool/none_1_all.deb", "The mirror has no such file"),
        ("/cache/ubuntu/pool/a_1_all.deb", "has no mirror named ubuntu; it has: debian"),
        ("/cache/debian/../debian/pool/a_1_all.deb", "no path of a mirror"),
        ("/cache/debian/%2e%2e/secret", "no path of a mirror"),
        ("/cache/own.txt", "no path of a mirror"),
        ("/cache/own.txt/x", "no mirror named own.txt"),
        ("/cache/", "no path of a mirror"),
    ] {
        let reply = ask(&site, ROOM, "GET", path)?;
        let said = reply.text();
        // What a path's dots mean may be settled before it comes here.
        ensure!(reply.status == 404 && (said.contains(why) || path.contains("..")), "{path}: {} {said}", reply.status);
        ensure!(!said.contains("own\n"), "{path}");
    }
    Ok(())
}

#[test]
fn a_mirror_that_is_away_silent_or_breaks_off_is_said_and_nothing_half_is_kept() -> Result<()> {
    let began = Instant::now();
    let site = Site::new()?;
    let mirror = Mirror::new(&site.seat)?;
    let (package, list) = (bytes(2, 600_000), b"Origin: here\n".to_vec());
    mirror.put("/debian/pool/cut_1_all.deb", Does::BreaksOff(package.clone()));
    mirror.put("/debian/pool/endless_1_all.deb", Does::SaysNoLength(package.clone()));
    mirror.put("/debian/pool/mute_1_all.deb", Does::Silent);
    mirror.put("/debian/pool/bad_1_all.deb", Does::Fails);
    mirror.put("/debian/dists/x/InRelease", Does::Answers(list.clone()));
    let appliance = site.serve(&mirror.settings(64))?;
    std::thread::scope(|scope| {
        // It waits half a minute for the mirror; the rest goes on meanwhile.
        let slow = scope.spawn(|| {
            site.room.enter(|| {
                let line = open(ROOM)?;
                line.set_patience(Duration::from_secs(120))?;
                let mut line = line;
                line.request("GET", "/cache/debian/pool/mute_1_all.deb", &[])
            })
        });
        let get = |name: &str| ask(&site, ROOM, "GET", &format!("/cache/debian/{name}"));
        for _ in 0..3 {
            // It breaks off here as it did there: a length that does not come.
            ensure!(get("pool/cut_1_all.deb").is_err(), "a cut transfer looks whole");
            ensure!(kept(&appliance)?.is_empty(), "half a package is kept");
        }
        ensure!(mirror.asked("/debian/pool/cut_1_all.deb") == 3);
        mirror.put("/debian/pool/cut_1_all.deb", Does::Answers(package.clone()));
        ensure!(get("pool/cut_1_all.deb")?.body == package, "whole at last");
        ensure!(get("pool/cut_1_all.deb")?.body == package && mirror.asked("/debian/pool/cut_1_all.deb") == 4);
        // Whether such a file is whole shows nowhere: it is passed on, and not kept for others.
        for _ in 0..2 {
            let url = format!("http://{BOX}/cache/debian/pool/endless_1_all.deb");
            let curl = site.room.command("curl").args(["-sf", &url]).output()?;
            ensure!(curl.status.success() && curl.stdout == package, "{}: {} bytes", curl.status, curl.stdout.len());
        }
        until("one package is kept", || Ok(kept(&appliance)?.len() == 1))?;
        let bad = get("pool/bad_1_all.deb")?;
        ensure!(bad.status == 502 && bad.text().contains("answers 500"), "{bad:?}");
        ensure!(get("dists/x/InRelease")?.body == list, "a list");
        let slow = slow.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        ensure!(slow.status == 504 && slow.text().contains("did not answer in time"), "{slow:?}");
        // The mirror goes. What is kept serves, also a list that is asked after each time.
        drop(mirror);
        let gone = get("pool/other_1_all.deb")?;
        ensure!(gone.status == 502 && gone.text().contains("cannot be reached"), "{gone:?}");
        ensure!(get("pool/cut_1_all.deb")?.body == package && get("dists/x/InRelease")?.body == list, "what is kept");
        Ok(())
    })?;
    assert_eq!(appliance.log().count("panicked"), 0);
    println!("packages of a mirror that fails: 404, 500, cut, without length, silent, gone, in {:?}", began.elapsed());
    Ok(())
}

#[test]
fn the_cache_keeps_to_its_size_and_without_mirrors_it_is_off() -> Result<()> {
    let site = Site::new()?;
    let mirror = Mirror::new(&site.seat)?;
    for number in 0..12 {
        mirror.put(&format!("/debian/pool/p{number}_1_all.deb"), Does::Answers(bytes(number, 300_000)));
    }
    let large = bytes(99, 3 << 20);
    mirror.put("/debian/pool/large_1_all.deb", Does::Answers(large.clone()));
    let mut appliance = site.serve(&mirror.settings(1))?;
    let get = |name: &str| ask(&site, ROOM, "GET", &format!("/cache/debian/pool/{name}_1_all.deb"));
    let stored = |appliance: &Appliance| -> Result<u64> {
        kept(appliance)?.iter().map(|path| Ok(std::fs::metadata(path)?.len())).sum()
    };
    // Until it is safe on the disk a package is answered whole, as it came in.
    let settled = |name: &str| {
        until("it is kept", || {
            let path = format!("/cache/debian/pool/{name}_1_all.deb");
            let part = site.room.enter(|| open(ROOM)?.request("GET", &path, &[("Range", "bytes=0-0")]))?;
            Ok(part.status == 206)
        })
    };
    for number in 0..12 {
        let name = format!("p{number}");
        ensure!(get(&name)?.body == bytes(number, 300_000), "{number}");
        settled(&name)?;
        ensure!(get("p0")?.body == bytes(0, 300_000), "asked for all the time");
        let now = stored(&appliance)?;
        ensure!(now <= 1 << 20, "{now} bytes are kept after {number}");
    }
    assert_eq!((mirror.asked("/debian/pool/p0_1_all.deb"), mirror.asked("/debian/pool/p1_1_all.deb")), (1, 1));
    get("p1")?;
    assert_eq!(mirror.asked("/debian/pool/p1_1_all.deb"), 2, "the one that nobody asked for longest went");
    for _ in 0..2 {
        let url = format!("http://{BOX}/cache/debian/pool/large_1_all.deb");
        let curl = site.room.command("curl").args(["-sf", &url]).output()?;
        ensure!(curl.status.success() && curl.stdout == large, "{}: {} bytes", curl.status, curl.stdout.len());
    }
    ensure!(stored(&appliance)? <= 1 << 20, "what never fits is not kept");

    let without = std::fs::read_to_string(appliance.config_file())?;
    std::fs::write(appliance.config_file(), without.split("[cache]").next().unwrap_or_default())?;
    appliance.restart()?;
    let off = ask(&site, ROOM, "GET", "/cache/debian/pool/p0_1_all.deb")?;
    ensure!(off.status == 404 && off.text().contains("cache.mirrors"), "{off:?}");
    Ok(())
}

/// A repository with one package, signed, as apt wants it.
struct Repository {
    key: PathBuf,
    package: Vec<u8>,
}

fn run(command: &mut Command) -> Result<Output> {
    let ran = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(ran)
}

fn sum(bytes: &[u8], scratch: &Path) -> Result<String> {
    std::fs::write(scratch, bytes)?;
    let said = run(Command::new("sha256sum").arg(scratch))?.stdout;
    Ok(String::from_utf8(said)?.split(' ').next().unwrap_or_default().to_owned())
}

impl Repository {
    fn new(folder: &Path, mirror: &Mirror) -> Result<Self> {
        let tree = folder.join("hello");
        std::fs::create_dir_all(tree.join("DEBIAN"))?;
        std::fs::create_dir_all(tree.join("usr/share/hello"))?;
        std::fs::write(tree.join("usr/share/hello/data"), bytes(5, 400_000))?;
        let control = "Package: rack-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
            Description: a package of a test\n";
        std::fs::write(tree.join("DEBIAN/control"), control)?;
        let deb = folder.join("rack-hello_1.0_all.deb");
        run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&deb))?;
        let package = std::fs::read(&deb)?;
        let scratch = folder.join("sum");
        let mut packages = control.to_owned();
        let (size, digest) = (package.len(), sum(&package, &scratch)?);
        write!(packages, "Filename: pool/rack-hello_1.0_all.deb\nSize: {size}\nSHA256: {digest}\n\n")?;
        let (size, digest) = (packages.len(), sum(packages.as_bytes(), &scratch)?);
        let release = format!(
            "Origin: here\nSuite: x\nCodename: x\nDate: Sun, 01 Nov 2026 10:00:00 UTC\nAcquire-By-Hash: no\n\
             Architectures: all amd64\nComponents: main\nSHA256:\n {digest} {size} main/binary-all/Packages\n \
             {digest} {size} main/binary-amd64/Packages\n"
        );
        let home = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp")?;
        let gpg = || {
            let mut gpg = Command::new("gpg");
            gpg.arg("--homedir").arg(home.path()).args(["--batch", "--quiet", "--passphrase", ""]);
            gpg
        };
        let (plain, key) = (folder.join("Release"), folder.join("archive.gpg"));
        std::fs::write(&plain, release)?;
        run(gpg().args(["--quick-gen-key", "Archive <archive@example.org>", "ed25519", "sign", "never"]))?;
        run(gpg().arg("--export").arg("--output").arg(&key))?;
        run(gpg().arg("--clearsign").arg("--output").arg(folder.join("InRelease")).arg(&plain))?;
        run(Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "gpg-agent"]))?;
        mirror.put("/debian/dists/x/InRelease", Does::Answers(std::fs::read(folder.join("InRelease"))?));
        for arch in ["all", "amd64"] {
            let path = format!("/debian/dists/x/main/binary-{arch}/Packages");
            mirror.put(&path, Does::Answers(packages.clone().into_bytes()));
        }
        mirror.put("/debian/pool/rack-hello_1.0_all.deb", Does::Answers(package.clone()));
        Ok(Self { key, package })
    }

    /// A host with an apt that knows nothing of this machine's own.
    fn host(&self, host: &Path) -> Result<()> {
        for folder in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ] {
            std::fs::create_dir_all(host.join(folder))?;
        }
        std::fs::write(host.join("status"), "")?;
        let line = format!("deb [signed-by={}] http://{BOX}/cache/debian x main\n", self.key.display());
        std::fs::write(host.join("etc/apt/sources.list"), line)?;
        let root = host.display();
        let config = format!(
            "Dir \"{root}\";\nDir::State::status \"{root}/status\";\nDir::Bin::methods \"/usr/lib/apt/methods\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures \"amd64\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\nAcquire::Retries \"0\";\nAcquire::Check-Date \"false\";\n\
             Acquire::http::Proxy \"DIRECT\";\n"
        );
        std::fs::write(host.join("apt.conf"), config).context("write apt.conf")
    }
}

/// Runs a host's apt.
fn apt(site: &Site, host: &Path, words: &[&str]) -> Result<Output> {
    let mut apt = site.room.command("apt-get");
    apt.arg("-q").args(words).current_dir(host).env("APT_CONFIG", host.join("apt.conf"));
    apt.output().context("run apt-get")
}

#[test]
fn two_hosts_apt_gets_a_package_that_the_mirror_gave_once() -> Result<()> {
    let began = Instant::now();
    let site = Site::new()?;
    let mirror = Mirror::new(&site.seat)?;
    let repository = Repository::new(site.scratch(), &mirror)?;
    let appliance = site.serve(&mirror.settings(64))?;
    let hosts = ["one", "two", "three"].map(|name| site.scratch().join(name));
    for host in &hosts {
        repository.host(host)?;
    }
    let [one, two, three] = &hosts;
    let get = |host: &Path| -> Result<()> {
        for words in [&["update"][..], &["download", "rack-hello"]] {
            let ran = apt(&site, host, words)?;
            let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
            ensure!(ran.status.success() && !said.contains("W:"), "apt-get {words:?}: {said}");
        }
        ensure!(std::fs::read(host.join("rack-hello_1.0_all.deb"))? == repository.package, "another package");
        Ok(())
    };
    // Both at once: who comes second reads what comes in for the first.
    std::thread::scope(|scope| {
        let other = scope.spawn(|| get(two));
        get(one)?;
        other.join().map_err(|_| anyhow::anyhow!("an apt panicked"))?
    })?;
    assert_eq!(mirror.asked("/debian/pool/rack-hello_1.0_all.deb"), 1, "once for both");
    // What is kept proves nothing: a byte that changed on the box is refused by the host itself.
    until("the package is kept", || {
        for path in kept(&appliance)? {
            let mut content = std::fs::read(&path)?;
            if content == repository.package
                && let Some(byte) = content.get_mut(1000)
            {
                *byte ^= 1;
                std::fs::write(&path, content)?;
                return Ok(true);
            }
        }
        Ok(false)
    })?;
    assert!(apt(&site, three, &["update"])?.status.success());
    let refused = apt(&site, three, &["download", "rack-hello"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("Hash Sum mismatch"), "{said}");
    // Without the mirror a host still gets its lists, and what others fetched.
    let asked = mirror.asked("/debian/dists/x/InRelease");
    assert!(asked >= 2, "a list is asked after each time: {asked}");
    drop(mirror);
    until("lists without the mirror", || Ok(apt(&site, three, &["update"])?.status.success()))?;
    println!("apt-get of two hosts: one package fetched once, a changed one refused by apt, in {:?}", began.elapsed());
    Ok(())
}
