//! Cursors, and the pages that contain them.
#![no_main]

use kv_core::{Hlc, Key, Listed, Metadata, OriginId, Page, Version, limits::MAX_KEY_BYTES};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use waypost::{api::binding::list, kv::cursor};

fn listed(key: Key, n: usize) -> Listed {
    // With U+FFFD for each byte, a long key makes more bytes than metadata may have.
    let metadata = Metadata::new(String::from_utf8_lossy(key.as_bytes()).into_owned()).ok();
    Listed {
        key,
        version: Version { hlc: Hlc(1), origin: OriginId([1; 16]) },
        metadata: metadata.filter(|_| n.is_multiple_of(2)),
        expires_at: n.is_multiple_of(3).then_some(9),
    }
}

/// The input is a sequence of keys, separated by zero bytes. What cannot be a key is left out.
fn check_page(input: &[u8], complete: bool) {
    let keys = input.split(|byte| *byte == 0).filter_map(|key| Key::new(key).ok());
    let entries: Vec<_> = keys.enumerate().map(|(n, key)| listed(key, n)).collect();
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.clone()).collect();
    let Some(last) = keys.last() else { return };
    let json = list::encode(&Page { entries, damaged: Vec::new(), complete });
    let page: Value = serde_json::from_slice(&json).expect("the page is JSON");
    assert_eq!(page["list_complete"], complete);
    let names = page["keys"].as_array().expect("the keys are an array");
    assert_eq!(names.len(), keys.len());
    for (name, key) in names.iter().zip(&keys) {
        assert_eq!(name["name"], String::from_utf8_lossy(key.as_bytes()).as_ref());
    }
    match page["cursor"].as_str() {
        None => assert!(complete),
        Some(cursor) => check_cursor_of(last.as_bytes(), cursor),
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
