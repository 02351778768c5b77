//! Which panics are findings.
//!
//! redb panics where a damaged file surprises it, and kv-core makes errors of those panics. The hook
//! that libFuzzer sets ends the process at any panic, before kv-core can catch it.

use std::{
    backtrace::Backtrace,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook},
    process::abort,
    sync::{Mutex, PoisonError},
};

/// The last panic that was let through.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Lets panics of other crates unwind to whoever catches them; one in our own code still ends the
/// process at once, whoever would catch it. To be called once, at the start.
///
/// redb 4.5 sometimes panics again while it unwinds, and nobody can catch that. It is no finding of
/// ours: the process ends without a report, and `-fork=1` goes on with another.
pub fn tolerate_others() {
    let end = take_hook();
    set_hook(Box::new(move |panic| {
        if is_ours(panic) {
            end(panic);
        }
        let text = panic.to_string();
        if text.contains("panic in a destructor during cleanup") {
            eprintln!("redb panicked twice, which nobody can catch: run with -fork=1 to go on");
            // SAFETY: it does not return, and runs no code of this process.
            unsafe { libc::_exit(0) };
        }
        // Empty unless RUST_BACKTRACE is set.
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

/// Runs a target; a panic that nobody caught ends the process, with its text.
pub fn report_escaped(target: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(target)).is_err() {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("a panic that nobody caught: {last}");
        abort();
    }
}
