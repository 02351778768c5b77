//! Overrides of descriptors.

use kv_core::{LimitOverride, Operation, OverrideRule, OverrideTarget, Store};

use super::*;

/// A service whose overrides are in a store.
fn site(directory: &std::path::Path) -> (Store, Site) {
    let store = Store::open(directory).expect("a store");
    let site = Site::new(TWO);
    let site = Site { rates: site.rates.with_overrides(&store), ..site };
    (store, site)
}

fn set(store: &Store, key: &str, rule: OverrideRule, expires_at: Option<u64>) {
    let target = OverrideTarget::Namespace(b"rls:d");
    let one = LimitOverride::new(target, key.as_bytes(), rule, expires_at).expect("short");
    store.submit(Operation::put_override(&one)).expect("room").wait().expect("written");
}

#[test]
fn a_descriptor_has_the_limit_of_its_override_until_it_expires() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, mut site) = site(directory.path());
    assert_eq!(site.allowed("user=a"), 2);
    let ends = store.now_ms() / 1000 + 3600;
    set(&store, "user=a,", OverrideRule::Count(5), Some(ends));
    assert_eq!(site.allowed("user=a"), 3);
    let limit = site.hit("user=a").current_limit.expect("a limit applied");
    assert_eq!(limit.requests_per_unit, 5);
    assert_eq!(site.allowed("user=b"), 2);
    // It ends by the clock of the cluster, and that of the limiter is ahead.
    site.now_ms = (ends + 3600) * 1000;
    assert_eq!(site.allowed("user=a"), 5);
    set(&store, "user=a,", OverrideRule::Count(5), Some(store.now_ms() / 1000 - 1));
    let denied = site.hit("user=a");
    assert_eq!(denied.code, OVER);
    assert_eq!(denied.current_limit.expect("a limit applied").requests_per_unit, 2);
}

#[test]
fn a_denied_descriptor_denies_its_request_and_uses_up_no_other_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, site) = site(directory.path());
    set(&store, "user=a,", OverrideRule::Deny, None);
    for _ in 0..9 {
        let response = site.decide(&request(&["user=a", "all"]));
        assert_eq!(response.overall_code, OVER);
        assert_eq!(response.statuses[0].limit_remaining, 0);
    }
    assert_eq!(site.allowed("all"), 5);
    let mut look = request(&["user=a"]);
    look.descriptors[0].hits_addend = Some(0);
    assert_eq!(site.decide(&look).overall_code, OVER);
}

#[test]
fn an_unlimited_descriptor_is_allowed_and_not_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, site) = site(directory.path());
    set(&store, "user=a,", OverrideRule::Unlimited, None);
    assert_eq!(site.allowed("user=a"), 100);
    assert_eq!(site.hit("user=a").limit_remaining, u32::MAX);
    store
        .submit(Operation::delete_override(OverrideTarget::Namespace(b"rls:d"), b"user=a,"))
        .expect("room")
        .wait()
        .expect("written");
    assert_eq!(site.allowed("user=a"), 2);
}
