//! The body of a request, with a bound on the time between two pieces of it.
//!
//! `TimeoutBody` of tower-http 0.7 bounds the same time but is not used, for two reasons. It registers
//! and removes a timer for every frame, also for those that are already there; here a body has a timer
//! only once it keeps its reader waiting. And it does not report to the connection whether the body
//! stalled (then the response is a 408) or was left unread (then the connection must linger).

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::budget::{Account, Charge, REQUEST_BYTES};

/// The least bytes a second of a body, on average over each period of [`PERIODS`] times the setting `body-timeout`.
/// A body that keeps its connection with a byte now and then ends.
const LEAST_RATE: u64 = 256;

/// How many times `body-timeout` the rate is averaged over. Whatever its rate, a body may take this long.
const PERIODS: u32 = 4;

/// The body of a request. If no bytes arrive for too long it ends in [`BodyError::Stalled`], so that no
/// API has to watch the clock. (Whatever the API responds then, the client receives a 408.)
pub struct RequestBody {
    /// The bytes.
    source: Source,
    /// The timer; none for a body that is in memory or has ended.
    watch: Option<Box<Watch>>,
}

/// Where the bytes come from.
enum Source {
    /// A body that arrives over a connection.
    Incoming(Incoming),
    /// A body in memory.
    Memory(Full<Bytes>),
}

/// How the reading of a request's body ended. The connection reads this after the response.
#[derive(Debug, Default)]
pub(crate) struct BodyFate {
    /// No bytes arrived for too long.
    is_stalled: AtomicBool,
    /// It did not fit into the budget.
    is_shed: AtomicBool,
    /// The body was read to its end.
    is_finished: AtomicBool,
}

impl BodyFate {
    /// Whether no bytes arrived for too long.
    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// Whether it did not fit into the budget.
    pub(crate) fn is_shed(&self) -> bool {
        self.is_shed.load(Ordering::Relaxed)
    }

    /// Whether it was read to its end.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Relaxed)
    }
}

/// The timer of a body.
struct Watch {
    /// How long the body may pause.
    limit: Duration,
    /// Made when the body first keeps its reader waiting, which most bodies never do.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when the body has kept its reader waiting, if it does now.
    waits_since: Option<Instant>,
    /// When the current period of the rate began; none before the body first kept its reader waiting.
    period: Option<Instant>,
    /// The bytes that arrived in the period.
    bytes: u64,
    /// What the body holds.
    holds: Holds,
    /// Where the end of the body is recorded.
    fate: Arc<BodyFate>,
}

/// What a body holds in memory.
struct Holds {
    /// What it is charged.
    charge: Charge,
    /// The most of it that is in memory at a time, in bytes.
    most: u64,
    /// Whether it is read although it does not fit into the budget.
    is_exempt: bool,
}

impl Holds {
    /// Bytes arrived. Returns whether they fit into the budget.
    fn arrived(&mut self, bytes: u64) -> bool {
        self.charge.moved();
        self.charge.grow_to((self.charge.bytes() + bytes).min(self.most)) || self.is_exempt
    }
}

impl RequestBody {
    /// Bounds the time between two pieces of `incoming` by `limit`, and charges what arrives. A body that `is_exempt` is read
    /// although it does not fit into the budget. At most `most` bytes of it are in memory. A body that has already ended, as that of a GET, needs no timer and has
    /// no fate.
    pub(crate) fn watch(
        incoming: Incoming,
        limit: Duration,
        (account, most): (&Arc<Account>, u64),
        is_exempt: bool,
    ) -> (RequestBody, Option<Arc<BodyFate>>) {
        let fate = (!incoming.is_end_stream()).then(Arc::<BodyFate>::default);
        let holds = |account: &Arc<Account>| Holds {
            charge: account.charge_anyway(REQUEST_BYTES),
            most,
            is_exempt,
        };
        let charged = |fate| Watch::new(limit, holds(account), fate);
        let watch = fate.clone().map(|fate| Box::new(charged(fate)));
        (RequestBody { source: Source::Incoming(incoming), watch }, fate)
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> RequestBody {
        RequestBody { source: Source::Memory(Full::new(bytes)), watch: None }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

/// Why a request's body did not arrive whole. Nothing of it may be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// No bytes arrived for as long as the setting `body-timeout` allows.
    #[error("no bytes of the request's body arrived for {0:?}, or too few (body-timeout)")]
    Stalled(Duration),
    /// It did not fit into the budget for all requests.
    #[error("too many bytes of requests are in progress (budget)")]
    Shed,
    /// It was cut off, or its framing is not valid HTTP.
    #[error("the request's body was cut off: {0}")]
    Cut(#[source] hyper::Error),
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Incoming(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Cut))),
            Source::Memory(full) => Pin::new(full)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
        };
        match (polled, &mut this.watch) {
            (Poll::Ready(frame), Some(watch)) => {
                watch.waits_since = None;
                match &frame {
                    None => watch.fate.is_finished.store(true, Ordering::Relaxed),
                    Some(Ok(frame)) => {
                        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                        if !watch.arrived(bytes) {
                            return Poll::Ready(Some(Err(BodyError::Shed)));
                        }
                    }
                    Some(Err(_)) => {}
                }
                Poll::Ready(frame)
            }
            (Poll::Pending, Some(watch)) => watch.poll_stalled(cx).map(|error| Some(Err(error))),
            (polled, None) => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Incoming(incoming) => incoming.is_end_stream(),
            Source::Memory(full) => full.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Incoming(incoming) => incoming.size_hint(),
            Source::Memory(full) => full.size_hint(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch
            && self.is_end_stream()
        {
            // A reader that knows the length need not poll for the end.
            watch.fate.is_finished.store(true, Ordering::Relaxed);
        }
    }
}

impl Watch {
    /// Watches a body that begins now.
    fn new(limit: Duration, holds: Holds, fate: Arc<BodyFate>) -> Watch {
        Watch { limit, timer: None, waits_since: None, period: None, bytes: 0, holds, fate }
    }

