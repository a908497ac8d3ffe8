//! Who asks, and whether it was their own browser page that sent the form.

use super::{
    Ask,
    form::{decode, encode},
};
use crate::{
    auth::{Person, SESSION, Token},
    http::{State, error::Error},
};
use http::HeaderMap;
use rackberry_web::views::{Contrast, Theme};
use std::net::IpAddr;
use subtle::ConstantTimeEq as _;

const SESSION_COOKIE: &str = "rackberry";
/// The token of the forms before anybody is logged in; the form has to repeat it.
const FORM_COOKIE: &str = "rackberry-form";
const LOOK_COOKIE: &str = "rackberry-look";
/// News to show once on the next page.
const SAID_COOKIE: &str = "rackberry-said";
/// A year: longer than anybody keeps a browser unused.
const LOOK_AGE: u64 = 365 * 86_400;

/// Domains of home and company networks that nobody can register in the public tree (RFC 8375, and reserved by ICANN).
const PRIVATE_DOMAINS: [&str; 4] = [".lan", ".home.arpa", ".internal", ".localdomain"];

/// The session token of a request's cookie.
pub(in crate::http) fn session_cookie(headers: &HeaderMap) -> Option<String> {
    cookie(headers, SESSION_COOKIE)
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all("cookie")
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// A cookie that no script reads and no other site's form brings along; `age` in seconds, 0 takes it back.
fn set(name: &str, value: &str, age: u64) -> String {
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}")
}

pub(super) fn begin(token: &Token) -> String {
    set(SESSION_COOKIE, &token.hex(), SESSION.as_secs())
}

pub(super) fn end() -> String {
    set(SESSION_COOKIE, "", 0)
}

/// The person behind the session cookie.
///
/// # Errors
/// If the inventory cannot be read.
pub(super) async fn person(ask: &Ask) -> Result<Option<Person>, Error> {
    match session_cookie(&ask.headers) {
        Some(cookie) => Ok(ask.state.auth.person(&cookie).await?),
        None => Ok(None),
    }
}

/// The token of the forms of somebody who is not logged in: the one of their cookie, or a fresh one and its cookie.
///
/// # Errors
/// If the kernel gives no random bytes.
pub(super) fn form_token(headers: &HeaderMap) -> Result<(String, Option<String>), Error> {
    if let Some(token) = cookie(headers, FORM_COOKIE).as_deref().and_then(Token::parse) {
        return Ok((token.hex(), None));
    }
    let token = Token::random()?.hex();
    let cookie = set(FORM_COOKIE, &token, SESSION.as_secs());
    Ok((token, Some(cookie)))
}

/// Whether a form from before the login repeats its cookie.
pub(super) fn form_token_fits(headers: &HeaderMap, given: &str) -> bool {
    cookie(headers, FORM_COOKIE).is_some_and(|cookie| Token::parse(&cookie).is_some() && same(given, &cookie))
}

/// Compares secrets in a time that says nothing about them.
pub(in crate::http) fn same(given: &str, wanted: &str) -> bool {
    !wanted.is_empty() && bool::from(given.as_bytes().ct_eq(wanted.as_bytes()))
}

/// Whether the request names this box and not a foreign domain that was made to point at it (DNS rebinding): an address,
/// `localhost`, a `.local` name, or the box's own name with or without its domain.
pub(super) fn named_right(headers: &HeaderMap, state: &State) -> bool {
    let Some(host) = headers.get("host").and_then(|host| host.to_str().ok()) else { return false };
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if literal.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".local") {
        return true;
    }
    let own = crate::net::box_name().to_ascii_lowercase();
    let short = own.split('.').next().unwrap_or_default();
    let with_domain =
        state.config.dhcp_domain.as_ref().map(|domain| format!("{short}.{}", domain.to_ascii_lowercase()));
    let in_private = name.strip_prefix(short).is_some_and(|domain| PRIVATE_DOMAINS.contains(&domain));
    !short.is_empty() && (name == own || name == short || in_private || with_domain.as_deref() == Some(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // A colon inside brackets belongs to the address.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

/// Whether a form that changes something comes from our own page. Browsers state where it comes from; a program that
/// states nothing has no cookie that somebody else could misuse.
pub(super) fn own_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
    let origin = text("origin").is_none_or(|origin| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some() && authority == text("host")
    });
    site && origin
}

/// The theme that the person chose.
pub(super) fn look(headers: &HeaderMap) -> (Theme, Contrast) {
    let kept = cookie(headers, LOOK_COOKIE).unwrap_or_default();
    let (theme, contrast) = kept.split_once('.').unwrap_or_default();
    (Theme::from_key(theme), Contrast::from_key(contrast))
}

pub(super) fn keep_look(theme: Theme, contrast: Contrast) -> String {
    set(LOOK_COOKIE, &format!("{}.{}", theme.key(), contrast.key()), LOOK_AGE)
}

/// Good news for the next page.
pub(super) fn say(news: &str) -> String {
    set(SAID_COOKIE, &encode(news), 30)
}

pub(super) fn said(headers: &HeaderMap) -> String {
    rackberry_core::text::clean(&decode(cookie(headers, SAID_COOKIE).unwrap_or_default().as_bytes()), 200)
}

pub(super) fn unsay() -> String {
    set(SAID_COOKIE, "", 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_the_cookie_of_the_exact_name_counts() {
        let headers = headers(&[("cookie", "rackberry-form=a; xrackberry=b; rackberry=c")]);
        assert_eq!(session_cookie(&headers).as_deref(), Some("c"));
    }

    #[test]
    fn a_form_of_another_site_is_told_by_either_header() {
        assert!(own_page(&headers(&[("host", "10.0.0.1:8000")])));
        assert!(own_page(&headers(&[
            ("host", "10.0.0.1:8000"),
            ("origin", "http://10.0.0.1:8000"),
            ("sec-fetch-site", "same-origin")
        ])));
        for foreign in [
            [("host", "10.0.0.1:8000"), ("origin", "http://10.0.0.1")],
            [("host", "10.0.0.1:8000"), ("origin", "null")],
            [("host", "10.0.0.1:8000"), ("origin", "http://10.0.0.1:8000.evil.example")],
            [("host", "10.0.0.1:8000"), ("sec-fetch-site", "cross-site")],
            [("host", "10.0.0.1:8000"), ("sec-fetch-site", "same-site")],
        ] {
            assert!(!own_page(&headers(&foreign)), "{foreign:?}");
        }
    }

    #[test]
    fn ports_are_cut_off_names_and_addresses() {
        let cut = ["box:80", "box", "[fe80::1]:8000", "[fe80::1]", "10.0.0.1:8000"].map(without_port);
        assert_eq!(cut, ["box", "box", "[fe80::1]", "[fe80::1]", "10.0.0.1"]);
    }
}
