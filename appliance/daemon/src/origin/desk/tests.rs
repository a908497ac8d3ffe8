//! Boxes that start again, on one folder.

use super::*;
use crate::{
    inventory::{EventFilter, OpenOptions},
    origin::testing::{Body, Server, answer, broken, file, whole},
};
use http::{Request, Response};
use hyper::body::Incoming;
use rackberry_core::image::Verdict;
use sha2::{Digest as _, Sha256};
use std::path::Path;

const TAG: &str = "\"one\"";

fn bytes() -> Vec<u8> {
    (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

async fn desk(folder: &Path) -> Fetches {
    let media = Media::new(folder.join("assets"), folder.join("state")).unwrap();
    let inventory = Inventory::open(OpenOptions::new(folder.join("state"))).unwrap();
    Fetches::new(media, inventory, true)
}

fn order(url: String) -> Order {
    Order {
        name: "x".into(),
        urls: vec![url],
        sha256: None,
        checksums: None,
        signature: None,
        key: None,
        as_it_is: false,
        private: false,
    }
}

async fn until<T>(look: impl Fn() -> Option<T>) -> T {
    let found = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    found.await.expect("it did not come about within 60 s")
}

fn left(desk: &Fetches) -> Vec<String> {
    let entries = std::fs::read_dir(desk.media.fetching()).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Gives two of three million bytes, then nothing, until somebody asks for the rest.
fn halting(_: usize, request: Request<Incoming>) -> Response<Body> {
    if request.headers().contains_key("range") {
        return file(&request, &bytes(), TAG);
    }
    answer(200, &[("etag", TAG), ("content-length", "3000000")], broken(bytes()[..2_000_000].to_vec()))
}

/// One that halts on its way, and the box that then stops; with how much is there.
async fn stopped(folder: &Path, url: String) -> Fetch {
    let desk = desk(folder).await;
    let begun = desk.begin(order(url), Actor::User("ops".into())).await.unwrap();
    let waits = until(|| desk.get(begun.id).ok().filter(|fetch| fetch.message.is_some())).await;
    assert_eq!((waits.done_bytes, waits.state), (2_000_000, FetchState::Fetching));
    desk.stop();
    desk.inventory.close().await;
    waits
}

#[tokio::test]
async fn a_box_that_starts_again_goes_on_with_what_it_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let gone = Server::start(|_, request| {
        // Nobody answers the box that stops: it pauses.
        if request.headers().contains_key("range") { answer(503, &[], whole("")) } else { halting(0, request) }
    })
    .await;
    let before = stopped(folder.path(), gone.url("/x")).await;
    drop(gone.requests());
    let desk = desk(folder.path()).await;
    desk.wake().await;
    let listed = desk.list();
    let [fetch] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(
        (fetch.id, &fetch.name, fetch.done_bytes, fetch.size_bytes),
        (before.id, &before.name, 2_000_000, Some(3_000_000))
    );
    assert!(!fetch.state.over());
    until(|| gone.requests().contains(&"GET /x bytes=2000000-".to_owned()).then_some(())).await;
    // Another is begun beside it, under another number.
    let other = desk.begin(Order { name: "y".into(), ..order(gone.url("/y")) }, Actor::Box).await.unwrap();
    assert!(other.id > fetch.id);
    assert!(matches!(desk.begin(order(gone.url("/x")), Actor::Box).await, Err(DeskError::Twice(_))));
    for id in [fetch.id, other.id] {
        assert_eq!(desk.cancel(id).await.unwrap().state, FetchState::Cancelled);
        assert!(!desk.media.fetching().join(format!("{id}.json")).exists(), "the note of one that was called off");
    }
    until(|| left(&desk).is_empty().then_some(())).await;
}

#[tokio::test]
async fn what_is_whole_after_a_restart_is_an_image_of_whom_asked_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::start(|nth, request| if nth == 1 { answer(503, &[], whole("")) } else { halting(nth, request) }).await;
    let before = stopped(folder.path(), server.url("/x")).await;
    let desk = desk(folder.path()).await;
    desk.wake().await;
    let done = until(|| desk.get(before.id).ok().filter(|fetch| fetch.state.over())).await;
    assert_eq!((done.state, done.done_bytes), (FetchState::Done, 3_000_000), "{:?}", done.message);
    let snapshot = desk.inventory.snapshot();
    let image = snapshot.image_by_name("x").unwrap();
    assert_eq!((image.digest, &image.verdict), (Digest(Sha256::digest(bytes()).into()), &Verdict::Unsigned));
    assert_eq!(std::fs::read(desk.media.image_path(&image.digest)).unwrap(), bytes());
    let asked = server.requests();
    assert!(asked.iter().skip(1).all(|request| request == "GET /x bytes=2000000-"), "{asked:?}");
    let events =
        desk.inventory.read(|read| read.events(&EventFilter { limit: 100, ..EventFilter::default() })).await.unwrap();
    assert!(events.iter().any(|event| event.event.actor == Actor::User("ops".into())), "{events:?}");
    until(|| left(&desk).is_empty().then_some(())).await;
    desk.inventory.close().await;
}

#[tokio::test]
async fn notes_that_do_not_read_are_an_alarm_and_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let desk = desk(folder.path()).await;
    std::fs::create_dir(desk.media.fetching()).unwrap();
    std::fs::write(desk.media.fetching().join("7.json"), "{").unwrap();
    std::fs::write(desk.media.fetching().join("7"), "bytes").unwrap();
    let note = |order: Order| {
        let note = Note { order, actor: Actor::Box, offset: 0, known: None };
        serde_json::to_vec(&note).unwrap()
    };
    std::fs::write(desk.media.fetching().join("8.json"), note(order("ftp://a.example/x".to_owned()))).unwrap();
    let fine = note(Order { name: "fine".into(), ..order("http://127.0.0.1:9/x".to_owned()) });
    std::fs::write(desk.media.fetching().join("9.json"), fine).unwrap();
    desk.wake().await;
    assert_eq!(desk.list().iter().map(|fetch| fetch.id).collect::<Vec<_>>(), [9]);
    let alarms = desk.inventory.snapshot().alarms.clone();
    let text = alarms.get(ALARM).unwrap().text.to_string();
    assert!(text.contains("images/fetching/7.json") && text.contains("1 more"), "{text}");
    desk.cancel(9).await.unwrap();
    until(|| left(&desk).is_empty().then_some(())).await;
    desk.inventory.close().await;
}
