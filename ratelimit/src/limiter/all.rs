//! Batches that are counted as a whole or not at all.

use std::time::Duration;

use super::Limiter;
use crate::clock::Clock;
use crate::decide;
use crate::decision::{AllDecision, Decision};
use crate::request::Request;

/// The hash of a request and its index in the batch, in the order in which counters are taken.
type Ordered = (u64, usize);

impl<C: Clock> Limiter<C> {
    /// Decides on several requests together: either all of them are counted, or none.
    ///
    /// The requests are counted one by one, and given back if one is denied. Meanwhile other threads may
    /// be denied what is then given back, but they are never allowed too much. Each call takes its
    /// counters in the same order, so of several calls that compete for the last of a limit one gets all
    /// of it. A batch may name a counter more than once. A request in shadow mode that is over its limit
    /// does not deny the batch.
    pub fn check_all(&self, requests: &[Request<'_>]) -> AllDecision {
        self.check_all_at(self.now_ms(), requests)
    }

    /// Does the same as [`check_all`](Limiter::check_all), at a time from [`now_ms`](Limiter::now_ms).
    pub fn check_all_at(&self, now_ms: u64, requests: &[Request<'_>]) -> AllDecision {
        let hash = |(at, request)| (self.identity.of(request), at);
        let mut order: Vec<Ordered> = requests.iter().enumerate().map(hash).collect();
        order.sort_unstable();

        let mut decisions: Vec<(usize, Decision)> = Vec::with_capacity(requests.len());
        let mut counted: Vec<(usize, u64)> = Vec::with_capacity(requests.len());
        let mut denied = None;
        for &(hash, at) in &order {
            let request = &requests[at];
            let (verdict, when) = self.decide(now_ms, hash, request);
            let decision = decide::decision(&request.limit, &verdict);
            if !decision.allowed {
                denied = Some(at);
                break;
            }
            if verdict.payload.is_some() {
                counted.push((at, when));
            }
            decisions.push((at, decision));
        }
        if let Some(denied) = denied {
            for (at, when) in counted {
                self.give_back(when, &requests[at]);
            }
            decisions = self.peek_all(requests, &order, denied);
        }
        decisions.sort_unstable_by_key(|(at, _)| *at);
        let decisions: Vec<Decision> =
            decisions.into_iter().map(|(_, decision)| decision).collect();
        for decision in &decisions {
            self.counts.checked(decision.within(), decision.shadowed);
        }
        AllDecision { allowed: denied.is_none(), decisions }
    }

    /// Describes the counters of a denied batch, after its requests were given back.
    fn peek_all(
        &self,
        requests: &[Request<'_>],
        order: &[Ordered],
        denied: usize,
    ) -> Vec<(usize, Decision)> {
        let mut decisions = Vec::with_capacity(requests.len());
        for counter in order.chunk_by(|(one, _), (other, _)| one == other) {
            let found = self.table.find(counter[0].0);
            let payload = found
                .map_or_else(|| self.unplaced(&requests[counter[0].1]), |(_, word)| word.payload());
            let now = self.latest.get();
            let mut demand = 0_u64;
            for &(_, at) in counter {
                let request = &requests[at];
                let own = decide::demand(&request.limit, request.cost);
                let sum = demand.saturating_add(own);
                let verdict = decide::peek(&request.limit, payload, now, sum);
                let mut decision = decide::decision(&request.limit, &verdict);
                if at == denied && decision.allowed {
                    // Another thread had taken the limit for a moment, and has given it back since.
                    decision.allowed = false;
                    decision.retry_after = Some(Duration::from_millis(1));
                }
                // Shadow mode allows what will never fit, and counts none of it.
                if !(decision.shadowed && decision.retry_after.is_none()) {
                    demand = sum;
                }
                decisions.push((at, decision));
            }
        }
        decisions
    }
}
