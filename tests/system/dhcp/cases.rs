//! The list of cases, and a runner that gives each configuration one server.

use crate::bench::{Ask, Bench, Config, Subject};
use anyhow::Result;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use system_tests::side_by_side;

/// Who has to pass a case beside the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// dnsmasq passes it, too: the case is proven.
    Dnsmasq,
    /// dnsmasq cannot, for this reason.
    No(&'static str),
}

type Run = Box<dyn Fn(&Ask<'_>) -> Result<()> + Send + Sync>;
type Alone = Box<dyn Fn() -> Result<String> + Send + Sync>;

struct Case {
    section: &'static str,
    rule: String,
    config: Config,
    peer: Peer,
    run: Run,
}

/// All cases, in the order of the document they come from.
#[derive(Default)]
pub struct Cases {
    section: &'static str,
    list: Vec<Case>,
    alone: Vec<(&'static str, &'static str, Alone)>,
}

/// Cases that ask one server at a time.
const ABREAST: usize = 12;

impl Cases {
    /// What follows is about this part of a document.
    pub fn section(&mut self, section: &'static str) -> &mut Self {
        self.section = section;
        self
    }

    /// A rule that a server of this configuration obeys.
    pub fn rule(
        &mut self,
        config: Config,
        peer: Peer,
        rule: impl Into<String>,
        run: impl Fn(&Ask<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> &mut Self {
        let (section, run) = (self.section, Box::new(run));
        self.list.push(Case { section, rule: rule.into(), config, peer, run });
        self
    }

    /// A rule that brings its own servers; what it returns are its figures.
    pub fn alone(&mut self, rule: &'static str, run: impl Fn() -> Result<String> + Send + Sync + 'static) -> &mut Self {
        self.alone.push((self.section, rule, Box::new(run)));
        self
    }

    /// Runs what the command line asks for; the process's exit code.
    pub fn run(self) -> ExitCode {
        // The flags are those of the usual harness; the words choose cases.
        let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
        let only = std::env::var("RACKBERRY_SUBJECT").unwrap_or_default();
        let chosen = |section: &str, rule: &str| {
            words.is_empty() || words.iter().any(|word| section.contains(word.as_str()) || rule.contains(word.as_str()))
        };
        let Cases { mut list, alone, .. } = self;
        list.retain(|case| chosen(case.section, &case.rule));
        let mut failed = Vec::new();
        let mut passed: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        let mut marked: BTreeMap<&str, usize> = BTreeMap::new();
        let began = Instant::now();
        for (column, subject) in [Subject::Ours, Subject::Dnsmasq].into_iter().enumerate() {
            if !only.is_empty() && only != subject.word() {
                continue;
            }
            for config in Config::ALL {
                let of_config = list.iter().filter(|case| case.config == config);
                let cases: Vec<&Case> = match subject {
                    Subject::Ours => of_config.collect(),
                    Subject::Dnsmasq => of_config.filter(|case| case.peer == Peer::Dnsmasq).collect(),
                };
                if cases.is_empty() {
                    continue;
                }
                for (case, result) in run_config(subject, config, &cases) {
                    match result {
                        Ok(()) => {
                            if let Some(count) = passed.entry(case.section).or_default().get_mut(column) {
                                *count += 1;
                            }
                        }
                        Err(why) => {
                            failed.push(format!("{} | {} | {}: {why}", subject.word(), case.section, case.rule))
                        }
                    }
                }
            }
        }
        for case in &list {
            if let Peer::No(reason) = case.peer {
                *marked.entry(reason).or_default() += 1;
            }
        }
        println!("{:<34} {:>5} {:>8}", "section", "ours", "dnsmasq");
        for (section, [ours, dnsmasq]) in &passed {
            println!("{section:<34} {ours:>5} {dnsmasq:>8}");
        }
        let total = passed.values().fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
        println!("{:<34} {:>5} {:>8}  of {} in {:?}", "passed", total[0], total[1], list.len(), began.elapsed());
        for (reason, count) in marked {
            println!("not for dnsmasq ({count}): {reason}");
        }
        if only != Subject::Dnsmasq.word() {
            for (section, rule, run) in alone.iter().filter(|(section, rule, _)| chosen(section, rule)) {
                let began = Instant::now();
                match guarded(run) {
                    Ok(figures) => println!("{section} | {rule}: {figures} ({:?})", began.elapsed()),
                    Err(why) => failed.push(format!("{section} | {rule}: {why}")),
                }
            }
        }
        for line in &failed {
            println!("FAILED {line}");
        }
        println!("dhcp: {} failed, {:?} in all", failed.len(), began.elapsed());
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs the cases of one configuration on one server.
fn run_config<'a>(subject: Subject, config: Config, cases: &[&'a Case]) -> Vec<(&'a Case, Result<(), String>)> {
    let bench = match Bench::start(subject, config) {
        Ok(bench) => bench,
        Err(error) => {
            let why = format!("{config:?} does not start: {error:#}");
            return cases.iter().map(|case| (*case, Err(why.clone()))).collect();
        }
    };
    let began = Instant::now();
    let results = side_by_side(&bench.site.room, ABREAST, cases, |_, case| {
        let result = guarded(|| {
            let ask = Ask::new(&bench)?;
            (case.run)(&ask)
        });
        Ok((*case, result))
    });
    let results = results.unwrap_or_else(|error| {
        cases.iter().map(|case| (*case, Err(format!("the cases could not be run: {error:#}")))).collect()
    });
    println!("{} as {config:?}: {} cases in {:?}", subject.word(), cases.len(), began.elapsed());
    if results.iter().any(|(_, result)| result.is_err()) {
        println!("--- the server's last words ---\n{}", bench.last_words());
    }
    results
}

fn guarded<T>(run: impl Fn() -> Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| format!("{error:#}")),
        Err(_) => Err("panicked".to_owned()),
    }
}

/// How long an answer may take on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(30);
