//! From a request to its outcome: which counter, which limit, and the decision.

use std::borrow::Cow;

use ratelimit::{Algorithm, Decision, Limit};

use super::{
    error::{Invalid, start},
    request::{Check, Request},
};
use crate::{
    access::{Grant, Need},
    metrics::Tally,
    rate_limits::{Applied, Description, Period, RateLimits, Scope, UNLIMITED},
};

#[cfg(test)]
mod tests;

/// The action on a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Counts this cost, if it is within the limit.
    Check(u32),
    /// Reports what a check of this cost would decide.
    Peek(u32),
    /// Counts this cost, whatever the limit is.
    Record(u32),
    /// Refunds this cost.
    Refund(u32),
    /// Forgets the counter.
    Reset,
}

/// A check with everything that it needs.
#[derive(Debug)]
struct Resolved<'r, 'a> {
    /// The namespace of the counter.
    namespace: Cow<'a, [u8]>,
    /// The key of the counter in its namespace.
    key: Cow<'a, [u8]>,
    /// The limit, complete, with the override of its key.
    limit: Applied,
    /// What happens to the counter.
    action: Action,
    /// Where the decision is counted.
    tally: &'r Tally,
    /// The name of the limit; none if the caller described it.
    name: Option<&'r str>,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked<'a> {
    /// The decision that its caller receives.
    pub(super) decision: Decision,
    /// The name of the limit; none if the caller described it.
    pub(super) name: Option<&'a str>,
    /// The limit; none if its key is not limited.
    pub(super) limit: Option<Limit>,
}

/// The outcome of a request.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    /// The outcome of a single check.
    One(Checked<'a>),
    /// The outcomes of a batch, which counts all of its checks or none.
    Batch {
        /// Whether all checks are allowed.
        success: bool,
        /// The outcome of each check, in the order of the request.
        checked: Vec<Checked<'a>>,
    },
}

/// Performs a request, if its sender may use each namespace in it.
///
/// # Errors
/// If it is invalid. Nothing is counted then.
pub(super) fn run<'r>(
    rates: &'r RateLimits,
    grant: &Grant,
    request: Request<'_>,
) -> Result<Outcome<'r>, Invalid> {
    let (checks, all) = match request {
        Request::One(check) => return Ok(Outcome::One(resolve(rates, grant, check)?.run(rates))),
        Request::Batch { checks, all } => (checks, all),
    };
    let resolved = checks.into_iter().enumerate().map(|(n, check)| {
        resolve(rates, grant, check)
            .map_err(|error| Invalid::InBatch { number: n + 1, source: Box::new(error) })
    });
    let resolved: Vec<Resolved<'_, '_>> = resolved.collect::<Result<_, _>>()?;
    if all {
        return run_all(rates, &resolved);
    }
    let checked: Vec<Checked<'_>> = resolved.iter().map(|check| check.run(rates)).collect();
    let success = checked.iter().all(|checked| checked.decision.allowed);
    Ok(Outcome::Batch { success, checked })
}

/// Counts all checks or none.
fn run_all<'r>(rates: &'r RateLimits, checks: &[Resolved<'r, '_>]) -> Result<Outcome<'r>, Invalid> {
    let requests = checks.iter().map(|check| match check.action {
        Action::Check(cost) => Ok((!check.limit.is_unlimited()).then(|| check.request(cost))),
        _ => Err(Invalid::Conflict(
            "with `all`, every check counts: no peek, record, refund or reset",
        )),
    });
    let requests: Vec<Option<ratelimit::Request<'_>>> = requests.collect::<Result<_, _>>()?;
    let limited: Vec<_> = requests.iter().copied().flatten().collect();
    let decided = rates.limiter().check_all(&limited);
    let mut decisions = decided.decisions.into_iter();
    let checked = checks.iter().zip(&requests).map(|(check, request)| {
        let decision = request.and_then(|_| decisions.next()).unwrap_or(UNLIMITED);
        let decision = check.limit.decision(decision);
        check.count(rates, &decision);
        check.checked(decision)
    });
    Ok(Outcome::Batch { success: decided.allowed, checked: checked.collect() })
}

impl<'r> Resolved<'r, '_> {
    /// Performs the check.
    fn run(&self, rates: &RateLimits) -> Checked<'r> {
        if self.limit.is_unlimited() && self.action != Action::Reset {
            self.count(rates, &UNLIMITED);
            return self.checked(UNLIMITED);
        }
        let limiter = rates.limiter();
        let now = limiter.now_ms();
        let decision = |decided| self.limit.decision(decided);
        match self.action {
            Action::Check(cost) => {
                let decision = decision(limiter.check_at(now, &self.request(cost)));
                self.count(rates, &decision);
                self.checked(decision)
            }
            Action::Peek(cost) => self.checked(decision(limiter.peek_at(now, &self.request(cost)))),
            Action::Record(cost) => {
                let decision = decision(limiter.record_at(now, &self.usage(cost)));
                // The usage has happened: nobody was denied.
                self.tally.count(false, decision.shadowed);
                self.checked(decision)
            }
            Action::Refund(cost) => {
                limiter.refund(&self.usage(cost));
                self.state(rates)
            }
            Action::Reset => {
                limiter.reset(&self.usage(1));
                self.state(rates)
            }
        }
    }

    /// The request to the limiter.
    fn request(&self, cost: u32) -> ratelimit::Request<'_> {
        self.limit.request(&self.namespace, &self.key, cost)
    }

    /// The request to the limiter that records usage or gives it back.
    fn usage(&self, cost: u32) -> ratelimit::Request<'_> {
        self.limit.usage(&self.namespace, &self.key, cost)
    }

    /// The counter after a refund or reset, which always succeeds, whatever the counter is.
    fn state(&self, rates: &RateLimits) -> Checked<'r> {
        let decision = rates.limiter().peek(&self.request(0));
        let decision = self.limit.decision(decision);
        self.checked(Decision { allowed: true, shadowed: false, ..decision })
    }

    /// Counts a decision in the metrics.
    fn count(&self, rates: &RateLimits, decision: &Decision) {
        rates.decided(self.tally, &self.namespace, &self.key, decision);
    }

    /// The outcome with this decision.
    fn checked(&self, decision: Decision) -> Checked<'r> {
        let limit = (!self.limit.is_unlimited()).then(|| self.limit.limit());
        Checked { decision, name: self.name, limit }
    }
}

