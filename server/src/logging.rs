//! What is logged, and how a line of the log is written.

use std::{fmt, io::IsTerminal as _};

use kv_core::visible;
use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter,
    field::MakeExt as _,
    filter::ParseError,
    fmt::format::{Writer, debug_fn},
};

/// The levels of a filter, in the order of what they log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Why a text is not a filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A part of it has no level.
    #[error(
        "{0:?} is not a level, nor a part of the program with one: write error, warn, info, debug, trace or off; or a \
         level for each part, such as waypost=debug,info"
    )]
    Level(String),
    /// The syntax is wrong.
    #[error("{0}: write a level such as info, or waypost=debug,info")]
    Syntax(#[from] ParseError),
}

/// Reads a filter. Warnings and errors of the parts that it does not name are logged, unless it has a level for all.
///
/// # Errors
/// See [`FilterError`]. `tracing_subscriber` takes a word that is not a level as the name of a part, and logs nothing else.
pub fn filter(text: &str) -> Result<EnvFilter, FilterError> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    // A filter of spans may have commas and `=` in its fields.
    if !text.contains('[') {
        for part in &parts {
            let level = part.split_once('=').map_or(*part, |(_target, level)| level).trim();
            if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
                return Err(FilterError::Level((*part).to_owned()));
            }
        }
    }
    // The last directive for a part counts. h2 logs malformed paths, which may contain keys.
    Ok(EnvFilter::try_new(format!("warn,{},h2=warn", parts.join(",")))?)
}

/// Starts to log to stderr.
///
/// # Panics
/// If this process logs already.
pub fn start(filter: EnvFilter) {
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // A failed write would be reported on stderr as well, which panics if that is closed.
        .log_internal_errors(false)
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .init();
}

/// Writes the message or another field of an event. Either may contain the text of another machine, so it is escaped:
/// an event is one line, and does not act on a terminal.
fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = visible::escaped(&value);
    match field.name() {
        "message" => out.write_str(&value),
        name => write!(out, "{}={value}", name.trim_start_matches("r#")),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[test]
    fn a_filter_has_levels_that_exist() {
        for text in [
            "info",
            "INFO",
            "off",
            "waypost=debug,info",
            " warn , h2=trace",
            "waypost[span{a=b}]=debug",
        ] {
            assert!(filter(text).is_ok(), "{text}");
        }
        for text in [
            "",
            " ",
            ",",
            "verbose",
            "waypost",
            "info,verbose",
            "waypost=verbose",
            "waypost=",
            "a=b=c",
            "5",
        ] {
            let error = filter(text).map(drop).expect_err(text).to_string();
            assert!(error.contains("error, warn, info, debug, trace"), "{error}");
        }
    }

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no thread panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs what `emit` emits under a filter.
    fn logged(text: &str, emit: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(text).expect("a filter"))
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .finish();
        tracing::subscriber::with_default(subscriber, emit);
        let bytes = kept.0.lock().expect("no thread panics").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_text_from_the_network_is_escaped_in_the_log() {
        let line = logged("info", || {
            let (reason, error) = ("\u{1b}[2J\u{202e}x", io::Error::other("a\nERROR b"));
            tracing::info!(%error, count = 3, "it closed the link: {reason}");
        });
        assert_eq!(
            line,
            " INFO it closed the link: \\u{1b}[2J\\u{202e}x error=a\\nERROR b count=3\n"
        );
    }

    #[test]
    fn warnings_of_parts_that_a_filter_does_not_name_are_logged() {
        let emit = || {
            tracing::warn!("a warning");
            tracing::info!("an information");
        };
        assert_eq!(logged("elsewhere=debug", emit), " WARN a warning\n");
        assert_eq!(logged("elsewhere=debug,info", emit).lines().count(), 2);
        assert_eq!(logged("off", emit), "");
    }
}
