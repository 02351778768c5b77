//! Views that are kept for a while, so that a peer gets what they show although the store moves on.
//!
//! A pinned view costs the engine the pages that commits free meanwhile: it can't use them again, and the file
//! grows by them. So the core that pins a view bounds its lifetime, and unpins it with [`Work::Unpin`].

use std::{collections::BTreeMap, sync::Arc};

use kv_core::engine::Snapshot;

use super::Durable;
use crate::{Content, Event, FoundBody, Unread, Work};

/// The most pinned views. The core pins fewer: at most 512 for bodies, and 8 for sessions.
const MAX_PINS: usize = 1024;

/// Does the work of a core that reads: from the newest durable view, or from one that was pinned.
pub struct Reader<S> {
    /// The pinned views by their numbers. Many of them may be the same.
    pins: BTreeMap<u64, Arc<Durable<S>>>,
}

impl<S> Default for Reader<S> {
    fn default() -> Self {
        Reader { pins: BTreeMap::new() }
    }
}

impl<S: Snapshot> Reader<S> {
    /// Does work that reads and returns its answer. None for work that commits, and for [`Work::Unpin`].
    #[must_use]
    pub fn read(&mut self, newest: &Arc<Durable<S>>, work: Work) -> Option<Event> {
        match work {
            Work::Read { pin: Some(pin), .. } => {
                if !self.pins.contains_key(&pin) {
                    self.pin(pin, newest);
                }
                let event = self.pins.get(&pin).unwrap_or(newest).read(work);
                if matches!(&event, Some(Event::Read { result: Err(Unread::Failed), .. })) {
                    // The engine may have been reopened, and this view can't be read any more.
                    self.pins.remove(&pin);
                }
                event
            }
            Work::ReadBody { id, pin, namespace, key, dot, offset } => {
                let pinned =
                    self.pins.get(&pin).map(|view| view.body(namespace, &key, dot, offset));
                let found = match pinned {
                    Some(found @ FoundBody::Chunk { .. }) => found,
                    _ => {
                        let found = newest.body(namespace, &key, dot, offset);
                        if has_more(&found) {
                            self.pin(pin, newest);
                        }
                        found
                    }
                };
                Some(Event::Body { id, found })
            }
            Work::Unpin { pin } => {
                self.pins.remove(&pin);
                None
            }
            _ => newest.read(work),
        }
    }

    /// How many views are pinned.
    #[must_use]
    pub fn pinned(&self) -> usize {
        self.pins.len()
    }

    /// Pins a view, if there is room.
    fn pin(&mut self, pin: u64, view: &Arc<Durable<S>>) {
        if self.pins.len() < MAX_PINS || self.pins.contains_key(&pin) {
            self.pins.insert(pin, Arc::clone(view));
        }
    }
}

/// Whether more of the same body is going to be read.
fn has_more(found: &FoundBody) -> bool {
    match found {
        FoundBody::Chunk { is_last, .. } => !is_last,
        FoundBody::Replaced(row) => matches!(row.content, Content::Large { .. }),
        FoundBody::Gone | FoundBody::Failed | FoundBody::Damaged => false,
    }
}
