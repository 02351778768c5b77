//! Access tokens: the header that carries one, its text, its scopes, and its row.
#![no_main]

use kv_core::{
    AccessToken, AccessTokenId, FieldNumber, FieldValue, Hlc, JoinedRow, NamespaceId, OriginId,
    SystemRow, Version,
};
use libfuzzer_sys::fuzz_target;
use waypost::access::{Keys, Need, Scope, Scopes, Space, TokenText, bearer};

const SPACE: Space<'_> = Space {
    named: "t",
    title: Some("t"),
    id: Some(NamespaceId([7; 16])),
    keys: Keys::With("user:1"),
};

const NEEDS: [Need<'_>; 4] =
    [Need::Admin, Need::KvWrite(SPACE), Need::Ratelimit(b"n"), Need::Override(b"n")];

/// A token that is read has one text, and a hash of its own.
fn check_token(token: &TokenText) {
    let again: TokenText = token.reveal().parse().expect("its own text");
    assert_eq!(again, *token);
    assert!(token.has_hash(&again.hash()));
    assert!(!format!("{token:?}").contains(&token.reveal()["wpt_".len()..]));
}

/// A text of scopes permits what it permits after it was written and read.
fn check_scopes(text: &str) {
    if let Ok(scope) = text.parse::<Scope>() {
        assert_eq!(scope.to_string(), text);
    }
    let scopes = Scopes::of_stored(text);
    let again = Scopes::of_stored(&scopes.to_stored());
    assert_eq!(again, scopes);
    if !text.contains("admin") {
        assert!(!scopes.permit(Need::Admin));
    }
    for need in NEEDS {
        assert_eq!(again.permit(need), scopes.permit(need));
    }
}

/// A row is a token that is written with the same bytes, or not understood.
fn check_row(bytes: &[u8]) {
    let (Some(number), Ok(value)) = (FieldNumber::new(1), FieldValue::new(bytes.to_vec())) else {
        return;
    };
    let version = Version { hlc: Hlc(1 << 20), origin: OriginId([1; 16]) };
    let row = JoinedRow::written(version, 1, [(number, value)]).expect("it has a field");
    let id = AccessTokenId([3; 8]);
    match SystemRow::of(&AccessToken::key(id), &row) {
        SystemRow::Token(found, token) => {
            assert_eq!(found, id);
            if let Some(token) = token {
                let (_, value) = token.creation().expect("its texts are within their bounds");
                assert_eq!(value.as_bytes(), bytes);
            }
        }
        other => panic!("the key is that of a token, and not of {other:?}"),
    }
}

fuzz_target!(|input: &[u8]| {
    if let Ok(token) = bearer(input) {
        check_token(&token);
    }
    if let Ok(text) = str::from_utf8(input) {
        if let Ok(token) = text.parse() {
            check_token(&token);
        }
        check_scopes(text);
    }
    check_row(input);
});
