//! The target of a call: the key in its path and the options in its query.
#![no_main]

use std::collections::BTreeMap;

use http::Uri;
use kv_core::limits::{MAX_KEY_BYTES, MAX_LIST_LIMIT};
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use waypost::{
    api::binding::{
        list,
        target::{Target, is_urlencoded},
    },
    kv::{expiry, query::Query},
};

const NOW: u64 = 1_800_000_000;
/// The least time to live, in seconds.
const LEAST: u64 = 60;

fn check_key(target: &Target) {
    let path = target.path();
    assert!(path.starts_with('/'), "{path:?}");
    let Ok(key) = target.key() else { return };
    assert!((1..=MAX_KEY_BYTES).contains(&key.len()) && key != "." && key != "..");
    if is_urlencoded(target.query()) {
        assert_eq!(key.as_bytes(), percent_decode_str(&path[1..]).collect::<Vec<_>>());
    } else {
        assert_eq!(key, path[1..]);
    }
    let encoded = percent_encode(key.as_bytes(), NON_ALPHANUMERIC);
    let uri: Uri = format!("/{encoded}?urlencoded=true").parse().expect("the target is ASCII");
    assert_eq!(Target::whole(&uri).key().expect("the encoded key decodes"), key);
}

/// Compares the first value of each name with the result of the URL standard's decoder.
fn check_query(query: Query<'_>) {
    let mut first = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.0.as_bytes()) {
        first.entry(name).or_insert(value);
    }
    for (name, value) in first {
        // That decoder replaces invalid bytes, so different names may become equal.
        if !name.is_empty() && !name.contains('\u{fffd}') {
            assert_eq!(query.text(&name), Some(value), "{name:?} in {query:?}");
        }
    }
    if let Ok(Some(at)) = expiry::expires_at(query, NOW, LEAST) {
        assert!((NOW + LEAST..253_402_300_800).contains(&at));
    }
    if let Ok(request) = list::parse(query) {
        assert!((1..=MAX_LIST_LIMIT).contains(&request.limit));
        assert!(request.prefix.len() <= MAX_KEY_BYTES);
        assert!(request.after.is_none_or(|after| after.len() <= MAX_KEY_BYTES));
    }
}

fuzz_target!(|input: &[u8]| {
    if let Ok(target) = Target::of_url(input) {
        check_key(&target);
        check_query(target.query());
    }
    let Ok(uri) = Uri::try_from(input) else { return };
    if !uri.path().starts_with('/') {
        return;
    }
    let whole = Target::whole(&uri);
    check_key(&whole);
    check_query(whole.query());
    // The target after a prefix that ends with a segment, where the router splits it.
    let ends = uri.path().match_indices('/').map(|(at, _)| at).chain([uri.path().len()]);
    for end in ends {
        let target = Target::after(&uri, &uri.path()[..end]);
        let rest = &uri.path()[end..];
        assert_eq!(target.path(), if rest.is_empty() { "/" } else { rest });
        check_key(&target);
    }
    // With the origin that runtimes use, the target is the same.
    if let Some(target) = uri.path_and_query() {
        let url = format!("https://fake-host{target}");
        let wrapped = Target::of_url(url.as_bytes()).expect("the target is valid with an origin");
        assert_eq!((wrapped.path(), wrapped.query().0), (whole.path(), whole.query().0));
    }
});
