//! One message as programs send them: RFC 5424, RFC 3164, and what busybox, rsyslog and old kernels make of it. Pure.

/// Who says what; neither is clean yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// The program, without its process number; empty if it does not say.
    pub program: &'a str,
    pub text: &'a str,
}

/// Reads a line. Nothing is refused: what has no known form is text as a whole.
#[must_use]
pub fn read(line: &str) -> Message<'_> {
    let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    let rest = without_priority(line);
    newer(rest).unwrap_or_else(|| older(rest))
}

/// `<30>` at the start says facility and severity (RFC 5424 section 6.2.1).
fn without_priority(line: &str) -> &str {
    let number = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match number {
        Some((digits, rest)) if (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => line,
    }
}

/// `1 TIME HOST PROGRAM PROCESS ID DATA TEXT` (RFC 5424 section 6).
fn newer(line: &str) -> Option<Message<'_>> {
    let mut words = line.strip_prefix("1 ")?.splitn(6, ' ');
    let (_time, _host, program) = (words.next()?, words.next()?, words.next()?);
    let (_process, _id, rest) = (words.next()?, words.next()?, words.next()?);
    let text = match rest.strip_prefix('-') {
        Some(text) => text,
        None => after_data(rest)?,
    };
    let program = if program == "-" { "" } else { program };
    Some(Message { program, text: text.trim_start().trim_start_matches('\u{feff}') })
}

/// What follows the elements in brackets; in their values a quote, a backslash or a bracket stands behind a backslash.
fn after_data(data: &str) -> Option<&str> {
    let (mut inside, mut quoted, mut escaped) = (false, false, false);
    for (at, c) in data.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if inside => quoted = !quoted,
            '[' if !quoted && !inside => inside = true,
            ']' if !quoted && inside => inside = false,
            _ if inside => {}
            _ => return data.get(at..),
        }
    }
    // All of it was data.
    (!inside).then_some("")
}

/// `[TIME] [HOST] PROGRAM[PROCESS]: TEXT` (RFC 3164 section 4.1), where time and host may be missing.
fn older(line: &str) -> Message<'_> {
    let rest = without_time(line);
    let with_host = || {
        let (host, rest) = rest.split_once(' ')?;
        let plausible = !host.is_empty() && !host.contains([':', '[', ']', '"']);
        tagged(rest.trim_start()).filter(|_| plausible)
    };
    tagged(rest).or_else(with_host).unwrap_or(Message { program: "", text: rest })
}

/// `Nov 22 01:02:03 ` or `2026-11-22T01:02:03+00:00 ` before the rest.
fn without_time(line: &str) -> &str {
    let bytes = line.as_bytes();
    let is = |at: usize, wanted: u8| bytes.get(at) == Some(&wanted);
    if is(3, b' ') && is(6, b' ') && is(9, b':') && is(12, b':') && is(15, b' ') {
        return line.get(16..).unwrap_or(line).trim_start();
    }
    if is(4, b'-') && is(7, b'-') && is(10, b'T') {
        return line.split_once(' ').map_or(line, |(_, rest)| rest.trim_start());
    }
    line
}

/// `PROGRAM: TEXT` or `PROGRAM[PROCESS]: TEXT`.
fn tagged(line: &str) -> Option<Message<'_>> {
    let (tag, text) = line.split_once(':')?;
    let program = match tag.split_once('[') {
        Some((program, process)) => {
            let number = process.strip_suffix(']')?;
            number.bytes().all(|b| b.is_ascii_digit()).then_some(program)?
        }
        None => tag,
    };
    let fits = (1..=48).contains(&program.len()) && !program.contains(|c: char| c.is_whitespace() || c == '"');
    fits.then_some(Message { program, text: text.trim_start() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_come_in_many_forms() {
        for (line, program, text) in [
            (
                "<13>Nov 22 01:02:03 main-menu[321]: INFO: Menu item 'netcfg' selected",
                "main-menu",
                "INFO: Menu item 'netcfg' selected",
            ),
            ("<6>Nov  2 01:02:03 kernel: [    1.5] NET: up\n", "kernel", "[    1.5] NET: up"),
            ("<13>Nov 22 01:02:03 node-1 logger: hello", "logger", "hello"),
            ("<142>Nov 22 01:02:03 localhost anaconda[1892]: anaconda: misc: x", "anaconda", "anaconda: misc: x"),
            ("<142>2026-11-22T01:02:03.5+00:00 localhost anaconda: y", "anaconda", "y"),
            ("<13>1 2026-11-22T01:02:03Z node-1 logger 99 - - hello there", "logger", "hello there"),
            ("<13>1 2026-11-22T01:02:03Z node-1 - - - [a@1 b=\"c\\]\\\" d\"][e@1] \u{feff}hello", "", "hello"),
            ("<13>1 - - app - - [timeQuality tzKnown=\"1\"]", "app", ""),
            ("<13>1 - - app - -", "", "1 - - app - -"),
            ("<13>hello", "", "hello"),
            ("hello: you", "hello", "you"),
            ("<999999>x", "", "<999999>x"),
            ("a sentence with a time: 10:00", "", "a sentence with a time: 10:00"),
            ("<13>", "", ""),
            ("", "", ""),
        ] {
            assert_eq!(read(line), Message { program, text }, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(line in "(<[0-9]{0,4}>)?(1 )?[\\PC\\n\\[\\]\":<> ]{0,80}") {
            let Message { program, text } = read(&line);
            prop_assert!(line.contains(program) && line.contains(text));
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let line = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert!(read(&line).text.len() <= line.len());
        }
    }
}
