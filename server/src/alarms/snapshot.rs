//! The state of a location at one moment.

use std::{path::PathBuf, sync::Arc};

use kv_core::{MemberId, Members, Mode, Room, Store, StoreView};
use kv_replicate::quic::{Peer, Status};

use super::{book::AlarmBook, damage::DamageState, titles::TitleTwice};
use crate::{
    cluster::{Expiry, Renewal},
    membership::{IncidentState, Membership, OriginState, ReplicaState},
};

/// The state of a location at one moment, from which alarms and the verdict are derived.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The Unix time, in seconds.
    pub now: u64,
    /// Whether the store takes writes.
    pub mode: Mode,
    /// Whether its disk has room for values.
    pub room: Room,
    /// The damage of the store.
    pub damage: DamageState,
    /// The titles that two namespaces have.
    pub titles: Vec<TitleTwice>,
    /// The path of the store that was removed or replaced.
    pub lost: Option<PathBuf>,
    /// Why changed files of the configuration were not taken.
    pub configuration: Vec<String>,
    /// What the location knows as a member of a cluster; none if it is in none.
    pub member: Option<Member>,
}

/// What a location knows as a member of a cluster.
#[derive(Clone, Debug)]
pub struct Member {
    /// The name of this location.
    pub name: String,
    /// Its id.
    pub id: MemberId,
    /// The state of its replica; the last one, without links, if that has ended.
    pub status: Status,
    /// Since when the replica has ended, although the server runs, in Unix seconds; none if it has not.
    pub ended: Option<u64>,
    /// All members, for their names.
    pub members: Arc<Members>,
    /// The state of the store's origins.
    pub origins: OriginState,
    /// When its certificates expire.
    pub expiry: Expiry,
    /// What is known of the renewal.
    pub renewal: Renewal,
    /// What the replica has reported since the start.
    pub incidents: IncidentState,
    /// The folder for writes that a rebuild removed.
    pub salvage: PathBuf,
}

impl Snapshot {
    /// Takes the state of a store, and of its membership with the status of the replica if it is in a cluster.
    #[must_use]
    pub fn of(
        store: &Store,
        member: Option<(&Membership, ReplicaState)>,
        book: &AlarmBook,
        now: u64,
    ) -> Snapshot {
        let view = store.view();
        let member = member.map(|(membership, state)| Member::of(&view, membership, state, now));
        let awaited = member.as_ref().map(|member| &member.status.awaited);
        Snapshot {
            now,
            mode: store.status().mode,
            room: store.room(),
            damage: DamageState::of(&view, awaited),
            titles: book.titles().of(view.namespaces()),
            lost: book.directory().lost(),
            configuration: book.configuration().get(),
            member,
        }
    }
}

impl Member {
    /// Takes what a membership and a view show, with the state of the replica.
    fn of(view: &StoreView, membership: &Membership, state: ReplicaState, now: u64) -> Member {
        let ReplicaState { mut status, ended_for } = state;
        let descriptor = membership.descriptor();
        let (expiry, renewal) = membership.certificate_state();
        if ended_for.is_some() {
            // It may have ended before it reported anything.
            let ids = view.members().current().map(|member| member.id);
            for id in ids.filter(|id| *id != descriptor.member) {
                status.peers.entry(id).or_default();
            }
        }
        // The link to a removed member stays for a while, so that it learns of its removal.
        status.peers.retain(|id, _| view.members().get(*id).is_none_or(|one| !one.removed));
        Member {
            name: descriptor.location.to_string(),
            id: descriptor.member,
            status,
            ended: ended_for.map(|ended| now.saturating_sub(ended.as_secs())),
            members: Arc::clone(view.members()),
            origins: OriginState::of(view),
            expiry,
            renewal,
            incidents: membership.incidents(now),
            salvage: membership.salvage_folder().to_owned(),
        }
    }

    /// Whether the location has stopped replicating: for good, or because its replica has ended.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.ended.is_some() || self.status.halted.is_some()
    }

    /// The other locations, with their names.
    pub fn peers(&self) -> impl Iterator<Item = (MemberId, String, &Peer)> {
        self.status.peers.iter().map(|(id, peer)| (*id, self.called(*id), peer))
    }

    /// The name of a member; its id, if it is not known here.
    #[must_use]
    pub fn called(&self, id: MemberId) -> String {
        self.members.get(id).map_or_else(|| id.to_string(), |member| member.name.clone())
    }
}
