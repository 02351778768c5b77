//! A step of the demo, with a deadline for everything that it waits for.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::error::DemoError;

/// How long a step may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// A pause too short to notice.
pub(super) const SHORT: Duration = Duration::from_millis(25);

/// The pause between two checks of something that is not measured.
const BETWEEN_CHECKS: Duration = Duration::from_millis(1);

/// A step in progress.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// When the step fails.
    deadline: Instant,
}

impl Step {
    /// Begins a step.
    pub(super) fn begin() -> Step {
        Step { deadline: Instant::now() + DEADLINE }
    }

    /// Returns how much time is left.
    pub(super) fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Awaits a future until the deadline.
    pub(super) async fn within<T>(
        self,
        until: &str,
        future: impl Future<Output = Result<T, DemoError>>,
    ) -> Result<T, DemoError> {
        let timed_out = |_late| DemoError::TimedOut { until: until.to_owned() };
        timeout_at(self.deadline, future).await.map_err(timed_out)?
    }

    /// Checks a condition until it holds.
    pub(super) async fn until(
        self,
        until: &str,
        mut holds: impl AsyncFnMut() -> Result<bool, DemoError>,
    ) -> Result<(), DemoError> {
        let checking = async {
            while !holds().await? {
                sleep(BETWEEN_CHECKS).await;
            }
            Ok(())
        };
        self.within(until, checking).await
    }
}

/// Runs blocking work on a thread for such work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DemoError> + Send + 'static,
) -> Result<T, DemoError> {
    tokio::task::spawn_blocking(work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_holds_is_reported() {
        let over = Step { deadline: Instant::now() };
        let error = over.until("osaka reads it", async || Ok(false)).await.unwrap_err();
        let expected = "the demo gives up: after 30 s, still waiting until osaka reads it";
        assert_eq!(error.to_string(), expected);
    }
}
