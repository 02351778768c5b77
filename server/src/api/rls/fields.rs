//! The headers that Envoy adds to the response of its client.

use std::str::FromStr;

use ratelimit::{Decision, Limit, headers};

use super::proto::HeaderValue;

/// Which headers to add: the setting `rls-headers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// None. Envoy's own `enable_x_ratelimit_headers` works without them.
    #[default]
    None,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining`, `X-RateLimit-Reset`, as many services have them.
    XRateLimit,
    /// `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset`, the default of envoyproxy/ratelimit.
    RateLimit,
    /// `RateLimit-Policy` and `RateLimit`, of draft-ietf-httpapi-ratelimit-headers.
    Ietf,
}

/// The name is not one of the four.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a kind of headers: use none, x-ratelimit, ratelimit or ietf")]
pub struct UnknownFields(String);

impl FromStr for Fields {
    type Err = UnknownFields;

    fn from_str(name: &str) -> Result<Fields, UnknownFields> {
        match name {
            "none" => Ok(Fields::None),
            "x-ratelimit" => Ok(Fields::XRateLimit),
            "ratelimit" => Ok(Fields::RateLimit),
            "ietf" => Ok(Fields::Ietf),
            _ => Err(UnknownFields(name.to_owned())),
        }
    }
}

impl Fields {
    /// The headers for the client of a request to which this limit applied; a denial also has
    /// `Retry-After`. All times are in whole seconds, rounded up.
    pub(super) fn of(self, name: &str, limit: &Limit, decision: &Decision) -> Vec<HeaderValue> {
        let mut fields = match self {
            Fields::None => return Vec::new(),
            Fields::XRateLimit => three("x-ratelimit", limit, decision),
            Fields::RateLimit => three("ratelimit", limit, decision),
            Fields::Ietf => {
                let name = if name.is_empty() { UNNAMED } else { name };
                vec![
                    field(headers::RATELIMIT_POLICY, headers::policy(name, limit)),
                    field(headers::RATELIMIT, headers::state(name, decision)),
                ]
            }
        };
        if !decision.allowed
            && let Some(seconds) = headers::retry_after(decision)
        {
            fields.push(field("retry-after", seconds.to_string()));
        }
        fields
    }
}

/// The name in the IETF's fields of a limit that has none.
const UNNAMED: &str = "default";

/// The three fields of a draft: limit, remaining, and seconds to the reset.
fn three(prefix: &str, limit: &Limit, decision: &Decision) -> Vec<HeaderValue> {
    vec![
        field(&format!("{prefix}-limit"), limit.count().to_string()),
        field(&format!("{prefix}-remaining"), decision.remaining.to_string()),
        field(&format!("{prefix}-reset"), reset_seconds(decision).to_string()),
    ]
}

/// Makes a header for Envoy to add.
fn field(name: &str, value: String) -> HeaderValue {
    HeaderValue { key: name.to_owned(), value }
}

/// The seconds until the same request would be allowed, if it was denied; else until the window ends.
pub(super) fn reset_seconds(decision: &Decision) -> u64 {
    headers::retry_after(decision).unwrap_or_else(|| headers::seconds(decision.reset_after))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shown(fields: Fields, decision: &Decision) -> Vec<String> {
        let limit = Limit::sliding(5, Duration::from_secs(60)).unwrap();
        let fields = fields.of("login", &limit, decision);
        fields.into_iter().map(|field| format!("{}: {}", field.key, field.value)).collect()
    }

    const ALLOWED: Decision = Decision {
        allowed: true,
        limit: 5,
        remaining: 3,
        reset_after: Duration::from_millis(59_001),
        retry_after: Some(Duration::ZERO),
        shadowed: false,
    };

    const DENIED: Decision = Decision {
        allowed: false,
        remaining: 0,
        retry_after: Some(Duration::from_millis(11_500)),
        ..ALLOWED
    };

    #[test]
    fn each_setting_has_its_own_headers() {
        assert!(shown(Fields::None, &DENIED).is_empty());
        let three = ["x-ratelimit-limit: 5", "x-ratelimit-remaining: 3", "x-ratelimit-reset: 60"];
        assert_eq!(shown(Fields::XRateLimit, &ALLOWED), three);
        let three = three.map(|line| line.trim_start_matches("x-").to_owned());
        assert_eq!(shown(Fields::RateLimit, &ALLOWED), three);
        let ietf = [r#"ratelimit-policy: "login";q=5;w=60"#, r#"ratelimit: "login";r=3;t=60"#];
        assert_eq!(shown(Fields::Ietf, &ALLOWED), ietf);
    }

    #[test]
    fn a_denial_has_the_time_until_the_same_request_is_allowed() {
        let fields = shown(Fields::XRateLimit, &DENIED);
        assert!(fields.contains(&"x-ratelimit-reset: 12".into()), "{fields:?}");
        assert!(fields.contains(&"retry-after: 12".into()), "{fields:?}");
        let never = Decision { retry_after: None, ..DENIED };
        let fields = shown(Fields::XRateLimit, &never);
        assert!(fields.contains(&"x-ratelimit-reset: 60".into()), "{fields:?}");
        assert!(!fields.iter().any(|field| field.starts_with("retry-after")), "{fields:?}");
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_known_ones() {
        assert_eq!("ietf".parse(), Ok(Fields::Ietf));
        assert!(
            "X-RateLimit"
                .parse::<Fields>()
                .unwrap_err()
                .to_string()
                .contains("x-ratelimit, ratelimit")
        );
    }
}
