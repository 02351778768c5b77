//! From a domain as it is written to its tree. What is invalid is refused, with its place.

mod windows;

use std::{
    collections::HashSet,
    fmt::{self, Write as _},
    time::Duration,
};

use ratelimit::{Algorithm, Limit, LimitError};
use serde_saphyr::Spanned;

use super::{
    config,
    pattern::Pattern,
    proto::Unit,
    tree::{Branch, Domains, Ignored, Node, Rule, Tree, Wildcard},
};
use crate::rate_limits::{self, DescribeError, Period, Window, window};

use windows::{UNITS, calendar, period};

/// The most levels below a domain.
pub const MAX_DEPTH: usize = 16;

/// A mistake in a domain, with its place in the tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct DomainError {
    /// The path of the descriptor in its domain.
    place: String,
    /// The rule that it breaks.
    problem: Problem,
}

/// The mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    /// A sentence that depends on no value.
    #[error("{0}")]
    Fixed(&'static str),
    /// The descriptors are nested too deeply.
    #[error("there can be {MAX_DEPTH} levels at most")]
    Depth,
    /// There are too many limits.
    #[error("there are more than {0} limits in all domains: raise the setting max-limits")]
    Rules(usize),
    /// The algorithm does not fit the limit.
    #[error("algorithm {name:?}: {source}")]
    Algorithm { name: String, source: LimitError },
    /// The limit is out of range.
    #[error(transparent)]
    Limit(#[from] DescribeError),
    /// A field that has no meaning without a limit.
    #[error("rate_limit is unlimited, so remove `{0}`")]
    Unlimited(&'static str),
    /// Neither a unit nor a period is given.
    #[error("rate_limit needs `unit`: use {UNITS}")]
    NoUnit,
    /// A unit that does not exist.
    #[error("{0:?} is not a unit: use {UNITS}, or `period` for any other time")]
    Unit(String),
    /// A limit that names itself in `replaces`.
    #[error("it replaces itself, {0:?}")]
    ReplacesItself(String),
}

impl From<&'static str> for Problem {
    fn from(sentence: &'static str) -> Problem {
        Problem::Fixed(sentence)
    }
}

/// A place in the tree.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The place of the descriptor above; none at the top.
    above: Option<&'a Place<'a>>,
    /// The descriptor.
    descriptor: &'a config::Descriptor,
    /// How many descriptors are above it.
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

/// An empty value means none, as in envoyproxy/ratelimit.
fn value(descriptor: &config::Descriptor) -> Option<&str> {
    descriptor.value.as_deref().filter(|value| !value.is_empty())
}

impl Domains {
    /// Adds a domain. Its limits count by `algorithm` unless they name another.
    ///
    /// # Errors
    /// If it is invalid, or was added before.
    pub fn add(
        &mut self,
        written: &config::Domain,
        algorithm: Algorithm,
    ) -> Result<(), DomainError> {
        let name = &written.domain;
        let wrong = |sentence| DomainError {
            place: format!("domain {name:?}"),
            problem: Problem::Fixed(sentence),
        };
        if name.is_empty() {
            return Err(wrong("it has no name: set `domain`"));
        }
        if self.domains.contains_key(name) {
            return Err(wrong("it exists twice: put all of its descriptors in one place"));
        }
        let mut builder = Builder {
            domain: name,
            algorithm,
            max_rules: self.max_rules,
            windows: HashSet::new(),
            paths: &mut self.paths,
            too_large: &mut self.too_large,
            ignored: &mut self.ignored,
        };
        let mut root = Node::default();
        for descriptor in written.descriptors.iter().flatten() {
            let place = Place { above: None, descriptor, depth: 1 };
            builder.descriptor(&mut root, place, name)?;
        }
        let (namespace, windows) = (format!("rls:{name}"), builder.windows);
        self.domains.insert(name.clone(), Tree { namespace, windows, root });
        Ok(())
    }
}

/// Builds the tree of one domain.
struct Builder<'a> {
    /// The name of the domain, for errors and for the names of limits.
    domain: &'a str,
    /// The algorithm of limits that name none.
    algorithm: Algorithm,
    /// The most limits in all domains.
    max_rules: usize,
    /// The windows of the domain's limits.
    windows: HashSet<Window>,
    /// The path of each limit, by the limit's number. It labels the limit's metrics.
    paths: &'a mut Vec<String>,
    /// The limits whose algorithm cannot count them, which another one counts instead.
    too_large: &'a mut Vec<String>,
    /// The fields that have no effect.
    ignored: &'a mut Vec<Ignored>,
}

