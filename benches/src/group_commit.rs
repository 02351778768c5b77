//! A group commit over redb, written by hand: a queue, and one thread that commits and syncs all
//! waiting puts in one transaction and then acknowledges them.
//!
//! It writes the rows that the library writes for a put, with the same lengths: the entry, its row
//! in the dot index (and removes the old one), and for each commit the version vector, the clock
//! and the commit's number. It does nothing else: it reads no clock, computes no checksums, and
//! reads nothing before it writes.

use std::{path::Path, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender};
use kv_core::NamespaceId;
use redb::{Database, TableDefinition};

use crate::{Failure, data};

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

const META: Rows = Rows::new("meta");
const ENTRIES: Rows = Rows::new("entries");
const DOTS: Rows = Rows::new("dots");
const VECTOR: Rows = Rows::new("vector");

/// The greatest number of operations in a commit, as in the library.
const MAX_BATCH: usize = 512;

/// The result of a put, once it is durable.
pub type Ticket = oneshot::Receiver<()>;

struct Put {
    key: Vec<u8>,
    value: Vec<u8>,
    answer: oneshot::Sender<()>,
}

/// The queue and its thread.
pub struct GroupCommit {
    puts: Option<Sender<Put>>,
    thread: Option<JoinHandle<()>>,
}

impl GroupCommit {
    /// Creates a database, and starts the thread.
    ///
    /// # Errors
    /// If redb fails, or the system can't start a thread.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<GroupCommit, Failure> {
        let database = Database::builder().set_cache_size(cache_bytes).create(path)?;
        let (puts, queue) = crossbeam_channel::bounded(MAX_BATCH);
        let thread = std::thread::Builder::new().name("by-hand".into()).spawn(move || {
            if let Err(error) = run(&database, &queue) {
                // The waiting callers see that their results are lost.
                eprintln!("the hand-written group commit failed: {error}");
            }
        })?;
        Ok(GroupCommit { puts: Some(puts), thread: Some(thread) })
    }

    /// Submits a put without waiting for it.
    ///
    /// # Errors
    /// If the thread has ended.
    pub fn submit(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        value: &[u8],
    ) -> Result<Ticket, Failure> {
        let (answer, ticket) = oneshot::channel();
        let key = [&namespace.0, key].concat();
        let puts = self.puts.as_ref().ok_or("closed")?;
        puts.send(Put { key, value: value.to_vec(), answer })?;
        Ok(ticket)
    }

    /// Puts the same keys and values as [`crate::fill::put_all`].
    ///
    /// # Errors
    /// If the thread has ended.
    pub fn put_all(&self, namespace: NamespaceId, keys: u64, len: usize) -> Result<(), Failure> {
        let mut last = None;
        for n in 0..keys {
            last = Some(self.submit(namespace, &data::key(n), &data::value(n, len))?);
        }
        Ok(last.map_or(Ok(()), oneshot::Receiver::recv)?)
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        self.puts = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the hand-written group commit panicked");
        }
    }
}

fn run(database: &Database, queue: &Receiver<Put>) -> Result<(), Failure> {
    let mut last = 0;
    let mut commit: u64 = 0;
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(MAX_BATCH - 1));
        commit += 1;
        write(database, &batch, &mut last, commit)?;
        for put in batch {
            let _nobody_waits = put.answer.send(());
        }
    }
    Ok(())
}

fn write(database: &Database, batch: &[Put], last: &mut u64, commit: u64) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut dots = transaction.open_table(DOTS)?;
        for put in batch {
            *last += 1;
            if let Some(old) = entries.insert(&put.key[..], &entry(*last, &put.value)[..])? {
                dots.remove(&old.value()[..DOT_BYTES])?;
            }
            dots.insert(&dot(*last)[..], &sealed(&put.key)[..])?;
        }
        let mut vector = transaction.open_table(VECTOR)?;
        vector.insert(&[0; 4][..], &sealed(&last.to_be_bytes())[..])?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(&b"commit"[..], &sealed(&last.to_be_bytes())[..])?;
        meta.insert(&b"\0commit"[..], &commit.to_be_bytes()[..])?;
    }
    Ok(transaction.commit()?)
}

const DOT_BYTES: usize = 12;

fn dot(n: u64) -> [u8; DOT_BYTES] {
    let mut dot = [0; DOT_BYTES];
    dot[4..].copy_from_slice(&n.to_be_bytes());
    dot
}

/// A row with space for a checksum at its end.
fn sealed(payload: &[u8]) -> Vec<u8> {
    [payload, &[0; 4]].concat()
}

/// A row as long as the library's for a put over an older value: flags, version, sequence number,
/// previous version, length, checksum; value, checksum. It begins with the dot.
fn entry(n: u64, value: &[u8]) -> Vec<u8> {
    const HEAD_BYTES: usize = 1 + 12 + 8 + 12 + 4 + 4;
    [&dot(n)[..], &[0; HEAD_BYTES - DOT_BYTES], value, &[0; 4]].concat()
}
