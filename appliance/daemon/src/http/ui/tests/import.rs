//! A file that is sent with what vouches for it, as a browser without scripts sends it.

use super::*;
use crate::{http::testing::Reply, origin::signature::tests::Gpg};
use rackberry_core::image::Verdict;

const BYTES: &[u8] = b"the bytes of an image\r\n--not its end";

/// A part of the form; with a file's name it is a file.
fn part(name: &str, file: Option<&str>, value: &[u8]) -> Vec<u8> {
    let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
    let head = format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
    [head.as_bytes(), value, b"\r\n"].concat()
}

/// Files beside the one, by their fields.
type Beside<'a> = &'a [(&'a str, &'a [u8])];

impl Site {
    /// The form in the order of the page; what is not given is sent empty, as browsers do.
    async fn import(&self, name: &str, papers: Beside<'_>, key_name: &str) -> Reply {
        let mut body = [part("csrf", None, CSRF.as_bytes()), part("name", None, name.as_bytes())].concat();
        body.extend(part("sha256", None, b""));
        body.extend(part("file", Some("x.iso"), BYTES));
        for field in ["checksums", "signature", "key"] {
            let given = papers.iter().find(|(name, _)| *name == field);
            body.extend(part(field, Some(given.map_or("", |_| "paper")), given.map_or(b"", |(_, bytes)| bytes)));
        }
        body.extend(part("key_name", None, key_name.as_bytes()));
        body.extend(b"--x--\r\n");
        let (host, origin) = (self.address.to_string(), format!("http://{}", self.address));
        let kind = ("content-type", "multipart/form-data; boundary=x");
        let headers = [("host", host.as_str()), ("cookie", &self.cookie), ("origin", &origin), kind];
        self.send("POST", "/images/import", &headers, body).await
    }

    fn verdict(&self, name: &str) -> Option<Verdict> {
        self.state.inventory.snapshot().image_by_name(name).map(|image| image.verdict.clone())
    }
}

#[tokio::test]
async fn a_file_is_taken_only_with_the_signature_that_came_with_it() {
    let (gpg, other) = (Gpg::with_key("ed25519", "never"), Gpg::with_key("ed25519", "never"));
    let (signature, key) = (gpg.run(&["--detach-sign"], BYTES), gpg.run(&["--export"], b""));
    let stranger = other.run(&["--detach-sign"], BYTES);
    let digest: String = {
        use sha2::Digest as _;
        sha2::Sha256::digest(BYTES).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let list = format!("{digest}  x.iso\n").into_bytes();
    let foreign = format!("{digest}  y.iso\n").into_bytes();
    let site = Site::new().await;
    let refusals: [(Beside<'_>, &str, &str); 5] = [
        (&[("signature", &signature)], "", "without the key"),
        (&[("signature", &stranger), ("key", &key)], "", "signature is refused"),
        (&[("checksums", &foreign)], "", "list of checksums"),
        (&[("signature", &signature)], "none.asc", "none.asc"),
        (&[("signature", &vec![b'a'; 2 << 20])], "", "too long"),
    ];
    for (papers, key_name, why) in refusals {
        let refused = site.import("one", papers, key_name).await;
        assert_eq!(refused.status, 422, "{why}");
        assert!(refused.text().contains(why), "{why}: {}", refused.text());
        assert!(site.verdict("one").is_none(), "{why}");
    }
    assert_eq!(site.import("one", &[("signature", &signature), ("key", &key)], "").await.status, 303);
    assert!(matches!(site.verdict("one"), Some(Verdict::Signed { .. })), "{:?}", site.verdict("one"));
    // The file's own name stands in the list, not the image's; the key lies on the box.
    std::fs::create_dir(site.state.state_dir.join("keys")).unwrap();
    std::fs::write(site.state.state_dir.join("keys/maker.gpg"), &key).unwrap();
    let signed_list = gpg.run(&["--detach-sign"], &list);
    let papers: [(&str, &[u8]); 2] = [("checksums", &list), ("signature", &signed_list)];
    assert_eq!(site.import("two", &papers, "maker.gpg").await.status, 303);
    assert!(matches!(site.verdict("two"), Some(Verdict::Signed { .. })));
    assert_eq!(site.import("three", &[], "").await.status, 303);
    assert_eq!(site.verdict("three"), Some(Verdict::Unsigned));
}
