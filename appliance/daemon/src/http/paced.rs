//! Time limits on what a client sends and takes: nobody may hold a connection by doing it endlessly slowly.

use super::seats::Seat;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A reader that takes nothing for this long is gone; a disk on the other side may well stall for half of it.
const READER: Duration = Duration::from_secs(60);
/// The longest pause within a request's body.
const PAUSE: Duration = Duration::from_secs(10);
/// The body's slowest honest pace, after a first half minute.
const BODY_GRACE: Duration = Duration::from_secs(30);
const BODY_BYTES_PER_S: u64 = 16 << 10;

/// A connection whose reader has to go on reading.
pub(super) struct Paced<S> {
    stream: S,
    seat: Arc<Seat>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub fn new(stream: S, seat: Arc<Seat>) -> Self {
        Paced { stream, seat, stalled: None }
    }

    fn paced(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            self.seat.moved();
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(READER)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.seat.moved();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.paced(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.paced(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A request's body that came too slowly, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body comes too slowly")]
    Slow,
    #[error("the body broke off")]
    Broken(#[from] hyper::Error),
}

/// A request's body that has to come along; once it is whole, its request counts as being answered.
pub(super) struct PacedBody<B> {
    body: B,
    seat: Arc<Seat>,
    began: Instant,
    bytes: u64,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<B: Body> PacedBody<B> {
    pub fn new(body: B, seat: Arc<Seat>) -> Self {
        if body.is_end_stream() {
            seat.serving(true);
        }
        PacedBody { body, seat, began: Instant::now(), bytes: 0, pause: None }
    }
}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
            ready!(pause.as_mut().poll(cx));
            return Poll::Ready(Some(Err(BodyError::Slow)));
        };
        self.pause = None;
        self.bytes += frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, size);
        if self.body.is_end_stream() || frame.is_none() {
            self.seat.serving(true);
        } else if self.began.elapsed() > BODY_GRACE + Duration::from_secs(self.bytes / BODY_BYTES_PER_S) {
            return Poll::Ready(Some(Err(BodyError::Slow)));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn size(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
