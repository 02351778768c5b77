//! The JSON of `/v1/namespaces`: requests, which the server reads, and responses, which the command
//! line reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use waypost::{
    api::namespaces::{NamespaceInfo, NamespaceList, NewNamespace, NewTitle},
    http::problem::Problem,
};

/// Checks that what was read is written as JSON that reads as the same value.
fn check<T: Serialize + DeserializeOwned>(input: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(input) else { return };
    let written = serde_json::to_vec(&read).expect("the value has a JSON form");
    let again: T = serde_json::from_slice(&written).expect("written JSON can be read");
    assert_eq!(serde_json::to_vec(&again).expect("the value has a JSON form"), written);
}

fuzz_target!(|input: &[u8]| {
    check::<NewNamespace>(input);
    check::<NewTitle>(input);
    check::<NamespaceInfo>(input);
    check::<NamespaceList>(input);
    check::<Problem>(input);
});
