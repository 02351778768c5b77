//! Access tokens in a store: from their rows to the registry that readers get.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use common::Case;
use kv_core::{
    AccessToken, AccessTokenId, FieldNumber, FieldValue, Key, NamespaceId, OpenError, Operation,
    Table, engine::EngineError,
};

const ID: AccessTokenId = AccessTokenId([7; 8]);

fn token() -> AccessToken {
    AccessToken {
        id: ID,
        hash: [1; 32],
        scopes: "admin".into(),
        description: "of a test".into(),
        expires_at: Some(99),
        is_revoked: false,
        created_ms: 0,
    }
}

fn write(case: &mut Case, field: (FieldNumber, FieldValue)) {
    let key = Key::new(AccessToken::key(ID)).unwrap();
    case.commit(Operation::WriteFields { key, fields: vec![field] });
}

#[test]
fn a_token_is_in_every_view_after_its_commit_and_after_a_start() {
    let mut case = Case::new();
    let before = case.store.view();
    assert!(before.tokens().is_empty());
    write(&mut case, token().creation().unwrap());
    assert!(before.tokens().is_empty(), "a view does not change");
    for _ in 0..2 {
        let view = case.store.view();
        let found = view.tokens().get(ID).unwrap();
        assert!(found.created_ms > 0);
        assert_eq!(**found, AccessToken { created_ms: found.created_ms, ..token() });
        case.reopen();
    }
    write(&mut case, AccessToken::revocation());
    for _ in 0..2 {
        assert!(case.store.view().tokens().get(ID).unwrap().is_revoked);
        case.reopen();
    }
}

#[test]
fn a_damaged_token_permits_nothing_and_access_does_not_become_free() {
    let mut case = Case::new();
    write(&mut case, token().creation().unwrap());
    let key = [&NamespaceId::SYSTEM.0[..], &AccessToken::key(ID)].concat();
    case.damage(Table::Entries, &[key]);
    case.reopen();
    let view = case.store.view();
    assert!(view.tokens().get(ID).is_none());
    assert!(!view.tokens().is_empty());
}

#[test]
fn access_does_not_become_free_if_a_bit_of_the_key_of_the_only_token_flips() {
    let key = [&NamespaceId::SYSTEM.0[..], &AccessToken::key(ID)].concat();
    let (mut opened, mut refused) = (0, 0);
    for (at, bit) in (16..key.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut case = Case::new();
        write(&mut case, token().creation().unwrap());
        match case.flip_key(Table::Entries, &key, at, 1 << bit) {
            Ok(()) => {
                let view = case.store.view();
                let has_token = view.tokens().get(ID).is_some();
                assert!(!has_token && !view.tokens().is_empty(), "byte {at}, bit {bit}");
                opened += 1;
            }
            // No row has its place any more: the store does not open, and the disk is replaced.
            Err(OpenError::Engine(EngineError::Corrupt(message))) => {
                assert!(message.contains("out of order"), "byte {at}, bit {bit}: {message}");
                refused += 1;
            }
            Err(error) => panic!("byte {at}, bit {bit}: {error}"),
        }
    }
    assert!(opened > 0 && refused > 0, "opened {opened}, refused {refused}");
}
