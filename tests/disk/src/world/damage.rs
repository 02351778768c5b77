//! Flipped bits on the disk: a read must return what was written, or an error, or nothing.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use kv_core::{
    Dot, Field, FieldNumber, ListQuery, NamespaceId, OpenError, OriginInfo, Outcome, ReadError,
    Table, Version, VersionVector,
    commit::{Committer, Creation, GcLimits},
    engine::{Engine as _, Snapshot as _, Visibility, redb::RedbEngine},
    view::{Found, FoundState},
};

use super::{
    Open, Plan, Published, World,
    requests::{local_op, system_name},
    writer::Writer,
};
use crate::{
    disk::Keep,
    events::{Counted, Damage},
    exact::check_row,
    model::{FieldOf, Fields, Name, Op, Row, What},
    violation::{Checked, Violation},
};

/// All rows that each key has ever had, the newest last.
type Known = BTreeMap<Name, Vec<Arc<Row>>>;

/// A run with flipped bits.
pub struct Damaged {
    world: World,
    known: Known,
    events: Counted<Damage>,
    /// Whether the file was or will be opened after a crash: its state may be that of an earlier
    /// sync.
    may_be_older: bool,
}

impl Damaged {
    /// Runs a seed to its end.
    ///
    /// # Errors
    /// If damaged bytes became another value, or something panicked.
    pub fn run(seed: u64, tracing: bool) -> (Counted<Damage>, Vec<String>, Checked) {
        let mut run = match Damaged::prepare(seed, tracing) {
            Ok(run) => run,
            Err(violation) => return (Counted::default(), Vec::new(), Err(violation)),
        };
        let result = catch_unwind(AssertUnwindSafe(|| run.rounds()));
        let result = result.unwrap_or_else(|_| Err(Violation::Wrong("the store panicked".into())));
        (run.events, std::mem::take(&mut run.world.report.trace), result)
    }

    /// Prepares a store by using it for a while without faults.
    fn prepare(seed: u64, tracing: bool) -> Checked<Damaged> {
        let mut world = World::new(seed, Plan::calm(), tracing)?;
        world.cache_bytes = *world.rng.pick(&[0, 0, 64 << 10, 16 << 20]);
        let mut known = Known::new();
        for _ in 0..60 {
            world.step()?;
            learn(&mut known, &world);
        }
        world.sync()?;
        learn(&mut known, &world);
        Ok(Damaged { world, known, events: Counted::default(), may_be_older: false })
    }

    fn rounds(&mut self) -> Checked {
        for _ in 0..4 {
            self.flip();
            if self.world.rng.chance(60) {
                self.restart();
            }
            if self.world.open.is_none() {
                self.restart();
            }
            if self.world.open.is_none() {
                return Ok(());
            }
            let before = self.events.clone();
            self.read_all()?;
            if self.events.missing(&[Damage::Detected, Damage::Lost, Damage::BodyDamaged])
                == before.missing(&[Damage::Detected, Damage::Lost, Damage::BodyDamaged])
            {
                self.events.count(Damage::Unnoticed);
            }
            self.write_some()?;
            self.read_all()?;
        }
        Ok(())
    }

    fn flip(&mut self) {
        for _ in 0..self.world.rng.between(1, 4) {
            let mut rng = self.world.rng.fork();
            let at = self.world.disk.flip(&mut rng);
            self.world.trace(|| format!("flipped a bit at {at:?}"));
        }
    }

    /// Flips a bit in the head of an entry's row, which few flips elsewhere hit. No process runs.
    fn flip_in_head(&mut self) {
        let world = &mut self.world;
        let Ok(engine) = RedbEngine::open(world.disk.process(), 1 << 20) else { return };
        let names: Vec<_> =
            self.known.keys().filter(|name| name.0 != NamespaceId::SYSTEM).collect();
        if let Some(name) = names.get(world.rng.index(names.len().max(1)))
            && let Ok(snapshot) = engine.snapshot(Visibility::Latest)
            && let key = [&name.0.0[..], &name.1].concat()
            && let Some((table, row)) = [Table::Entries, Table::Deleted]
                .into_iter()
                .find_map(|table| Some((table, snapshot.get(table, &key).ok()??)))
        {
            let mut row = row.to_vec();
            // Flags, version and sequence number have 21 bytes.
            row[world.rng.index(21)] ^= 1 << world.rng.index(8);
            let commit = engine.status().latest + 1;
            let written = engine.commit(commit, vec![(table, key, Some(row))]);
            let synced = written.and_then(|()| engine.sync(commit));
            world.trace(|| format!("flipped a bit in the head of {name:?}: {synced:?}"));
        }
        let _failed = engine.close();
        world.disk.kill();
    }

