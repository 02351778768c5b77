//! From what is asked to what is done: which counter, which limit, and the answer.

use std::borrow::Cow;

use ratelimit::{Algorithm, Decision, Limit};

use super::ask::{Ask, Request};
use crate::{
    metrics::Tally,
    rate_limits::{self, Period, RateLimits},
};

/// What is done with a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Counts hits, if they are within the limit.
    Check(u32),
    /// Says what would become of them.
    Peek(u32),
    /// Takes hits back.
    Refund(u32),
    /// Forgets the counter.
    Reset,
}

/// A check of which all is known.
#[derive(Debug)]
struct Check<'r, 'a> {
    namespace: Cow<'a, [u8]>,
    key: Cow<'a, [u8]>,
    limit: Limit,
    act: Act,
    tally: &'r Tally,
    name: Option<&'r str>,
}

/// What became of a check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked<'a> {
    /// What its caller is told.
    pub(super) decision: Decision,
    /// The name of the limit; none if the caller described it.
    pub(super) name: Option<&'a str>,
    /// The limit.
    pub(super) limit: Limit,
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    One(Checked<'a>),
    Batch {
        /// Whether all checks may go on.
        success: bool,
        checked: Vec<Checked<'a>>,
    },
}

/// Does what is asked.
///
/// # Errors
/// A sentence, if that makes no sense; nothing is counted then.
pub(super) fn run<'r>(rates: &'r RateLimits, request: Request<'_>) -> Result<Outcome<'r>, String> {
    let (asks, all) = match request {
        Request::One(ask) => return Ok(Outcome::One(resolve(rates, ask)?.run(rates))),
        Request::Batch { checks, all } => (checks, all),
    };
    let resolved = asks.into_iter().enumerate().map(|(n, ask)| {
        resolve(rates, ask).map_err(|error| format!("check {} of the batch: {error}", n + 1))
    });
    let checks: Vec<Check<'_, '_>> = resolved.collect::<Result<_, _>>()?;
    if all {
        return run_all(rates, &checks);
    }
    let checked: Vec<Checked<'_>> = checks.iter().map(|check| check.run(rates)).collect();
    let success = checked.iter().all(|checked| checked.decision.allowed);
    Ok(Outcome::Batch { success, checked })
}

/// Counts all hits or none.
fn run_all<'r>(rates: &'r RateLimits, checks: &[Check<'r, '_>]) -> Result<Outcome<'r>, String> {
    let requests = checks.iter().map(|check| match check.act {
        Act::Check(cost) => Ok(check.request(cost)),
        _ => Err("with `all`, every check counts hits: no peek, refund or reset"),
    });
    let requests: Vec<ratelimit::Request<'_>> = requests.collect::<Result<_, _>>()?;
    let decided = rates.limiter().check_all(&requests);
    let checked = checks.iter().zip(&decided.decisions).map(|(check, decision)| {
        check.count(rates, decision);
        check.checked(*decision)
    });
    Ok(Outcome::Batch { success: decided.allowed, checked: checked.collect() })
}

impl<'r> Check<'r, '_> {
    fn run(&self, rates: &RateLimits) -> Checked<'r> {
        let limiter = rates.limiter();
        match self.act {
            Act::Check(cost) => {
                let decision = limiter.check(&self.request(cost));
                self.count(rates, &decision);
                self.checked(decision)
            }
            Act::Peek(cost) => self.checked(limiter.peek(&self.request(cost))),
            Act::Refund(cost) => {
                limiter.refund(&self.request(cost));
                self.state(rates)
            }
            Act::Reset => {
                limiter.reset(&self.request(1));
                self.state(rates)
            }
        }
    }

    fn request(&self, cost: u32) -> ratelimit::Request<'_> {
        ratelimit::Request::new(&self.namespace, &self.key, self.limit).cost(cost)
    }

    /// The counter as it is now. What it was told to do is done, whatever it counts.
    fn state(&self, rates: &RateLimits) -> Checked<'r> {
        let decision = rates.limiter().peek(&self.request(0));
        self.checked(Decision { allowed: true, shadowed: false, ..decision })
    }

    fn count(&self, rates: &RateLimits, decision: &Decision) {
        rates.decided(self.tally, &self.namespace, &self.key, decision);
    }

    fn checked(&self, decision: Decision) -> Checked<'r> {
        Checked { decision, name: self.name, limit: self.limit }
    }
}

