//! One session: the task that opens a file and carries one [`Transfer`] over its own socket.

use crate::content::{Content, OpenError, Source};
use crate::observer::{Observer, Refusal, TransferInfo};
use crate::options::Limits;
use crate::packet::{ErrorCode, Mode, Packet, ReadRequest};
use crate::reader::{self, Reader, Reads};
use crate::socket::{Left, More, TransferSocket};
use crate::transfer::{Outcome, Step, Transfer};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

/// Longer than any client waits for the first answer.
const OPEN_PATIENCE: Duration = Duration::from_secs(20);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Answers to packets of others, so that two confused machines cannot keep each other busy.
const MOST_STRANGERS_ANSWERED: u32 = 16;

/// What the server tells a session.
pub(crate) enum Command {
    /// The client sent the same request again.
    Repeated,
    /// End with this outcome.
    Stop(Outcome),
}

/// What the server can see of a session, to decide which may make room.
pub(crate) struct Activity {
    epoch: Instant,
    heard_at: AtomicU64,
    heard: AtomicBool,
    lingers: AtomicBool,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            heard_at: AtomicU64::new(0),
            heard: AtomicBool::new(false),
            lingers: AtomicBool::new(false),
        }
    }

    /// Time since the client was last heard.
    pub(crate) fn silence(&self) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_millis(self.heard_at.load(Ordering::Relaxed)))
    }

    /// Whether the client answered anything since its request.
    pub(crate) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether all is sent and only the last acknowledgement is missing.
    pub(crate) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }

    fn packet_came(&self, transfer: &Transfer, now: Instant) {
        let age = now.saturating_duration_since(self.epoch);
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.heard_at.store(age, Ordering::Relaxed);
        self.heard.store(transfer.heard(), Ordering::Relaxed);
        self.lingers.store(transfer.lingers(), Ordering::Relaxed);
    }
}

/// Everything one session needs.
pub(crate) struct Session<S, O> {
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) local: IpAddr,
    pub(crate) request: ReadRequest,
    pub(crate) source: Arc<S>,
    pub(crate) observer: Arc<O>,
    pub(crate) limits: Limits,
    pub(crate) reads: Reads,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) activity: Arc<Activity>,
}

impl<S: Source, O: Observer> Session<S, O> {
    pub(crate) async fn run(mut self) {
        let socket = match TransferSocket::open(self.local, self.peer) {
            Ok(socket) => socket,
            Err(error) => return self.refuse(&Refusal::Socket(error.to_string())),
        };
        let opening = open(&*self.source, &self.request, self.peer, self.local, &self.reads);
        let opened = tokio::select! {
            opened = opening => opened,
            _stopped = stop_command(&mut self.commands) => return,
        };
        match opened {
            Ok((content, limits)) => {
                let limits = limits.unwrap_or_else(|| self.limits.clone());
                self.carry(socket, content, limits).await;
            }
            Err(refusal) => {
                if let Some(error) = answer_to(&refusal) {
                    socket.send(&error);
                }
                self.refuse(&refusal);
            }
        }
    }

    async fn carry(mut self, socket: TransferSocket, content: Content, mut limits: Limits) {
        limits.max_blksize = limits.max_blksize.min(socket.blksize_of_path());
        let begun = Instant::now();
        let (mut transfer, first) = Transfer::start(&self.request, content.len(), &limits, Duration::ZERO);
        let info = self.describe(&transfer, content.len());
        let mut reader = Reader::new(content, transfer.agreed().blksize, &self.reads);
        let observer = Arc::clone(&self.observer);
        let mut progress = Progress::new(&*observer, &info, begun);
        let mut alarm = pin!(sleep_until(begun + transfer.deadline()));
        let mut strangers = 0;
        let mut steps = VecDeque::from([first]);
        observer.started(&info);
        let outcome = loop {
            match steps.pop_front() {
                Some(Step::Wait) => {}
                Some(Step::SendOack(options)) => socket.send(&Packet::Oack(options)),
                Some(Step::SendBlocks(blocks)) => {
                    if let Some(left) = socket.send_now(&transfer, &mut reader, blocks) {
                        let sending = send_left(&socket, &transfer, &mut reader, left, limits.patience);
                        let sent = tokio::select! {
                            biased;
                            sent = sending => sent,
                            outcome = stop_command(&mut self.commands) => Err(outcome),
                        };
                        match sent {
                            Ok(()) => transfer.on_sent(begun.elapsed()),
                            Err(outcome) => break outcome,
                        }
                    }
                }
                Some(Step::End(outcome)) => break outcome,
                None => {
                    let now =
                        self.wait(&mut transfer, &socket, begun, alarm.as_mut(), &mut strangers, &mut steps).await;
                    progress.report(transfer.acked_bytes(), now);
                }
            }
        };
        if let Some(error) = farewell(&outcome) {
            socket.send(&error);
        }
        observer.ended(&info, transfer.acked_bytes(), &outcome, begun.elapsed());
    }

