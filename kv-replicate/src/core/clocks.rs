//! The clocks of the members, and the cluster's clock that follows from them.
//!
//! Each progress message carries the sender's wall clock, and names the last progress that the sender
//! received and how long ago. So the receiver knows the round trip, and takes the clock as read at half of
//! it; it is wrong by half a round trip at most. The clocks are kept against the own monotonic clock, so that
//! a step of the own wall clock does not move those of others.
//!
//! Cluster time is the median of the clocks that were heard within the last minute, the own one included, if
//! there are three or more; else it is the own clock. It is *confirmed* if a majority of the current members,
//! heard or not, agrees with it.

use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use kv_core::{ClusterClock, Members};

use super::{actions::Context, local::Local};
use crate::{ClockState, MemberId, notice::Notice, wire::ProgressDelta};

/// How long the clock of a member counts after it was heard.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

/// How long an exact reading is preferred to a later one that is less exact.
const EXACT_FOR: Duration = Duration::from_secs(15);

/// How many progress messages to a peer are remembered until they are echoed.
const MAX_SENT: usize = 64;

/// Clocks beyond this, in milliseconds since the Unix epoch, count as this: no sum overflows.
const MAX_WALL_MS: u64 = 1 << 48;

/// A reading of a member's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    /// What the clock showed at the zero of the own monotonic clock, in milliseconds since the Unix epoch.
    zero_ms: i64,
    /// By how much this may be wrong, in milliseconds.
    error_ms: i64,
    /// When it was read.
    at: Duration,
}

impl Reading {
    /// How far this clock is ahead of another one, if that is certain: beyond what the readings may be
    /// wrong by, and beyond what two right clocks may differ by.
    fn ahead_of(self, other: Reading, max_skew_ms: i64) -> Option<i64> {
        let ahead = self.zero_ms - other.zero_ms;
        (ahead.abs() > max_skew_ms + self.error_ms + other.error_ms).then_some(ahead)
    }

    /// Whether a later reading replaces this one: it is at least as exact, or this one is old, or the clock
    /// has certainly stepped in between.
    fn gives_way_to(self, later: Reading) -> bool {
        later.error_ms <= self.error_ms
            || later.at.saturating_sub(self.at) >= EXACT_FOR
            || self.ahead_of(later, 0).is_some()
    }
}

/// The clock of a member.
#[derive(Debug, Default)]
struct Heard {
    /// The reading that counts; none before the first round trip.
    reading: Option<Reading>,
    /// The progress messages that were sent to it on this link, and when.
    sent: VecDeque<(u64, Duration)>,
}

/// The clocks that count: those of other current members that were heard within the last minute.
#[derive(Clone, Debug)]
struct Heeded {
    /// The readings, by rising clocks.
    readings: Vec<Reading>,
    /// How many members there are now.
    members: usize,
    /// The members that it was computed from.
    of: Arc<Members>,
    /// When the first of them was heard too long ago, or before; none if there is none.
    until: Option<Duration>,
}

impl Heeded {
    /// Whether it is the same still.
    fn is_current(&self, local: &Local) -> bool {
        self.until.is_none_or(|until| local.mono() < until)
            && Arc::ptr_eq(&self.of, &local.store().members)
    }

    /// Takes in another reading of a member.
    fn replace(&mut self, before: Option<Reading>, reading: Reading) {
        let at = before.and_then(|before| self.readings.binary_search(&before).ok());
        if let Some(at) = at {
            self.readings.remove(at);
        }
        let at = self.readings.partition_point(|other| *other < reading);
        self.readings.insert(at, reading);
        self.until.get_or_insert(reading.at + HEARD_WITHIN);
    }
}

/// The clocks of all members.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// By member.
    members: BTreeMap<MemberId, Heard>,
    /// The clocks that count; none before they were first looked at.
    heeded: Option<Heeded>,
    /// Whether the last notice was that the own clock may be wrong.
    is_doubtful: bool,
}

impl Clocks {
    /// Progress with this number is being sent to a peer.
    pub(super) fn sending(&mut self, local: &Local, to: MemberId, number: u64) {
        let now = local.mono();
        let heard = self.members.entry(to).or_default();
        heard.sent.push_back((number, now));
        if heard.sent.len() > MAX_SENT {
            heard.sent.pop_front();
        }
    }

