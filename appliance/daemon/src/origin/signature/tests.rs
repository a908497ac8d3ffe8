//! Keys and signatures here are Debian's gpg's.

use super::*;
use pgp::packet::PacketTrait as _;
use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

/// A folder of keys.
pub(crate) struct Gpg {
    home: tempfile::TempDir,
}

impl Gpg {
    pub(crate) fn new() -> Self {
        // The agent's socket lies in it, whose path must not be long.
        Gpg { home: tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap() }
    }

    /// Runs gpg at this time of its clock (YYYYMMDD).
    pub(crate) fn at(&self, day: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(["--faked-system-time", &format!("{day}T000000!")])
            .arg("--homedir")
            .arg(self.home.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg is there (Debian's package gnupg)");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        self.at("20260301", arguments, input)
    }

    /// With a key made on 1 January 2026.
    pub(crate) fn with_key(kind: &str, lasts: &str) -> Self {
        let gpg = Gpg::new();
        gpg.at("20260101", &["--quick-gen-key", "Distribution <keys@example.org>", kind, "sign", lasts], b"");
        gpg
    }

    fn keyring(&self) -> Keyring {
        Keyring::parse(&self.run(&["--export", "--armor"], b"")).unwrap()
    }

    pub(crate) fn fingerprint(&self) -> String {
        let told = String::from_utf8(self.run(&["--list-keys", "--with-colons"], b"")).unwrap();
        let line = told.lines().find(|line| line.starts_with("fpr")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    /// Makes gpg's revocation certificate count.
    fn revoke(&self) {
        let path: PathBuf = self.home.path().join("openpgp-revocs.d").join(format!("{}.rev", self.fingerprint()));
        // gpg puts a colon before it, so that nobody imports it by mistake.
        let certificate = std::fs::read_to_string(path).unwrap().replace(":-----BEGIN", "-----BEGIN");
        self.run(&["--import"], certificate.as_bytes());
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).status();
    }
}

const FILE: &[u8] = b"the bytes of an image";
const NOW: WallTime = WallTime(1_800_000_000_000);

/// The answer of a signature over bytes that come in pieces.
fn streamed(keyring: &Keyring, bytes: &[u8], signature: &[u8]) -> Result<Signer, SignatureError> {
    let mut expected = keyring.expect(signature)?;
    bytes.chunks(7).for_each(|piece| expected.update(piece));
    expected.finish(NOW)
}

/// Both ways have to agree.
fn check(keyring: &Keyring, bytes: &[u8], signature: &[u8]) -> Result<Signer, SignatureError> {
    let whole = keyring.vouch(bytes, signature, NOW);
    let streamed = streamed(keyring, bytes, signature);
    // Which of two reasons comes first may differ.
    assert_eq!(streamed.is_ok(), whole.is_ok(), "{streamed:?} {whole:?}");
    assert!(whole.is_err() || streamed == whole);
    whole
}

fn flipped(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        (bit, changed)
    })
}

#[test]
fn a_good_signature_names_its_signer_and_the_keys_end() {
    for kind in ["ed25519", "rsa2048", "nistp256"] {
        let gpg = Gpg::with_key(kind, "20280101T000000");
        let keyring = gpg.keyring();
        for signature in [gpg.run(&["--detach-sign"], FILE), gpg.run(&["--detach-sign", "--armor"], FILE)] {
            let signer = check(&keyring, FILE, &signature).unwrap();
            assert_eq!(signer.key, gpg.fingerprint());
            assert_eq!(signer.name.as_str(), "Distribution <keys@example.org>");
            assert_eq!(signer.expires, Some(WallTime(1_830_297_600_000)), "{kind}");
        }
    }
    let forever = Gpg::with_key("ed25519", "never");
    let signer = check(&forever.keyring(), FILE, &forever.run(&["--detach-sign"], FILE)).unwrap();
    assert_eq!(signer.expires, None);
    assert_eq!(forever.keyring().signers(), [signer]);
}

#[test]
fn any_changed_bit_is_refused() {
    let gpg = Gpg::with_key("ed25519", "never");
    let keyring = gpg.keyring();
    let signature = gpg.run(&["--detach-sign"], FILE);
    for (bit, changed) in flipped(FILE) {
        assert!(streamed(&keyring, &changed, &signature).is_err(), "bit {bit} of the file");
    }
    for (bit, changed) in flipped(&signature) {
        assert!(streamed(&keyring, FILE, &changed).is_err(), "bit {bit} of the signature");
    }
    assert!(check(&keyring, &FILE[..FILE.len() - 1], &signature).is_err());
    assert!(check(&keyring, b"", &signature).is_err());
}

#[test]
fn strangers_are_named() {
    let (ours, theirs) = (Gpg::with_key("ed25519", "never"), Gpg::with_key("ed25519", "never"));
    let signature = theirs.run(&["--detach-sign"], FILE);
    let error = check(&ours.keyring(), FILE, &signature).unwrap_err();
    assert_eq!(error, SignatureError::Stranger(theirs.fingerprint()));
    // A file of many keys, one block behind another, or one block.
    let mut both = ours.run(&["--export", "--armor"], b"");
    both.extend(theirs.run(&["--export", "--armor"], b""));
    assert!(check(&Keyring::parse(&both).unwrap(), FILE, &signature).is_ok());
    ours.run(&["--import"], &theirs.run(&["--export"], b""));
    assert!(check(&ours.keyring(), FILE, &signature).is_ok());
    assert!(check(&Keyring::parse(&ours.run(&["--export"], b"")).unwrap(), FILE, &signature).is_ok());
}

#[test]
fn a_key_whose_time_is_over_vouches_for_what_it_signed_before() {
    let gpg = Gpg::with_key("ed25519", "20260401T000000");
    let (before, keyring) = (gpg.run(&["--detach-sign"], FILE), gpg.keyring());
    let signer = check(&keyring, FILE, &before).unwrap();
    assert!(signer.expires.unwrap() < NOW, "the page can say that it has ended");
    // The same key as its owner prolonged it signs later; who knows only of the first end takes that for none of its.
    gpg.run(&["--quick-set-expire", &gpg.fingerprint(), "20290101T000000"], b"");
    let after = gpg.at("20260601", &["--detach-sign"], FILE);
    assert!(matches!(check(&keyring, FILE, &after), Err(SignatureError::OutOfTime { .. })));
    assert!(check(&gpg.keyring(), FILE, &after).is_ok());
}

#[test]
fn a_revoked_key_vouches_for_nothing() {
    let gpg = Gpg::with_key("ed25519", "never");
    let signature = gpg.run(&["--detach-sign"], FILE);
    assert!(check(&gpg.keyring(), FILE, &signature).is_ok());
    gpg.revoke();
    assert!(matches!(check(&gpg.keyring(), FILE, &signature), Err(SignatureError::Revoked { .. })));
}

#[test]
fn keys_below_the_primary_one_sign_in_their_own_time() {
    let gpg = Gpg::new();
    gpg.at("20260101", &["--quick-gen-key", "Distribution", "ed25519", "cert", "20280101T000000"], b"");
    let primary = gpg.fingerprint();
    gpg.at("20260101", &["--quick-add-key", &primary, "ed25519", "sign", "20260601T000000"], b"");
    let keyring = gpg.keyring();
    let signature = gpg.run(&["--detach-sign"], FILE);
    let signer = check(&keyring, FILE, &signature).unwrap();
    assert_eq!((signer.key, signer.expires), (primary.clone(), Some(WallTime(1_780_272_000_000))));
    // One that only encrypts, and one that was taken back.
    gpg.at("20260102", &["--quick-add-key", &primary, "ed25519", "sign", "never"], b"");
    let keys = String::from_utf8(gpg.run(&["--list-keys", "--with-colons"], b"")).unwrap();
    let second =
        keys.lines().filter(|line| line.starts_with("fpr")).nth(2).unwrap().split(':').nth(9).unwrap().to_owned();
    let by_second = gpg.run(&["--detach-sign", "--local-user", &format!("{second}!")], FILE);
    assert!(check(&gpg.keyring(), FILE, &by_second).is_ok());
    assert!(matches!(check(&keyring, FILE, &by_second), Err(SignatureError::Stranger(_))));
    let edit = format!("--edit-key\0{primary}");
    let edit: Vec<&str> = edit.split('\0').collect();
    let mut arguments = vec!["--command-fd", "0", "--status-fd", "2"];
    arguments.extend(edit);
    gpg.run(&arguments, b"key 2\nrevkey\ny\n0\n\ny\nsave\n");
    assert!(matches!(check(&gpg.keyring(), FILE, &by_second), Err(SignatureError::Revoked { .. })));
    assert!(check(&gpg.keyring(), FILE, &signature).is_ok());
}

#[test]
fn a_key_that_was_put_below_another_by_a_stranger_is_none() {
    // Mallory's key file: our primary key with its own signatures, and below it a key that it never vouched for.
    let (ours, mallory) = (Gpg::with_key("ed25519", "never"), Gpg::new());
    mallory.at("20260101", &["--quick-gen-key", "Mallory", "ed25519", "cert", "never"], b"");
    mallory.at("20260101", &["--quick-add-key", &mallory.fingerprint(), "ed25519", "sign", "never"], b"");
    let theirs = mallory.run(&["--export"], b"");
    let parsed = Keyring::parse(&theirs).unwrap();
    let mut forged = ours.run(&["--export"], b"");
    parsed.keys[0].subkeys[0].key.to_writer_with_header(&mut forged).unwrap();
    parsed.keys[0].subkeys[0].signatures[0].to_writer_with_header(&mut forged).unwrap();
    let keyring = Keyring::parse(&forged).unwrap();
    assert_eq!(keyring.keys[0].subkeys.len(), 1, "the forged key is there");
    let error = check(&keyring, FILE, &mallory.run(&["--detach-sign"], FILE)).unwrap_err();
    assert!(matches!(error, SignatureError::MayNot { .. }), "{error}");
}

#[test]
fn weak_hashes_prove_nothing() {
    let gpg = Gpg::with_key("rsa2048", "never");
    for hash in ["SHA1", "RIPEMD160", "SHA224"] {
        let signature = gpg.run(&["--digest-algo", hash, "--detach-sign"], FILE);
        assert!(matches!(check(&gpg.keyring(), FILE, &signature), Err(SignatureError::Weak(_))), "{hash}");
    }
    for hash in ["SHA256", "SHA384", "SHA512"] {
        let signature = gpg.run(&["--digest-algo", hash, "--detach-sign"], FILE);
        assert!(check(&gpg.keyring(), FILE, &signature).is_ok(), "{hash}");
    }
}

#[test]
fn of_two_signatures_none_may_be_wrong_and_one_must_be_ours() {
    let (ours, theirs) = (Gpg::with_key("ed25519", "never"), Gpg::with_key("ed25519", "never"));
    let (one, other) = (ours.run(&["--detach-sign"], FILE), theirs.run(&["--detach-sign"], FILE));
    let joined = |first: &[u8], second: &[u8]| [first, second].concat();
    assert!(check(&ours.keyring(), FILE, &joined(&one, &other)).is_ok());
    assert!(check(&ours.keyring(), FILE, &joined(&other, &one)).is_ok());
    let of_another_file = ours.run(&["--detach-sign"], b"another file");
    for pair in [joined(&of_another_file, &one), joined(&one, &of_another_file), joined(&other, &of_another_file)] {
        assert!(matches!(check(&ours.keyring(), FILE, &pair), Err(SignatureError::Wrong { .. })));
    }
    assert!(matches!(check(&ours.keyring(), FILE, &joined(&one, b"\x00")), Err(SignatureError::Unreadable(_))));
}

#[test]
fn a_signature_that_has_run_out_counts_no_more() {
    let gpg = Gpg::with_key("ed25519", "never");
    let signature = gpg.run(&["--default-sig-expire", "1m", "--detach-sign"], FILE);
    assert!(matches!(check(&gpg.keyring(), FILE, &signature), Err(SignatureError::Expired { .. })));
    // A box that does not know the time cannot say so.
    assert!(gpg.keyring().vouch(FILE, &signature, WallTime(0)).is_ok());
}

#[test]
fn what_is_no_signature_is_none() {
    let gpg = Gpg::with_key("ed25519", "never");
    let keyring = gpg.keyring();
    let armored = gpg.run(&["--detach-sign", "--armor"], FILE);
    for nonsense in [
        Vec::new(),
        b"<html>404</html>".to_vec(),
        vec![0x88],
        vec![0xff; 100],
        armored[..armored.len() / 2].to_vec(),
        [armored.as_slice(), armored.as_slice()].concat(),
        gpg.run(&["--export"], b""),
        gpg.run(&["--sign"], FILE),
        gpg.run(&["--textmode", "--detach-sign"], b"no match"),
        vec![b'-'; LONGEST + 1],
    ] {
        assert!(check(&keyring, FILE, &nonsense).is_err());
    }
    assert!(matches!(Keyring::parse(b"nothing"), Err(KeyError::Unreadable(_))));
    assert!(matches!(Keyring::parse(&armored), Err(KeyError::Unreadable(_))));
    assert_eq!(Keyring::parse(&vec![0; LONGEST + 1]).unwrap_err(), KeyError::Long);
}

const LIST: &str = "# a list\nSHA256 (x.iso) = aa\n- a dash\n-- two  \nlast\n";

#[test]
fn a_clear_signed_list_gives_what_was_signed_and_nothing_else() {
    let gpg = Gpg::with_key("ed25519", "never");
    let keyring = gpg.keyring();
    let message = String::from_utf8(gpg.run(&["--clear-sign"], LIST.as_bytes())).unwrap();
    let (text, signer) = keyring.open(message.as_bytes(), NOW).unwrap();
    // Blanks at the ends of lines are not part of what is signed (RFC 9580, 7.2).
    assert_eq!(text.lines().collect::<Vec<_>>(), ["# a list", "SHA256 (x.iso) = aa", "- a dash", "-- two", "last"]);
    assert_eq!(signer.key, gpg.fingerprint());
    let hash = message.lines().nth(1).unwrap();
    assert!(hash.starts_with("Hash: "));
    for (tricked, what) in [
        (format!("SHA256 (x.iso) = bb\n{message}"), "text before"),
        (format!("{message}SHA256 (x.iso) = bb\n"), "text behind"),
        (format!("{message}{message}"), "two messages"),
        (message.replace("= aa", "= bb"), "another digest"),
        (message.replace("x.iso", "y.iso"), "another name"),
        (message.replace("- - a dash", "- a dash"), "a dash taken away"),
        (message.replace("last", "last\nmore"), "a line more"),
        (message.replace("last\n", "last\n-----BEGIN PGP SIGNATURE-----\n\n"), "a second signature's head"),
        (message.replace(hash, &format!("{hash}\nSHA256 (x.iso) = bb")), "text among the headers"),
        (message.replace(hash, "Comment: SHA256 (x.iso) = bb"), "another header"),
        (message.replace("-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP MESSAGE-----"), "another head"),
        (LIST.to_owned(), "no signature"),
        (String::new(), "nothing"),
    ] {
        assert!(keyring.open(tricked.as_bytes(), NOW).is_err(), "{what}");
    }
    // A line that is not dash-escaped reads as it was signed all the same.
    assert!(message.contains("- -- two"));
    let stranger = Gpg::with_key("ed25519", "never");
    assert!(matches!(stranger.keyring().open(message.as_bytes(), NOW), Err(SignatureError::Stranger(_))));
}

#[test]
fn a_changed_bit_of_a_clear_signed_list_changes_nothing_that_is_read() {
    let gpg = Gpg::with_key("ed25519", "never");
    let keyring = gpg.keyring();
    let message = gpg.run(&["--clear-sign"], LIST.as_bytes());
    let (text, signer) = keyring.open(&message, NOW).unwrap();
    let (mut refused, mut same) = (0, 0);
    // One bit of each byte: which, goes round.
    for (bit, changed) in flipped(&message).enumerate().filter(|(at, _)| at % 9 == 0).map(|(_, changed)| changed) {
        match keyring.open(&changed, NOW) {
            Err(_) => refused += 1,
            // A blank for a tab at a line's end, or the armor's own frame.
            Ok(read) => {
                assert_eq!(read, (text.clone(), signer.clone()), "bit {bit}");
                same += 1;
            }
        }
    }
    assert!(refused > 20 * same, "{refused} refused, {same} without effect");
}
