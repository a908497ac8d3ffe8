//! Who asks to boot, what is decided for it, and that it is written down: one transaction, whatever loader asks by
//! whatever protocol.

mod answering;
mod installer;

use crate::{
    auth::{self, Token},
    config::Config,
    inventory::{ApplyError, Identity, Inventory, StoreError, TokenPurpose, TransactError, Tx},
    media::{Media, OpenFileError, Opened},
};
use rackberry_core::{
    boot::{
        self, BootDecision, HostState,
        answers::{self, Occasion, RenderError, Subject},
        config::{ConfigKind, ConfigRef, MachineName, Searcher},
        decide::Why,
        grub,
        own::{self, OwnBoot},
        pxelinux,
        script::{BootFiles, Over, ScriptContext, ram_os_arch},
    },
    event::{Actor, BootKey, EventKind, Station},
    host::{Arch, Firmware, Host, MacAddr, SmbiosUuid},
    install::{Install, TaskStatus},
    task::TaskKind,
    text::{CleanText, HostName},
};
use std::{net::IpAddr, sync::Arc};

/// A request that could not be decided.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("deciding what {mac} boots")]
    Store {
        mac: MacAddr,
        #[source]
        source: TransactError<StoreError>,
    },
    #[error("making a token for {mac}")]
    Token {
        mac: MacAddr,
        #[source]
        source: StoreError,
    },
    #[error("looking for an own file")]
    File(#[from] OpenFileError),
    #[error("finding whose answers these are")]
    Answer {
        #[source]
        source: TransactError<StoreError>,
    },
    #[error("putting an answer together")]
    Render(#[source] RenderError),
    #[error("writing a report down")]
    Report {
        #[source]
        source: TransactError<ApplyError>,
    },
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Asking {
    pub identity: Identity,
    pub arch: Option<Arch>,
    pub firmware: Option<Firmware>,
    pub peer: IpAddr,
    /// A HEAD request: it changes nothing and is told nothing.
    pub looks_only: bool,
}

/// What a machine is given.
#[derive(Debug, Clone)]
pub struct Given {
    pub decision: BootDecision,
    mac: MacAddr,
    name: String,
    token: String,
    arch: Arch,
    own: OwnBoot,
    files: Option<BootFiles>,
}

impl Given {
    /// What the renderers of `core::boot` want.
    #[must_use]
    pub fn context<'a>(&'a self, box_url: &'a str, kernel_args: &'a str, over: Over) -> ScriptContext<'a> {
        ScriptContext {
            box_url,
            name: &self.name,
            mac: self.mac,
            arch: self.arch,
            token: &self.token,
            kernel_args,
            over,
            own: &self.own,
            files: self.files.as_ref(),
        }
    }
}

/// What was decided, and what goes with it.
struct Decided {
    decision: BootDecision,
    host: Option<Arc<Host>>,
    token: String,
    files: Option<BootFiles>,
}

/// The answer to a loader that looks for its configuration.
#[derive(Debug)]
pub enum Found {
    /// A person's own file.
    Own(Opened),
    /// Rendered for this machine.
    Text(String),
    /// The loader goes on with its search.
    Nothing,
}

/// A loader's question for its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub file: &'a ConfigRef,
    pub over: Over,
    pub peer: IpAddr,
    /// This box as the loader reaches it.
    pub box_url: &'a str,
    pub looks_only: bool,
}

/// Where boot requests are decided; cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    inventory: Inventory,
    media: Media,
    config: Arc<Config>,
}

impl Desk {
    /// A desk over this inventory and these files.
    #[must_use]
    pub fn new(inventory: Inventory, media: Media, config: Arc<Config>) -> Self {
        Desk { inventory, media, config }
    }

    /// The files it finds.
    #[must_use]
    pub fn media(&self) -> &Media {
        &self.media
    }

    /// Decides what a machine boots, and records it.
    ///
    /// # Errors
    /// [`BootError`].
    pub async fn decide(&self, asking: Asking, box_url: &str) -> Result<Given, BootError> {
        let (mac, peer, uuid, firmware) = (asking.identity.mac, asking.peer, asking.identity.uuid, asking.firmware);
        let stated = asking.arch;
        let Decided { decision, host, token, files } =
            if asking.looks_only { self.look(&asking) } else { self.record(asking, box_url.to_owned()).await? };
        let arch = stated.filter(|arch| *arch != Arch::X86).or(host.as_ref().and_then(|host| host.arch));
        let name = host.as_ref().map(|host| host.name.clone());
        let mut own = OwnBoot::Nothing;
        if decision == BootDecision::OwnFiles
            && let Some(host) = &host
        {
            let who = Searcher { uuid: uuid.or(host.uuid), mac: Some(mac), address: Some(peer) };
            own = self.own(&who, &host.name, firmware.or(host.firmware)).await?;
        }
        Ok(Given {
            decision,
            mac,
            name: name.map_or_else(|| "this machine".to_owned(), |name| name.to_string()),
            token,
            arch: ram_os_arch(arch.unwrap_or(Arch::X86_64)),
            own,
            files,
        })
    }

