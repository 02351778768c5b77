//! Bulk put, delete and get.
//!
//! A bulk write is performed while its body arrives, and is not atomic. Pairs that are not valid are named in the
//! response, and the others are written. A call in memory holds a few pieces of its body, one piece of a value, and the
//! writes that are under way: less than 4 MiB.

use std::{
    io::{self, Read},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::{Response, StatusCode};
use kv_core::NamespaceId;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{
    auth,
    blocking::blocking,
    failure::{self, Failure, code},
    keys::range::{self, RangeRequest},
    limits::MAX_BULK_BYTES,
    namespaces,
};
use crate::{
    access::{Grant, Keys},
    admission::Admission,
    app::App,
    http::{
        Body,
        incoming::{Incoming, Unread},
        reply,
    },
    kv::{bulk_get, permission::Access, query::Query},
};

pub mod read;
pub mod value;
mod write;

use write::Writer;

/// How many bulk writes there are at a time. Each holds at most 4 MiB and a thread.
const MAX_CALLS: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not 0");

/// How long a bulk write waits until it may begin.
const WAIT: Duration = Duration::from_secs(5);

/// The admission of bulk writes.
pub(super) fn admission() -> Admission {
    Admission::new(MAX_CALLS, WAIT)
}

/// Which bulk write.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Pairs are put.
    Put,
    /// Keys are deleted.
    Delete,
}

impl Kind {
    /// Its name in sentences.
    fn name(self) -> &'static str {
        match self {
            Kind::Put => "bulk put",
            Kind::Delete => "bulk delete",
        }
    }
}

/// `PUT …/bulk`, `POST …/bulk/delete`, `DELETE …/bulk`.
pub(super) async fn write(
    (app, grant): (&Arc<App>, &Grant),
    admission: &Admission,
    (id, kind): (&str, Kind),
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    let namespace = namespaces::find(&app.store, id, kind.name())?;
    if body.declared().is_some_and(|length| length > MAX_BULK_BYTES as u64) {
        // It is longer than what is read before a refusal.
        let failure = Failure::from(Unread::TooLong { limit: MAX_BULK_BYTES });
        return Err(Failure { close: true, ..failure });
    }
    let permit = admission.admit().await.map_err(|_refused| busy())?;
    let (sender, receiver) = channel(1);
    let (app, grant) = (Arc::clone(app), grant.clone());
    let task = tokio::task::spawn_blocking(move || {
        let response = perform((&app, &grant), namespace, kind, receiver);
        drop(permit);
        response
    });
    feed(body, sender).await;
    task.await.unwrap_or_else(|error| Err(failure::panicked(&error)))
}

/// The failure while too many bulk requests run.
fn busy() -> Failure {
    let message = "too many bulk requests are running: try again in a second";
    let status = StatusCode::TOO_MANY_REQUESTS;
    Failure { retry_after: Some(1), ..Failure::new(status, code::BULK_BUSY, message) }
}

/// `DELETE …/keys?prefix=P`: deletes up to [`MAX_ITEMS`](read::MAX_ITEMS) keys of a range.
pub(super) async fn delete_range(
    (app, grant): (&Arc<App>, &Grant),
    admission: &Admission,
    (id, query): (&str, Query<'_>),
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    const OPERATION: &str = "delete keys";
    let namespace = namespaces::find(&app.store, id, OPERATION)?;
    if query.get("prefix").is_none() {
        let message = format!(
            "{OPERATION}: the query must have 'prefix', which is empty if all keys are to be deleted"
        );
        return Err(Failure::invalid(code::INVALID, message));
    }
    let request = RangeRequest::of(query)?;
    body.discard(MAX_BULK_BYTES as u64).await;
    let permit = admission.admit().await.map_err(|_refused| busy())?;
    let (app, grant) = (Arc::clone(app), grant.clone());
    let task = tokio::task::spawn_blocking(move || {
        let (keys, is_complete) = range::keys(&app.store, namespace, &request, read::MAX_ITEMS)?;
        let mut writer = Writer::new((&app, &grant), namespace);
        let deleted = keys.into_iter().try_for_each(|key| writer.delete_key(key));
        let response = writer.finish_range(OPERATION, deleted, is_complete);
        drop(permit);
        response
    });
    task.await.unwrap_or_else(|error| Err(failure::panicked(&error)))
}

/// Hands the pieces of a body over, until one is not taken.
async fn feed(body: &mut Incoming, sender: Sender<Result<Bytes, Unread>>) {
    loop {
        let piece = match body.next().await {
            Ok(None) => return,
            Ok(Some(_)) if body.read() > MAX_BULK_BYTES as u64 => {
                Err(Unread::TooLong { limit: MAX_BULK_BYTES })
            }
            Ok(Some(piece)) => Ok(piece),
            Err(unread) => Err(unread),
        };
        let is_last = piece.is_err();
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

/// Reads and writes, on a thread that may block.
fn perform(
    (app, grant): (&App, &Grant),
    namespace: NamespaceId,
    kind: Kind,
    receiver: Receiver<Result<Bytes, Unread>>,
) -> Result<Response<Body>, Failure> {
    let mut source = Source { receiver, piece: Bytes::new(), failure: None };
    let mut writer = Writer::new((app, grant), namespace);
    let outcome = match kind {
        Kind::Put => read::pairs(&mut source, &mut writer),
        Kind::Delete => read::keys(&mut source, |key| writer.delete(key)),
    };
    let response = writer.finish(kind.name(), outcome);
    match source.failure {
        Some(unread) => Err(unread.into()),
        None => response,
    }
}

/// A body that arrives on another thread.
struct Source {
    /// The pieces.
    receiver: Receiver<Result<Bytes, Unread>>,
    /// The rest of the current piece.
    piece: Bytes,
    /// Why the body was not read whole; the reader keeps only its text.
    failure: Option<Unread>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(unread)) => {
                    self.failure = Some(unread);
                    return Err(io::Error::other(unread));
                }
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// `POST …/bulk/get`.
pub(super) async fn get(
    (app, grant): (&App, &Grant),
    id: &str,
    body: &mut Incoming,
) -> Result<Response<Body>, Failure> {
    const BEFORE: &[u8] = br#"{"result":{"values":"#;
    const AFTER: &[u8] = br#"},"success":true,"errors":[],"messages":[]}"#;
    let namespace = namespaces::find(&app.store, id, "bulk get keys")?;
    let body = body.whole(bulk_get::MAX_REQUEST_BYTES, Some(&app.long_bodies)).await?;
    let request = bulk_get::Request::parse(&body)?;
    for key in &request.keys {
        auth::check(app, grant, id, Access::Read, Keys::With(key))?;
    }
    let answer = move |store: &kv_core::Store| {
        let reply = bulk_get::answer(store, namespace, request)?.inside(BEFORE, AFTER);
        Ok(reply::with_type(StatusCode::OK, reply::JSON, reply.into_body()?))
    };
    blocking(app, answer).await
}
