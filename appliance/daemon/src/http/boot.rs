//! Boot scripts: who asks is found out, the decision is made and recorded in one transaction, then rendered. Never a 404.

use super::{Ends, State, ends, error::Error, files::text, with};
use crate::{
    auth,
    inventory::{ApplyError, Identity, StoreError, TokenPurpose, Tx},
};
use http::{HeaderValue, Method, StatusCode};
use rackberry_core::{
    boot::{
        self, BootDecision, HostState,
        script::{ScriptContext, arch_of_buildarch, ask_again, ram_os_arch},
    },
    event::{Actor, EventKind, Station},
    host::{Arch, Firmware, Host, MacAddr, SmbiosUuid},
    install::{Install, TaskStatus},
    task::TaskKind,
    text::CleanText,
};
use serde::Deserialize;
use std::sync::Arc;
use warp::{Filter, reply::Response};

/// What iPXE says of itself; every part may be missing or malformed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Ask {
    mac: String,
    uuid: String,
    serial: String,
    arch: String,
    platform: String,
}

pub(super) fn routes(state: &State) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + use<> {
    let by_query = warp::path!("boot.ipxe").and(warp::query::<Ask>().or(warp::any().map(Ask::default)).unify());
    let by_path = warp::path!("boot" / String).map(|mac| Ask { mac, ..Ask::default() });
    warp::get().or(warp::head()).unify().and(by_query.or(by_path).unify()).and(warp::method()).and(ends()).and(with(state)).then(
        |ask: Ask, method: Method, ends: Ends, state: State| async move { answer(ask, &method, ends, &state).await },
    )
}

/// The script for a client that did not say who it is.
pub(super) fn script_for_nobody(ends: Ends) -> Response {
    script_response(ask_again(&ends.box_url()))
}

fn script_response(script: String) -> Response {
    let mut response = text(StatusCode::OK, script);
    // The next answer may differ: nothing on the way may keep this one.
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

async fn answer(ask: Ask, method: &Method, ends: Ends, state: &State) -> Response {
    let Ok(mac) = ask.mac.parse::<MacAddr>() else { return script_for_nobody(ends) };
    if !mac.is_station() {
        return script_for_nobody(ends);
    }
    let arch = arch_of_buildarch(&ask.arch);
    let firmware = match ask.platform.as_str() {
        "efi" => Some(Firmware::Uefi),
        "pcbios" => Some(Firmware::Bios),
        _ => None,
    };
    let identity = Identity {
        mac,
        uuid: SmbiosUuid::parse(&ask.uuid),
        serial: Some(CleanText::new(&ask.serial)).filter(|serial| !serial.is_empty()),
    };
    let box_url = ends.box_url();
    let discovery = state.config.discovery;
    let rendered = if method == Method::HEAD {
        // Changes nothing and tells nothing: the token is none, of the same length.
        let known = state.inventory.snapshot().identify(&identity);
        let decision = match known.machine.as_ref() {
            Some(host) => {
                let snapshot = state.inventory.snapshot();
                let install = snapshot.host(host.id).and_then(|entry| entry.install.clone());
                boot::decide(&HostState::of(host, install.as_deref(), discovery), snapshot.now)
            }
            None if discovery => BootDecision::RamOs(boot::decide::Why::Discovery),
            None => BootDecision::LocalDisk,
        };
        let name = known.machine.map_or_else(String::new, |host| host.name.to_string());
        Ok((decision, name, "0".repeat(auth::TOKEN_HEX), arch))
    } else {
        let token = match auth::Token::random() {
            Ok(token) => token,
            Err(error) => return failed(&Error::from(error), &box_url),
        };
        state
            .inventory
            .transact(move |tx| {
                let host = admit(tx, &identity, arch, firmware)?;
                tx.at_address(host.id, ends.peer);
                let install = tx.last_install(host.id);
                let install = match install {
                    Some(install) => restarted(tx, install)?,
                    None => None,
                };
                let decision = boot::decide(&HostState::of(&host, install.as_deref(), discovery), tx.now());
                tx.reach(host.id, Station::Script, CleanText::new(word(decision)), arch, firmware)?;
                if let BootDecision::RamOs(_) = decision {
                    tx.add_token(token.digest(), host.id, None, TokenPurpose::Boot, mac)?;
                }
                let arch = arch.filter(|arch| *arch != Arch::X86).or(host.arch);
                Ok::<_, StoreError>((decision, host.name.to_string(), token.hex(), arch))
            })
            .await
            .map_err(Error::from)
    };
    match rendered {
        Ok((BootDecision::Silence, _, _, _)) => text(StatusCode::NOT_FOUND, "This host is set to be left alone.\n"),
        Ok((decision, name, token, arch)) => {
            let script = boot::script(
                decision,
                &ScriptContext {
                    box_url: &box_url,
                    name: if name.is_empty() { "this machine" } else { &name },
                    mac,
                    arch: ram_os_arch(arch.unwrap_or(Arch::X86_64)),
                    token: &token,
                    kernel_args: &state.config.kernel_args,
                },
            );
            script_response(script)
        }
        Err(error) => failed(&error, &box_url),
    }
}

/// Finds or makes the host that asks; under an armed host's address another machine disarms it and gets nothing of it.
pub(super) fn admit(
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
        BootDecision::OwnFiles => "to your own files",
        BootDecision::Silence => "no answer, as its policy says",
    }
}

/// A readable screen instead of an error code: what happened, where, and a retry.
fn failed(error: &Error, box_url: &str) -> Response {
    tracing::error!(error = crate::chain(error), "a boot script could not be given");
    let said = boot::script::plain(&error.to_string());
    script_response(format!(
        "#!ipxe\necho Rackberry at {box_url}: {said}\necho Trying again in 10 seconds.\nsleep 10\nchain --replace {box_url}/autoexec.ipxe || exit 1\n"
    ))
}
