//! A machine without hardware: it asks for boot scripts and speaks the agent's protocol as fast as the box answers.
//!
//! Its disks are words, its writes take no time; what it would have erased, and what the box acknowledged, is kept in
//! its [`Life`]. It loses answers, says things twice and loses power as its faults tell. Make its calls on a thread
//! that stands in the hosts' namespace.

use crate::{
    fake_host::{FakeHost, Script},
    life::Life,
    pxe::web,
};
use anyhow::{Context, Result, bail, ensure};
use rackberry_core::{
    agent::{Answer, Hello, News, Next, PROTOCOL, Progress, Received, Report, Run, Welcome},
    host::SmbiosUuid,
    task::TaskOrder,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

/// Between two tries; the real agent begins with half a second and goes up to five.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);
/// How long an answer to all but `next` may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl FakeHost {
    /// The script that starts the RAM OS; the agent of that boot.
    ///
    /// # Errors
    /// When it gets another one.
    pub fn boot<'a>(&'a self, server: SocketAddrV4, life: &'a mut Life) -> Result<FakeAgent<'a>> {
        match self.script(server)? {
            Script::RamOs { token, .. } => Ok(FakeAgent::new(self, server, token, life)),
            other => bail!("{} was to boot the RAM OS, but got {other:?}", self.mac),
        }
    }

    /// Boots from the network again and again, doing what it is told, until its own system has reported that it is up,
    /// or until it starts from a disk that nobody has written since `life` began.
    ///
    /// # Errors
    /// When that did not happen before `until`, or the box says something that it must not.
    pub fn live(&self, server: SocketAddrV4, life: &mut Life, until: Instant) -> Result<()> {
        let mut pause = PAUSE;
        loop {
            ensure!(Instant::now() < until, "{} is still booting: {}", self.mac, life.brief());
            let script = match self.script(server) {
                Ok(script) => script,
                Err(_) => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            pause = PAUSE;
            life.boots += 1;
            match script {
                Script::RamOs { token, .. } => {
                    let mut agent = FakeAgent::new(self, server, token, life);
                    let left = agent.work(until)?;
                    if left == Leave::Off {
                        return Ok(());
                    }
                }
                Script::LocalDisk => {
                    let Some(token) = life.first_boot.clone() else { return Ok(()) };
                    let mut system = FakeAgent::new(self, server, token, life);
                    let up = News::FirstBoot { hostname: "fake".into() };
                    match system.insist(&up, until)? {
                        Verdict::Taken => {
                            life.first_boot = None;
                            return Ok(());
                        }
                        Verdict::Died => {}
                        Verdict::NotWanted => bail!("the first boot of {} was refused: {}", self.mac, life.brief()),
                    }
                }
                Script::NothingToBoot | Script::AskAgain => std::thread::sleep(PAUSE),
                Script::Other(text) => bail!("{} was given this script:\n{text}", self.mac),
            }
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// 200 and its body.
    Answer(T),
    /// Another status.
    Refused(u16),
    /// No answer, for whatever reason.
    Nothing,
}

/// What the box made of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken, and durable there.
    Taken,
    /// The run is over for the box.
    NotWanted,
    /// The power failed meanwhile.
    Died,
}

/// How a boot of the RAM OS ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It restarts, by order or because the power failed.
    Restart,
    /// It was told to switch off.
    Off,
}

/// The agent of one boot, or the first-boot script of an installed system.
pub struct FakeAgent<'a> {
    host: &'a FakeHost,
    server: SocketAddrV4,
    token: String,
    life: &'a mut Life,
    connection: Option<web::Connection>,
    over: Vec<(Run, News)>,
}

impl<'a> FakeAgent<'a> {
    /// Speaks for `host` with this token.
    #[must_use]
    pub fn new(host: &'a FakeHost, server: SocketAddrV4, token: String, life: &'a mut Life) -> Self {
        Self { host, server, token, life, connection: None, over: Vec::new() }
    }

    /// What the machine went through.
    #[must_use]
    pub fn life(&mut self) -> &mut Life {
        self.life
    }