impl Builder<'_> {
    /// An error at this place.
    fn wrong(&self, place: Place<'_>, problem: impl Into<Problem>) -> DomainError {
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
        let written = place.descriptor;
        check_fields(written).map_err(|problem| self.wrong(place, problem))?;
        for (line, reason) in ignored(written) {
            let place = format!("domain {:?}, {place}", self.domain);
            self.ignored.push(Ignored { line, place, reason });
        }
        if place.depth > MAX_DEPTH {
            return Err(self.wrong(place, Problem::Depth));
        }
        let mut path = format!("{above}.{}", written.key);
        if let Some(value) = value(written) {
            write!(path, "_{value}").expect("writing to a String does not fail");
        }
        let mut node = Node::default();
        if let Some(limit) = &written.rate_limit {
            let shadow = is_set(written.shadow_mode.as_ref());
            let rule = self.rule(limit, shadow, &path);
            node.rule = Some(rule.map_err(|problem| self.wrong(place, problem))?);
        }
        for descriptor in written.descriptors.iter().flatten() {
            let below = Place { above: Some(&place), descriptor, depth: place.depth + 1 };
            self.descriptor(&mut node, below, &path)?;
        }
        let branch = parent.children.entry(written.key.as_bytes().into()).or_default();
        let is_new = branch.put(written, node);
        if is_new { Ok(()) } else { Err(self.wrong(place, "it exists twice")) }
    }

    /// The rule of a `rate_limit`, and its number among all rules.
    fn rule(
        &mut self,
        written: &config::RateLimit,
        shadow: bool,
        path: &str,
    ) -> Result<Rule, Problem> {
        let id = self.paths.len();
        if id == self.max_rules {
            return Err(Problem::Rules(id));
        }
        let name = written.name.clone().unwrap_or_default();
        let replaces = replaced(written, &name)?;
        let (limit, unit) = if written.unlimited.unwrap_or_default() {
            check_unlimited(written)?;
            (None, Unit::Unknown)
        } else {
            let count = written
                .requests_per_unit
                .ok_or("rate_limit needs `requests_per_unit`, how many requests a unit allows")?;
            if let Some(timezone) = &written.timezone {
                let (limit, unit) = calendar(written, timezone, count)?;
                self.windows.insert(window(&limit));
                self.paths.push(path.to_owned());
                let limit = Some(limit.shadow(shadow));
                return Ok(Rule { id, limit, unit, name, replaces, record: written.record });
            }
            let period = period(written)?;
            let limit = match &written.algorithm {
                Some(name) => {
                    let algorithm = name
                        .parse()
                        .map_err(|source| Problem::Algorithm { name: name.clone(), source })?;
                    let scope = written.scope.unwrap_or_default();
                    rate_limits::limit(algorithm, count, period, written.burst, scope)?
                }
                None => self.default_limit(count, period, written, path)?,
            };
            self.windows.insert(window(&limit));
            (Some(limit.shadow(shadow)), Unit::lasting(period.ms()))
        };
        self.paths.push(path.to_owned());
        Ok(Rule { id, limit, unit, name, replaces, record: written.record })
    }
}

impl Builder<'_> {
    /// A limit that names no algorithm. Whatever envoyproxy/ratelimit accepts is accepted here: if the
    /// default algorithm can't count that many, by fixed windows.
    fn default_limit(
        &mut self,
        count: u32,
        period: Period,
        written: &config::RateLimit,
        path: &str,
    ) -> Result<Limit, DescribeError> {
        let scope = written.scope.unwrap_or_default();
        let by = |algorithm| rate_limits::limit(algorithm, count, period, written.burst, scope);
        let most = Limit::max_count(self.algorithm, Duration::from_millis(period.ms()));
        if most.is_some_and(|most| count > most) {
            self.too_large.push(path.to_owned());
            return by(Algorithm::Fixed);
        }
        by(self.algorithm)
    }
}

