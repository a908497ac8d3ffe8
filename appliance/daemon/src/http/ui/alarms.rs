//! The alarm on every page.

use super::{Visit, reply, session};
use crate::http::actions;
use warp::reply::Response;

/// `POST /alarms/{id}/settle`.
pub(super) async fn settle(visit: &Visit, id: &str) -> Response {
    let id = super::form::decode(id.replace('+', "%2B").as_bytes());
    match actions::settle(&visit.ask.state, &id, visit.actor()).await {
        Ok(_) => reply::with_cookie(reply::see_other("/"), &session::say("The alarm is settled.")),
        Err(error) => visit.failed(&error, None),
    }
}
