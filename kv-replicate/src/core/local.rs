//! This location as its machines see it: configuration, time, and the state of the store.

use std::{sync::Arc, time::Duration};

use kv_core::{
    Features, Hlc, Key, Member, Members, NamespaceId, OriginEntry, OriginId, OriginRegistry,
    VersionVector,
};

use super::{config::Config, progress::pace};
use crate::{
    MemberId,
    inspect::Place,
    work::{Now, StoreState},
};

/// The state of this location that every machine may read. Only the router changes it.
#[derive(Debug)]
pub(super) struct Local {
    /// The identity and the bounds of the core. They never change.
    config: Config,
    /// The time of the event that is being handled.
    now: Now,
    /// The state of the store, as it last reported it.
    store: StoreState,
    /// How often progress is sent at most to a peer: less often where there are many members.
    pace: Duration,
}

impl Local {
    /// Creates the state for a store in this state, all of it durable.
    pub(super) fn new(config: Config, now: Now, store: StoreState) -> Local {
        let pace = pace(store.members.current().count());
        Local { config, now, store, pace }
    }

    /// Sets the time of the event that is about to be handled.
    pub(super) fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// Replaces the vector of visible writes after a commit.
    pub(super) fn set_visible(&mut self, visible: VersionVector) {
        self.store.visible = visible;
    }

    /// Takes the store's new state; returns the previous one.
    pub(super) fn replace_store(&mut self, store: StoreState) -> StoreState {
        if !Arc::ptr_eq(&self.store.members, &store.members) {
            self.pace = pace(store.members.current().count());
        }
        std::mem::replace(&mut self.store, store)
    }

    /// How often progress is sent at most to a peer.
    pub(super) fn pace(&self) -> Duration {
        self.pace
    }

    /// The identity and the bounds of this core.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The state of the store.
    pub(super) fn store(&self) -> &StoreState {
        &self.store
    }

    /// The monotonic clock.
    pub(super) fn mono(&self) -> Duration {
        self.now.mono
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    pub(super) fn wall_ms(&self) -> u64 {
        self.now.wall_ms
    }

    /// The writes that are visible here.
    pub(super) fn visible(&self) -> &VersionVector {
        &self.store.visible
    }

    /// The writes that survive a crash here.
    pub(super) fn durable(&self) -> &VersionVector {
        &self.store.durable
    }

    /// The writes whose tombstones this store may have collected.
    pub(super) fn collected(&self) -> &VersionVector {
        &self.store.collected
    }

    /// The time that this store's later writes are later than.
    pub(super) fn closed_timestamp(&self) -> Hlc {
        self.store.closed_timestamp
    }

    /// Whether rows of other stores are here.
    pub(super) fn has_received(&self) -> bool {
        self.store.has_received
    }

    /// The members of the cluster, as of the last durable commit.
    pub(super) fn members(&self) -> &Members {
        &self.store.members
    }

    /// The features in use, as of the last durable commit.
    pub(super) fn features(&self) -> Features {
        self.store.features
    }

    /// All origins that the store knows, as of the last durable commit.
    pub(super) fn registry(&self) -> &OriginRegistry {
        &self.store.registry
    }

    /// The origins that this process writes under; none before its first write.
    pub(super) fn origins(&self) -> Option<[OriginId; 2]> {
        self.store.origins
    }

    /// Whether an origin is one that this process writes under: not if a later process has closed it.
    pub(super) fn is_own(&self, origin: OriginId) -> bool {
        !self.store.superseded && self.store.origins.is_some_and(|own| own.contains(&origin))
    }

    /// Whether a process of another member writes under an origin, as far as this location knows: the opening row is the
    /// member's, and no later process has closed the origin.
    pub(super) fn is_open_of(&self, origin: OriginId, member: MemberId) -> bool {
        let opened = self.registry().get(origin);
        opened.is_some_and(|info| info.member == member)
            && !self.registry().is_closed(origin)
            && !self.is_own(origin)
    }

    /// Whether the store is rebuilt, or has nothing yet.
    pub(super) fn is_rebuilding(&self) -> bool {
        self.store.rebuilding
    }

    /// Whether this location takes part: it is a member, and lacks nothing that others count on it to hold.
    pub(super) fn is_joined(&self) -> bool {
        self.is_member(self.config.member) && !self.store.rebuilding
    }

    /// Whether a location is a member now.
    ///
    /// One whose row can't be read counts: its link ends if the row, once it is here again, removes it.
    pub(super) fn is_member(&self, member: MemberId) -> bool {
        self.store.members.is_current(member) || self.is_owed(member)
    }

    /// Whether the row of a member can't be read.
    fn is_owed(&self, member: MemberId) -> bool {
        let name = || Key::new(Member::key(member)).ok();
        let wanted = &self.store.wanted;
        !wanted.is_empty()
            && name()
                .is_some_and(|key| wanted.contains(&Place { namespace: NamespaceId::SYSTEM, key }))
    }

    /// Whether rows of members or of origins may be missing, so that not all of them are known.
    pub(super) fn lacks_registries(&self) -> bool {
        let is_registered = |key: &Key| Member::id_of(key).is_some() || OriginEntry::is_key(key);
        let wanted = self.store.wanted.iter();
        wanted
            .take_while(|place| place.namespace == NamespaceId::SYSTEM)
            .any(|place| is_registered(&place.key))
    }

    /// Whether a location was a member and was removed.
    pub(super) fn has_left(&self, member: MemberId) -> bool {
        self.store.members.get(member).is_some_and(|member| member.removed)
    }

    /// Whether a peer may receive rows. Only a member may, because only members keep tombstones from
    /// being dropped.
    pub(super) fn is_served(&self, peer: MemberId) -> bool {
        self.is_joined() && self.is_member(peer)
    }
}
