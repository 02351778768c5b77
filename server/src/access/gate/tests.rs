//! The gate: who is admitted, with which token.

use kv_core::Store;

use super::*;
use crate::access::{
    Apis, issue,
    issue::{NewToken, Revocation},
    token::TokenTextError,
};

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

/// Admits a request to a store.
fn admit(
    gate: &Gate,
    client: &Client,
    headers: &HeaderMap,
    (tokens, is_partial): (&AccessTokens, bool),
) -> Result<Grant, Unauthenticated> {
    gate.admit(client, headers, tokens, gate.demand(client, tokens, is_partial))
}

fn run(store: &Store, operation: kv_core::Operation) {
    store.submit(operation).expect("there is room").wait().expect("it is written");
}

fn create(store: &Store, scope: &str) -> TokenText {
    let scopes = Scopes::from_iter([scope.parse().expect("a scope")]);
    let new = NewToken { scopes, description: String::new(), expires_in: None };
    let environment = SystemEnvironment::new();
    let (text, operation) = issue::create(&new, &store.tokens(), &environment).expect("a token");
    run(store, operation);
    text
}

#[test]
fn a_token_is_needed_once_there_is_one_and_from_other_machines_always() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("a store");
    let (gate, none) = (Gate::default(), HeaderMap::new());
    let admits =
        |gate: &Gate, client: Client| admit(gate, &client, &none, (&store.tokens(), false)).is_ok();
    assert!(admits(&gate, local()) && admits(&gate, client(Origin::Unix)));
    assert!(!admits(&gate, remote()));
    let own = TokenText::generate(&SystemEnvironment::new()).expect("a token");
    let with_own = Gate::new(Some(&own));
    assert!(!admits(&with_own, local()) && admits(&with_own, client(Origin::Unix)));
    let grant = admit(&with_own, &remote(), &headers(&own.reveal()), (&store.tokens(), false));
    assert!(grant.is_ok_and(|grant| grant.check(Need::Admin).is_ok()));
    let token = create(&store, "admin");
    assert!(!admits(&gate, local()) && admits(&gate, client(Origin::Unix)));
    let tokens = store.tokens();
    let revocation = Revocation { is_forced: true, now: 1 };
    let (_, revocation) =
        issue::revoke(&token.id().to_string(), &tokens, revocation).expect("a token");
    run(&store, revocation);
    assert!(!admits(&gate, local()), "a revoked token does not make access free");
    store.close().expect("it closes");
}

#[test]
fn a_store_that_may_lack_tokens_of_its_cluster_is_not_free_except_over_a_unix_socket() {
    let (gate, none, tokens) = (Gate::default(), HeaderMap::new(), AccessTokens::default());
    let admits = |client: Client| admit(&gate, &client, &none, (&tokens, true));
    assert_eq!(admits(local()).err(), Some(Unauthenticated::Partial));
    assert!(admits(client(Origin::Unix)).is_ok());
    let own = TokenText::generate(&SystemEnvironment::new()).expect("a token");
    let with_own = Gate::new(Some(&own));
    let grant = admit(&with_own, &local(), &headers(&own.reveal()), (&tokens, true));
    assert!(grant.is_ok());
}

#[test]
fn a_token_with_a_wrong_secret_is_unknown_also_after_the_right_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("a store");
    let (gate, client) = (Gate::default(), local());
    let (other, token) = (create(&store, "admin"), create(&store, "ops"));
    let admit = |text: &str| admit(&gate, &client, &headers(text), (&store.tokens(), false));
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
    for value in [format!("Bearer {text}"), format!("bearer  {text} "), format!("BEARER {text}")] {
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
    let admitted = admit(&Gate::new(Some(&token)), &local(), &twice, (&store.tokens(), false));
    assert_eq!(admitted.err(), Some(Unauthenticated::NotBearer));
    store.close().expect("it closes");
}

#[test]
fn the_token_of_the_setting_is_replaced_and_the_former_one_is_refused_on_open_connections() {
    let made = || TokenText::generate(&SystemEnvironment::new()).expect("a token");
    let (old, new, tokens) = (made(), made(), AccessTokens::default());
    let (gate, client) = (Gate::new(Some(&old)), local());
    let admits = |token: &TokenText| {
        admit(&gate, &client, &headers(&token.reveal()), (&tokens, false)).err()
    };
    assert_eq!((admits(&old), admits(&new)), (None, Some(Unauthenticated::Unknown)));
    assert_eq!(admits(&old), None);
    assert!(!gate.replace_admin(&old) && gate.replace_admin(&new));
    assert_eq!((admits(&old), admits(&new)), (Some(Unauthenticated::Unknown), None));
}

#[test]
fn a_request_that_took_long_does_not_outlive_its_token() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("a store");
    let (gate, token) = (Gate::default(), create(&store, "admin"));
    let headers = headers(&token.reveal());
    let grant = admit(&gate, &local(), &headers, (&store.tokens(), false)).expect("a token");
    assert_eq!(gate.recheck(&grant, &store.tokens()), Ok(()));
    let tokens = store.tokens();
    let forced = Revocation { is_forced: true, now: 1 };
    let (_, revocation) = issue::revoke(&token.id().to_string(), &tokens, forced).expect("a token");
    run(&store, revocation);
    assert_eq!(gate.recheck(&grant, &store.tokens()), Err(Unauthenticated::Revoked));
    assert_eq!(gate.recheck(&Grant::Free, &store.tokens()), Ok(()));
    store.close().expect("it closes");
}
