//! The runs under way: each order is done once, however often it comes, on a thread of its own.

use crate::{
    console,
    link::{Link, Verdict},
    machine::Machine,
    tasks::{self, Job, Outcome},
};
use rackberry_core::{
    agent::{News, Run},
    task::TaskOrder,
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
};

/// How the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    Restart,
    PowerOff,
}

/// Where one run stands.
#[derive(Debug)]
enum Place {
    UnderWay(Arc<AtomicBool>),
    /// Kept, so that the order is not carried out again when the box repeats it.
    Over(News),
}

/// Everything ordered in this boot.
#[derive(Debug)]
pub struct Crew {
    link: Arc<Link>,
    machine: Machine,
    runs: Mutex<HashMap<Run, Place>>,
    leave: Sender<Leave>,
}

impl Crew {
    /// Works on `machine` for the box behind `link`; `leave` is told when a run ends in a restart.
    #[must_use]
    pub fn new(link: Arc<Link>, machine: Machine, leave: Sender<Leave>) -> Arc<Self> {
        Arc::new(Crew { link, machine, runs: Mutex::new(HashMap::new()), leave })
    }

    /// What is being done now.
    #[must_use]
    pub fn running(&self) -> Vec<Run> {
        let under_way = |(run, place): (&Run, &Place)| matches!(place, Place::UnderWay(_)).then(|| run.clone());
        self.places().iter().filter_map(under_way).collect()
    }

    /// Begins a run; one already under way goes on, and one that is over is reported again. False if nothing is new.
    pub fn order(self: &Arc<Self>, run: Run, order: TaskOrder) -> bool {
        let stop = Arc::new(AtomicBool::new(false));
        let again = {
            let mut places = self.places();
            if matches!(places.get(&run), Some(Place::UnderWay(_))) {
                return false;
            }
            match places.insert(run.clone(), Place::UnderWay(Arc::clone(&stop))) {
                Some(Place::Over(news)) => Some(news),
                Some(Place::UnderWay(_)) | None => None,
            }
        };
        let new = again.is_none();
        let crew = Arc::clone(self);
        let work = move || crew.work(run, &order, &stop, again);
        if let Err(error) = std::thread::Builder::new().name("run".to_owned()).spawn(work) {
            // The order stays in the table as under way, so that the box's time-out for it decides.
            console::say(&format!("Cannot begin an order: {error}."));
        }
        new
    }

    /// Ends a run at its next opportunity and forgets it.
    pub fn stop(&self, run: &Run) {
        let mut places = self.places();
        match places.get(run) {
            Some(Place::UnderWay(stop)) if !stop.swap(true, Ordering::Relaxed) => {
                console::say(&format!("The box stopped \"{}\".", run.task));
            }
            Some(Place::UnderWay(_)) | None => {}
            Some(Place::Over(_)) => {
                places.remove(run);
            }
        }
    }

    fn work(&self, run: Run, order: &TaskOrder, stop: &AtomicBool, again: Option<News>) {
        let news = again.or_else(|| self.perform(&run, order, stop));
        let Some(news) = news else {
            self.places().remove(&run);
            return;
        };
        let verdict = self.link.insist(&news, stop);
        let restart = matches!((order, &news, verdict), (TaskOrder::Restart {}, News::Done { .. }, Verdict::Taken));
        self.places().insert(run, Place::Over(news));
        if restart {
            // Nobody listens any more only when the agent is leaving already.
            let _ = self.leave.send(Leave::Restart);
        }
    }

    /// Does the work; the news of its end, or none if the box no longer wants it.
    fn perform(&self, run: &Run, order: &TaskOrder, stop: &AtomicBool) -> Option<News> {
        let job = Job { link: &self.link, machine: &self.machine, run, stop };
        let outcome = catch_unwind(AssertUnwindSafe(|| tasks::perform(&job, order))).unwrap_or_else(|_| {
            let message = "The agent has a fault: it broke off at a point that should never be reached.".into();
            Outcome::Failed { transient: true, message }
        });
        match outcome {
            Outcome::Done => {
                console::say(&format!("\"{}\" is done.", run.task));
                Some(News::Done { run: run.clone() })
            }
            Outcome::Failed { transient, message } => {
                console::say(&format!("\"{}\" failed: {message}", run.task));
                Some(News::Failed { run: run.clone(), transient, message })
            }
            Outcome::NotWanted => {
                console::say(&format!("\"{}\" is no longer wanted.", run.task));
                None
            }
        }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Run, Place>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
