//! Boot scripts for iPXE: who asks is read from the query, the rest is decided in [`crate::boot`]. Never a 404.

use super::{Ends, State, ends, error::Error, files::text, with};
use crate::{boot::Asking, inventory::Identity};
use http::{HeaderValue, Method, StatusCode};
use rackberry_core::{
    boot::{
        self, BootDecision,
        script::{Over, arch_of_buildarch, ask_again},
    },
    host::{Firmware, MacAddr, SmbiosUuid},
    text::CleanText,
};
use serde::Deserialize;
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

/// A text that was rendered for one machine at one moment.
pub(super) fn script_response(script: String) -> Response {
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
    let asking = Asking { identity, arch, firmware, peer: ends.peer, looks_only: method == Method::HEAD };
    match state.desk.decide(asking, &box_url).await {
        Ok(given) if given.decision == BootDecision::Silence => {
            text(StatusCode::NOT_FOUND, "This host is set to be left alone.\n")
        }
        Ok(given) => {
            let context = given.context(&box_url, &state.config.kernel_args, Over::Http);
            script_response(boot::script(given.decision, &context))
        }
        Err(error) => failed(&error.into(), &box_url),
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
