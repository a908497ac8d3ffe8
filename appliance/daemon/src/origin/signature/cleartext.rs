//! Text with its signature below it (RFC 9580, 7).

use super::{SignatureError, packets};
use pgp::packet::Signature;

const HEAD: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// What is signed, its lines parted by CR LF, and the signatures.
///
/// # Errors
/// [`SignatureError`], also if there is any text outside of the signed part.
pub(super) fn read(message: &[u8]) -> Result<(String, Vec<Signature>), SignatureError> {
    let unreadable = |why: &str| SignatureError::Unreadable(why.to_owned());
    let text = str::from_utf8(message).map_err(|_| unreadable("it is no text"))?;
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some(HEAD) {
        return Err(unreadable("it does not begin as a signed message does"));
    }
    // Text in the place of headers is not signed, and looks as if it were (7.1).
    if lines.by_ref().take_while(|line| !line.trim().is_empty()).any(|line| !line.starts_with("Hash: ")) {
        return Err(unreadable("text stands before what is signed"));
    }
    let mut signed: Vec<&str> = Vec::new();
    loop {
        let line = lines.next().ok_or_else(|| unreadable("there is no signature below it"))?;
        if line.trim_end() == SIGNATURE {
            break;
        }
        // Every line that begins with a dash has another one before it (7.1).
        let line = match line.strip_prefix("- ") {
            Some(line) => line,
            None if line.starts_with('-') => return Err(unreadable("a line begins with a dash")),
            None => line,
        };
        // Blanks at the ends of lines are not signed (7.2).
        signed.push(line.trim_end_matches([' ', '\t', '\r']));
    }
    let mut below = format!("{SIGNATURE}\n");
    loop {
        let line = lines.next().ok_or_else(|| unreadable("its signature has no end"))?;
        below.push_str(line);
        below.push('\n');
        if line.trim_end() == END {
            break;
        }
    }
    if lines.any(|line| !line.trim().is_empty()) {
        return Err(unreadable("text stands behind what is signed"));
    }
    Ok((signed.join("\r\n"), packets::signatures(below.as_bytes())?))
}
