//! The decisions on one card: how it stands, an install, a trial and its end, a roll-back.

use super::{
    bundle::{self, Bundle, BundleError, Key},
    medium::{Card, Medium},
    record::{Content, Record},
    words::{Last, Other, OtherState, Outcome, Status, Step},
    write::{self, WriteError},
};
use rackberry_core::update::{BoxFacts, Header, Slot, Version};
use std::{fs::File, io, path::PathBuf};

/// Why the card stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("Version {version} runs on trial. Wait until it has proved itself, or was given up.")]
    OnTrial { version: Version },
    #[error("There is no other version to go back to: slot {slot} is empty.")]
    NothingThere { slot: Slot },
    #[error("The version in slot {slot} failed when it was tried, so that there is none to go back to.")]
    Failed { slot: Slot },
    #[error(
        "Version {version} in the other slot is older than {floor}, the oldest that this box takes since its last update."
    )]
    BelowFloor { version: Version, floor: Version },
    #[error("The root in slot {slot} cannot be started: {why}.")]
    Unfit { slot: Slot, why: String },
    #[error("The root in slot {slot} is damaged. Install a bundle in its place.")]
    Damaged { slot: Slot },
    #[error("The card cannot be read.")]
    Card(#[source] io::Error),
    #[error("What is known about the slots cannot be written. Look at the space and the health of the card.")]
    Record(#[source] io::Error),
}

/// Looks into a slot whose root was written: can it be started, and which version says it is?
pub type Inspect = Box<dyn Fn(Slot) -> Result<Option<Version>, String> + Send>;

/// One card, by the only process that may write it.
pub struct Keeper<M> {
    pub card: Card<M>,
    pub record: Record,
    pub record_path: PathBuf,
    pub key: Key,
    /// What runs, as the initramfs chose it.
    pub slot: Slot,
    /// It has to prove itself.
    pub trying: bool,
    /// Of the program that runs.
    pub program: Version,
    pub board: String,
    pub arch: String,
    pub inspect: Inspect,
}

impl<M: Medium> Keeper<M> {
    /// The version that runs.
    #[must_use]
    pub fn version(&self) -> Version {
        self.record.slot(self.slot).map_or(self.program, |content| content.version)
    }

    /// What bundles have to fit.
    #[must_use]
    pub fn facts(&self) -> BoxFacts {
        BoxFacts {
            board: self.board.clone(),
            arch: self.arch.clone(),
            version: self.version(),
            floor: self.record.floor,
            slot_bytes: self.card.slot_bytes,
        }
    }

    /// Once, at start: what became of the last update.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn settle(&mut self) -> Result<(), KeeperError> {
        let block = self.card.block().map_err(KeeperError::Card)?.now;
        let open = self.record.last.clone().filter(|last| last.outcome == Outcome::Trial);
        match open {
            Some(last) if last.slot == self.slot && self.trying => Ok(()),
            // Cut off between the state block and the record.
            Some(last) if last.slot == self.slot && block.good == self.slot => self.proved(),
            Some(mut last) => {
                last.outcome = Outcome::Failed;
                if last.why.is_empty() {
                    let started = block.trying == Some(last.slot) || block.good == last.slot;
                    last.why = if started { "it did not start" } else { "it was not wholly written" }.to_owned();
                }
                self.record.last = Some(last);
                self.record.told = false;
                self.store()
            }
            None if self.trying => {
                let version = self.version();
                let last =
                    Last { slot: self.slot, version, from: version, outcome: Outcome::Trial, why: String::new() };
                self.record.last = Some(last);
                self.store()
            }
            None => Ok(()),
        }
    }

    fn store(&self) -> Result<(), KeeperError> {
        self.record.store(&self.record_path).map_err(KeeperError::Record)
    }

    /// How the card stands.
    ///
    /// # Errors
    /// If the card cannot be read.
    pub fn status(&mut self) -> Result<Status, KeeperError> {
        let other = self.slot.other();
        let state = self.other_state()?;
        let version = self.record.slot(other).map(|content| content.version);
        Ok(Status {
            slot: self.slot,
            version: self.version(),
            trying: self.trying,
            other: Other { slot: other, state, version: version.filter(|_| state != OtherState::Empty) },
            floor: self.record.floor,
            development_key: self.key.development,
            last: self.record.last.clone(),
            told: self.record.told,
        })
    }

    fn other_state(&mut self) -> Result<OtherState, KeeperError> {
        let other = self.slot.other();
        let block = self.card.block().map_err(KeeperError::Card)?.now;
        let mut start = [0; 64];
        self.card.slot(other).read(&mut start, 0).map_err(KeeperError::Card)?;
        let failed =
            self.record.last.as_ref().is_some_and(|last| last.slot == other && last.outcome == Outcome::Failed);
        Ok(match bundle::used(&start) {
            Some(used) if used <= self.card.slot_bytes => {
                if failed || (block.trying == Some(other) && block.left == 0) {
                    OtherState::Failed
                } else {
                    OtherState::Ready
                }
            }
            _ => OtherState::Empty,
        })
    }

    /// Verifies a bundle and whether it fits this box; nothing is written.
    ///
    /// # Errors
    /// [`KeeperError::Bundle`].
    pub fn check(&self, file: &File, told: &mut dyn FnMut(u64, u64)) -> Result<Bundle, KeeperError> {
        let bundle = bundle::verify(file, &self.key, self.card.slot_bytes, told)?;
        bundle.header.check(&self.facts()).map_err(BundleError::Refused)?;
        Ok(bundle)
    }

    /// Verifies a bundle, writes it into the other slot, and gives that its trial at the next start.
    ///
    /// # Errors
    /// [`KeeperError`]; what runs now stays what is started.
    pub fn install(&mut self, file: &File, told: &mut dyn FnMut(Step, u64, u64)) -> Result<Header, KeeperError> {
        if self.trying {
            return Err(KeeperError::OnTrial { version: self.version() });
        }
        let bundle = self.check(file, &mut |done, total| told(Step::Verify, done, total))?;
        let target = self.slot.other();
        let (version, from) = (bundle.header.version, self.version());
        if self.record.slot(self.slot).is_none() {
            self.record.put(self.slot, Some(Content { version: from, floor: None, length: 0, sha256: None }));
        }
        self.record.put(target, None);
        self.record.last = Some(Last { slot: target, version, from, outcome: Outcome::Trial, why: String::new() });
        self.record.told = false;
        self.store()?;
        let put = self.put(target, file, &bundle, told);
        if let Err(error) = &put {
            // Nothing of it may be started, by whatever way; what failed here is told by the error itself.
            let _ = write::clear(&mut self.card, target);
            if let Some(last) = &mut self.record.last {
                last.outcome = Outcome::Failed;
                last.why = error.to_string().trim_end_matches('.').to_owned();
            }
            self.record.told = true;
            let _ = self.store();
        }
        put.map(|()| bundle.header)
    }

    fn put(
        &mut self,
        target: Slot,
        file: &File,
        bundle: &Bundle,
        told: &mut dyn FnMut(Step, u64, u64),
    ) -> Result<(), KeeperError> {
        write::write(&mut self.card, target, file, bundle, told)?;
        (self.inspect)(target).map_err(|why| KeeperError::Unfit { slot: target, why })?;
        self.record.put(target, Some(Content::of(&bundle.header)));
        self.store()?;
        self.card.change(|block| block.trial(target)).map_err(WriteError::Block)?;
        Ok(())
    }

    /// Gives the other slot its trial at the next start.
    ///
    /// # Errors
    /// [`KeeperError`]; what runs now stays what is started.
    pub fn roll_back(&mut self, told: &mut dyn FnMut(Step, u64, u64)) -> Result<Version, KeeperError> {
        if self.trying {
            return Err(KeeperError::OnTrial { version: self.version() });
        }
        let other = self.slot.other();
        match self.other_state()? {
            OtherState::Empty => return Err(KeeperError::NothingThere { slot: other }),
            OtherState::Failed => return Err(KeeperError::Failed { slot: other }),
            OtherState::Ready => {}
        }
        let content = self.record.slot(other).cloned();
        if let Some(Content { length, sha256: Some(wanted), .. }) = content {
            let found = write::digest(&mut self.card, other, length, &mut |done| told(Step::ReadBack, done, length))?;
            if found != wanted {
                return Err(KeeperError::Damaged { slot: other });
            }
        }
        let said = (self.inspect)(other).map_err(|why| KeeperError::Unfit { slot: other, why })?;
        let version = content.map(|content| content.version).or(said).unwrap_or(self.program);
        if let Some(floor) = self.record.floor.filter(|floor| version < *floor) {
            return Err(KeeperError::BelowFloor { version, floor });
        }
        let from = self.version();
        if self.record.slot(self.slot).is_none() {
            self.record.put(self.slot, Some(Content { version: from, floor: None, length: 0, sha256: None }));
        }
        self.record.last = Some(Last { slot: other, version, from, outcome: Outcome::Trial, why: String::new() });
        self.record.told = false;
        self.store()?;
        self.card.change(|block| block.trial(other)).map_err(WriteError::Block)?;
        Ok(version)
    }

    /// What the health gate says. Returns whether this version has just proved itself.
    ///
    /// # Errors
    /// [`KeeperError`]; then it is still on trial.
    pub fn health(&mut self, missing: &[String]) -> Result<bool, KeeperError> {
        if !self.trying {
            return Ok(false);
        }
        if missing.is_empty() {
            let slot = self.slot;
            self.card.change(|block| block.good(slot)).map_err(WriteError::Block)?;
            self.trying = false;
            self.proved()?;
            return Ok(true);
        }
        if let Some(last) = &mut self.record.last {
            last.why = missing.join("; ");
        }
        Ok(false)
    }

    fn proved(&mut self) -> Result<(), KeeperError> {
        if let Some(last) = &mut self.record.last {
            last.outcome = Outcome::Running;
            last.why.clear();
        }
        let floor = self.record.slot(self.slot).and_then(|content| content.floor);
        self.record.floor = self.record.floor.max(floor);
        self.store()
    }

    /// The time of this trial is over: why is written down, for the next start.
    pub fn expired(&mut self) {
        if let Some(last) = &mut self.record.last
            && last.why.is_empty()
        {
            "it did not say in time that it is healthy".clone_into(&mut last.why);
        }
        if let Err(error) = self.store() {
            tracing::warn!(error = crate::chain(&error), "why the trial failed is not kept");
        }
    }

    /// People know how the last update ended.
    ///
    /// # Errors
    /// [`KeeperError::Record`].
    pub fn told(&mut self) -> Result<(), KeeperError> {
        self.record.told = true;
        self.store()
    }
}
