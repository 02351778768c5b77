//! The body of a bulk get, and bytes that are decoded to text in pieces.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use waypost::kv::{
    bulk_get::{MAX_KEYS, Request},
    key::check_key,
    text::{Decoder, decode, push_string},
};

fn check_request(input: &[u8]) {
    let Ok(request) = Request::parse(input) else { return };
    assert!((1..=MAX_KEYS).contains(&request.keys.len()));
    assert_eq!(
        request.keys.iter().collect::<BTreeSet<_>>().len(),
        request.keys.len(),
        "a key twice"
    );
    assert!(request.keys.iter().all(|key| check_key(key).is_ok()));
    let again = json!({
        "keys": request.keys,
        "type": if request.shape.is_json { "json" } else { "text" },
        "withMetadata": request.shape.with_metadata,
        "cacheTtl": "60",
    });
    assert_eq!(Request::parse(again.to_string().as_bytes()), Ok(request));
}

/// The first bytes decide where the others are split.
fn check_pieces(input: &[u8]) {
    let Some((cuts, bytes)) = input.split_first_chunk::<3>() else { return };
    let whole = decode(bytes);
    let expected = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    assert_eq!(whole, String::from_utf8_lossy(expected));
    let (mut text, mut decoder, mut rest) = (String::new(), Decoder::default(), bytes);
    for cut in cuts {
        let (piece, behind) = rest.split_at(rest.len().min(usize::from(*cut)));
        decoder.push(piece, |part| text.push_str(part));
        rest = behind;
    }
    decoder.push(rest, |part| text.push_str(part));
    decoder.finish(|part| text.push_str(part));
    assert_eq!(text, whole, "split at {cuts:?}");

    let mut json = Vec::new();
    push_string(&mut json, &whole);
    assert_eq!(serde_json::from_slice::<String>(&json).expect("the text is a JSON string"), whole);
}

fuzz_target!(|input: &[u8]| {
    check_request(input);
    check_pieces(input);
});
