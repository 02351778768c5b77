//! The newest writes of one of this store's origins, in memory for all peers.
//!
//! Sequence numbers are dense, so a place in the backlog is a sequence number. The backlog is only a cache:
//! a peer that needs older writes catches up from the dot index.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::BATCH_BYTES;

/// The newest rows of an origin, encoded.
#[derive(Debug)]
pub(super) struct Backlog {
    /// The sequence number of the first row here, or of the next one if there is none.
    first: u64,
    /// The encoded rows, by rising sequence number, without a gap.
    rows: VecDeque<Bytes>,
    /// The bytes of all rows.
    bytes: usize,
    /// The most bytes to keep. The oldest rows are dropped beyond it.
    capacity: usize,
}

impl Backlog {
    /// Creates an empty backlog of at most `capacity` bytes, whose first row will be the one after `last`.
    pub(super) fn new(last: u64, capacity: usize) -> Backlog {
        Backlog { first: last + 1, rows: VecDeque::new(), bytes: 0, capacity }
    }

    /// The sequence number of the row that comes next.
    pub(super) fn next(&self) -> u64 {
        self.first + self.rows.len() as u64
    }

    /// How many bytes the rows take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row. One behind a gap empties the backlog first, and one that is here already is ignored.
    pub(super) fn push(&mut self, seq: u64, row: Bytes) {
        if seq < self.next() {
            return;
        }
        if seq > self.next() {
            *self = Backlog::new(seq - 1, self.capacity);
        }
        self.bytes += row.len();
        self.rows.push_back(row);
        while self.bytes > self.capacity
            && let Some(oldest) = self.rows.pop_front()
        {
            self.bytes -= oldest.len();
            self.first += 1;
        }
    }

    /// Whether the row of this sequence number is here, or is the next to come.
    pub(super) fn reaches(&self, seq: u64) -> bool {
        (self.first..=self.next()).contains(&seq)
    }

    /// The rows from `seq` on that fit one message.
    pub(super) fn batch(&self, seq: u64, max_rows: usize) -> Vec<Bytes> {
        let skip = usize::try_from(seq - self.first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |row: &&Bytes| {
            let is_first = bytes == 0;
            bytes += row.len();
            is_first || bytes <= BATCH_BYTES
        };
        self.rows.iter().skip(skip).take(max_rows).take_while(fits).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(rows: u64) -> Backlog {
        let mut backlog = Backlog::new(10, 100);
        (11..11 + rows).for_each(|seq| backlog.push(seq, Bytes::from(vec![0; 30])));
        backlog
    }

    #[test]
    fn a_backlog_drops_its_oldest_rows_and_keeps_its_bound() {
        let backlog = backlog(5);
        assert_eq!((backlog.bytes(), backlog.next()), (90, 16));
        assert!(
            !backlog.reaches(12)
                && backlog.reaches(13)
                && backlog.reaches(16)
                && !backlog.reaches(17)
        );
    }

    #[test]
    fn a_row_behind_a_gap_empties_the_backlog_first() {
        let mut backlog = backlog(2);
        backlog.push(20, Bytes::from_static(b"x"));
        assert!(backlog.reaches(20) && !backlog.reaches(12));
        assert_eq!(backlog.batch(20, 9).len(), 1);
    }
}
