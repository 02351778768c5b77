//! From the description of a limit to the limit.

use std::time::Duration;

use ratelimit::{Algorithm, Limit, LimitError};

use super::{period::Period, scope::Scope};

/// The longest namespace or key, in bytes.
pub const MAX_KEY_BYTES: usize = 4096;

/// Why there can be no such limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// A burst with an algorithm that has none.
    #[error("only the algorithm \"gcra\" has a burst: remove `burst`, or use \"gcra\"")]
    Burst,
    /// More than the algorithm can count.
    #[error("{0}. The algorithm \"fixed\" counts up to {max}: use that", max = u32::MAX)]
    Count(LimitError),
    /// Any other reason.
    #[error(transparent)]
    Other(LimitError),
}

/// The limit that a caller or a file describes. GCRA without a burst allows `count` at once.
///
/// # Errors
/// See [`DescribeError`].
pub fn limit(
    algorithm: Algorithm,
    count: u32,
    period: Period,
    burst: Option<u32>,
    scope: Scope,
) -> Result<Limit, DescribeError> {
    let period = Duration::from_millis(period.ms());
    let limit = match (algorithm, burst) {
        (Algorithm::Gcra, Some(burst)) => Limit::gcra(count, burst, period),
        (_, None) => Limit::new(algorithm, count, period),
        (_, Some(_)) => return Err(DescribeError::Burst),
    };
    let limit = limit.and_then(|limit| limit.global(scope.is_global()));
    limit.map_err(|error| match error {
        LimitError::Count { algorithm, .. } if algorithm != Algorithm::Fixed => {
            DescribeError::Count(error)
        }
        _ => DescribeError::Other(error),
    })
}
