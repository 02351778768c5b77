//! The body of a request, read whole under a bound.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::body::{BodyError, RequestBody};

/// The longest body: a batch of checks with keys of the usual length.
pub(super) const MAX_BODY_BYTES: usize = 64 << 10;

/// How much of a longer one is read before it is refused, so that a client that writes all before it
/// looks at the answer gets to see it.
const MAX_DRAINED_BYTES: usize = 1 << 20;

/// Why there is no body.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is too long.
    TooLong,
    /// It did not come whole.
    Cut(BodyError),
}

/// The whole body; as it came, without a copy, if it came in one piece.
pub(super) async fn whole(mut body: RequestBody) -> Result<Bytes, Unread> {
    let first = next(&mut body).await?.unwrap_or_default();
    if body.is_end_stream() && first.len() <= MAX_BODY_BYTES {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while let Some(bytes) = next(&mut body).await? {
        if whole.len() + bytes.len() > MAX_BODY_BYTES {
            let mut read = whole.len() + bytes.len();
            drop(whole);
            while let Some(bytes) = next(&mut body).await? {
                read += bytes.len();
                if read > MAX_DRAINED_BYTES {
                    break;
                }
            }
            return Err(Unread::TooLong);
        }
        whole.extend_from_slice(&bytes);
    }
    if whole.len() > MAX_BODY_BYTES { Err(Unread::TooLong) } else { Ok(whole.freeze()) }
}

/// The next bytes; none at the end. What is not data is trailers, which mean nothing here.
async fn next(body: &mut RequestBody) -> Result<Option<Bytes>, Unread> {
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(Unread::Cut)?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_whole_up_to_its_bound() {
        for (length, is_read) in
            [(0, true), (5, true), (MAX_BODY_BYTES, true), (MAX_BODY_BYTES + 1, false)]
        {
            let body = RequestBody::from(Bytes::from(vec![b'x'; length]));
            let read = whole(body).await;
            assert_eq!(read.as_ref().is_ok_and(|bytes| bytes.len() == length), is_read, "{read:?}");
        }
    }
}
