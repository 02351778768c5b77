//! The program that opens a store: its version, its features, and the formats that it reads.

use std::sync::Arc;

use super::{
    migrate::Formats,
    state::{meta_row, optional_row},
    transaction::Transaction,
};
use crate::{
    engine::Snapshot,
    error::OpenError,
    tables::{self, Format, InUse},
    types::{Features, Member, NamespaceId, SoftwareVersion},
};

/// The program that opens a store. The default is this one; tests take others, with features and formats of their own.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its version.
    pub version: SoftwareVersion,
    /// The features that it has.
    pub features: Features,
    /// The formats that it reads.
    pub formats: Formats,
}

impl Default for Program {
    fn default() -> Self {
        Program {
            version: SoftwareVersion::of_this_program(),
            features: Features::of_this_program(),
            formats: Formats::default(),
        }
    }
}

impl Program {
    /// Checks that the program has every feature that the cluster of a store uses. A store of a newer format is left
    /// to the check of its format, because the row of the features may have another layout there.
    pub(super) fn check_features(&self, snapshot: &impl Snapshot) -> Result<(), OpenError> {
        if meta_row::<Format>(snapshot)? > self.formats.newest {
            return Ok(());
        }
        let in_use = optional_row::<InUse>(snapshot)?.unwrap_or_default();
        let lacking: Vec<_> = in_use.lacking(self.features).cloned().collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(OpenError::Features { program: self.version.clone(), lacking })
    }
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Records the features that have come into use with the operations of this commit, so that they are durable with
    /// the member row that completes them. None comes into use as long as the row of a member may be missing here or
    /// can't be read: that member may lack it.
    pub(super) fn follow_features(&mut self, program: &Program) {
        let (before, now) = (self.before, &self.state);
        let is_same = Arc::ptr_eq(&before.members, &now.members)
            && Arc::ptr_eq(&before.owed, &now.owed)
            && before.is_rebuilding == now.is_rebuilding;
        if is_same || now.is_rebuilding || self.owes_member() {
            return;
        }
        let mut in_use = (*now.features).clone();
        if in_use.follow(now.members.common_features(), program.features, &program.version) {
            tables::put::<InUse>(&mut self.batch, &(), &in_use);
            self.state.features = Arc::new(in_use);
        }
    }

    /// Whether the row of a member can't be read.
    fn owes_member(&self) -> bool {
        let mut owed = self.state.owed.iter();
        owed.any(|(namespace, key, _)| {
            namespace == NamespaceId::SYSTEM && Member::id_of(key.as_bytes()).is_some()
        })
    }
}
