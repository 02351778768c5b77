//! The one place where it is decided who sent a request, and what that permits.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
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
    admin: ArcSwapOption<AccessToken>,
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
    Scoped {
        /// The scopes.
        scopes: Arc<Scopes>,
        /// The token, as it was when the request began.
        token: Arc<AccessToken>,
    },
}

/// What a request of a client needs to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing.
    Nothing,
    /// A token.
    Token,
    /// A token, because the store may lack tokens that its cluster has.
    UntilComplete,
}

impl Grant {
    /// The token, where one is needed.
    #[must_use]
    pub fn token(&self) -> Option<&AccessToken> {
        match self {
            Grant::Free => None,
            Grant::Scoped { token, .. } => Some(token),
        }
    }

    /// Checks that a request is permitted.
    ///
    /// # Errors
    /// [`Forbidden`], which names the missing scope.
    pub fn check(&self, need: Need<'_>) -> Result<(), Forbidden> {
        match self {
            Grant::Scoped { scopes, .. } if !scopes.permit(need) => Err(Forbidden::new(need)),
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
        Gate { admin: ArcSwapOption::new(admin.map(of_setting)), ..Gate::default() }
    }

    /// Accepts this token in place of the former one of the setting `admin-token-file`. Returns whether they differ.
    pub fn replace_admin(&self, token: &TokenText) -> bool {
        let new = of_setting(token);
        let is_same = self.admin.load().as_ref() == Some(&new);
        // The former one stays if it is the same: connections know it by its place in memory.
        if !is_same {
            self.admin.store(Some(new));
        }
        !is_same
    }

    /// Whether a token could be accepted: without one, nobody can use a listener that other machines reach.
    #[must_use]
    pub fn has_tokens(&self, tokens: &AccessTokens) -> bool {
        self.admin.load().is_some() || !tokens.is_empty()
    }

    /// What a client needs. `is_partial` says that the store may lack tokens that its cluster has.
    #[must_use]
    pub fn demand(&self, client: &Client, tokens: &AccessTokens, is_partial: bool) -> Demand {
        match client.origin() {
            Origin::Unix => Demand::Nothing,
            Origin::Local(_) | Origin::Remote(_) if is_partial => Demand::UntilComplete,
            Origin::Local(_) if !self.has_tokens(tokens) => Demand::Nothing,
            Origin::Local(_) | Origin::Remote(_) => Demand::Token,
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
        demand: Demand,
    ) -> Result<Grant, Unauthenticated> {
        let missing = match demand {
            Demand::Nothing => return Ok(Grant::Free),
            Demand::Token => Unauthenticated::Missing,
            Demand::UntilComplete => Unauthenticated::Partial,
        };
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let header = values.next().ok_or(missing)?;
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
        check_life(&accepted.token, now)?;
        accepted.used_at(now);
        Ok(Grant::Scoped { scopes: accepted.scopes, token: accepted.token })
    }

    /// Checks that the token of a request which took long is still accepted, before what it does is written.
    ///
    /// # Errors
    /// If it was revoked or has expired meanwhile.
    pub fn recheck(&self, grant: &Grant, tokens: &AccessTokens) -> Result<(), Unauthenticated> {
        let Grant::Scoped { token, .. } = grant else { return Ok(()) };
        let now = self.find(token.id, tokens).filter(|now| now.hash == token.hash);
        let token = now.ok_or(Unauthenticated::Unknown)?;
        check_life(&token, SystemEnvironment::new().now_ms() / 1000)
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
        self.find(token.id, tokens).is_some_and(|now| Arc::ptr_eq(&now, token))
    }

    /// The token with an id.
    fn find(&self, id: AccessTokenId, tokens: &AccessTokens) -> Option<Arc<AccessToken>> {
        let admin = self.admin.load();
        admin.as_ref().filter(|admin| admin.id == id).or_else(|| tokens.get(id)).cloned()
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
        Ok(Accepted { header, scopes: Arc::new(Scopes::of_stored(&token.scopes)), token, used })
    }
}

/// Checks that a token was not revoked and has not expired.
fn check_life(token: &AccessToken, now: u64) -> Result<(), Unauthenticated> {
    if token.is_revoked {
        return Err(Unauthenticated::Revoked);
    }
    match token.expires_at {
        Some(at) if at <= now => Err(Unauthenticated::Expired),
        _ => Ok(()),
    }
}

/// The token of the setting `admin-token-file`, which permits everything.
fn of_setting(token: &TokenText) -> Arc<AccessToken> {
    Arc::new(AccessToken {
        id: token.id(),
        hash: token.hash(),
        scopes: Scope::Admin.to_string(),
        description: "of the setting admin-token-file".into(),
        expires_at: None,
        is_revoked: false,
        created_ms: 0,
    })
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
mod tests;
