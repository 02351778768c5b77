//! Error responses: whatever text of the caller they contain, the reason phrase is a line of
//! printable ASCII.
#![no_main]

use http::{Method, StatusCode};
use hyper::ext::ReasonPhrase;
use libfuzzer_sys::fuzz_target;
use waypost::{
    api::binding::refusal::{Refusal, phrase},
    kv::Invalid,
};

const MAX_PHRASE_BYTES: usize = 512;

fn check(refusal: Refusal, with_body: bool) {
    let (status, text) = (refusal.status, refusal.text.clone());
    assert!(status.is_client_error() || status.is_server_error());
    let response = refusal.into_response(with_body);
    let reason =
        response.extensions().get::<ReasonPhrase>().expect("an error response has a reason phrase");
    let reason = reason.as_bytes();
    assert!(reason.len() <= MAX_PHRASE_BYTES);
    assert!(reason.iter().all(|byte| (b' '..=b'~').contains(byte)), "{reason:?}");
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_plain {
        assert_eq!(reason, &text.as_bytes()[..text.len().min(MAX_PHRASE_BYTES)]);
    }
    // The text of an escaped phrase can be recovered.
    let quoted = [b"\"", reason, b"\""].concat();
    if !text.contains(['"', '\\']) {
        let read: String = serde_json::from_slice(&quoted).expect("the escapes are JSON escapes");
        assert!(text.starts_with(&read), "{read:?} of {text:?}");
    }
}

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let with_body = input.len().is_multiple_of(2);
    check(Refusal::new(StatusCode::BAD_REQUEST, text.clone().into_owned()), with_body);
    check(Refusal::unknown_namespace(&text, with_body), with_body);
    check(Invalid::key_too_long(input.len()).into(), with_body);
    if let Ok(method) = Method::from_bytes(input) {
        check(Refusal::method(&method, "GET"), with_body);
    }
    assert!(phrase(&text).as_bytes().len() <= MAX_PHRASE_BYTES);
});
