//! Answers of installers and live systems: rendered for each request, for whoever shows the token of its boot.

use super::{BootError, Desk};
use crate::{
    auth::{self, Token},
    inventory::{ApplyError, Grant, StoreError, Telemetry, TokenPurpose, Tx},
};
use bytes::Bytes;
use rackberry_core::{
    boot::{
        answers::{self, Occasion, RenderError, Subject},
        initrd::{self, InitrdFile},
    },
    event::{Actor, EventKind},
    host::Host,
    id::InstallId,
    image::Digest,
    install::{self, Install, LiveBoot},
    text::CleanText,
};
use std::{net::IpAddr, sync::Arc};

/// Whose boot a token is.
#[derive(Debug, Clone)]
struct Holder {
    host: Arc<Host>,
    whose: Whose,
}

#[derive(Debug, Clone)]
enum Whose {
    Install(Arc<Install>),
    Live(Arc<LiveBoot>),
}

/// Stages that a live boot may report; more are not written down.
const LIVE_STAGES: u32 = 20;

impl Desk {
    /// The answer of that path for the boot with this token; none for a token or path that is none.
    ///
    /// # Errors
    /// [`BootError`].
    pub async fn answer(
        &self,
        token: &str,
        path: &str,
        peer: IpAddr,
        box_url: &str,
    ) -> Result<Option<Bytes>, BootError> {
        let Some(key) = Token::parse(token).map(|token| token.digest()) else { return Ok(None) };
        let held = self.inventory.transact(move |tx| holder(tx, key, peer)).await;
        let Some(holder) = held.map_err(|source| BootError::Answer { source })? else { return Ok(None) };
        let occasion = Occasion { host: &holder.host, box_url, token };
        holder.render(occasion, path).map_err(BootError::Render)
    }

    /// The answer that the host at this address finds under a fixed path; none if it has none.
    ///
    /// # Errors
    /// [`BootError`].
    pub async fn answer_at(
        &self,
        path: &str,
        peer: IpAddr,
        box_url: &str,
        looks_only: bool,
    ) -> Result<Option<Bytes>, BootError> {
        let snapshot = self.inventory.snapshot();
        let Some(entry) = snapshot.host_at(peer).and_then(|id| snapshot.host(id)) else { return Ok(None) };
        let running = entry.active_install().filter(|install| install.state.installs_now());
        let fixed = |boot: &install::PlannedBoot| boot.answers.iter().any(|answer| answer.at.is_some());
        let whose = match (running, &entry.live_boot) {
            (Some(install), _) if install.plan.boot.as_ref().is_some_and(fixed) => Whose::Install(install.clone()),
            (None, Some(live)) if fixed(&live.boot) => Whose::Live(live.clone()),
            _ => return Ok(None),
        };
        let holder = Holder { host: entry.host.clone(), whose };
        let asked = |token: &str| {
            let occasion = Occasion { host: &holder.host, box_url, token };
            holder.path_at(occasion, path).map_err(BootError::Render)
        };
        let Some(answer) = asked("")? else { return Ok(None) };
        if looks_only {
            // As long as the real one, and good for nothing.
            let token = "0".repeat(auth::TOKEN_HEX);
            let occasion = Occasion { host: &holder.host, box_url, token: &token };
            return holder.render(occasion, &answer).map_err(BootError::Render);
        }
        // Its reports need a token, and the one of its script is not kept in plain text.
        let Some(mac) = holder.host.mac() else { return Ok(None) };
        let token = Token::random().map_err(|source| BootError::Token { mac, source })?;
        let (key, host, install) = (token.digest(), holder.host.id, holder.install());
        let purpose = if install.is_some() { TokenPurpose::Installer } else { TokenPurpose::Live };
        let grant = Grant { host, install, purpose, mac };
        let added = self.inventory.transact(move |tx| tx.add_fixed_token(key, grant)).await;
        added.map_err(|source| BootError::Answer { source })?;
        let token = token.hex();
        holder.render(Occasion { host: &holder.host, box_url, token: &token }, &answer).map_err(BootError::Render)
    }

    /// Takes a line for the log of the boot with this token; whether it is one.
    ///
    /// # Errors
    /// [`BootError`].
    pub async fn log(&self, token: &str, line: CleanText, peer: IpAddr) -> Result<bool, BootError> {
        let Some(key) = Token::parse(token).map(|token| token.digest()) else { return Ok(false) };
        let held = self.inventory.transact(move |tx| holder(tx, key, peer)).await;
        let Some(holder) = held.map_err(|source| BootError::Answer { source })? else { return Ok(false) };
        self.inventory.telemetry(Telemetry::Log { host: holder.host.id, lines: vec![line] });
        Ok(true)
    }

