//! The question at the box's display, may this disk be erased: its digits, the press, the digits that somebody types.
//!
//! When it is asked and what follows is decided in `rackberry_core::install`. The digits are here and on the panel alone: in
//! memory, and never in a log, an event, an answer or the database. A box that starts again asks again, with others.

use crate::inventory::{ApplyError, Inventory, StoreError, TransactError, Tx};
use rackberry_core::{
    event::{Actor, ConsentWay, EventKind},
    id::{HostId, InstallId},
    install::{Consent as Standing, Install, Rejected},
    text::CleanText,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

/// After a request ended by wrong digits none are taken for so long; doubled by each that follows, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// The setting that keeps the pause.
const PAUSED: &str = "consent_pause";
/// How many digits there are.
const LENGTH: usize = 4;

/// The digits of the question that is shown; clones speak of the same one.
#[derive(Clone)]
pub struct Consent(Arc<watch::Sender<Option<Shown>>>);

/// Which question has which digits.
#[derive(Clone)]
struct Shown {
    install: InstallId,
    /// When it was asked: one that is asked anew has other digits.
    at: Timestamp,
    digits: [u8; LENGTH],
}

/// Tells that there are other digits, and not which.
pub struct News(watch::Receiver<Option<Shown>>);

impl News {
    /// Waits until there are.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl std::fmt::Debug for Consent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Consent")
    }
}

impl Default for Consent {
    fn default() -> Self {
        Consent(Arc::new(watch::Sender::new(None)))
    }
}

/// What somebody who typed digits is told.
#[derive(Debug)]
pub enum Typed {
    /// They were right.
    Yes(Arc<Install>),
    /// So many tries are left.
    Wrong { left: u8 },
    /// Too many were wrong lately: none are taken for so long.
    Paused(Duration),
    /// Nobody is asked about this host; the sentence why.
    NotAsked(String),
}

/// How often requests ended by wrong digits since the last right answer, and until when none are taken.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Pause {
    requests: u32,
    until: Timestamp,
}

impl Consent {
    /// The question that is shown, for the panel of the box and nothing else.
    #[must_use]
    pub fn shown(&self) -> Option<(InstallId, Timestamp, String)> {
        let shown = self.0.borrow();
        shown
            .as_ref()
            .map(|shown| (shown.install, shown.at, shown.digits.iter().map(|digit| char::from(b'0' + digit)).collect()))
    }

    /// Follows whether there are other digits.
    #[must_use]
    pub fn news(&self) -> News {
        News(self.0.subscribe())
    }

    /// Whether this program shows the digits of the question about `install`.
    #[must_use]
    pub fn holds(&self, install: &Install) -> bool {
        self.digits(install).is_some()
    }

    fn digits(&self, install: &Install) -> Option<[u8; LENGTH]> {
        let Standing::Asked { at: asked, .. } = install.state.consent else { return None };
        let shown = self.0.borrow();
        shown.as_ref().filter(|shown| shown.install == install.id && shown.at == asked).map(|shown| shown.digits)
    }

    /// Has the display ask about an install that waits for it, with new digits.
    ///
    /// # Errors
    /// If it does not wait any more, or nothing can be stored.
    pub async fn ask(
        &self,
        inventory: &Inventory,
        install: InstallId,
        patience: Duration,
    ) -> Result<(), TransactError<ApplyError>> {
        let digits = random_digits().map_err(|error| TransactError::Failed(error.into()))?;
        let seconds = u32::try_from(patience.as_secs()).unwrap_or(u32::MAX);
        let asked = inventory
            .transact(move |tx| {
                let known = tx.install(install)?.ok_or(ApplyError::NotFound(install))?;
                let disk = match &known.state.consent {
                    Standing::Queued { disk, .. } | Standing::Asked { disk, .. } => CleanText::new(&disk.to_string()),
                    _ => CleanText::default(),
                };
                tx.apply(install, Actor::Box, EventKind::ConsentAsked { disk, seconds })
            })
            .await?;
        if let Standing::Asked { at, .. } = asked.state.consent {
            self.0.send_replace(Some(Shown { install, at, digits }));
        }
        Ok(())
    }

    /// Forgets digits whose question is over.
    pub fn over(&self) {
        self.0.send_if_modified(|shown| shown.take().is_some());
    }

