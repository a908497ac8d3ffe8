//! The health gate: a version on trial counts as healthy when everything it is there for has worked without a break for a while.

use std::time::Duration;

/// What can be seen of the box's health at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signs {
    /// The box serves DHCP on an interface.
    pub dhcp: bool,
    /// It knows whether another server is there.
    pub ladder: bool,
    /// Its page answers over HTTP.
    pub page: bool,
    /// Its database is sound and can be written.
    pub database: bool,
}

impl Signs {
    /// What is missing, for people.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let named = [
            (self.dhcp, "DHCP is not served"),
            (self.ladder, "it is not known whether another DHCP server is there"),
            (self.page, "the page does not answer"),
            (self.database, "the database is not sound or cannot be written"),
        ];
        named.into_iter().filter(|(there, _)| !there).map(|(_, name)| name).collect()
    }
}

/// What follows from the signs so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet, with what is missing now.
    Waiting(Vec<&'static str>),
    Healthy,
}

/// Remembers since when everything is well.
#[derive(Debug, Clone)]
pub struct Gate {
    steady: Duration,
    well_since: Option<Duration>,
}

impl Gate {
    /// Everything has to be well for `steady` without a break.
    #[must_use]
    pub fn new(steady: Duration) -> Self {
        Gate { steady, well_since: None }
    }

    /// One look at `now`, counted from any moment.
    pub fn look(&mut self, now: Duration, signs: &Signs) -> Verdict {
        let missing = signs.missing();
        if !missing.is_empty() {
            self.well_since = None;
            return Verdict::Waiting(missing);
        }
        let since = *self.well_since.get_or_insert(now);
        if now.saturating_sub(since) >= self.steady { Verdict::Healthy } else { Verdict::Waiting(missing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Signs = Signs { dhcp: true, ladder: true, page: true, database: true };

    #[test]
    fn everything_has_to_be_well_for_a_while() {
        let mut gate = Gate::new(Duration::from_secs(10));
        for second in 0..10 {
            assert_eq!(gate.look(Duration::from_secs(second), &WELL), Verdict::Waiting(Vec::new()), "{second}");
        }
        assert_eq!(gate.look(Duration::from_secs(10), &WELL), Verdict::Healthy);
    }

    #[test]
    fn any_missing_sign_starts_the_wait_anew() {
        for broken in [
            Signs { dhcp: false, ..WELL },
            Signs { ladder: false, ..WELL },
            Signs { page: false, ..WELL },
            Signs { database: false, ..WELL },
        ] {
            let mut gate = Gate::new(Duration::from_secs(10));
            gate.look(Duration::from_secs(0), &WELL);
            let Verdict::Waiting(missing) = gate.look(Duration::from_secs(9), &broken) else { panic!("{broken:?}") };
            assert_eq!(missing.len(), 1);
            assert_eq!(gate.look(Duration::from_secs(11), &WELL), Verdict::Waiting(Vec::new()));
            assert_eq!(gate.look(Duration::from_secs(20), &WELL), Verdict::Waiting(Vec::new()));
            assert_eq!(gate.look(Duration::from_secs(21), &WELL), Verdict::Healthy);
        }
    }
}
