//! Response bodies that are made piece by piece, as the client reads them.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use kv_core::{BodyReader, ReadError};
use tokio::task::JoinHandle;

use super::{Body, BoxError};

/// The least size of a piece that is written from several small parts, except the last.
pub const PIECE_BYTES: usize = 64 << 10;

/// Makes the pieces of a body, one at a time, each once the client has read the one before.
///
/// In [`body`] it runs on a thread that serves connections: a piece should cost no more than reading
/// 64 KiB from the disk. In [`offloaded`] it may read more.
pub trait Pieces: Send + Unpin {
    /// Returns the next piece, which is not empty; none at the end.
    ///
    /// # Errors
    /// If the store can't be read.
    fn next(&mut self) -> Result<Option<Bytes>, ReadError>;
}

impl Pieces for BodyReader {
    fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.next_chunk()
    }
}

/// The body of these pieces. With a length, its response has a `Content-Length`.
///
/// If a piece can't be read the connection is cut, so that the client sees that the body is short:
/// the status was sent long before.
pub fn body(pieces: impl Pieces + 'static, length: Option<u64>) -> Body {
    Body::new(Streamed { pieces, left: length })
}

/// A body whose pieces are made on request.
struct Streamed<P> {
    /// Makes the pieces.
    pieces: P,
    /// The bytes that are still to come, if the length is known.
    left: Option<u64>,
}

impl<P: Pieces> http_body::Body for Streamed<P> {
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let piece = self.pieces.next();
        match &piece {
            Ok(Some(piece)) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(piece.len() as u64);
                }
            }
            Ok(None) => {}
            Err(error) => log_cut(error),
        }
        Poll::Ready(piece.transpose().map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Logs that the client gets a part of a response only.
fn log_cut(error: &ReadError) {
    tracing::error!(%error, "a response was cut: the rest of it can't be read");
}

/// The body of these pieces, which are made on a thread that serves no connections. If a piece can't be
/// read the connection is cut, as in [`body`].
pub fn offloaded(pieces: impl Pieces + 'static) -> Body {
    Body::new(Offloaded::Waiting(pieces))
}

/// What makes a piece, and the piece.
type Made<P> = (P, Result<Option<Bytes>, ReadError>);

/// A body whose pieces are made on request, on the blocking pool.
enum Offloaded<P> {
    /// The client has not asked for the next piece.
    Waiting(P),
    /// The next piece is being made.
    Making(JoinHandle<Made<P>>),
    /// The body has ended.
    Ended,
}

impl<P: Pieces + 'static> http_body::Body for Offloaded<P> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Offloaded::Waiting(_) = *self
            && let Offloaded::Waiting(mut pieces) = std::mem::replace(&mut *self, Offloaded::Ended)
        {
            let make = move || {
                let piece = pieces.next();
                (pieces, piece)
            };
            *self = Offloaded::Making(tokio::task::spawn_blocking(make));
        }
        let Offloaded::Making(making) = &mut *self else { return Poll::Ready(None) };
        let made = std::task::ready!(Pin::new(making).poll(cx));
        *self = Offloaded::Ended;
        Poll::Ready(match made {
            Ok((pieces, Ok(Some(piece)))) => {
                *self = Offloaded::Waiting(pieces);
                Some(Ok(Frame::data(piece)))
            }
            Ok((_pieces, Ok(None))) => None,
            Ok((_pieces, Err(error))) => {
                log_cut(&error);
                Some(Err(error.into()))
            }
            Err(panic) => Some(Err(panic.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    struct Countdown(u8);

    impl Pieces for Countdown {
        fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
            match self.0 {
                0 => Ok(None),
                0xff => Err(ReadError::DamagedBody("of a test")),
                _ => {
                    self.0 -= 1;
                    Ok(Some(Bytes::from(vec![self.0; 2])))
                }
            }
        }
    }

    #[tokio::test]
    async fn pieces_arrive_in_order_and_count_down_the_length() {
        let mut body = body(Countdown(2), Some(4));
        assert_eq!(body.size_hint().exact(), Some(4));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), [1, 1][..]);
        assert!(!body.is_end_stream());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), [0, 0][..]);
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_body_without_a_length_ends_with_its_pieces() {
        let body = body(Countdown(3), None);
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(body.collect().await.unwrap().to_bytes(), [2, 2, 1, 1, 0, 0][..]);
    }

    #[tokio::test]
    async fn a_piece_that_can_not_be_read_breaks_the_body() {
        assert!(body(Countdown(0xff), Some(2)).collect().await.is_err());
    }
    #[tokio::test]
    async fn offloaded_pieces_arrive_in_order_and_an_error_breaks_the_body() {
        let whole = offloaded(Countdown(3)).collect().await.unwrap().to_bytes();
        assert_eq!(whole, [2, 2, 1, 1, 0, 0][..]);
        let mut broken = offloaded(Countdown(0xff));
        assert!(broken.frame().await.unwrap().is_err());
        assert!(broken.frame().await.is_none());
    }

    #[tokio::test]
    async fn no_piece_is_made_before_it_is_requested() {
        let mut body = offloaded(Countdown(3));
        assert!(!body.is_end_stream());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), [2, 2][..]);
    }
}
