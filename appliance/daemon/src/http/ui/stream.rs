//! News to open pages, as server-sent events (WHATWG HTML section 9.2).
//!
//! A page is sent what changed against what it was sent before, at most four times a second. Nothing waits for a slow
//! reader: news merge while it is busy, and one that takes nothing for a while is left.

use super::{Visit, host_view, hosts, reply, session, view};
use crate::{
    auth::Token,
    http::State,
    inventory::{HostEntry, Snapshot},
    power::Standing,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderValue;
use rackberry_core::{id::HostId, time::Timestamp};
use rackberry_web::{
    render,
    views::{EventRow, StateCounts, StateKind},
};
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use warp::{Reply as _, reply::Response};

/// Between two batches of news.
const PACE: Duration = Duration::from_millis(250);
/// More time between two whole lists, for each host in them.
const PACE_PER_HOST: Duration = Duration::from_millis(2);
/// A page hears something at least this often, or it says that it lost touch.
const TICK: Duration = Duration::from_secs(5);
/// How often figures that move with time are drawn anew, and all others.
const RESTLESS: Duration = Duration::from_secs(1);
const CALM: Duration = Duration::from_secs(15);
/// A reader that takes nothing for this long is left.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is checked that the session lives.
const SESSION_LOOK: Duration = Duration::from_secs(20);
/// Samples of the curve of the rate.
const SAMPLES: usize = 60;

/// Tells the snapshots of this run from those of another, whose numbers begin anew.
static RUN: LazyLock<String> =
    LazyLock::new(|| Token::random().map_or_else(|_| std::process::id().to_string(), |token| token.hex()));

/// The id of the event after which a page knows this snapshot.
pub(super) fn position(version: u64) -> String {
    let run = RUN.get(..8).unwrap_or(&RUN);
    format!("{run}-{version}")
}

/// `GET /events/stream`.
pub(super) fn open(visit: Visit) -> Response {
    let ask = visit.ask;
    let last = ask.headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let last = last.unwrap_or(ask.query.get("last")).to_owned();
    let host = ask.query.get("host").parse().ok();
    let feed = match (ask.query.get("show"), host) {
        ("hosts", _) => Feed::List(List::default()),
        ("host", Some(id)) => Feed::Host(One::new(id)),
        _ => Feed::Alarms,
    };
    let cookie = session::session_cookie(&ask.headers).unwrap_or_default();
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(run(ask.state, ask.stop, feed, last, cookie, sender));
    let pieces = tokio_stream::wrappers::ReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>);
    let mut response = warp::reply::stream(pieces).into_response();
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    reply::harden(response)
}

/// What a page wants to hear beside alarms.
enum Feed {
    Alarms,
    List(List),
    Host(One),
}

/// Events of one moment, as bytes.
#[derive(Default)]
struct Batch(String);

impl Batch {
    fn add(&mut self, name: &str, data: &str) {
        let _ = writeln!(self.0, "event: {name}");
        // A carriage return ends a line here too, so it may not stand in one.
        for line in data.replace('\r', "\n").lines() {
            let _ = writeln!(self.0, "data: {line}");
        }
        self.0.push('\n');
    }

    /// The id comes with the last event: one who missed a part has not seen it.
    fn close(mut self, id: &str) -> Bytes {
        if self.0.ends_with("\n\n") {
            self.0.pop();
            let _ = write!(self.0, "id: {id}\n\n");
        }
        self.0.into()
    }
}

