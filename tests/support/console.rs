//! Text that a program prints, gathered by a thread, with waiting for what it should say.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many lines a time-out shows of what was said last.
const SHOWN: usize = 25;
/// How long a line that was found may take to its end.
const LINE_END: Duration = Duration::from_millis(300);

/// What a program printed so far; clones share the text.
#[derive(Clone, Default)]
pub struct Console {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    text: String,
    sources: usize,
}

impl Console {
    /// An empty console; [`Console::follow`] feeds it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gathers all that `source` yields on a thread of its own, and copies it to `copy` when given.
    ///
    /// # Errors
    /// When the copy's file cannot be made.
    pub fn follow(&self, mut source: impl Read + Send + 'static, copy: Option<&Path>) -> Result<()> {
        let mut copy = match copy {
            Some(path) => Some(
                File::options()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("open the console's copy {}", path.display()))?,
            ),
            None => None,
        };
        self.lock().sources += 1;
        let console = self.clone();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            let mut escapes = Escapes::default();
            while let Ok(read) = source.read(&mut buffer) {
                let Some(bytes) = buffer.get(..read).filter(|b| !b.is_empty()) else {
                    break;
                };
                if let Some(file) = &mut copy {
                    // The copy is for people who look afterwards; losing it must not stop the test.
                    let _ = file.write_all(bytes);
                }
                let clean = escapes.strip(bytes);
                console.lock().text.push_str(&clean);
                console.shared.grown.notify_all();
            }
            console.lock().sources -= 1;
            console.shared.grown.notify_all();
        });
        Ok(())
    }

    /// All that was said so far, without terminal control sequences.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// The place where the text ends now, for [`Console::wait_after`].
    #[must_use]
    pub fn mark(&self) -> usize {
        self.lock().text.len()
    }

    /// Waits until `wanted` was said at any time; returns the line that holds it.
    ///
    /// # Errors
    /// At the time-out, or when the program ended without saying it; the message shows the last lines.
    pub fn wait_for(&self, wanted: &str, timeout: Duration) -> Result<String> {
        self.wait_after(0, wanted, timeout)
    }

    /// Waits until `wanted` is said after `mark`; returns the line that holds it.
    ///
    /// # Errors
    /// As [`Console::wait_for`].
    pub fn wait_after(&self, mark: usize, wanted: &str, timeout: Duration) -> Result<String> {
        self.wait_any(mark, &[wanted], timeout).map(|(_, line)| line)
    }

    /// Waits until one of `wanted` is said after `mark`; returns its index and the line that holds it.
    ///
    /// # Errors
    /// As [`Console::wait_for`].
    pub fn wait_any(&self, mark: usize, wanted: &[&str], timeout: Duration) -> Result<(usize, String)> {
        let until = Instant::now() + timeout;
        let mut found: Option<Instant> = None;
        let mut state = self.lock();
        loop {
            for (index, text) in wanted.iter().enumerate() {
                if let Some((line, whole)) = line_with(&state.text, mark, text) {
                    // A prompt never ends its line; anything else gets a moment to.
                    let since = *found.get_or_insert_with(Instant::now);
                    let patience = LINE_END.saturating_sub(since.elapsed());
                    if whole || patience.is_zero() || state.sources == 0 {
                        return Ok((index, line));
                    }
                    break;
                }
            }
            if found.is_some() {
                state = self.shared.grown.wait_timeout(state, LINE_END).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.sources == 0 {
                bail!("the program ended without saying {wanted:?}; its last lines:\n{}", last_lines(&state.text));
            }
            if left.is_zero() {
                bail!("{wanted:?} was not said within {timeout:?}; the last lines:\n{}", last_lines(&state.text));
            }
            state = self.shared.grown.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How often `wanted` was said so far.
    #[must_use]
    pub fn count(&self, wanted: &str) -> usize {
        self.lock().text.matches(wanted).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The line that holds `wanted` after `mark`, and whether its end has come.
fn line_with(text: &str, mark: usize, wanted: &str) -> Option<(String, bool)> {
    let found = mark + text.get(mark..)?.find(wanted)?;
    let start = text.get(..found)?.rfind('\n').map_or(0, |at| at + 1);
    let end = text.get(found..)?.find('\n').map(|at| found + at);
    let line = text.get(start..end.unwrap_or(text.len()))?;
    Some((line.to_owned(), end.is_some()))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(SHOWN);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Removes terminal control sequences across reads; firmware menus are full of them.
#[derive(Default)]
struct Escapes {
    inside: Option<u8>,
    partial: Vec<u8>,
}

impl Escapes {
    fn strip(&mut self, bytes: &[u8]) -> String {
        for &byte in bytes {
            match self.inside {
                // ESC was seen: "[" opens a sequence with parameters, any other character ends a short one.
                Some(b'\x1b') => self.inside = (byte == b'[').then_some(b'['),
                Some(_) => {
                    if (0x40..=0x7e).contains(&byte) {
                        self.inside = None;
                        // Cursor positioning is how firmware starts a new line.
                        if byte == b'H' {
                            self.partial.push(b'\n');
                        }
                    }
                }
                None if byte == b'\x1b' => self.inside = Some(byte),
                None if byte == b'\r' => {}
                None => self.partial.push(byte),
            }
        }
        // A character cut in two by the read waits for its other half.
        let whole = match std::str::from_utf8(&self.partial) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.partial.len(),
        };
        let rest = self.partial.split_off(whole);
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial = rest;
        text
    }
}
