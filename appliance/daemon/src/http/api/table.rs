//! One row for each call: the same table routes requests, guards them and describes them, so that no call can be missing
//! from the description and none can be open by accident.

use super::Call;
use crate::http::error::Error;
use futures_util::future::BoxFuture;
use http::Method;
use serde::Serialize;
use warp::reply::Response;

/// What every path begins with.
pub const ROOT: &str = "/api";

/// A call of the API.
pub struct Route {
    pub verb: Verb,
    /// Behind [`ROOT`]; parts in braces are taken from the request, literal parts go first.
    pub path: &'static str,
    pub access: Access,
    /// One word for programs; unique.
    pub name: &'static str,
    /// The command that does the same.
    pub command: &'static str,
    pub summary: &'static str,
    pub query: &'static [Field],
    pub body: Body,
    pub answer: Answer,
    pub(super) run: Handler,
}

/// Does what a row says.
pub(super) type Handler = fn(Call) -> BoxFuture<'static, Result<Response, Error>>;

/// How a call is made; a `Get` changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    Post,
    Patch,
    Delete,
}

impl Verb {
    /// As HTTP writes it.
    #[must_use]
    pub fn method(self) -> Method {
        match self {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
        }
    }

    fn fits(self, method: &Method) -> bool {
        self.method() == *method || (self == Verb::Get && *method == Method::HEAD)
    }
}

/// Who may make a call; nobody may without having said who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody who is known.
    Viewer,
    /// Those who may change things.
    Admin,
}

/// What a request carries beside its path.
#[derive(Clone, Copy)]
pub enum Body {
    None,
    /// A JSON object of these members and no others.
    Json(&'static [Field]),
    /// Bytes as they are, of any length.
    Bytes(&'static str),
}

/// What a call answers when it worked.
#[derive(Clone, Copy)]
pub enum Answer {
    One(&'static Schema),
    List(&'static Schema),
    /// Bytes of this media type.
    Bytes(&'static str),
    /// The description of the API itself.
    Document,
}

/// The shape of a JSON object.
pub struct Schema {
    pub name: &'static str,
    pub about: &'static str,
    /// Every member of an answer, if it is not `open`.
    pub fields: &'static [Field],
    /// Other members may be there.
    pub open: bool,
}

/// A member of an object, or a parameter of a query.
#[derive(Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// In a request: has to be given. In an answer: always there and never null.
    pub required: bool,
    pub about: &'static str,
}

/// The type of a member.
#[derive(Clone, Copy)]
pub enum Kind {
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text that is in no answer and no history.
    Secret,
    Number,
    Flag,
    Texts,
    /// Names and texts.
    Map,
    Object,
    Objects,
    One(&'static Schema),
}

/// A member that has to be there.
pub(super) const fn must(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, required: true, about }
}

/// A member that may be missing.
pub(super) const fn may(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, required: false, about }
}

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Route> {
    let nouns: [&'static [Route]; 15] = [
        super::hosts::ROUTES,
        super::installs::ROUTES,
        super::live::ROUTES,
        super::power::ROUTES,
        super::images::ROUTES,
        super::fetches::ROUTES,
        super::profiles::ROUTES,
        super::events::ROUTES,
        super::alarms::ROUTES,
        super::people::ROUTES,
        super::tokens::ROUTES,
        super::display::ROUTES,
        super::updates::ROUTES,
        super::uploads::ROUTES,
        super::status::ROUTES,
    ];
    nouns.into_iter().flatten()
}

/// A row and what its path took from the request.
pub(super) struct Found {
    pub route: &'static Route,
    pub parts: Vec<(&'static str, String)>,
}

/// The row for a request; [`Error::NotFound`] or [`Error::Method`] if there is none.
pub(super) fn find(method: &Method, path: &str) -> Result<Found, Error> {
    let below = path.strip_prefix(ROOT).unwrap_or_default();
    let mut verbs: Vec<Verb> = Vec::new();
    // A literal part is meant before a captured one: rows of the same form are tried with the fewest captures first.
    let mut matching: Vec<Found> =
        all().filter_map(|route| Some(Found { route, parts: parts(route.path, below)? })).collect();
    matching.sort_by_key(|found| found.parts.len());
    for found in matching {
        if found.route.verb.fits(method) {
            return Ok(found);
        }
        verbs.push(found.route.verb);
    }
    if verbs.is_empty() {
        return Err(Error::NotFound("The API has no such call; /api/openapi.json describes all of them.".to_owned()));
    }
    verbs.sort_unstable();
    let allowed: Vec<String> = verbs.into_iter().map(|verb| verb.method().to_string()).collect();
    Err(Error::Method { allowed: allowed.join(", ") })
}

/// What the braces of `pattern` take from `path`; a name or address whose `:` came as `%3A` is taken as it is meant.
fn parts(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let mut wanted = pattern.split('/');
    let mut given = path.split('/');
    let mut parts = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parts),
            (Some(wanted), Some(given)) => match captured(wanted) {
                Some(name) => {
                    let value = crate::http::files::percent_decode(given).filter(|value| !value.is_empty())?;
                    parts.push((name, value));
                }
                None if wanted == given => {}
                None => return None,
            },
            _ => return None,
        }
    }
}

/// The name inside the braces.
pub(super) fn captured(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

/// A handler's result as JSON.
pub(super) fn json<T: Serialize>(
    result: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> BoxFuture<'static, Result<Response, Error>> {
    Box::pin(async move {
        let body = serde_json::to_vec(&result.await?).map_err(|error| Error::Mistake(error.to_string()))?;
        let mut response = Response::new(body.into());
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        Ok(response)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_parts_go_before_captured_ones_and_escapes_are_undone() {
        let found = find(&Method::POST, "/api/v1/hosts/52%3A54/install").ok().unwrap();
        assert_eq!(found.route.name, "installHost");
        assert_eq!(found.parts, [("host", "52:54".to_owned())]);
        assert!(matches!(find(&Method::GET, "/api/v1/hosts/"), Err(Error::NotFound(_))));
        assert!(matches!(find(&Method::GET, "/api/v1/hosts/a/b/c/d"), Err(Error::NotFound(_))));
        assert!(matches!(find(&Method::GET, "/api/v2/hosts"), Err(Error::NotFound(_))));
    }

    #[test]
    fn a_wrong_verb_is_told_the_right_ones() {
        let Err(Error::Method { allowed }) = find(&Method::PUT, "/api/v1/hosts") else { panic!("PUT was taken") };
        assert_eq!(allowed, "GET, POST");
        assert!(find(&Method::HEAD, "/api/v1/hosts").is_ok());
    }
}
