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
    rate_limits::{self, Period, RateLimits},
};

/// The action on a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Counts this cost, if it is within the limit.
    Check(u32),
    /// Reports what a check of this cost would decide.
    Peek(u32),
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
    /// The limit, complete.
    limit: Limit,
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
    /// The limit.
    pub(super) limit: Limit,
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
        Action::Check(cost) => Ok(check.request(cost)),
        _ => Err(Invalid::Conflict("with `all`, every check counts: no peek, refund or reset")),
    });
    let requests: Vec<ratelimit::Request<'_>> = requests.collect::<Result<_, _>>()?;
    let decided = rates.limiter().check_all(&requests);
    let checked = checks.iter().zip(&decided.decisions).map(|(check, decision)| {
        check.count(rates, decision);
        check.checked(*decision)
    });
    Ok(Outcome::Batch { success: decided.allowed, checked: checked.collect() })
}

impl<'r> Resolved<'r, '_> {
    /// Performs the check.
    fn run(&self, rates: &RateLimits) -> Checked<'r> {
        let limiter = rates.limiter();
        match self.action {
            Action::Check(cost) => {
                let decision = limiter.check(&self.request(cost));
                self.count(rates, &decision);
                self.checked(decision)
            }
            Action::Peek(cost) => self.checked(limiter.peek(&self.request(cost))),
            Action::Refund(cost) => {
                limiter.refund(&self.request(cost));
                self.state(rates)
            }
            Action::Reset => {
                limiter.reset(&self.request(1));
                self.state(rates)
            }
        }
    }

    /// The request to the limiter.
    fn request(&self, cost: u32) -> ratelimit::Request<'_> {
        ratelimit::Request::new(&self.namespace, &self.key, self.limit).cost(cost)
    }

    /// The counter after a refund or reset, which always succeeds, whatever the counter is.
    fn state(&self, rates: &RateLimits) -> Checked<'r> {
        let decision = rates.limiter().peek(&self.request(0));
        self.checked(Decision { allowed: true, shadowed: false, ..decision })
    }

    /// Counts a decision in the metrics.
    fn count(&self, rates: &RateLimits, decision: &Decision) {
        rates.decided(self.tally, &self.namespace, &self.key, decision);
    }

    /// The outcome with this decision.
    fn checked(&self, decision: Decision) -> Checked<'r> {
        Checked { decision, name: self.name, limit: self.limit }
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
    let limit = limit(&check, named.map(|named| named.limit))?;
    let namespace = match (check.namespace, named) {
        (Some(sent), _) => sent,
        (None, Some(named)) => Cow::Borrowed(named.namespace.as_bytes()),
        (None, None) => return Err(Invalid::Missing("namespace")),
    };
    grant.check(Need::Ratelimit(&namespace))?;
    Ok(Resolved {
        namespace,
        key: check.key.unwrap_or_default(),
        limit,
        action,
        tally: named.map_or_else(|| rates.unnamed(), |named| &named.tally),
        name: named.map(|named| named.name.as_str()),
    })
}

/// The effect of a check.
fn action(check: &Check<'_>) -> Result<Action, Invalid> {
    let cost = check.cost.unwrap_or(1);
    let amount = u32::try_from(cost.unsigned_abs()).map_err(|_range| Invalid::Cost(cost))?;
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

/// The limit of a check. If it has a name, the fields beside the name change it for this check.
fn limit(check: &Check<'_>, named: Option<Limit>) -> Result<Limit, Invalid> {
    let is_changed = check.limit.is_some()
        || check.period.is_some()
        || check.algorithm.is_some()
        || check.burst.is_some();
    match named {
        Some(named) if !is_changed => Ok(named),
        Some(named) => {
            let algorithm = check.algorithm.unwrap_or(named.algorithm());
            let is_gcra = |algorithm| algorithm == Algorithm::Gcra;
            let burst = (is_gcra(algorithm) && is_gcra(named.algorithm())).then(|| named.burst());
            let count = check.limit.unwrap_or(named.count());
            let period = check.period.unwrap_or_else(|| Period::of_ms(named.period_ms()));
            let changed = rate_limits::limit(algorithm, count, period, check.burst.or(burst))?;
            Ok(changed.shadow(named.is_shadow()))
        }
        None => {
            let count = check.limit.ok_or(Invalid::Missing("limit"))?;
            let period = check.period.ok_or(Invalid::Missing("period"))?;
            let algorithm = check.algorithm.unwrap_or_default();
            Ok(rate_limits::limit(algorithm, count, period, check.burst)?)
        }
    }
}