    /// Waits for whatever comes first: packets, a command, the deadline. Adds what is to be done then; returns the time.
    async fn wait(
        &mut self,
        transfer: &mut Transfer,
        socket: &TransferSocket,
        begun: Instant,
        mut alarm: Pin<&mut Sleep>,
        strangers: &mut u32,
        steps: &mut VecDeque<Step>,
    ) -> Instant {
        // An alarm that rings early costs less than one that is set anew at each packet.
        let deadline = begun + transfer.deadline();
        if alarm.is_elapsed() || deadline < alarm.deadline() {
            alarm.as_mut().reset(deadline);
        }
        let mut now = None;
        let mut take = |datagram: &[u8]| {
            let now = *now.get_or_insert_with(Instant::now);
            let Ok(packet) = Packet::decode(datagram) else { return More::Possible };
            let step = transfer.on_packet(&packet, now - begun);
            // Without a window, an acknowledgement that calls for the next block is the only one there is.
            let alone = transfer.agreed().windowsize == 1 && matches!(step, Step::SendBlocks(_));
            steps.push_back(step);
            self.activity.packet_came(transfer, now);
            if alone { More::NotExpected } else { More::Possible }
        };
        let event = poll_fn(|context| {
            if let Poll::Ready(received) = socket.poll_receive(context, &mut take) {
                return Poll::Ready(Event::Received(received));
            }
            socket.poll_stranger(context, &mut |datagram| answer_to_stranger(datagram, strangers));
            if let Poll::Ready(command) = self.commands.poll_recv(context) {
                return Poll::Ready(Event::Told(command));
            }
            alarm.as_mut().poll(context).map(|()| Event::Alarm)
        });
        match event.await {
            Event::Alarm if socket.overlooked(&mut take) => {}
            Event::Received(Ok(())) => {}
            // The client's port may be closed, or memory short: nothing says that the next call fares better at once.
            Event::Received(Err(_)) => sleep(Duration::from_millis(10)).await,
            Event::Told(Some(Command::Repeated)) => steps.push_back(transfer.on_repeated_request(begun.elapsed())),
            Event::Told(Some(Command::Stop(outcome))) => steps.push_back(Step::End(outcome)),
            Event::Told(None) => steps.push_back(Step::End(Outcome::Stopped)),
            Event::Alarm => steps.push_back(transfer.on_timeout(begun.elapsed())),
        }
        now.unwrap_or_else(Instant::now)
    }

    fn describe(&self, transfer: &Transfer, len: u64) -> TransferInfo {
        TransferInfo {
            id: self.id,
            peer: self.peer,
            local: self.local,
            filename: self.request.filename.clone(),
            len,
            blksize: transfer.agreed().blksize,
            windowsize: transfer.agreed().windowsize,
        }
    }

    fn refuse(&self, refusal: &Refusal) {
        self.observer.refused(self.peer, &self.request.filename, refusal);
    }
}

/// What a session waits for.
enum Event {
    Received(io::Result<()>),
    Told(Option<Command>),
    Alarm,
}

/// The answer to a packet that came to a transfer's port from elsewhere; it disturbs nothing (RFC 1350 section 4).
fn answer_to_stranger(datagram: &[u8], told: &mut u32) -> Option<Vec<u8>> {
    let is_error = matches!(Packet::decode(datagram), Ok(Packet::Error { .. }));
    (!is_error && *told < MOST_STRANGERS_ANSWERED).then(|| {
        *told += 1;
        Packet::error(ErrorCode::UNKNOWN_TID, "unknown transfer ID").encode()
    })
}

