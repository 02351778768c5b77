//! The one place where it is decided who sent a request, and what that permits.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderValue},
};
use kv_core::{
    AccessToken, AccessTokenId, AccessTokens,
    env::{Environment as _, SystemEnvironment},
};

use super::{
    client::{Accepted, Client, Origin},
    error::{Forbidden, Unauthenticated},
    failures::Failures,
    scopes::{Need, Scope, Scopes},
    token::TokenText,
};

/// Decides who sent a request, and what that permits.
#[derive(Debug, Default)]
pub struct Gate {
    /// The token of the setting `admin-token-file`, which no store keeps.
    admin: Option<Arc<AccessToken>>,
    /// When each token was last used, in Unix seconds; 0 for never since the start. It has a place for each token that was
    /// accepted, so that it is not larger than the registry.
    used: Mutex<HashMap<AccessTokenId, Arc<AtomicU64>>>,
    /// Clients that send tokens which are not accepted.
    failures: Failures,
}

/// What the sender of a request may do.
#[derive(Clone, Debug)]
pub enum Grant {
    /// Everything: no token is needed.
    Free,
    /// What its token permits.
    Scoped(Arc<Scopes>),
}

impl Grant {
    /// Checks that a request is permitted.
    ///
    /// # Errors
    /// [`Forbidden`], which names the missing scope.
    pub fn check(&self, need: Need<'_>) -> Result<(), Forbidden> {
        match self {
            Grant::Scoped(scopes) if !scopes.permit(need) => Err(Forbidden::new(need)),
            _ => Ok(()),
        }
    }
}

/// How a refusal that was counted is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With 401 or its equivalent.
    Refuse,
    /// With 429 or its equivalent: too many are refused at a time.
    TooMany,
}

impl Gate {
    /// A gate that also accepts this token, for everything.
    #[must_use]
    pub fn new(admin: Option<&TokenText>) -> Gate {
        let admin = admin.map(|token| {
            Arc::new(AccessToken {
                id: token.id(),
                hash: token.hash(),
                scopes: Scope::Admin.to_string(),
                description: "of the setting admin-token-file".into(),
                expires_at: None,
                is_revoked: false,
                created_ms: 0,
            })
        });
        Gate { admin, ..Gate::default() }
    }

    /// Whether a token could be accepted: without one, nobody can use a listener that other machines reach.
    #[must_use]
    pub fn has_tokens(&self, tokens: &AccessTokens) -> bool {
        self.admin.is_some() || !tokens.is_empty()
    }

    /// Whether a client needs a token. `is_partial` says that the store may lack tokens that its cluster has.
    #[must_use]
    pub fn needs_token(&self, client: &Client, tokens: &AccessTokens, is_partial: bool) -> bool {
        match client.origin() {
            Origin::Unix => false,
            Origin::Local(_) => is_partial || self.has_tokens(tokens),
            Origin::Remote(_) => true,
        }
    }

    /// Finds out what a request permits, by its token.
    ///
    /// # Errors
    /// See [`Unauthenticated`].
    pub fn admit(
        &self,
        client: &Client,
        headers: &HeaderMap,
        tokens: &AccessTokens,
        is_partial: bool,
    ) -> Result<Grant, Unauthenticated> {
        if !self.needs_token(client, tokens, is_partial) {
            return Ok(Grant::Free);
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let header = values.next().ok_or(match is_partial {
            true => Unauthenticated::Partial,
            false => Unauthenticated::Missing,
        })?;
        if values.next().is_some() {
            return Err(Unauthenticated::NotBearer);
        }
        let now = SystemEnvironment::new().now_ms() / 1000;
        let accepted = match client.accepted(header) {
            Some(accepted) if self.is_current(&accepted.token, tokens) => accepted,
            _ => {
                let accepted = self.verify(header, tokens)?;
                client.accept(accepted.clone());
                accepted
            }
        };
        if accepted.token.is_revoked {
            return Err(Unauthenticated::Revoked);
        }
        if accepted.token.expires_at.is_some_and(|at| at <= now) {
            return Err(Unauthenticated::Expired);
        }
        accepted.used_at(now);
        Ok(Grant::Scoped(accepted.scopes))
    }

    /// Counts a refusal, and returns how to answer it, after a while perhaps.
    pub async fn refused(&self, client: &Client, why: Unauthenticated) -> Answer {
        let (Origin::Local(ip) | Origin::Remote(ip)) = client.origin() else {
            return Answer::Refuse;
        };
        // Without a token there is nothing to guess.
        if matches!(why, Unauthenticated::Missing | Unauthenticated::Partial) {
            return Answer::Refuse;
        }
        match self.failures.count(ip).await {
            Ok(()) => Answer::Refuse,
            Err(_too_many) => Answer::TooMany,
        }
    }

    /// When a token was last used here since the start, in Unix seconds.
    #[must_use]
    pub fn last_used(&self, id: AccessTokenId) -> Option<u64> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(&id).map(|used| used.load(Relaxed)).filter(|at| *at > 0)
    }

