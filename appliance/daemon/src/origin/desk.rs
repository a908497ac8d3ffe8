//! The fetches under way: started, gone on with when the box starts again, watched, called off; two at a time, the rest waits its
//! turn.

use super::{
    client::Client,
    fetch::{FetchError, Fetcher, Order, Stand},
    notes::{self, Note, Place, Unread},
};
use crate::{
    chain,
    inventory::{Inventory, StoreError},
    media::Media,
};
use rackberry_core::{
    event::Actor,
    image::{Digest, Image},
    text::CleanText,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinHandle},
};

/// Fetches at once; more would only share the same line.
const AT_ONCE: usize = 2;
/// Unfinished ones; a person does not look after more.
const MOST: usize = 32;
/// Finished ones that are still shown.
const SHOWN: usize = 16;
/// Between two publications of how far one is.
const PACE: Duration = Duration::from_millis(250);
/// The alarm that tells of fetches that cannot be gone on with.
const ALARM: &str = "fetching";

/// How it is with a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchState {
    /// Others go first.
    Waiting,
    Fetching,
    Done,
    Failed,
    Cancelled,
}

impl FetchState {
    /// Whether nothing more happens.
    #[must_use]
    pub fn over(self) -> bool {
        matches!(self, FetchState::Done | FetchState::Failed | FetchState::Cancelled)
    }
}

/// A fetch as page, API and command line show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetch {
    pub id: u64,
    pub name: CleanText,
    /// Where its bytes come from.
    pub url: CleanText,
    pub state: FetchState,
    pub done_bytes: u64,
    /// Unknown until the server said it.
    pub size_bytes: Option<u64>,
    /// Bytes a second, over the last seconds.
    pub rate: u64,
    /// Why it waits just now, or why it failed.
    pub message: Option<CleanText>,
    /// What came of it.
    pub digest: Option<Digest>,
}

/// Why a fetch is not begun.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error(transparent)]
    Order(#[from] FetchError),
    #[error("There is an image named {0} already. Remove it, or choose another name.")]
    Named(CleanText),
    #[error("{0} is being fetched already.")]
    Twice(CleanText),
    #[error("{MOST} fetches wait already. Call some off, or wait.")]
    Many,
    #[error("There is no fetch {0}.")]
    Unknown(u64),
}

/// All of them by number.
type Table = BTreeMap<u64, Entry>;

#[derive(Debug, Clone)]
struct Entry {
    fetch: Fetch,
    task: Option<AbortHandle>,
    /// Until it is over.
    place: Option<Place>,
    /// When and at which byte the rate was looked at last.
    looked: (Instant, u64),
}

/// Has files fetched; cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetches {
    client: Client,
    media: Media,
    inventory: Inventory,
    /// Everything is fetched from private addresses too.
    private: bool,
    turns: Arc<Semaphore>,
    next: Arc<AtomicU64>,
    /// The box stops: what ends now is gone on with when it starts again.
    stopping: Arc<AtomicBool>,
    table: Arc<watch::Sender<Table>>,
}

impl Fetches {
    /// With `private`, orders may be fetched from any address.
    #[must_use]
    pub fn new(media: Media, inventory: Inventory, private: bool) -> Self {
        Fetches {
            client: Client::new(),
            media,
            inventory,
            private,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            next: Arc::new(AtomicU64::new(1)),
            stopping: Arc::default(),
            table: Arc::new(watch::Sender::new(Table::new())),
        }
    }

    /// Every fetch under way, and the last that are over.
    #[must_use]
    pub fn list(&self) -> Vec<Fetch> {
        self.table.borrow().values().map(|entry| entry.fetch.clone()).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`DeskError::Unknown`].
    pub fn get(&self, id: u64) -> Result<Fetch, DeskError> {
        self.table.borrow().get(&id).map(|entry| entry.fetch.clone()).ok_or(DeskError::Unknown(id))
    }

    /// How big a file is, and how much room there is.
    ///
    /// # Errors
    /// If its server does not say.
    pub async fn size(&self, url: &str, private: bool) -> Result<(Option<u64>, u64), DeskError> {
        let reach = self.reach(private);
        let url = url.parse().map_err(FetchError::from)?;
        let size = super::fetch::size(&self.client, &url, reach).await.map_err(FetchError::from)?;
        let media = self.media.clone();
        let room = tokio::task::spawn_blocking(move || media.room("")).await;
        Ok((size, room.map_err(|error| FetchError::Mistake(error.to_string()))?))
    }

