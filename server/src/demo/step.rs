//! A step of the demo: what it waits for must come before its deadline.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::DemoError;

/// How long a step may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// A while that nobody notices.
pub(super) const SHORT: Duration = Duration::from_millis(25);

/// Between two looks at what is not measured.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// A step that has begun.
#[derive(Clone, Copy)]
pub(super) struct Step {
    ends: Instant,
}

impl Step {
    /// Begins one.
    pub(super) fn begin() -> Step {
        Step { ends: Instant::now() + DEADLINE }
    }

    /// How much time is left.
    pub(super) fn left(self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// What a future comes to, if that is in time.
    pub(super) async fn within<T>(
        self,
        what: &str,
        future: impl Future<Output = Result<T, DemoError>>,
    ) -> Result<T, DemoError> {
        let in_vain = |_late| DemoError::InVain { what: what.to_owned() };
        timeout_at(self.ends, future).await.map_err(in_vain)?
    }

    /// Looks until it is so.
    pub(super) async fn until(
        self,
        what: &str,
        mut is_so: impl AsyncFnMut() -> Result<bool, DemoError>,
    ) -> Result<(), DemoError> {
        let looking = async {
            while !is_so().await? {
                sleep(BETWEEN_LOOKS).await;
            }
            Ok(())
        };
        self.within(what, looking).await
    }
}

/// Runs what blocks, on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DemoError> + Send + 'static,
) -> Result<T, DemoError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| DemoError::System(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_happen_is_told() {
        let over = Step { ends: Instant::now() };
        let error = over.until("osaka reads it", async || Ok(false)).await.unwrap_err();
        let told = "the demo gives up: within 30 s it did not happen that osaka reads it";
        assert_eq!(error.to_string(), told);
    }
}