    /// Writes down that the boot with this token reached a stage; whether it is one.
    ///
    /// `installed` ends the installer's task, `failed` fails it with `detail`, `first-boot` says that the installed system is up.
    ///
    /// # Errors
    /// [`BootError`], also if the report does not follow from the state.
    pub async fn report(&self, token: &str, stage: &str, detail: &str, peer: IpAddr) -> Result<bool, BootError> {
        let Some(key) = Token::parse(token).map(|token| token.digest()) else { return Ok(false) };
        let (stage, detail) = (CleanText::new(&rackberry_core::text::clean(stage, 40)), CleanText::new(detail));
        let told = self.inventory.transact(move |tx| {
            // The installed system may have an address of its own.
            let held = if stage.as_str() == "first-boot" { known(tx, key)? } else { holder(tx, key, peer)? };
            let Some(holder) = held else { return Ok(false) };
            tx.seen(holder.host.id);
            match holder.whose {
                Whose::Install(install) => {
                    let kind = news(&install, stage, detail, peer);
                    tx.apply(install.id, Actor::Host, kind)?;
                }
                Whose::Live(_) if tx.count_token_news(key)? <= LIVE_STAGES => {
                    let kind = EventKind::InstallerStage { stage, detail };
                    tx.record(Some(holder.host.id), None, Actor::Host, kind)?;
                }
                Whose::Live(_) => {}
            }
            Ok::<_, ApplyError>(true)
        });
        told.await.map_err(|source| BootError::Report { source })
    }
}

/// What a stage means for an install.
fn news(install: &Install, stage: CleanText, detail: CleanText, peer: IpAddr) -> EventKind {
    let running = install.state.installer_task();
    match (stage.as_str(), running) {
        ("installed", Some((task, attempt))) => EventKind::TaskDone { task, attempt },
        ("failed", Some((task, attempt))) => {
            let message = if detail.is_empty() { "Its installer gave up.".into() } else { detail };
            EventKind::TaskFailed { task, attempt, transient: false, message }
        }
        ("first-boot", _) => EventKind::FirstBoot { address: CleanText::new(&peer.to_string()) },
        _ => EventKind::InstallerStage { stage, detail },
    }
}

impl Holder {
    fn install(&self) -> Option<InstallId> {
        match &self.whose {
            Whose::Install(install) => Some(install.id),
            Whose::Live(_) => None,
        }
    }

    fn with<T>(&self, act: impl FnOnce(Subject<'_>) -> Result<T, RenderError>) -> Result<T, RenderError> {
        match &self.whose {
            Whose::Install(install) => act(Subject::install(install, install::target(install, &self.host).ok())),
            Whose::Live(live) => act(Subject::live(live)),
        }
    }

    fn path_at(&self, occasion: Occasion<'_>, path: &str) -> Result<Option<String>, RenderError> {
        self.with(|subject| Ok(answers::answer_at(subject, occasion, path)?.map(str::to_owned)))
    }

    fn render(&self, occasion: Occasion<'_>, path: &str) -> Result<Option<Bytes>, RenderError> {
        if path == answers::INITRD {
            let files = self.with(|subject| answers::initrd_files(subject, occasion))?;
            let files: Vec<InitrdFile> = files
                .into_iter()
                .map(|file| InitrdFile { path: file.path, mode: file.mode, content: file.content.into_bytes() })
                .collect();
            return Ok(Some(initrd::cpio(&files).into()).filter(|_| !files.is_empty()));
        }
        Ok(self.with(|subject| answers::answer(subject, occasion, path))?.map(Bytes::from))
    }
}

/// The boot with this token, if it asks from the address where it began, or from one we have given its card since.
fn holder(tx: &mut Tx<'_>, key: Digest, peer: IpAddr) -> Result<Option<Holder>, StoreError> {
    let Some(token) = tx.token(key)? else { return Ok(None) };
    match token.address {
        Some(bound) if bound != peer && !tx.lease_moved(token.mac, peer)? => return Ok(None),
        Some(bound) if bound == peer => {}
        _ => tx.bind_token(key, peer)?,
    }
    // A box that started again meanwhile knows the address from here, and with it whose log lines come from there.
    tx.at_address(token.host, peer);
    known(tx, key)
}

fn known(tx: &mut Tx<'_>, key: Digest) -> Result<Option<Holder>, StoreError> {
    let Some(token) = tx.token(key)? else { return Ok(None) };
    let Some(host) = tx.host(token.host) else { return Ok(None) };
    let whose = match (token.purpose, token.install) {
        (TokenPurpose::Installer, Some(install)) => tx.install(install)?.map(Whose::Install),
        (TokenPurpose::Live, _) => tx.live_boot(host.id).map(Whose::Live),
        (TokenPurpose::Boot | TokenPurpose::FirstBoot | TokenPurpose::Installer, _) => None,
    };
    Ok(whose.map(|whose| Holder { host, whose }))
}
