//! Which limit applies to each descriptor of a request, and what its hits do there.

use std::{collections::HashSet, ops::Range};

use ratelimit::{Algorithm, Decision, Limit, Request};

use super::{
    proto::{RateLimitDescriptor, RateLimitOverride, Unit},
    tree::{Rule, Tree, counter_of},
};
use crate::rate_limits::{Applied, Period, RateLimits, Scope, window};

/// The most descriptors of a request that are matched. Those after them are denied.
pub const MAX_DESCRIPTORS: usize = 1000;

/// The limit of a descriptor.
pub(super) enum Matched<'a> {
    /// No limit matches: the descriptor is allowed and not counted.
    Nothing,
    /// It can't be decided on, so it is denied. An error of the call would lift the limits of the other
    /// descriptors, because Envoy lets a request pass if the call fails.
    Refused,
    /// A rule, or the override of its key, allows everything. None for a limit in the request.
    Unlimited(Option<&'a Rule>),
    /// A limit applies.
    Limited(Limited<'a>),
}

/// What the hits of a descriptor do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// They count if the whole request is allowed.
    Check,
    /// There are none: is anything left?
    Look,
    /// They count whatever the limit is.
    Record,
    /// They are given back.
    Refund,
}

/// A descriptor that has a limit.
pub(super) struct Limited<'a> {
    /// None for a limit in the request.
    pub(super) rule: Option<&'a Rule>,
    /// The limit, from the rule or from the request, with the override of its key.
    pub(super) limit: Applied,
    /// The unit in the response; Envoy shows it in its headers.
    pub(super) unit: Unit,
    /// The range of its counter's name in the text of all names.
    key: Range<usize>,
    /// The hits that the descriptor adds; 1 for a look.
    cost: u32,
    /// What they do.
    pub(super) effect: Effect,
}

impl Limited<'_> {
    /// The decision for the response, from that of the limiter. A refund is never over a limit.
    pub(super) fn decision(&self, decided: Decision) -> Decision {
        let decision = self.limit.decision(decided);
        match self.effect {
            Effect::Refund => Decision { allowed: true, shadowed: false, ..decision },
            Effect::Check | Effect::Look | Effect::Record => decision,
        }
    }
}

/// The descriptors of a request, matched with the limits of their domain.
pub(super) struct AllMatched<'a> {
    tree: &'a Tree,
    pub(super) matched: Vec<Matched<'a>>,
    /// The names of the counters, one after the other.
    keys: Vec<u8>,
}

impl<'a> AllMatched<'a> {
    /// Finds the limit of each descriptor. `hits` is the cost of those that name none.
    pub(super) fn new(
        tree: &'a Tree,
        (all, hits): (&[RateLimitDescriptor], u32),
        rates: &RateLimits,
    ) -> AllMatched<'a> {
        let mut keys = Vec::new();
        let mut matched = Vec::with_capacity(all.len());
        for descriptor in all.iter().take(MAX_DESCRIPTORS) {
            let mut one = match_one(tree, descriptor, hits, &mut keys);
            if let Matched::Limited(limited) = &mut one {
                let counter = (tree.namespace.as_bytes(), &keys[limited.key.clone()]);
                limited.limit = rates.applied(None, counter, limited.limit.limit());
                if limited.limit.is_unlimited() {
                    one = Matched::Unlimited(limited.rule);
                }
            }
            matched.push(one);
        }
        matched.resize_with(all.len(), || Matched::Refused);
        drop_replaced(&mut matched);
        AllMatched { tree, matched, keys }
    }

    /// Returns the descriptors that have a limit.
    pub(super) fn limited(&self) -> impl Iterator<Item = &Limited<'a>> {
        self.matched.iter().filter_map(|one| match one {
            Matched::Limited(limited) => Some(limited),
            _ => None,
        })
    }

    /// Returns whether a descriptor is refused.
    pub(super) fn has_refused(&self) -> bool {
        self.matched.iter().any(|one| matches!(one, Matched::Refused))
    }

    /// Returns the request of a descriptor to the limiter.
    pub(super) fn request(&self, limited: &Limited<'_>) -> Request<'_> {
        let key = &self.keys[limited.key.clone()];
        limited.limit.request(self.tree.namespace.as_bytes(), key, limited.cost)
    }

    /// Returns the request of a descriptor that records usage or gives it back.
    pub(super) fn usage(&self, limited: &Limited<'_>) -> Request<'_> {
        let key = &self.keys[limited.key.clone()];
        limited.limit.usage(self.tree.namespace.as_bytes(), key, limited.cost)
    }
}

/// Finds the limit of a descriptor, and appends the name of its counter to `keys`.
fn match_one<'a>(
    tree: &'a Tree,
    descriptor: &RateLimitDescriptor,
    hits: u32,
    keys: &mut Vec<u8>,
) -> Matched<'a> {
    let start = keys.len();
    let (rule, limit, unit) = match &descriptor.limit {
        Some(sent) => {
            let Some((limit, unit)) = overriding(sent) else { return Matched::Refused };
            counter_of(&descriptor.entries, keys);
            (None, described(tree, limit), unit)
        }
        None => match tree.find(&descriptor.entries, keys) {
            None => return Matched::Nothing,
            Some(rule) => match rule.limit {
                None => return Matched::Unlimited(Some(rule)),
                Some(limit) => (Some(rule), limit, rule.unit),
            },
        },
    };
    let (effect, cost) = effect(descriptor, hits, rule.and_then(|rule| rule.record));
    let (key, limit) = (start..keys.len(), Applied::plain(limit));
    Matched::Limited(Limited { rule, limit, unit, key, cost, effect })
}

