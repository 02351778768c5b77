//! Which replicator takes part in the writer's work.

/// The replicator's place.
#[derive(Debug)]
pub(super) enum Replicating<R> {
    /// Nothing replicates the store.
    Nobody,
    /// A replicator, or none, takes its place with the next sync: everything committed before it begins must
    /// be durable.
    Handover(Option<R>),
    /// The replicator takes part.
    Active {
        /// The replicator.
        replicator: R,
        /// It may have something to commit.
        has_work: bool,
    },
}

impl<R> Replicating<R> {
    /// The replicator, once it has begun.
    pub(super) fn active(&mut self) -> Option<&mut R> {
        match self {
            Replicating::Active { replicator, .. } => Some(replicator),
            Replicating::Nobody | Replicating::Handover(_) => None,
        }
    }

    /// Whether a replicator has begun.
    pub(super) fn is_active(&self) -> bool {
        matches!(self, Replicating::Active { .. })
    }

    /// Whether a replicator waits for its beginning.
    pub(super) fn is_handover(&self) -> bool {
        matches!(self, Replicating::Handover(_))
    }

    /// Whether the replicator waits for a turn.
    pub(super) fn has_work(&self) -> bool {
        matches!(self, Replicating::Active { has_work: true, .. })
    }

    /// Records whether the replicator has work.
    pub(super) fn set_work(&mut self, is_there: bool) {
        if let Replicating::Active { has_work, .. } = self {
            *has_work = is_there;
        }
    }

    /// Takes the replicator, and leaves none.
    pub(super) fn take(&mut self) -> Replicating<R> {
        std::mem::replace(self, Replicating::Nobody)
    }
}
