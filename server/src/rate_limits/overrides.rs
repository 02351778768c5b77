//! Overrides of limits at run time, as every API applies them.
//!
//! They are in the location's store, which holds all of them in memory. Without any, a decision costs one atomic load
//! more. An override of a limit that has a name wins over one of the namespace of its counters.

use std::time::Duration;

use kv_core::{OverrideRule, OverrideTarget, Store};
use ratelimit::{Decision, Limit, Request};

/// The overrides of a location; none without a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides(Option<Store>);

/// A limit as it applies to one key: with its override, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The limit.
    limit: Limit,
    /// The effect of the override.
    effect: Effect,
}

/// What an override does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The limit decides.
    Decides,
    /// Nothing is allowed.
    Denies {
        /// How long; for good if there is none.
        lasts: Option<Duration>,
        /// The limit without the override. Usage counts by it, for the time after the denial.
        limit: Limit,
    },
    /// Everything is allowed.
    Allows,
}

impl Overrides {
    /// The overrides in a store.
    pub(super) fn of(store: &Store) -> Overrides {
        Overrides(Some(store.clone()))
    }

    /// The limit as it applies to a key of a namespace. `name` is the name of the limit, if it has one. Overrides expire
    /// as entries do, by the time of the cluster. The clock of the limiter may be ahead of it. The time is read only if
    /// there is an override.
    #[inline]
    pub(super) fn apply(
        &self,
        name: Option<&str>,
        counter: (&[u8], &[u8]),
        limit: Limit,
    ) -> Applied {
        match &self.0 {
            None => Applied::plain(limit),
            Some(store) => self.apply_at(name, counter, limit, || store.now_ms()),
        }
    }

    /// The limit as it applies at a time.
    #[inline]
    fn apply_at(
        &self,
        name: Option<&str>,
        (namespace, key): (&[u8], &[u8]),
        limit: Limit,
        now_ms: impl Fn() -> u64,
    ) -> Applied {
        let plain = Applied { limit, effect: Effect::Decides };
        let Some(store) = &self.0 else { return plain };
        let found = store.with_overrides(|all| {
            let is_current = |one: &kv_core::LimitOverride| one.is_current(now_ms());
            let get = |target| all.get(target, key).filter(|one| is_current(one));
            let of_name = name.and_then(|name| get(OverrideTarget::Limit(name.as_bytes())));
            let found = of_name.or_else(|| get(OverrideTarget::Namespace(namespace)))?;
            Some((found.rule, found.expires_at))
        });
        match found {
            None => plain,
            Some((OverrideRule::Count(count), _)) => {
                Applied { limit: limit.with_count(count), ..plain }
            }
            Some((OverrideRule::Deny, until)) => {
                let left = until.map(|at| at.saturating_mul(1000).saturating_sub(now_ms()).max(1));
                let lasts = left.map(Duration::from_millis);
                Applied { limit: limit.with_count(0), effect: Effect::Denies { lasts, limit } }
            }
            Some((OverrideRule::Unlimited, _)) => Applied { effect: Effect::Allows, ..plain },
        }
    }
}

impl Applied {
    /// A limit without an override.
    #[must_use]
    pub fn plain(limit: Limit) -> Applied {
        Applied { limit, effect: Effect::Decides }
    }

