//! A namespace of any server that speaks Cloudflare's API v4.
//!
//! It is read page by page, with the values of a page at the same time. What another client deletes between the list and
//! the get of its value is left out; what it puts is imported as it is then.

use bytes::Bytes;
use tokio::{runtime::Runtime, task::JoinSet};
use waypost_client::{Attributes, Entry, Error, Expiry, List, Listed, Namespace, Page, Pair};

use super::{
    super::error::KvError,
    batch::{Feed, Position, Stop},
};

/// How many values are requested at a time. They are read one after the other.
const AT_A_TIME: usize = 16;

/// A namespace to read.
pub(super) struct Api {
    /// The namespace.
    pub(super) keys: Namespace,
    /// What errors call it.
    pub(super) name: String,
    /// The beginning of the keys.
    pub(super) prefix: String,
}

impl Api {
    /// Reads all entries from the page of a cursor on.
    pub(super) fn read(&self, cursor: Option<String>, feed: &mut Feed) -> Result<(), Stop> {
        // Calls are made one after the other on this thread, between which it waits until the entries are taken.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(KvError::System)?;
        let prefix = self.prefix.clone();
        let mut list = List { prefix, cursor, values: true, ..List::default() };
        loop {
            let page = runtime.block_on(self.keys.list(&list));
            let Page { keys, cursor } = page.map_err(|error| self.failed(&error))?;
            let (with, without): (Vec<_>, Vec<_>) =
                keys.into_iter().partition(|key| key.value.is_some());
            for mut key in with {
                let value = key.value.take().unwrap_or_default();
                feed.push(pair(key, value), None)?;
            }
            let mut without = without.into_iter();
            loop {
                let group: Vec<_> = without.by_ref().take(AT_A_TIME).collect();
                if group.is_empty() {
                    break;
                }
                self.values(&runtime, group, feed)?;
            }
            // What was read before of this page is read again if the import stops here.
            feed.pass(cursor.clone().map(Position::Cursor));
            let Some(cursor) = cursor else { return Ok(()) };
            list.cursor = Some(cursor);
        }
    }

    /// Reads the values of some keys, one in memory at a time.
    fn values(&self, runtime: &Runtime, keys: Vec<Listed>, feed: &mut Feed) -> Result<(), Stop> {
        let mut gets = JoinSet::new();
        let _entered = runtime.enter();
        for key in keys {
            let namespace = self.keys.clone();
            gets.spawn(async move {
                let entry = namespace.get(&key.name).await;
                (key, entry)
            });
        }
        while let Some(got) = runtime.block_on(gets.join_next()) {
            let (mut key, entry) = got.map_err(|error| KvError::System(error.into()))?;
            let value = match entry {
                Ok(None) => None,
                Ok(Some(entry)) => {
                    key.expiration = entry.expiration;
                    runtime
                        .block_on(self.whole(&key.name, entry))
                        .map_err(|error| self.failed(&error))?
                }
                Err(error) => return Err(self.failed(&error).into()),
            };
            // Without a value, it was deleted since it was listed.
            if let Some(value) = value {
                feed.push(pair(key, value), None)?;
            }
        }
        Ok(())
    }

    /// The value of an entry, which is requested again if its connection broke while it waited.
    async fn whole(&self, key: &str, entry: Entry) -> Result<Option<Bytes>, Error> {
        match entry.bytes().await {
            Err(error) if error.is_retryable() => self.keys.get_bytes(key).await,
            value => value.map(Some),
        }
    }

    /// Why the source failed.
    fn failed(&self, error: &Error) -> KvError {
        let advice = match error {
            Error::Connect { .. } | Error::NotThisApi { .. } => "; check the URL of --from",
            error if error.is_no_namespace() => "; check --namespace-id and --account",
            error if matches!(error.code(), Some(10000 | 9109 | 7003)) => {
                "; check --from-token-file, --account and --namespace-id"
            }
            error if error.is_retryable() => "; run the command again, with --resume to continue",
            _ => "",
        };
        KvError::Source(format!("can't read {}: {error}{advice}", self.name))
    }
}

/// The entry of a key.
fn pair(key: Listed, value: Bytes) -> Pair {
    let Listed { name, expiration, metadata, .. } = key;
    let attributes = Attributes { metadata, expiry: expiration.map(Expiry::At) };
    Pair { key: name, value, attributes }
}
