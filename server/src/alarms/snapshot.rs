//! The state of a location at one moment.

use std::{path::PathBuf, sync::Arc};

use kv_core::{MemberId, Members, Mode, Store};
use kv_replicate::quic::{Peer, Status};

use super::{
    damage::DamageState,
    titles::{TitleCache, TitleTwice},
};
use crate::{
    cluster::{Expiry, Renewal},
    membership::{IncidentState, Membership, OriginState},
};

/// The state of a location at one moment, from which alarms and the verdict are derived.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The Unix time, in seconds.
    pub now: u64,
    /// Whether the store takes writes.
    pub mode: Mode,
    /// The damage of the store.
    pub damage: DamageState,
    /// The titles that two namespaces have.
    pub titles: Vec<TitleTwice>,
    /// Whether this is a member of a cluster whose replica has ended, although the server runs.
    pub has_ended: bool,
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
    /// The state of its replica.
    pub status: Status,
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
        member: Option<(&Membership, Option<Status>)>,
        titles: &TitleCache,
        now: u64,
    ) -> Snapshot {
        let view = store.view();
        let has_ended = member.as_ref().is_some_and(|(_, status)| status.is_none());
        let member = member.and_then(|(membership, status)| {
            let mut status = status?;
            // The link to a removed member stays for a while, so that it learns of its removal.
            status.peers.retain(|id, _| view.members().get(*id).is_none_or(|one| !one.removed));
            let descriptor = membership.descriptor();
            let (expiry, renewal) = membership.certificate_state();
            Some(Member {
                name: descriptor.location.to_string(),
                id: descriptor.member,
                status,
                members: Arc::clone(view.members()),
                origins: OriginState::of(&view),
                expiry,
                renewal,
                incidents: membership.incidents(now),
                salvage: membership.salvage_folder().to_owned(),
            })
        });
        let awaited = member.as_ref().map(|member| &member.status.awaited);
        Snapshot {
            now,
            mode: store.status().mode,
            damage: DamageState::of(&view, awaited),
            titles: titles.of(view.namespaces()),
            has_ended,
            member,
        }
    }
}

impl Member {
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
