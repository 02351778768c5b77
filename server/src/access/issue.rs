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

/// The most tokens, revoked and expired ones included: every location holds all in memory.
///
/// Their rows are kept for ever. They are joined rows: one that a location deleted would come back from another, and with it a
/// token that was revoked. So once there are as many, a new token takes the row, and the id, of one that expired
/// [`REUSED_AFTER`] ago. The later write wins at all locations, and a location that does not have it yet refuses both. The row
/// of a revoked token is not used again, because a revocation is final. One of two locations that take the same row at the
/// same time would lose its token: each takes a random one.
pub const MAX_TOKENS: usize = 10_000;

/// How long ago a token must have expired before a new one takes its row: far longer than clocks differ.
pub const REUSED_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

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
    #[error(
        "the token has no scope: write some of admin, ops, kv:read=…, kv:write=…, ratelimit=…, ratelimit:override=…"
    )]
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
        "there are {MAX_TOKENS} tokens, which is the most; revoked ones count, and those that expired in the last 30 days: use \
         a token that is still accepted (`waypost token list`), or --admin-token-file, and give tokens an end with --expires"
    )]
    TooMany,
    /// The system gave no randomness.
    #[error("can't make a token: {0}")]
    Random(#[from] RandomError),
    /// There is no such token.
    #[error("there is no token {0}: `waypost token list` shows the ids")]
    NoToken(String),
    /// Without it, nobody is an administrator.
    #[error(
        "{0} is the last token with the scope admin: without it, tokens and namespaces can be managed only over a unix socket, \
         with --admin-token-file, or with --data while the server is stopped. Create another one first, or repeat the command \
         with --force"
    )]
    LastAdmin(AccessTokenId),
}

/// How a token is revoked.
#[derive(Clone, Copy, Debug)]
pub struct Revocation {
    /// Whether the last one for administration may be revoked.
    pub is_forced: bool,
    /// The Unix time, in seconds.
    pub now: u64,
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
    let mut text = TokenText::generate(environment)?;
    if tokens.len() >= MAX_TOKENS {
        text = text.with_id(reusable(tokens, now, environment)?);
    }
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

/// A random one of the tokens that expired long ago.
fn reusable(
    tokens: &AccessTokens,
    now: u64,
    environment: &dyn Environment,
) -> Result<AccessTokenId, IssueError> {
    let is_old = |at: u64| at.saturating_add(REUSED_AFTER.as_secs()) <= now;
    let is_reusable =
        |token: &AccessToken| !token.is_revoked && token.expires_at.is_some_and(is_old);
    let old: Vec<_> =
        tokens.iter().filter(|token| is_reusable(token)).map(|token| token.id).collect();
    let random = environment.random_id()?;
    let random = random.iter().take(7).fold(0, |number, byte| number << 8 | usize::from(*byte));
    random.checked_rem(old.len()).and_then(|at| old.get(at).copied()).ok_or(IssueError::TooMany)
}

/// Finds the token with this id, and makes the operation that revokes it.
///
/// # Errors
/// [`IssueError::NoToken`]; [`IssueError::LastAdmin`] unless it is forced.
pub fn revoke<'a>(
    id: &str,
    tokens: &'a AccessTokens,
    how: Revocation,
) -> Result<(&'a AccessToken, Operation), IssueError> {
    let found = tokens.iter().find(|token| token.id.to_string() == id);
    let token = found.ok_or_else(|| IssueError::NoToken(id.escape_debug().take(64).collect()))?;
    let is_admin = |token: &AccessToken| {
        is_live(token, how.now)
            && Scopes::of_stored(&token.scopes).as_slice().contains(&Scope::Admin)
    };
    let has_other = || tokens.iter().any(|other| other.id != token.id && is_admin(other));
    if !how.is_forced && is_admin(token) && !has_other() {
        return Err(IssueError::LastAdmin(token.id));
    }
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
        let (id, now) = (admin.id().to_string(), environment.now_ms() / 1000);
        let last = revoke(&id, &tokens, Revocation { is_forced: false, now });
        assert!(matches!(last, Err(IssueError::LastAdmin(_))));
        let forced = Revocation { is_forced: true, now };
        let (revoked, operation) = revoke(&id, &tokens, forced).expect("a token");
        assert_eq!(revoked.id, admin.id());
        store.submit(operation).expect("there is room").wait().expect("it is written");
        assert!(store.tokens().get(admin.id()).is_some_and(|one| one.is_revoked));
        assert!(matches!(revoke("0000", &store.tokens(), forced), Err(IssueError::NoToken(_))));
        store.close().expect("it closes");
    }

    #[test]
    fn another_live_administrator_is_enough_and_an_expired_or_revoked_one_is_not() {
        let token = |id: u8, scopes: &str, expires_at: Option<u64>, is_revoked: bool| AccessToken {
            id: AccessTokenId([id; 8]),
            hash: [0; 32],
            scopes: scopes.into(),
            description: String::new(),
            expires_at,
            is_revoked,
            created_ms: 0,
        };
        for (other, is_enough) in [
            (token(2, "admin", None, false), true),
            (token(2, "ops\nadmin", Some(101), false), true),
            (token(2, "admin", Some(100), false), false),
            (token(2, "admin", None, true), false),
            (token(2, "kv:write=*", None, false), false),
        ] {
            let tokens = AccessTokens::from_iter([token(1, "admin", None, false), other]);
            let how = Revocation { is_forced: false, now: 100 };
            assert_eq!(revoke("0101010101010101", &tokens, how).is_ok(), is_enough);
            if !is_enough {
                assert!(revoke("0202020202020202", &tokens, how).is_ok(), "it is not the last one");
            }
        }
    }

    #[test]
    fn a_full_registry_takes_the_place_of_a_token_that_expired_long_ago_and_of_no_other() {
        let environment = SystemEnvironment::new();
        let now = environment.now_ms() / 1000;
        let month = REUSED_AFTER.as_secs();
        let token = |n: u32, expires_at: Option<u64>, is_revoked: bool| {
            let mut id = [0; 8];
            id[..4].copy_from_slice(&n.to_be_bytes());
            AccessToken {
                id: AccessTokenId(id),
                hash: [0; 32],
                scopes: "admin".into(),
                description: String::new(),
                expires_at,
                is_revoked,
                created_ms: 0,
            }
        };
        let full = u32::try_from(MAX_TOKENS).expect("few");
        let mut all = vec![token(0, None, false), token(1, Some(now - month), true)];
        all.extend((2..full).map(|n| token(n, Some(now - month / 2), false)));
        let tokens = AccessTokens::from_iter(all.clone());
        assert!(matches!(create(&new(&["ops"]), &tokens, &environment), Err(IssueError::TooMany)));
        all[7].expires_at = Some(now - month - 60);
        let id = all[7].id;
        let tokens = AccessTokens::from_iter(all);
        let (text, operation) = create(&new(&["ops"]), &tokens, &environment).expect("a place");
        assert_eq!(text.id(), id);
        let Operation::WriteFields { key: written, .. } = operation else { panic!("no fields") };
        assert_eq!(written, key(id));
        let read: TokenText = text.reveal().parse().expect("a token");
        assert!(read == text && read.has_hash(&text.hash()));
    }
}
