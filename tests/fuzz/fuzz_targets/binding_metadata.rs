//! Metadata, parsed from a header and encoded into one.
#![no_main]

use kv_core::limits::MAX_METADATA_BYTES;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use waypost::api::binding::metadata::{header, parse};

fuzz_target!(|input: &[u8]| {
    // Any metadata that an embedding program stored can be encoded as a header.
    let any = header(&String::from_utf8_lossy(input));
    assert!(any.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));

    let Ok(text) = parse(input) else { return };
    assert!(text.len() <= MAX_METADATA_BYTES);
    let header = header(&text);
    assert!(header.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));
    // The header has the same value, if it is JSON that serde_json can represent.
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        let read: Value = serde_json::from_slice(header.as_bytes()).expect("the header is JSON");
        assert_eq!(read, value);
    }
    if header.len() <= MAX_METADATA_BYTES {
        assert_eq!(
            parse(header.as_bytes()).as_deref(),
            Ok(header.to_str().expect("the header is ASCII"))
        );
    }
});