    /// The limit that decides. One that denies everything has a count of zero.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Whether everything is allowed, and nothing is counted.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.effect == Effect::Allows
    }

    /// The request to the limiter. Where nothing is allowed, a look that costs nothing is not allowed either.
    #[must_use]
    pub fn request<'a>(&self, namespace: &'a [u8], key: &'a [u8], cost: u32) -> Request<'a> {
        let least = u32::from(matches!(self.effect, Effect::Denies { .. }));
        Request { namespace, key, limit: self.limit, cost: cost.max(least) }
    }

    /// The request to the limiter that records usage or gives it back, whatever the override says of checks.
    #[must_use]
    pub fn usage<'a>(&self, namespace: &'a [u8], key: &'a [u8], cost: u32) -> Request<'a> {
        let limit = match self.effect {
            Effect::Denies { limit, .. } => limit,
            Effect::Decides | Effect::Allows => self.limit,
        };
        Request { namespace, key, limit, cost }
    }

    /// The decision for the caller, from that of the limiter. A key that is denied may retry when its override expires.
    pub fn decision(&self, decided: Decision) -> Decision {
        match self.effect {
            Effect::Decides => decided,
            Effect::Allows => UNLIMITED,
            Effect::Denies { lasts, .. } => Decision {
                allowed: self.limit.is_shadow(),
                limit: 0,
                remaining: 0,
                reset_after: lasts.unwrap_or_default(),
                retry_after: lasts,
                shadowed: self.limit.is_shadow(),
            },
        }
    }
}

/// The decision where everything is allowed.
pub(crate) const UNLIMITED: Decision = Decision {
    allowed: true,
    limit: u32::MAX,
    remaining: u32::MAX,
    reset_after: Duration::ZERO,
    retry_after: Some(Duration::ZERO),
    shadowed: false,
};

#[cfg(test)]
mod tests {
    use kv_core::{LimitOverride, Operation};

    use super::*;

    fn put(store: &Store, target: OverrideTarget<'_>, rule: OverrideRule, expires: Option<u64>) {
        let one = LimitOverride::new(target, b"k", rule, expires).expect("short");
        store.submit(Operation::put_override(&one)).expect("room").wait().expect("written");
    }

    fn limit() -> Limit {
        Limit::sliding(10, Duration::from_secs(60)).expect("valid")
    }

    #[test]
    fn an_override_of_a_limit_wins_over_one_of_its_namespace_and_ends_when_it_expires() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let overrides = Overrides::of(&store);
        let at =
            |now: u64, name, key: &[u8]| overrides.apply_at(name, (b"n", key), limit(), || now);
        assert_eq!(at(0, Some("login"), b"k"), Applied::plain(limit()));
        put(&store, OverrideTarget::Namespace(b"n"), OverrideRule::Deny, None);
        put(&store, OverrideTarget::Limit(b"login"), OverrideRule::Count(50), Some(4_000_000_000));
        assert_eq!(at(0, Some("login"), b"k").limit().count(), 50);
        assert_eq!(at(0, Some("other"), b"k").limit().count(), 0);
        assert_eq!(at(0, None, b"k").limit().count(), 0);
        assert_eq!(at(0, None, b"l"), Applied::plain(limit()));
        assert_eq!(at(4_000_000_000_000, Some("login"), b"k").limit().count(), 0);
    }

    #[test]
    fn a_denied_key_may_retry_when_its_override_expires() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        put(&store, OverrideTarget::Limit(b"a"), OverrideRule::Deny, Some(4_000_000_000));
        let overrides = Overrides::of(&store);
        let now = || 3_999_999_998_500;
        let applied = |limit| overrides.apply_at(Some("a"), (b"n", b"k"), limit, now);
        let denied = applied(limit()).decision(UNLIMITED);
        assert_eq!(denied.retry_after, Some(Duration::from_millis(1500)));
        assert!(!denied.allowed);
        let shadowed = applied(limit().shadow(true)).decision(UNLIMITED);
        assert!(shadowed.allowed && shadowed.shadowed);
        assert_eq!(applied(limit()).request(b"n", b"k", 0).cost, 1);
    }

    #[test]
    fn usage_of_a_denied_key_counts_by_its_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        put(&store, OverrideTarget::Namespace(b"n"), OverrideRule::Deny, None);
        let gcra = Limit::gcra(10, 10, Duration::from_secs(60)).expect("valid");
        let applied = Overrides::of(&store).apply(None, (b"n", b"k"), gcra);
        let usage = applied.usage(b"n", b"k", 0);
        assert_eq!((usage.limit, usage.cost), (gcra, 0));
    }
}