    /// Whether a token is still as it was when it was accepted.
    fn is_current(&self, token: &Arc<AccessToken>, tokens: &AccessTokens) -> bool {
        self.find(token.id, tokens).is_some_and(|now| Arc::ptr_eq(now, token))
    }

    /// The token with an id.
    fn find<'a>(
        &'a self,
        id: AccessTokenId,
        tokens: &'a AccessTokens,
    ) -> Option<&'a Arc<AccessToken>> {
        self.admin.as_ref().filter(|admin| admin.id == id).or_else(|| tokens.get(id))
    }

    /// Checks a token that was not seen on its connection.
    fn verify(
        &self,
        header: &HeaderValue,
        tokens: &AccessTokens,
    ) -> Result<Accepted, Unauthenticated> {
        let sent = bearer(header.as_bytes())?;
        let token = self.find(sent.id(), tokens).ok_or(Unauthenticated::Unknown)?;
        if !sent.has_hash(&token.hash) {
            return Err(Unauthenticated::Unknown);
        }
        let used = self
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(token.id)
            .or_default()
            .clone();
        // Debug output leaves it out.
        let mut header = header.clone();
        header.set_sensitive(true);
        Ok(Accepted {
            header,
            token: Arc::clone(token),
            scopes: Arc::new(Scopes::of_stored(&token.scopes)),
            used,
        })
    }
}

/// Reads the token in the value of a header `Authorization`.
///
/// # Errors
/// If it has another scheme, or no token.
pub fn bearer(value: &[u8]) -> Result<TokenText, Unauthenticated> {
    const SCHEME: &str = "Bearer";
    let text = str::from_utf8(value).map_err(|_binary| Unauthenticated::NotBearer)?;
    let (scheme, token) = text.trim().split_once(' ').ok_or(Unauthenticated::NotBearer)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(Unauthenticated::NotBearer);
    }
    Ok(token.trim_start().parse()?)
}

#[cfg(test)]
mod tests {
    use kv_core::Store;

    use super::*;
    use crate::access::{Apis, issue, issue::NewToken, token::TokenTextError};

    fn client(origin: Origin) -> Client {
        Client::new(Apis::ALL, origin)
    }

    fn local() -> Client {
        client(Origin::Local([127, 0, 0, 1].into()))
    }

    fn remote() -> Client {
        client(Origin::Remote([192, 0, 2, 1].into()))
    }

