//! Claims to hold writes that were never made: a peer counts more of an origin than the process that writes under it.
//!
//! Only that process knows how many writes there are, and it reports as much over its own link. A member that lies may
//! count more, and whoever believes it takes the later writes for known, and passes the claim on. So
//!
//! - a location that counts more than the writer does, although the writer has learned of that, has believed a lie: it
//!   counts nothing but the opening row of that origin any more, and catches up on it again;
//! - from then on, only a session with the writer adds to the count of that origin, while there is a link to it
//!   ([`Peers::doubted_counts`](super::peers::Peers::doubted_counts)): another source may count writes that were made and
//!   that it does not have;
//! - nobody rebuilds for tombstones of an open origin beyond what its writer has reported;
//! - the writer reports a peer that claims such writes, and ends the link to one that does not put it right.
//!
//! Of an origin whose process has ended nobody can tell: a member that lies about it is believed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use kv_core::{Dot, OriginId, VersionVector};

use super::{
    actions::{Context, Pending},
    counts::Counts,
    peers::Peer,
};
use crate::{MemberId, notice::Notice, wire::PageHead, work::Work};

/// Why the link to a peer is closed that goes on with such a claim.
pub const CLAIM: &str = "it claims to hold writes of this location that were never made";

/// How long a peer has to put it right: it may have believed another one.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an origin is not disowned again: less than [`PATIENCE`].
const APART: Duration = Duration::from_secs(10);

/// The claims that are known.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The peers that claim to hold writes of this process which it has not made, and since when.
    of_own: BTreeMap<MemberId, Duration>,
    /// When origins were last counted from their opening rows on again: a member that lies about its own writes can't make
    /// others catch up on them all the time.
    disowned: BTreeMap<OriginId, Duration>,
}

impl Claims {
    /// A peer has sent progress: compares it with what this location has, of the origins of both.
    pub(super) fn progressed(&mut self, cx: &mut Context<'_>, counts: &Counts, from: MemberId) {
        let Some(peer) = cx.peers.get(from) else { return };
        let claimed = &peer.progress().durable;
        let own = cx.local.origins().into_iter().flatten().filter(|own| cx.local.is_own(*own));
        let is_claimed = own.into_iter().any(|own| claimed.get(own) > cx.local.visible().get(own));
        let disowned = disowned(cx, counts, (from, peer));
        self.note(cx, from, is_claimed);
        let now = cx.local.mono();
        self.disowned.retain(|_, at| now < *at + APART);
        for (origin, made) in disowned {
            if let Entry::Vacant(entry) = self.disowned.entry(origin) {
                entry.insert(now);
                cx.out.notice(Notice::Disowned { peer: from, origin });
                let (id, epoch) = cx.out.next_commit();
                let work = Work::Disown { id, epoch, origin, made };
                cx.out.request(id, Pending::Disown { origin }, work);
            }
        }
    }

    /// Notes whether a peer claims writes of this process that were never made.
    fn note(&mut self, cx: &mut Context<'_>, from: MemberId, is_claimed: bool) {
        let now = cx.local.mono();
        if !is_claimed {
            self.of_own.remove(&from);
            return;
        }
        let is_new = !self.of_own.contains_key(&from);
        let since = *self.of_own.entry(from).or_insert(now);
        let is_over = now >= since + PATIENCE;
        if is_new || is_over {
            cx.out.notice(Notice::Refused { peer: from, reason: CLAIM });
        }
        if is_over {
            cx.out.close(from, CLAIM);
        }
    }

    /// The commit that counts an origin from its opening row on was not made.
    pub(super) fn not_committed(&mut self, origin: OriginId) {
        self.disowned.remove(&origin);
    }

    /// The link to a peer is down: over the next one it learns first how many writes there are.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        self.of_own.remove(&peer);
    }
}

/// The origins of a peer of which more is counted here than it has written, although it knows that, and how much that is.
fn disowned(
    cx: &Context<'_>,
    counts: &Counts,
    (from, peer): (MemberId, &Peer),
) -> Vec<(OriginId, u64)> {
    let acknowledged = peer.announced.base().state;
    let (made, durable) = (&peer.progress().durable, cx.local.durable());
    let is_disowned = |origin: &OriginId| {
        durable.get(*origin) > made.get(*origin)
            && cx.local.visible().get(*origin) > made.get(*origin)
            && counts.is_acknowledged(*origin, acknowledged)
            && cx.local.is_open_of(*origin, from)
    };
    let origins: Vec<_> = peer.origins().into_iter().flatten().filter(is_disowned).collect();
    if origins.is_empty() || !counts_its_own(cx, (from, peer)) {
        return Vec::new();
    }
    origins.into_iter().map(|origin| (origin, made.get(origin))).collect()
}

/// Whether a peer certainly counts all that it has written. A rebuild may remove its own writes from its counts, if a later
/// process of its member has closed its origins: the row that says so may be one that only the peer has so far.
fn counts_its_own(cx: &Context<'_>, (from, peer): (MemberId, &Peer)) -> bool {
    let progress = peer.progress();
    let may_close = |dot: Dot| match cx.local.registry().get(dot.origin) {
        Some(info) => info.member == from && !cx.local.durable().covers(dot),
        None => true,
    };
    !progress.rebuilding && !progress.durable.iter().any(may_close)
}

/// Lowers the vectors of a source to what this process has made of its own origins, and to what is here of those of which
/// more was claimed before, unless the source is their writer.
pub(super) fn without(mut head: PageHead, cx: &Context<'_>, source: MemberId) -> PageHead {
    let visible = cx.local.visible();
    let own = cx.local.origins().into_iter().flatten().filter(|own| cx.local.is_own(*own));
    for own in own {
        head.vector.lower(own, visible.get(own));
        head.collected.lower(own, visible.get(own));
    }
    for (origin, (writer, _)) in cx.peers.doubted_counts(cx.local) {
        let most = visible.get(origin).max(1);
        if writer != source {
            head.vector.lower(origin, most);
            head.collected.lower(origin, most);
        }
    }
    head
}

/// The tombstones that a peer reports to have collected, without those that can't exist: of writes that were never made. Every
/// member counts a tombstone before one of them collects it, this location too.
pub(super) fn collected_by(
    mut collected: VersionVector,
    cx: &Context<'_>,
    peer: MemberId,
) -> VersionVector {
    let visible = cx.local.visible();
    let own = cx.local.origins().into_iter().flatten().filter(|own| cx.local.is_own(*own));
    own.for_each(|own| collected.lower(own, visible.get(own)));
    for (origin, (writer, made)) in cx.peers.open_counts(cx.local) {
        if writer != peer && collected.get(origin) > made {
            collected.lower(origin, visible.get(origin));
        }
    }
    collected
}

#[cfg(test)]
mod tests;
