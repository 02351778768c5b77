//! From a request of Envoy to its response.

use std::{cmp::Reverse, collections::HashSet, ops::Range, time::Duration};

use ratelimit::{Algorithm, Decision, Limit, Request};

use super::{
    fields::reset_seconds,
    proto::{
        self, Code, CurrentLimit, DescriptorStatus, RateLimitDescriptor, RateLimitOverride,
        RateLimitRequest, RateLimitResponse, Unit,
    },
    service::Rls,
    tree::{Rule, Tree, counter_of},
};
use crate::rate_limits::{Period, RateLimits};

/// The most descriptors of a request.
pub const MAX_DESCRIPTORS: usize = 1000;

/// Why a request is refused. Nothing was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// It names no domain.
    #[error("rate limit domain must not be empty")]
    NoDomain,
    /// It has no descriptor.
    #[error("rate limit descriptor list must not be empty")]
    NoDescriptors,
    /// It has more than [`MAX_DESCRIPTORS`].
    #[error("a request has {0} descriptors, and the maximum is {MAX_DESCRIPTORS}")]
    Descriptors(usize),
    /// A limit in the request has an unknown unit.
    #[error("a descriptor's limit has the unit {0}, which is not in envoy.type.v3.RateLimitUnit")]
    Unit(i32),
}

/// The limit of a descriptor.
enum Matched<'a> {
    /// No limit matches: the descriptor is allowed and not counted.
    Nothing,
    /// A rule allows everything.
    Unlimited(&'a Rule),
    /// A limit applies.
    Limited(Limited<'a>),
}

/// A descriptor that has a limit.
struct Limited<'a> {
    /// None for a limit in the request.
    rule: Option<&'a Rule>,
    /// The limit, from the rule or from the request.
    limit: Limit,
    /// The unit in the response; Envoy shows it in its headers.
    unit: Unit,
    /// The range of its counter's name in the text of all names.
    key: Range<usize>,
    /// The hits that the descriptor adds.
    cost: u32,
    /// Whether the hits are given back.
    is_refund: bool,
}

/// Decides on a request at a time of the limiter's clock, and counts its cost.
///
/// The descriptors count all together or not at all: a request that one limit denies uses up none of
/// the others.
///
/// # Errors
/// See [`Invalid`].
pub fn decide(
    rls: &Rls,
    rates: &RateLimits,
    now_ms: u64,
    request: &RateLimitRequest,
) -> Result<RateLimitResponse, Invalid> {
    let descriptors = &request.descriptors;
    match descriptors.len() {
        _ if request.domain.is_empty() => return Err(Invalid::NoDomain),
        0 => return Err(Invalid::NoDescriptors),
        MAX_DESCRIPTORS.. if descriptors.len() > MAX_DESCRIPTORS => {
            return Err(Invalid::Descriptors(descriptors.len()));
        }
        _ => {}
    }
    let Some(tree) = rls.domains.get(&request.domain) else {
        rls.counts.unknown_domain();
        return Ok(response(vec![unmatched(); descriptors.len()]));
    };
    let matched = AllMatched::new(tree, descriptors, request.hits_addend)?;
    let decisions = matched.check(rates, now_ms);
    Ok(matched.answer(rls, rates, &decisions))
}

/// Finds the limit of a descriptor, and appends the name of its counter to `keys`.
fn match_one<'a>(
    tree: &'a Tree,
    descriptor: &RateLimitDescriptor,
    hits: u32,
    keys: &mut String,
) -> Result<Matched<'a>, Invalid> {
    let start = keys.len();
    let (rule, limit, unit) = match &descriptor.limit {
        Some(sent) => {
            let (limit, unit) = overriding(sent)?;
            counter_of(&descriptor.entries, keys);
            (None, limit, unit)
        }
        None => match tree.find(&descriptor.entries, keys) {
            None => return Ok(Matched::Nothing),
            Some(rule) => match rule.limit {
                None => return Ok(Matched::Unlimited(rule)),
                Some(limit) => (Some(rule), limit, rule.unit),
            },
        },
    };
    let cost = match descriptor.hits_addend {
        Some(hits) => u32::try_from(hits).unwrap_or(u32::MAX),
        None => hits.max(1),
    };
    let key = start..keys.len();
    let is_refund = descriptor.is_negative_hits;
    Ok(Matched::Limited(Limited { rule, limit, unit, key, cost, is_refund }))
}

/// The limit in a request. It counts by the sliding window, unless it is too large for that.
fn overriding(sent: &RateLimitOverride) -> Result<(Limit, Unit), Invalid> {
    let unknown = Invalid::Unit(sent.unit);
    let unit = Unit::try_from(sent.unit).map_err(|_not_one| unknown)?;
    let period = Period::of_ms(unit.ms().ok_or(unknown)?);
    let count = sent.requests_per_unit;
    let by = |algorithm| crate::rate_limits::limit(algorithm, count, period, None);
    let limit = by(Algorithm::Sliding).or_else(|_too_large| by(Algorithm::Fixed));
    Ok((limit.map_err(|_not_reached| unknown)?, unit))
}