    /// Greets the box, once.
    pub fn hello(&mut self) -> Said<Welcome> {
        let hello = Hello {
            protocol: PROTOCOL,
            token: self.token.clone(),
            mac: self.host.mac,
            uuid: SmbiosUuid::parse(&self.host.uuid),
            serial: self.host.serial.as_str().into(),
            facts: self.host.facts.clone(),
            version: "fake".into(),
        };
        self.post("hello", &hello, PATIENCE)
    }

    /// Asks what to do, once; the box holds its answer while there is nothing.
    pub fn next(&mut self, running: &[Run], patience: Duration) -> Said<Answer> {
        let next = Next { token: self.token.clone(), running: running.to_vec() };
        self.post("next", &next, patience)
    }

    /// Reports, once.
    pub fn report(&mut self, news: &News) -> Said<Received> {
        let report = Report { token: self.token.clone(), news: news.clone() };
        let said = self.post("report", &report, PATIENCE);
        if said == Said::Answer(Received { stop: false }) {
            self.life.acknowledged.push(news.clone());
        }
        said
    }

    /// Reports until the box has answered, as the real agent does.
    ///
    /// # Errors
    /// When it has not by `until`.
    pub fn insist(&mut self, news: &News, until: Instant) -> Result<Verdict> {
        let mut pause = PAUSE;
        loop {
            if self.power_fails() {
                return Ok(Verdict::Died);
            }
            match self.report(news) {
                Said::Answer(Received { stop: false }) => return Ok(Verdict::Taken),
                Said::Answer(Received { stop: true }) | Said::Refused(409) => return Ok(Verdict::NotWanted),
                Said::Refused(404) => {
                    let _ = self.hello();
                }
                Said::Refused(_) | Said::Nothing => {}
            }
            ensure!(Instant::now() < until, "{}: no answer to {news:?}", self.host.mac);
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The whole life of an agent: greet, then do what the box says, until this boot ends.
    ///
    /// # Errors
    /// When it does not end by `until`.
    pub fn work(&mut self, until: Instant) -> Result<Leave> {
        let (mut pause, mut greeted) = (PAUSE, false);
        loop {
            ensure!(Instant::now() < until, "{} still waits: {}", self.host.mac, self.life.brief());
            if self.power_fails() {
                return Ok(Leave::Restart);
            }
            let left = until.saturating_duration_since(Instant::now()).max(PAUSE);
            let failed = if greeted {
                match self.next(&[], left.min(Duration::from_secs(30))) {
                    Said::Answer(Answer::Run { run, order }) => {
                        if let Some(leave) = self.perform(&run, &order, until)? {
                            return Ok(leave);
                        }
                        None
                    }
                    Said::Answer(Answer::ToDisk { .. } | Answer::Restart { .. }) => return Ok(Leave::Restart),
                    Said::Answer(Answer::PowerOff { .. }) => return Ok(Leave::Off),
                    Said::Answer(Answer::Wait { .. } | Answer::Stop { .. }) => None,
                    Said::Refused(status) => Some(status),
                    Said::Nothing => Some(0),
                }
            } else {
                match self.hello() {
                    Said::Answer(welcome) if welcome.restart => return Ok(Leave::Restart),
                    Said::Answer(_) => None,
                    Said::Refused(status) => Some(status),
                    Said::Nothing => Some(0),
                }
            };
            match failed {
                None => (pause, greeted) = (PAUSE, true),
                // The box does not know this boot: only another one helps.
                Some(403 | 404) => return Ok(Leave::Restart),
                Some(_) => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Carries an order out, once however often it comes; how this boot ends, if it does by that.
    fn perform(&mut self, run: &Run, order: &TaskOrder, until: Instant) -> Result<Option<Leave>> {
        let known = self.over.iter().find(|(done, _)| done == run).map(|(_, news)| news.clone());
        let news = match known {
            Some(news) => news,
            None => {
                if !matches!(order, TaskOrder::Restart {}) {
                    match self.insist(&News::Started { run: run.clone() }, until)? {
                        Verdict::Taken => {}
                        Verdict::NotWanted => return Ok(None),
                        Verdict::Died => return Ok(Some(Leave::Restart)),
                    }
                    self.late_question()?;
                }
                match order {
                    TaskOrder::WriteImage { url, size_bytes, .. } => {
                        self.life.erased.push(run.clone());
                        self.life.first_boot = None;
                        self.write(run, url, *size_bytes, until)?;
                    }
                    TaskOrder::Configure { files, .. } => {
                        let token = files.iter().find_map(|file| {
                            let (_, rest) = file.content.split_once("\"token\":\"")?;
                            rest.split('"').next().map(str::to_owned)
                        });
                        self.life.first_boot = Some(token.context("no file of the order holds a first-boot token")?);
                    }
                    TaskOrder::Restart {} => {}
                }
                News::Done { run: run.clone() }
            }
        };
        let verdict = self.insist(&news, until)?;
        self.over.push((run.clone(), news));
        Ok(match (verdict, order) {
            (Verdict::Died, _) | (Verdict::Taken, TaskOrder::Restart {}) => Some(Leave::Restart),
            (Verdict::Taken | Verdict::NotWanted, _) => None,
        })
    }

    /// The question that led to this order arrives once more, now that the work has begun.
    fn late_question(&mut self) -> Result<()> {
        if self.life.dice.hits(self.life.faults.double) {
            self.life.doubled += 1;
            let faults = std::mem::take(&mut self.life.faults);
            let said = self.next(&[], Duration::from_millis(60));
            self.life.faults = faults;
            let order = matches!(said, Said::Answer(Answer::Run { .. } | Answer::Stop { .. }));
            ensure!(!order, "{}: a repeated question was answered {said:?}", self.host.mac);
        }
        Ok(())
    }

    /// Reads the image as long as it takes, and tells its progress.
    fn write(&mut self, run: &Run, url: &str, size: u64, until: Instant) -> Result<()> {
        let path = url.strip_prefix("http://").and_then(|url| url.split_once('/')).map(|(_, path)| format!("/{path}"));
        let path = path.with_context(|| format!("the image's address {url:?}"))?;
        loop {
            ensure!(Instant::now() < until, "{}: {url} did not come", self.host.mac);
            match self.host.request(self.server, "GET", &path) {
                Ok(image) => {
                    ensure!(image.status == 200 && image.body.len() as u64 == size, "{url}: {}", image.status);
                    let progress = |done_bytes| Progress { done_bytes, total_bytes: size, ..Progress::default() };
                    for done in [size / 2, size] {
                        let _ = self.report(&News::Progress { run: run.clone(), progress: progress(done) });
                        self.life.acknowledged.pop_if(|news| matches!(news, News::Progress { .. }));
                    }
                    return Ok(());
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn power_fails(&mut self) -> bool {
        self.life.dice.hits(self.life.faults.die)
    }

    fn post<M: Serialize, A: DeserializeOwned>(&mut self, message: &str, body: &M, patience: Duration) -> Said<A> {
        match self.exchange(message, body, patience) {
            Ok(Some(reply)) if reply.status == 200 => {
                serde_json::from_slice(&reply.body).map_or(Said::Nothing, Said::Answer)
            }
            Ok(Some(reply)) => Said::Refused(reply.status),
            Ok(None) | Err(_) => {
                self.connection = None;
                Said::Nothing
            }
        }
    }

    fn exchange<M: Serialize>(&mut self, message: &str, body: &M, patience: Duration) -> Result<Option<web::Reply>> {
        let body = serde_json::to_vec(body)?;
        let path = format!("/agent/v1/{message}");
        let headers = [("Content-Type", "application/json")];
        let open = || web::Connection::open_from(self.host.address, self.server, PATIENCE);
        let Life { dice, faults, .. } = &mut *self.life;
        let (double, lose) = (dice.hits(faults.double), dice.hits(faults.lose));
        let mut twin = None;
        if double {
            self.life.doubled += 1;
            let mut connection = open()?;
            connection.set_patience(patience.min(Duration::from_millis(100)))?;
            connection.say("POST", &path, &headers, &body)?;
            twin = Some(connection);
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => open()?,
        };
        connection.set_patience(patience)?;
        if lose {
            self.life.lost += 1;
            // Either the cable fails at once, or the answer was on its way.
            if self.life.dice.hits(50.0) {
                connection.say("POST", &path, &headers, &body)?;
            } else {
                connection.set_patience(patience.min(Duration::from_millis(100)))?;
                let _ = connection.send("POST", &path, &headers, &body);
            }
            return Ok(None);
        }
        let reply = connection.send("POST", &path, &headers, &body)?;
        self.connection = Some(connection);
        drop(twin);
        Ok(Some(reply))
    }
}