    /// A peer sent its progress.
    pub(super) fn progressed(&mut self, local: &Local, from: MemberId, progress: &ProgressDelta) {
        let now = local.mono();
        let heard = self.members.entry(from).or_default();
        let Some(echo) = progress.echo else { return };
        let Some(sent) = heard.sent.iter().find(|(number, _)| *number == echo.number) else {
            return;
        };
        let trip = millis(now.saturating_sub(sent.1)).saturating_sub(i64::from(echo.held_ms));
        let error_ms = trip.max(0) / 2 + 1;
        let wall_ms = i64::try_from(progress.wall_ms.min(MAX_WALL_MS)).unwrap_or(i64::MAX);
        let reading = Reading { zero_ms: wall_ms + error_ms - 1 - millis(now), error_ms, at: now };
        if heard.reading.is_none_or(|before| before.gives_way_to(reading)) {
            let before = heard.reading.replace(reading);
            let is_heeded = from != local.config().member && local.members().is_current(from);
            if let Some(heeded) = self.heeded.as_mut().filter(|_| is_heeded) {
                heeded.replace(before, reading);
            }
        }
    }

    /// The link to a peer is down: what was sent on it is not echoed any more.
    pub(super) fn disconnect(&mut self, peer: MemberId) {
        if let Some(heard) = self.members.get_mut(&peer) {
            heard.sent.clear();
        }
    }