/// Completes a check from the configuration. The fields that the caller sent win.
fn resolve<'r: 'a, 'a>(
    rates: &'r RateLimits,
    grant: &Grant,
    check: Check<'a>,
) -> Result<Resolved<'r, 'a>, Invalid> {
    let action = action(&check)?;
    let named = match check.name.as_deref() {
        Some(name) => Some(rates.named(name).ok_or_else(|| Invalid::UnknownLimit(start(name)))?),
        None => None,
    };
    let scope = check.scope.or(named.map(|named| Scope::of(&named.limit)));
    let (limit, is_described) = limit(&check, named.map(|named| named.limit))?;
    let is_described = is_described || check.namespace.is_some();
    let namespace = match (check.namespace, named) {
        (Some(sent), _) => sent,
        (None, Some(named)) => Cow::Borrowed(named.namespace.as_bytes()),
        (None, None) => return Err(Invalid::Missing("namespace")),
    };
    grant.check(Need::Ratelimit(&namespace))?;
    let limit = if is_described { rates.described(&namespace, limit, scope) } else { limit };
    let key = check.key.unwrap_or_default();
    let name = named.map(|named| named.name.as_str());
    Ok(Resolved {
        limit: rates.applied(name, (&namespace, &key), limit),
        namespace,
        key,
        action,
        tally: named.map_or_else(|| rates.unnamed(), |named| rates.tally(named)),
        name,
    })
}

/// The effect of a check.
fn action(check: &Check<'_>) -> Result<Action, Invalid> {
    let cost = check.cost.unwrap_or(1);
    let amount = u32::try_from(cost.unsigned_abs()).map_err(|_range| Invalid::Cost(cost))?;
    if check.record.unwrap_or(false) {
        let is_alone = !check.peek.unwrap_or(false) && !check.reset.unwrap_or(false);
        return match cost {
            _ if !is_alone => {
                Err(Invalid::Conflict("`record` goes with neither `peek` nor `reset`"))
            }
            ..0 => {
                Err(Invalid::Conflict("a record has no `cost` below 0: refund without `record`"))
            }
            _ => Ok(Action::Record(amount)),
        };
    }
    match (check.peek.unwrap_or(false), check.reset.unwrap_or(false)) {
        (false, false) if cost < 0 => Ok(Action::Refund(amount)),
        (false, false) => Ok(Action::Check(amount)),
        (true, false) if cost < 0 => Err(Invalid::Conflict("a peek has no `cost` below 0")),
        (true, false) => Ok(Action::Peek(amount)),
        (false, true) if check.cost.is_some() => Err(Invalid::Conflict("a reset has no `cost`")),
        (false, true) => Ok(Action::Reset),
        (true, true) => Err(Invalid::Conflict("`peek` and `reset` can't both be true")),
    }
}

/// The limit of a check, and whether the caller describes it. If it has a name, the fields beside the name
/// change it for this check.
fn limit(check: &Check<'_>, named: Option<Limit>) -> Result<(Limit, bool), Invalid> {
    let given = Description {
        count: 0,
        period: check.period,
        unit: check.unit.as_deref(),
        timezone: check.timezone.as_deref(),
        algorithm: check.algorithm,
        burst: check.burst,
        scope: check.scope.or(named.as_ref().map(Scope::of)).unwrap_or_default(),
    };
    let Some(named) = named else {
        let count = check.limit.ok_or(Invalid::Missing("limit"))?;
        if given.period.is_none() && given.unit.is_none() {
            return Err(Invalid::Missing("period"));
        }
        return Ok((Description { count, ..given }.limit()?, true));
    };
    let has_windows = given.period.is_some() || given.unit.is_some() || given.timezone.is_some();
    let is_changed = has_windows
        || check.limit.is_some()
        || check.algorithm.is_some()
        || check.burst.is_some()
        || check.scope.is_some();
    if !is_changed {
        return Ok((named, false));
    }
    let count = check.limit.unwrap_or(named.count());
    let described = match named.calendar() {
        // The fields beside the name change the windows of a calendar, or replace them by a period.
        Some(calendar) if given.period.is_none() => Description {
            count,
            unit: given.unit.or(Some(calendar.unit().name())),
            timezone: given.timezone.or(Some(calendar.timezone())),
            ..given
        },
        Some(_) => Description { count, ..given },
        None if given.unit.is_some() || given.timezone.is_some() => Description { count, ..given },
        None => {
            let algorithm = given.algorithm.unwrap_or(named.algorithm());
            let is_gcra = |algorithm| algorithm == Algorithm::Gcra;
            let burst = (is_gcra(algorithm) && is_gcra(named.algorithm())).then(|| named.burst());
            Description {
                count,
                period: given.period.or(Some(Period::of_ms(named.period_ms()))),
                algorithm: Some(algorithm),
                burst: given.burst.or(burst),
                ..given
            }
        }
    };
    Ok((described.limit()?.shadow(named.is_shadow()), true))
}