/// What the hits of a descriptor do, and how many they are.
///
/// Envoy does not mark the reports of `apply_on_stream_done`: they are requests like any other. It
/// does give each descriptor its own `hits_addend` if the limit on its route has one. So such hits are
/// taken for usage, which has happened or is known to the route, and are recorded; 0 of them is a look.
/// `record` on a rule decides otherwise for that rule.
fn effect(descriptor: &RateLimitDescriptor, hits: u32, record: Option<bool>) -> (Effect, u32) {
    let own = descriptor.hits_addend.map(|hits| u32::try_from(hits).unwrap_or(u32::MAX));
    let cost = own.unwrap_or(hits.max(1));
    match (own, record) {
        _ if descriptor.is_negative_hits => (Effect::Refund, cost),
        (Some(0), _) => (Effect::Look, 1),
        (Some(_), None) | (_, Some(true)) => (Effect::Record, cost),
        (None, None) | (_, Some(false)) => (Effect::Check, cost),
    }
}

/// The limit in a request, for counters of this domain: those of its configuration, which may be global, or else apart from
/// them.
fn described(tree: &Tree, limit: Limit) -> Limit {
    let has = |limit: &Limit| tree.windows.contains(&window(limit));
    match limit.global(true) {
        _ if has(&limit) => limit,
        Ok(global) if has(&global) => global,
        _ => limit.guest(true),
    }
}

/// The limit in a request; none if its unit is unknown. It counts by the sliding window, unless it is
/// too large for that.
fn overriding(sent: &RateLimitOverride) -> Option<(Limit, Unit)> {
    let unit = Unit::try_from(sent.unit).ok()?;
    let period = Period::of_ms(unit.ms()?);
    let count = sent.requests_per_unit;
    let by =
        |algorithm| crate::rate_limits::limit(algorithm, count, period, None, Scope::Location).ok();
    Some((by(Algorithm::Sliding).or_else(|| by(Algorithm::Fixed))?, unit))
}

/// Drops the limits that the limit of another descriptor replaces.
fn drop_replaced(matched: &mut [Matched<'_>]) {
    let mut replaced = HashSet::new();
    for one in &*matched {
        let rule = match one {
            Matched::Limited(Limited { rule: Some(rule), .. }) | Matched::Unlimited(Some(rule)) => {
                rule
            }
            _ => continue,
        };
        replaced.extend(rule.replaces.iter().map(String::as_str));
    }
    if replaced.is_empty() {
        return;
    }
    for one in matched {
        if let Matched::Limited(Limited { rule: Some(rule), .. }) = one
            && replaced.contains(&rule.name[..])
        {
            *one = Matched::Nothing;
        }
    }
}