    /// The button was pressed: yes for the one host that is shown, if there is one.
    ///
    /// # Errors
    /// If nothing can be stored.
    pub async fn press(&self, inventory: &Inventory) -> Result<Option<Arc<Install>>, TransactError<ApplyError>> {
        let consent = self.clone();
        inventory
            .transact(move |tx| {
                let shown = tx.active_installs().into_iter().find(|install| consent.holds(install));
                let Some(install) = shown.filter(|install| install.state.waits_for_consent()) else { return Ok(None) };
                let given = EventKind::ConsentGiven { by: ConsentWay::Press };
                match tx.apply(install.id, Actor::Box, given) {
                    Ok(install) => {
                        tx.forget_setting(PAUSED)?;
                        Ok(Some(install))
                    }
                    // Too soon or too late: meant for another question, or for none.
                    Err(ApplyError::Rejected { source: Rejected::ConsentTooSoon | Rejected::ConsentOver, .. }) => {
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// Somebody typed `given` for `host`.
    ///
    /// # Errors
    /// If nothing can be stored.
    pub async fn typed(
        &self,
        inventory: &Inventory,
        host: HostId,
        given: [u8; LENGTH],
        actor: Actor,
    ) -> Result<Typed, TransactError<ApplyError>> {
        let consent = self.clone();
        inventory
            .transact(move |tx| {
                let now = tx.now();
                let Some(install) = tx.active_install(host) else {
                    return Ok(Typed::NotAsked("Nothing is armed on this host.".to_owned()));
                };
                let tries_left = match &install.state.consent {
                    _ if !install.state.waits_for_consent() => {
                        return Ok(Typed::NotAsked("Nobody has to confirm anything for this host now.".to_owned()));
                    }
                    Standing::Asked { until, tries_left, .. } if *until > now => *tries_left,
                    Standing::Queued { .. } => {
                        let sentence = "It is not this host's turn at the display yet. Its digits come with it.";
                        return Ok(Typed::NotAsked(sentence.to_owned()));
                    }
                    _ => {
                        return Ok(Typed::NotAsked(
                            "The display does not ask about this host now. Ask again.".to_owned(),
                        ));
                    }
                };
                let pause: Pause = tx.setting(PAUSED)?.unwrap_or_default();
                if pause.until > now {
                    return Ok(Typed::Paused(pause.until.since(now)));
                }
                let Some(digits) = consent.digits(&install) else {
                    return Ok(Typed::NotAsked("The display just asks anew. Look at it again.".to_owned()));
                };
                if bool::from(digits.ct_eq(&given)) {
                    let install = tx.apply(install.id, actor, EventKind::ConsentGiven { by: ConsentWay::Code })?;
                    tx.forget_setting(PAUSED)?;
                    return Ok(Typed::Yes(install));
                }
                let left = tries_left.saturating_sub(1);
                tx.apply(install.id, actor, EventKind::ConsentRefused { left })?;
                if left == 0 {
                    lengthen(tx, pause, now)?;
                }
                Ok(Typed::Wrong { left })
            })
            .await
    }

    /// Has the display ask once more about a host whose question got no yes.
    ///
    /// # Errors
    /// If nobody was asked, or it is asked already.
    pub async fn again(
        &self,
        inventory: &Inventory,
        host: HostId,
        actor: Actor,
    ) -> Result<Option<Arc<Install>>, TransactError<ApplyError>> {
        inventory
            .transact(move |tx| match tx.active_install(host) {
                Some(install) => tx.apply(install.id, actor, EventKind::ConsentWanted).map(Some),
                None => Ok(None),
            })
            .await
    }
}

/// The digits that people typed: four, blanks between them allowed.
#[must_use]
pub fn read_digits(text: &str) -> Option<[u8; LENGTH]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(10).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    digits.try_into().ok()
}

/// Whoever asks for new digits again and again gets ever fewer guesses: three an hour in the end.
fn lengthen(tx: &mut Tx<'_>, pause: Pause, now: Timestamp) -> Result<(), StoreError> {
    let length = PAUSE.saturating_mul(1_u32.checked_shl(pause.requests).unwrap_or(u32::MAX)).min(LONGEST_PAUSE);
    tx.set_setting(PAUSED, &Pause { requests: pause.requests.saturating_add(1).min(30), until: now.after(length) })
}

fn random_digits() -> Result<[u8; LENGTH], StoreError> {
    let mut digits = [0; LENGTH];
    for digit in &mut digits {
        // Bytes from 250 on would make small digits likelier.
        *digit = loop {
            let mut byte = [0];
            getrandom::fill(&mut byte).map_err(StoreError::Random)?;
            let [byte] = byte;
            if byte < 250 {
                break byte % 10;
            }
        };
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_read_and_nothing_else() {
        assert_eq!(read_digits(" 07 34 "), Some([0, 7, 3, 4]));
        for text in ["", "734", "07345", "07a4", "٠١٢٣x", "-734"] {
            assert_eq!(read_digits(text), None, "{text}");
        }
    }

    #[test]
    fn every_digit_comes_as_often() {
        let mut counts = [0_u32; 10];
        for _ in 0..5000 {
            for digit in random_digits().unwrap() {
                counts[usize::from(digit)] += 1;
            }
        }
        // 2,000 of each; six standard deviations are 255.
        assert!(counts.iter().all(|count| (1700..2300).contains(count)), "{counts:?}");
    }

    #[test]
    fn nothing_says_the_digits_by_accident() {
        let consent = Consent::default();
        let install = InstallId(uuid::Uuid::nil());
        consent.0.send_replace(Some(Shown { install, at: Timestamp(1), digits: [9, 8, 7, 6] }));
        assert_eq!(consent.shown().unwrap().2, "9876");
        assert!(!format!("{consent:?}").contains('9'));
        consent.over();
        assert!(consent.shown().is_none());
    }
}
