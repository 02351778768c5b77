//! The form of a put.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use waypost::{
    api::rest::multipart::{Sink, boundary, read},
    http::{RequestBody, incoming::Incoming},
    kv::{KvError, metadata::is_json},
};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("the runtime starts"));

struct Collected(Vec<u8>);

impl Sink for Collected {
    async fn push(&mut self, bytes: &[u8]) -> Result<(), KvError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn parse(form: Vec<u8>, boundary: &str) -> Option<(Vec<u8>, Option<Box<str>>)> {
    let body = RequestBody::from(Bytes::from(form));
    let mut body = Incoming::new(body, &HeaderMap::new());
    let mut value = Collected(Vec::new());
    let metadata = RUNTIME.block_on(read(&mut body, boundary.to_owned(), &mut value)).ok()?;
    assert!(metadata.as_deref().is_none_or(is_json));
    Some((value.0, metadata))
}

fuzz_target!(|input: &[u8]| {
    if let Ok(kind) = HeaderValue::from_bytes(input) {
        let headers: HeaderMap = [(header::CONTENT_TYPE, kind)].into_iter().collect();
        let _boundary = boundary(&headers);
    }
    parse(input.to_vec(), "x");
    // A value arrives as it was sent, unless it contains the boundary.
    if !input.windows(5).any(|part| part == b"\r\n--x") {
        let head = b"--x\r\nContent-Disposition: form-data; name=\"value\"\r\n\r\n";
        let form = [head, input, b"\r\n--x--\r\n"].concat();
        assert_eq!(parse(form, "x"), Some((input.to_vec(), None)));
    }
});