    /// Starts the next process after some kind of end.
    fn restart(&mut self) {
        let world = &mut self.world;
        world.uploads.clear();
        world.readers.clear();
        if let Some(mut open) = world.open.take() {
            match world.rng.below(3) {
                0 => {
                    let closed = open.writer.close(world.clock_ms);
                    world.trace(|| format!("closed: {closed:?}"));
                }
                1 => {
                    world.disk.power_loss(Keep::Nothing);
                    self.may_be_older = true;
                }
                _ => {
                    world.disk.kill();
                    self.may_be_older = true;
                }
            }
        }
        world.disk.kill();
        if world.rng.chance(50) {
            self.flip_in_head();
        }
        let world = &mut self.world;
        let (life, process) = (world.disk.life(), world.disk.process());
        let mut ids = world.rng.fork();
        let opened = RedbEngine::open(process, world.cache_bytes)
            .map_err(OpenError::Engine)
            .and_then(|engine| {
                Committer::open(Arc::new(engine), Creation::default(), move || Ok(ids.id()))
            });
        match opened {
            Ok(mut committer) => {
                let view = committer.view();
                let published = Arc::new(Published(std::sync::Mutex::new(view)));
                let (published_commit, published_reopened) = (None, 0);
                let writer = Writer::new(committer);
                let reopened = 0;
                world.open = Some(Open {
                    writer,
                    life,
                    published,
                    published_commit,
                    published_reopened,
                    reopened,
                });
                self.events.count(Damage::Opened);
            }
            Err(error) => {
                world.trace(|| format!("refused: {error}"));
                self.events.count(Damage::Refused);
            }
        }
    }

    /// Reads everything in every way.
    fn read_all(&mut self) -> Checked {
        let names: Vec<Name> = self.known.keys().cloned().collect();
        let view = self.world.committer().view();
        for name in &names {
            match view.row(name.0, &name.1) {
                Err(_) => self.events.count(Damage::Detected),
                Ok(None) => {
                    let newest = self.known[name].last();
                    if newest.is_some_and(|row| !row.is_tombstone() && row.expires_at.is_none()) {
                        self.events.count(Damage::Lost);
                    }
                }
                Ok(Some(found)) => self.check_found(name, &found)?,
            }
        }
        for change in view
            .rows_missing_in(&VersionVector::default(), None, usize::MAX)
            .map_or_else(|_| Vec::new(), |page| page.changes)
        {
            self.check_found(&(change.namespace, change.key.into()), &change.found)?;
        }
        if !view.owed().is_empty() {
            self.events.count(Damage::Owed);
        }
        let mut spaces: Vec<NamespaceId> = names.iter().map(|name| name.0).collect();
        spaces.dedup();
        for id in spaces {
            let page = match view.list(id, &ListQuery::default(), self.world.clock_ms) {
                Ok(page) => page,
                // Lists show the live namespaces alone.
                Err(ReadError::UnknownNamespace(_)) => continue,
                // A damaged entry fails no list; only the namespace's own row may.
                Err(ReadError::Damaged { .. })
                    if view.owed().iter().all(|(space, ..)| space != NamespaceId::SYSTEM) =>
                {
                    return Err(Violation::Wrong(format!("a list of {id} fails by a damaged row")));
                }
                Err(_) => {
                    self.events.count(Damage::Detected);
                    continue;
                }
            };
            if !page.damaged.is_empty() {
                self.events.count(Damage::LeftOut);
                let is_listed =
                    |key: &kv_core::Key| page.entries.iter().any(|listed| listed.key == *key);
                if page.damaged.iter().any(is_listed) {
                    return Err(Violation::Wrong(format!("{id} lists a key that it leaves out")));
                }
            }
            for listed in page.entries {
                let name = (id, Bytes::from(listed.key.clone()));
                let there = (listed.version, listed.metadata.as_deref(), listed.expires_at);
                let is_known = self.known.get(&name).is_some_and(|rows| {
                    rows.iter()
                        .any(|row| (row.version, row.metadata.as_deref(), row.expires_at) == there)
                });
                if !is_known {
                    return Err(Violation::Wrong(format!("{name:?} never had {listed:?}")));
                }
            }
        }
        Ok(())
    }

