//! The settings of the tests, from environment variables. `tests/README.md` has the table.

use std::{fmt::Display, str::FromStr, time::Duration};

use kv_core::env::{Environment as _, SystemEnvironment};

/// How often a test kills the server: `WAYPOST_TEST_ROUNDS`, 3 by default.
#[must_use]
pub fn rounds() -> u32 {
    from_environment("WAYPOST_TEST_ROUNDS").unwrap_or(3)
}

/// Whether a missing client fails its tests instead of skipping them: `WAYPOST_REQUIRE_CLIENTS=1`.
#[must_use]
pub fn clients_are_required() -> bool {
    std::env::var("WAYPOST_REQUIRE_CLIENTS").is_ok_and(|value| !matches!(&value[..], "" | "0"))
}

/// The seed of a test's random choices: `WAYPOST_TEST_SEED`, by default a new one in each run. The
/// test must print it when it fails.
///
/// # Panics
/// If the system has no source of randomness.
#[must_use]
pub fn seed() -> u64 {
    from_environment("WAYPOST_TEST_SEED").unwrap_or_else(|| {
        let id =
            SystemEnvironment::new().random_id().expect("the system has a source of randomness");
        u64::from(u32::from_le_bytes([id[0], id[1], id[2], id[3]]))
    })
}

/// How long the soak test of five locations lasts: `WAYPOST_SOAK_SECONDS`, 10 by default.
#[must_use]
pub fn soak() -> Duration {
    Duration::from_secs(from_environment("WAYPOST_SOAK_SECONDS").unwrap_or(10))
}

/// The value of a variable, if it is set.
///
/// # Panics
/// If the value does not parse: a mistyped number must not silently mean the default.
pub fn from_environment<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    match value.parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => panic!("{name}={value}: {error}"),
    }
}
