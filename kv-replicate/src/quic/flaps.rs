//! Which changes of a link are logged: a link that comes and goes must not flood the log.

use std::time::Duration;

/// How many changes of one link are logged within [`PERIOD`].
const MOST: u32 = 4;

/// The time after which changes are logged again.
const PERIOD: Duration = Duration::from_secs(60);

/// The changes of one link that were logged recently.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    /// When the period began.
    since: Duration,
    /// The changes in it that were logged.
    logged: u32,
    /// The changes that were not logged.
    left_out: u32,
}

impl Flaps {
    /// The link came up, or went down. Returns how many changes were left out of the log before this one, if this one is
    /// logged.
    pub(super) fn changed(&mut self, now: Duration) -> Option<u32> {
        if now >= self.since + PERIOD {
            (self.since, self.logged) = (now, 0);
        }
        if self.logged >= MOST {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_flaps_logs_few_lines_a_minute_and_how_many_were_left_out() {
        let at = Duration::from_secs;
        let mut flaps = Flaps::default();
        let logged: Vec<_> = (100..110).map(|second| flaps.changed(at(second))).collect();
        assert_eq!(logged[..4], [Some(0); 4]);
        assert_eq!(logged[4..], [None; 6]);
        assert_eq!(flaps.changed(at(160)), Some(6));
        assert_eq!(flaps.changed(at(161)), Some(0));
    }
}
