//! Answers the requests of a verification, from one view.

use std::ops::ControlFlow;

use kv_core::{
    Found, FoundState, Key, ReadError,
    engine::Snapshot,
    view::{RowName, Scanned, View},
};

use crate::{
    inspect::{Answer, Ask, Held, Looked, Place, Range, RangeDigest, RangeList, Reading, Summary},
    wire::{BATCH_BYTES, MAX_ROWS},
};

/// Most rows, and bytes of rows, that one digest covers: a few milliseconds, in which a snapshot may be
/// held.
const DIGEST_ROWS: usize = 2048;
/// The most bytes of rows that one digest covers.
const DIGEST_BYTES: usize = 2 << 20;

/// About how many bytes a row of a list takes beside its key.
const LISTED_BYTES: usize = 96;

/// Answers a verification's request, for [`Event::Inspected`](crate::Event::Inspected); none if the engine
/// cannot read now. It takes some milliseconds.
pub(super) fn answer<S: Snapshot>(view: &View<S>, ask: &Ask) -> Option<Answer> {
    let answered = match ask {
        Ask::Digest(range) => digest(view, range).map(Answer::Digest),
        Ask::List(range) => list(view, range).map(Answer::List),
        Ask::Rows(places) => rows(view, places).map(Answer::Rows),
    };
    answered.ok()
}

/// Computes the digest of a range, up to the bounds of one answer.
fn digest<S: Snapshot>(view: &View<S>, range: &Range) -> Result<RangeDigest, ReadError> {
    let mut hasher = blake3::Hasher::new();
    let (mut rows, mut damaged) = (0, 0);
    let budget = Budget { rows: DIGEST_ROWS, bytes: DIGEST_BYTES };
    let owed = view.owed();
    let end = walk(view, range, budget, &mut |(namespace, key), held, value| {
        match held {
            Held::Row(summary) => hasher.update(&summary.digest),
            // A digest that counts damaged rows is never taken for equal.
            Held::Damaged => {
                damaged += u32::from(owed.get(namespace, key).is_none());
                hasher.update(&namespace.0).update(key)
            }
        };
        rows += 1;
        key.len() + value
    })?;
    let digest = *hasher.finalize().as_bytes();
    let covered = Range { after: range.after.clone(), upto: end.place.clone() };
    damaged += end.nameless + count_owed(view, &covered);
    Ok(RangeDigest { end: end.place, rows, damaged, digest })
}

/// Counts the keys of a range whose rows are owed. A row here may be an earlier one, and there may be none.
fn count_owed<S: Snapshot>(view: &View<S>, range: &Range) -> u32 {
    let is_in = |namespace, key: &Key| {
        let place = Place { namespace, key: key.clone() };
        range.after.as_ref().is_none_or(|after| place > *after)
            && range.upto.as_ref().is_none_or(|upto| place <= *upto)
            && !view.namespaces().is_dropped(namespace)
    };
    let owed = view.owed().iter().filter(|(namespace, key, _)| is_in(*namespace, key));
    u32::try_from(owed.count()).unwrap_or(u32::MAX)
}

/// Lists the rows of a range, up to what one message holds.
fn list<S: Snapshot>(view: &View<S>, range: &Range) -> Result<RangeList, ReadError> {
    let mut rows = Vec::new();
    let budget = Budget { rows: MAX_ROWS, bytes: BATCH_BYTES };
    let end = walk(view, range, budget, &mut |(namespace, key), held, _| {
        rows.push((Place { namespace, key: named(key) }, held));
        LISTED_BYTES + key.len()
    })?;
    Ok(RangeList { end: end.place, rows })
}

