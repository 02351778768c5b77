//! What locations send each other of global limits: no bytes cause a panic, take more than the memory that they may, or
//! make a location allow more than its own limit.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ratelimit::{Limit, Limiter, ManualClock, Request, StateCursor};

const NOW_MS: u64 = 1_800_000_000_000;
const MEMORY: usize = 64 << 10;

fn limiter() -> Limiter<ManualClock> {
    let builder = Limiter::builder().memory_bytes(MEMORY).secret([7; 16]).global([9; 16]);
    builder.clock(ManualClock::at(NOW_MS)).build().expect("the system has random bytes")
}

fuzz_target!(|data: &[u8]| {
    let (one, other) = (limiter(), limiter());
    let limit = Limit::sliding(3, Duration::from_secs(10)).and_then(|limit| limit.global(true));
    let request = Request::new("n", "key", limit.expect("within bounds"));
    let mut allowed = 0;
    for step in 0..3 {
        let now = NOW_MS + step * 20;
        let _merged = one.merge_usage_at(now, data);
        allowed += u32::from(one.check_at(now, &request).allowed);
        allowed += u32::from(one.check_at(now, &request).allowed);
        for piece in one.global_changes_at(now, 3) {
            other.merge_usage_at(now, &piece).expect("a piece that was made can be read");
        }
    }
    assert!(allowed <= 3, "more than the limit");
    // All that was taken over, or what of it fits.
    let mut cursor = StateCursor::default();
    while let Some(pieces) = one.global_state(&mut cursor) {
        for piece in pieces {
            other.merge_usage_at(NOW_MS + 60, &piece).expect("a piece that was made can be read");
        }
    }
    assert!(other.global_stats().keys <= (MEMORY / 100) as u64, "more keys than fit");
    other.reset(&request);
});