    /// Checks that a read returned the key's row, or after a crash an earlier one.
    fn check_found(&mut self, name: &Name, found: &Found) -> Checked {
        let never = || Violation::Wrong(format!("{name:?} never had {found:?}"));
        let rows = self.known.get(name).ok_or_else(never)?;
        let is_it = |row: &&Arc<Row>| {
            let tombstone = Row { what: What::ExpiredTombstone, metadata: None, ..Row::clone(row) };
            let is_expired_tombstone =
                row.expires_at.is_some() && check_row(name, found, &tombstone).is_ok();
            is_expired_tombstone || check_row(name, found, &row.listed_by(found.dot)).is_ok()
        };
        let row = rows.iter().rev().find(is_it).cloned().ok_or_else(never)?;
        if rows.last() != Some(&row) {
            if !self.may_be_older {
                return Err(Violation::Wrong(format!("{name:?} reverted to {found:?}")));
            }
            self.events.count(Damage::RolledBack);
        }
        let Some(content) =
            row.content().filter(|_| matches!(found.state, FoundState::Large { .. }))
        else {
            return Ok(());
        };
        match self.read_body(found) {
            None => self.events.count(Damage::BodyDamaged),
            Some(read) if read[..] == content.bytes[..] => {}
            Some(_) => return Err(Violation::Wrong(format!("{name:?}: its value is wrong"))),
        }
        Ok(())
    }

    /// Reads a large value to its end; none if a part of it can't be read.
    fn read_body(&mut self, found: &Found) -> Option<Vec<u8>> {
        let committer = self.world.committer();
        let source = Arc::new(Published(Mutex::new(committer.view())));
        let mut reader = committer.read_body(found, source).ok().flatten()?;
        let mut read = Vec::new();
        while let Some(chunk) = reader.next_chunk().ok()? {
            read.extend_from_slice(&chunk);
        }
        Some(read)
    }

    /// Writes and collects garbage; what was written is known from then on.
    fn write_some(&mut self) -> Checked {
        for _ in 0..self.world.rng.between(1, 5) {
            let state = self.world.state();
            let now_ms = self.world.clock_ms;
            let op = local_op(&mut self.world.rng, &state, now_ms);
            let requests = self.world.requests(op.clone());
            let mut answers = Vec::new();
            let mut operations = Vec::new();
            for request in requests {
                match request.operation {
                    Ok(operation) => operations.push(operation),
                    Err(answer) => answers.push(answer),
                }
            }
            let writer = &mut self.world.open().writer;
            let committed = writer.commit(now_ms, operations)?;
            let opened = opened_rows(writer.committer());
            let answers: Vec<_> = committed.results.into_iter().chain(answers).collect();
            let synced = writer.sync(now_ms)?;
            let limits = GcLimits {
                rows: 10,
                bodies: 2,
                stable: kv_core::Hlc::ZERO,
                expired_ms: None,
                collects_expired: true,
            };
            let collected = writer.collect_garbage(now_ms, &limits)?;
            // A namespace that is created again may be the first write of the process.
            let opened = opened.into_iter().chain(opened_rows(writer.committer()));
            let maintained = writer.recover(now_ms)?;
            if collected.as_ref().is_ok_and(|step| step.kept > 0) {
                self.learn_kept();
            }
            self.world.trace(|| {
                let answer = answers.last();
                format!("{op:?} -> {answer:?}, {synced:?}, {collected:?}, {maintained:?}")
            });
            opened.for_each(|(name, row)| self.know_once(name, row));
            match answers.last() {
                Some(Ok(outcome)) => {
                    self.events.count(Damage::Written);
                    self.learn_write(&op, outcome);
                    // A commit that was acknowledged and then lost leaves the previous state.
                    self.may_be_older |= synced.is_err();
                }
                _ => {
                    self.events.count(Damage::WriteRefused);
                    self.may_be_older = true;
                }
            }
        }
        Ok(())
    }

