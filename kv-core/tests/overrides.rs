//! Overrides of rate limits in a store: from their entries to the registry that readers get.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use common::{Case, NOW};
use kv_core::{
    Hlc, InvalidWrite, LimitOverride, NamespaceId, Operation, OverrideRule, OverrideTarget,
    ReadError, Table, WriteError,
    commit::GcLimits,
    limits::{MAX_OVERRIDE_BYTES, MAX_OVERRIDE_TEXT},
};

const LOGIN: OverrideTarget<'_> = OverrideTarget::Limit(b"login");

fn one(key: &[u8], rule: OverrideRule) -> LimitOverride {
    LimitOverride::new(LOGIN, key, rule, None).unwrap()
}

fn rule(case: &mut Case, key: &[u8]) -> Option<OverrideRule> {
    case.store.view().overrides().get(LOGIN, key).map(|one| one.rule)
}

#[test]
fn an_override_is_in_every_view_after_its_commit_and_after_a_start() {
    let mut case = Case::new();
    let before = case.store.view();
    case.commit(Operation::put_override(&one(b"a", OverrideRule::Deny)));
    case.commit(Operation::put_override(&one(b"a", OverrideRule::Count(5))));
    assert!(before.overrides().is_empty(), "a view does not change");
    for _ in 0..2 {
        assert_eq!(rule(&mut case, b"a"), Some(OverrideRule::Count(5)));
        case.reopen();
    }
    case.commit(Operation::delete_override(LOGIN, b"a"));
    for _ in 0..2 {
        assert!(case.store.view().overrides().is_empty());
        case.reopen();
    }
}

#[test]
fn an_override_that_is_freed_is_not_in_the_registry() {
    let mut case = Case::new();
    let at = NOW / 1000 + 60;
    let expiring = LimitOverride::new(LOGIN, b"a", OverrideRule::Deny, Some(at)).unwrap();
    case.commit(Operation::put_override(&expiring));
    assert!(case.store.view().overrides().get(LOGIN, b"a").unwrap().is_current(NOW));
    let expired_ms = Some((at + 1) * 1000);
    let limits =
        GcLimits { rows: 9, bodies: 9, stable: Hlc::ZERO, expired_ms, collects_expired: false };
    case.store.collect_garbage(NOW, &limits).unwrap();
    assert!(case.store.view().overrides().is_empty());
}

#[test]
fn the_namespace_of_overrides_is_in_no_list_and_can_be_neither_created_nor_dropped() {
    let mut case = Case::new();
    case.commit(Operation::put_override(&one(b"a", OverrideRule::Deny)));
    let view = case.store.view();
    assert!(view.namespaces().iter().all(|namespace| namespace.id != NamespaceId::OVERRIDES));
    assert!(view.namespaces().resolve(&NamespaceId::OVERRIDES.to_string()).is_none());
    let (account, title) = (kv_core::Account::default(), kv_core::Title::new("x").unwrap());
    let id = NamespaceId::OVERRIDES;
    for operation in [
        Operation::CreateNamespace { account, title, id: Some(id) },
        Operation::DropNamespace { id },
    ] {
        assert!(case.store.commit(NOW, vec![operation]).results.remove(0).is_err());
    }
    assert_eq!(rule(&mut case, b"a"), Some(OverrideRule::Deny));
}

#[test]
fn a_damaged_override_does_not_apply_and_is_owed() {
    let mut case = Case::new();
    let one = one(b"a", OverrideRule::Deny);
    case.commit(Operation::put_override(&one));
    case.damage(Table::Entries, &[[&NamespaceId::OVERRIDES.0[..], &one.entry_key()].concat()]);
    case.reopen();
    let view = case.store.view();
    assert!(view.overrides().is_empty());
    assert!(view.owed().get(NamespaceId::OVERRIDES, &one.entry_key()).is_some());
    let read = view.get(NamespaceId::OVERRIDES, &one.entry_key(), NOW);
    assert!(matches!(read, Err(ReadError::Damaged { .. })), "{read:?}");
    case.commit(Operation::put_override(&one));
    assert_eq!(rule(&mut case, b"a"), Some(OverrideRule::Deny));
}

#[test]
fn overrides_are_bounded_in_bytes_and_those_that_exist_can_be_changed_at_the_bound() {
    let mut case = Case::new();
    let long = |n: usize| format!("{n:0>width$}", width = MAX_OVERRIDE_BYTES - 5).into_bytes();
    let room = MAX_OVERRIDE_TEXT / (MAX_OVERRIDE_BYTES + 1) - 1;
    let put = |n| Operation::put_override(&one(&long(n), OverrideRule::Deny));
    for first in (0..room).step_by(500) {
        let batch = (first..room.min(first + 500)).map(put).collect();
        assert!(case.store.commit(NOW, batch).results.iter().all(Result::is_ok));
    }
    let refused = (room..room + 5).map(put).collect();
    let last = case.store.commit(NOW, refused).results.pop().unwrap();
    assert!(matches!(last, Err(WriteError::Invalid(InvalidWrite::Overrides))), "{last:?}");
    case.commit(Operation::put_override(&one(&long(0), OverrideRule::Unlimited)));
    case.commit(Operation::delete_override(LOGIN, &long(1)));
    case.commit(put(room + 9));
    assert_eq!(rule(&mut case, &long(0)), Some(OverrideRule::Unlimited));
}