/// Opens what was asked, in the mode asked.
async fn open<S: Source>(
    source: &S,
    request: &ReadRequest,
    peer: SocketAddr,
    local: IpAddr,
    reads: &Reads,
) -> Result<(Content, Option<Limits>), Refusal> {
    if request.mode == Mode::Mail {
        return Err(Refusal::MailMode);
    }
    let opening = timeout(OPEN_PATIENCE, source.open(request, peer, local));
    let opened = opening.await.map_err(|_elapsed| Refusal::SourceTooSlow)?.map_err(Refusal::Source)?;
    let content = reader::in_mode(opened.data, request.mode, reads).await;
    let content = content.map_err(|error| Refusal::Netascii(error.to_string()))?;
    Ok((content, opened.limits))
}

/// The ERROR that tells the client of a refusal, if it is told.
fn answer_to(refusal: &Refusal) -> Option<Packet<'static>> {
    let (code, text) = match refusal {
        Refusal::Source(OpenError::NotFound) => (ErrorCode::NOT_FOUND, "file not found"),
        Refusal::Source(OpenError::AccessDenied) => (ErrorCode::ACCESS_VIOLATION, "access denied"),
        Refusal::Source(OpenError::Busy(text)) | Refusal::Netascii(text) => (ErrorCode::UNDEFINED, text.as_str()),
        Refusal::SourceTooSlow => (ErrorCode::UNDEFINED, "the file took too long to open"),
        Refusal::MailMode => (ErrorCode::ILLEGAL_OPERATION, "mail mode is not supported"),
        Refusal::Write => (ErrorCode::ACCESS_VIOLATION, "this server is read-only"),
        Refusal::Source(OpenError::Silent) | Refusal::SessionsFull | Refusal::HostSessionsFull | Refusal::Socket(_) => {
            return None;
        }
    };
    Some(Packet::error(code, text))
}

/// The ERROR that goes with an end that the client has not asked for.
///
/// A replaced session says nothing: the client's new transfer uses the same port and would take it for its own.
fn farewell(outcome: &Outcome) -> Option<Packet<'static>> {
    let text = match outcome {
        Outcome::ReadFailed(_) => "the file cannot be read to its end",
        Outcome::Stopped => "the server is stopping",
        Outcome::Complete
        | Outcome::Unconfirmed
        | Outcome::Probed
        | Outcome::Refused { .. }
        | Outcome::TimedOut
        | Outcome::Replaced => return None,
    };
    Some(Packet::error(ErrorCode::UNDEFINED, text))
}

async fn send_left(
    socket: &TransferSocket,
    transfer: &Transfer,
    reader: &mut Reader,
    left: Left,
    patience: Duration,
) -> Result<(), Outcome> {
    let sent = timeout(patience, socket.send_left(transfer, reader, left)).await;
    let too_slow = || io::Error::new(io::ErrorKind::TimedOut, "reading took too long");
    sent.unwrap_or_else(|_elapsed| Err(too_slow())).map_err(|error| Outcome::ReadFailed(error.to_string()))
}

/// Waits for the command to stop, past repeated requests, which mean nothing while there is something to send anyway.
async fn stop_command(commands: &mut mpsc::Receiver<Command>) -> Outcome {
    loop {
        match commands.recv().await {
            Some(Command::Repeated) => {}
            Some(Command::Stop(outcome)) => return outcome,
            None => return Outcome::Stopped,
        }
    }
}

/// Passes progress on, but not each packet's.
struct Progress<'a, O> {
    observer: &'a O,
    info: &'a TransferInfo,
    told_at: Instant,
    told: u64,
}

impl<'a, O: Observer> Progress<'a, O> {
    fn new(observer: &'a O, info: &'a TransferInfo, told_at: Instant) -> Self {
        Self { observer, info, told_at, told: 0 }
    }

    fn report(&mut self, acked: u64, now: Instant) {
        if acked > self.told && now.saturating_duration_since(self.told_at) >= PROGRESS_INTERVAL {
            self.told_at = now;
            self.told = acked;
            self.observer.progress(self.info, acked);
        }
    }
}
