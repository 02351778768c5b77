//! A socket whose reads and writes are seen.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{activity::Activity, head::Heads, refusal};

/// A socket whose reads and writes are seen, and which does not cut off its own last words.
pub(super) struct Observed<S> {
    stream: S,
    activity: Arc<Activity>,
    heads: Heads,
    max_header_bytes: u32,
    /// How many requests there had been when all that was written had left, and none was active.
    /// What is written before the next one is no response to any: hyper refuses what came.
    answered: u64,
    /// What is still to be sent of such a refusal.
    refusal: Vec<u8>,
    is_shut: bool,
}

impl<S> Observed<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, max_header_bytes: u32) -> Observed<S> {
        Observed {
            stream,
            activity,
            heads: Heads::default(),
            max_header_bytes,
            answered: 0,
            refusal: Vec::new(),
            is_shut: false,
        }
    }

    /// Takes over what hyper writes if it refuses a request. It writes that at once.
    fn takes_refusal(&mut self, written: &[u8]) -> bool {
        if !self.activity.is_between_requests() || self.activity.requests() != self.answered {
            return false;
        }
        let refusal = refusal::with_text(written, self.max_header_bytes);
        refusal.is_some_and(|refusal| {
            self.refusal = refusal.into_bytes();
            true
        })
    }

    fn seen(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(_)) => self.activity.wrote(true),
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
        let came = &mut buf.filled_mut()[before..];
        if !came.is_empty() {
            self.activity.received(came);
            if self.activity.awaits_http1_head() {
                let requests = self.activity.requests();
                if self.heads.mask(came, requests) {
                    self.activity.next_is_framed_twice();
                }
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Observed<S> {
    /// Sends what is left of a refusal.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_write(cx, &self.refusal);
            let sent = ready!(self.seen(polled))?;
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
        if self.takes_refusal(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.seen(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(cx))?;
        if let [bytes] = slices
            && self.takes_refusal(bytes)
        {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.seen(polled)
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

    /// Closes our half. If the client may still be sending, what it sends is read and thrown away
    /// until it closes too (the watch bounds that): a socket that is closed with bytes unread is
    /// reset, and a 431 or 413 that was sent would be lost to it.
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
            let mut thrown_away = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut thrown_away))?;
            if thrown_away.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
