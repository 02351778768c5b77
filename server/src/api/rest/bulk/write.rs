//! The writes of a bulk call, many under way at a time.

use std::{borrow::Cow, collections::VecDeque};

use http::Response;
use kv_core::{
    Attributes, Key, Metadata, NamespaceId, Operation, WriteError,
    limits::{MAX_INLINE_BYTES, MAX_METADATA_BYTES},
};
use serde::Serialize;
use tokio::runtime::Handle;

use super::{
    super::{
        auth,
        envelope::{self, Note},
        failure::{Failure, code},
        numbers::whole,
    },
    read::{MAX_ITEMS, Pair, Sink, Stop, Text},
    value::Value,
};
use crate::{
    access::Grant,
    app::App,
    http::Body,
    kv::{Invalid, KvError, expiry, invalid::shown, key::check_key, metadata},
    writes::Queued,
};

/// The most writes of one call that are under way: half of the store's queue. With inline values they hold 1 MiB.
const MAX_IN_FLIGHT: usize = 256;

/// The most pairs or keys that a response names because they are not valid.
const MAX_NAMED: usize = 1000;

/// Performs the writes of one bulk call, on a thread that may block.
pub(super) struct Writer<'a> {
    /// The location.
    app: &'a App,
    /// What its sender may do.
    grant: &'a Grant,
    /// Runs what the server does asynchronously.
    runtime: Handle,
    /// The namespace of all keys.
    namespace: NamespaceId,
    /// The value that arrives.
    value: Value<'a>,
    /// The writes that have no outcome yet, in order.
    in_flight: VecDeque<Queued>,
    /// How many succeeded.
    written: usize,
    /// The pairs or keys that are not valid, and why.
    failed: Vec<(String, Failure)>,
    /// Whether no key of a range is left, if the call deletes one.
    is_complete: Option<bool>,
}

/// Why a bulk call ends before its body.
pub(super) enum Halt {
    /// A write failed.
    Kv(KvError),
    /// Too many pairs are not valid.
    TooManyInvalid,
    /// The token of the call is not accepted any more.
    Refused(Failure),
}

impl<E: Into<KvError>> From<E> for Halt {
    fn from(error: E) -> Halt {
        Halt::Kv(error.into())
    }
}

/// What came of a bulk call.
#[derive(Serialize)]
struct Outcome<'a> {
    /// How many pairs were written, or keys deleted.
    successful_key_count: usize,
    /// The keys that were not.
    unsuccessful_keys: Vec<&'a str>,
    /// Whether no key of the range is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
}