    /// The clocks of the members that were heard within the last minute, without the own one.
    fn heard(&self, local: &Local) -> impl Iterator<Item = (MemberId, Reading)> + '_ {
        let (now, own) = (local.mono(), local.config().member);
        let members =
            local.members().current().map(|member| member.id).filter(move |id| *id != own);
        let ids: Vec<_> = members.collect();
        ids.into_iter().filter_map(move |id| {
            let reading = self.members.get(&id)?.reading?;
            (now.saturating_sub(reading.at) < HEARD_WITHIN).then_some((id, reading))
        })
    }

    /// The clocks that count now.
    fn heeded(&self, local: &Local) -> Cow<'_, Heeded> {
        if let Some(heeded) = self.heeded.as_ref().filter(|heeded| heeded.is_current(local)) {
            return Cow::Borrowed(heeded);
        }
        let mut readings: Vec<_> = self.heard(local).map(|(_, reading)| reading).collect();
        readings.sort_unstable();
        let until = readings.iter().map(|reading| reading.at + HEARD_WITHIN).min();
        let members = local.members().current().count();
        Cow::Owned(Heeded { readings, members, of: Arc::clone(&local.store().members), until })
    }

    /// Whether a majority of the current members agrees with a clock. Nobody confirms a single member.
    fn is_confirmed(&self, local: &Local, leading: Reading) -> bool {
        let heeded = self.heeded(local);
        let max_skew_ms = max_skew_ms(local);
        let agrees = |reading: &Reading| {
            reading.error_ms <= max_skew_ms
                && (reading.zero_ms - leading.zero_ms).abs() <= max_skew_ms
        };
        let own = own(local);
        let agreeing = heeded.readings.iter().chain([&own]).filter(|one| agrees(one)).count();
        local.is_joined() && heeded.members >= 2 && agreeing * 2 > heeded.members
    }

    /// The cluster's clock, for the store.
    pub(super) fn clock(&self, local: &Local) -> ClusterClock {
        let heeded = self.heeded(local);
        let leading = leading(local, &heeded.readings);
        let is_confirmed = self.is_confirmed(local, leading);
        let is_shared = is_confirmed || heeded.readings.len() >= 2;
        // A time that was closed can't be opened again: while it is not confirmed, the least clock counts, so
        // that a wrong one only delays the collection of tombstones.
        let least =
            || heeded.readings.iter().map(|reading| reading.zero_ms - reading.error_ms).min();
        let closing = if is_confirmed { Some(leading.zero_ms) } else { least() };
        ClusterClock {
            zero_ms: is_shared.then_some(leading.zero_ms),
            is_confirmed,
            closing_zero_ms: closing.filter(|_| local.is_joined()).map(|zero_ms| {
                if is_confirmed { zero_ms } else { zero_ms.min(own(local).zero_ms) }
            }),
        }
    }

    /// The state of the own clock.
    pub(super) fn state(&self, local: &Local) -> ClockState {
        let heeded = self.heeded(local);
        let (own, leading) = (own(local), leading(local, &heeded.readings));
        let max_skew_ms = max_skew_ms(local);
        let ahead = |(peer, reading)| Some((peer, own.ahead_of(reading, max_skew_ms)?));
        let is_median = heeded.readings.len() >= 2;
        ClockState {
            is_confirmed: self.is_confirmed(local, leading),
            off_ms: own.ahead_of(leading, max_skew_ms),
            disagreeing: if is_median {
                Vec::new()
            } else {
                self.heard(local).filter_map(ahead).collect()
            },
        }
    }

    /// How far a member's clock is ahead of the own one, in milliseconds; none if it was not heard recently, or was read so
    /// inexactly that this may be wrong by more than right clocks may differ: the message has waited, for example while this
    /// process did not run.
    pub(super) fn ahead_ms(&self, local: &Local, peer: MemberId) -> Option<i64> {
        let reading = self.members.get(&peer)?.reading?;
        let is_heard = local.mono().saturating_sub(reading.at) < HEARD_WITHIN;
        let is_exact = reading.error_ms <= max_skew_ms(local);
        if !is_heard || !is_exact || !local.members().is_current(peer) {
            return None;
        }
        Some(reading.zero_ms - own(local).zero_ms)
    }

    /// Reports when the own clock becomes doubtful, and when it no longer is.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        let is_current = |heeded: &Heeded| heeded.is_current(cx.local);
        if !self.heeded.as_ref().is_some_and(is_current) {
            self.members.retain(|member, _| !cx.local.has_left(*member));
            self.heeded = Some(self.heeded(cx.local).into_owned());
        }
        let state = self.state(cx.local);
        if state.is_doubtful() != self.is_doubtful {
            self.is_doubtful = state.is_doubtful();
            let notice =
                if self.is_doubtful { Notice::ClockOff(state) } else { Notice::ClockRight };
            cx.out.notice(notice);
        }
    }

    /// When the first clock no longer counts as heard.
    pub(super) fn timeout(&self, now: Duration) -> Option<Duration> {
        if let Some(heeded) = &self.heeded {
            return heeded.until.filter(|at| *at > now);
        }
        let readings = self.members.values().filter_map(|heard| heard.reading);
        readings.map(|reading| reading.at + HEARD_WITHIN).filter(|at| *at > now).min()
    }
}

/// The clock that cluster time follows, given the other ones by rising clocks.
fn leading(local: &Local, others: &[Reading]) -> Reading {
    let own = own(local);
    if others.len() < 2 {
        return own;
    }
    // The median of all, the own one included.
    let (middle, place) = (others.len() / 2, others.partition_point(|reading| *reading < own));
    let median = match middle.cmp(&place) {
        Ordering::Less => others[middle],
        Ordering::Equal => own,
        Ordering::Greater => others[middle - 1],
    };
    // A path that takes longer one way than the other shifts a reading. A right clock is closer to the others than the
    // readings of it are, and locations that all follow their own order their writes as they happened.
    let is_right = (median.zero_ms - own.zero_ms).abs() <= max_skew_ms(local);
    if is_right { own } else { median }
}

/// The own clock.
fn own(local: &Local) -> Reading {
    let wall_ms = i64::try_from(local.wall_ms().min(MAX_WALL_MS)).unwrap_or(i64::MAX);
    Reading { zero_ms: wall_ms - millis(local.mono()), error_ms: 0, at: local.mono() }
}

/// The largest difference between two clocks that are right, in milliseconds.
fn max_skew_ms(local: &Local) -> i64 {
    i64::try_from(local.config().max_clock_skew_ms).unwrap_or(i64::MAX >> 8)
}

/// Returns whole milliseconds.
fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX >> 8)
}

#[cfg(test)]
mod tests;
