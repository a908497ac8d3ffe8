//! Which page is shown now.

use super::{Alarm, Installing, Network, Notice, PAGE_TICKS, StatusView, Step, TURNED_TICKS};

/// A page with what it shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Page<'v> {
    Notice(&'v Notice),
    /// The n-th alarm of so many.
    Alarm(&'v Alarm, usize, usize),
    /// All of its text.
    Details(&'v Alarm),
    NoNetwork(&'v str),
    Ready,
    /// The code for the first person.
    Code(&'v str),
    OneInstall(&'v Installing),
    Installs,
}

/// A notice first, then alarms, which stay until they are settled; else pages take turns. A press shows the next one of all.
pub(super) fn choose(view: &StatusView, tick: u64) -> Page<'_> {
    if let Some(notice) = &view.notice {
        return Page::Notice(notice);
    }
    let Some(turned) = view.turned.filter(|turned| tick.saturating_sub(turned.at) < TURNED_TICKS) else {
        return by_itself(view, tick);
    };
    let left = by_itself(view, turned.first);
    let pages = all(view);
    let begin = pages.iter().position(|page| *page == left).unwrap_or(0);
    let turned = usize::try_from(turned.presses % count(&pages)).unwrap_or(0);
    pages.iter().cycle().nth(begin + turned).copied().unwrap_or(left)
}

/// The page that nobody turned.
fn by_itself(view: &StatusView, tick: u64) -> Page<'_> {
    let pages = if view.alarms.is_empty() { usual(view) } else { alarms(view).collect() };
    let now = usize::try_from(tick / PAGE_TICKS % count(&pages)).unwrap_or(0);
    pages.get(now).copied().unwrap_or(Page::Ready)
}

fn count(pages: &[Page<'_>]) -> u64 {
    u64::try_from(pages.len()).unwrap_or(1).max(1)
}

fn alarms(view: &StatusView) -> impl Iterator<Item = Page<'_>> {
    let count = view.alarms.len();
    view.alarms.iter().enumerate().map(move |(n, alarm)| Page::Alarm(alarm, n, count))
}

fn usual(view: &StatusView) -> Vec<Page<'_>> {
    let mut pages = Vec::new();
    match view.installs.as_slice() {
        [] => {}
        [one] => pages.push(Page::OneInstall(one)),
        _ => pages.push(Page::Installs),
    }
    pages.push(match &view.network {
        Network::Up { .. } => Page::Ready,
        Network::Waiting { why } => Page::NoNetwork(why),
    });
    if let Some(code) = &view.code {
        pages.push(Page::Code(code));
    }
    pages
}

/// What presses go through: each alarm and its whole text, then the usual pages.
fn all(view: &StatusView) -> Vec<Page<'_>> {
    let pinned = alarms(view).zip(&view.alarms).flat_map(|(page, alarm)| [page, Page::Details(alarm)]);
    pinned.chain(usual(view)).collect()
}

/// Installs in the order in which a person has to care, and how many of them ended badly.
pub(super) fn worst_first(view: &StatusView) -> Vec<&Installing> {
    let mut installs: Vec<&Installing> = view.installs.iter().collect();
    installs.sort_by_key(|install| match install.step {
        Step::Failed(_) => 0,
        Step::Quiet(_) => 1,
        Step::Busy => 2,
        Step::Armed => 3,
    });
    installs
}

/// The line under the installs: how many more there are, and what else is worth a word.
pub(super) fn sum(rest: &[&Installing], done: u64) -> Option<(String, String)> {
    let failed = rest.iter().filter(|install| install.step.failed()).count();
    let more = if rest.is_empty() { String::new() } else { format!("+{} more", rest.len()) };
    let word = match (failed, done) {
        (0, 0) => String::new(),
        (0, done) => format!("{done} done"),
        (failed, _) => format!("{failed} failed"),
    };
    (!more.is_empty() || !word.is_empty()).then_some((more, word))
}

/// What the box does on its network, in at most 13 signs.
pub(super) fn mode(word: &str) -> &str {
    match word {
        "observe" => "Listening",
        "proxy" => "Beside DHCP",
        "proxy for enrolled hosts" => "Enrolled only",
        "pxe-only" => "Boots only",
        "server" => "DHCP server",
        other => other,
    }
}

/// Whether anything is wrong, in a few words.
pub(super) fn well(view: &StatusView) -> String {
    let failed = view.installs.iter().filter(|install| install.step.failed()).count();
    match (view.alarms.len(), failed) {
        (0, 0) if view.installs.is_empty() => "All well".to_owned(),
        (0, 0) => format!("{} running", view.installs.len()),
        (0, failed) => format!("{failed} failed"),
        (1, _) => "1 alarm".to_owned(),
        (alarms, _) => format!("{alarms} alarms"),
    }
}

/// How many hosts there are.
pub(super) fn hosts(view: &StatusView) -> String {
    match view.hosts {
        0 => "No hosts yet".to_owned(),
        1 => "1 host".to_owned(),
        count => format!("{count} hosts"),
    }
}
