//! The netascii form of text (RFC 764 as used by RFC 1350).

/// Writes every LF as CR LF and every CR that stands alone as CR NUL; a CR LF that is there already stays.
pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16);
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'\n' => out.extend_from_slice(b"\r\n"),
            b'\r' if rest.next_if_eq(&b'\n').is_some() => out.extend_from_slice(b"\r\n"),
            b'\r' => out.extend_from_slice(b"\r\0"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn line_ends_become_cr_lf_and_lone_cr_becomes_cr_nul() {
        assert_eq!(super::encode(b"a\nb\r\nc\rd\n"), b"a\r\nb\r\nc\r\0d\r\n");
        assert_eq!(super::encode(b"\r"), b"\r\0");
        assert_eq!(super::encode(b""), b"");
    }
}
