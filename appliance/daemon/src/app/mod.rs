//! The whole box: binds, opens, says ready, runs, and stops in order. The only module that imports all the others.

mod listeners;
mod network;
mod passed;
mod privileges;

use crate::{
    auth::Auth,
    boot::Desk,
    cache::Cache,
    card,
    catalog::Catalog,
    cli,
    config::Config,
    consent::Consent,
    display::Display,
    health::{self, Health, Heartbeat},
    http::{self, NetworkView, State},
    inventory::{Inventory, OpenOptions, StoreError, TransactError},
    media::Media,
    oled,
    origin::desk::Fetches,
    power, reconcile, sensors, time,
    update::{self, Updates},
};
use listeners::Listeners;
use rackberry_core::{
    event::{Actor, EventKind},
    text::CleanText,
};
use std::{io, path::Path, path::PathBuf, sync::Arc};
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
    Inventory { path: PathBuf, source: Box<crate::inventory::OpenError> },
    #[error("cannot use the folders of the images")]
    Media(#[from] crate::media::OpenFileError),
    #[error(
        "cannot listen on {what} {address}; another program may have it, or this user lacks the right to ports below 1024 (CAP_NET_BIND_SERVICE)"
    )]
    Listen { what: &'static str, address: String, source: io::Error },
    #[error("DHCP cannot be served")]
    Sockets(#[from] crate::net::SocketError),
    #[error(transparent)]
    Passed(#[from] passed::PassedError),
    #[error("cannot give up the rights that opened the sockets")]
    Privileges(#[source] io::Error),
    #[error("cannot take the page's socket into use")]
    Page(#[source] io::Error),
    #[error("cannot look up who may log in")]
    Auth(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot start the thread that tells that all is well")]
    Heartbeat(#[source] io::Error),
    #[error("the network side ended")]
    Network(#[from] network::NetworkError),
}

/// What a box starts with.
#[derive(Debug, Clone)]
pub struct Start {
    pub config: Config,
    /// Who may log in first, with an argon2 hash in PHC form; else the one-time code decides.
    pub owner: Option<(String, String)>,
    /// Mistakes of the settings, for an alarm.
    pub mistakes: Vec<String>,
    /// The file that is written to each second while all is well.
    pub heartbeat: Option<PathBuf>,
    /// Where the kernel shows the hardware; `/sys` but in tests.
    pub sys: PathBuf,
    /// The socket of who may write the SD card.
    pub updates: Option<PathBuf>,
    /// The socket of who may set the clock.
    pub clock: Option<PathBuf>,
    /// What `net-up` wrote down of this machine's lease.
    pub lease: Option<PathBuf>,
}

impl Start {
    /// With these settings and nothing else.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Start {
            config,
            owner: None,
            mistakes: Vec::new(),
            heartbeat: None,
            sys: "/sys".into(),
            updates: None,
            clock: None,
            lease: None,
        }
    }
}

impl From<card::Look> for Start {
    fn from(look: card::Look) -> Self {
        let mistakes = look.mistakes.iter().map(ToString::to_string).collect();
        Start { owner: look.settings.owner.zip(look.settings.owner_password), mistakes, ..Start::new(look.config) }
    }
}

/// A box whose sockets are open and which may do nothing else that takes a right.
pub struct App {
    config: Arc<Config>,
    owner: Option<(String, String)>,
    mistakes: Vec<String>,
    heartbeat: Option<PathBuf>,
    sys: PathBuf,
    updates: Option<PathBuf>,
    lease: Option<PathBuf>,
    time: time::Setup,
    state_dir: PathBuf,
    listeners: Listeners,
    media: Media,
    catalog: Catalog,
}

impl App {
    /// Opens everything that takes rights, then gives up all of this process's capabilities.
    ///
    /// Capabilities belong to threads: call it before there is a second one.
    ///
    /// # Errors
    /// [`AppError`], naming what could not be had.
    pub fn open(start: Start, state_dir: &Path) -> Result<Self, AppError> {
        let Start { config, owner, mistakes, heartbeat, sys, updates, clock, lease } = start;
        let state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
        make_private_folder(&state_dir).map_err(|source| AppError::StateDir { path: state_dir.clone(), source })?;
        Inventory::ensure_free(&state_dir)
            .map_err(|source| AppError::Inventory { path: state_dir.clone(), source: Box::new(source) })?;
        let listeners = Listeners::open(&config)?;
        // Loaders and profiles may lie in a folder that root reads only by its rights: somebody's closed home.
        let media = Media::new(config.assets.clone(), state_dir.clone())?;
        let media = media.with_worker(PathBuf::from("/proc/self/exe"));
        let catalog = Catalog::load(&[&config.assets.join("catalog"), &state_dir.join("catalog")]);
        for problem in catalog.problems() {
            tracing::warn!(problem, "a profile was left out");
        }
        privileges::give_up().map_err(|error| AppError::Privileges(error.into()))?;
        Ok(App {
            lease: lease.clone(),
            time: time::Setup::new(config.time_servers.clone(), lease, clock),
            config: Arc::new(config),
            owner,
            mistakes,
            heartbeat,
            sys,
            updates,
            state_dir,
            listeners,
            media,
            catalog,
        })
    }

    /// Runs until `stop` resolves: stop accepting, a few seconds for what runs, then the inventory last.
    ///
    /// # Errors
    /// [`AppError`] if the state cannot be opened or the network side cannot go on.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), AppError> {
        let App { config, owner, mistakes, heartbeat, sys, updates, lease, time, state_dir, listeners, media, catalog } =
            self;
        let page = TcpListener::from_std(listeners.page).map_err(AppError::Page)?;
        let inventory = Inventory::open(OpenOptions::new(&state_dir))
            .map_err(|source| AppError::Inventory { path: state_dir.clone(), source: Box::new(source) })?;
        let local = listen_locally(&state_dir)?;
        let auth = Auth::new(inventory.clone()).await.map_err(|error| AppError::Auth(Box::new(error)))?;
        if let Some((name, password)) = owner {
            auth.adopt_owner(&name, password).await.map_err(|error| AppError::Auth(Box::new(error)))?;
        }
        let (view, seen) =
            watch::channel(Arc::new(NetworkView { boot_port: config.boot_port, ..NetworkView::default() }));
        media.attend(&inventory);
        let desk = Desk::new(inventory.clone(), media.clone(), config.clone());
        let (stopping, stopped) = watch::channel(false);
        let (sensors, sensing) = sensors::watch(sys.clone(), state_dir.clone(), inventory.clone(), stopped.clone());
        let state_dir = Arc::new(state_dir);
        // Before anybody may ask for anything: a box that was killed may have left a pin pressed.
        let (power, powering) = power::new(config.clone(), state_dir.clone(), inventory.clone());
        let wall = time.wall.clone();
        let (time, asking) = time::watch(time, seen.clone(), stopped.clone());
        let fetches = Fetches::new(media.clone(), inventory.clone(), config.import_private);
        let cache = Cache::new(config.cache_mirrors.clone(), &state_dir.join("cache"), config.cache_bytes);
        let state = State {
            inventory,
            config,
            catalog,
            media,
            desk,
            auth,
            updates: Updates::new(updates, &state_dir),
            state_dir,
            network: seen,
            display: Display::default(),
            health: Health::default(),
            consent: Consent::default(),
            power,
            sensors,
            time,
            fetches: fetches.clone(),
            cache,
        };
        let network = network::Network {
            state: state.clone(),
            view,
            boot: listeners.boot,
            tftp: listeners.tftp,
            dhcp: listeners.dhcp,
            beside: listeners.beside,
            lease,
            wall,
        };
        let inventory = state.inventory.clone();
        let version = CleanText::new(env!("CARGO_PKG_VERSION"));
        let started = inventory
            .transact(move |tx| tx.record(None, None, Actor::Box, EventKind::BoxStarted { version }).map(|_| ()))
            .await;
        if let Err(error) = started {
            tracing::error!(error = crate::chain(&error), "the start could not be recorded");
        }
        if let Err(error) = tell_mistakes(&inventory, mistakes).await {
            tracing::error!(error = crate::chain(&error), "mistakes in the settings could not be told");
        }
        let asked = page.local_addr();
        if let Ok(address) = &asked {
            tracing::info!(%address, "the page is served");
        }
        if let Some(code) = state.auth.code() {
            tracing::info!("nobody may log in yet; one-time code for the first user: {code}");
        }
        // Before anybody may ask for the same.
        state.fetches.wake().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(http::serve_page(page, state.clone(), stopped.clone()));
        tasks.spawn(http::serve_local(local, state.clone(), stopped.clone()));
        let rules = reconcile::Rules {
            limits: state.config.limits(),
            consent: state.consent.clone(),
            consent_patience: state.config.consent_patience,
        };
        tasks.spawn(reconcile::run(inventory.clone(), rules, stopped.clone()));
        tasks.spawn(power::run(powering, stopped.clone()));
        tasks.spawn(oled::run(display(&state), stopped.clone()));
        let (hushing, hushed) = watch::channel(false);
        let asks = asked.ok().map(|address| {
            let local = state.state_dir.join(cli::SOCKET);
            tokio::spawn(health::ask_http(state.health.clone(), address, local, hushed))
        });
        tasks.spawn(health::ask_database(state.health.clone(), inventory.clone(), stopped.clone()));
        tasks.spawn(sensing);
        tasks.spawn(asking);
        let probe = update::Probe {
            health: state.health.clone(),
            inventory: inventory.clone(),
            network: state.network.clone(),
            mode: state.config.dhcp_mode,
        };
        tasks.spawn(update::watch(state.updates.clone(), probe, stopped.clone()));
        tasks.spawn(update::watch_sticks(state.updates.clone(), inventory.clone(), sys, stopped.clone()));
        let beats = Heartbeat::start(state.health.clone(), heartbeat).map_err(AppError::Heartbeat)?;
        let mut network = tokio::spawn(network.run(stopped));
        // Hosts may have to wait for an interface; people need not.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let ended = tokio::select! {
            () = stop => None,
            ended = &mut network => Some(ended),
        };
        tracing::info!("stopping");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        // Who hangs in the end is not kept alive.
        drop(beats);
        // Who asks the page ends while there is one.
        hushing.send_replace(true);
        if let Some(asks) = asks {
            let _ = asks.await;
        }
        stopping.send_replace(true);
        fetches.stop();
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

/// What the display's shell works with.
fn display(state: &State) -> oled::Shell {
    oled::Shell {
        config: state.config.clone(),
        inventory: state.inventory.clone(),
        auth: state.auth.clone(),
        display: state.display.clone(),
        consent: state.consent.clone(),
        network: state.network.clone(),
        state_dir: state.state_dir.clone(),
        updates: state.updates.clone(),
        sensors: state.sensors.clone(),
    }
}

/// The command line's way in.
fn listen_locally(state_dir: &Path) -> Result<UnixListener, AppError> {
    // The lock on the inventory is ours, so a socket that lies here is a dead one.
    let socket = state_dir.join(cli::SOCKET);
    let _ = std::fs::remove_file(&socket);
    UnixListener::bind(&socket).map_err(|source| AppError::Listen {
        what: "the local socket",
        address: socket.display().to_string(),
        source,
    })
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

/// The alarm that names mistakes of the settings; gone when there are none.
const MISTAKES: &str = "settings";

async fn tell_mistakes(inventory: &Inventory, mistakes: Vec<String>) -> Result<(), TransactError<StoreError>> {
    for mistake in &mistakes {
        tracing::warn!(mistake, "this setting stands at its default");
    }
    inventory
        .transact(move |tx| match mistakes.as_slice() {
            [] => tx.settle_alarm(MISTAKES, Actor::Box).map(drop),
            [first, rest @ ..] => {
                let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
                let text = format!("A mistake in the settings: {first}{more}. Such settings stand at their defaults.");
                tx.raise_alarm(MISTAKES, None, CleanText::new(&text))
            }
        })
        .await
}
