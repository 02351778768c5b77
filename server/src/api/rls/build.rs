//! From what is written to the tree: what makes no sense, or is not there, is refused with its place.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use ratelimit::{Algorithm, Limit};

use super::{
    pattern::Pattern,
    proto::Unit,
    said,
    tree::{Branch, Domains, Node, Rule, Tree, Wildcard},
};
use crate::rate_limits::{self, Period};

/// The most limits in all domains: each has counters in the metrics.
pub const MAX_RULES: usize = 10_000;

/// The most levels below a domain.
pub const MAX_DEPTH: usize = 16;

/// What is wrong with a domain, and where in its tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct DomainError {
    place: String,
    problem: String,
}

/// How far down the tree we are.
#[derive(Clone, Copy)]
struct Place<'a> {
    above: Option<&'a Place<'a>>,
    descriptor: &'a said::Descriptor,
    depth: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.above {
            Some(above) => write!(f, "{above} > ")?,
            None => f.write_str("descriptor ")?,
        }
        f.write_str(if self.descriptor.key.is_empty() { "?" } else { &self.descriptor.key })?;
        match value(self.descriptor) {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

/// An empty value is none, as in envoyproxy/ratelimit.
fn value(descriptor: &said::Descriptor) -> Option<&str> {
    descriptor.value.as_deref().filter(|value| !value.is_empty())
}

impl Domains {
    /// Adds a domain, whose limits count by `algorithm` where they do not say another.
    ///
    /// # Errors
    /// If it makes no sense, or is there already.
    pub fn add(&mut self, said: &said::Domain, algorithm: Algorithm) -> Result<(), DomainError> {
        let name = &said.domain;
        let wrong = |problem: String| DomainError { place: format!("domain {name:?}"), problem };
        if name.is_empty() {
            return Err(wrong("it has no name: say `domain`".into()));
        }
        if self.domains.contains_key(name) {
            return Err(wrong("it is there twice: put all of its descriptors in one place".into()));
        }
        let (paths, too_large) = (&mut self.paths, &mut self.too_large);
        let mut builder = Builder { domain: name, algorithm, paths, too_large };
        let mut root = Node::default();
        for descriptor in said.descriptors.iter().flatten() {
            let place = Place { above: None, descriptor, depth: 1 };
            builder.descriptor(&mut root, place, name)?;
        }
        self.domains.insert(name.clone(), Tree { namespace: format!("rls:{name}"), root });
        Ok(())
    }
}

struct Builder<'a> {
    domain: &'a str,
    algorithm: Algorithm,
    paths: &'a mut Vec<String>,
    too_large: &'a mut Vec<String>,
}

impl Builder<'_> {
    fn wrong(&self, place: Place<'_>, problem: impl Into<String>) -> DomainError {
        let place = format!("domain {:?}, {place}", self.domain);
        DomainError { place, problem: problem.into() }
    }

    /// Adds a descriptor below `parent`, whose path is `above`.
    fn descriptor(
        &mut self,
        parent: &mut Node,
        place: Place<'_>,
        above: &str,
    ) -> Result<(), DomainError> {
        let said = place.descriptor;
        check_fields(said).map_err(|problem| self.wrong(place, problem))?;
        if place.depth > MAX_DEPTH {
            return Err(self.wrong(place, format!("there can be {MAX_DEPTH} levels")));
        }
        let mut path = format!("{above}.{}", said.key);
        if let Some(value) = value(said) {
            write!(path, "_{value}").expect("a String takes all that is written");
        }
        let mut node = Node::default();
        if let Some(limit) = &said.rate_limit {
            let shadow = said.shadow_mode.unwrap_or_default();
            let rule = self.rule(limit, shadow, &path);
            node.rule = Some(rule.map_err(|problem| self.wrong(place, problem))?);
        }
        for descriptor in said.descriptors.iter().flatten() {
            let below = Place { above: Some(&place), descriptor, depth: place.depth + 1 };
            self.descriptor(&mut node, below, &path)?;
        }
        let branch = parent.children.entry(said.key.clone()).or_default();
        let is_new = branch.put(said, node);
        if is_new { Ok(()) } else { Err(self.wrong(place, "it is there twice")) }
    }

    fn rule(&mut self, said: &said::RateLimit, shadow: bool, path: &str) -> Result<Rule, String> {
        let id = self.paths.len();
        if id == MAX_RULES {
            return Err(format!("there can be {MAX_RULES} limits in all"));
        }
        let name = said.name.clone().unwrap_or_default();
        let replaces = replaced(said, &name)?;
        let (limit, unit) = if said.unlimited.unwrap_or_default() {
            check_unlimited(said)?;
            (None, Unit::Unknown)
        } else {
            let period = period(said)?;
            let count = said
                .requests_per_unit
                .ok_or("rate_limit needs `requests_per_unit`, how many hits may come in a unit")?;
            let limit = match &said.algorithm {
                Some(name) => {
                    let algorithm =
                        name.parse().map_err(|error| format!("algorithm {name:?}: {error}"))?;
                    rate_limits::limit(algorithm, count, period, said.burst)?
                }
                None => self.limit_of_none(count, period, said.burst, path)?,
            };
            (Some(limit.shadow(shadow)), Unit::lasting(period.ms()))
        };
        self.paths.push(path.to_owned());
        Ok(Rule { id, limit, unit, name, replaces })
    }
}

