//! Readers: gets and lists must agree with the model.

use std::{fmt::Debug, sync::Arc};

use bytes::Bytes;
use kv_core::{
    BodyId, FoundState, ListQuery, NamespaceId, ReadError,
    engine::{Engine, Visibility, redb::RedbSnapshot},
    view::View,
};

use super::{
    World,
    requests::{key, namespace},
    tell::Doing,
};
use crate::{
    events::Event,
    exact::check_row,
    hold,
    model::State,
    violation::{Checked, Violation},
};

/// A view, and what it shows.
#[derive(Clone)]
pub(super) struct HeldView {
    view: View<RedbSnapshot>,
    state: Arc<State>,
    /// How many faults had occurred when it was taken, and how often the file had been reopened.
    faults: usize,
    /// Whether the store had not yet got over one of them.
    is_troubled: bool,
    reopened: u64,
}

const PREFIXES: [&[u8]; 5] = [b"", b"key", b"key3", b"\xff\xff", b"x"];

impl World {
    pub(super) fn read_step(&mut self) -> Checked {
        let result = match self.rng.below(3) {
            0 => self.read_some(),
            1 => self.list_some(),
            _ => self.read_old(),
        };
        match result {
            Err(Read::Wrong(violation)) => Err(violation),
            Err(Read::Failed(error)) => {
                self.note_faults(Doing::Read);
                hold!(self.is_troubled, "no fault, and yet a read answers {error}");
                Ok(())
            }
            Ok(()) => {
                self.note_faults(Doing::Read);
                Ok(())
            }
        }
    }

    /// The newest view; none if a fault came when it was taken, or nothing can be read, for then it
    /// is an older one.
    fn newest_view(&mut self) -> Option<View<RedbSnapshot>> {
        let faults = self.disk.counts().fired.len();
        let view = self.committer().view();
        self.note_faults(Doing::Read);
        let is_newest = self.disk.counts().fired.len() == faults && self.is_readable();
        is_newest.then_some(view)
    }

    /// Whether the engine gives a view. Meets no fault.
    pub(super) fn is_readable(&mut self) -> bool {
        self.disk.pause(true);
        let is_readable = self.committer().engine().snapshot(Visibility::Latest).is_ok();
        self.disk.pause(false);
        is_readable
    }

    fn read_some(&mut self) -> Result<(), Read> {
        let Some(view) = self.newest_view() else { return Ok(()) };
        let state = self.state();
        let now_ms = self.clock_ms;
        let id = namespace(&mut self.rng, &state);
        let keys: Vec<Bytes> = (0..5).map(|_| key(&mut self.rng)).collect();
        let asked: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let many = view.get_many(id, &asked, now_ms);
        let one = view.get(id, &keys[0], now_ms);
        if !is_live(&state, id) {
            is_unknown(many, id)?;
            return is_unknown(one, id);
        }
        let mut found = many?;
        found.push(one?);
        for (key, found) in keys.iter().chain([&keys[0]]).zip(found) {
            let name = (id, key.clone());
            let row = state.rows.get(&name);
            let visible =
                row.filter(|row| row.is_visible(now_ms) && !state.is_dead(name.0, row.version));
            match (found, visible) {
                (None, None) => {
                    if row.is_some_and(|row| !row.is_tombstone()) {
                        self.count(Event::ExpiredHidden);
                    }
                }
                (Some(found), Some(row)) => {
                    check_row(&name, &found, row)?;
                    if let FoundState::Large { body, .. } = found.state {
                        let chunk = view.chunk(body, 0)?;
                        let content = row.content().ok_or_else(|| wrong("a body of nothing"))?;
                        let is_right = chunk.is_some_and(|it| content.bytes.starts_with(&it));
                        if !is_right {
                            return Err(wrong("another first chunk").into());
                        }
                    }
                }
                (found, row) => {
                    return Err(wrong(&format!("{name:?}: got {found:?}, expected {row:?}")).into());
                }
            }
        }
        Ok(())
    }

