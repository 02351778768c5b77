//! Opening rows that the source of a session could not read.

use kv_core::DamagedKey;

use crate::{
    MemberId,
    core::actions::{Context, Pending},
};

/// Requests that the opening rows among these keys are counted and owed, ahead of the rows of a page: without that the
/// store would refuse the other rows of their origins. Returns how many commits that takes.
pub(super) fn adopt(
    cx: &mut Context<'_>,
    (peer, session, batch): (MemberId, u64, u32),
    damaged: &[DamagedKey],
) -> usize {
    let is_missing = |key: &&DamagedKey| key.is_opening() && !cx.local.visible().covers(key.dot);
    let openings: Vec<_> = damaged.iter().filter(is_missing).cloned().collect();
    if openings.is_empty() {
        return 0;
    }
    let purpose = Pending::Page { peer, session, batch, bytes: 0, successor: None };
    cx.out.adopt(purpose, Default::default(), openings);
    1
}