    fn learn_write(&mut self, op: &Op, outcome: &Outcome) {
        let view = self.world.committer().view();
        let (Op::Put(name, ..) | Op::Delete(name), Outcome::Written(written)) = (op, outcome)
        else {
            // The row of a namespace is read back, because the store decides its value.
            if let Outcome::Namespace(namespace) = outcome {
                let name = system_name(namespace);
                if let Ok(Some(found)) = view.row(name.0, &name.1) {
                    let what = What::Joined(fields_of(&found));
                    self.know(name, row_of(&found, what));
                }
            }
            return;
        };
        let what = match op {
            Op::Put(_, content, _) => What::Value(content.clone()),
            _ => What::Tombstone,
        };
        let (metadata, expires_at) = match op {
            Op::Put(_, _, attributes) => (attributes.metadata.clone(), attributes.expires_at),
            _ => (None, None),
        };
        let prev = view.row(name.0, &name.1).ok().flatten().and_then(|found| found.prev);
        let (dot, version) = (written.dot, written.version);
        let row = Row { dot, version, prev, metadata, expires_at, what };
        self.know(name.clone(), row);
    }

    /// Garbage collection created a namespace again: its row is read back.
    fn learn_kept(&mut self) {
        let view = self.world.committer().view();
        for namespace in view.namespaces().iter() {
            let name = system_name(namespace);
            if let Ok(Some(found)) = view.row(name.0, &name.1) {
                let what = What::Joined(fields_of(&found));
                self.know(name, row_of(&found, what));
            }
        }
    }

    /// Learns a row that is written once.
    fn know_once(&mut self, name: Name, row: Row) {
        if !self.known.contains_key(&name) {
            self.know(name, row);
        }
    }

    fn know(&mut self, name: Name, row: Row) {
        self.known.entry(name).or_default().push(Arc::new(row));
    }
}

fn fields_of(found: &Found) -> Fields {
    let fields = found.joined().into_iter().flat_map(|row| row.iter());
    let field = |(number, field): (FieldNumber, &Field)| {
        let bytes = Bytes::copy_from_slice(field.value.as_bytes());
        (number.get(), FieldOf { version: field.version, seq: field.seq, bytes })
    };
    fields.map(field).collect()
}

/// The rows of the origins that the process has opened, as it knows them without the disk.
fn opened_rows(committer: &mut Committer<RedbEngine>) -> Vec<(Name, Row)> {
    let view = committer.view();
    let own = view.own_origins().into_iter().flatten();
    let rows = own.filter_map(|id| {
        let info = view.registry().get(id)?;
        let name = (NamespaceId::SYSTEM, Bytes::copy_from_slice(&OriginInfo::key(id)));
        let (dot, version) = (Dot { origin: id, seq: 1 }, Version { hlc: info.opened, origin: id });
        let (number, value) = info.field();
        let bytes = Bytes::copy_from_slice(value.as_bytes());
        let field = FieldOf { version, seq: 1, bytes };
        let what = What::Joined([(number.get(), field)].into_iter().collect());
        let row = Row { dot, version, prev: None, metadata: None, expires_at: None, what };
        Some((name, row))
    });
    rows.collect()
}

fn row_of(found: &Found, what: What) -> Row {
    Row {
        dot: found.dot,
        version: found.version,
        prev: found.prev,
        metadata: found.metadata.clone().map(Into::into),
        expires_at: found.expires_at,
        what,
    }
}

fn learn(known: &mut Known, world: &World) {
    for (name, row) in &world.state().rows {
        let rows = known.entry(name.clone()).or_default();
        if rows.last() != Some(row) {
            rows.push(Arc::clone(row));
        }
    }
}
