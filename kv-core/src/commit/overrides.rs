//! Overrides of rate limits: the registry of a store follows the entries of their namespace.

use std::{ops::ControlFlow, sync::Arc};

use super::{
    operation::{NewContent, Operation},
    transaction::Transaction,
};
use crate::{
    body::{NewBody, NewBodyKind},
    engine::{Snapshot, Table, visit_prefix},
    error::{InvalidWrite, OpenError, WriteError},
    tables::{EntryKey, Origins, decode_entry, split_entry},
    types::{
        Attributes, Found, FoundState, Key, LimitOverride, LimitOverrides, NamespaceId,
        OverrideTarget, Owed, OwedKeys, OwedReason,
        limits::{MAX_OVERRIDE_TEXT, MAX_OVERRIDES},
    },
};

/// How many times as many overrides as clients may create are held in memory. Locations that do not hear of each other
/// may together create more than one of them would; more than this takes a member that lies.
const TIMES_HELD: usize = 2;

impl Operation {
    /// Sets an override of a rate limit, in place of the one that its target has for its key.
    #[must_use]
    pub fn put_override(one: &LimitOverride) -> Operation {
        Operation::Put {
            namespace: NamespaceId::OVERRIDES,
            key: one.entry_key(),
            body: NewBody::inline(one.encode()),
            attributes: Attributes { metadata: None, expires_at: one.expires_at },
        }
    }

    /// Deletes the override that a target has for a key.
    #[must_use]
    pub fn delete_override(target: OverrideTarget<'_>, key: &[u8]) -> Operation {
        Operation::Delete { namespace: NamespaceId::OVERRIDES, key: target.entry_key(key) }
    }
}

impl<S: Snapshot> Transaction<'_, S> {
    /// Rejects an override if there are as many as there may be.
    pub(super) fn check_override(
        &self,
        (namespace, key): (NamespaceId, &Key),
        content: &NewContent,
    ) -> Result<(), WriteError> {
        let NewContent::Put { body, .. } = content else { return Ok(()) };
        let NewBodyKind::Inline(value) = &body.0 else { return Ok(()) };
        let all = &self.state.overrides;
        if namespace != NamespaceId::OVERRIDES || all.has_entry(key) {
            return Ok(());
        }
        if all.len() >= MAX_OVERRIDES || all.bytes() + value.len() > MAX_OVERRIDE_TEXT {
            return Err(InvalidWrite::Overrides.into());
        }
        Ok(())
    }

    /// Updates the registry from an entry that is put. `None` stands for one that is removed.
    pub(super) fn note_override(&mut self, key: &EntryKey, put: Option<(&Found<()>, &[u8])>) {
        if !key.as_bytes().starts_with(&NamespaceId::OVERRIDES.0) {
            return;
        }
        let (_, name) = key.split();
        let overrides = Arc::make_mut(&mut self.state.overrides);
        match put {
            Some((head, value)) if matches!(head.state, FoundState::Inline(())) => {
                hold(overrides, name, value, head.expires_at);
            }
            _ => overrides.remove(name),
        }
    }
}

/// Adds the override of an entry, if this program understands it.
fn hold(overrides: &mut LimitOverrides, name: &[u8], value: &[u8], expires_at: Option<u64>) {
    let Some(one) = LimitOverride::decode(name, value, expires_at) else {
        overrides.remove(name);
        return;
    };
    // What replaces another is never left out: a denial must not end because it was renewed.
    let has_room = overrides.has_entry(name)
        || overrides.len() < MAX_OVERRIDES * TIMES_HELD
            && overrides.bytes() + value.len() <= MAX_OVERRIDE_TEXT * TIMES_HELD;
    if has_room {
        overrides.insert(name, one);
    } else {
        tracing::error!(
            "there are too many overrides of rate limits, so some are not applied here: delete those that are not needed"
        );
    }
}

/// Reads the overrides of a store. A damaged one is owed, so that it is fetched from the other locations.
pub(super) fn load_overrides(
    snapshot: &impl Snapshot,
    origins: &Origins,
    owed: &mut OwedKeys,
) -> Result<LimitOverrides, OpenError> {
    let mut overrides = LimitOverrides::default();
    visit_prefix(snapshot, Table::Entries, &NamespaceId::OVERRIDES.0, &mut |key, row| {
        let Some((_, name)) = split_entry(key).ok() else { return ControlFlow::Continue(()) };
        match decode_entry((Table::Entries, key), row, origins) {
            Ok((head, value)) if matches!(head.state, FoundState::Inline(())) => {
                hold(&mut overrides, name, value, head.expires_at);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(
                    %error,
                    "an override of a rate limit is damaged: it is fetched from the other locations"
                );
                if let Ok(name) = Key::new(name) {
                    let how = Owed { since_ms: 0, reason: OwedReason::Row, dot: None };
                    let before = owed.get(NamespaceId::OVERRIDES, &name);
                    let how = before.map_or(how, |before| before.and(how));
                    owed.set(NamespaceId::OVERRIDES, name, how);
                }
            }
        }
        ControlFlow::Continue(())
    })
    .map_err(OpenError::Engine)?;
    Ok(overrides)
}
