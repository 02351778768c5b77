//! Timestamps of the cluster: up to which time every member has everything, so that older tombstones
//! may be dropped.
//!
//! A member announces a *closed timestamp* together with its origins and their sequence numbers: whatever its process
//! writes later is later. A location that durably holds these writes has everything of that member up to
//! the timestamp. Its *resolved timestamp* is the least of these over all members, its own included. The
//! least that all members announce is the *stable timestamp*: every member has every write up to it, so
//! that nothing older can arrive from any of them.
//!
//! But not everyone knows every member at the same time. A joining member has what its source had when it
//! joined; it lacks what its source lacked. The source may get that, and resolve further, while a third
//! location does not even know the joining member. So each location announces, beside its own resolved
//! timestamp, the least that all members that it knows of have announced: the timestamp that it *holds*
//! with them. The stable timestamp is the least of these as well.
//!
//! A location announces the closed timestamp that is durable in its store, a field of its own: the times of
//! an origin's writes are in no order. It rises with commits up to cluster time, and in an idle store only
//! while a tombstone waits for it.
//!
//! A location that is the only member waits for nobody once nothing remains of ended origins: whatever it has dropped,
//! nobody else holds.
//!
//! After Cure (Akkoorath et al., ICDCS 2016); closed and resolved timestamps are named as in CockroachDB.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Dot, Hlc, OriginId, VersionVector};

use super::{
    ended::{Ended, Report},
    live_receiver::LiveReceiver,
    local::Local,
    reported::Progress,
};
use crate::{MemberId, StoreState};

mod least;
mod own;

use least::Least;
use own::OwnWrites;

/// A closed timestamp, the origins of the process that announces it, and the writes that it stands behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Announcement {
    closed: Hlc,
    pair: Option<[OriginId; 2]>,
    writes: Option<[Dot; 2]>,
}

/// Whether the writes that an announcement stands behind have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// Some are missing.
    Pending,
    /// All are here, durably.
    Here,
    /// Some are missing of a pair that was closed since, or that its member does not announce any more: they may never
    /// come.
    Over,
}

impl Announcement {
    /// Whether its writes have arrived. `latest` is the last announcement of the member: where that names another pair,
    /// another process has taken the place of this one, perhaps on an older image of the disk. What is left of this one
    /// is what is left of any ended process.
    fn arrival(&self, local: &Local, latest: &Announcement) -> Arrival {
        let mut writes = self.writes.iter().flatten();
        if writes.all(|dot| local.durable().covers(*dot)) {
            return Arrival::Here;
        }
        let mut pair = self.pair.iter().flatten();
        let is_closed = pair.any(|origin| local.registry().is_closed(*origin));
        if is_closed || self.pair != latest.pair { Arrival::Over } else { Arrival::Pending }
    }
}

/// The announcements of a member that are not counted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each member, and it is mostly waiting"
)]
enum Announced {
    /// Every announcement so far is counted.
    #[default]
    Nothing,
    /// Some writes of the oldest are not here. The latest replaces it when they are: under a steady
    /// stream, the latest alone would never be met.
    Waiting { oldest: Announcement, latest: Announcement },
}

/// The timestamps of a member, whether a link to it is up or not.
#[derive(Debug, Default)]
struct Member {
    /// The announcements whose writes have not all arrived.
    announced: Announced,
    /// The origins of the last announcement that counts.
    pair: Option<[OriginId; 2]>,
    /// All of its writes under `pair` up to this time are here, durably, and its later ones are later.
    closed: Hlc,
    /// It has durably everything of everyone up to this time.
    resolved: Hlc,
    /// Every member that it knows of has announced to have resolved this time, and so has it.
    held: Hlc,
    /// What it has last reported about ended origins; none if it has not reported in this process.
    report: Option<Report>,
}

impl Member {
    /// Counts an announcement whose writes are here. Returns whether it is of another pair than before, which has
    /// ended.
    fn count(&mut self, announcement: Announcement, ended: &mut Ended) -> bool {
        if self.pair == announcement.pair {
            self.closed = self.closed.max(announcement.closed);
            return false;
        }
        if let Some(before) = self.pair {
            ended.end(before, self.closed);
        }
        (self.pair, self.closed) = (announcement.pair, announcement.closed);
        true
    }
}

impl Member {
    /// Counts the announcements whose writes are here by now. Returns whether another pair has ended.
    fn follow_writes(&mut self, local: &Local, ended: &mut Ended) -> bool {
        let mut has_moved = false;
        while let Announced::Waiting { oldest, latest } = self.announced {
            match oldest.arrival(local, &latest) {
                Arrival::Pending => break,
                Arrival::Over => {}
                Arrival::Here => has_moved |= self.count(oldest, ended),
            }
            self.announced = if oldest == latest {
                Announced::Nothing
            } else {
                Announced::Waiting { oldest: latest, latest }
            };
        }
        has_moved
    }
}

