//! Rows of the dot index that can't be read.
//!
//! The index row of a write says which key it wrote, and so what a catch-up must send. It can be made again of the
//! entries, by a check of the whole index (`commit/index`), and until then nobody knows which entry it is. A walk passes
//! such a write over and notes it. It must not end without it: what was passed over is read once more at the end
//! ([`View::passed_over`]), when the check is done or another walk has to wait for it.

use super::{
    changes::{Changes, Named},
    point::View,
    scan::RowName,
    unindexed::unindexed,
};
use crate::{
    engine::Snapshot,
    error::ReadError,
    tables::{self, Dots, EntryKey, IndexedDot},
    types::{Dot, Found, VersionVector},
};

impl<S: Snapshot> View<S> {
    /// Passes over a write whose row in the index can't be read.
    ///
    /// # Errors
    /// If too many were passed over.
    pub(super) fn pass_over(&self, dot: Dot) -> Result<(), ReadError> {
        if self.damage.index.pass(dot) { Ok(()) } else { Err(unindexed()) }
    }

    /// Reads the writes that walks have passed over, as far as a vector lacks them. The end of a walk reads them, because
    /// their rows may be in the index again since.
    ///
    /// # Errors
    /// If one of them still can't be found, or the store can't be read.
    pub fn passed_over(&self, since: &VersionVector) -> Result<Changes, ReadError> {
        let mut read = Changes::default();
        let is_missing = |dot: &Dot| !since.covers(*dot);
        for dot in self.damage.index.passed().into_iter().filter(is_missing) {
            let Some(origin) = self.origins.number(dot.origin) else { continue };
            match tables::get::<Dots>(&self.snapshot, &IndexedDot { origin, seq: dot.seq }) {
                // It was overwritten, or it never was a write.
                Ok(None) => {}
                Ok(Some(entry)) => read.add(dot, self.change(dot, &entry)?),
                Err(error @ ReadError::Damaged { .. }) => {
                    self.damage.index.note();
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// Checks that the index names an entry under all of its dots, and notes it if not.
    ///
    /// # Errors
    /// If the engine can't read.
    pub fn check_indexed(
        &self,
        (namespace, key): RowName<'_>,
        found: &Found,
    ) -> Result<(), ReadError> {
        let Some(entry) = EntryKey::of(namespace, key) else { return Ok(()) };
        for dot in found.dots() {
            let Some(origin) = self.origins.number(dot.origin) else { continue };
            match tables::get::<Dots>(&self.snapshot, &IndexedDot { origin, seq: dot.seq }) {
                Ok(Some(named)) if named == entry => {}
                Ok(_) | Err(ReadError::Damaged { .. }) => self.damage.index.note(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Changes {
    /// Adds what the index names under a dot.
    pub(super) fn add(&mut self, dot: Dot, named: Named) {
        match named {
            Named::Change(change) => self.changes.push(change),
            Named::Damaged(key) => self.damaged.push(key),
            Named::Gone => self.gone.push(dot),
            Named::Replaced => {}
        }
    }
}
