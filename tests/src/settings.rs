//! What may be asked of the tests by the environment. `tests/README.md` has the table.

use std::{fmt::Display, str::FromStr, time::Duration};

use kv_core::env::{Environment as _, SystemEnvironment};

/// How often the tests that kill the server do so: `WAYPOST_TEST_ROUNDS`, 3 by default.
#[must_use]
pub fn rounds() -> u32 {
    from_environment("WAYPOST_TEST_ROUNDS").unwrap_or(3)
}

/// Whether a client that can't be had fails its tests, instead of skipping them:
/// `WAYPOST_REQUIRE_CLIENTS=1`.
#[must_use]
pub fn clients_are_required() -> bool {
    std::env::var("WAYPOST_REQUIRE_CLIENTS").is_ok_and(|value| !matches!(&value[..], "" | "0"))
}

/// Where a test's random choices begin: `WAYPOST_TEST_SEED`, by default another one each time. The
/// test must print it when it fails.
///
/// # Panics
/// If the system has no randomness.
#[must_use]
pub fn seed() -> u64 {
    from_environment("WAYPOST_TEST_SEED").unwrap_or_else(|| {
        let id = SystemEnvironment::new().random_id().expect("the system has randomness");
        u64::from(u32::from_le_bytes([id[0], id[1], id[2], id[3]]))
    })
}

/// For how long several locations are cut, killed and written to: `WAYPOST_SOAK_SECONDS`, 10 by default.
#[must_use]
pub fn soak() -> Duration {
    Duration::from_secs(from_environment("WAYPOST_SOAK_SECONDS").unwrap_or(10))
}

/// The value of a variable, if it is set.
///
/// # Panics
/// If it is set to something else than a `T`: a misspelt number must not pass for the default.
pub fn from_environment<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    match value.parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => panic!("{name}={value}: {error}"),
    }
}
