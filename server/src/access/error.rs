//! Why a request is refused before it comes to an API.

use super::{scopes::Need, token::TokenTextError};
use crate::terminal::shell_word;

/// Why it is not known who sent a request. No text repeats a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthenticated {
    /// There is no token.
    #[error(
        "this server needs a token: send the header `Authorization: Bearer wpt_…`, or use --token-file"
    )]
    Missing,
    /// There is no token, and the location does not know yet whether its cluster has any.
    #[error(
        "this location is joining its cluster or rebuilding its store, and may not know all tokens yet: send a token \
         (`Authorization: Bearer wpt_…`, --token-file), use a unix socket, or wait until /readyz responds with 200"
    )]
    Partial,
    /// The header is not of the form of a token.
    #[error("the header Authorization has no token: send `Authorization: Bearer wpt_…`, once")]
    NotBearer,
    /// It is not a token.
    #[error("{0}")]
    NotAToken(#[from] TokenTextError),
    /// No token has this id and secret.
    #[error(
        "this token is not known here: check that it is one of this cluster; `waypost token list` shows them"
    )]
    Unknown,
    /// The token was revoked.
    #[error("this token was revoked: ask for another one")]
    Revoked,
    /// The token has expired.
    #[error("this token has expired: ask for another one")]
    Expired,
}

impl Unauthenticated {
    /// The value of the label `reason` in the metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Unauthenticated::Missing | Unauthenticated::Partial => "missing",
            Unauthenticated::NotBearer | Unauthenticated::NotAToken(_) => "malformed",
            Unauthenticated::Unknown => "unknown",
            Unauthenticated::Revoked => "revoked",
            Unauthenticated::Expired => "expired",
        }
    }

    /// The value of the header `WWW-Authenticate` (RFC 6750).
    #[must_use]
    pub fn challenge(self) -> &'static str {
        match self {
            Unauthenticated::Missing | Unauthenticated::Partial => r#"Bearer realm="waypost""#,
            _ => r#"Bearer realm="waypost", error="invalid_token""#,
        }
    }
}

/// A token does not permit a request. The text names the scope that would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this token does not permit the request: it lacks the scope {scope}. Use a token that has it; `waypost token create \
     --scope {}` makes one",
    shell_word(scope)
)]
pub struct Forbidden {
    /// The scope that is missing.
    scope: String,
}

impl Forbidden {
    /// The error of a request that needs this.
    pub(super) fn new(need: Need<'_>) -> Forbidden {
        Forbidden { scope: need.to_string() }
    }
}