/// Drops the limits that the limit of another descriptor replaces.
fn drop_replaced(matched: &mut [Matched<'_>]) {
    let mut replaced = HashSet::new();
    for one in &*matched {
        let rule = match one {
            Matched::Limited(Limited { rule: Some(rule), .. }) | Matched::Unlimited(rule) => rule,
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

/// The descriptors of a request, matched with the limits of their domain.
struct AllMatched<'a> {
    tree: &'a Tree,
    matched: Vec<Matched<'a>>,
    /// The names of the counters, one after the other.
    keys: String,
}

impl<'a> AllMatched<'a> {
    /// Finds the limit of each descriptor. `hits` is the cost of those that name none.
    fn new(
        tree: &'a Tree,
        descriptors: &[RateLimitDescriptor],
        hits: u32,
    ) -> Result<AllMatched<'a>, Invalid> {
        let mut keys = String::new();
        let mut matched = Vec::with_capacity(descriptors.len());
        for descriptor in descriptors {
            matched.push(match_one(tree, descriptor, hits, &mut keys)?);
        }
        drop_replaced(&mut matched);
        Ok(AllMatched { tree, matched, keys })
    }

    /// Returns the descriptors that have a limit.
    fn limited(&self) -> impl Iterator<Item = &Limited<'a>> {
        self.matched.iter().filter_map(|one| match one {
            Matched::Limited(limited) => Some(limited),
            _ => None,
        })
    }

    /// Returns the request of a descriptor to the limiter.
    fn request(&self, limited: &Limited<'_>) -> Request<'_> {
        Request {
            namespace: self.tree.namespace.as_bytes(),
            key: &self.keys.as_bytes()[limited.key.clone()],
            limit: limited.limit,
            cost: limited.cost,
        }
    }

    /// Decides on each descriptor that has a limit, and counts. The decisions have their order.
    fn check(&self, rates: &RateLimits, now_ms: u64) -> Vec<Decision> {
        let limiter = rates.limiter();
        let requests: Vec<Request<'_>> = self
            .limited()
            .filter(|limited| !limited.is_refund)
            .map(|limited| self.request(limited))
            .collect();
        let (allowed, decisions) = match &requests[..] {
            [] => (true, Vec::new()),
            [request] => {
                let decision = limiter.check_at(now_ms, request);
                (decision.allowed, vec![decision])
            }
            requests => {
                let all = limiter.check_all_at(now_ms, requests);
                (all.allowed, all.decisions)
            }
        };
        let mut decisions = decisions.into_iter();
        let decide = |limited: &Limited<'_>| {
            if !limited.is_refund {
                return decisions.next();
            }
            let request = self.request(limited);
            if allowed {
                limiter.refund_at(now_ms, &request);
            }
            // A refund is never over a limit, whatever the counter is.
            let state = limiter.peek_at(now_ms, &request.cost(0));
            Some(Decision { allowed: true, shadowed: false, ..state })
        };
        self.limited().map_while(decide).collect()
    }

    /// Returns the response, with the status of each descriptor, which is also counted in the metrics.
    fn answer(&self, rls: &Rls, rates: &RateLimits, decisions: &[Decision]) -> RateLimitResponse {
        let mut decisions = decisions.iter();
        let mut closest: Option<(&Limited<'_>, &Decision)> = None;
        let mut statuses = Vec::with_capacity(self.matched.len());
        for one in &self.matched {
            let limited = match one {
                Matched::Nothing => {
                    rls.counts.unmatched();
                    statuses.push(unmatched());
                    continue;
                }
                Matched::Unlimited(rule) => {
                    rls.tally(rates, Some(rule)).count(false, false);
                    statuses.push(DescriptorStatus { limit_remaining: u32::MAX, ..unmatched() });
                    continue;
                }
                Matched::Limited(limited) => limited,
            };
            let decision =
                decisions.next().expect("each descriptor that has a limit was decided on");
            let counted = self.request(limited);
            let tally = rls.tally(rates, limited.rule);
            rates.decided(tally, counted.namespace, counted.key, decision);
            statuses.push(status(limited, decision));
            if closest.is_none_or(|(_, other)| rank(decision) < rank(other)) {
                closest = Some((limited, decision));
            }
        }
        let mut response = response(statuses);
        if let Some((limited, decision)) = closest {
            let name = limited.rule.map_or("", |rule| &rule.name);
            response.response_headers_to_add = rls.fields.of(name, &limited.limit, decision);
        }
        response
    }
}

/// The decision with the least rank is the one that the client's headers describe: of denials, the one
/// with the longest wait, because only then all are allowed; else the one with the least remaining.
fn rank(decision: &Decision) -> (bool, Reverse<Duration>, u32) {
    let wait = decision.retry_after.unwrap_or(Duration::MAX);
    (
        decision.allowed,
        Reverse(if decision.allowed { Duration::ZERO } else { wait }),
        decision.remaining,
    )
}

/// The response with these statuses, which is over the limit if one of them is.
fn response(statuses: Vec<DescriptorStatus>) -> RateLimitResponse {
    let is_over = statuses.iter().any(|status| status.code == i32::from(Code::OverLimit));
    let overall = if is_over { Code::OverLimit } else { Code::Ok };
    RateLimitResponse { overall_code: overall.into(), statuses, ..Default::default() }
}

/// The status of a descriptor to which no limit applies.
fn unmatched() -> DescriptorStatus {
    DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() }
}

/// The status of a descriptor that has a limit.
fn status(limited: &Limited<'_>, decision: &Decision) -> DescriptorStatus {
    let code = if decision.allowed { Code::Ok } else { Code::OverLimit };
    let seconds = i64::try_from(reset_seconds(decision)).unwrap_or(i64::MAX);
    DescriptorStatus {
        code: code.into(),
        current_limit: Some(CurrentLimit {
            requests_per_unit: limited.limit.count(),
            unit: limited.unit.into(),
            name: limited.rule.map(|rule| rule.name.clone()).unwrap_or_default(),
        }),
        // "The limit remaining in the current time unit" (rls.proto), also of a denial: a request of a
        // higher cost leaves it unchanged for those of a lower cost.
        limit_remaining: decision.remaining,
        duration_until_reset: Some(proto::Duration { seconds }),
    }
}
