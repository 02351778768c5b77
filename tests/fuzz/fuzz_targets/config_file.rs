//! The configuration file: accepted settings are within their bounds, and an error names one of the
//! file's lines.
#![no_main]

use std::{fs, path::PathBuf, process, sync::LazyLock};

use kv_core::Durability;
use libfuzzer_sys::fuzz_target;
use waypost::config::{Config, ConfigError, Listen, Settings};

const DAY_S: u64 = 24 * 60 * 60;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("waypost-fuzz-{}.toml", process::id())));

fn check(config: &Config) {
    if let Listen::Tcp(address) = &config.listen {
        assert!(address.ip().is_loopback(), "{address} is not a loopback address");
    }
    let limits = &config.limits;
    let times = [
        limits.header,
        limits.idle,
        limits.body,
        limits.response,
        config.queue_wait,
        config.drain,
        config.drain_notice,
    ];
    assert!(times.iter().all(|time| time.as_secs() <= DAY_S), "{times:?}");
    assert!(limits.header_bytes >= 8 << 10, "hyper accepts no lower limit");
    assert!((1..=65_536).contains(&config.queue));
    if let Durability::Relaxed { within } = config.durability {
        assert!((1..=u128::from(DAY_S) * 1000).contains(&within.as_millis()));
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else { return };
    fs::write(&*FILE, text).expect("the file can be written");
    match Config::load(Settings::default(), Some(&FILE)) {
        Ok(config) => check(&config),
        Err(ConfigError::Wrong { line, message, .. }) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "line {line}");
            assert!(!message.is_empty());
        }
        Err(other) => panic!("{other}"),
    }
});
