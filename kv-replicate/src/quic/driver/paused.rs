//! Pauses of this process: what it says of itself, and not of others.

use super::{Driver, LISTEN};
use crate::quic::link_error::LinkError;

impl Driver {
    /// A turn begins. Returns whether this process did not run for a while before it.
    pub(super) fn has_paused(&mut self) -> bool {
        let Some((lasted, is_noted)) = self.history.pauses.turn(self.now().mono, LISTEN) else {
            return false;
        };
        if is_noted {
            let seconds = lasted.as_secs();
            tracing::warn!(
                "this process did not run for {seconds} s: it, or its machine, was paused or is overloaded"
            );
        }
        true
    }

    /// Why a link to a peer has ended, in words. A link that timed out while this process did not run says nothing about the
    /// peer.
    pub(super) fn why_down(&self, peer: kv_core::MemberId, error: &LinkError) -> String {
        let now = self.moment();
        let last = self.history.tracks.get(&peer).and_then(|track| track.last);
        let paused = last.map_or_else(Default::default, |last| last.paused(now));
        let silent = last.map_or_else(Default::default, |last| last.listened(now));
        if error.is_timeout() && paused > silent {
            let seconds = paused.as_secs();
            return format!("it timed out while this process did not run, for {seconds} s");
        }
        error.to_string()
    }
}
