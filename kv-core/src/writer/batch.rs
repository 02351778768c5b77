//! The operations of the next commit.

use crate::commit::Operation;

/// Most operations in one commit. More no longer lowers the cost of each, and the first waits
/// longer.
const MAX_BATCH: usize = 512;

/// Most body bytes in one commit: what a commit of many chunks holds in memory.
const MAX_BATCH_BYTES: usize = 2 << 20;

/// Operations in the order of their arrival, each with its caller's token.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// The operations, in the order of their arrival.
    pub(super) operations: Vec<Operation>,
    /// The token of each operation's caller.
    pub(super) tokens: Vec<T>,
    /// The bytes of bodies in the batch.
    pub(super) bytes: usize,
}

impl<T> Batch<T> {
    /// An empty batch.
    pub(super) fn new() -> Batch<T> {
        Batch { operations: Vec::new(), tokens: Vec::new(), bytes: 0 }
    }

    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether another operation may join.
    pub(super) fn has_room(&self) -> bool {
        self.operations.len() < MAX_BATCH && self.bytes < MAX_BATCH_BYTES
    }

    /// Adds an operation at the end.
    pub(super) fn push(&mut self, token: T, operation: Operation) {
        self.bytes += operation.body_bytes();
        self.operations.push(operation);
        self.tokens.push(token);
    }

    /// Takes the batch, and leaves room for one of the same size: load changes slowly.
    pub(super) fn take(&mut self) -> Batch<T> {
        let len = self.operations.len();
        let next = Batch {
            operations: Vec::with_capacity(len),
            tokens: Vec::with_capacity(len),
            bytes: 0,
        };
        std::mem::replace(self, next)
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::NamespaceId;

    #[test]
    fn a_batch_has_room_up_to_its_bound_and_is_empty_after_it_was_taken() {
        let mut batch = Batch::new();
        for token in 0..MAX_BATCH {
            assert!(batch.has_room());
            let key = crate::Key::new(b"k").unwrap();
            batch.push(token, Operation::Delete { namespace: NamespaceId([1; 16]), key });
        }
        assert!(!batch.has_room());
        let taken = batch.take();
        assert_eq!(taken.tokens, (0..MAX_BATCH).collect::<Vec<_>>());
        assert!(batch.is_empty() && batch.has_room());
    }
}
