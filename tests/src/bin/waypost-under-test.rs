//! The `waypost` binary, for the tests: the same one line as its own `main.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    waypost::cli::run()
}
