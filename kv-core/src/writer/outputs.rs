//! What a step leaves to do: the driver's outputs, and the notices that follow from them.

use std::collections::VecDeque;

use super::step::Output;
use crate::{types::Change, view::View};

/// Outputs and notices in their order.
pub(super) struct Outputs<S, T>(VecDeque<Queued<S, T>>);

/// An entry of the queue.
pub(super) enum Queued<S, T> {
    Output(Output<S, T>),
    Notice(Notice<S>),
}

/// What others learn once the driver has done the outputs before it. Readers must have a view before the
/// replicator learns of its writes, and before bodies that it does not show can be opened again.
pub(super) enum Notice<S> {
    /// Readers have the last view.
    Published,
    /// Readers have this view: the replicator's notice.
    Replicated {
        view: View<S>,
        /// The local writes that no earlier view showed.
        writes: Vec<Change>,
    },
    /// Readers have the last view, and it is durable: the replicator's notice.
    Synced,
}

impl<S, T> Outputs<S, T> {
    pub(super) fn new() -> Outputs<S, T> {
        Outputs(VecDeque::new())
    }

    pub(super) fn push(&mut self, output: Output<S, T>) {
        self.0.push_back(Queued::Output(output));
    }

    pub(super) fn notice(&mut self, notice: Notice<S>) {
        self.0.push_back(Queued::Notice(notice));
    }

    pub(super) fn pop(&mut self) -> Option<Queued<S, T>> {
        self.0.pop_front()
    }

    /// Takes the notices that are left. The outputs stay.
    pub(super) fn take_notices(&mut self) -> Vec<Notice<S>> {
        let mut notices = Vec::new();
        for queued in std::mem::take(&mut self.0) {
            match queued {
                Queued::Notice(notice) => notices.push(notice),
                output @ Queued::Output(_) => self.0.push_back(output),
            }
        }
        notices
    }
}
