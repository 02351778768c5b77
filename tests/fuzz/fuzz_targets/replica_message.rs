//! A message of another location.
#![no_main]

use kv_replicate::check_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _is_either = check_message(bytes);
});