    /// What the files folder holds for a host.
    async fn own(&self, who: &Searcher, name: &HostName, firmware: Option<Firmware>) -> Result<OwnBoot, OpenFileError> {
        let candidates = own::candidates(who, name, firmware);
        let found = self.media.first_own(candidates.iter().map(|(path, _)| path.clone()).collect()).await?;
        let path = found.and_then(|opened| opened.own);
        Ok(candidates
            .into_iter()
            .find(|(candidate, _)| Some(candidate) == path.as_ref())
            .map_or(OwnBoot::Nothing, |(_, leads)| leads))
    }

    /// As [`decide`](Self::decide) would, from the snapshot; the token is none, of the same length.
    fn look(&self, asking: &Asking) -> Decided {
        let snapshot = self.inventory.snapshot();
        let discovery = self.config.discovery;
        let known = snapshot.identify(&asking.identity);
        let decision = match known.machine.as_ref() {
            Some(host) => {
                let entry = snapshot.host(host.id);
                let install = entry.and_then(|entry| entry.install.clone());
                let live = entry.is_some_and(|entry| entry.live_boot.is_some());
                let now = snapshot.now;
                boot::decide(&HostState::of(host, install.as_deref(), live, discovery, now), now)
            }
            None if discovery => BootDecision::RamOs(Why::Discovery),
            None => BootDecision::LocalDisk,
        };
        Decided { decision, host: known.machine, token: "0".repeat(auth::TOKEN_HEX), files: None }
    }

    async fn record(&self, asking: Asking, box_url: String) -> Result<Decided, BootError> {
        let mac = asking.identity.mac;
        let token = Token::random().map_err(|source| BootError::Token { mac, source })?;
        let config = Arc::clone(&self.config);
        let recorded = self.inventory.transact(move |tx| {
            let host = admit(tx, &asking.identity, asking.arch, asking.firmware)?;
            tx.at_address(host.id, asking.peer);
            let install = match tx.last_install(host.id) {
                Some(install) => restarted(tx, install)?,
                None => None,
            };
            let live = tx.live_boot(host.id);
            let (key, token) = (BootKey(token.digest()), token.hex());
            let mut files = None;
            let decide = |tx: &Tx<'_>| {
                let (install, now) = (tx.last_install(host.id), tx.now());
                boot::decide(&HostState::of(&host, install.as_deref(), live.is_some(), config.discovery, now), now)
            };
            let mut decision = decide(tx);
            if let (BootDecision::Installer | BootDecision::RamOs(_), Some(install)) = (decision, &install) {
                let (peer, box_url) = (asking.peer, box_url.as_str());
                let boot = installer::Boot { host: &host, mac, peer, box_url, token: &token, key: key.clone() };
                files = installer::hand_out(tx, install, &boot, &config)?;
                decision = match (&files, decide(tx)) {
                    (Some(_), _) => BootDecision::Installer,
                    // It was not handed out: until it is, the machine waits where it can be spoken to.
                    (None, BootDecision::Installer) => BootDecision::RamOs(Why::Install),
                    (None, decision) => decision,
                };
            }
            tx.reach(host.id, Station::Script, CleanText::new(word(decision)), asking.arch, asking.firmware)?;
            if let BootDecision::RamOs(_) = decision {
                tx.add_token(key.0, host.id, None, TokenPurpose::Boot, mac)?;
            }
            if let (BootDecision::Live, Some(live)) = (decision, live) {
                let occasion = Occasion { host: &host, box_url: &box_url, token: &token };
                match answers::boot_files(Subject::live(&live), occasion) {
                    Ok(rendered) => {
                        files = rendered;
                        tx.add_token(key.0, host.id, None, TokenPurpose::Live, mac)?;
                    }
                    Err(error) => {
                        let text = format!("{} cannot boot {}: {}.", host.name, live.title, crate::chain(&error));
                        tx.raise_alarm(&format!("live-{}", host.id), Some(host.id), CleanText::new(&text))?;
                    }
                }
            }
            Ok::<_, StoreError>(Decided { decision, host: Some(host), token, files })
        });
        recorded.await.map_err(|source| BootError::Store { mac, source })
    }

    /// Answers a loader's search for its configuration: a person's own file, or the decision about the machine.
    ///
    /// # Errors
    /// [`BootError`].
    pub async fn config(&self, asked: Question<'_>) -> Result<Found, BootError> {
        let machine = self.machine(asked.file.machine, asked.peer);
        let known = machine.and_then(|(mac, _)| Some(self.inventory.snapshot().host_by_mac(mac)?.host.clone()));
        let who = Searcher {
            uuid: machine.and_then(|(_, uuid)| uuid).or(known.and_then(|host| host.uuid)),
            mac: machine.map(|(mac, _)| mac),
            address: Some(asked.peer),
        };
        if let Some(opened) = self.media.first_own(asked.file.own(&who)).await? {
            return Ok(Found::Own(opened));
        }
        if self.media.first_own(asked.file.own_later(&who)).await?.is_some() {
            return Ok(Found::Nothing);
        }
        let Some((mac, uuid)) = machine else {
            return Ok(match (asked.file.machine, asked.file.kind) {
                (MachineName::Default, ConfigKind::Grub) => Found::Text(grub::ask_again(asked.box_url, asked.over)),
                (MachineName::Default, ConfigKind::Pxelinux) => Found::Text(pxelinux::nobody()),
                (MachineName::Uuid(_) | MachineName::Mac(_) | MachineName::Address(_), _) => Found::Nothing,
            });
        };
        let asking = Asking {
            identity: Identity { mac, uuid, serial: None },
            arch: None,
            firmware: None,
            peer: asked.peer,
            looks_only: asked.looks_only,
        };
        let given = self.decide(asking, asked.box_url).await?;
        let context = given.context(asked.box_url, &self.config.kernel_args, asked.over);
        let text = match asked.file.kind {
            ConfigKind::Pxelinux => pxelinux::config(given.decision, &context),
            ConfigKind::Grub => grub::config(given.decision, &context),
        };
        Ok(text.map_or(Found::Nothing, Found::Text))
    }

    /// The card, and the UUID where the name says it. A name without a card means a host only if that has a single one:
    /// by the names that follow, the loader says which card it uses.
    ///
    /// A name without UUID needs none: with the card's last DHCP request, the UUID in option 97 has told whose it is.
    fn machine(&self, name: MachineName, peer: IpAddr) -> Option<(MacAddr, Option<SmbiosUuid>)> {
        let snapshot = self.inventory.snapshot();
        let sole = |host: &Host| match host.macs.as_slice() {
            [mac] => Some(*mac),
            _ => None,
        };
        match name {
            MachineName::Mac(mac) => Some((mac, None)),
            MachineName::Uuid(uuid) => snapshot.host_by_uuid(uuid).and_then(|e| sole(&e.host)).map(|m| (m, Some(uuid))),
            MachineName::Address(address) if IpAddr::V4(address) != peer => None,
            MachineName::Address(_) | MachineName::Default => {
                let entry = snapshot.host_at(peer).and_then(|id| snapshot.host(id))?;
                sole(&entry.host).map(|mac| (mac, None))
            }
        }
    }
}

