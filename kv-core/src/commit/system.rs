//! Rows of the system namespace: joined rows, written field by field and merged field by field.
//!
//! [`Transaction::write_fields`] is how a local operation writes them: all fields that it names, under one fresh dot.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    applied::Applied,
    operation::{RemoteWrite, Written},
    read::unread,
    remote::{FOREIGN, Over},
    transaction::Transaction,
};
use crate::{
    engine::Snapshot,
    error::{InvalidWrite, ReadError, WriteError},
    tables::{self, Dots, EntryKey},
    types::{
        Change, Dot, FieldNumber, FieldValue, Found, Hlc, JoinedRow, Key, NamespaceId, OriginId,
        SystemRow, Version,
    },
};

impl<S: Snapshot> Transaction<'_, S> {
    /// Writes these fields of a row of the system namespace in one local write: they share one dot and one version,
    /// which is later than `after` and than every field that it replaces. The row's other fields stay.
    ///
    /// # Errors
    /// If the row is damaged or can't be read: its other fields would be lost. Nothing is changed then; a damaged row is
    /// noted, so that it is fetched from the other locations.
    ///
    /// # Panics
    /// If there is no field.
    pub(super) fn write_fields(
        &mut self,
        key: Key,
        fields: impl IntoIterator<Item = (FieldNumber, FieldValue)>,
        after: Option<Version>,
    ) -> Result<Written, WriteError> {
        let before = self.row(&EntryKey::new(NamespaceId::SYSTEM, &key)).map_err(|error| {
            if matches!(error, ReadError::Damaged { .. }) {
                self.view.note_damaged_row(NamespaceId::SYSTEM, &key);
            }
            unread(error)
        })?;
        self.write_fields_over(key, before, fields, after)
    }

    /// [`Transaction::write_fields`] over a row that was read. None stands for one that is damaged too, which this write
    /// repairs: it is later than every field that was in it.
    pub(super) fn write_fields_over(
        &mut self,
        key: Key,
        before: Option<Found<()>>,
        fields: impl IntoIterator<Item = (FieldNumber, FieldValue)>,
        after: Option<Version>,
    ) -> Result<Written, WriteError> {
        let fields: Vec<_> = fields.into_iter().collect();
        let [origin, _] = self.own_pair()?;
        let replaced = before.as_ref().and_then(|head| head.joined()).into_iter().flat_map(|row| {
            fields.iter().filter_map(|(number, _)| row.get(*number).map(|field| field.version))
        });
        let unread = self.unread_version(&EntryKey::new(NamespaceId::SYSTEM, &key));
        let replaced = replaced.chain(after).chain(unread).max();
        let hlc = self.next_time(replaced)?;
        Ok(self.write_fields_as((hlc, origin), key, before, fields))
    }

    /// Writes fields of a row under the next number of one of the own origins, at this time.
    ///
    /// # Panics
    /// If there is no field.
    pub(super) fn write_fields_as(
        &mut self,
        (hlc, origin): (Hlc, OriginId),
        key: Key,
        before: Option<Found<()>>,
        fields: Vec<(FieldNumber, FieldValue)>,
    ) -> Written {
        let entry = EntryKey::new(NamespaceId::SYSTEM, &key);
        let version = Version { hlc, origin };
        let dot = Dot { origin, seq: self.state.vector.get(origin) + 1 };
        let write = JoinedRow::written(version, dot.seq, fields).expect("a write has a field");
        self.state.vector.raise(origin, dot.seq);
        let found = self.put_joined(entry, before, &write);
        let found = found.listed_by(dot).expect("the write is later than what it replaces");
        self.writes.push(Change { namespace: NamespaceId::SYSTEM, key, found });
        Written { dot, version }
    }

    /// Carries out [`Operation::WriteFields`](super::Operation::WriteFields).
    pub(super) fn write_system(
        &mut self,
        key: Key,
        fields: Vec<(FieldNumber, FieldValue)>,
    ) -> Result<Written, WriteError> {
        if fields.is_empty() {
            return Err(InvalidWrite::NoFields.into());
        }
        self.write_fields(key, fields, None)
    }

    /// Joins a row of a peer into the row that is here.
    pub(super) fn apply_joined(
        &mut self,
        write: &RemoteWrite,
        row: &JoinedRow,
        over: Over,
    ) -> Result<Applied, WriteError> {
        if write.namespace != NamespaceId::SYSTEM {
            return Ok(Applied::Refused("a joined row outside of the system namespace"));
        }
        let listed = Version { hlc: write.hlc, origin: write.dot.origin };
        if row.version_at(write.dot) != Some(listed) {
            return Ok(Applied::Refused("a joined row that none of its fields is listed by"));
        }
        if row.dots().iter().any(|dot| self.is_not_made(*dot)) {
            return Ok(Applied::Refused(FOREIGN));
        }
        let entry = EntryKey::new(NamespaceId::SYSTEM, &write.key);
        if self.has_foreign_dot(&entry, row).map_err(unread)? {
            return Ok(Applied::Conflict);
        }
        let before = self.readable_head(&entry, over)?;
        let present = self.time.present;
        row.iter().for_each(|(_, field)| self.state.clock.receive(present, field.version.hlc));
        if let Some(ours) = before.as_ref().and_then(|head| head.joined())
            && !ours.as_ref().clone().join(row)
        {
            return Ok(Applied::Known);
        }
        self.put_joined(entry, before, row);
        Ok(Applied::Won { concurrent: false })
    }

    /// Whether a dot is of this store and names a write that this store has not made.
    fn is_not_made(&self, dot: Dot) -> bool {
        let own = self.state.writes_under();
        own.is_some_and(|own| own.contains(&dot.origin)) && !self.state.vector.covers(dot)
    }

    /// Whether the dot index names another row under a dot of this one. No store gives one dot to two rows, and a row
    /// that took another's place in the index would hide it from every catch-up.
    fn has_foreign_dot(&mut self, entry: &EntryKey, row: &JoinedRow) -> Result<bool, ReadError> {
        for dot in row.dots() {
            if self.state.origins.number(dot.origin).is_none() {
                continue;
            }
            let indexed = self.indexed(dot);
            let named = match tables::get::<Dots>(&self.view.snapshot, &indexed) {
                Err(ReadError::Damaged { .. }) => {
                    self.view.note_index();
                    None
                }
                named => named?,
            };
            if named.is_some_and(|named| named != *entry) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Joins fields into a row, moves its dots in the index, and puts it. Returns the row.
    pub(super) fn put_joined(
        &mut self,
        entry: EntryKey,
        before: Option<Found<()>>,
        fields: &JoinedRow,
    ) -> Found {
        let mut row = fields.clone();
        let mut old_dots = BTreeSet::new();
        if let Some(before) = &before {
            old_dots.extend(before.dots());
            if let Some(ours) = before.joined() {
                row.join(ours);
            }
        }
        let new_dots = row.dots();
        for dot in old_dots.difference(&new_dots) {
            let indexed = self.indexed(*dot);
            tables::delete::<Dots>(&mut self.batch, &indexed);
        }
        for dot in new_dots.difference(&old_dots) {
            let indexed = self.indexed(*dot);
            tables::put::<Dots>(&mut self.batch, &indexed, &entry);
        }
        let found = Found::from(row);
        self.put_row((None, entry.clone()), found.clone().with_value(()), &[]);
        if let Some(row) = found.joined() {
            self.interpret(entry.split().1, row);
        }
        found
    }

    /// Updates the registries from a row that changed.
    fn interpret(&mut self, key: &[u8], row: &JoinedRow) {
        match SystemRow::of(key, row) {
            SystemRow::Namespace(id) => self.register(id, row),
            SystemRow::Member(member) => Arc::make_mut(&mut self.state.members).insert(member),
            SystemRow::Origin(entry) => self.register_origin(entry),
            SystemRow::Token(id, token) => {
                Arc::make_mut(&mut self.state.tokens).insert(id, token);
            }
            SystemRow::Unknown => {}
        }
    }
}