/// What holds the stable timestamp back.
#[derive(Debug)]
pub(super) struct Holder {
    /// The members whose timestamps are the least.
    pub(super) members: Vec<MemberId>,
    /// Something of an ended origin may be missing at a member.
    pub(super) is_unsettled: bool,
}

/// The timestamps of all members but this one.
#[derive(Debug, Default)]
pub(super) struct Stability {
    /// The timestamps by member.
    members: BTreeMap<MemberId, Member>,
    /// The least closed timestamp of a member.
    least_closed: Least,
    /// The least time that a member has resolved.
    least_resolved: Least,
    /// The origins that no process writes under any more.
    ended: Ended,
    /// The time up to which everything of these is here; none if all are finished.
    cap: Option<Hlc>,
    /// This location's digest of uncounted writes at the last assessment.
    uncounted: u64,
    /// Something else has changed since the last assessment.
    is_stale: bool,
    /// Timestamps may have changed since it was last looked at.
    is_moved: bool,
    /// The greatest resolved timestamp so far: it does not fall.
    reached: Hlc,
    /// The own writes that every other member counts.
    own: OwnWrites,
}

impl Stability {
    /// Takes in the members in the store. Returns whether other origins have ended than before.
    pub(super) fn follow_members(&mut self, local: &Local) -> bool {
        let own = local.config().member;
        self.is_moved = true;
        self.members.retain(|member, _| local.is_member(*member));
        for member in local.members().current().filter(|member| member.id != own) {
            self.members.entry(member.id).or_default();
        }
        self.find_least();
        self.follow_origins(local)
    }

    /// Finds the origins that have ended. Returns whether there are others than before.
    pub(super) fn follow_origins(&mut self, local: &Local) -> bool {
        let pairs = self.members.values().filter_map(|member| member.pair);
        let has_changed = self.ended.follow(local, &pairs.flatten().collect());
        self.is_stale = true;
        has_changed
    }

    /// Takes in the counts of ended origins in the store. Returns whether one of them has changed.
    pub(super) fn follow_counts(&mut self, local: &Local, before: &StoreState) -> bool {
        let has_moved = |origin: &OriginId| {
            let (visible, durable) = (&before.visible, &before.durable);
            (visible.get(*origin), durable.get(*origin))
                != (local.visible().get(*origin), local.durable().get(*origin))
        };
        self.is_stale |= self.ended.origins().iter().any(has_moved);
        before.rebuilding != local.is_rebuilding()
    }

    /// This process writes under these origins no more, and all up to a time is here.
    pub(super) fn end_own(&mut self, pair: [OriginId; 2], closed: Hlc) {
        self.ended.end(pair, closed);
    }

    /// The origins that no process writes under any more.
    pub(super) fn ended(&self) -> &BTreeSet<OriginId> {
        self.ended.origins()
    }

    /// Writes of an origin arrived, or were applied.
    pub(super) fn arrived(&mut self, origin: OriginId) {
        self.is_stale |= self.ended.origins().contains(&origin);
    }

    /// What this location counts of ended origins may have changed.
    pub(super) fn disturb(&mut self) {
        self.is_stale = true;
    }

    /// A member sent its progress. `changes` are the counts that have changed since the one before; none if that was sent
    /// over another link. Returns whether other origins have ended than before.
    pub(super) fn progressed(
        &mut self,
        local: &Local,
        from: MemberId,
        (progress, changes): (&Progress, Option<&[Dot]>),
    ) -> bool {
        let Some(member) = self.members.get_mut(&from) else { return false };
        let (closed, resolved) = (member.closed, member.resolved);
        let is_closed = |origin: &OriginId| local.registry().is_closed(*origin);
        let is_superseded = progress.origins.iter().flatten().any(is_closed);
        let ended = self.ended.origins();
        let is_same = match (&mut member.report, changes) {
            (Some(report), Some(changes)) if !is_superseded => {
                report.follow(progress, changes, ended)
            }
            (place, _) => {
                let report = (!is_superseded).then(|| Report::of(progress));
                Report::replace(place, report, ended)
            }
        };
        self.is_stale |= !is_same;
        self.is_moved = true;
        if is_superseded {
            // A later process of this member writes, and reports what counts.
            return false;
        }
        member.resolved = member.resolved.max(progress.resolved);
        member.held = member.held.max(progress.held);
        let write = |origin| Dot { origin, seq: progress.durable.get(origin) };
        let writes = progress.origins.map(|pair| pair.map(write));
        let latest =
            Announcement { closed: progress.closed_timestamp, pair: progress.origins, writes };
        let oldest = match member.announced {
            Announced::Waiting { oldest, .. } => oldest,
            Announced::Nothing => latest,
        };
        member.announced = Announced::Waiting { oldest, latest };
        let has_moved = member.follow_writes(local, &mut self.ended);
        let (closed, resolved) = ((closed, member.closed), (resolved, member.resolved));
        let members = &self.members;
        self.least_closed.moved(closed, || members.values().map(|member| member.closed));
        self.least_resolved.moved(resolved, || members.values().map(|member| member.resolved));
        has_moved && self.follow_origins(local)
    }

