//! A socket whose reads and writes are recorded.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{activity::Activity, frames::Frames, head::Heads, refusal};

/// A socket whose reads and writes are recorded, and which does not lose the last response when it is
/// closed.
pub(super) struct Observed<S> {
    /// The stream.
    stream: S,
    /// The record that the watch reads.
    activity: Arc<Activity>,
    /// Inspects the heads of HTTP/1 requests.
    heads: Heads,
    /// Counts the frames of HTTP/2.
    frames: Frames,
    /// The most bytes of a head.
    max_header_bytes: u32,
    /// How many requests there were when last everything was flushed and none was in progress. A write
    /// before the next request is not a response to any: it is hyper's refusal of what arrived.
    answered: u64,
    /// The part of such a refusal that is not sent yet.
    refusal: Vec<u8>,
    /// The server has closed its half.
    is_shut: bool,
}

impl<S> Observed<S> {
    /// Records in `activity` what happens on `stream`. hyper refuses heads of more than
    /// `max_header_bytes`, which is repeated in the text of the refusal.
    pub(super) fn new(stream: S, activity: Arc<Activity>, max_header_bytes: u32) -> Observed<S> {
        Observed {
            stream,
            activity,
            heads: Heads::default(),
            frames: Frames::new(Instant::now()),
            max_header_bytes,
            answered: 0,
            refusal: Vec::new(),
            is_shut: false,
        }
    }

    /// Replaces what hyper writes if it refuses a request. hyper writes that in one piece.
    ///
    /// Returns whether it did; `written` must then be reported as sent, and `refusal` is sent by later polls.
    fn replaces_refusal(&mut self, written: &[u8]) -> bool {
        if !self.activity.is_between_requests() || self.activity.requests() != self.answered {
            return false;
        }
        let refusal = refusal::with_text(written, self.max_header_bytes);
        refusal.is_some_and(|refusal| {
            self.refusal = refusal.into_bytes();
            true
        })
    }

    /// Records whether a write found room.
    fn record(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(sent)) => {
                self.frames.sent(*sent);
                self.activity.wrote(true);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.wrote(false),
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let received = &mut buf.filled_mut()[before..];
        if !received.is_empty() {
            self.activity.received(received);
            if let Err(flood) = self.frames.received(received, Instant::now) {
                self.activity.flooded();
                return Poll::Ready(Err(io::Error::other(flood)));
            }
            if self.activity.awaits_http1_head() {
                let requests = self.activity.requests();
                if self.heads.mask(received, requests) {
                    self.activity.next_is_framed_twice();
                }
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Observed<S> {
    /// Sends the rest of a refusal.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_write(cx, &self.refusal);
            let sent = ready!(self.record(polled))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(cx))?;
        if self.replaces_refusal(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.record(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(cx))?;
        if let [bytes] = slices
            && self.replaces_refusal(bytes)
        {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.record(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.activity.is_between_requests() {
            self.answered = self.activity.requests();
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the server's half. If the client may still be sending, its bytes are read and discarded
    /// until it closes too (the watch bounds that): the system resets a socket that is closed with
    /// unread bytes, and the client would lose a 431 or 413 that was sent.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(self.poll_refusal(cx))?;
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        if !self.activity.linger() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut scratch = [0; 4096];
            let mut discarded = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut discarded))?;
            if discarded.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
