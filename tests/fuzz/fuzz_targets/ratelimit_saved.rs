//! Counters that were saved by a clean stop: damaged ones are rejected, and unusual ones do no
//! harm.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ratelimit::{Algorithm, Builder, Limit, Limiter, ManualClock, Request};

const NOW_MS: u64 = 1_800_000_000_000;
const SETS: usize = 8;

/// The bytes before a piece's counters. The number of counters follows.
const HEADER_BYTES: usize = 56;
const COUNT_AT: usize = 12;
const COUNTER_BYTES: usize = 24;

fn builder(sets: usize) -> Builder<ManualClock> {
    Limiter::builder().memory_bytes(sets * 128).secret([7; 16]).clock(ManualClock::at(NOW_MS))
}

/// The only piece that an empty limiter saves, with an undamaged header.
static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let limiter = builder(SETS).build().expect("a limiter without random keys can be built");
    let pieces: Vec<Vec<u8>> = limiter.save().collect();
    pieces.concat()
});

fn use_it(limiter: &Limiter<ManualClock>) {
    for algorithm in [Algorithm::Sliding, Algorithm::Fixed, Algorithm::Gcra] {
        for period in [1, 10_000, 60_000] {
            let period = std::time::Duration::from_millis(period);
            let limit = Limit::new(algorithm, 3, period).expect("the limit is valid");
            for key in 0..4u8 {
                let name = [key];
                let request = Request::new(b"n", &name, limit);
                let passed = (0..5).filter(|_| limiter.check(&request).allowed).count();
                assert!(passed <= 3, "{algorithm}: more than the limit");
                limiter.refund(&request);
                limiter.reset(&request);
                assert!(limiter.peek(&request).allowed);
            }
        }
    }
    let _stats = limiter.stats();
}

fn check(pieces: &[Vec<u8>]) {
    for sets in [1, SETS, 64] {
        let Ok(limiter) = builder(sets).restore(pieces) else { continue };
        let again = builder(sets).restore(limiter.save());
        again.expect("a limiter can restore what it saved");
        use_it(&limiter);
    }
}

/// A piece with these counters and a correct checksum.
fn sealed(counters: &[u8]) -> Vec<u8> {
    let counters = counters.chunks_exact(COUNTER_BYTES);
    let count = u32::try_from(counters.len()).expect("the length of an input fits");
    let mut piece = EMPTY[..HEADER_BYTES].to_vec();
    piece[COUNT_AT..COUNT_AT + 4].copy_from_slice(&count.to_le_bytes());
    counters.for_each(|counter| piece.extend_from_slice(counter));
    piece.extend_from_slice(&crc32c::crc32c(&piece).to_le_bytes());
    piece
}

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let (first, second) = bytes.split_at(bytes.len().min(usize::from(*cut)));
    check(&[first.to_vec(), second.to_vec()]);
    let sound = sealed(bytes);
    check(std::slice::from_ref(&sound));
    let mut damaged = sound;
    let at = usize::from(*cut) % damaged.len();
    damaged[at] ^= 1;
    assert!(builder(SETS).restore([damaged]).is_err(), "the damage of byte {at} is not detected");
});
