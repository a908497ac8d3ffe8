//! Fields of a form or query (`application/x-www-form-urlencoded`, WHATWG URL section 5).

/// Fields in the order they came; a name may come twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::http) struct Form(Vec<(String, String)>);

impl Form {
    pub fn parse(bytes: &[u8]) -> Self {
        let pairs = bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        Form(
            pairs
                .map(|pair| {
                    let mut sides = pair.splitn(2, |byte| *byte == b'=');
                    (decode(sides.next().unwrap_or_default()), decode(sides.next().unwrap_or_default()))
                })
                .collect(),
        )
    }

    /// The first value of that name; empty if there is none, as for a field left empty.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The names, in the order they came.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The fields whose name begins so, without that beginning.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }
}

/// `%41` to `A` and `+` to a blank; a broken escape stays as it is, and what is no UTF-8 becomes U+FFFD.
pub(in crate::http) fn decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()
        });
        let (byte, taken) = match (escaped, first) {
            (Some(byte), _) => (byte, 3),
            (None, b'+') => (b' ', 1),
            (None, other) => (*other, 1),
        };
        bytes.push(byte);
        rest = rest.get(taken..).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text as one part of a query, path or cookie (RFC 3986 unreserved signs stay).
pub(in crate::http) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_broken_escapes_stay() {
        let form = Form::parse(b"a=1+2&p.user=%c3%a4%2&&b&a=3");
        assert_eq!((form.get("a"), form.get("b"), form.get("c")), ("1 2", "", ""));
        assert_eq!(form.below("p.").collect::<Vec<_>>(), [("user", "\u{e4}%2")]);
        assert_eq!(decode(b"%+1%ff"), "% 1\u{fffd}");
    }

    #[test]
    fn what_is_encoded_reads_back() {
        let text = "Armed: a&b=%c \u{1f353}\r\n";
        assert_eq!(decode(encode(text).as_bytes()), text);
        assert!(encode(text).bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
    }
}