impl Builder<'_> {
    /// A limit that names no algorithm: what is taken by envoyproxy/ratelimit is taken here, by the fixed
    /// window if the algorithm of all can't hold so many.
    fn limit_of_none(
        &mut self,
        count: u32,
        period: Period,
        burst: Option<u32>,
        path: &str,
    ) -> Result<Limit, String> {
        let by = |algorithm| rate_limits::limit(algorithm, count, period, burst);
        let most = Limit::max_count(self.algorithm, Duration::from_millis(period.ms()));
        if most.is_some_and(|most| count > most) {
            self.too_large.push(path.to_owned());
            return by(Algorithm::Fixed);
        }
        by(self.algorithm)
    }
}

impl Branch {
    /// Puts a node in its place; false if there is one.
    fn put(&mut self, said: &said::Descriptor, node: Node) -> bool {
        let Some(value) = value(said) else {
            let is_new = self.any.is_none();
            self.any = Some(Box::new(node));
            return is_new;
        };
        let Some(pattern) = Pattern::of(value) else {
            return self.values.insert(value.to_owned(), node).is_none();
        };
        let is_new = self.wildcards.iter().all(|other| other.pattern != pattern);
        let is_shared = said.share_threshold.unwrap_or_default();
        self.wildcards.push(Wildcard { pattern, is_shared, node });
        is_new
    }
}

/// What can be said against a descriptor by itself.
fn check_fields(said: &said::Descriptor) -> Result<(), &'static str> {
    let is = |flag: Option<bool>| flag.unwrap_or_default();
    if said.key.is_empty() {
        return Err("it has no key: say `key`");
    }
    if said.key.contains('*') {
        return Err("a `*` in a key stands for nothing: wildcards are for `value`");
    }
    if is(said.share_threshold) && !value(said).is_some_and(|value| value.contains('*')) {
        return Err("share_threshold is for a `value` with a `*`");
    }
    if is(said.shadow_mode) && said.rate_limit.is_none() {
        return Err("shadow_mode is for the rate_limit beside it, and there is none: \
            say it at each descriptor below that has one");
    }
    if is(said.detailed_metric) {
        return Err(
            "detailed_metric is not supported: it makes a metric of each value that comes, \
            which nothing bounds. The setting top-denied-keys shows those that are denied most",
        );
    }
    if is(said.value_to_metric) {
        return Err(
            "value_to_metric is not supported: it makes a metric of each value that comes, \
            which nothing bounds. The setting top-denied-keys shows those that are denied most",
        );
    }
    if is(said.quota_mode) {
        return Err("quota_mode is not supported");
    }
    if said.metadata.is_some() {
        return Err("metadata is not supported");
    }
    Ok(())
}

fn check_unlimited(said: &said::RateLimit) -> Result<(), String> {
    let beside = [
        ("unit", said.unit.is_some()),
        ("requests_per_unit", said.requests_per_unit.is_some()),
        ("period", said.period.is_some()),
        ("algorithm", said.algorithm.is_some()),
        ("burst", said.burst.is_some()),
    ];
    match beside.into_iter().find(|(_, is_there)| *is_there) {
        Some((field, _)) => {
            Err(format!("rate_limit is unlimited, so that `{field}` means nothing"))
        }
        None => Ok(()),
    }
}

fn period(said: &said::RateLimit) -> Result<Period, String> {
    match (&said.unit, said.period) {
        (Some(_), Some(_)) => Err("rate_limit has `unit` and `period`: say one".into()),
        (None, Some(period)) => Ok(period),
        (None, None) => Err(format!("rate_limit needs `unit`: say {UNITS}")),
        (Some(name), None) => {
            let ms = Unit::named(name).and_then(Unit::ms);
            let ms = ms.ok_or_else(|| {
                format!("{name:?} is no unit: say {UNITS}, or `period` for any other time")
            })?;
            Ok(Period::of_ms(ms))
        }
    }
}

const UNITS: &str = "second, minute, hour, day, week, month or year";

fn replaced(said: &said::RateLimit, name: &str) -> Result<Vec<String>, String> {
    let replaces = said.replaces.iter().flatten().map(|replaced| &replaced.name);
    replaces
        .map(|replaced| match &replaced[..] {
            "" => Err("replaces has an empty name".into()),
            itself if itself == name => Err(format!("it replaces itself, {name:?}")),
            _ => Ok(replaced.clone()),
        })
        .collect()
}
