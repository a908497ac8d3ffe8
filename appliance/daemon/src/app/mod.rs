//! The whole box: binds, opens, says ready, runs, and stops in order. The only module that imports all the others.

mod network;
mod passed;

use crate::{
    auth::Auth,
    catalog::Catalog,
    cli,
    config::Config,
    http::{self, NetworkView, State},
    inventory::{Inventory, OpenOptions},
    media::Media,
    reconcile,
};
use passed::Passed;
use rackberry_core::{
    event::{Actor, EventKind},
    text::CleanText,
};
use std::{io, net::SocketAddr, path::Path, path::PathBuf, sync::Arc};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};

/// Why the box does not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot make the state folder {}; is this user allowed to?", path.display())]
    StateDir { path: PathBuf, source: io::Error },
    #[error("cannot open the inventory in {}", path.display())]
    Inventory { path: PathBuf, source: crate::inventory::OpenError },
    #[error("cannot use the folders of the images")]
    Media(#[from] crate::media::OpenFileError),
    #[error(
        "cannot listen on {what} {address}; another program may have it, or this user lacks the right to ports below 1024 (CAP_NET_BIND_SERVICE)"
    )]
    Listen { what: &'static str, address: String, source: io::Error },
    #[error("the sockets that were passed in cannot be used")]
    Passed(#[source] io::Error),
    #[error("cannot look up who may log in")]
    Auth(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the network side ended")]
    Network(#[from] network::NetworkError),
}

/// A box that is bound and opened, ready to run.
pub struct App {
    state: State,
    page: TcpListener,
    local: UnixListener,
    network: network::Network,
}

impl App {
    /// Opens the state folder and binds everything that needs no network yet.
    ///
    /// # Errors
    /// [`AppError`], naming what could not be had.
    pub async fn bind(config: Config, state_dir: &Path) -> Result<Self, AppError> {
        let state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        make_private_folder(&state_dir).map_err(|source| AppError::StateDir { path: state_dir.clone(), source })?;
        let mut passed = Passed::take().map_err(AppError::Passed)?;
        let page = match passed.tcp("page") {
            Some(listener) => TcpListener::from_std(listener).map_err(AppError::Passed)?,
            None => listen("the page's port", config.page_listen).await?,
        };
        let inventory = Inventory::open(OpenOptions::new(&state_dir))
            .map_err(|source| AppError::Inventory { path: state_dir.clone(), source })?;
        // The lock on the inventory is ours, so a socket that lies here is a dead one.
        let socket = state_dir.join(cli::SOCKET);
        let _ = std::fs::remove_file(&socket);
        let local = UnixListener::bind(&socket).map_err(|source| AppError::Listen {
            what: "the local socket",
            address: socket.display().to_string(),
            source,
        })?;
        let media = Media::new(config.assets.clone(), state_dir.clone())?;
        let catalog = Catalog::load(&[&config.assets.join("catalog"), &state_dir.join("catalog")]);
        for problem in catalog.problems() {
            tracing::warn!(problem, "a profile was left out");
        }
        let auth = Auth::new(inventory.clone()).await.map_err(|error| AppError::Auth(Box::new(error)))?;
        let (view, seen) =
            watch::channel(Arc::new(NetworkView { boot_port: config.boot_port, ..NetworkView::default() }));
        let config = Arc::new(config);
        let state = State {
            inventory,
            config: config.clone(),
            catalog,
            media,
            auth,
            state_dir: Arc::new(state_dir),
            network: seen,
        };
        let network = network::Network::new(state.clone(), view, passed);
        Ok(App { state, page, local, network })
    }

    /// Where the page listens.
    ///
    /// # Errors
    /// If the socket is gone.
    pub fn page_address(&self) -> io::Result<SocketAddr> {
        self.page.local_addr()
    }

    /// Runs until `stop` resolves: stop accepting, a few seconds for what runs, then the inventory last.
    ///
    /// # Errors
    /// [`AppError::Network`] if the network side cannot go on.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        let App { state, page, local, network } = self;
        let (stopping, stopped) = watch::channel(false);
        let inventory = state.inventory.clone();
        let version = CleanText::new(env!("CARGO_PKG_VERSION"));
        let started = inventory
            .transact(move |tx| tx.record(None, None, Actor::Box, EventKind::BoxStarted { version }).map(|_| ()))
            .await;
        if let Err(error) = started {
            tracing::error!(error = crate::chain(&error), "the start could not be recorded");
        }
        if let Ok(address) = page.local_addr() {
            tracing::info!(%address, "the page is served");
        }
        if let Some(code) = state.auth.code() {
            tracing::info!("nobody may log in yet; one-time code for the first user: {code}");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(http::serve_page(page, state.clone(), stopped.clone()));
        tasks.spawn(http::serve_local(local, state.clone(), stopped.clone()));
        let limits = state.config.limits();
        tasks.spawn(reconcile::run(inventory.clone(), limits, stopped.clone()));
        let mut network = tokio::spawn(network.run(stopped));
        let ended = tokio::select! {
            () = stop => None,
            ended = &mut network => Some(ended),
        };
        tracing::info!("stopping");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        stopping.send_replace(true);
        let ended = match ended {
            Some(ended) => ended,
            None => network.await,
        };
        while tasks.join_next().await.is_some() {}
        inventory.close().await;
        match ended {
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
        }
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|source| AppError::Listen { what, address: address.to_string(), source })
}

/// Secrets lie in it: nobody else may look.
fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & !0o077))?;
    }
    Ok(())
}
