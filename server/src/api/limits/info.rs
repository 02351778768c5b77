//! Limits and overrides in responses.

use std::collections::BTreeMap;

use kv_core::{LimitOverride, LimitOverrides, OverrideRule, OverrideTarget};
use serde::{Deserialize, Serialize};

use super::path::{Subject, path_of};
use crate::{
    metrics::Denied,
    rate_limits::{RateLimits, RecentTop},
};

/// The most overrides of a page.
const PAGE: usize = 1000;
/// About how many bytes of names and keys a page has at most.
const PAGE_BYTES: usize = 256 << 10;

/// What can have overrides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitInfo {
    /// The name in paths.
    pub name: String,
    /// The namespace of the counters.
    pub namespace: String,
    /// How many requests of cost 1 are allowed in a period; absent for a namespace, whose limits may differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The unit of the calendar whose windows count, in place of a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The time zone of the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The period, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<f64>,
    /// The algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// How many overrides there are, those included that have just expired.
    pub overrides: usize,
}

/// All limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitList {
    /// By name.
    pub limits: Vec<LimitInfo>,
}

/// An override in a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideInfo {
    /// The name that it was found by.
    pub name: String,
    /// The key, as text. Bytes that are not UTF-8 are replaced; `path` has them.
    pub key: String,
    /// The count in place of the limit's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Nothing is allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deny: bool,
    /// Everything is allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlimited: bool,
    /// When it ends, in Unix seconds; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Its path in this API.
    pub path: String,
}

/// A key that was denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopKey {
    /// The namespace of its counter, at most 128 bytes of it.
    pub namespace: String,
    /// The key, at most 128 bytes of it. Bytes that are not UTF-8 are replaced.
    pub key: String,
    /// How often it was denied: at least, under a load on many threads.
    pub count: u64,
    /// How many of them may have been of other keys.
    pub excess: u64,
}

/// The keys that were denied most.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopList {
    /// The time that the counts are of, in seconds.
    pub seconds: u64,
    /// The most often denied first.
    pub denied: Vec<TopKey>,
}

impl TopList {
    /// Describes the keys that were denied most.
    #[must_use]
    pub fn new(top: RecentTop) -> TopList {
        let denied = top.denied.into_iter().map(|one| {
            let Denied { namespace, key, count, excess } = one;
            TopKey { namespace, key, count, excess }
        });
        TopList { seconds: top.seconds, denied: denied.collect() }
    }
}

/// A page of overrides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverrideList {
    /// By key.
    pub overrides: Vec<OverrideInfo>,
    /// The path of the next page; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl OverrideInfo {
    /// Describes an override that was found by this name.
    #[must_use]
    pub fn new(name: &[u8], one: &LimitOverride) -> OverrideInfo {
        OverrideInfo {
            name: String::from_utf8_lossy(name).into_owned(),
            key: String::from_utf8_lossy(&one.key).into_owned(),
            limit: match one.rule {
                OverrideRule::Count(count) => Some(count),
                OverrideRule::Deny | OverrideRule::Unlimited => None,
            },
            deny: one.rule == OverrideRule::Deny,
            unlimited: one.rule == OverrideRule::Unlimited,
            expires_at: one.expires_at,
            path: path_of(name, Some(&one.key)),
        }
    }
}

/// The page of overrides whose keys come after this one.
pub(super) fn page(
    all: &LimitOverrides,
    (name, subject): (&[u8], &Subject),
    after: Option<&[u8]>,
    now_ms: u64,
) -> OverrideList {
    let (mut overrides, mut bytes, mut next) = (Vec::new(), 0, None);
    let mut last: Option<&[u8]> = None;
    for one in all.after(subject.target(), after).filter(|one| one.is_current(now_ms)) {
        if overrides.len() == PAGE || bytes > PAGE_BYTES {
            let key = last.unwrap_or_default();
            let key = percent_encoding::percent_encode(key, percent_encoding::NON_ALPHANUMERIC);
            next = Some(format!("{}?after={key}", path_of(name, None)));
            break;
        }
        bytes += name.len() + one.key.len();
        last = Some(&one.key);
        overrides.push(OverrideInfo::new(name, one));
    }
    OverrideList { overrides, next }
}

/// What can have overrides: the limits and namespaces of the configuration, and what has some.
pub(super) fn limits(rates: &RateLimits, all: &LimitOverrides) -> Vec<LimitInfo> {
    let mut limits: BTreeMap<Vec<u8>, LimitInfo> = BTreeMap::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let bare = |name: String, namespace: &[u8]| LimitInfo {
        name,
        namespace: text(namespace),
        limit: None,
        unit: None,
        timezone: None,
        period: None,
        algorithm: None,
        overrides: 0,
    };
    for namespace in rates.namespaces() {
        limits.insert(namespace.to_vec(), bare(text(&namespace), &namespace));
    }
    for named in rates.all_named() {
        let (limit, calendar) = (named.limit, named.limit.calendar());
        let info = LimitInfo {
            limit: Some(limit.count()),
            unit: calendar.map(|calendar| calendar.unit().to_string()),
            timezone: calendar.map(|calendar| calendar.timezone().to_owned()),
            period: calendar.is_none().then(|| limit.period().as_secs_f64()),
            algorithm: Some(named.limit.algorithm().to_string()),
            ..bare(named.name.clone(), named.namespace.as_bytes())
        };
        limits.insert(named.name.clone().into_bytes(), info);
    }
    for (target, count) in all.targets() {
        let name = target.name();
        let is_limit = matches!(target, OverrideTarget::Limit(_));
        let is_hidden = !is_limit && limits.get(name).is_none_or(|info| info.limit.is_some());
        let name = if is_hidden { [b"namespace:", name].concat() } else { name.to_vec() };
        let found = limits.entry(name.clone()).or_insert_with(|| bare(text(&name), target.name()));
        found.overrides = count;
    }
    limits.into_values().collect()
}
