//! A rule of the store that was found broken.

use std::fmt;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Something is not as it must be.
    Wrong(String),
    /// Something could not be read: wrong only if the disk did not fail.
    Unread(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Violation::Wrong(what) | Violation::Unread(what)) = self;
        f.write_str(what)
    }
}

impl std::error::Error for Violation {}

/// What a check answers.
pub type Checked<T = ()> = Result<T, Violation>;

/// Answers a [`Violation`] if something does not hold.
#[macro_export]
macro_rules! hold {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::violation::Violation::Wrong(format!($($what)+)));
        }
    };
}

/// Names what was being done when an error came that must not come.
pub trait During<T> {
    /// See [`During`].
    ///
    /// # Errors
    /// The same, as a violation.
    fn during(self, what: &str) -> Checked<T>;

    /// The same for an error that a failing disk may cause.
    ///
    /// # Errors
    /// The same, as [`Violation::Unread`].
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