    /// Finds the least times.
    fn find_least(&mut self) {
        self.least_closed = Least::of(self.members.values().map(|member| member.closed));
        self.least_resolved = Least::of(self.members.values().map(|member| member.resolved));
    }

    /// Counts the closed timestamps whose writes are here by now. Returns whether other origins have ended than
    /// before.
    pub(super) fn follow_writes(&mut self, local: &Local) -> bool {
        let mut has_moved = false;
        self.is_moved = true;
        for member in self.members.values_mut() {
            has_moved |= member.follow_writes(local, &mut self.ended);
        }
        self.find_least();
        has_moved && self.follow_origins(local)
    }

    /// Assesses the ended origins, if something has changed. `uncounted` is this location's digest.
    pub(super) fn assess(&mut self, local: &Local, live: &LiveReceiver, uncounted: u64) {
        if self.is_stale || uncounted != self.uncounted {
            for member in self.members.values_mut() {
                member.report.iter_mut().for_each(|report| report.look_up(local));
            }
            let reports = self.members.values().map(|member| member.report.as_ref());
            self.cap = self.ended.assess(local, live, uncounted, reports);
            (self.is_stale, self.uncounted, self.is_moved) = (false, uncounted, true);
        }
        if std::mem::take(&mut self.is_moved) {
            self.reached = self.reached.max(self.resolved(local));
        }
        let members = &self.members;
        self.own.follow(local, || Box::new(members.values().map(|member| member.report.as_ref())));
    }

    /// Whether everything that remains of ended origins is at every member.
    pub(super) fn is_finished(&self) -> bool {
        self.cap.is_none() && !self.is_stale
    }

    /// The store begins to be rebuilt: what this location has resolved does not count any more.
    pub(super) fn forget_reached(&mut self) {
        self.reached = Hlc::ZERO;
    }

    /// The time up to which every member's writes are here, durably. While something of an ended origin may be
    /// missing, it does not rise beyond what was closed of it.
    pub(super) fn resolved(&self, local: &Local) -> Hlc {
        if !local.is_joined() || local.lacks_registries() {
            return Hlc::ZERO;
        }
        let own = local.closed_timestamp();
        let closed = self.least_closed.get().map_or(own, |least| least.min(own));
        let cap = if self.is_stale { Some(Hlc::ZERO) } else { self.cap };
        cap.map_or(closed, |cap| closed.min(cap)).max(self.reached)
    }

    /// The writes that a member has last reported to hold durably; none if it has not reported in this process.
    pub(super) fn reported(&self, member: MemberId) -> Option<&VersionVector> {
        self.members.get(&member)?.report.as_ref().map(Report::durable)
    }

    /// What holds the stable timestamp back. A member whose closed timestamp is the least holds back what all others
    /// resolve, so it comes before a member that has only resolved the least.
    pub(super) fn holder(&self, local: &Local) -> Holder {
        let least = self.members.values().map(|member| member.held.min(member.resolved));
        let least = least.fold(self.resolved(local), Hlc::min);
        let by = |is: &dyn Fn(&Member) -> bool| -> Vec<MemberId> {
            let found = self.members.iter().filter(|(_, member)| is(member));
            found.map(|(id, _)| *id).collect()
        };
        let mut members = by(&|member| member.closed <= least);
        if members.is_empty() {
            members = by(&|member| member.resolved <= least);
        }
        if members.is_empty() {
            members = by(&|member| member.held <= least);
        }
        Holder { members, is_unsettled: !self.is_finished() }
    }

    /// The time that every member that this location knows of has resolved. Others may not know of all
    /// of them yet: a member that joined through this location lacks what this location lacked then.
    pub(super) fn held(&self, local: &Local) -> Hlc {
        let own = self.resolved(local);
        self.least_resolved.get().map_or(own, |least| least.min(own))
    }

    /// See [`Core::stable`](super::Core::stable); `sessions` are the closed timestamps at the beginning
    /// of the sessions that are being served.
    ///
    /// While something of an ended origin may be missing somewhere, no tombstone is collected: one of that origin may be
    /// older than the stable timestamp and not be at all members, and a member that had a write may have been removed
    /// since.
    pub(super) fn stable(&self, local: &Local, sessions: impl Iterator<Item = Hlc>) -> Hlc {
        if !self.is_finished() {
            return Hlc::ZERO;
        }
        let is_alone = self.members.is_empty() && local.is_joined() && !local.lacks_registries();
        let members = self.members.values().map(|member| member.held.min(member.resolved));
        let all = if is_alone {
            Hlc(u64::MAX)
        } else {
            let resolved = self.resolved(local).min(self.own.counted());
            after(members.fold(resolved, Hlc::min))
        };
        sessions.map(after).fold(all, Hlc::min)
    }
}

/// The time behind which the next writes are; none behind none.
fn after(at: Hlc) -> Hlc {
    if at == Hlc::ZERO { at } else { Hlc(at.0.saturating_add(1)) }
}

#[cfg(test)]
mod tests;
