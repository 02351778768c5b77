//! Cursors, and the pages that contain them.
#![no_main]

use kv_core::{Hlc, Key, Listed, Metadata, OriginId, Page, Version, limits::MAX_KEY_BYTES};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use waypost::api::binding::{cursor, list};

fn listed(key: &[u8], n: usize) -> Listed {
    Listed {
        key: Key::new(key).expect("a key"),
        version: Version { hlc: Hlc(1), origin: OriginId([1; 16]) },
        metadata: n.is_multiple_of(2).then(|| Metadata::new(String::from_utf8_lossy(key).into_owned()).expect("short")),
        expires_at: n.is_multiple_of(3).then_some(9),
    }
}

/// The input is a sequence of keys, each ended by a zero byte.
fn check_page(input: &[u8], complete: bool) {
    let keys: Vec<_> = input.split(|byte| *byte == 0).collect();
    let entries = keys.iter().enumerate().map(|(n, key)| listed(key, n)).collect();
    let json = list::encode(&Page { entries, complete });
    let page: Value = serde_json::from_slice(&json).expect("the page is JSON");
    assert_eq!(page["list_complete"], complete);
    let names = page["keys"].as_array().expect("the keys are an array");
    assert_eq!(names.len(), keys.len());
    for (name, key) in names.iter().zip(&keys) {
        assert_eq!(name["name"], String::from_utf8_lossy(key).as_ref());
    }
    let last = keys[keys.len() - 1];
    match page["cursor"].as_str() {
        None => assert!(complete),
        Some(cursor) => check_cursor_of(last, cursor),
    }
}

fn check_cursor_of(key: &[u8], cursor: &str) {
    match cursor::decode(cursor) {
        Ok(None) => assert!(key.is_empty()),
        Ok(Some(decoded)) => assert_eq!(decoded, key),
        Err(_) => assert!(key.len() > MAX_KEY_BYTES),
    }
}

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = str::from_utf8(input)
        && let Ok(Some(key)) = cursor::decode(text)
    {
        assert!(key.len() <= MAX_KEY_BYTES);
        assert_eq!(cursor::encode(&key), text, "two cursors decode to the same key");
    }
    check_cursor_of(input, &cursor::encode(input));
    check_page(input, input.len().is_multiple_of(2));
});