impl<'a> Writer<'a> {
    /// A call that has written nothing yet.
    pub(super) fn new((app, grant): (&'a App, &'a Grant), namespace: NamespaceId) -> Writer<'a> {
        Writer {
            app,
            grant,
            runtime: Handle::current(),
            namespace,
            value: Value::new(app),
            in_flight: VecDeque::new(),
            written: 0,
            failed: Vec::new(),
            is_complete: None,
        }
    }

    /// Deletes a key.
    pub(super) fn delete(&mut self, key: Text) -> Result<(), Halt> {
        match checked_key(&key) {
            Ok(key) => self.submit(Operation::Delete { namespace: self.namespace, key }),
            Err(invalid) => self.fail(&key, invalid.into()),
        }
    }

    /// Deletes a key that exists.
    pub(super) fn delete_key(&mut self, key: Key) -> Result<(), Halt> {
        self.submit(Operation::Delete { namespace: self.namespace, key })
    }

    /// Waits for all writes, and responds. `is_complete` tells whether no key is left.
    pub(super) fn finish_range(
        mut self,
        operation: &str,
        outcome: Result<(), Halt>,
        is_complete: bool,
    ) -> Result<Response<Body>, Failure> {
        self.is_complete = Some(is_complete);
        self.finish(operation, outcome.map_err(Stop::Sink))
    }

    /// Queues a write. The oldest must have its outcome before there are too many.
    fn submit(&mut self, operation: Operation) -> Result<(), Halt> {
        auth::recheck(self.app, self.grant).map_err(Halt::Refused)?;
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            self.settle_one()?;
        }
        let queued = self.runtime.block_on(self.app.writes.enqueue(operation))?;
        self.in_flight.push_back(queued);
        Ok(())
    }

    /// Waits for the oldest write.
    fn settle_one(&mut self) -> Result<(), WriteError> {
        if let Some(queued) = self.in_flight.pop_front() {
            self.runtime.block_on(queued)?;
            self.written += 1;
        }
        Ok(())
    }

    /// Names a key whose pair is not valid.
    fn fail(&mut self, key: &Text, failure: Failure) -> Result<(), Halt> {
        if self.failed.len() == MAX_NAMED {
            return Err(Halt::TooManyInvalid);
        }
        let mut name = String::from_utf8_lossy(&key.kept).into_owned();
        if key.length > key.kept.len() {
            name.push_str("...");
        }
        self.failed.push((name, failure));
        Ok(())
    }

    /// Waits for all writes, and responds.
    pub(super) fn finish(
        mut self,
        operation: &str,
        outcome: Result<(), Stop<Halt>>,
    ) -> Result<Response<Body>, Failure> {
        let mut failure = None;
        while !self.in_flight.is_empty() {
            if let Err(error) = self.settle_one() {
                failure.get_or_insert(error);
            }
        }
        let written = self.written;
        let stopped = match (outcome, failure) {
            (Err(Stop::Sink(Halt::Kv(KvError::Write(WriteError::UnknownNamespace(_))))), _)
            | (_, Some(WriteError::UnknownNamespace(_))) => {
                return Err(Failure::no_namespace(operation));
            }
            (Err(Stop::Sink(Halt::Kv(error))), _) => error.into(),
            (_, Some(error)) => error.into(),
            (Ok(()), None) => return self.respond(),
            (Err(Stop::Malformed(why)), None) => {
                Failure::invalid(code::BODY, format!("could not parse the request body: {why}"))
            }
            (Err(Stop::TooMany), None) => {
                let message = format!("a request has at most {MAX_ITEMS} items");
                Failure::invalid(code::INVALID, message)
            }
            (Err(Stop::Sink(Halt::Refused(failure))), None) => failure,
            (Err(Stop::Sink(Halt::TooManyInvalid)), None) => {
                let message = format!("more than {MAX_NAMED} items are not valid");
                Failure::invalid(code::INVALID, message)
            }
        };
        let message = match written {
            0 => format!("{operation}: {}", stopped.message),
            _ => format!("{operation}: after {written} items had succeeded: {}", stopped.message),
        };
        Err(Failure { message: message.into(), ..stopped })
    }

    /// The response of a call whose body was read to its end. It fails if no item was valid.
    fn respond(self) -> Result<Response<Body>, Failure> {
        if let (0, Some((key, failure))) = (self.written, self.failed.first()) {
            let message = named(key, &failure.message).into();
            return Err(Failure { message, ..failure.clone() });
        }
        let notes = self.failed.iter().map(|(key, failure)| Note {
            code: failure.code,
            message: named(key, &failure.message),
        });
        let outcome = Outcome {
            successful_key_count: self.written,
            unsuccessful_keys: self.failed.iter().map(|(key, _)| key.as_str()).collect(),
            complete: self.is_complete,
        };
        Ok(envelope::noted(&outcome, notes.collect()))
    }
}

/// A sentence about a key.
fn named(key: &str, message: &str) -> String {
    format!("key '{}': {message}", shown(key))
}

/// The key of an item.
fn checked_key(key: &Text) -> Result<Key, Invalid> {
    if key.length > key.kept.len() {
        return Err(Invalid::key_too_long(key.length));
    }
    check_key(&String::from_utf8_lossy(&key.kept))?;
    Key::new(&key.kept).map_err(|error| Invalid::key_too_long(error.0))
}

/// The key and the attributes of a pair.
fn checked(pair: &Pair, now: (u64, u64)) -> Result<(Key, Attributes), Failure> {
    let key = checked_key(&pair.key)?;
    let number = |text: &Option<String>| text.clone().map(|text| whole(Cow::Owned(text)));
    let (ttl, time) = (number(&pair.ttl), number(&pair.expiration));
    let expires_at = expiry::of(ttl.as_deref(), time.as_deref(), now)?;
    let metadata = match &pair.metadata {
        None => None,
        Some(text) if text.length > MAX_METADATA_BYTES => {
            return Err(Invalid::metadata_too_long(text.length).into());
        }
        Some(text) => Some(metadata::check(text.kept.clone())?),
    };
    let metadata = metadata.map(Metadata::new).transpose().map_err(WriteError::from)?;
    Ok((key, Attributes { metadata, expires_at }))
}

impl Sink for Writer<'_> {
    type Error = Halt;

    fn value(&mut self, bytes: &[u8], base64: Option<bool>) -> Result<(), Halt> {
        Ok(self.runtime.block_on(self.value.push(bytes, base64))?)
    }

    fn end(&mut self, pair: Pair) -> Result<(), Halt> {
        let now = (self.app.store.now_ms() / 1000, self.app.bounds.min_ttl());
        let value = self.runtime.block_on(self.value.finish(pair.base64.unwrap_or_default()))?;
        let checked = checked(&pair, now).and_then(|(key, attributes)| {
            self.app.bounds.check_put(self.namespace, key.as_bytes()).map_err(Invalid::from)?;
            Ok(((key, attributes), value?))
        });
        match checked {
            Err(failure) => self.fail(&pair.key, failure),
            Ok(((key, attributes), body)) => {
                let namespace = self.namespace;
                self.submit(Operation::Put { namespace, key, body, attributes })
            }
        }
    }
}

const _: () = assert!(MAX_IN_FLIGHT * MAX_INLINE_BYTES <= 1 << 20);
