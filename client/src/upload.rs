//! Bodies of requests: bytes, or a stream of which one piece is in memory.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};

/// How much of a stream is read at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// A value to put: bytes, or a stream.
pub struct Upload {
    /// The bytes, or the first ones.
    parts: VecDeque<Bytes>,
    /// The stream behind them.
    stream: Option<Source>,
    /// What follows the stream.
    tail: Bytes,
    /// How many bytes were sent.
    sent: Arc<AtomicU64>,
}

/// A stream of bytes.
struct Source {
    /// The bytes.
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// How many follow, if that is known.
    length: Option<u64>,
}

impl Upload {
    /// Sends what a reader has, while it is read. Such a put is never repeated by the client.
    ///
    /// If `length` is given, the reader must have as many bytes: the put fails otherwise, and stores nothing.
    pub fn stream(reader: impl AsyncRead + Send + 'static, length: Option<u64>) -> Upload {
        let source = Source { reader: Box::pin(reader), length };
        Upload { stream: Some(source), ..Upload::from(Bytes::new()) }
    }

    /// The same with bytes before and after it.
    pub(crate) fn inside(mut self, before: Bytes, after: Bytes) -> Upload {
        self.parts.push_front(before);
        match &self.stream {
            Some(_) => self.tail = after,
            None => self.parts.push_back(after),
        }
        self
    }

    /// The same once more; none if it is a stream.
    pub(crate) fn again(&self) -> Option<Upload> {
        let parts = self.stream.is_none().then(|| self.parts.clone())?;
        Some(Upload { parts, ..Upload::from(Bytes::new()) })
    }

    /// Counts the bytes that were sent.
    pub(crate) fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    /// Counts a piece as sent.
    fn counted(&self, piece: Bytes) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl<T: Into<Bytes>> From<T> for Upload {
    fn from(bytes: T) -> Upload {
        let bytes = bytes.into();
        let parts = (!bytes.is_empty()).then_some(bytes).into_iter().collect();
        Upload { parts, stream: None, tail: Bytes::new(), sent: Arc::default() }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("is_stream", &self.stream.is_some()).finish_non_exhaustive()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(part) = self.parts.pop_front() {
            return self.counted(part);
        }
        let Some(source) = &mut self.stream else { return Poll::Ready(None) };
        let mut piece = BytesMut::zeroed(PIECE_BYTES);
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(source.reader.as_mut().poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        if let Some(left) = &mut source.length {
            let wrong = || {
                io::Error::new(io::ErrorKind::UnexpectedEof, "it has another length than before")
            };
            *left = left.checked_sub(read as u64).ok_or_else(wrong)?;
            if read == 0 && *left > 0 {
                return Poll::Ready(Some(Err(wrong())));
            }
        }
        if read > 0 {
            piece.truncate(read);
            return self.counted(piece.freeze());
        }
        self.stream = None;
        let tail = std::mem::take(&mut self.tail);
        if tail.is_empty() { Poll::Ready(None) } else { self.counted(tail) }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let parts: usize = self.parts.iter().map(Bytes::len).sum();
        let rest = match &self.stream {
            None => Some(0),
            Some(source) => source.length,
        };
        let known = (parts + self.tail.len()) as u64;
        rest.map_or_else(SizeHint::default, |rest| SizeHint::with_exact(known + rest))
    }
}
