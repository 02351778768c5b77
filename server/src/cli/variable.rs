//! Environment variables of commands.

use std::ffi::OsString;

/// The value of an environment variable; none if it is not set, or empty.
pub(super) fn environment(variable: &str) -> Option<OsString> {
    std::env::var_os(variable).filter(|text| !text.is_empty())
}
