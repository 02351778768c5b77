//! Merging one namespace into another: repairs two namespaces that have one title.
//!
//! Every entry is put into the other namespace by an ordinary write, unless that one has a later entry or a later
//! deletion of the key that garbage collection has not forgotten yet. When nothing is left to move, the first namespace
//! is dropped. A merge that was interrupted is repeated from its beginning, and does no harm.

use std::{borrow::Cow, sync::Arc};

use hyper::StatusCode;
use kv_core::{
    Attributes, Body, Entry, Key, ListQuery, NamespaceId, NewBody, Operation, Outcome, Page,
    ReadError, Store, WriteError,
};

use crate::{app::App, http::problem::Refused};

/// How many keys are listed at a time.
const PAGE_KEYS: usize = 100;

/// Moves all entries of one namespace into another, and drops the first. Returns how many entries were put.
///
/// # Errors
/// If an entry can't be read or written. What was moved so far stays in both.
pub(super) async fn merge(
    app: &Arc<App>,
    from: NamespaceId,
    into: NamespaceId,
) -> Result<u64, Refused> {
    let mut moved = 0;
    loop {
        // What was put meanwhile is moved by another pass.
        let some = pass(app, from, into).await?;
        moved += some;
        if some == 0 {
            app.writes.submit(Operation::DropNamespace { id: from }).await?;
            return Ok(moved);
        }
    }
}

/// Moves each entry that is later than what the other namespace has. Returns how many there were.
async fn pass(app: &Arc<App>, from: NamespaceId, into: NamespaceId) -> Result<u64, Refused> {
    let (mut moved, mut after) = (0, None);
    loop {
        let page = list(app, from, after.take()).await?;
        let last = page.entries.last().map(|listed| listed.key.to_vec());
        for listed in page.entries {
            let has_it = read(app, into, &listed.key).await?;
            if has_it.is_none_or(|entry| entry.version < listed.version)
                && let Some(entry) = read(app, from, &listed.key).await?
            {
                moved += u64::from(copy(app, into, listed.key, entry).await?);
            }
        }
        // The list left these out. A drop would lose them.
        if let Some(key) = page.damaged.first() {
            return Err(damaged(key, page.damaged.len()));
        }
        match last {
            Some(last) if !page.complete => after = Some(last),
            _ => return Ok(moved),
        }
    }
}

/// Puts an entry into a namespace, unless its key has a later write there. Returns whether it was put.
async fn copy(app: &Arc<App>, into: NamespaceId, key: Key, entry: Entry) -> Result<bool, Refused> {
    let over = entry.version;
    let attributes = Attributes { metadata: entry.metadata, expires_at: entry.expires_at };
    let body = upload(app, &key, entry.body).await?;
    let put = Operation::PutOver { namespace: into, key, body, attributes, over };
    Ok(matches!(app.writes.submit(put).await?, Outcome::Written(_)))
}

/// Writes the chunks of a key's value, and returns it ready to be put.
async fn upload(app: &Arc<App>, key: &Key, body: Body) -> Result<NewBody, Refused> {
    let mut upload = app.store.upload();
    match body {
        Body::Inline(bytes) => stage(app, upload.push(&bytes)?).await?,
        Body::Large(mut reader) => {
            while let Some(chunk) = reader.next_chunk().map_err(|error| unreadable(key, &error))? {
                stage(app, upload.push(&chunk)?).await?;
            }
        }
    }
    let (last, body) = upload.finish();
    stage(app, last).await?;
    Ok(body)
}

/// Writes chunks.
async fn stage(app: &App, chunks: impl IntoIterator<Item = Operation>) -> Result<(), WriteError> {
    for chunk in chunks {
        app.writes.submit(chunk).await?;
    }
    Ok(())
}

/// Reads an entry. It comes from memory or the page cache in a few microseconds.
async fn read(app: &App, namespace: NamespaceId, key: &Key) -> Result<Option<Entry>, Refused> {
    // Other requests of this thread continue between two entries.
    tokio::task::yield_now().await;
    app.store.get(namespace, key).map_err(|error| unreadable(key, &error))
}

/// Lists some keys, on the blocking pool because it may read much.
async fn list(
    app: &Arc<App>,
    namespace: NamespaceId,
    after: Option<Vec<u8>>,
) -> Result<Page, Refused> {
    let store: Store = app.store.clone();
    let listed = tokio::task::spawn_blocking(move || {
        let query = ListQuery { after: after.as_deref(), limit: PAGE_KEYS, ..ListQuery::default() };
        store.list(namespace, &query)
    });
    let listed = listed.await.map_err(|error| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the list failed: {error}"))
    })?;
    listed.map_err(|error| stopped(&format!("the namespace can't be listed: {error}")))
}

/// The refusal for an entry that can't be read.
fn unreadable(key: &Key, error: &ReadError) -> Refused {
    stopped(&format!("the entry of the key {:?} can't be read: {error}", shown(key)))
}

/// The refusal for `count` keys whose entries are damaged, of which this is the first.
fn damaged(key: &Key, count: usize) -> Refused {
    stopped(&format!(
        "{count} entries are damaged on the disk of this location, the first under the key {:?}: they are fetched \
         from the other locations, if there are any",
        shown(key)
    ))
}

/// A key as text.
fn shown(key: &Key) -> Cow<'_, str> {
    String::from_utf8_lossy(key.as_bytes())
}

/// The refusal for a merge that can't continue.
fn stopped(why: &str) -> Refused {
    let error = format!(
        "the merge stopped because {why}. What was moved so far is in both namespaces; put or delete the entry, and \
         merge again"
    );
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error)
}
