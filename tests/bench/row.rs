//! One row of the table: one kind of work, done by ours and by the servers it is compared with.

use anyhow::{Context, Result};
use std::fmt::Write as _;

/// What a subject did in the runs of one row, as the median of them.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Work per second of wall time, in the row's unit.
    pub rate: f64,
    /// CPU time of the server's processes per unit of work.
    pub cost: f64,
    /// Largest anonymous memory seen of the server's processes, in MiB.
    pub memory: f64,
}

impl Measured {
    /// The median of each figure.
    pub fn median(runs: &[Measured]) -> Option<Measured> {
        let middle = |of: fn(&Measured) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Some(Measured { rate: middle(|m| m.rate)?, cost: middle(|m| m.cost)?, memory: middle(|m| m.memory)? })
    }
}

/// What ours shall reach against the best of the others: 4.0 is four times its rate, or a fourth of its cost.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Of the rate.
    pub rate: f64,
    /// Of the cost, where one was set.
    pub cost: Option<f64>,
}

/// The units of a row's figures.
#[derive(Clone, Copy, Debug)]
pub struct Units {
    /// For example `MB/s`.
    pub rate: &'static str,
    /// For example `CPU-s/GB`.
    pub cost: &'static str,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The work, for example `TFTP 1428 x 16, 64 clients`.
    pub what: String,
    /// Ours.
    pub ours: Measured,
    /// The others by name, as far as they could do it.
    pub peers: Vec<(&'static str, Measured)>,
    /// What ours shall reach, where a figure was set.
    pub goal: Option<Goal>,
}

/// How a row stands against its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Not even half of the way from 1x to the goal.
    Missed,
    /// At least half of the way.
    Passed,
    /// The goal itself.
    Reached,
}

impl Row {
    /// `runs` runs of each subject in turn, so that what else the machine does meets all alike; ours is the first of them.
    ///
    /// # Errors
    /// When no run of ours succeeds; the errors of all are told on standard error.
    pub fn compared<S>(
        what: String,
        goal: Option<Goal>,
        runs: usize,
        subjects: &[S],
        name: impl Fn(&S) -> &'static str,
        mut run: impl FnMut(&S) -> Result<Measured>,
    ) -> Result<Row> {
        let mut results: Vec<Vec<Measured>> = vec![Vec::new(); subjects.len()];
        for _ in 0..runs {
            for (subject, results) in subjects.iter().zip(&mut results) {
                match run(subject) {
                    Ok(measured) => results.push(measured),
                    Err(error) => eprintln!("{what}: {}: {error:#}", name(subject)),
                }
            }
        }
        let mut medians = subjects.iter().zip(&results).map(|(subject, runs)| (name(subject), Measured::median(runs)));
        let ours = medians.next().and_then(|(_, ours)| ours).with_context(|| format!("{what}: ours did not run"))?;
        let peers = medians.filter_map(|(name, median)| Some((name, median?))).collect();
        Ok(Row { what, ours, peers, goal })
    }

    /// Ours against the best rate and against the lowest cost of the others; more than 1 is better than they are.
    pub fn ratios(&self) -> Option<(f64, f64)> {
        let best = self.peers.iter().map(|(_, m)| m.rate).max_by(f64::total_cmp)?;
        let cheapest = self.peers.iter().map(|(_, m)| m.cost).min_by(f64::total_cmp)?;
        Some((self.ours.rate / best, cheapest / self.ours.cost))
    }

    /// How it stands; `None` without a goal or without others.
    pub fn standing(&self) -> Option<Standing> {
        let ((rate, cost), goal) = (self.ratios()?, self.goal?);
        let of = |got: f64, goal: f64| match got {
            got if got >= goal => Standing::Reached,
            got if got >= halfway(goal) => Standing::Passed,
            _ => Standing::Missed,
        };
        let cost = goal.cost.map_or(Standing::Reached, |goal| of(cost, goal));
        Some(of(rate, goal.rate).min(cost))
    }

    /// The row for a person, in Markdown.
    pub fn line(&self) -> String {
        let mut line = format!("| {} | {} |", self.what, figures(&self.ours));
        let peers: Vec<String> = self.peers.iter().map(|(name, m)| format!("{name} {}", figures(m))).collect();
        let _ = write!(line, " {} |", peers.join("; "));
        let _ = match self.ratios() {
            Some((rate, cost)) if cost.is_finite() => write!(line, " {rate:.2}x; {cost:.2}x |"),
            // Too short for a tick of the clock that counts CPU time.
            Some((rate, _)) => write!(line, " {rate:.2}x |"),
            None => write!(line, " |"),
        };
        let _ = match self.goal {
            Some(Goal { rate, cost: Some(cost) }) => write!(line, " {rate}x; {cost}x |"),
            Some(Goal { rate, cost: None }) => write!(line, " {rate}x |"),
            None => write!(line, " |"),
        };
        let standing = match self.standing() {
            None => "",
            Some(Standing::Missed) => "missed",
            Some(Standing::Passed) => "gate reached",
            Some(Standing::Reached) => "goal reached",
        };
        let _ = write!(line, " {standing} |");
        line
    }
}

/// The head of the table; the figures of each subject are rate, cost and memory.
pub fn head(units: Units) -> String {
    format!(
        "| work ({}, {}, MiB) | ours | others | ours against the best (rate; cost) | goal | stands |\n|---|---|---|---|---|---|",
        units.rate, units.cost
    )
}

/// Half of the way from 1x to the goal; a goal of no more than 1x is its own gate.
fn halfway(goal: f64) -> f64 {
    if goal > 1.0 { 1.0 + (goal - 1.0) / 2.0 } else { goal }
}

fn figures(measured: &Measured) -> String {
    let Measured { rate, cost, memory } = measured;
    let digits = if *rate < 10.0 { 1 } else { 0 };
    format!("{rate:.digits$}, {cost:.2}, {memory:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rate: f64, cost: f64) -> Row {
        let measured = |rate, cost| Measured { rate, cost, memory: 1.0 };
        Row {
            what: "work".into(),
            ours: measured(rate, cost),
            peers: vec![("fast", measured(100.0, 4.0)), ("cheap", measured(50.0, 2.0))],
            goal: Some(Goal { rate: 4.0, cost: Some(4.0) }),
        }
    }

    #[test]
    fn each_figure_is_held_against_the_best_of_the_others() {
        assert_eq!(row(250.0, 1.0).ratios(), Some((2.5, 2.0)));
    }

    #[test]
    fn the_gate_is_half_of_the_way_from_1x_for_rate_and_cost_alike() {
        assert_eq!(row(250.0, 0.8).standing(), Some(Standing::Passed));
        assert_eq!(row(249.0, 0.8).standing(), Some(Standing::Missed));
        assert_eq!(row(400.0, 0.9).standing(), Some(Standing::Missed));
        assert_eq!(row(400.0, 0.5).standing(), Some(Standing::Reached));
        let words = [(249.0, "missed"), (250.0, "gate reached"), (400.0, "goal reached")];
        for (rate, word) in words {
            assert!(row(rate, 0.5).line().ends_with(&format!("| {word} |")));
        }
    }

    #[test]
    fn one_run_out_of_line_does_not_move_the_median() {
        let runs = [1.0, 100.0, 3.0].map(|rate| Measured { rate, cost: 1.0, memory: 1.0 });
        assert_eq!(Measured::median(&runs).unwrap().rate, 3.0);
        assert!(Measured::median(&[]).is_none());
    }
}
