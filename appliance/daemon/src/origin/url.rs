//! Where something is: an absolute `http` or `https` URL, checked once.

use http::Uri;
use std::{fmt, str::FromStr};

/// Longer ones are nobody's.
const LONGEST: usize = 2000;

/// An absolute URL of HTTP(S) without user name and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    /// A name, or an address without brackets.
    host: String,
    port: u16,
    /// Path and query.
    path: String,
}

/// Text that is no URL to fetch from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" {why}")]
pub struct InvalidUrl {
    text: String,
    why: &'static str,
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let wrong = |why| InvalidUrl { text: rackberry_core::text::clean(text, 120), why };
        if text.len() > LONGEST {
            return Err(wrong("is too long for a URL"));
        }
        let bare = text.split('#').next().unwrap_or_default();
        let uri: Uri = bare.parse().map_err(|_| wrong("is no URL"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("has to begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no machine"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("has a user name in it, which is not sent anywhere: leave it out"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong("names no machine"));
        }
        let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
            "" => {
                if secure {
                    443
                } else {
                    80
                }
            }
            port => port.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or(wrong("has no valid port"))?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Url { secure, host, port, path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") } })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl Url {
    #[must_use]
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// A name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as a request line has them.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path
    }

    /// The path without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Behind the last slash of the path; may be empty.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path().rsplit('/').next().unwrap_or_default()
    }

    /// As the header `Host` has it.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Where a reference seen at this URL leads (RFC 3986, 5.2; dots in paths are left to the server).
    ///
    /// # Errors
    /// [`InvalidUrl`] if that is no URL to fetch from.
    pub fn join(&self, reference: &str) -> Result<Url, InvalidUrl> {
        let scheme = if self.secure { "https" } else { "http" };
        let whole = if reference.contains("://") {
            reference.to_owned()
        } else if reference.starts_with("//") {
            format!("{scheme}:{reference}")
        } else if reference.starts_with('/') {
            format!("{scheme}://{}{reference}", self.authority())
        } else {
            let folder = self.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{}{folder}/{reference}", self.authority())
        };
        whole.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_and_print() {
        for (text, host, port, path, name) in [
            ("http://deb.example/a/b.iso", "deb.example", 80, "/a/b.iso", "b.iso"),
            ("https://deb.example:8443", "deb.example", 8443, "/", ""),
            ("http://[2a04::1]:81/x?y=/z", "2a04::1", 81, "/x?y=/z", "x"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.path_and_query(), url.file_name()), (host, port, path, name));
            assert_eq!(url.to_string().trim_end_matches('/'), text);
        }
        for wrong in
            ["", "ftp://a/b", "a/b", "http://", "http://u:p@a/", "http://a:99999/", "http://a b/", "file:///etc/passwd"]
        {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
        assert!(format!("http://a/{}", "x".repeat(3000)).parse::<Url>().is_err());
    }

    #[test]
    fn references_lead_on() {
        let url: Url = "https://a.example/one/two?q".parse().unwrap();
        for (reference, there) in [
            ("http://b.example/x", "http://b.example/x"),
            ("//b.example/x", "https://b.example/x"),
            ("/x", "https://a.example/x"),
            ("three", "https://a.example/one/three"),
        ] {
            assert_eq!(url.join(reference).unwrap().to_string(), there);
        }
        assert!(url.join("file:///etc/passwd").is_err());
    }
}
