//! The list of hosts, the page of one, and what can be done to one.

use super::{Visit, history, host_view, reply, session, view};
use crate::{
    http::{
        actions::{self, Steer},
        error::Error,
    },
    inventory::{EventFilter, HostEntry, Inventory},
};
use http::StatusCode;
use rackberry_core::{id::HostId, power::Verb};
use rackberry_web::views::{EnrolPage, EventRow, HostPage, HostRow, LineProblem, Section, Watch};
use std::sync::Arc;
use warp::reply::Response;

/// Lines of history on a host's own page.
const EVENTS: usize = 12;

/// `GET /`, with `?q=` and `?state=`.
pub(super) async fn list(visit: &Visit) -> Response {
    let state = &visit.ask.state;
    let snapshot = state.inventory.snapshot();
    let now = state.inventory.now();
    let query = rackberry_core::text::clean(visit.ask.query.get("q").trim(), 100);
    let wanted = visit.ask.query.get("state").to_owned();
    let mut page = view::all_hosts(state, &snapshot, now);
    page.shell = visit.shell(Section::Hosts, Watch::Hosts, snapshot.version);
    if !query.is_empty() {
        let text = query.clone();
        let found: Result<Vec<Arc<HostEntry>>, Error> =
            state.inventory.read(move |reader| Ok::<_, Error>(reader.search(&text))).await.map_err(Error::from);
        match found {
            Ok(found) => page.rows.retain(|row| found.iter().any(|entry| entry.host.id.to_string() == row.id)),
            Err(error) => return visit.failed(&error, None),
        }
    }
    let known = page.rows.iter().any(|row| row.state.kind().filter() == wanted) || FILTERS.contains(&wanted.as_str());
    if known {
        page.rows.retain(|row: &HostRow| row.state.kind().filter() == wanted);
        page.state = wanted;
    }
    page.query = query;
    visit.page(StatusCode::OK, rackberry_web::hosts(&page))
}

/// The filters that stay valid while no host is in their state.
const FILTERS: [&str; 8] = ["discovered", "waiting", "armed", "installing", "failed", "cancelled", "running", "off"];

/// `GET /hosts/{id}`.
pub(super) async fn show(visit: &Visit, id: &str) -> Response {
    let state = &visit.ask.state;
    let snapshot = state.inventory.snapshot();
    let entry = match view::entry(&visit.ask, id) {
        Ok(entry) => entry,
        Err(error) => return visit.failed(&error, None),
    };
    let events = match events_of(&state.inventory, entry.host.id).await {
        Ok(events) => events,
        Err(error) => return visit.failed(&error, None),
    };
    let host = host_view::host(state, &entry, events, Vec::new(), state.inventory.now());
    let shell = visit.shell(Section::Hosts, Watch::Host(host.id.clone()), snapshot.version);
    visit.page(StatusCode::OK, rackberry_web::host(&HostPage { shell, host }))
}

/// The latest lines of a host's history, newest first.
pub(super) async fn events_of(inventory: &Inventory, host: HostId) -> Result<Vec<EventRow>, Error> {
    let filter = EventFilter { host: Some(host), limit: EVENTS, ..EventFilter::default() };
    let events = inventory.read(move |reader| reader.events(&filter)).await?;
    Ok(events.iter().map(|event| history::row(event, None)).collect())
}

/// `POST /hosts/{id}/confirm`, with the digits that the display at the box shows, and `POST /hosts/{id}/ask`.
pub(super) async fn consent(visit: &Visit, id: &str, again: bool) -> Response {
    let entry = match view::entry(&visit.ask, id) {
        Ok(entry) => entry,
        Err(error) => return visit.failed(&error, None),
    };
    let (state, host, name) = (&visit.ask.state, entry.host.id, &entry.host.name);
    let done = if again {
        actions::ask_again(state, host, visit.actor()).await
    } else {
        actions::confirm(state, host, visit.form.get("code"), visit.actor()).await
    };
    let target = format!("/hosts/{host}");
    match done {
        Ok(_) => {
            let said = if again {
                format!("The display asks about {name} again.")
            } else {
                format!("{name} is confirmed: its disk may be erased.")
            };
            reply::with_cookie(reply::see_other(&target), &session::say(&said))
        }
        Err(error) => visit.failed(&error, Some((name.as_str(), target))),
    }
}