    /// A view that is held shows what it showed at first, or nothing, whatever came since.
    fn read_old(&mut self) -> Result<(), Read> {
        if self.views.len() < 3
            && let Some(view) = self.newest_view()
        {
            let (state, faults) = (self.state(), self.seen_faults);
            let (is_troubled, reopened) = (self.is_troubled, self.status().reopened);
            let held = HeldView { view, state, faults, is_troubled, reopened };
            self.views.push(held);
        }
        if self.views.is_empty() {
            return Ok(());
        }
        let at = self.rng.index(self.views.len());
        let HeldView { view, state, faults, is_troubled, reopened } = self.views[at].clone();
        let may_be_dead = is_troubled || self.status().reopened != reopened;
        if self.rng.chance(30) {
            self.views.swap_remove(at);
        }
        for (name, row) in state.rows.iter().filter(|_| self.rng.chance(30)) {
            let found = match view.row(name.0, &name.1) {
                Ok(found) => found.ok_or_else(|| wrong("a held view lost a row"))?,
                Err(_) if may_be_dead || faults != self.disk.counts().fired.len() => {
                    self.report.events.count(Event::HeldViewDied);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some((body, _)) = check_row(name, &found, row)? else { continue };
            let content = row.content().ok_or_else(|| wrong("a body of nothing"))?;
            match view.chunk(BodyId(body), 0) {
                Ok(Some(chunk)) if content.bytes.starts_with(&chunk) => {}
                Err(_) if may_be_dead || faults != self.disk.counts().fired.len() => {}
                chunk => return Err(wrong(&format!("a held view: {name:?}: {chunk:?}")).into()),
            }
        }
        Ok(())
    }

    fn list_some(&mut self) -> Result<(), Read> {
        let Some(view) = self.newest_view() else { return Ok(()) };
        let state = self.state();
        let now_ms = self.clock_ms;
        let id = namespace(&mut self.rng, &state);
        let after = self.rng.chance(50).then(|| key(&mut self.rng));
        let prefix = PREFIXES[self.rng.index(PREFIXES.len())];
        let limit = 1 + self.rng.index(6);
        let query = ListQuery { prefix, after: after.as_deref(), limit };
        let page = view.list(id, &query, now_ms);
        if !is_live(&state, id) {
            return is_unknown(page, id);
        }
        let page = page?;
        let expected: Vec<_> = state
            .rows
            .range((id, Bytes::new())..)
            .take_while(|(name, _)| name.0 == id)
            .filter(|(name, _)| name.1.starts_with(prefix))
            .filter(|(name, _)| after.as_ref().is_none_or(|after| name.1 > *after))
            .filter(|(_, row)| row.is_visible(now_ms) && !state.is_dead(id, row.version))
            .collect();
        let is_complete = expected.len() <= limit;
        if page.complete != is_complete || page.entries.len() != expected.len().min(limit) {
            return Err(wrong(&format!("list {query:?}: {page:?}, expected {expected:?}")).into());
        }
        for (listed, (name, row)) in page.entries.iter().zip(expected) {
            let (key, metadata) = (&listed.key[..], listed.metadata.as_deref());
            let there = (key, listed.version, metadata, listed.expires_at);
            let expected = (&name.1[..], row.version, row.metadata.as_deref(), row.expires_at);
            if there != expected {
                return Err(wrong(&format!("list: {listed:?}, expected {row:?}")).into());
            }
        }
        if !is_complete {
            self.count(Event::PageCut);
        }
        Ok(())
    }
}

fn is_live(state: &State, id: NamespaceId) -> bool {
    state.namespaces().any(|namespace| namespace.id == id)
}

/// Checks that a read of a namespace that is dropped, or was never created, fails with that reason.
fn is_unknown<T: Debug>(read: Result<T, ReadError>, id: NamespaceId) -> Result<(), Read> {
    match read {
        Err(ReadError::UnknownNamespace(unknown)) if unknown == id => Ok(()),
        other => Err(wrong(&format!("{id} is not there, and a read gives {other:?}")).into()),
    }
}

/// Why a read is not as it should be.
enum Read {
    Wrong(Violation),
    Failed(ReadError),
}

impl From<Violation> for Read {
    fn from(violation: Violation) -> Read {
        Read::Wrong(violation)
    }
}

impl From<ReadError> for Read {
    fn from(error: ReadError) -> Read {
        Read::Failed(error)
    }
}

fn wrong(what: &str) -> Violation {
    Violation::Wrong(what.to_owned())
}
