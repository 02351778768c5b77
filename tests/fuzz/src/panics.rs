//! Decides which panics are findings.
//!
//! redb panics on some damaged files, and kv-core converts those panics to errors. libFuzzer's
//! panic hook would end the process before kv-core can catch them.

use std::{
    backtrace::Backtrace,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook},
    process::abort,
    sync::{Mutex, PoisonError},
};

/// The last panic that was allowed to unwind.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Allows panics of other crates to unwind. A panic in our own code still ends the process at once,
/// even if something would catch it. Call this once, at the start.
///
/// redb 4.5 sometimes panics again during unwinding, which nothing can catch. That is not a
/// finding: the process ends without a report, and `-fork=1` continues with another one.
pub fn tolerate_others() {
    let end = take_hook();
    set_hook(Box::new(move |panic| {
        if is_ours(panic) {
            end(panic);
        }
        let text = panic.to_string();
        if text.contains("panic in a destructor during cleanup") {
            eprintln!(
                "redb panicked while it unwound from a panic, which can't be caught: run with -fork=1 to continue"
            );
            // SAFETY: `_exit` does not return, and runs no code of this process.
            unsafe { libc::_exit(0) };
        }
        // The backtrace is empty unless RUST_BACKTRACE is set.
        let from = Backtrace::capture();
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = format!("{text}\n{from}");
    }));
}

fn is_ours(panic: &PanicHookInfo<'_>) -> bool {
    panic.location().is_none_or(|location| {
        let file = location.file();
        ["kv-core/src", "server/src", "fuzz_targets/", "fuzz/src"]
            .iter()
            .any(|ours| file.contains(ours))
            || file.starts_with("src/")
    })
}

/// Runs a target. An uncaught panic ends the process, with its message.
pub fn report_escaped(target: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(target)).is_err() {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("an uncaught panic: {last}");
        abort();
    }
}
