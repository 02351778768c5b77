//! The JSON of bulk writes and base64, in pieces of any size.
#![no_main]

use std::{convert::Infallible, io::Read};

use kv_core::limits::{MAX_KEY_BYTES, MAX_METADATA_BYTES};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use waypost::api::rest::{
    Route,
    bulk::{
        read::{Pair, Sink, Stop, keys, pairs},
        value::Decoder,
    },
};

/// Returns few bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

#[derive(Default)]
struct Collected {
    value: Vec<u8>,
    pairs: Vec<(Pair, Vec<u8>)>,
}

impl Sink for Collected {
    type Error = Infallible;

    fn value(&mut self, bytes: &[u8], _base64: Option<bool>) -> Result<(), Infallible> {
        self.value.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, pair: Pair) -> Result<(), Infallible> {
        assert!(pair.key.kept.len() <= MAX_KEY_BYTES.min(pair.key.length));
        let metadata = pair.metadata.as_ref();
        assert!(metadata.is_none_or(|metadata| metadata.kept.len() <= MAX_METADATA_BYTES));
        self.pairs.push((pair, std::mem::take(&mut self.value)));
        Ok(())
    }
}

fn check_pairs(input: &[u8], size: usize) {
    let mut whole = Collected::default();
    let outcome = pairs(input, &mut whole);
    let mut slow = Collected::default();
    let again = pairs(Slow(input, size), &mut slow);
    assert_eq!(outcome.is_ok(), again.is_ok());
    assert_eq!(whole.pairs, slow.pairs);
    // What was accepted is JSON with these values.
    let Ok(Value::Array(items)) = serde_json::from_slice(input) else { return };
    if outcome != Ok(()) {
        return;
    }
    assert_eq!(items.len(), whole.pairs.len());
    for (item, (pair, value)) in items.iter().zip(&whole.pairs) {
        assert_eq!(item["value"].as_str().map(str::as_bytes), Some(&value[..]));
        let key = item["key"].as_str().expect("a key");
        assert_eq!(key.len(), pair.key.length);
        assert!(key.as_bytes().starts_with(&pair.key.kept));
    }
}

fn check_keys(input: &[u8]) {
    let mut found = Vec::new();
    let outcome: Result<(), Stop<Infallible>> = keys(input, |key| {
        found.push(key.kept);
        Ok(())
    });
    if let (Ok(()), Ok(names)) = (outcome, serde_json::from_slice::<Vec<String>>(input)) {
        let names = names.iter().map(|name| &name.as_bytes()[..name.len().min(MAX_KEY_BYTES)]);
        assert!(names.eq(found.iter().map(|key| &key[..])));
    }
}

fn check_base64(input: &[u8], size: usize) {
    let decode = |size: usize| {
        let (mut decoder, mut bytes) = (Decoder::default(), Vec::new());
        for piece in input.chunks(size) {
            bytes.extend(decoder.push(piece)?);
        }
        bytes.extend(decoder.finish()?);
        Ok::<_, waypost::api::rest::bulk::value::NotBase64>(bytes)
    };
    assert_eq!(decode(size), decode(usize::MAX));
}

fuzz_target!(|input: &[u8]| {
    let Some((size, rest)) = input.split_first() else { return };
    let size = usize::from(*size).max(1);
    check_pairs(rest, size);
    check_keys(rest);
    check_base64(rest, size);
    if let Ok(path) = str::from_utf8(rest) {
        let _endpoint = Route::of(path);
    }
});