    /// Bytes arrived. Returns whether they fit into the budget.
    fn arrived(&mut self, bytes: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let fits = self.holds.arrived(bytes);
        if !fits {
            self.fate.is_shed.store(true, Ordering::Relaxed);
        }
        fits
    }

    /// Ready once the body has kept its reader waiting for too long, or arrives too slowly.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        loop {
            let now = Instant::now();
            let waits_since = *self.waits_since.get_or_insert(now);
            let ends = self.end_of_period(now);
            if waits_since + self.limit <= now || ends.is_none() {
                self.fate.is_stalled.store(true, Ordering::Relaxed);
                return Poll::Ready(BodyError::Stalled(self.limit));
            }
            let at = ends.unwrap_or(now).min(waits_since + self.limit);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            std::task::ready!(timer.as_mut().poll(cx));
        }
    }

    /// Returns when the current period of the rate ends, after beginning the next one if it has ended; none if too
    /// little arrived in it.
    fn end_of_period(&mut self, now: Instant) -> Option<Instant> {
        let length = self.limit * PERIODS;
        let began = *self.period.get_or_insert(now);
        let elapsed = now.saturating_duration_since(began);
        if elapsed < length {
            return Some(began + length);
        }
        let least = u128::from(LEAST_RATE) * elapsed.as_millis() / 1000;
        if u128::from(self.bytes) < least {
            return None;
        }
        (self.period, self.bytes) = (Some(now), 0);
        Some(now + length)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::budget::Budget;

    #[tokio::test]
    async fn a_body_in_memory_is_read_whole() {
        let body = RequestBody::from(Bytes::from_static(b"hello"));
        assert_eq!(body.size_hint().exact(), Some(5));
        let read = body.collect().await.expect("it cannot fail").to_bytes();
        assert_eq!(read, "hello");
    }

    fn holds(budget: u64, most: u64, is_exempt: bool) -> (Arc<Budget>, Holds) {
        let budget = Budget::new(budget);
        let charge = budget.open().charge_anyway(0);
        (budget, Holds { charge, most, is_exempt })
    }

    fn watch() -> Watch {
        Watch::new(Duration::from_secs(30), holds(1 << 30, 1 << 20, false).1, Arc::default())
    }

    /// For how many seconds, of an hour, a body is accepted of which `bytes` arrive every `every` seconds.
    fn lasts(bytes: u64, every: u64) -> u64 {
        let mut watch = watch();
        let began = Instant::now();
        let mut seconds = 0;
        while seconds < 3600 && watch.end_of_period(began + Duration::from_secs(seconds)).is_some()
        {
            seconds += every;
            watch.bytes += bytes;
        }
        seconds
    }

    #[test]
    fn a_body_that_drips_ends_and_a_slow_one_does_not() {
        assert_eq!(lasts(1, 1), 120);
        assert_eq!(lasts(1, 29), 145);
        assert_eq!(lasts(LEAST_RATE - 20, 1), 120);
        assert!(lasts(LEAST_RATE, 1) >= 3600);
        assert!(lasts(29 * LEAST_RATE, 29) >= 3600);
    }

    #[test]
    fn a_fast_beginning_does_not_pay_for_a_drip() {
        let mut watch = watch();
        let began = Instant::now();
        assert!(watch.end_of_period(began).is_some());
        watch.bytes = 20 << 20;
        assert!(watch.end_of_period(began + Duration::from_secs(120)).is_some());
        watch.bytes += 1;
        assert!(watch.end_of_period(began + Duration::from_secs(240)).is_none());
    }

    #[test]
    fn a_body_that_does_not_fit_into_the_budget_ends_unless_an_operator_sends_it() {
        for is_exempt in [false, true] {
            let (_budget, holds) = holds(100 << 10, 1 << 20, is_exempt);
            let mut watch = Watch::new(Duration::from_secs(30), holds, Arc::default());
            assert!(watch.arrived(50 << 10) && !watch.fate.is_shed());
            assert_eq!((watch.arrived(60 << 10), watch.fate.is_shed()), (is_exempt, !is_exempt));
        }
    }

    #[test]
    fn a_long_body_is_charged_for_what_may_be_in_memory() {
        let (budget, mut holds) = holds(1 << 30, 256 << 10, false);
        let before = budget.used();
        (0..100).for_each(|_| assert!(holds.arrived(64 << 10)));
        assert_eq!(budget.used() - before, 256 << 10);
        drop(holds);
        assert_eq!(budget.used(), 0);
    }
}
