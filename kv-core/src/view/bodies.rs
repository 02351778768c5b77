//! The large bodies of an examination, compared with the entries that refer to them: so many at a time that their memory is
//! bounded, by rising ids.

use std::ops::ControlFlow;

use crate::types::BodyId;

/// What is stored of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    /// Its id.
    pub(super) body: BodyId,
    /// The bytes of all chunks.
    pub(super) bytes: u64,
    /// How many chunks there are from the first one on without a gap.
    whole: u32,
    /// Whether something refers to it.
    is_used: bool,
}

/// The bodies of a range of ids: all of which a chunk is stored, up to a number of them.
#[derive(Debug)]
pub(super) struct Bodies {
    /// The first id of the range.
    from: BodyId,
    /// The first id behind the range; none if it is the last one.
    until: Option<BodyId>,
    /// The most bodies of the range.
    most: usize,
    /// What is stored of each, by rising ids.
    stored: Vec<Stored>,
}

impl Bodies {
    /// Creates a range that begins with an id, for at most so many bodies.
    pub(super) fn from(from: BodyId, most: usize) -> Bodies {
        Bodies { from, until: None, most, stored: Vec::new() }
    }

    /// Returns the first id of the range.
    pub(super) fn first(&self) -> BodyId {
        self.from
    }

    /// Returns the first id behind the range; none if it is the last one.
    pub(super) fn next(&self) -> Option<BodyId> {
        self.until
    }

    /// Adds a chunk, by rising ids of bodies and numbers of chunks. Breaks if it belongs to the next range.
    pub(super) fn add(
        &mut self,
        (body, index): (BodyId, u32),
        bytes: u64,
        is_readable: bool,
    ) -> ControlFlow<()> {
        if self.stored.last().is_none_or(|last| last.body != body) {
            if self.stored.len() >= self.most {
                self.until = Some(body);
                return ControlFlow::Break(());
            }
            self.stored.push(Stored { body, bytes: 0, whole: 0, is_used: false });
        }
        if let Some(stored) = self.stored.last_mut() {
            stored.bytes += bytes;
            stored.whole += u32::from(is_readable && stored.whole == index);
        }
        ControlFlow::Continue(())
    }

    /// Something refers to a body. Returns how many of its chunks there are without a gap; none if it is of another range.
    pub(super) fn refer(&mut self, body: BodyId) -> Option<u32> {
        if body < self.from || self.until.is_some_and(|until| body >= until) {
            return None;
        }
        let Ok(at) = self.stored.binary_search_by_key(&body, |stored| stored.body) else {
            return Some(0);
        };
        self.stored[at].is_used = true;
        Some(self.stored[at].whole)
    }

    /// Returns the bodies that nothing refers to.
    pub(super) fn unused(&self) -> impl Iterator<Item = &Stored> {
        self.stored.iter().filter(|stored| !stored.is_used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_before_the_first_body_that_it_has_no_room_for() {
        let mut bodies = Bodies::from(BodyId(3), 2);
        for (body, index, is_readable) in
            [(4, 0, true), (4, 1, true), (7, 0, true), (7, 1, false), (7, 2, true)]
        {
            assert!(bodies.add((BodyId(body), index), 10, is_readable).is_continue());
        }
        assert!(bodies.add((BodyId(9), 0), 10, true).is_break());
        assert_eq!((bodies.first(), bodies.next()), (BodyId(3), Some(BodyId(9))));
        let whole = [2, 3, 4, 5, 9].map(|body| bodies.refer(BodyId(body)));
        assert_eq!(whole, [None, Some(0), Some(2), Some(0), None]);
        let unused: Vec<_> = bodies.unused().map(|stored| (stored.body, stored.bytes)).collect();
        assert_eq!(unused, [(BodyId(7), 30)]);
        bodies.refer(BodyId(7));
        assert_eq!((bodies.refer(BodyId(7)), bodies.unused().count()), (Some(1), 0));
    }
}
