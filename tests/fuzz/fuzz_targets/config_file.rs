//! The configuration file: accepted settings are within their bounds, and an error names one of the
//! file's lines.
#![no_main]

use std::{fs, path::PathBuf, process, sync::LazyLock};

use kv_core::Durability;
use libfuzzer_sys::fuzz_target;
use waypost::{
    config::{Config, ConfigError, Given},
    connection::Listen,
};

const DAY_S: u64 = 24 * 60 * 60;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("waypost-fuzz-{}.toml", process::id())));

fn check(config: &Config) {
    let settings = &config.settings;
    assert!(!config.listeners.is_empty());
    for listener in &config.listeners {
        assert!(!listener.apis.is_empty());
        assert!(listener.tls.is_none() || matches!(listener.listen, Listen::Tcp(_)));
    }
    let limits = settings.connection_limits();
    let times = [
        limits.header,
        limits.idle,
        limits.body,
        limits.response,
        settings.queue_wait.get(),
        settings.drain.get(),
        settings.drain_notice.get(),
    ];
    assert!(times.iter().all(|time| time.as_secs() <= DAY_S), "{times:?}");
    assert!(limits.header_bytes >= 8 << 10, "hyper accepts no lower limit");
    assert!((1..=65_536).contains(&settings.queue.get()));
    if let Durability::Relaxed { within } = settings.durability.0 {
        assert!((1..=u128::from(DAY_S) * 1000).contains(&within.as_millis()));
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else { return };
    fs::write(&*FILE, text).expect("the file can be written");
    match Config::load(&Given::default(), Some(&FILE)) {
        Ok(config) => check(&config),
        Err(ConfigError::Wrong { line, message, .. }) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "line {line}");
            assert!(!message.is_empty());
        }
        Err(other) => panic!("{other}"),
    }
});
