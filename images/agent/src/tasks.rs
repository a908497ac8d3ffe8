//! What the agent can do, one function per kind of order.

use crate::{
    configure::{self, ConfigureError, Identity},
    console,
    link::{Link, Verdict},
    machine::Machine,
    write::{self, Source, WriteError},
};
use rackberry_core::{
    agent::{News, Run},
    task::TaskOrder,
    text::CleanText,
};
use std::sync::atomic::AtomicBool;

/// One run and what it works with.
pub struct Job<'a> {
    pub link: &'a Link,
    pub machine: &'a Machine,
    pub run: &'a Run,
    /// Set when the box no longer wants the run.
    pub stop: &'a AtomicBool,
}

/// The box no longer wants the run; nothing was changed since it said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the box no longer wants this run")]
pub struct NotWanted;

impl Job<'_> {
    /// Tells the box that the disk changes from here on, and waits until it has written that down.
    ///
    /// # Errors
    /// [`NotWanted`] if the box says no.
    pub fn begin(&self) -> Result<(), NotWanted> {
        match self.link.insist(&News::Started { run: self.run.clone() }, self.stop) {
            Verdict::Taken => Ok(()),
            Verdict::NotWanted => Err(NotWanted),
        }
    }

    /// Adds a line to the host's log on the box and to its screen.
    pub fn note(&self, sentence: &str) {
        console::say(sentence);
        self.link.mention(&News::Log { lines: vec![CleanText::new(sentence)] });
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done,
    Failed { transient: bool, message: CleanText },
    NotWanted,
}

impl Outcome {
    fn failed(transient: bool, error: &dyn std::error::Error) -> Self {
        Outcome::Failed { transient, message: CleanText::new(&console::chain(error)) }
    }
}

/// Carries out `order` to its end.
#[must_use]
pub fn perform(job: &Job, order: &TaskOrder) -> Outcome {
    match order {
        TaskOrder::WriteImage { url, digest, compression, size_bytes, raw_bytes, disk, grow } => {
            let (digest, compression, size_bytes, raw_bytes) = (*digest, *compression, *size_bytes, *raw_bytes);
            let source = Source { url, digest, compression, size_bytes, raw_bytes };
            match write::write_image(job, &source, disk, *grow) {
                Ok(()) => Outcome::Done,
                Err(WriteError::NotWanted(NotWanted)) => Outcome::NotWanted,
                Err(error) => Outcome::failed(error.transient(), &error),
            }
        }
        TaskOrder::Configure { disk, hostname, seed, files, boot_order, boot_entry } => {
            let identity = Identity { hostname, seed: *seed, files, boot_order: *boot_order, boot_entry };
            match configure::configure(job, disk, &identity) {
                Ok(()) => Outcome::Done,
                Err(ConfigureError::NotWanted(NotWanted)) => Outcome::NotWanted,
                Err(error) => Outcome::failed(error.transient(), &error),
            }
        }
        TaskOrder::Restart {} => match job.begin() {
            Ok(()) => Outcome::Done,
            Err(NotWanted) => Outcome::NotWanted,
        },
    }
}
