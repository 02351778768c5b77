//! Rows of a rebuild that its source neither counts nor has: the owner gets them before they are dropped.

use std::sync::Arc;

use kv_core::{Dot, VersionVector};

use super::{NOT_KEPT_AFTER, Rebuild};
use crate::{MemberId, SalvagedRow, core::actions::Context, inspect::Place, notice::Notice};

/// Rows that the owner gets.
#[derive(Debug)]
pub(super) struct Handed {
    /// Names the owner's answer.
    id: u64,
    /// The source that does not have them.
    pub(super) from: MemberId,
    /// The rows, and the writes that they hold.
    places: Vec<(Place, Dot)>,
    /// What the source counts, which has none of them.
    source: Arc<VersionVector>,
}

impl Rebuild {
    /// The store has read rows that the source neither counts nor has: the owner gets them. If there are none, or they are
    /// not compared with that source any more, nothing is dropped.
    pub(in crate::core) fn salvaged(
        &mut self,
        cx: &mut Context<'_>,
        id: u64,
        rows: Vec<SalvagedRow>,
        (places, source): (Vec<(Place, Dot)>, Arc<VersionVector>),
    ) {
        match self.compared_with() {
            Some(from) if !rows.is_empty() => {
                self.handed.push(Handed { id, from, places, source });
                cx.out.notice(Notice::Salvage { id, rows });
            }
            _ => drop(cx.out.finished(id)),
        }
    }

    /// The owner has answered for rows. Those that it keeps are dropped, unless what was under way has begun again since.
    pub(in crate::core) fn kept(&mut self, cx: &mut Context<'_>, id: u64, is_kept: bool) {
        let answered = self.handed.iter().position(|handed| handed.id == id);
        match answered.map(|at| self.handed.swap_remove(at)) {
            Some(_) if !is_kept => self.not_before = cx.local.mono() + NOT_KEPT_AFTER,
            Some(Handed { from, places, source, .. }) if self.compared_with() == Some(from) => {
                cx.out.drop_unknown(places, source);
            }
            _ => {}
        }
    }
}
