//! Opening and closing origins: writes to the system namespace.
//!
//! A process opens a pair of origins with its first write, and closes the open ones of the processes before it.
//! [`Committer::settle_origins`] does the same for a store that is replicated, whether it is written to or not:
//! an origin that is never closed would hold back garbage collection everywhere.

use std::sync::Arc;

use super::{
    committer::{Committed, Committer},
    state::State,
    transaction::Transaction,
};
use crate::{
    engine::{Engine, Snapshot},
    error::WriteError,
    types::{Key, Lane, OriginEntry, OriginId, OriginInfo, limits::MAX_CLOSES},
};

/// How many origins one commit of [`Committer::settle_origins`] closes.
const CLOSES_PER_COMMIT: usize = 256;

impl State {
    /// Whether another process of this location has closed the origins of this one.
    pub(super) fn is_superseded(&self) -> bool {
        self.own.iter().flatten().any(|origin| self.registry.is_closed(*origin))
    }

    /// The origins that this process writes under; none once a later process has closed them.
    pub(super) fn writes_under(&self) -> Option<[OriginId; 2]> {
        self.own.filter(|_| !self.is_superseded())
    }

    /// Whether this location was removed from its cluster. It then has nothing to say any more.
    fn is_removed(&self) -> bool {
        self.members.get(self.member).is_some_and(|member| member.removed)
    }

    /// Whether a process that replicates must open its pair, because nothing closes one before it.
    fn must_open(&self) -> bool {
        self.own.is_none() && self.registry.open_of(self.member).next().is_some()
    }

    /// Returns origins of this location that this process closes, because they were opened before its own: an
    /// older image of the store did not know them. The process of a later pair closes this one instead.
    fn closable(&self) -> Vec<OriginId> {
        let Some(own) = self.writes_under() else { return Vec::new() };
        let Some(order) = self.registry.get(own[0]).map(OriginInfo::order) else {
            return Vec::new();
        };
        let open = self.registry.open_of(self.member);
        let earlier = open.filter(|info| !own.contains(&info.id) && info.order() < order);
        earlier.map(|info| info.id).take(CLOSES_PER_COMMIT).collect()
    }
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Returns the origins that this process writes under, and opens them with the first write.
    pub(super) fn own_pair(&mut self) -> Result<[OriginId; 2], WriteError> {
        if self.state.is_superseded() {
            return Err(WriteError::Superseded(self.state.member));
        }
        match self.state.own {
            Some(own) => Ok(own),
            None => self.open_pair(),
        }
    }

    /// Opens a pair: the first write of each origin is its row, which closes what is open of this location.
    fn open_pair(&mut self) -> Result<[OriginId; 2], WriteError> {
        let member = self.state.member;
        if !self.state.has_room(member, 2) {
            return Err(WriteError::TooManyOrigins);
        }
        let registry = &self.state.registry;
        let closes: Arc<[_]> =
            registry.open_of(member).map(|info| info.id).take(MAX_CLOSES).collect();
        let pair = [self.fresh_origin()?, self.fresh_origin()?];
        let [small, large] = pair;
        if small == large {
            return Err(WriteError::Failed("the system's random numbers repeat".into()));
        }
        let opened = self.next_time(None)?;
        for (id, partner, lane) in [(small, large, Lane::Small), (large, small, Lane::Large)] {
            let closes = Arc::clone(&closes);
            let info = OriginInfo { id, member, lane, partner, closes, opened };
            let key = Key::new(OriginInfo::key(id)).expect("the keys of origins are short");
            self.write_fields_as((opened, id), key, None, vec![info.field()]);
        }
        self.state.own = Some(pair);
        Ok(pair)
    }

    /// Draws the id of an origin that no store has met.
    fn fresh_origin(&mut self) -> Result<OriginId, WriteError> {
        let random = self.random.as_mut().ok_or_else(|| {
            WriteError::Failed("this commit has no randomness for the ids of its origins".into())
        })?;
        let id = random().map(OriginId).map_err(|error| {
            WriteError::Failed(format!("no randomness for the ids of new origins: {error}"))
        })?;
        if id.0 == [0; 16] || self.state.origins.number(id).is_some() {
            return Err(WriteError::Failed("the system's random numbers repeat".into()));
        }
        Ok(id)
    }

    /// Closes an origin of this location.
    fn close_origin(&mut self, id: OriginId) -> Result<(), WriteError> {
        let key = OriginEntry::closing_key(id, self.state.member);
        let key = Key::new(key).expect("the keys of origins are short");
        self.write_fields(key, [OriginEntry::closing_field()], None).map(drop)
    }

    /// Updates the registry from a row.
    pub(super) fn register_origin(&mut self, entry: OriginEntry) {
        Arc::make_mut(&mut self.state.registry).insert(entry);
    }
}

impl<E: Engine> Committer<E>
where
    E::Snapshot: Clone,
{
    /// Opens this process's origins if a former process left some open, and closes open ones that it has learned
    /// of since. Returns `None` if there was nothing to do, or if it failed; more may be left to do.
    ///
    /// The writer calls it for a store that is replicated, before the store announces a closed timestamp and
    /// whenever the replicator has worked.
    pub fn settle_origins(&mut self, now_ms: u64) -> Option<Committed> {
        if self.is_settled() {
            return None;
        }
        let closable = self.state.closable();
        // What fails now is tried again once the registry has changed, and not in each turn.
        self.settled = Some((Arc::clone(&self.state.registry), self.state.own));
        if self.state.is_removed() || (!self.state.must_open() && closable.is_empty()) {
            return None;
        }
        if let Err(error) = self.refresh() {
            self.lost(&error.into());
            return None;
        }
        let mut transaction = Transaction::new(&self.state, &self.view, self.times(now_ms));
        transaction.random = Some(&mut *self.random);
        let made = transaction.own_pair().and_then(|_own| {
            closable.into_iter().try_for_each(|origin| transaction.close_origin(origin))
        });
        if let Err(error) = made {
            tracing::warn!(%error, "the origins of former processes can't be closed yet");
            return None;
        }
        let changes = transaction.finish();
        let committed = self.write_changes(changes, Vec::new());
        committed.map_err(|error| tracing::warn!(%error, "origins were not closed")).ok()
    }

    /// Whether nothing has changed since [`Committer::settle_origins`] last looked.
    fn is_settled(&self) -> bool {
        let Some((registry, own)) = &self.settled else { return false };
        Arc::ptr_eq(registry, &self.state.registry) && *own == self.state.own
    }
}