/// Finds or makes the host that asks; under an armed host's address another machine disarms it and gets nothing of it.
pub(crate) fn admit(
    tx: &mut Tx<'_>,
    identity: &Identity,
    arch: Option<Arch>,
    firmware: Option<Firmware>,
) -> Result<Arc<Host>, StoreError> {
    // iPXE for BIOS is a 32-bit program on every machine, so its word says nothing.
    let arch = arch.map(|arch| if arch == Arch::X86 { Arch::X86_64 } else { arch });
    tx.observe(identity, arch, firmware)
}

/// A network boot proves that an ordered restart happened, also when its report was lost.
fn restarted(tx: &mut Tx<'_>, install: Arc<Install>) -> Result<Option<Arc<Install>>, StoreError> {
    let only_restart = install.state.tasks.iter().all(|task| {
        task.done()
            || task.spec.kind == TaskKind::WaitFirstBoot
            || (task.spec.kind == TaskKind::Restart && task.running())
    });
    let running = install.state.tasks.iter().find(|task| task.spec.kind == TaskKind::Restart && task.running());
    if let Some(TaskStatus::Running { attempt, .. }) = running.map(|task| &task.status)
        && only_restart
    {
        let task = running.map(|task| task.spec.name.clone()).unwrap_or_else(|| "restart".into());
        let kind = EventKind::TaskDone { task, attempt: *attempt };
        return match tx.apply(install.id, Actor::Box, kind) {
            Ok(moved) => Ok(Some(moved)),
            Err(ApplyError::Store(error)) => Err(error),
            Err(_) => Ok(Some(install)),
        };
    }
    Ok(Some(install))
}

fn word(decision: BootDecision) -> &'static str {
    match decision {
        BootDecision::LocalDisk => "to its own disk",
        BootDecision::NothingToBoot => "its disk is empty and nothing is armed",
        BootDecision::RamOs(_) => "to the RAM OS",
        BootDecision::Installer => "to its installer",
        BootDecision::Live => "to the system it runs from the network",
        BootDecision::OwnFiles => "to your own files",
        BootDecision::Silence => "no answer, as its policy says",
    }
}
