//! Whether this location may serve traffic and accept writes, as its replica last reported.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use kv_core::WriteError;
use kv_replicate::quic::{QueryError, Status};

use super::progress::progress;

/// Whether this location may serve traffic and accept writes; APIs check it for each request.
///
/// The replica's reports can overtake each other, so the state only moves forward: a location that has
/// joined stays joined, and one that has stopped replicating does not resume before the next start.
#[derive(Debug)]
pub struct Readiness {
    /// The location has everything that its first source had.
    is_joined: AtomicBool,
    /// The stage is [`Stage::Active`].
    accepts_writes: AtomicBool,
    /// The stage, with its text for `/readyz`.
    stage: Mutex<Stage>,
}

/// The stages of a location, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// It does not have everything yet; with the progress.
    Joining(String),
    /// It replicates.
    Active,
    /// It has stopped replicating, until the next start; with the reason.
    Halted(String),
}

impl Stage {
    /// Whether another stage may follow this one.
    fn may_become(&self, next: &Stage) -> bool {
        match (self, next) {
            (Stage::Joining(_), _) | (Stage::Active, Stage::Halted(_)) => true,
            // Of two reasons, the first is the one that the operator can act on.
            (Stage::Active | Stage::Halted(_), _) => false,
        }
    }
}

impl Readiness {
    /// Creates that of a location whose replica has not reported yet.
    #[must_use]
    pub fn new() -> Readiness {
        let (is_joined, accepts_writes) = (AtomicBool::new(false), AtomicBool::new(false));
        let stage = Mutex::new(Stage::Joining(JOINING.into()));
        Readiness { is_joined, accepts_writes, stage }
    }

    /// Whether the location has everything that its first source had.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.is_joined.load(Ordering::Acquire)
    }

    /// Returns why this location should get no traffic: it is joining, or has stopped replicating. None
    /// if it should.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        match &*self.stage() {
            Stage::Active => None,
            Stage::Joining(reason) => Some(reason.clone()),
            Stage::Halted(reason) => Some(halted(reason)),
        }
    }

    /// Returns why it has stopped replicating, if it has.
    #[must_use]
    pub fn halt_reason(&self) -> Option<String> {
        match &*self.stage() {
            Stage::Halted(reason) => Some(reason.clone()),
            Stage::Joining(_) | Stage::Active => None,
        }
    }

    /// See [`super::Membership::check_write`].
    ///
    /// # Errors
    /// [`WriteError::ReadOnly`].
    pub fn check_write(&self) -> Result<(), WriteError> {
        if self.accepts_writes.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(WriteError::ReadOnly(self.unready().unwrap_or_else(|| JOINING.into())))
    }

    /// Updates the state from a report of the replica.
    pub fn observe(&self, report: &Result<Status, QueryError>) {
        match report {
            Err(_ended) => self.halt("the replica has ended; restart the server"),
            Ok(Status { halted: Some(reason), .. }) => self.halt(&reason.to_string()),
            Ok(status) if status.is_joined => {
                self.is_joined.store(true, Ordering::Release);
                self.advance(Stage::Active);
            }
            Ok(status) => {
                self.advance(Stage::Joining(format!(
                    "{JOINING}: {}",
                    progress(status, |id| id.to_string())
                )));
            }
        }
    }

    /// Records that the replica has halted: from now on a write would reach no other location.
    pub fn halt(&self, reason: &str) {
        self.advance(Stage::Halted(reason.to_owned()));
    }

    /// Moves to another stage, if that may follow the current one.
    fn advance(&self, next: Stage) {
        let mut stage = self.stage();
        if stage.may_become(&next) {
            self.accepts_writes.store(next == Stage::Active, Ordering::Release);
            *stage = next;
        }
    }

    /// Locks the stage.
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Readiness::new()
    }
}

/// The text of `/readyz` before the first report of the replica.
const JOINING: &str = "this location is joining its cluster";

/// The text of `/readyz` at a location that no longer replicates.
fn halted(reason: &str) -> String {
    format!("this location has stopped replicating: {reason}")
}

#[cfg(test)]
mod tests {
    use kv_replicate::HaltReason;

    use super::*;

    fn status(is_joined: bool, halted: Option<HaltReason>) -> Result<Status, QueryError> {
        let mut status = Status::default();
        (status.is_joined, status.halted) = (is_joined, halted);
        Ok(status)
    }

    #[test]
    fn a_joined_location_accepts_writes_even_if_an_older_report_arrives_late() {
        let readiness = Readiness::new();
        assert!(readiness.check_write().is_err() && readiness.unready().is_some());
        readiness.observe(&status(false, None));
        assert!(!readiness.is_joined() && readiness.check_write().is_err());
        readiness.observe(&status(true, None));
        readiness.observe(&status(false, None));
        assert!(readiness.is_joined());
        assert_eq!((readiness.check_write(), readiness.unready()), (Ok(()), None));
    }

    #[test]
    fn a_halted_location_rejects_writes_whatever_report_arrives_late() {
        let readiness = Readiness::new();
        readiness.observe(&status(true, None));
        readiness.halt("of a test");
        for late in [status(true, None), status(false, None), Err(QueryError::Closed)] {
            readiness.observe(&late);
            let rejected = readiness.check_write().unwrap_err().to_string();
            assert!(rejected.contains("stopped replicating: of a test"), "{rejected}");
        }
        assert_eq!(readiness.halt_reason().as_deref(), Some("of a test"));
        assert!(readiness.is_joined(), "it had joined before");
    }
}