/// `POST /hosts/{id}/power/{verb}`; answers when it has begun, as its end may be half a minute away.
pub(super) async fn power(visit: &Visit, id: &str, verb: &str) -> Response {
    let Some(verb) = Verb::of_word(verb) else { return super::not_found(visit) };
    let entry = match view::entry(&visit.ask, id) {
        Ok(entry) => entry,
        Err(error) => return visit.failed(&error, None),
    };
    let (host, target) = (&entry.host, format!("/hosts/{}", entry.host.id));
    let interrupt = visit.form.get("interrupt") == "true";
    match actions::power(&visit.ask.state, host, verb, interrupt, visit.actor()).await {
        Ok(_) => {
            let said = format!("Power {verb} of {} has begun.", host.name);
            reply::with_cookie(reply::see_other(&target), &session::say(&said))
        }
        Err(error) => visit.failed(&error, Some((host.name.as_str(), target))),
    }
}

/// `POST /hosts/{id}/{verb}`.
pub(super) async fn steer(visit: &Visit, id: &str, verb: &str) -> Response {
    let steer = match verb {
        "disarm" => Some(Steer::Disarm),
        "cancel" => Some(Steer::Cancel),
        "resume" => Some(Steer::Resume),
        "forget" => None,
        _ => return super::not_found(visit),
    };
    let entry = match view::entry(&visit.ask, id) {
        Ok(entry) => entry,
        Err(error) => return visit.failed(&error, None),
    };
    let (state, host) = (&visit.ask.state, entry.host.id);
    let done = match steer {
        Some(steer) => actions::steer(state, host, steer, visit.actor()).await.map(|_| ()),
        None => actions::forget(state, host, visit.actor()).await,
    };
    let name = &entry.host.name;
    match done {
        Ok(()) => {
            let (said, target) = match steer {
                Some(Steer::Disarm) => (format!("{name} is disarmed. Nothing was written."), format!("/hosts/{host}")),
                Some(Steer::Cancel) => (format!("The install of {name} is stopped."), format!("/hosts/{host}")),
                Some(Steer::Resume) => (format!("The install of {name} goes on."), format!("/hosts/{host}")),
                None => (format!("{name} is forgotten."), "/".to_owned()),
            };
            reply::with_cookie(reply::see_other(&target), &session::say(&said))
        }
        Err(error) => visit.failed(&error, Some((name.as_str(), format!("/hosts/{host}")))),
    }
}

/// `GET /hosts/enrol`.
pub(super) fn enrol_page(visit: &Visit) -> Response {
    answer_enrol(visit, StatusCode::OK, EnrolPage::default())
}

fn answer_enrol(visit: &Visit, status: StatusCode, mut page: EnrolPage) -> Response {
    page.shell = visit.shell(Section::Hosts, Watch::Alarms, visit.ask.state.inventory.snapshot().version);
    visit.page(status, rackberry_web::render::enrol(&page))
}

/// `POST /hosts/enrol`: all of the list or none of it.
pub(super) async fn enrol(visit: &Visit) -> Response {
    let (list, pattern) = (visit.form.get("list").to_owned(), visit.form.get("pattern").trim().to_owned());
    let mut page = EnrolPage { list: list.clone(), pattern: pattern.clone(), ..EnrolPage::default() };
    let refused = StatusCode::UNPROCESSABLE_ENTITY;
    let machines = match actions::read_list(&list) {
        Ok(machines) if machines.is_empty() => {
            page.list_problem = "Write at least one MAC address.".to_owned();
            return answer_enrol(visit, refused, page);
        }
        Ok(machines) => machines,
        Err(wrong) => {
            let text = |line: usize| list.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim().to_owned();
            page.problems = wrong
                .into_iter()
                .map(|(line, why)| LineProblem {
                    line: u64::try_from(line).unwrap_or(u64::MAX),
                    text: rackberry_core::text::clean(&text(line), 120),
                    why,
                })
                .collect();
            page.list_problem = "Some lines do not read; they are named beside.".to_owned();
            return answer_enrol(visit, refused, page);
        }
    };
    match actions::enrol(&visit.ask.state, machines, &pattern, visit.actor()).await {
        Ok(hosts) => {
            let said = match hosts.as_slice() {
                [host] => format!("{} is added.", host.name),
                hosts => format!("{} hosts are added.", hosts.len()),
            };
            reply::with_cookie(reply::see_other("/"), &session::say(&said))
        }
        Err(Error::Fields(wrong)) => {
            for (field, sentence) in wrong {
                if field == "pattern" { page.pattern_problem = sentence } else { page.list_problem = sentence }
            }
            answer_enrol(visit, refused, page)
        }
        Err(error @ (Error::Conflict(_) | Error::Invalid(_))) => {
            page.list_problem = error.to_string();
            answer_enrol(visit, refused, page)
        }
        Err(error) => visit.failed(&error, None),
    }
}
