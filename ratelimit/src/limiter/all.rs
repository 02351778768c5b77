//! Several hits, all or none.

use std::time::Duration;

use crate::algorithm;
use crate::clock::Clock;
use crate::decision::{AllDecision, Decision};
use crate::hit::Hit;
use crate::limiter::Limiter;

/// The hash of a hit, and where it is among those given: in the order in which counters are taken.
type Ordered = (u64, usize);

impl<C: Clock> Limiter<C> {
    /// Decides on several hits together: either all are counted, or none.
    ///
    /// The hits are counted one by one, and given back if one is denied. Meanwhile others may be denied
    /// what is then given back, but never allowed too much. Each call takes its counters in one order, so
    /// that of several calls that want the same last hits one gets them all. A counter may be named more
    /// than once. A hit in shadow mode that is over its limit holds up none of the others.
    pub fn check_all(&self, hits: &[Hit<'_>]) -> AllDecision {
        self.check_all_at(self.now_ms(), hits)
    }

    /// [`check_all`](Limiter::check_all) at a time from [`now_ms`](Limiter::now_ms).
    pub fn check_all_at(&self, now_ms: u64, hits: &[Hit<'_>]) -> AllDecision {
        let mut order: Vec<Ordered> =
            hits.iter().enumerate().map(|(at, hit)| (self.identity.of(hit), at)).collect();
        order.sort_unstable();

        let mut decisions: Vec<(usize, Decision)> = Vec::with_capacity(hits.len());
        let mut counted: Vec<(usize, u64)> = Vec::with_capacity(hits.len());
        let mut denied = None;
        for &(hash, at) in &order {
            let hit = &hits[at];
            let (verdict, when) = self.decide(now_ms, hash, hit);
            let decision = verdict.decision(&hit.limit);
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
                self.give_back(when, &hits[at]);
            }
            decisions = self.peek_all(hits, &order, denied);
        }
        decisions.sort_unstable_by_key(|(at, _)| *at);
        let decisions: Vec<Decision> =
            decisions.into_iter().map(|(_, decision)| decision).collect();
        for decision in &decisions {
            self.counts.checked(decision.within(), decision.shadowed);
        }
        AllDecision { allowed: denied.is_none(), decisions }
    }

    /// What is said of hits that were not all allowed, when all is given back.
    fn peek_all(
        &self,
        hits: &[Hit<'_>],
        order: &[Ordered],
        denied: usize,
    ) -> Vec<(usize, Decision)> {
        let mut decisions = Vec::with_capacity(hits.len());
        for counter in order.chunk_by(|(one, _), (other, _)| one == other) {
            let payload = self.table.find(counter[0].0).map_or(0, |(_, word)| word.payload());
            let now = self.latest.get();
            let mut demand = 0_u64;
            for &(_, at) in counter {
                let hit = &hits[at];
                let own = algorithm::demand(&hit.limit, hit.cost);
                let sum = demand.saturating_add(own);
                let verdict = algorithm::peek(&hit.limit, payload, now, sum);
                let mut decision = verdict.decision(&hit.limit);
                if at == denied && decision.allowed {
                    // Another had it for a moment, and gave it back.
                    decision.allowed = false;
                    decision.retry_after = Some(Duration::from_millis(1));
                }
                // Shadow mode lets pass what will never fit, and counts none of it.
                if !(decision.shadowed && decision.retry_after.is_none()) {
                    demand = sum;
                }
                decisions.push((at, decision));
            }
        }
        decisions
    }
}