    fn headers(token: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a value");
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    fn run(store: &Store, operation: kv_core::Operation) {
        store.submit(operation).expect("there is room").wait().expect("it is written");
    }

    fn create(store: &Store, scope: &str) -> TokenText {
        let scopes = Scopes::from_iter([scope.parse().expect("a scope")]);
        let new = NewToken { scopes, description: String::new(), expires_in: None };
        let environment = SystemEnvironment::new();
        let (text, operation) =
            issue::create(&new, &store.tokens(), &environment).expect("a token");
        run(store, operation);
        text
    }

    #[test]
    fn a_token_is_needed_once_there_is_one_and_from_other_machines_always() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let (gate, none) = (Gate::default(), HeaderMap::new());
        let admits = |gate: &Gate, client: Client| {
            gate.admit(&client, &none, &store.tokens(), false).is_ok()
        };
        assert!(admits(&gate, local()) && admits(&gate, client(Origin::Unix)));
        assert!(!admits(&gate, remote()));
        let own = TokenText::generate(&SystemEnvironment::new()).expect("a token");
        let with_own = Gate::new(Some(&own));
        assert!(!admits(&with_own, local()) && admits(&with_own, client(Origin::Unix)));
        let grant = with_own.admit(&remote(), &headers(&own.reveal()), &store.tokens(), false);
        assert!(grant.is_ok_and(|grant| grant.check(Need::Admin).is_ok()));
        let token = create(&store, "admin");
        assert!(!admits(&gate, local()) && admits(&gate, client(Origin::Unix)));
        let tokens = store.tokens();
        let (_, revocation) = issue::revoke(&token.id().to_string(), &tokens).expect("a token");
        run(&store, revocation);
        assert!(!admits(&gate, local()), "a revoked token does not make access free");
        store.close().expect("it closes");
    }

    #[test]
    fn a_store_that_may_lack_tokens_of_its_cluster_is_not_free_except_over_a_unix_socket() {
        let (gate, none, tokens) = (Gate::default(), HeaderMap::new(), AccessTokens::default());
        let admit = |client: Client| gate.admit(&client, &none, &tokens, true);
        assert_eq!(admit(local()).err(), Some(Unauthenticated::Partial));
        assert!(admit(client(Origin::Unix)).is_ok());
        let own = TokenText::generate(&SystemEnvironment::new()).expect("a token");
        let grant = Gate::new(Some(&own)).admit(&local(), &headers(&own.reveal()), &tokens, true);
        assert!(grant.is_ok());
    }

    #[test]
    fn a_token_with_a_wrong_secret_is_unknown_also_after_the_right_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let (gate, client) = (Gate::default(), local());
        let (other, token) = (create(&store, "admin"), create(&store, "ops"));
        let admit = |text: &str| gate.admit(&client, &headers(text), &store.tokens(), false);
        for _ in 0..2 {
            let grant = admit(&token.reveal()).expect("a token");
            assert!(grant.check(Need::Ops).is_ok() && grant.check(Need::Admin).is_err());
            let grant = admit(&other.reveal()).expect("another token on the connection");
            assert!(grant.check(Need::Admin).is_ok());
            // The id of a token with the secret of another one, and a right checksum.
            assert_eq!(
                admit(&token.with_secret_of(&other).reveal()).err(),
                Some(Unauthenticated::Unknown)
            );
        }
        assert!(gate.last_used(token.id()).is_some());
        store.close().expect("it closes");
    }

    #[test]
    fn the_header_has_the_scheme_bearer_and_one_token() {
        let token = TokenText::generate(&SystemEnvironment::new()).expect("a token");
        let text = token.reveal();
        for value in
            [format!("Bearer {text}"), format!("bearer  {text} "), format!("BEARER {text}")]
        {
            assert_eq!(bearer(value.as_bytes()), Ok(token.clone()), "{value}");
        }
        for value in [&text[..], "", "Bearer", "Basic d3B0Xzp4", &format!("Token {text}")] {
            assert_eq!(bearer(value.as_bytes()), Err(Unauthenticated::NotBearer), "{value}");
        }
        let not_one = Err(Unauthenticated::NotAToken(TokenTextError::NoToken));
        assert_eq!(bearer(b"Bearer abc"), not_one);
        assert_eq!(bearer(b"Bearer \xff"), Err(Unauthenticated::NotBearer));
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("a store");
        let mut twice = headers(&text);
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        let admitted = Gate::new(Some(&token)).admit(&local(), &twice, &store.tokens(), false);
        assert_eq!(admitted.err(), Some(Unauthenticated::NotBearer));
        store.close().expect("it closes");
    }
}
