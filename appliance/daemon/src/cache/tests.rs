//! Against mirrors on loopback.

use super::*;
use crate::origin::testing::{Server, answer, broken, file, whole};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

struct Box {
    folder: tempfile::TempDir,
}

impl Box {
    fn new() -> Self {
        Box { folder: tempfile::tempdir().unwrap() }
    }

    fn cache(&self, server: &Server, most: u64) -> Cache {
        let mirrors = BTreeMap::from([("debian".to_owned(), server.url("/debian").parse().unwrap())]);
        Cache::new(mirrors, &self.folder.path().join("cache"), most)
    }

    /// The files that lie there.
    fn files(&self) -> Vec<String> {
        let list = fs::read_dir(self.folder.path().join("cache")).into_iter().flatten().flatten();
        let mut names: Vec<String> = list.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// All bytes of a hit.
async fn all(hit: Hit) -> std::io::Result<Vec<u8>> {
    match hit {
        Hit::Kept(kept) => {
            let mut bytes = vec![0; usize::try_from(kept.facts.len).unwrap()];
            kept.file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        }
        Hit::Coming(mut reading) => {
            let mut bytes = Vec::new();
            while let Some(piece) = reading.next().await? {
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes)
        }
        Hit::Passing(body, _) => {
            use http_body_util::BodyExt as _;
            Ok(body.collect().await.map_err(std::io::Error::other)?.to_bytes().to_vec())
        }
        Hit::Head(_) => Ok(Vec::new()),
    }
}

async fn get(cache: &Cache, path: &str) -> Result<Vec<u8>, CacheError> {
    let hit = cache.get(&Method::GET, path).await?;
    Ok(all(hit).await.unwrap())
}

const DEB: &str = "debian/pool/main/x/x_1_amd64.deb";

fn package() -> Vec<u8> {
    (0..1_500_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

#[tokio::test]
async fn a_package_is_fetched_once_also_when_many_ask_and_after_a_restart() {
    let server = Server::start(|_, request| file(&request, &package(), "\"one\"")).await;
    let folder = Box::new();
    let cache = folder.cache(&server, 1 << 30);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let cache = cache.clone();
        asking.spawn(async move { get(&cache, DEB).await.unwrap() });
    }
    while let Some(got) = asking.join_next().await {
        assert!(got.unwrap() == package());
    }
    assert_eq!(server.requests(), ["GET /debian/pool/main/x/x_1_amd64.deb"]);
    assert_eq!(folder.files().len(), 2);
    let again = folder.cache(&server, 1 << 30);
    drop(server);
    assert!(get(&again, DEB).await.unwrap() == package());
}

#[tokio::test]
async fn a_broken_transfer_is_no_file_and_no_whole_answer() {
    let server = Server::start(|nth, request| match nth {
        0 => answer(200, &[("content-length", "1500000")], broken(package()[..700_000].to_vec())),
        _ => file(&request, &package(), "\"one\""),
    })
    .await;
    let folder = Box::new();
    let cache = folder.cache(&server, 1 << 30);
    let hit = cache.get(&Method::GET, DEB).await.unwrap();
    assert!(all(hit).await.is_err());
    // The flight ends after its last reader was told.
    while !folder.files().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(get(&cache, DEB).await.unwrap() == package());
    assert_eq!(folder.files().len(), 2);
}

#[tokio::test]
async fn lists_are_asked_after_and_the_kept_one_serves_while_the_mirror_is_away() {
    static AWAY: AtomicBool = AtomicBool::new(false);
    let server = Server::start(|nth, request| {
        if AWAY.load(Ordering::SeqCst) {
            return answer(503, &[], whole("away"));
        }
        let known = request.headers().get("if-none-match").map(|tag| tag.to_str().unwrap().to_owned());
        let tag = if nth < 2 { "\"one\"" } else { "\"two\"" };
        if known.as_deref() == Some(tag) {
            return answer(304, &[], whole(""));
        }
        let text = if nth < 2 { "first" } else { "second" };
        answer(200, &[("etag", tag), ("last-modified", "Sun, 01 Mar 2026 00:00:00 GMT")], whole(text))
    })
    .await;
    let folder = Box::new();
    let cache = folder.cache(&server, 1 << 30);
    let list = "debian/dists/trixie/InRelease";
    for wanted in ["first", "first", "second", "second"] {
        // A flight is over once its file is kept, which is before its readers are done.
        assert_eq!(get(&cache, list).await.unwrap(), wanted.as_bytes());
        while !cache.flights.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(server.asked(), 4);
    AWAY.store(true, Ordering::SeqCst);
    assert_eq!(get(&cache, list).await.unwrap(), b"second");
    assert!(matches!(get(&cache, "debian/dists/sid/InRelease").await, Err(CacheError::Away(_))));
    drop(server);
    assert_eq!(get(&cache, list).await.unwrap(), b"second");
    assert!(matches!(get(&cache, DEB).await, Err(CacheError::Away(_))));
}

#[tokio::test]
async fn what_was_not_used_for_longest_goes_and_what_never_fits_is_passed_on() {
    let server = Server::start(|_, request| {
        let size = if request.uri().path().contains("huge") { 5000 } else { 1000 };
        answer(200, &[("content-length", &size.to_string())], whole(vec![7; size]))
    })
    .await;
    let folder = Box::new();
    let cache = folder.cache(&server, 2500);
    for name in ["a", "b", "a", "c"] {
        assert_eq!(get(&cache, &format!("debian/{name}.deb")).await.unwrap().len(), 1000);
    }
    assert_eq!(folder.files().len(), 4);
    let asked = server.asked();
    get(&cache, "debian/a.deb").await.unwrap();
    get(&cache, "debian/c.deb").await.unwrap();
    assert_eq!(server.asked(), asked, "b went, a and c are there");
    assert_eq!(get(&cache, "debian/huge.deb").await.unwrap().len(), 5000);
    assert_eq!(folder.files().len(), 4, "it was passed on");
}

#[tokio::test]
async fn only_mirrors_of_the_settings_and_only_below_them() {
    let server = Server::start(|_, _| answer(404, &[], whole("no"))).await;
    let folder = Box::new();
    let cache = folder.cache(&server, 1 << 30);
    for path in [
        "debian/../secret",
        "debian/a/%2e%2e/b",
        "debian/a/..",
        "debian/a%2fb",
        "debian/",
        "debian",
        "",
        "debian/a\\b",
        "debian/./a",
    ] {
        assert!(matches!(cache.get(&Method::GET, path).await, Err(CacheError::Path)), "{path}");
    }
    for path in ["fedora/x", "http://192.0.2.1/x", "/x", "DEBIAN/x"] {
        let refused = cache.get(&Method::GET, path).await;
        assert!(matches!(refused, Err(CacheError::NoMirror { .. })), "{path}: {refused:?}");
    }
    assert_eq!(server.asked(), 0);
    assert!(matches!(cache.get(&Method::GET, "debian/none.deb").await, Err(CacheError::Missing(_))));
    assert!(matches!(cache.get(&Method::HEAD, "debian/none.deb").await, Err(CacheError::Missing(_))));
    let off = Cache::new(BTreeMap::new(), &folder.folder.path().join("never"), 1 << 30);
    assert!(matches!(off.get(&Method::GET, "debian/x").await, Err(CacheError::Off)));
    assert!(!folder.folder.path().join("never").exists());
}

#[test]
fn what_a_run_before_left_halfway_goes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let facts =
        |len: u64| serde_json::to_string(&Facts { of: "x".to_owned(), len, etag: None, last_modified: None }).unwrap();
    write("good", "12345");
    write("good.json", &facts(5));
    write("cut", "123");
    write("cut.json", &facts(5));
    write("alone", "12345");
    write("lost.json", &facts(5));
    write("late.part", "12");
    write("odd", "12345");
    write("odd.json", "{");
    drop(Shelf::open(folder.path(), 1 << 30, true));
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["good", "good.json"]);
}

#[test]
fn packages_last_and_lists_do_not() {
    for path in [
        "pool/main/x/x_1_amd64.deb",
        "dists/trixie/main/binary-amd64/by-hash/SHA256/aa",
        "Packages/x-1.rpm",
        "v3.22/main/x86_64/x-1.apk",
        "repodata/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855-primary.xml.gz",
        "debian/pool/main/x/x_1.orig.tar.xz",
    ] {
        assert!(lasting(path), "{path}");
    }
    for path in [
        "dists/trixie/InRelease",
        "dists/trixie/Release.gpg",
        "Packages.xz",
        "repodata/repomd.xml",
        "repodata/primary.xml.gz",
        "APKINDEX.tar.gz",
    ] {
        assert!(!lasting(path), "{path}");
    }
}
