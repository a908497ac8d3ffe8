//! HTTP: the boot listener (plain, for firmware and agents) and the page listener (people and API), apart from each other.
//!
//! Routes are warp filters; the accept loop is ours, as warp's own server sets no header time-out and bounds nothing.

pub mod actions;
pub mod agent;
mod answers;
pub mod api;
pub mod boot;
mod buffer;
mod cache;
pub mod error;
pub mod files;
mod form;
mod multipart;
mod paced;
mod seats;
#[cfg(test)]
mod testing;
mod transfer;
pub mod ui;

pub use crate::net::NetworkView;

use crate::{
    auth::Auth, boot::Desk, cache::Cache, catalog::Catalog, config::Config, consent::Consent, display::Display,
    health::Health, inventory::Inventory, media::Media, origin::desk::Fetches, power::Power, sensors::Sensors,
    time::Time, update::Updates,
};
use futures_util::future::Either;
use http::{HeaderValue, header::SERVER};
use http_body::Body as _;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use paced::{Paced, PacedBody};
use seats::{Room, Seat, Welcome};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use warp::Filter;

/// How long a client may take to send its request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks for a free seat; newcomers wait in the kernel's queue meanwhile.
const NO_SEAT: Duration = Duration::from_millis(10);
/// Connections at once on the local socket.
const LOCAL: usize = 256;
/// How long running requests may go on once we stop.
const GRACE: Duration = Duration::from_secs(3);

/// Everything a handler may use.
#[derive(Clone)]
pub struct State {
    pub inventory: Inventory,
    pub config: Arc<Config>,
    pub catalog: Catalog,
    pub media: Media,
    pub desk: Desk,
    pub auth: Auth,
    pub state_dir: Arc<PathBuf>,
    /// What the network shell says about itself.
    pub network: watch::Receiver<Arc<NetworkView>>,
    /// What the display of the box shows.
    pub display: Display,
    /// The versions on the SD card.
    pub updates: Updates,
    /// Whether everything turns.
    pub health: Health,
    /// The question at the display.
    pub consent: Consent,
    /// The machines whose power is switched from here.
    pub power: Power,
    /// What the box's hardware says.
    pub sensors: Sensors,
    /// Where the time of day is from.
    pub time: Time,
    /// What is fetched from elsewhere.
    pub fetches: Fetches,
    /// Packages of mirrors.
    pub cache: Cache,
}

/// The two ends of the connection a request came on.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub peer: IpAddr,
    pub local: SocketAddr,
    /// Came over the Unix socket in the state folder: whoever may open it may do anything.
    pub trusted: bool,
}

impl Ends {
    /// This box as the client reached it, for URLs in its answers.
    #[must_use]
    pub fn box_url(&self) -> String {
        match self.local.port() {
            80 => format!("http://{}", self.local.ip()),
            port => format!("http://{}:{port}", self.local.ip()),
        }
    }
}

/// The state as a filter.
pub(crate) fn with(state: &State) -> impl Filter<Extract = (State,), Error = std::convert::Infallible> + Clone + use<> {
    let state = state.clone();
    warp::any().map(move || state.clone())
}

/// The connection's ends as a filter.
pub(crate) fn ends() -> impl Filter<Extract = (Ends,), Error = warp::Rejection> + Copy {
    warp::ext::get::<Ends>()
}

/// Serves boot clients that come to `address` on `listener`, until `stop` turns true.
pub async fn serve_boot(listener: TcpListener, address: Ipv4Addr, state: State, stop: watch::Receiver<bool>) {
    let routes = boot::routes(&state).or(agent::routes(&state)).unify();
    let routes = routes.or(answers::routes(&state)).unify().or(cache::routes(&state)).unify();
    let routes = routes.or(files::routes(&state)).unify();
    let routes = routes.with(warp::reply::with::header("server", "rackberry"));
    accept_tcp(listener, routes, Some(&state), Some(address), stop).await;
}

/// Serves people and programs on `listener` until `stop` turns true.
pub async fn serve_page(listener: TcpListener, state: State, stop: watch::Receiver<bool>) {
    let routes = api::routes(&state).or(ui::routes(&state, &stop)).unify();
    accept_tcp(listener, routes, None, None, stop).await;
}

