//! What a host runs from the network: chosen on a page of its own, ended on the host's.

use super::{Visit, install, reply, session, view};
use crate::{
    http::{actions, error::Error},
    inventory::HostEntry,
};
use http::StatusCode;
use rackberry_core::profile::Way;
use rackberry_web::views::{LivePage, ProfileChoice, Section, Watch};
use std::collections::BTreeMap;
use warp::reply::Response;

/// `GET /hosts/{id}/live`, with `?profile=`.
pub(super) fn show(visit: &Visit, id: &str) -> Response {
    match view::entry(&visit.ask, id) {
        Ok(entry) => page(visit, StatusCode::OK, &entry, visit.ask.query.get("profile"), &BTreeMap::new(), Vec::new()),
        Err(error) => visit.failed(&error, None),
    }
}

/// `POST /hosts/{id}/live`.
pub(super) async fn set(visit: &Visit, id: &str) -> Response {
    let entry = match view::entry(&visit.ask, id) {
        Ok(entry) => entry,
        Err(error) => return visit.failed(&error, None),
    };
    let (host, profile) = (&entry.host, visit.form.get("profile"));
    // Browsers send line ends as CR LF, which a shell script does not survive.
    let given: BTreeMap<String, String> =
        visit.form.below("p.").map(|(name, value)| (name.to_owned(), value.replace("\r\n", "\n"))).collect();
    let refused = StatusCode::UNPROCESSABLE_ENTITY;
    match actions::set_live(&visit.ask.state, host, profile, &given, visit.actor()).await {
        Ok(live) => {
            let said = format!("{} runs {} at its next boot.", host.name, live.title);
            reply::with_cookie(reply::see_other(&format!("/hosts/{}", host.id)), &session::say(&said))
        }
        Err(Error::Fields(wrong)) => page(visit, refused, &entry, profile, &given, wrong),
        Err(error @ (Error::Conflict(_) | Error::Invalid(_))) => {
            page(visit, refused, &entry, profile, &given, vec![("profile".to_owned(), error.to_string())])
        }
        Err(error) => visit.failed(&error, Some((host.name.as_str(), format!("/hosts/{}", host.id)))),
    }
}

/// `POST /hosts/{id}/live/off`.
pub(super) async fn off(visit: &Visit, id: &str) -> Response {
    let entry = match view::entry(&visit.ask, id) {
        Ok(entry) => entry,
        Err(error) => return visit.failed(&error, None),
    };
    let (host, target) = (&entry.host, format!("/hosts/{}", entry.host.id));
    match actions::unset_live(&visit.ask.state, host.id, visit.actor()).await {
        Ok(()) => {
            let said = format!("{} boots as the box decides again.", host.name);
            reply::with_cookie(reply::see_other(&target), &session::say(&said))
        }
        Err(error) => visit.failed(&error, Some((host.name.as_str(), target))),
    }
}

/// The page; what is wrong stands with its field.
fn page(
    visit: &Visit,
    status: StatusCode,
    entry: &HostEntry,
    wanted: &str,
    given: &BTreeMap<String, String>,
    wrong: Vec<(String, String)>,
) -> Response {
    let state = &visit.ask.state;
    let snapshot = state.inventory.snapshot();
    let live = || state.catalog.iter().filter(|profile| profile.way == Way::Live);
    let mut profiles: Vec<ProfileChoice> = live()
        .map(|profile| ProfileChoice {
            id: profile.name.clone(),
            name: profile.title.clone(),
            note: String::new(),
            refusal: install::refusal(&snapshot, entry, profile).unwrap_or_default(),
        })
        .collect();
    // Those that can be had first; the catalogue's order stays within.
    profiles.sort_by_key(|profile| !profile.refusal.is_empty());
    let chosen = live().find(|profile| profile.name == wanted);
    let said = |field: &str| {
        let found = wrong.iter().find(|(name, _)| name == field);
        found.map(|(_, sentence)| sentence.clone()).unwrap_or_default()
    };
    let params = chosen.iter().flat_map(|profile| &profile.parameters);
    let params = params
        .map(|parameter| install::field(parameter, given, said(&format!("p.{}", parameter.name))))
        .collect::<Vec<_>>();
    // What belongs to no field that is shown is told above.
    let shown = |name: &String| params.iter().any(|field| *name == format!("p.{}", field.name));
    let problem: Vec<&str> =
        wrong.iter().filter(|(name, _)| !shown(name)).map(|(_, sentence)| sentence.as_str()).collect();
    let page = LivePage {
        shell: visit.shell(Section::Hosts, Watch::Alarms, snapshot.version),
        host_id: entry.host.id.to_string(),
        host_name: entry.host.name.to_string(),
        profile: chosen.map(|profile| profile.name.clone()).unwrap_or_default(),
        problem: problem.join(" "),
        profiles,
        params,
    };
    visit.page(status, rackberry_web::live(&page))
}
