//! From a request of Envoy to its response.

use std::{cmp::Reverse, time::Duration};

use ratelimit::{Decision, Limiter, Request};

use super::{
    fields::reset_seconds,
    matched::{AllMatched, Effect, Limited, Matched},
    proto::{self, Code, CurrentLimit, DescriptorStatus, RateLimitRequest, RateLimitResponse},
    service::Rls,
};
use crate::rate_limits::RateLimits;

/// Why a request is refused. Nothing was counted. Neither depends on anything that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// It names no domain.
    #[error("rate limit domain must not be empty")]
    NoDomain,
    /// It has no descriptor.
    #[error("rate limit descriptor list must not be empty")]
    NoDescriptors,
}

/// Decides on a request at a time of the limiter's clock, and counts its cost.
///
/// Descriptors without a `hits_addend` of their own count all together or not at all: a request that one
/// limit denies uses up none of the others. Those that have one are usage, which is recorded whatever
/// the limits are.
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
    if request.domain.is_empty() {
        return Err(Invalid::NoDomain);
    }
    if descriptors.is_empty() {
        return Err(Invalid::NoDescriptors);
    }
    let Some(tree) = rls.domains.get(&request.domain) else {
        rls.counts.unknown_domain();
        return Ok(response(vec![unmatched(); descriptors.len()]));
    };
    let matched = AllMatched::new(tree, (descriptors, request.hits_addend), rates);
    let decisions = matched.check(rates.limiter(), now_ms);
    Ok(matched.answer(rls, rates, &decisions))
}

/// The response to a message that is too long to be read: a denial, because a client can make it as long
/// as it likes, and must not lift its limits by that.
pub(super) fn denial() -> RateLimitResponse {
    RateLimitResponse { overall_code: Code::OverLimit.into(), ..Default::default() }
}

impl AllMatched<'_> {
    /// Decides on each descriptor that has a limit, and counts. The decisions have their order.
    fn check(&self, limiter: &Limiter, now_ms: u64) -> Vec<Decision> {
        let mut is_allowed = !self.has_refused();
        let mut has_checks = false;
        // First what counts on its own. A check waits for it, because it counts only if all is allowed.
        let mut decisions: Vec<Option<Decision>> = self
            .limited()
            .map(|limited| {
                let request = self.request(limited);
                let decision = match limited.effect {
                    Effect::Record => record(limiter, now_ms, &self.usage(limited)),
                    Effect::Look => limiter.peek_at(now_ms, &request),
                    Effect::Check | Effect::Refund => {
                        has_checks |= limited.effect == Effect::Check;
                        return None;
                    }
                };
                is_allowed &= limited.decision(decision).allowed;
                Some(decision)
            })
            .collect();
        if has_checks {
            is_allowed = self.check_together(limiter, now_ms, is_allowed, &mut decisions);
        }
        for (limited, decision) in self.limited().zip(&mut decisions) {
            if limited.effect == Effect::Refund {
                if is_allowed {
                    limiter.refund_at(now_ms, &self.usage(limited));
                }
                // A refund is never over a limit, whatever the counter is.
                let state = limiter.peek_at(now_ms, &self.request(limited).cost(0));
                *decision = Some(Decision { allowed: true, shadowed: false, ..state });
            }
        }
        let decided = self.limited().zip(decisions.into_iter().flatten());
        decided.map(|(limited, decision)| limited.decision(decision)).collect()
    }

    /// Decides on the descriptors that count all together or not at all, and counts them if everything else
    /// is allowed. Returns whether all is allowed.
    fn check_together(
        &self,
        limiter: &Limiter,
        now_ms: u64,
        is_allowed: bool,
        decisions: &mut [Option<Decision>],
    ) -> bool {
        let checks = self.limited().filter(|limited| limited.effect == Effect::Check);
        let requests: Vec<Request<'_>> = checks.map(|limited| self.request(limited)).collect();
        let (allowed, decided) = match &requests[..] {
            requests if !is_allowed => {
                (false, requests.iter().map(|request| limiter.peek_at(now_ms, request)).collect())
            }
            [request] => {
                let decision = limiter.check_at(now_ms, request);
                (decision.allowed, vec![decision])
            }
            requests => {
                let all = limiter.check_all_at(now_ms, requests);
                (all.allowed, all.decisions)
            }
        };
        let places = self.limited().zip(decisions);
        let places = places.filter(|(limited, _)| limited.effect == Effect::Check);
        for ((_, place), decision) in places.zip(decided) {
            *place = Some(decision);
        }
        allowed
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
                Matched::Refused => {
                    rls.counts.refused();
                    statuses.push(refused());
                    continue;
                }
                Matched::Unlimited(rule) => {
                    rls.tally(rates, *rule).count(false, false);
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
            response.response_headers_to_add =
                rls.fields.of(name, &limited.limit.limit(), decision);
        }
        response
    }
}

/// Counts usage. Its decision has the time until the same usage would be within the limit, or, if that never
/// is, until the counter is.
fn record(limiter: &Limiter, now_ms: u64, request: &Request<'_>) -> Decision {
    let recorded = limiter.record_at(now_ms, request);
    if recorded.within() {
        return recorded;
    }
    let same = limiter.peek_at(now_ms, request).retry_after;
    Decision { retry_after: same.or(recorded.retry_after), ..recorded }
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

/// The status of a descriptor that can't be decided on.
fn refused() -> DescriptorStatus {
    DescriptorStatus { code: Code::OverLimit.into(), ..DescriptorStatus::default() }
}

/// The status of a descriptor that has a limit.
fn status(limited: &Limited<'_>, decision: &Decision) -> DescriptorStatus {
    let code = if decision.allowed { Code::Ok } else { Code::OverLimit };
    let seconds = i64::try_from(reset_seconds(decision)).unwrap_or(i64::MAX);
    DescriptorStatus {
        code: code.into(),
        current_limit: Some(CurrentLimit {
            requests_per_unit: limited.limit.limit().count(),
            unit: limited.unit.into(),
            name: limited.rule.map(|rule| rule.name.clone()).unwrap_or_default(),
        }),
        // "The limit remaining in the current time unit" (rls.proto), also of a denial: a request of a
        // higher cost leaves it unchanged for those of a lower cost.
        limit_remaining: decision.remaining,
        duration_until_reset: Some(proto::Duration { seconds }),
    }
}
