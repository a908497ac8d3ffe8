//! The list of hosts and the page that adds some by hand.

use super::facts::specs;
use super::shell::Shell;
use super::state::{StateKind, StateView};
use crate::format;
use crate::render::{Markup, key, query};

/// How many hosts are in each state; the filter strip and the headline are made from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    pub discovered: u64,
    pub waiting: u64,
    pub armed: u64,
    pub installing: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub running: u64,
    pub off: u64,
}

/// One entry of the filter strip.
pub(crate) struct Filter {
    pub word: &'static str,
    pub data: &'static str,
    pub shape: Markup,
    pub count: u64,
    pub current: bool,
    pub href: String,
}

impl StateCounts {
    /// Counts one more host in this state.
    pub fn add(&mut self, kind: StateKind) {
        let slot = match kind {
            StateKind::Discovered => &mut self.discovered,
            StateKind::Waiting => &mut self.waiting,
            StateKind::Armed => &mut self.armed,
            StateKind::Installing | StateKind::Silent => &mut self.installing,
            StateKind::Failed | StateKind::TimedOut | StateKind::Interrupted => &mut self.failed,
            StateKind::Cancelled => &mut self.cancelled,
            StateKind::Running => &mut self.running,
            StateKind::Expected | StateKind::Off => &mut self.off,
        };
        *slot = slot.saturating_add(1);
    }

    fn each(&self) -> [(StateKind, u64); 8] {
        [
            (StateKind::Waiting, self.waiting),
            (StateKind::Armed, self.armed),
            (StateKind::Installing, self.installing),
            (StateKind::Failed, self.failed),
            (StateKind::Running, self.running),
            (StateKind::Discovered, self.discovered),
            (StateKind::Cancelled, self.cancelled),
            (StateKind::Off, self.off),
        ]
    }

    /// All hosts.
    pub fn total(&self) -> u64 {
        self.each().iter().fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    pub id: String,
    /// Empty while it has none: the MAC stands in for it.
    pub name: String,
    pub mac: String,
    pub model: String,
    /// Instead of the hardware while that is unknown, for example `seen on switch sw1, port 14`.
    pub note: String,
    pub cores: u32,
    pub memory_bytes: u64,
    pub disk_bytes: Vec<u64>,
    /// Since it was last heard; `None` if never.
    pub seen_ms: Option<u64>,
    pub state: StateView,
    /// Came up just now: the row glows once.
    pub fresh: bool,
}

impl HostRow {
    pub(crate) fn key(&self) -> String {
        key(&self.id)
    }

    /// The id as one segment of a path.
    pub(crate) fn path(&self) -> String {
        query(&self.id)
    }

    pub(crate) fn title(&self) -> &str {
        if self.name.is_empty() { &self.mac } else { &self.name }
    }

    pub(crate) fn model_text(&self) -> &str {
        if self.model.is_empty() { "Not known yet" } else { &self.model }
    }

    pub(crate) fn specs(&self) -> String {
        match specs(self.cores, self.memory_bytes, &self.disk_bytes) {
            known if known.is_empty() => self.note.clone(),
            known => known,
        }
    }

    pub(crate) fn seen(&self) -> String {
        self.seen_ms.map_or("never".to_owned(), format::age)
    }
}

/// The start page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostsPage {
    pub shell: Shell,
    /// What was searched for; empty shows all.
    pub query: String,
    /// The chosen filter as in [`StateKind::filter`]; empty shows all.
    pub state: String,
    /// Over all hosts, not only the rows shown.
    pub counts: StateCounts,
    /// Those that match, in the order to show.
    pub rows: Vec<HostRow>,
    /// Since the last boot request from anybody, for the empty page.
    pub last_packet_ms: Option<u64>,
}

impl HostsPage {
    pub(crate) fn filtered(&self) -> bool {
        !self.query.is_empty() || !self.state.is_empty()
    }

    pub(crate) fn href(&self) -> String {
        href(&self.query, &self.state)
    }

    pub(crate) fn all_href(&self) -> String {
        href(&self.query, "")
    }

    pub(crate) fn filters(&self) -> Vec<Filter> {
        self.counts
            .each()
            .into_iter()
            .filter(|(kind, n)| *n > 0 || kind.filter() == self.state)
            .map(|(kind, count)| Filter {
                word: kind.word(),
                data: kind.data(),
                shape: Markup::glyph(kind.shape()),
                count,
                current: kind.filter() == self.state,
                href: href(&self.query, kind.filter()),
            })
            .collect()
    }

    /// `2 are waiting for you, 1 needs a look.`
    pub(crate) fn headline(&self) -> String {
        let mut said = Vec::new();
        for (n, one, many) in [
            (self.counts.waiting, "is waiting for you", "are waiting for you"),
            (self.counts.armed, "is armed", "are armed"),
            (self.counts.installing, "is installing", "are installing"),
            (self.counts.failed, "needs a look", "need a look"),
        ] {
            match n {
                0 => {}
                1 => said.push(format!("1 {one}")),
                _ => said.push(format!("{n} {many}")),
            }
        }
        if said.is_empty() { "All quiet.".to_owned() } else { format!("{}.", said.join(", ")) }
    }

    /// Why nothing is shown although there are hosts.
    pub(crate) fn nothing(&self) -> String {
        let all = format!("{} in all", format::count(self.counts.total(), "host"));
        match (self.query.is_empty(), self.state.is_empty()) {
            (false, true) => format!("{all}, none with that name, MAC, serial or tag."),
            (false, false) => format!("{all}, none in this state with that name, MAC, serial or tag."),
            _ => format!("{all}, none in this state right now."),
        }
    }

    pub(crate) fn listening(&self) -> String {
        if self.shell.address.is_empty() {
            return format!("{} has no address yet", self.shell.interface);
        }
        format!("Listening on {} as {}", self.shell.interface, self.shell.address)
    }

    pub(crate) fn last_packet(&self) -> String {
        match self.last_packet_ms {
            Some(ms) => format!("last boot request {}", super::state::ago(ms)),
            None => "no boot request heard yet".to_owned(),
        }
    }
}

fn href(q: &str, state: &str) -> String {
    match (q.is_empty(), state.is_empty()) {
        (true, true) => "/".to_owned(),
        (true, false) => format!("/?state={}", query(state)),
        (false, true) => format!("/?q={}", query(q)),
        (false, false) => format!("/?q={}&state={}", query(q), query(state)),
    }
}

/// A line of the pasted list that was not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineProblem {
    /// Counted from 1.
    pub line: u64,
    pub text: String,
    /// The rule and the fix.
    pub why: String,
}

/// Adds hosts by hand, from a list or CSV.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnrolPage {
    pub shell: Shell,
    /// What was pasted, kept after a refusal.
    pub list: String,
    /// For example `node-%02d`.
    pub pattern: String,
    pub list_problem: String,
    pub pattern_problem: String,
    pub problems: Vec<LineProblem>,
}
