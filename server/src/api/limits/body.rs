//! The body that sets an override.

use std::{fmt, time::UNIX_EPOCH};

use hyper::StatusCode;
use kv_core::{OverrideRule, limits::END_OF_TIME};
use ratelimit::Limit;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};

use crate::http::problem::{Refused, parse};

/// The body of a PUT: one of `limit`, `deny` and `unlimited`, and when it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOverride {
    /// The count in place of the limit's. Period and algorithm stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `true`: nothing is allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deny: bool,
    /// `true`: everything is allowed, and nothing is counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlimited: bool,
    /// In how many seconds it ends; a number, or a text such as `"12h"`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub expires_in: Option<u64>,
    /// When it ends: Unix seconds, or a text such as `"2027-01-31T00:00:00Z"`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "time")]
    pub expires_at: Option<u64>,
}

/// An example, for errors.
const EXAMPLE: &str = r#"{"limit":500,"expires_in":"1h"}"#;

impl NewOverride {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Result<NewOverride, Refused> {
        parse(body, EXAMPLE)
    }

    /// The rule, and the time when it ends, in Unix seconds. `limit` is the limit that it overrides, if that is known.
    pub(super) fn rule(
        &self,
        limit: Option<&Limit>,
        now_ms: u64,
    ) -> Result<(OverrideRule, Option<u64>), Refused> {
        let bad = |error: String| Err(Refused::new(StatusCode::BAD_REQUEST, error));
        let rule = match (self.limit, self.deny, self.unlimited) {
            (Some(count), false, false) => OverrideRule::Count(count),
            (None, true, false) => OverrideRule::Deny,
            (None, false, true) => OverrideRule::Unlimited,
            _ => {
                let fields = "`limit`, `deny` (true) and `unlimited` (true)";
                return bad(format!("send exactly one of {fields}, such as {EXAMPLE}"));
            }
        };
        if let (OverrideRule::Count(count), Some(limit)) = (rule, limit) {
            let (algorithm, period) = (limit.algorithm(), limit.period());
            let max = Limit::max_count(algorithm, period).unwrap_or(u32::MAX);
            if count > max {
                return bad(format!(
                    "`limit` is {count}: the algorithm {algorithm} of this limit counts up to {max}"
                ));
            }
        }
        let now = now_ms / 1000;
        let expires_at = match (self.expires_in, self.expires_at) {
            (Some(_), Some(_)) => return bad("send one of `expires_in` and `expires_at`".into()),
            (Some(0), _) => return bad("`expires_in` is 0: write at least 1 second".into()),
            (_, Some(at)) if at <= now => {
                return bad(format!("`expires_at` has passed: it is Unix second {now} now"));
            }
            // A second has begun, which does not count.
            (Some(seconds), None) => Some(now_ms.div_ceil(1000).saturating_add(seconds)),
            (None, at) => at,
        };
        if expires_at.is_some_and(|at| at >= END_OF_TIME) {
            return bad("an override ends before the year 2200: leave out the expiry for one that does not end".into());
        }
        Ok((rule, expires_at))
    }
}

/// Reads a number of seconds, or a text with a unit. Parts of a second are cut off.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    const EXPECTED: &str = "a whole number of seconds, or a text such as \"12h\"";
    let read = |text: &str| humantime::parse_duration(text).ok().map(|time| time.as_secs());
    deserializer.deserialize_any(Number { expected: EXPECTED, read }).map(Some)
}

/// Reads a time: Unix seconds, or a date.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    const EXPECTED: &str = "Unix seconds, or a time such as \"2027-01-31T00:00:00Z\"";
    let read = |text: &str| {
        let time = humantime::parse_rfc3339(text).ok()?;
        Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
    };
    deserializer.deserialize_any(Number { expected: EXPECTED, read }).map(Some)
}

/// Reads a number, or a text that stands for one.
struct Number<F> {
    /// The forms that it has, for errors.
    expected: &'static str,
    /// Reads a text.
    read: F,
}

impl<F: Fn(&str) -> Option<u64>> Visitor<'_> for Number<F> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let wrong = || E::custom(format!("{text:?} is not {}", self.expected));
        (self.read)(text).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_500;

    fn rule(body: &str) -> Result<(OverrideRule, Option<u64>), String> {
        let limit = Limit::sliding(10, Duration::from_secs(60)).expect("valid");
        let read = NewOverride::read(body.as_bytes());
        read.and_then(|new| new.rule(Some(&limit), NOW_MS)).map_err(|refused| refused.to_string())
    }

    #[test]
    fn an_override_has_one_rule_and_may_end() {
        for (body, expected) in [
            (r#"{"limit":0}"#, (OverrideRule::Count(0), None)),
            (r#"{"limit":500,"deny":false}"#, (OverrideRule::Count(500), None)),
            (r#"{"deny":true,"expires_in":60}"#, (OverrideRule::Deny, Some(1_800_000_061))),
            (r#"{"deny":true,"expires_in":"1m"}"#, (OverrideRule::Deny, Some(1_800_000_061))),
            (
                r#"{"unlimited":true,"expires_at":1800000001}"#,
                (OverrideRule::Unlimited, Some(1_800_000_001)),
            ),
            (
                r#"{"unlimited":true,"expires_at":"2027-01-31T00:00:00Z"}"#,
                (OverrideRule::Unlimited, Some(1_801_353_600)),
            ),
        ] {
            assert_eq!(rule(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn an_error_names_the_field_and_the_reason() {
        for (body, says) in [
            ("", "the body must be JSON like"),
            ("[]", "expected an object"),
            ("{}", "exactly one of `limit`, `deny` (true) and `unlimited` (true)"),
            (r#"{"limit":5,"deny":true}"#, "exactly one of"),
            (r#"{"deny":false}"#, "exactly one of"),
            (r#"{"limit":"5"}"#, "`limit`: invalid type"),
            (r#"{"limit":-1}"#, "`limit`: invalid value"),
            (r#"{"limit":3000000}"#, "the algorithm sliding of this limit counts up to 2097151"),
            (r#"{"deny":1}"#, "`deny`: invalid type"),
            (r#"{"lmit":5}"#, "unknown field `lmit`"),
            (r#"{"limit":5,"expires_in":0}"#, "`expires_in` is 0"),
            (r#"{"limit":5,"expires_in":-5}"#, "`expires_in`: invalid type: integer `-5`"),
            (r#"{"limit":5,"expires_in":"soon"}"#, "`expires_in`: \"soon\" is not a whole number"),
            (r#"{"limit":5,"expires_at":5}"#, "`expires_at` has passed"),
            (r#"{"limit":5,"expires_at":"5"}"#, "`expires_at`: \"5\" is not Unix seconds"),
            (r#"{"limit":5,"expires_in":1,"expires_at":1900000000}"#, "one of `expires_in` and"),
            (r#"{"limit":5,"expires_in":18446744073709551615}"#, "before the year 2200"),
        ] {
            let error = rule(body).expect_err(body);
            assert!(error.contains(says), "{body}: {says:?} is not in {error:?}");
        }
    }
}
