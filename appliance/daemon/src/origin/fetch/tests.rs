//! Against servers on loopback, which is allowed where a test says so.

use super::{
    super::testing::{Server, answer, broken, file, whole},
    *,
};
use rackberry_core::{event::Actor, image::Verdict};
use sha2::{Digest as _, Sha256, Sha512};

const TAG: &str = "\"one\"";

fn bytes() -> Vec<u8> {
    (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

struct Box {
    _folder: tempfile::TempDir,
    media: Media,
    client: Client,
}

impl Box {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let media = Media::new(folder.path().join("assets"), folder.path().join("state")).unwrap();
        Box { _folder: folder, media, client: Client::new() }
    }

    async fn fetch(&self, order: Order) -> Result<Image, FetchError> {
        self.run(Note { order, actor: Actor::Box, offset: 0, known: None }, false).await
    }

    /// As after a restart of the box, with these bytes on its disk, of which so many are known to be there.
    async fn go_on(&self, order: Order, there: &[u8], offset: u64, known: Known) -> Result<Image, FetchError> {
        let place = Place::new(self.media.fetching(), 1);
        let note = Note { order, actor: Actor::Box, offset, known: Some(known) };
        place.store(&note).unwrap();
        std::fs::write(place.data(), there).unwrap();
        place.stays();
        self.run(note, true).await
    }

    async fn run(&self, note: Note, again: bool) -> Result<Image, FetchError> {
        let reach = if note.order.private { Reach::Anywhere } else { Reach::Internet };
        let (client, media) = (&self.client, &self.media);
        let fetcher = Fetcher { client, media, reach, again, now: WallTime::FIRST };
        let place = Place::new(self.media.fetching(), 1);
        place.store(&note).unwrap();
        let fetched = fetcher.run(note, place, |_| {}).await;
        let left = std::fs::read_dir(self.media.fetching()).unwrap().count();
        assert_eq!(left, 0, "something was left behind");
        let kept = std::fs::read_dir(self.media.aside("..")).unwrap().flatten().filter(|f| f.path().is_file()).count();
        assert!(fetched.is_ok() || kept == 0, "something that was refused was kept");
        fetched
    }
}

fn known(url: String, size: u64, tag: &str) -> Known {
    Known { url, size: Some(size), tag: Some(tag.to_owned()), from: 0 }
}

fn order(urls: &[String]) -> Order {
    Order {
        name: "x".into(),
        urls: urls.to_vec(),
        sha256: None,
        checksums: None,
        signature: None,
        key: None,
        as_it_is: false,
        private: true,
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

#[tokio::test]
async fn a_file_is_fetched_and_named_by_its_digest() {
    let server = Server::start(|_, request| file(&request, &bytes(), TAG)).await;
    let image = Box::new().fetch(order(&[server.url("/a/x.iso")])).await.unwrap();
    assert_eq!((image.digest, image.size_bytes), (digest(&bytes()), 3_000_000));
    assert_eq!((image.verdict, image.origin.as_str()), (Verdict::Unsigned, server.url("/a/x.iso").as_str()));
    assert_eq!(
        size(&Client::new(), &server.url("/x").parse().unwrap(), Reach::Anywhere).await.unwrap(),
        Some(3_000_000)
    );
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let server = Server::start(|_, request| file(&request, &bytes(), TAG)).await;
    let local = format!("http://localhost:{}/x", server.address.port());
    for url in [server.url("/x"), local] {
        let error = Box::new().fetch(Order { private: false, ..order(&[url]) }).await.unwrap_err();
        assert!(matches!(error, FetchError::Client(ClientError::Private { .. })), "{error:?}");
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a_break_is_gone_on_from() {
    let server = Server::start(|nth, request| match nth {
        0 | 1 => {
            let from = request.headers().get("range").map_or(0, |_| 1_000_000);
            let range = format!("bytes {from}-2999999/3000000");
            let headers =
                [("etag", TAG), ("content-length", &(3_000_000 - from).to_string()), ("content-range", &range)];
            answer(if from > 0 { 206 } else { 200 }, &headers, broken(bytes()[from..from + 1_000_000].to_vec()))
        }
        _ => file(&request, &bytes(), TAG),
    })
    .await;
    let image = Box::new().fetch(order(&[server.url("/x")])).await.unwrap();
    assert_eq!(image.digest, digest(&bytes()));
    assert_eq!(server.requests(), ["GET /x", "GET /x bytes=1000000-", "GET /x bytes=2000000-"]);
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let server = Server::start(|nth, request| match nth {
        0 => answer(200, &[("etag", TAG), ("content-length", "3000000")], broken(vec![7; 1_000_000])),
        _ => file(&request, &bytes(), "\"two\""),
    })
    .await;
    let image = Box::new().fetch(order(&[server.url("/x")])).await.unwrap();
    assert_eq!(image.digest, digest(&bytes()));
    assert_eq!(server.requests().last().unwrap(), "GET /x bytes=1000000-");
}

#[tokio::test]
async fn a_part_from_another_place_than_asked_for_is_not_taken() {
    let server = Server::start(|nth, request| match nth {
        0 => answer(200, &[("etag", TAG), ("content-length", "3000000")], broken(bytes()[..1_000_000].to_vec())),
        1 => answer(206, &[("content-range", "bytes 5-2999999/3000000")], whole(bytes()[5..].to_vec())),
        2.. => file(&request, &bytes(), TAG),
    })
    .await;
    let image = Box::new().fetch(order(&[server.url("/x")])).await.unwrap();
    assert_eq!(image.digest, digest(&bytes()));
}

#[tokio::test]
async fn the_next_mirror_goes_on_only_where_something_proves_the_file() {
    let dying = || {
        Server::start(|_, _| {
            answer(200, &[("etag", TAG), ("content-length", "3000000")], broken(bytes()[..1_000_000].to_vec()))
        })
    };
    let good = || Server::start(|_, request| file(&request, &bytes(), "\"of another mirror\""));
    let (first, second) = (dying().await, good().await);
    let urls = [first.url("/x"), second.url("/x")];
    let wanted = digest(&bytes());
    let image = Box::new().fetch(Order { sha256: Some(wanted), ..order(&urls) }).await.unwrap();
    assert_eq!((image.digest, image.verdict), (wanted, Verdict::DigestGiven));
    assert_eq!(second.requests(), ["GET /x bytes=1000000-"]);
    let image = Box::new().fetch(order(&urls)).await.unwrap();
    assert_eq!(image.digest, wanted);
    assert_eq!(second.requests(), ["GET /x"]);
}

#[tokio::test]
async fn a_mirror_without_the_file_is_passed_over_and_a_sole_one_tells() {
    let (none, good) = (
        Server::start(|_, _| answer(404, &[], whole("no"))).await,
        Server::start(|_, request| file(&request, &bytes(), TAG)).await,
    );
    let image = Box::new().fetch(order(&[none.url("/x"), good.url("/x")])).await.unwrap();
    assert_eq!(image.digest, digest(&bytes()));
    let error = Box::new().fetch(order(&[none.url("/x")])).await.unwrap_err();
    assert!(crate::chain(&error).contains("404"), "{}", crate::chain(&error));
    let both = Box::new().fetch(order(&[none.url("/x"), none.url("/y")])).await.unwrap_err();
    assert!(crate::chain(&both).contains("404"));
}

#[tokio::test]
async fn redirects_are_followed_and_are_few() {
    let server = Server::start(|_, request| match request.uri().path() {
        "/x" => answer(302, &[("location", "a/y?z")], whole("")),
        "/a/y" => file(&request, &bytes(), TAG),
        "/out" => answer(301, &[("location", "file:///etc/passwd")], whole("")),
        _ => answer(307, &[("location", "/round")], whole("")),
    })
    .await;
    assert!(Box::new().fetch(order(&[server.url("/x")])).await.is_ok());
    let error = Box::new().fetch(order(&[server.url("/round")])).await.unwrap_err();
    assert!(matches!(error, FetchError::Client(ClientError::Redirects { .. })), "{error:?}");
    let error = Box::new().fetch(order(&[server.url("/out")])).await.unwrap_err();
    assert!(matches!(error, FetchError::Client(ClientError::Url(_))), "{error:?}");
    assert_eq!(server.asked(), 2 + 6 + 1);
}

#[tokio::test]
async fn what_would_not_fit_is_refused_before_a_byte_is_stored() {
    let huge = (1_u64 << 60).to_string();
    let server =
        Server::start(move |_, _| answer(200, &[("content-length", huge.as_str())], broken(vec![0; 1000]))).await;
    let error = Box::new().fetch(order(&[server.url("/x")])).await.unwrap_err();
    assert!(matches!(error, FetchError::Room { size, .. } if size == 1 << 60), "{error:?}");
}

#[tokio::test]
async fn digests_and_lists_are_held_against_the_file() {
    let long: String = Sha512::digest(bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let lists = move |_: usize, request: http::Request<hyper::body::Incoming>| match request.uri().path() {
        "/good" => answer(200, &[], whole(format!("{}  x.iso\n", digest(&bytes())))),
        "/long" => answer(200, &[], whole(format!("# SHA512 HASH\n{long}  x.iso\n"))),
        "/longbad" => answer(200, &[], whole(format!("# SHA512 HASH\n{}  x.iso\n", "ab".repeat(64)))),
        "/bad" => answer(200, &[], whole(format!("{}  x.iso\n", digest(b"other")))),
        "/other" => answer(200, &[], whole(format!("{}  y.iso\n", digest(&bytes())))),
        "/huge" => answer(200, &[], whole(vec![b'a'; 2 << 20])),
        _ => file(&request, &bytes(), TAG),
    };
    let server = Server::start(lists).await;
    let with = |list: &str| Order { checksums: Some(server.url(list)), ..order(&[server.url("/x.iso")]) };
    for list in ["/good", "/long"] {
        assert_eq!(Box::new().fetch(with(list)).await.unwrap().verdict, Verdict::DigestGiven, "{list}");
    }
    let error = Box::new().fetch(with("/bad")).await.unwrap_err();
    assert!(matches!(error, FetchError::Import(ImportError::WrongDigest { .. })), "{error:?}");
    assert!(matches!(Box::new().fetch(with("/longbad")).await, Err(FetchError::WrongSum)));
    assert!(matches!(Box::new().fetch(with("/other")).await, Err(FetchError::Checksums(ListError::Missing(_)))));
    assert!(matches!(Box::new().fetch(with("/huge")).await, Err(FetchError::List(ClientError::Long { .. }))));
    let two = Order { sha256: Some(digest(b"other")), ..with("/good") };
    assert!(matches!(Box::new().fetch(two).await, Err(FetchError::TwoDigests)));
    let given = Order { sha256: Some(digest(b"other")), ..order(&[server.url("/x.iso")]) };
    assert!(matches!(Box::new().fetch(given).await, Err(FetchError::Import(ImportError::WrongDigest { .. }))));
}

#[tokio::test]
async fn a_signature_is_asked_for_first_and_held_against_every_byte() {
    use super::super::signature::tests::Gpg;
    let (ours, theirs) = (Gpg::with_key("ed25519", "never"), Gpg::with_key("ed25519", "never"));
    let of_file = ours.run(&["--detach-sign"], &bytes());
    let list = format!("SHA256 (x.iso) = {}\n", digest(&bytes()));
    let clear = ours.run(&["--clear-sign"], list.as_bytes());
    let of_list = ours.run(&["--detach-sign", "--armor"], list.as_bytes());
    let server = Server::start(move |_, request| match request.uri().path() {
        "/sig" => answer(200, &[], whole(of_file.clone())),
        "/list" => answer(200, &[], whole(list.clone())),
        "/list.gpg" => answer(200, &[], whole(of_list.clone())),
        "/CHECKSUM" => answer(200, &[], whole(clear.clone())),
        "/bad/x.iso" => {
            let mut changed = bytes();
            changed[2_500_000] ^= 1;
            file(&request, &changed, TAG)
        }
        _ => file(&request, &bytes(), TAG),
    })
    .await;
    let signed = |by: &Gpg, file: &str, list: Option<&str>, signature: Option<&str>| Order {
        key: Some(by.run(&["--export"], b"")),
        checksums: list.map(|path| server.url(path)),
        signature: signature.map(|path| server.url(path)),
        ..order(&[server.url(file)])
    };
    for (list, signature) in [(None, Some("/sig")), (Some("/list"), Some("/list.gpg")), (Some("/CHECKSUM"), None)] {
        let image = Box::new().fetch(signed(&ours, "/x.iso", list, signature)).await.unwrap();
        let Verdict::Signed { key, signer, expires_wall } = image.verdict else { panic!("{:?}", image.verdict) };
        assert_eq!((key.as_str(), expires_wall), (ours.fingerprint().as_str(), None));
        assert_eq!(signer.as_str(), "Distribution <keys@example.org>");
        server.requests();
        let error = Box::new().fetch(signed(&ours, "/bad/x.iso", list, signature)).await.unwrap_err();
        assert!(
            matches!(error, FetchError::Signature(SignatureError::Wrong { .. }) | FetchError::Import(_)),
            "{error:?}"
        );
        assert_eq!(server.requests().last().unwrap(), "GET /bad/x.iso");
        let error = Box::new().fetch(signed(&theirs, "/x.iso", list, signature)).await.unwrap_err();
        assert!(matches!(error, FetchError::Signature(SignatureError::Stranger(_))), "{error:?}");
        assert!(!server.requests().contains(&"GET /x.iso".to_owned()), "the file itself was asked for");
    }
    let unsigned = Box::new().fetch(signed(&ours, "/x.iso", Some("/list"), None)).await;
    assert!(matches!(unsigned, Err(FetchError::Unsigned)));
    assert!(matches!(signed(&ours, "/x", None, None).check(), Err(FetchError::KeyWithoutSignature)));
    let keyless = Order { signature: Some(server.url("/sig")), ..order(&[server.url("/x")]) };
    assert!(matches!(keyless.check(), Err(FetchError::SignatureWithoutKey)));
}

#[tokio::test]
async fn after_a_restart_only_what_is_missing_is_asked_for() {
    let server = Server::start(|_, request| file(&request, &bytes(), TAG)).await;
    let url = server.url("/x");
    let known = || known(url.clone(), 3_000_000, TAG);
    let order = || order(std::slice::from_ref(&url));
    // What was written and never synced is not believed.
    let there = [&bytes()[..2_000_000], &[7; 5000][..]].concat();
    let image = Box::new().go_on(order(), &there, 2_000_000, known()).await.unwrap();
    assert_eq!((image.digest, image.size_bytes), (digest(&bytes()), 3_000_000));
    // A disk that lost what it had promised.
    let image = Box::new().go_on(order(), &bytes()[..1_000_000], 2_000_000, known()).await.unwrap();
    assert_eq!(image.digest, digest(&bytes()));
    assert_eq!(server.requests(), ["GET /x bytes=2000000-", "GET /x bytes=1000000-"]);
    // The box went off between the last byte and the image.
    let image = Box::new().go_on(order(), &bytes(), 3_000_000, known()).await.unwrap();
    assert_eq!((image.digest, server.asked()), (digest(&bytes()), 2));
}

#[tokio::test]
async fn a_file_that_changed_while_the_box_was_off_begins_anew() {
    let server = Server::start(|_, request| file(&request, &bytes(), "\"two\"")).await;
    let order = order(&[server.url("/x")]);
    let known = known(server.url("/x"), 2_500_000, TAG);
    let image = Box::new().go_on(order, &[9; 2_000_000], 2_000_000, known).await.unwrap();
    assert_eq!((image.digest, image.size_bytes), (digest(&bytes()), 3_000_000));
    assert_eq!(server.requests(), ["GET /x bytes=2000000-"], "one answer, which was the whole of it");
}

#[tokio::test]
async fn after_a_restart_the_mirror_that_it_came_from_is_asked_first() {
    let start = || Server::start(|_, request| file(&request, &bytes(), TAG));
    let (first, second) = (start().await, start().await);
    let order = order(&[first.url("/x"), second.url("/x")]);
    let known = known(second.url("/x"), 3_000_000, TAG);
    let image = Box::new().go_on(order, &bytes()[..2_000_000], 2_000_000, known).await.unwrap();
    assert_eq!((image.digest, first.asked()), (digest(&bytes()), 0));
    assert_eq!(second.requests(), ["GET /x bytes=2000000-"]);
}

#[tokio::test]
async fn after_a_restart_every_byte_is_held_against_its_signature() {
    use super::super::signature::tests::Gpg;
    let gpg = Gpg::with_key("ed25519", "never");
    let signature = gpg.run(&["--detach-sign"], &bytes());
    let server = Server::start(move |_, request| match request.uri().path() {
        "/sig" => answer(200, &[], whole(signature.clone())),
        _ => file(&request, &bytes(), TAG),
    })
    .await;
    let order = || Order {
        key: Some(gpg.run(&["--export"], b"")),
        signature: Some(server.url("/sig")),
        ..order(&[server.url("/x")])
    };
    let known = || known(server.url("/x"), 3_000_000, TAG);
    let image = Box::new().go_on(order(), &bytes()[..2_000_000], 2_000_000, known()).await.unwrap();
    assert!(matches!(image.verdict, Verdict::Signed { .. }), "{:?}", image.verdict);
    assert_eq!(server.requests(), ["GET /sig", "GET /x bytes=2000000-"]);
    let mut rotten = bytes()[..2_000_000].to_vec();
    rotten[1_000_000] ^= 1;
    let error = Box::new().go_on(order(), &rotten, 2_000_000, known()).await.unwrap_err();
    assert!(matches!(error, FetchError::Signature(SignatureError::Wrong { .. })), "{error:?}");
}

#[tokio::test]
async fn a_box_that_started_before_its_uplink_waits_for_the_list_too() {
    let server = Server::start(|nth, request| match (nth, request.uri().path()) {
        (0, _) => answer(503, &[], whole("not yet")),
        (_, "/list") => answer(200, &[], whole(format!("{}  x\n", digest(&bytes())))),
        _ => file(&request, &bytes(), TAG),
    })
    .await;
    let order = || Order { checksums: Some(server.url("/list")), ..order(&[server.url("/x")]) };
    let known = known(server.url("/x"), 3_000_000, TAG);
    let image = Box::new().go_on(order(), &bytes()[..2_000_000], 2_000_000, known).await.unwrap();
    assert_eq!((image.digest, image.verdict), (digest(&bytes()), Verdict::DigestGiven));
    assert_eq!(server.requests(), ["GET /list", "GET /list", "GET /x bytes=2000000-"]);
}
