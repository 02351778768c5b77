//! New tokens and their end: what is written to the store, whether a server runs on it or not.

use std::time::Duration;

use kv_core::{
    AccessToken, AccessTokenError, AccessTokenId, AccessTokens, Key, Operation, RandomError,
    env::Environment,
};

use super::{
    scopes::{Scope, Scopes},
    token::TokenText,
};

/// The most tokens, revoked and expired ones included: their rows are kept for ever, and every location holds all in memory.
pub const MAX_TOKENS: usize = 10_000;

/// A description of a token that is to be created.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What it permits.
    pub scopes: Scopes,
    /// Its description for people.
    pub description: String,
    /// How long it is valid; none if it does not expire.
    pub expires_in: Option<Duration>,
}

/// Why a token was not created or revoked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// It would permit nothing.
    #[error("the token has no scope: write some of admin, ops, kv:read=…, kv:write=…, ratelimit=…")]
    NoScope,
    /// It would be the first one, and could not create others.
    #[error(
        "this would be the first token, and from then on every request needs one: create one with the scope admin first"
    )]
    FirstIsNotAdmin,
    /// Its texts are too long.
    #[error("{0}: write fewer or shorter ones")]
    TooLong(#[from] AccessTokenError),
    /// Its description has a control character.
    #[error("the description has a control character: write one without")]
    Control,
    /// There are as many tokens as there may be.
    #[error(
        "there are {MAX_TOKENS} tokens, which is the most; revoked and expired ones count and can't be removed: use a token \
         that is still accepted (`waypost token list`), or --admin-token-file"
    )]
    TooMany,
    /// The system gave no randomness.
    #[error("can't make a token: {0}")]
    Random(#[from] RandomError),
    /// There is no such token.
    #[error("there is no token {0}: `waypost token list` shows the ids")]
    NoToken(String),
}

/// Makes a token, and the operation that stores it. Only stored tokens count for the first one: the setting
/// `admin-token-file` lets nobody into the other locations.
///
/// # Errors
/// See [`IssueError`].
///
/// # Panics
/// Never: the key of a token is short.
pub fn create(
    new: &NewToken,
    tokens: &AccessTokens,
    environment: &dyn Environment,
) -> Result<(TokenText, Operation), IssueError> {
    if new.scopes.as_slice().is_empty() {
        return Err(IssueError::NoScope);
    }
    if new.description.chars().any(char::is_control) {
        return Err(IssueError::Control);
    }
    if tokens.is_empty() && !new.scopes.as_slice().contains(&Scope::Admin) {
        return Err(IssueError::FirstIsNotAdmin);
    }
    let now = environment.now_ms() / 1000;
    if tokens.len() >= MAX_TOKENS {
        return Err(IssueError::TooMany);
    }
    let text = TokenText::generate(environment)?;
    let token = AccessToken {
        id: text.id(),
        hash: text.hash(),
        scopes: new.scopes.to_stored(),
        description: new.description.clone(),
        expires_at: new.expires_in.map(|time| now.saturating_add(time.as_secs().max(1))),
        is_revoked: false,
        created_ms: 0,
    };
    let fields = vec![token.creation()?];
    Ok((text, Operation::WriteFields { key: key(token.id), fields }))
}

/// Finds the token with this id, and makes the operation that revokes it.
///
/// # Errors
/// [`IssueError::NoToken`].
pub fn revoke<'a>(
    id: &str,
    tokens: &'a AccessTokens,
) -> Result<(&'a AccessToken, Operation), IssueError> {
    let found = tokens.iter().find(|token| token.id.to_string() == id);
    let token = found.ok_or_else(|| IssueError::NoToken(id.escape_debug().take(64).collect()))?;
    let fields = vec![AccessToken::revocation()];
    Ok((token, Operation::WriteFields { key: key(token.id), fields }))
}

/// Whether a token is neither revoked nor expired.
#[must_use]
pub fn is_live(token: &AccessToken, now: u64) -> bool {
    !token.is_revoked && token.expires_at.is_none_or(|at| at > now)
}

/// The key of a token's row.
fn key(id: AccessTokenId) -> Key {
    Key::new(AccessToken::key(id)).expect("the key of a token is short")
}

#[cfg(test)]
mod tests {
    use kv_core::{Store, env::SystemEnvironment};

    use super::*;

    fn new(scopes: &[&str]) -> NewToken {
        let scopes = scopes.iter().map(|text| text.parse().expect("a scope")).collect();
        NewToken { scopes, description: "of a test".into(), expires_in: None }
    }

    #[test]
    fn the_first_token_is_for_administration_and_then_any_can_be_created_and_revoked() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let environment = SystemEnvironment::new();
        let make = |scopes: &[&str]| create(&new(scopes), &store.tokens(), &environment);
        let reads = ["kv:read=*"];
        assert!(matches!(make(&reads), Err(IssueError::FirstIsNotAdmin)));
        assert!(matches!(make(&[]), Err(IssueError::NoScope)));
        let (admin, operation) = make(&["ops", "admin"]).expect("the first");
        store.submit(operation).expect("there is room").wait().expect("it is written");
        assert!(store.tokens().get(admin.id()).is_some_and(|one| admin.has_hash(&one.hash)));
        assert!(make(&reads).is_ok());
        let tokens = store.tokens();
        let (revoked, operation) = revoke(&admin.id().to_string(), &tokens).expect("a token");
        assert_eq!(revoked.id, admin.id());
        store.submit(operation).expect("there is room").wait().expect("it is written");
        assert!(store.tokens().get(admin.id()).is_some_and(|one| one.is_revoked));
        assert!(matches!(revoke("0000", &store.tokens()), Err(IssueError::NoToken(_))));
        store.close().expect("it closes");
    }
}
