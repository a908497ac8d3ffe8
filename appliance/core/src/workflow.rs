//! The graph of tasks a profile asks for: edges mean "after", everything else runs in parallel.

use crate::{event::TaskName, task::TaskSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A checked graph: names are unique, every edge has both ends, nothing waits for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Workflow {
    tasks: Vec<TaskSpec>,
}

/// Why a list of tasks is no workflow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWorkflow {
    #[error("the workflow has no tasks")]
    Empty,
    #[error("task name \"{0}\" is not made of lower-case letters, digits and hyphens")]
    Name(String),
    #[error("two tasks are named \"{0}\"")]
    Twice(TaskName),
    #[error("task \"{task}\" comes after \"{after}\", which does not exist")]
    Unknown { task: TaskName, after: TaskName },
    #[error("these tasks wait for each other: {0}")]
    Cycle(String),
    #[error("task \"{0}\" may try at least once")]
    NoAttempts(TaskName),
}

impl Workflow {
    /// Checks a list of tasks.
    ///
    /// # Errors
    /// [`InvalidWorkflow`], naming the task at fault.
    pub fn new(tasks: Vec<TaskSpec>) -> Result<Self, InvalidWorkflow> {
        if tasks.is_empty() {
            return Err(InvalidWorkflow::Empty);
        }
        let mut names = BTreeSet::new();
        for task in &tasks {
            let fits = !task.name.0.is_empty()
                && task.name.0.len() <= 40
                && task.name.0.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !fits {
                return Err(InvalidWorkflow::Name(crate::text::clean(&task.name.0, 60)));
            }
            if !names.insert(&task.name) {
                return Err(InvalidWorkflow::Twice(task.name.clone()));
            }
            if task.retry.attempts == 0 {
                return Err(InvalidWorkflow::NoAttempts(task.name.clone()));
            }
        }
        for task in &tasks {
            if let Some(after) = task.after.iter().find(|after| !names.contains(after)) {
                return Err(InvalidWorkflow::Unknown { task: task.name.clone(), after: after.clone() });
            }
        }
        let workflow = Workflow { tasks };
        let placed: BTreeSet<&TaskName> = workflow.stages().into_iter().flatten().collect();
        let stuck: Vec<String> =
            workflow.tasks.iter().filter(|t| !placed.contains(&t.name)).map(|t| t.name.to_string()).collect();
        if stuck.is_empty() { Ok(workflow) } else { Err(InvalidWorkflow::Cycle(stuck.join(", "))) }
    }

    /// The tasks in the order they were written.
    #[must_use]
    pub fn tasks(&self) -> &[TaskSpec] {
        &self.tasks
    }

    /// The tasks in stages: those of one stage may run at the same time, each stage after the ones before.
    #[must_use]
    pub fn stages(&self) -> Vec<Vec<&TaskName>> {
        let mut level: BTreeMap<&TaskName, usize> = BTreeMap::new();
        // Each pass places at least one more task unless the rest waits for itself.
        for _ in &self.tasks {
            for task in &self.tasks {
                let before: Option<Vec<usize>> = task.after.iter().map(|after| level.get(after).copied()).collect();
                if let Some(before) = before {
                    level.insert(&task.name, before.into_iter().max().map_or(0, |deepest| deepest + 1));
                }
            }
        }
        let depth = level.values().max().map_or(0, |deepest| deepest + 1);
        (0..depth)
            .map(|stage| {
                self.tasks.iter().map(|task| &task.name).filter(|name| level.get(name) == Some(&stage)).collect()
            })
            .collect()
    }
}

impl<'de> Deserialize<'de> for Workflow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Workflow::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Retry, TaskKind};

    fn task(name: &str, after: &[&str]) -> TaskSpec {
        TaskSpec {
            name: name.into(),
            kind: TaskKind::Configure,
            after: after.iter().map(|name| TaskName::from(*name)).collect(),
            timeout_s: None,
            retry: Retry::default(),
        }
    }

    #[test]
    fn branches_share_a_stage() {
        let workflow =
            Workflow::new(vec![task("d", &["b", "c"]), task("a", &[]), task("b", &["a"]), task("c", &["a"])]).unwrap();
        let stages: Vec<Vec<&str>> =
            workflow.stages().into_iter().map(|stage| stage.into_iter().map(|n| n.0.as_str()).collect()).collect();
        assert_eq!(stages, [vec!["a"], vec!["b", "c"], vec!["d"]]);
    }

    #[test]
    fn a_graph_that_cannot_run_is_refused_by_name() {
        let cycle = Workflow::new(vec![task("a", &["b"]), task("b", &["a"]), task("c", &[])]);
        assert_eq!(cycle, Err(InvalidWorkflow::Cycle("a, b".to_owned())));
        assert!(matches!(Workflow::new(vec![task("a", &["x"])]), Err(InvalidWorkflow::Unknown { .. })));
        assert!(matches!(Workflow::new(vec![task("a", &[]), task("a", &[])]), Err(InvalidWorkflow::Twice(_))));
        assert!(matches!(Workflow::new(vec![task("A b", &[])]), Err(InvalidWorkflow::Name(_))));
        assert_eq!(Workflow::new(vec![]), Err(InvalidWorkflow::Empty));
    }
}