/// Finds out what is meant: what the configuration says of the name, and what the caller says in
/// place of it.
fn resolve<'r: 'a, 'a>(rates: &'r RateLimits, ask: Ask<'a>) -> Result<Check<'r, 'a>, String> {
    let act = act(&ask)?;
    let named = match ask.name.as_deref() {
        Some(name) => Some(rates.named(name).ok_or_else(|| unknown(name))?),
        None => None,
    };
    let limit = limit(&ask, named.map(|named| named.limit))?;
    let namespace = match (ask.namespace, named) {
        (Some(said), _) => said,
        (None, Some(named)) => Cow::Borrowed(named.namespace.as_bytes()),
        (None, None) => return Err(lacks("namespace")),
    };
    Ok(Check {
        namespace,
        key: ask.key.unwrap_or_default(),
        limit,
        act,
        tally: named.map_or_else(|| rates.unnamed(), |named| &named.tally),
        name: named.map(|named| named.name.as_str()),
    })
}

/// Which of the things that can be done is asked for.
fn act(ask: &Ask<'_>) -> Result<Act, String> {
    let cost = ask.cost.unwrap_or(1);
    let hits = u32::try_from(cost.unsigned_abs())
        .map_err(|_range| format!("`cost` is {cost}, and can be -{0} to {0}", u32::MAX))?;
    match (ask.peek.unwrap_or(false), ask.reset.unwrap_or(false)) {
        (false, false) if cost < 0 => Ok(Act::Refund(hits)),
        (false, false) => Ok(Act::Check(hits)),
        (true, false) if cost < 0 => Err("a peek has no `cost` below 0".into()),
        (true, false) => Ok(Act::Peek(hits)),
        (false, true) if ask.cost.is_some() => Err("a reset has no `cost`".into()),
        (false, true) => Ok(Act::Reset),
        (true, true) => Err("`peek` and `reset` can't both be true".into()),
    }
}

/// The limit that is asked for; of one that has a name, what is said of it changes it for this call.
fn limit(ask: &Ask<'_>, named: Option<Limit>) -> Result<Limit, String> {
    let is_said = ask.limit.is_some()
        || ask.period.is_some()
        || ask.algorithm.is_some()
        || ask.burst.is_some();
    match named {
        Some(named) if !is_said => Ok(named),
        Some(named) => {
            let algorithm = ask.algorithm.unwrap_or(named.algorithm());
            let is_gcra = |algorithm| algorithm == Algorithm::Gcra;
            let burst = (is_gcra(algorithm) && is_gcra(named.algorithm())).then(|| named.burst());
            let count = ask.limit.unwrap_or(named.count());
            let period = ask.period.unwrap_or_else(|| Period::of_ms(named.period_ms()));
            let changed = rate_limits::limit(algorithm, count, period, ask.burst.or(burst))?;
            Ok(changed.shadow(named.is_shadow()))
        }
        None => {
            let count = ask.limit.ok_or_else(|| lacks("limit"))?;
            let period = ask.period.ok_or_else(|| lacks("period"))?;
            rate_limits::limit(ask.algorithm.unwrap_or_default(), count, period, ask.burst)
        }
    }
}

fn lacks(field: &str) -> String {
    format!(
        "`{field}` is missing: say namespace, key, limit and period, or the name of a limit of the \
         configuration"
    )
}

fn unknown(name: &str) -> String {
    let name: String = name.chars().take(64).collect();
    format!(
        "no limit is called {name:?}: put [limits.{name}] into the server's configuration, or say namespace, limit and period"
    )
}
