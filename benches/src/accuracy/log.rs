//! The exact limit: a log of every admitted request.

use std::collections::VecDeque;

/// Admits a request if fewer than `limit` were admitted in the period that ends with it.
#[derive(Debug)]
pub struct ExactLog {
    limit: usize,
    period_ms: u64,
    admitted: VecDeque<u64>,
}

impl ExactLog {
    /// An empty log.
    #[must_use]
    pub fn new(limit: u32, period_ms: u64) -> ExactLog {
        ExactLog { limit: limit as usize, period_ms, admitted: VecDeque::new() }
    }

    /// Whether a request at this time is admitted. Times must not decrease.
    pub fn check(&mut self, now_ms: u64) -> bool {
        while self.admitted.front().is_some_and(|&first| first + self.period_ms <= now_ms) {
            self.admitted.pop_front();
        }
        let is_admitted = self.admitted.len() < self.limit;
        if is_admitted {
            self.admitted.push_back(now_ms);
        }
        is_admitted
    }
}

/// The greatest number of these ascending times in any interval `[t, t + interval_ms)`.
#[must_use]
pub fn most_within(times: &[u64], interval_ms: u64) -> usize {
    let mut most = 0;
    let mut first = 0;
    for (last, time) in times.iter().enumerate() {
        while times[first] + interval_ms <= *time {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_admits_a_request_once_its_oldest_entry_is_a_period_old() {
        let mut log = ExactLog::new(2, 10);
        let answers = [5, 6, 14, 15, 15, 16].map(|now| log.check(now));
        assert_eq!(answers, [true, true, false, true, false, true]);
    }

    #[test]
    fn an_interval_includes_its_start_and_excludes_its_end() {
        let times = [0, 4, 5, 9, 10];
        for (interval, most) in [(1, 1), (2, 2), (5, 2), (6, 3), (10, 4), (11, 5)] {
            assert_eq!(most_within(&times, interval), most, "interval {interval}");
        }
        assert_eq!(most_within(&[], 10), 0);
        assert_eq!(most_within(&[3, 3, 3], 1), 3);
    }
}
