//! The files a browser asks for, embedded at build time. `style.css` and `script.js` are bundles, so that a first
//! view needs five requests.

use std::borrow::Cow;
use std::sync::LazyLock;

use rust_embed::Embed;
use sha2::{Digest, Sha256};

#[derive(Embed)]
#[folder = "assets/"]
struct Files;

/// One file as it is sent.
#[derive(Debug, Clone)]
pub struct Asset {
    pub bytes: Cow<'static, [u8]>,
    pub content_type: &'static str,
    /// A strong entity tag with its quotes (RFC 9110 section 8.8.3). Pages ask with `?v=<tag>`, so an answer to a
    /// request with a query may be cached for ever.
    pub etag: String,
}

/// The file under `/assets/<path>`, or `None` if there is no such file.
pub fn asset(path: &str) -> Option<Asset> {
    match path {
        "style.css" => return Some(STYLE.clone()),
        "script.js" => return Some(SCRIPT.clone()),
        _ => {}
    }
    let content_type = content_type(path)?;
    let file = Files::get(path)?;
    Some(Asset { bytes: file.data, content_type, etag: etag(&file.metadata.sha256_hash()) })
}

/// The address of an asset with its version, for use in pages.
pub(crate) fn url(path: &'static str) -> String {
    let etag = asset(path).map(|asset| asset.etag).unwrap_or_default();
    format!("/assets/{path}?v={}", etag.trim_matches('"'))
}

/// The addresses every page needs, worked out once.
pub(crate) struct Urls {
    pub style: String,
    pub script: String,
    /// For the page of images.
    pub import: String,
    pub icons: String,
    pub logo: String,
}

pub(crate) static URLS: LazyLock<Urls> = LazyLock::new(|| Urls {
    style: url("style.css"),
    script: url("script.js"),
    import: url("import.js"),
    icons: url("icons.svg"),
    logo: url("logo.svg"),
});

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| bundle(&["tokens.css", "rackberry.css"], "\n", "text/css; charset=utf-8"));

static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    bundle(&["vendor/htmx.min.js", "vendor/htmx-ext-sse.min.js", "app.js"], "\n;\n", "text/javascript; charset=utf-8")
});

fn bundle(parts: &[&str], between: &str, content_type: &'static str) -> Asset {
    let mut bytes = Vec::new();
    for part in parts {
        if let Some(file) = Files::get(part) {
            bytes.extend_from_slice(&file.data);
            bytes.extend_from_slice(between.as_bytes());
        }
    }
    let etag = etag(&Sha256::digest(&bytes));
    Asset { bytes: Cow::Owned(bytes), content_type, etag }
}

fn etag(hash: &[u8]) -> String {
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Only what pages use is served; notes and licences beside it are not.
fn content_type(path: &str) -> Option<&'static str> {
    match path.rsplit_once('.')?.1 {
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}