/// Serves the API to whoever may open the Unix socket, until `stop` turns true.
pub async fn serve_local(listener: UnixListener, state: State, mut stop: watch::Receiver<bool>) {
    let routes = api::routes(&state);
    let graceful = GracefulShutdown::new();
    // Who may open it may do anything, so nobody there needs to be kept in check.
    let slots = Arc::new(Semaphore::new(LOCAL));
    let ends = Ends {
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        local: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        trusted: true,
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let Ok(slot) = slots.clone().acquire_owned().await else { break };
                let seat = Arc::new(Seat::new());
                serve_connection(stream, ends, routes.clone(), None, &graceful, seat, Some(slot));
            }
            Err(error) => pause_after(&error).await,
        }
    }
    finish(graceful).await;
}

/// With `files`, these are served as well. With `only`, whoever came to another address of this machine is turned away: the
/// listener is bound to all.
async fn accept_tcp<F, R>(
    listener: TcpListener,
    routes: F,
    files: Option<&State>,
    only: Option<Ipv4Addr>,
    mut stop: watch::Receiver<bool>,
) where
    F: Filter<Extract = (R,), Error = warp::Rejection> + Clone + Send + Sync + 'static,
    R: warp::Reply + 'static,
{
    let graceful = GracefulShutdown::new();
    let mut room = Room::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Boot clients read whole small answers; waiting to fill packets only adds delay.
                let _ = stream.set_nodelay(true);
                let Ok(local) = stream.local_addr() else { continue };
                let ends = Ends { peer: peer.ip().to_canonical(), local: canonical(local), trusted: false };
                if only.is_some_and(|address| ends.local.ip() != address) {
                    continue;
                }
                let Some(seat) = seat(&mut room, ends.peer, &mut stop).await else { continue };
                serve_connection(stream, ends, routes.clone(), files, &graceful, seat, None);
            }
            Err(error) => pause_after(&error).await,
        }
    }
    finish(graceful).await;
}

/// A seat for a newcomer; `None` if its address has too many, or when it is time to stop.
async fn seat(room: &mut Room, peer: IpAddr, stop: &mut watch::Receiver<bool>) -> Option<Arc<Seat>> {
    loop {
        match room.admit(peer) {
            Welcome::Seat(seat) => return Some(seat),
            Welcome::Refused => {
                tracing::debug!(%peer, "too many connections of one address");
                return None;
            }
            Welcome::Wait if *stop.borrow_and_update() => return None,
            Welcome::Wait => tokio::time::sleep(NO_SEAT).await,
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Out of file descriptors, mostly: trying again at once would only spin.
async fn pause_after(error: &std::io::Error) {
    tracing::warn!(%error, "accepting a connection failed");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn serve_connection<S, F, R>(
    stream: S,
    ends: Ends,
    routes: F,
    files: Option<&State>,
    graceful: &GracefulShutdown,
    seat: Arc<Seat>,
    slot: Option<OwnedSemaphorePermit>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Filter<Extract = (R,), Error = warp::Rejection> + Clone + Send + Sync + 'static,
    R: warp::Reply + 'static,
{
    let service = warp::service(routes);
    let asking = seat.clone();
    let files = files.cloned();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let seat = &asking;
        seat.spoke();
        let at_once = files
            .as_ref()
            .filter(|_| request.body().is_end_stream())
            .and_then(|state| files::at_once(request.method(), request.uri().path(), request.headers(), ends, state));
        if let Some(mut answer) = at_once {
            answer.headers_mut().insert(SERVER, HeaderValue::from_static("rackberry"));
            return Either::Left(std::future::ready(Ok(answer)));
        }
        request.extensions_mut().insert(ends);
        let seat = seat.clone();
        let request = request.map(|body| PacedBody::new(body, seat.clone()));
        let answer = tower_service::Service::call(&mut service.clone(), request);
        Either::Right(async move {
            let answer = answer.await;
            seat.serving(false);
            seat.moved();
            answer
        })
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(true)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(Paced::new(stream, seat.clone())), service);
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = watched => if let Err(error) = ended {
                tracing::debug!(peer = %ends.peer, %error, "connection ended");
            },
            () = seat.put_out() => tracing::debug!(peer = %ends.peer, "a silent connection made room for another"),
        }
        seat.leave();
        drop(slot);
    });
}

async fn finish(graceful: GracefulShutdown) {
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(GRACE) => {}
    }
}
