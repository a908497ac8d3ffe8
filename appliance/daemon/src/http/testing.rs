//! A page and API over a real listener and a real inventory, for the tests of both.

use super::{NetworkView, State, serve_page};
use crate::{
    auth::{Auth, Token},
    boot::Desk,
    catalog::Catalog,
    config::{Config, GpioBackend},
    inventory::{Enrolment, Inventory, OpenOptions, Session, StoreError, User},
    media::Media,
    power,
};
use rackberry_core::{
    event::{Actor, EventKind},
    hardware::Facts,
    host::{Arch, Host},
    id::HostId,
    image::{Compression, Digest, Image, ImageKind, Verdict},
    install::Install,
    text::HostName,
    time::WallTime,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub const CSRF: &str = "0123456789abcdef0123456789abcdef";

/// A page that is served, and somebody who is logged in.
pub struct Site {
    pub state: State,
    pub address: SocketAddr,
    pub cookie: String,
    /// One that the box takes.
    pub bundle: Vec<u8>,
    _stop: watch::Sender<bool>,
    _network: watch::Sender<Arc<NetworkView>>,
    _folder: tempfile::TempDir,
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl Site {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let shipped = root.join("shipped/debian");
        std::fs::create_dir_all(&shipped).unwrap();
        let profile = "title = \"Debian 13\"\nimage = \"debian-13\"\narch = \"x86_64\"\nmin_memory_mb = 512\n\
                       [[parameter]]\nname = \"user\"\ntitle = \"User\"\nkind = \"user\"\nrequired = true\n";
        std::fs::write(shipped.join("profile.toml"), profile).unwrap();
        let rescue = "title = \"Rescue\"\nway = \"live\"\narch = \"x86_64\"\n[[medium]]\nname = \"debian-13\"\ntitle = \"Kernel\"\n\
                      [boot]\nkernel = \"debian-13\"\n";
        std::fs::create_dir_all(root.join("shipped/rescue")).unwrap();
        std::fs::write(root.join("shipped/rescue/profile.toml"), rescue).unwrap();
        let inventory = Inventory::open(OpenOptions::new(root.join("state"))).unwrap();
        let token = Token::random().unwrap();
        let hash = token.digest();
        inventory
            .transact(move |tx| {
                let user = User { name: "ops".into(), password: "none".to_owned(), role: "admin".to_owned() };
                tx.put_user(&user)?;
                let expires = tx.now().after(Duration::from_secs(600));
                tx.add_session(&Session { hash, user: user.name, expires, csrf: CSRF.to_owned() })?;
                tx.put_image(image(), Actor::Box).map(drop)
            })
            .await
            .unwrap();
        Self::serve(folder, inventory, format!("rackberry={}", token.hex())).await
    }

    pub async fn serve(folder: tempfile::TempDir, inventory: Inventory, cookie: String) -> Self {
        let root = folder.path().to_owned();
        let (network, seen) = watch::channel(Arc::default());
        let media = Media::new(root.join("assets"), root.join("state")).unwrap();
        media.attend(&inventory);
        // Pins as files in the state folder.
        let config = Arc::new(Config { gpio: GpioBackend::Files, ..Config::default() });
        let (updates, bundle) = crate::update::tests::served(&root);
        let state_dir = Arc::new(root.join("state"));
        let (power, shell) = power::new(config.clone(), state_dir.clone(), inventory.clone());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(power::run(shell, stopped.clone()));
        let fetches = crate::origin::desk::Fetches::new(media.clone(), inventory.clone(), true);
        let state = State {
            auth: Auth::new(inventory.clone()).await.unwrap(),
            desk: Desk::new(inventory.clone(), media.clone(), config.clone()),
            inventory,
            config,
            catalog: Catalog::load(&[&root.join("shipped")]),
            media,
            state_dir,
            power,
            network: seen,
            display: crate::display::Display::default(),
            updates: crate::update::Updates::new(Some(updates), &root.join("state")),
            health: crate::health::Health::default(),
            consent: crate::consent::Consent::default(),
            fetches,
            cache: crate::cache::Cache::new(std::collections::BTreeMap::new(), &root.join("state/cache"), 0),
            sensors: crate::sensors::Sensors::default(),
            time: crate::time::Time::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_page(listener, state.clone(), stopped));
        Site { state, address, cookie, bundle, _stop: stop, _network: network, _folder: folder }
    }

    /// Sends exactly these headers.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(&[format!("{text}\r\n").as_bytes(), body].concat()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().replace('\r', "");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        let host = self.address.to_string();
        self.send("GET", path, &[("host", &host), ("cookie", &self.cookie)], "").await
    }

    /// As the page's own form does it.
    pub async fn post(&self, path: &str, fields: &str) -> Reply {
        let (host, origin) = (self.address.to_string(), format!("http://{}", self.address));
        let headers = [("host", host.as_str()), ("cookie", &self.cookie), ("origin", &origin)];
        self.send("POST", path, &headers, &format!("csrf={CSRF}&{fields}")).await
    }

    pub async fn host(&self, name: &str, number: u8, facts: Option<Facts>) -> Arc<Host> {
        let name = HostName::new(name).unwrap();
        self.state
            .inventory
            .transact(move |tx| {
                let enrolment = Enrolment {
                    name,
                    macs: vec![format!("52:54:00:77:00:{number:02x}").parse().unwrap()],
                    uuid: None,
                    serial: None,
                    tags: Vec::new(),
                    fixed_address: None,
                };
                let mut host = (*tx.enrol(enrolment, Actor::Box)?).clone();
                host.facts = facts;
                tx.put_host(&host)
            })
            .await
            .unwrap()
    }

    pub async fn apply(&self, install: &Install, kinds: Vec<EventKind>) -> Arc<Install> {
        let id = install.id;
        self.state
            .inventory
            .transact(move |tx| {
                let mut last = tx.install(id).unwrap().unwrap();
                for kind in kinds {
                    last = tx.apply(id, Actor::Host, kind).unwrap();
                }
                Ok::<_, StoreError>(last)
            })
            .await
            .unwrap()
    }

    pub fn install_of(&self, host: HostId) -> Option<Arc<Install>> {
        self.state.inventory.snapshot().host(host)?.install.clone()
    }
}

/// An image that is known and has no file.
pub fn image() -> Image {
    Image {
        digest: Digest([7; 32]),
        name: "debian-13".into(),
        kind: ImageKind::Disk,
        system: None,
        version: None,
        label: None,
        unread: None,
        size_bytes: 1000,
        compression: Compression::None,
        raw_bytes: Some(1000),
        origin: "test".into(),
        verdict: Verdict::Unsigned,
        arch: Some(Arch::X86_64),
        came: None,
        sums: None,
        imported_wall: WallTime(0),
    }
}
