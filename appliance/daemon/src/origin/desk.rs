//! The fetches under way: started, watched, called off; two at a time, the rest waits its turn.

use super::{
    client::Client,
    fetch::{FetchError, Fetcher, Order, Stand},
};
use crate::{chain, inventory::Inventory, media::Media};
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
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, watch},
    task::AbortHandle,
};

/// Fetches at once; more would only share the same line.
const AT_ONCE: usize = 2;
/// Unfinished ones; a person does not look after more.
const MOST: usize = 32;
/// Finished ones that are still shown.
const SHOWN: usize = 16;
/// Between two publications of how far one is.
const PACE: Duration = Duration::from_millis(250);

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
        Ok((size, super::fetch::room(&self.media)))
    }

    fn reach(&self, private: bool) -> super::client::Reach {
        if private || self.private { super::client::Reach::Anywhere } else { super::client::Reach::Internet }
    }

    /// Begins a fetch.
    ///
    /// # Errors
    /// [`DeskError`] if it can be told already that it will not do.
    pub fn begin(&self, mut order: Order, actor: Actor) -> Result<Fetch, DeskError> {
        order.private |= self.private;
        let (name, first) = (order.name.clone(), order.urls.first().cloned().unwrap_or_default());
        let checked = order.check()?;
        if self.inventory.snapshot().image_by_name(name.as_str()).is_some() {
            return Err(DeskError::Named(name));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let fetch = Fetch {
            id,
            name: name.clone(),
            url: CleanText::new(&first),
            state: FetchState::Waiting,
            done_bytes: 0,
            size_bytes: None,
            rate: 0,
            message: None,
            digest: None,
        };
        let entry = Entry { fetch: fetch.clone(), task: None, looked: (Instant::now(), 0) };
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
        let desk = self.clone();
        let task = tokio::spawn(async move {
            let ended = desk.run(id, checked, actor).await;
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
    pub fn cancel(&self, id: u64) -> Result<Fetch, DeskError> {
        self.change(id, |fetch| {
            if !fetch.state.over() {
                fetch.state = FetchState::Cancelled;
                fetch.message = None;
            }
        });
        if let Some(task) = self.table.borrow().get(&id).and_then(|entry| entry.task.clone()) {
            task.abort();
        }
        self.get(id)
    }

    async fn run(&self, id: u64, checked: super::fetch::Checked, actor: Actor) -> Result<Image, String> {
        let _turn = self.turns.acquire().await.map_err(|_| "the box is stopping".to_owned())?;
        self.change(id, |fetch| fetch.state = FetchState::Fetching);
        let unique = crate::auth::Token::random().map_err(|error| chain(&error))?.hex();
        let now = self.inventory.clock().wall();
        let fetcher = Fetcher { client: &self.client, media: &self.media, unique, now };
        let image = fetcher.run(checked, |stand| self.tell(id, stand)).await.map_err(|error| chain(&error))?;
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

    fn change(&self, id: u64, act: impl FnOnce(&mut Fetch)) {
        self.table.send_modify(|table| {
            // Who called it off has the last word.
            if let Some(entry) = table.get_mut(&id).filter(|entry| !entry.fetch.state.over()) {
                act(&mut entry.fetch);
            }
        });
    }
}
