//! A distribution's installer is handed out: once, to the machine that was armed, in the transaction that uses up the Arm.

use crate::{
    config::Config,
    inventory::{ApplyError, StoreError, TokenPurpose, Tx},
};
use rackberry_core::{
    boot::{
        answers::{self, Occasion, Subject},
        script::BootFiles,
    },
    event::{Actor, BootKey, EventKind},
    host::{Host, MacAddr},
    install::{self, Action, Fleet, Install, InstallerTurn},
    text::CleanText,
};
use std::{net::IpAddr, sync::Arc};

/// A boot that may be given an installer.
pub(super) struct Boot<'a> {
    pub host: &'a Host,
    pub mac: MacAddr,
    pub peer: IpAddr,
    pub box_url: &'a str,
    /// Of this boot, in plain text, and what is kept of it.
    pub token: &'a str,
    pub key: BootKey,
}

/// What the installer boots, if this boot gets it; whatever keeps it back is recorded.
pub(super) fn hand_out(
    tx: &mut Tx<'_>,
    install: &Arc<Install>,
    boot: &Boot<'_>,
    config: &Config,
) -> Result<Option<BootFiles>, StoreError> {
    let now = tx.now();
    if install.state.phase.ended() {
        return Ok(None);
    }
    let (task, attempt, again) = match install.state.installer(now) {
        InstallerTurn::None => return Ok(None),
        InstallerTurn::Lost { task, attempt } => {
            apply(tx, install, EventKind::InstallerLost { task, attempt })?;
            return Ok(None);
        }
        InstallerTurn::Due { task, attempt } => (task, attempt, false),
        InstallerTurn::Again { task, attempt } => (task, attempt, true),
    };
    if install.state.phase == install::Phase::Interrupted || !same_machine(tx, install, boot)? {
        return Ok(None);
    }
    if !again {
        let installs = tx.active_installs();
        let fleet = Fleet { installs: installs.iter().map(Arc::as_ref).collect(), limits: config.limits() };
        let release = Action::Release { task: task.clone(), attempt };
        if !install::plan(&fleet, now).contains(&(install.id, release)) {
            return Ok(None);
        }
        if let Some(disk) = install::unasked(install, boot.host, &task, config.consent) {
            apply(tx, install, EventKind::ConsentNeeded { disk })?;
            return Ok(None);
        }
    }
    let files = install::target(install, boot.host).and_then(|disk| {
        let occasion = Occasion { host: boot.host, box_url: boot.box_url, token: boot.token };
        let files = answers::boot_files(Subject::install(install, Some(disk)), occasion);
        files.map_err(|error| crate::chain(&error))?.ok_or_else(|| "Its plan boots nothing.".to_owned())
    });
    let files = match files {
        Ok(files) => files,
        Err(reason) => {
            let reason = CleanText::new(&reason);
            let kind = match install.state.arm.consumed {
                None => EventKind::InstallRefused { reason },
                Some(_) => EventKind::Cancelled { reason },
            };
            apply(tx, install, kind)?;
            return Ok(None);
        }
    };
    let kind = match again {
        true => EventKind::TaskRepeated { task, attempt, boot: Some(boot.key.clone()) },
        false => EventKind::TaskClaimed { task, attempt, boot: boot.key.clone() },
    };
    if !apply(tx, install, kind)? {
        return Ok(None);
    }
    // Whoever was handed an earlier script of this install speaks for it no more.
    tx.drop_installer_tokens(install.id)?;
    tx.add_token(boot.key.0, boot.host.id, Some(install.id), TokenPurpose::Installer, boot.mac)?;
    Ok(Some(files))
}

/// Whether the request comes from the port and, where it has its address from us, the address of the armed machine.
fn same_machine(tx: &Tx<'_>, install: &Install, boot: &Boot<'_>) -> Result<bool, StoreError> {
    if !install.state.arm.bound.macs.contains(&boot.mac) {
        return Ok(false);
    }
    match tx.leased(boot.mac)? {
        Some(_) if !tx.gives_addresses() => Ok(true),
        None => Ok(true),
        Some(_) => tx.lease_moved(boot.mac, boot.peer),
    }
}

/// Whether the event moved the install.
fn apply(tx: &mut Tx<'_>, install: &Install, kind: EventKind) -> Result<bool, StoreError> {
    match tx.apply(install.id, Actor::Host, kind) {
        Ok(_) => Ok(true),
        Err(ApplyError::Store(error)) => Err(error),
        Err(error) => {
            tracing::info!(error = crate::chain(&error), "an installer is not handed out");
            Ok(false)
        }
    }
}