impl Branch {
    /// Puts a node in its place; false if the place is taken.
    fn put(&mut self, written: &config::Descriptor, node: Node) -> bool {
        let Some(value) = value(written) else {
            let is_new = self.any.is_none();
            self.any = Some(Box::new(node));
            return is_new;
        };
        let Some(pattern) = Pattern::of(value) else {
            return self.values.insert(value.as_bytes().into(), node).is_none();
        };
        let is_new = self.patterns.insert(value.into());
        let is_shared = written.share_threshold.unwrap_or_default();
        self.wildcards.push(Wildcard { pattern, is_shared, node });
        is_new
    }
}

/// Checks the fields of one descriptor.
fn check_fields(written: &config::Descriptor) -> Result<(), &'static str> {
    if written.key.is_empty() {
        return Err("it has no key: set `key`");
    }
    if written.key.contains('*') {
        return Err("a `*` in a key has no meaning: wildcards are for `value`");
    }
    if written.share_threshold.unwrap_or_default()
        && !value(written).is_some_and(|value| value.contains('*'))
    {
        return Err("share_threshold needs a `value` with a `*`");
    }
    Ok(())
}

/// Whether a flag is true.
fn is_set(flag: Option<&Spanned<bool>>) -> bool {
    flag.is_some_and(|flag| flag.value)
}

/// Returns the fields of a descriptor that have no effect, each with its line and the reason.
fn ignored(written: &config::Descriptor) -> impl Iterator<Item = (Option<u64>, &'static str)> {
    let flag = |flag: &Option<Spanned<bool>>, reason| {
        let set = flag.as_ref().filter(|flag| flag.value);
        set.map(|flag| (line(flag), reason))
    };
    let shadow =
        flag(&written.shadow_mode, "shadow_mode has no effect without a rate_limit beside it");
    [
        shadow.filter(|_| written.rate_limit.is_none()),
        flag(
            &written.detailed_metric,
            "detailed_metric is ignored, because it creates a metric for each value of a request, whose \
             number nothing bounds; the setting top-denied-keys exports the keys that are denied most often",
        ),
        flag(
            &written.value_to_metric,
            "value_to_metric is ignored, because it creates a metric for each value of a request, whose \
             number nothing bounds; the setting top-denied-keys exports the keys that are denied most often",
        ),
        flag(&written.quota_mode, "quota_mode is ignored: the limit denies by itself, like any other"),
        written.metadata.as_ref().map(|it| (line(it), "metadata is ignored: responses have none")),
    ]
    .into_iter()
    .flatten()
}

/// The line of a value; none in TOML, whose reader does not tell it.
fn line<T>(value: &Spanned<T>) -> Option<u64> {
    Some(value.referenced.line()).filter(|line| *line > 0)
}

/// Checks that a limit that is unlimited has no fields of a limit.
fn check_unlimited(written: &config::RateLimit) -> Result<(), Problem> {
    let beside = [
        ("unit", written.unit.is_some()),
        ("requests_per_unit", written.requests_per_unit.is_some()),
        ("period", written.period.is_some()),
        ("timezone", written.timezone.is_some()),
        ("algorithm", written.algorithm.is_some()),
        ("burst", written.burst.is_some()),
        ("scope", written.scope.is_some()),
        ("record", written.record.is_some()),
    ];
    match beside.into_iter().find(|(_, is_there)| *is_there) {
        Some((field, _)) => Err(Problem::Unlimited(field)),
        None => Ok(()),
    }
}

/// The names of the limits that a limit replaces.
fn replaced(written: &config::RateLimit, name: &str) -> Result<Vec<String>, Problem> {
    let replaces = written.replaces.iter().flatten().map(|replaced| &replaced.name);
    replaces
        .map(|replaced| match &replaced[..] {
            "" => Err("replaces has an empty name".into()),
            itself if itself == name => Err(Problem::ReplacesItself(name.to_owned())),
            _ => Ok(replaced.clone()),
        })
        .collect()
}
