//! What a core reports of its location's clock.

use crate::MemberId;

/// The state of this location's clock, for its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockState {
    /// Whether a majority of the members agrees with the time that this location goes by.
    pub is_confirmed: bool,
    /// How far the own clock is ahead of cluster time, in milliseconds, if that is more than right clocks may
    /// differ.
    pub off_ms: Option<i64>,
    /// Where fewer than three clocks are heard: the members whose clocks differ from the own one by more than
    /// right clocks may, and how far the own one is ahead of each, in milliseconds. Either may be wrong.
    pub disagreeing: Vec<(MemberId, i64)>,
}

impl ClockState {
    /// Whether the own clock may be wrong.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.off_ms.is_some() || !self.disagreeing.is_empty()
    }
}