async fn run(
    state: State,
    mut stop: watch::Receiver<bool>,
    mut feed: Feed,
    last: String,
    cookie: String,
    sender: mpsc::Sender<Bytes>,
) {
    let mut snapshots = state.inventory.subscribe();
    let mut beat = tokio::time::interval(RESTLESS);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looked = Instant::now();
    let mut heard = Instant::now();
    let mut alarm: Option<String> = None;
    // At once, so that the browser knows that it is connected.
    let mut first = Some(Bytes::from_static(b"retry: 2000\n\n"));
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let now = state.inventory.now();
        let id = position(snapshot.version);
        let known = first.is_some() && last == id;
        let mut batch = Batch::default();
        let drawn = render::alarm(view::alarm(&snapshot).as_ref());
        if alarm.as_ref() != Some(&drawn) && !known {
            batch.add("alarm", &drawn);
        }
        alarm = Some(drawn);
        match &mut feed {
            Feed::Alarms => {}
            Feed::List(list) => list.news(&state, &snapshot, now, known, &mut batch),
            Feed::Host(one) => one.news(&state, &snapshot, now, known, &mut batch).await,
        }
        if batch.0.is_empty() && heard.elapsed() >= TICK {
            batch.add("tick", ".");
        }
        let bytes = match (first.take(), batch.close(&id)) {
            (Some(hello), news) => Bytes::from([hello, news].concat()),
            (None, news) => news,
        };
        if !bytes.is_empty() {
            heard = Instant::now();
            match tokio::time::timeout(PATIENCE, sender.send(bytes)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
        if looked.elapsed() >= SESSION_LOOK {
            looked = Instant::now();
            if !matches!(state.auth.person(&cookie).await, Ok(Some(_))) {
                return;
            }
        }
        let paced = Instant::now() + PACE;
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            _ = beat.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
            () = sender.closed() => return,
        }
        tokio::time::sleep_until(paced).await;
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Whether the words about this host move with time.
fn restless(entry: &HostEntry) -> bool {
    entry.active_install().is_some() || entry.ram.is_some()
}

/// The rows of the list.
#[derive(Default)]
struct List {
    rows: BTreeMap<HostId, Row>,
    /// Which hosts in which order, and how many in each state: what the list shows beside its rows.
    shape: Option<u64>,
    listed: Option<Instant>,
    swept: Option<Instant>,
}

struct Row {
    entry: Arc<HostEntry>,
    kind: StateKind,
    /// Of the last row sent; none if that was part of a whole list.
    sent: Option<u64>,
    drawn: Instant,
}

impl List {
    fn news(&mut self, state: &State, snapshot: &Snapshot, now: Timestamp, known: bool, batch: &mut Batch) {
        let sweep = self.swept.is_none_or(|swept| swept.elapsed() >= CALM);
        if sweep {
            self.swept = Some(Instant::now());
        }
        self.rows.retain(|id, _| snapshot.hosts.contains_key(id));
        let mut changed = Vec::new();
        for (id, entry) in &snapshot.hosts {
            let row = self.rows.get(id);
            let same = row.is_some_and(|row| Arc::ptr_eq(&row.entry, entry));
            let rested = row.is_some_and(|row| row.drawn.elapsed() >= RESTLESS);
            if same && !sweep && !(rested && restless(entry)) {
                continue;
            }
            let drawn = view::row(state, entry, now);
            let html = render::host_row(&drawn);
            let (fresh, before) = (Some(hash(&html)), row.and_then(|row| row.sent));
            if before != fresh {
                changed.push((render::key(&drawn.id), html));
            }
            let row = Row { entry: entry.clone(), kind: drawn.state.kind(), sent: fresh, drawn: Instant::now() };
            self.rows.insert(*id, row);
        }
        let shape = Some(self.shape_of());
        if known || self.shape == shape {
            self.shape = shape;
            if !known {
                changed.iter().for_each(|(key, html)| batch.add(&format!("host-{key}"), html));
            }
            return;
        }
        let hosts = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let soon = self.listed.is_some_and(|listed| listed.elapsed() < PACE_PER_HOST.saturating_mul(hosts));
        if soon {
            changed.iter().for_each(|(key, html)| batch.add(&format!("host-{key}"), html));
            return;
        }
        self.shape = shape;
        self.listed = Some(Instant::now());
        batch.add("hosts", &render::hosts_list(&view::all_hosts(state, snapshot, now)));
    }

    fn shape_of(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut counts = StateCounts::default();
        for (id, row) in &self.rows {
            (id, row.entry.host.name.as_str()).hash(&mut hasher);
            counts.add(row.kind);
        }
        format!("{counts:?}").hash(&mut hasher);
        hasher.finish()
    }
}

/// The live part of one host's page.
struct One {
    id: HostId,
    entry: Option<Arc<HostEntry>>,
    power: Option<Standing>,
    events: Vec<EventRow>,
    rates: VecDeque<u64>,
    sampled: Option<Instant>,
    drawn: Option<Instant>,
    sent: Option<u64>,
}

impl One {
    fn new(id: HostId) -> Self {
        One {
            id,
            entry: None,
            power: None,
            events: Vec::new(),
            rates: VecDeque::new(),
            sampled: None,
            drawn: None,
            sent: None,
        }
    }

    async fn news(&mut self, state: &State, snapshot: &Snapshot, now: Timestamp, known: bool, batch: &mut Batch) {
        let Some(entry) = snapshot.host(self.id) else { return };
        // It changes without a snapshot: by the machine's own light, and when an action ends.
        let power = state.power.standing(self.id);
        let switched = self.power != power;
        let same = !switched && self.entry.as_ref().is_some_and(|before| Arc::ptr_eq(before, entry));
        let rest = if restless(entry) { RESTLESS } else { CALM };
        if same && self.drawn.is_some_and(|drawn| drawn.elapsed() < rest) {
            return;
        }
        if switched || !self.entry.as_ref().is_some_and(|before| same_history(before, entry)) {
            match hosts::events_of(&state.inventory, self.id).await {
                Ok(events) => self.events = events,
                Err(error) => tracing::warn!(error = crate::chain(&error), "a host's history could not be read"),
            }
        }
        self.sample(state, entry, now);
        let view = host_view::host(state, entry, self.events.clone(), self.rates.iter().copied().collect(), now);
        let html = render::host_live(&view);
        let fresh = Some(hash(&html));
        if self.sent != fresh && !known {
            batch.add(&format!("host-{}-live", render::key(&view.id)), &html);
        }
        self.sent = fresh;
        self.entry = Some(entry.clone());
        self.power = power;
        self.drawn = Some(Instant::now());
    }

    /// One sample a second while an image is written.
    fn sample(&mut self, state: &State, entry: &HostEntry, now: Timestamp) {
        let Some(progress) = view::state_of(state, entry, now).progress else {
            self.rates.clear();
            return;
        };
        // Ticks come a little early or late; a sample left out would bend the curve.
        if self.sampled.is_some_and(|sampled| sampled.elapsed() < RESTLESS * 9 / 10) {
            return;
        }
        self.sampled = Some(Instant::now());
        self.rates.push_back(if progress.silent_ms > 0 { 0 } else { progress.rate.unwrap_or(0) });
        if self.rates.len() > SAMPLES {
            self.rates.pop_front();
        }
    }
}

/// Whether no line of history can have come in between: every one changes one of these.
fn same_history(before: &HostEntry, after: &HostEntry) -> bool {
    let install = match (&before.install, &after.install) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after),
        (before, after) => before.is_none() && after.is_none(),
    };
    let trace = match (&before.trace, &after.trace) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after),
        (before, after) => before.is_none() && after.is_none(),
    };
    install && trace && before.ram == after.ram && Arc::ptr_eq(&before.host, &after.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stands_in_the_last_event_of_a_batch_alone() {
        let mut batch = Batch::default();
        batch.add("a", "1\n2\r3");
        batch.add("b", ".");
        let bytes = batch.close("run-7");
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text, "event: a\ndata: 1\ndata: 2\ndata: 3\n\nevent: b\ndata: .\nid: run-7\n\n");
        assert!(Batch::default().close("run-7").is_empty());
    }
}
