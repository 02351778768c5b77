//! Violations of the store's rules.

use std::fmt;

/// A violated rule, or a read that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A rule is violated.
    Wrong(String),
    /// A read failed, which is wrong only if the disk did not fail.
    Unread(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Violation::Wrong(what) | Violation::Unread(what)) = self;
        f.write_str(what)
    }
}

impl std::error::Error for Violation {}

/// The result of a check.
pub type Checked<T = ()> = Result<T, Violation>;

/// Returns a [`Violation`] if a condition does not hold.
#[macro_export]
macro_rules! hold {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::violation::Violation::Wrong(format!($($what)+)));
        }
    };
}

/// Adds a description of the operation to an error that must not occur.
pub trait During<T> {
    /// Converts an error that must not occur.
    ///
    /// # Errors
    /// The error, as [`Violation::Wrong`].
    fn during(self, what: &str) -> Checked<T>;

    /// Converts an error that a failing disk may cause.
    ///
    /// # Errors
    /// The error, as [`Violation::Unread`].
    fn reading(self, what: &str) -> Checked<T>;
}

impl<T, E: fmt::Display> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Checked<T> {
        self.map_err(|error| Violation::Wrong(format!("{what}: {error}")))
    }

    fn reading(self, what: &str) -> Checked<T> {
        self.map_err(|error| Violation::Unread(format!("{what}: {error}")))
    }
}
