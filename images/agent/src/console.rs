//! The host's own screen: whole sentences, as a person stands in front of it.

use rackberry_core::text::clean;
use std::io::Write;

/// Says one sentence; text from elsewhere is shown without control characters.
pub fn say(sentence: &str) {
    // A console that cannot be written to is no reason to stop working.
    let _ = writeln!(std::io::stdout(), "rackberry: {}", clean(sentence, 1000));
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some libraries repeat the cause in their own message.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
