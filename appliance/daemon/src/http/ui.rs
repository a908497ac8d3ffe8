//! The page: forms in, HTML out; what is shown comes from the snapshot, how it looks from `rackberry-web`.

use super::State;
use http::HeaderMap;
use warp::{Filter, filters::BoxedFilter, reply::Response};

/// The session token of a request's cookie.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all("cookie")
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("rackberry=").map(str::to_owned))
}

pub(super) fn routes(_state: &State) -> BoxedFilter<(Response,)> {
    warp::any().map(|| super::files::text(http::StatusCode::NOT_FOUND, "There is no page here.\n")).boxed()
}