    fn reach(&self, private: bool) -> super::client::Reach {
        if private || self.private { super::client::Reach::Anywhere } else { super::client::Reach::Internet }
    }

    /// Begins a fetch, which is on the disk when this is answered.
    ///
    /// # Errors
    /// [`DeskError`] if it can be told already that it will not do.
    pub async fn begin(&self, order: Order, actor: Actor) -> Result<Fetch, DeskError> {
        order.check()?;
        if self.inventory.snapshot().image_by_name(order.name.as_str()).is_some() {
            return Err(DeskError::Named(order.name));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let note = Note { order, actor, offset: 0, known: None };
        let place = Place::new(self.media.fetching(), id);
        let stored = tokio::task::spawn_blocking(move || place.store(&note).map(|()| (place, note))).await;
        let (place, note) =
            stored.map_err(|error| FetchError::Mistake(error.to_string()))?.map_err(FetchError::from)?;
        self.start(id, note, place, false)
    }

    /// Goes on with what was under way when the box went off. What cannot be gone on with is told of, and stops nothing.
    pub async fn wake(&self) {
        let folder = self.media.fetching();
        let Ok((notes, mut unread)) = tokio::task::spawn_blocking(move || notes::load(&folder)).await else { return };
        for (place, id, note) in notes {
            self.next.fetch_max(id.saturating_add(1), Ordering::Relaxed);
            let name = note.order.name.clone();
            // It became an image a moment before the box went off.
            if self.inventory.snapshot().image_by_name(name.as_str()).is_some() {
                continue;
            }
            let started = match note.order.check() {
                Ok(_) => self.start(id, note, place, true),
                Err(error) => Err(error.into()),
            };
            match started {
                Ok(fetch) => tracing::info!(%name, bytes = fetch.done_bytes, "a fetch goes on"),
                Err(error) => {
                    unread.push(Unread { file: self.media.fetching().join(format!("{id}.json")), why: chain(&error) });
                }
            }
        }
        self.tell_unread(unread).await;
    }

    async fn tell_unread(&self, unread: Vec<Unread>) {
        let Some(Unread { file, why }) = unread.first() else { return };
        for Unread { file, why } in &unread {
            tracing::warn!(file = %file.display(), why, "a fetch cannot be gone on with");
        }
        let more = if unread.len() > 1 { format!(" (and of {} more)", unread.len() - 1) } else { String::new() };
        let text = format!(
            "A fetch cannot be gone on with: its note {}{more} does not read: {why}. Ask for it again.",
            file.display()
        );
        let text = CleanText::new(&text);
        let raised = self.inventory.transact::<_, StoreError, _>(move |tx| tx.raise_alarm(ALARM, None, text)).await;
        if let Err(error) = raised {
            tracing::error!(error = chain(&error), "an alarm could not be raised");
        }
    }

    /// Ends all that is under way, to go on when the box starts again.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for entry in self.table.borrow().values() {
            if let Some(task) = &entry.task {
                task.abort();
            }
        }
    }

    /// Lists and begins it; from now on it stays until it is over.
    fn start(&self, id: u64, note: Note, place: Place, again: bool) -> Result<Fetch, DeskError> {
        let name = note.order.name.clone();
        let from = note
            .known
            .as_ref()
            .map_or_else(|| note.order.urls.first().cloned().unwrap_or_default(), |known| known.url.clone());
        let fetch = Fetch {
            id,
            name: name.clone(),
            url: CleanText::new(&from),
            state: FetchState::Waiting,
            done_bytes: note.offset,
            size_bytes: note.known.as_ref().and_then(|known| known.size),
            rate: 0,
            message: None,
            digest: None,
        };
        let looked = (Instant::now(), note.offset);
        let entry = Entry { fetch: fetch.clone(), task: None, place: Some(place.clone()), looked };
        let mut refused = None;
        self.table.send_if_modified(|table| {
            let mut running = table.values().filter(|entry| !entry.fetch.state.over());
            if running.clone().count() >= MOST {
                refused = Some(DeskError::Many);
            } else if running.any(|entry| entry.fetch.name == name) {
                refused = Some(DeskError::Twice(name.clone()));
            } else {
                table.insert(id, entry);
                let over: Vec<u64> =
                    table.iter().filter(|(_, entry)| entry.fetch.state.over()).map(|(id, _)| *id).collect();
                for old in over.iter().rev().skip(SHOWN) {
                    table.remove(old);
                }
            }
            refused.is_none()
        });
        if let Some(refused) = refused {
            return Err(refused);
        }
        place.stays();
        let desk = self.clone();
        let task = tokio::spawn(async move {
            let ended = desk.run(id, note, place, again).await;
            // What the stopping box broke off is no end.
            if desk.stopping.load(Ordering::Relaxed) {
                return;
            }
            desk.change(id, |fetch| match ended {
                Ok(image) => {
                    fetch.state = FetchState::Done;
                    fetch.digest = Some(image.digest);
                    fetch.message = None;
                    fetch.done_bytes = fetch.done_bytes.max(image.size_bytes.min(fetch.size_bytes.unwrap_or(u64::MAX)));
                }
                Err(error) => {
                    tracing::warn!(name = %fetch.name, error, "a file could not be fetched");
                    fetch.state = FetchState::Failed;
                    fetch.message = Some(CleanText::new(&error));
                }
            });
        });
        self.table.send_modify(|table| {
            if let Some(entry) = table.get_mut(&id) {
                entry.task = Some(task.abort_handle());
            }
        });
        Ok(fetch)
    }

    /// Calls a fetch off; nothing of it is kept. One that is over stays as it is.
    ///
    /// # Errors
    /// [`DeskError::Unknown`].
    pub async fn cancel(&self, id: u64) -> Result<Fetch, DeskError> {
        let forgotten = self.change(id, |fetch| {
            fetch.state = FetchState::Cancelled;
            fetch.message = None;
        });
        if let Some(task) = self.table.borrow().get(&id).and_then(|entry| entry.task.clone()) {
            task.abort();
        }
        if let Some(forgotten) = forgotten {
            let _ = forgotten.await;
        }
        self.get(id)
    }

    async fn run(&self, id: u64, note: Note, place: Place, again: bool) -> Result<Image, String> {
        let _turn = self.turns.acquire().await.map_err(|_| "the box is stopping".to_owned())?;
        self.change(id, |fetch| fetch.state = FetchState::Fetching);
        let (reach, actor) = (self.reach(note.order.private), note.actor.clone());
        let fetcher =
            Fetcher { client: &self.client, media: &self.media, reach, again, now: self.inventory.clock().wall() };
        let fetched = fetcher.run(note, place, |stand| self.tell(id, stand)).await;
        let mut image = fetched.map_err(|error| chain(&error))?;
        // The box may not have known the time when it began.
        image.imported_wall = self.inventory.clock().wall();
        let stored = self.inventory.transact(move |tx| tx.put_image(image, actor)).await;
        stored.map(|image| (*image).clone()).map_err(|error| chain(&error))
    }

    fn tell(&self, id: u64, stand: Stand) {
        self.table.send_if_modified(|table| {
            let Some(entry) = table.get_mut(&id) else { return false };
            let (since, at) = entry.looked;
            let fetch = &mut entry.fetch;
            let now = Instant::now();
            let passed = now.duration_since(since);
            let message = stand.waits.as_deref().map(CleanText::new);
            if passed < PACE && fetch.message == message && fetch.size_bytes == stand.size {
                return false;
            }
            if passed >= PACE {
                let moved = stand.got.saturating_sub(at) as f64 / passed.as_secs_f64();
                // The last seconds count more than the one before.
                fetch.rate =
                    if fetch.rate == 0 { moved as u64 } else { (fetch.rate as f64 * 0.7 + moved * 0.3) as u64 };
                entry.looked = (now, stand.got);
            }
            fetch.done_bytes = stand.got;
            fetch.size_bytes = stand.size;
            fetch.url = CleanText::new(&stand.from);
            fetch.message = message;
            true
        });
    }

    /// Changes what is not over yet. What is over by that is no more gone on with once the answer is waited for.
    fn change(&self, id: u64, act: impl FnOnce(&mut Fetch)) -> Option<JoinHandle<()>> {
        let mut place = None;
        self.table.send_modify(|table| {
            // Who called it off has the last word.
            if let Some(entry) = table.get_mut(&id).filter(|entry| !entry.fetch.state.over()) {
                act(&mut entry.fetch);
                if entry.fetch.state.over() {
                    place = entry.place.take();
                }
            }
        });
        place.map(|place| tokio::task::spawn_blocking(move || place.over()))
    }
}

#[cfg(test)]
mod tests;