/// Reads rows by name, with the vectors that say what their absence means.
fn rows<S: Snapshot>(view: &View<S>, places: &[Place]) -> Result<Reading, ReadError> {
    let namespaces = view.namespaces();
    let look = |place: &Place| {
        let is_owed = view.owed().get(place.namespace, &place.key).is_some();
        // Nobody misses a row of a namespace that does not exist.
        let damaged = (!namespaces.is_dropped(place.namespace)).then_some(Held::Damaged);
        let mut is_counted = true;
        let held = match view.row(place.namespace, &place.key) {
            // It may be an earlier row, or none where there is one. A rebuild removes it like any other.
            Ok(_) if is_owed && !view.is_rebuilding() => damaged,
            Ok(found) => found.map(|found| {
                is_counted = found.dots().iter().all(|dot| view.vector().covers(*dot));
                Held::Row(Summary::of(place.namespace, &place.key, &found))
            }),
            Err(ReadError::Damaged { .. }) => damaged,
            Err(error) => return Err(error),
        };
        let dropped_at = namespaces.dropped_at(place.namespace);
        Ok(Looked { is_counted, dropped_at, held })
    };
    Ok(Reading {
        rows: places.iter().map(look).collect::<Result<_, _>>()?,
        vector: view.vector().clone(),
        collected: view.collected().clone(),
        collected_upto: view.collected_upto(),
    })
}

/// The rows and bytes that a walk may still visit.
struct Budget {
    /// Rows left.
    rows: usize,
    /// Bytes left.
    bytes: usize,
}

/// Where a walk ended.
struct End {
    /// The last row that was visited, or the end of the range if the budget sufficed; none at the
    /// end of all rows.
    place: Option<Place>,
    /// Rows whose keys are not names. They have no place in the order of names and cannot be requested: they
    /// are only counted.
    nameless: u32,
}

/// Takes a row and the length of the value in it, and returns the bytes that count for it.
type Visit<'v> = &'v mut dyn FnMut(RowName<'_>, Held, usize) -> usize;

/// Visits the rows of a range until the budget is spent. What the dot index lacks of them is noted, so that it is put.
fn walk<S: Snapshot>(
    view: &View<S>,
    range: &Range,
    mut left: Budget,
    visit: Visit<'_>,
) -> Result<End, ReadError> {
    let name =
        |place: &Option<Place>| place.as_ref().map(|place| (place.namespace, place.key.clone()));
    let (after, upto) = (name(&range.after), name(&range.upto));
    let mut end = End { place: range.upto.clone(), nameless: 0 };
    let mut last: Option<Place> = None;
    let mut checked = Ok(());
    view.scan(
        after.as_ref().map(|(namespace, key)| (*namespace, &key[..])),
        upto.as_ref().map(|(namespace, key)| (*namespace, &key[..])),
        &mut |row: Scanned<'_>| {
            let Some((namespace, key)) = row.name else {
                end.nameless += 1;
                return ControlFlow::Continue(());
            };
            if left.rows == 0 || left.bytes == 0 {
                end.place = last.take();
                return ControlFlow::Break(());
            }
            left.rows -= 1;
            // Locations collect the dead rows of a namespace at different times.
            let is_dead = match &row.found {
                Ok(found) => view.namespaces().is_dead(namespace, found.version),
                Err(_) => view.namespaces().is_dropped(namespace),
            };
            if let (Ok(found), Ok(())) = (&row.found, &checked) {
                checked = view.check_indexed((namespace, key), found);
            }
            if !is_dead {
                let (held, value) = match &row.found {
                    Ok(found) => (Held::Row(Summary::of(namespace, key, found)), value_len(found)),
                    Err(_) => (Held::Damaged, 0),
                };
                let bytes = visit((namespace, key), held, value);
                left.bytes = left.bytes.saturating_sub(bytes);
            }
            if left.rows == 0 || left.bytes == 0 {
                last = Some(Place { namespace, key: named(key) });
            }
            ControlFlow::Continue(())
        },
    )?;
    checked?;
    Ok(end)
}

/// The key of a row that has a name.
fn named(key: &[u8]) -> Key {
    Key::new(key).expect("the name of a row is valid")
}

/// Returns the bytes of an inline value. Large values are not read and cost nothing.
fn value_len(found: &Found) -> usize {
    match &found.state {
        FoundState::Inline(value) => value.len(),
        _ => 0,
    }
}
