//! How far this location is in its cluster: what its doors may let through.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use kv_core::WriteError;
use kv_replicate::quic::{AskError, Status};

use super::progress;

/// What the replica last said of this location, for doors that ask at each request.
///
/// The replica's answers can overtake each other, so nothing here goes back: who has joined has, and who
/// replicates no more does not do so again before the next start.
#[derive(Debug)]
pub struct Standing {
    is_joined: AtomicBool,
    /// It has joined, and replicates.
    takes_writes: AtomicBool,
    hindrance: Mutex<Hindrance>,
}

/// What keeps it from taking part, in words; empty if nothing does.
#[derive(Debug)]
struct Hindrance {
    stage: Stage,
    why: String,
}

/// In the order in which a location comes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Joining,
    TakesPart,
    /// It replicates no more, until it is started again.
    Over,
}

impl Standing {
    /// That of a location of which nothing is known yet.
    #[must_use]
    pub fn new() -> Standing {
        let (is_joined, takes_writes) = (AtomicBool::new(false), AtomicBool::new(false));
        let hindrance = Hindrance { stage: Stage::Joining, why: JOINING.into() };
        Standing { is_joined, takes_writes, hindrance: Mutex::new(hindrance) }
    }

    /// Whether it has all that its first source had.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.is_joined.load(Ordering::Acquire)
    }

    /// Why this location should get no traffic, if so: it is joining, or replicates no more.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        Some(self.hindrance().why.clone()).filter(|why| !why.is_empty())
    }

    /// Why it replicates no more, if so.
    #[must_use]
    pub fn over(&self) -> Option<String> {
        let hindrance = self.hindrance();
        (hindrance.stage == Stage::Over).then(|| hindrance.why.clone())
    }

    /// See [`super::Membership::check_write`].
    ///
    /// # Errors
    /// [`WriteError::ReadOnly`].
    pub fn check_write(&self) -> Result<(), WriteError> {
        if self.takes_writes.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(WriteError::ReadOnly(self.unready().unwrap_or_else(|| JOINING.into())))
    }

    /// Takes note of what the replica answered.
    pub fn note(&self, asked: &Result<Status, AskError>) {
        match asked {
            Err(_ended) => {
                self.reach(Stage::Over, "replication has ended: start the server again".into());
            }
            Ok(Status { halted: Some(why), .. }) => self.halted(why),
            Ok(status) if status.is_joined => {
                self.is_joined.store(true, Ordering::Release);
                self.reach(Stage::TakesPart, String::new());
            }
            Ok(status) => self.reach(Stage::Joining, format!("{JOINING}: {}", progress(status))),
        }
    }

    /// The replica halted: from now on a write would go nowhere.
    pub fn halted(&self, why: impl std::fmt::Display) {
        self.reach(Stage::Over, format!("it replicates no more: {why}"));
    }

    fn reach(&self, stage: Stage, why: String) {
        let mut hindrance = self.hindrance();
        // Of two reasons for the end, the first is the one that says what to do.
        if stage < hindrance.stage || hindrance.stage == Stage::Over {
            return;
        }
        *hindrance = Hindrance { stage, why };
        self.takes_writes.store(stage == Stage::TakesPart, Ordering::Release);
    }

    fn hindrance(&self) -> MutexGuard<'_, Hindrance> {
        self.hindrance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Standing {
    fn default() -> Self {
        Standing::new()
    }
}

const JOINING: &str = "this location is joining its cluster";

#[cfg(test)]
mod tests {
    use kv_replicate::HaltReason;

    use super::*;

    fn status(is_joined: bool, halted: Option<HaltReason>) -> Result<Status, AskError> {
        let mut status = Status::default();
        (status.is_joined, status.halted) = (is_joined, halted);
        Ok(status)
    }

    #[test]
    fn who_has_joined_takes_writes_also_if_an_older_answer_comes_late() {
        let standing = Standing::new();
        assert!(standing.check_write().is_err() && standing.unready().is_some());
        standing.note(&status(false, None));
        assert!(!standing.is_joined() && standing.check_write().is_err());
        standing.note(&status(true, None));
        standing.note(&status(false, None));
        assert!(standing.is_joined());
        assert_eq!((standing.check_write(), standing.unready()), (Ok(()), None));
    }

    #[test]
    fn who_replicates_no_more_takes_no_writes_whatever_answer_comes_late() {
        let standing = Standing::new();
        standing.note(&status(true, None));
        standing.halted("of a test");
        for late in [status(true, None), status(false, None), Err(AskError::Closed)] {
            standing.note(&late);
            let refused = standing.check_write().unwrap_err().to_string();
            assert!(refused.contains("replicates no more: of a test"), "{refused}");
        }
        assert_eq!(standing.over(), standing.unready());
        assert!(standing.is_joined(), "it had");
    }
}
