//! Judges one connection: ends it when it exceeds a limit, and when the server drains.
//!
//! hyper-util's `GracefulShutdown` also asks connections to end on a drain. It is not used, because
//! its future owns the connection: an idle timeout, which must ask the same connection to end with a
//! GOAWAY, could not reach it.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{Request, Response, body::Incoming, service::Service};
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{app::App, http::BoxError};

use super::{
    activity::{Activity, Phase},
    answer::Leaving,
    limits::Limits,
};

/// How long a client may take to close its half after the server closed its own.
const LINGER: Duration = Duration::from_secs(2);

/// A limit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// The head of a request must arrive in time.
    Header,
    /// A connection without requests is closed.
    Idle,
    /// A response must make progress.
    Response,
    /// A client must close its half after the server closed its own.
    Linger,
}

impl Limit {
    /// The name of its setting.
    pub(super) fn setting(self) -> &'static str {
        match self {
            Limit::Header => "header-timeout",
            Limit::Idle => "idle-timeout",
            Limit::Response => "response-timeout",
            Limit::Linger => "linger",
        }
    }
}

/// A state, and since when it has not changed.
#[derive(Debug)]
struct Since<T> {
    /// The state.
    state: T,
    /// When it began.
    since: Instant,
}

impl<T: PartialEq> Since<T> {
    /// A state that begins now.
    fn new(state: T, now: Instant) -> Since<T> {
        Since { state, since: now }
    }

    /// Records the state, and returns since when it has been this one.
    fn is(&mut self, state: T, now: Instant) -> Instant {
        if self.state != state {
            *self = Since { state, since: now };
        }
        self.since
    }
}

/// When a connection exceeds each limit.
struct Watch<'a> {
    /// The bounds of the connection.
    limits: &'a Limits,
    /// The record of the connection.
    activity: &'a Activity,
    /// With the number of requests: each request is a phase of its own.
    phase: Since<(Phase, u64)>,
    /// Whether the last write was blocked, and how many were not.
    write: Since<(bool, u64)>,
    /// Whether bodies of HTTP/2 are in progress, and how often they were polled.
    bodies: Since<(bool, u64)>,
    /// Since when the connection has been asked to end with its requests.
    is_ending: Option<Instant>,
}

impl<'a> Watch<'a> {
    /// Watches a connection that begins now.
    fn new(limits: &'a Limits, activity: &'a Activity, now: Instant) -> Watch<'a> {
        Watch {
            limits,
            activity,
            phase: Since::new((Phase::Head, 0), now),
            write: Since::new((false, 0), now),
            bodies: Since::new((false, 0), now),
            is_ending: None,
        }
    }

    /// The limit that is exceeded next if nothing happens, and when.
    fn due(&mut self, now: Instant) -> Option<(Instant, Limit)> {
        let activity = self.activity;
        let phase = activity.phase();
        let since = self.phase.is((phase, activity.requests()), now);
        let by_phase = match (phase, self.is_ending) {
            (Phase::Active, _) => None,
            (Phase::Head, _) => Some((since + self.limits.header, Limit::Header)),
            (Phase::Idle, None) => Some((since + self.limits.idle, Limit::Idle)),
            (Phase::Idle, Some(ending)) => Some((since.max(ending) + LINGER, Limit::Linger)),
            (Phase::Lingering, _) => Some((since + LINGER, Limit::Linger)),
        };
        let (write, bodies) = (activity.blocked_write(), activity.waiting_bodies());
        let (blocked, waiting) = (write.0, bodies.0);
        let unread_since =
            [(blocked, self.write.is(write, now)), (waiting, self.bodies.is(bodies, now))];
        let by_response = unread_since
            .into_iter()
            .filter_map(|(is_waiting, since)| is_waiting.then_some(since))
            .map(|since| (since + self.limits.response, Limit::Response));
        by_phase.into_iter().chain(by_response).min_by_key(|(at, _limit)| *at)
    }

    /// Counts a limit that ends the connection. A client that is slow to close after the server asked it
    /// to is not counted a second time.
    fn count(&self, limit: Limit, app: &App) {
        if limit != Limit::Linger || self.is_ending.is_none() {
            app.metrics.connections().cut(limit.setting());
        }
    }
}

/// Polls a timer for a time, and resets it only if it would fire too late or has fired.
fn poll_until(
    mut timer: Pin<&mut Sleep>,
    at: Instant,
    now: Instant,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if at < timer.deadline() || timer.deadline() <= now {
        timer.as_mut().reset(at);
    }
    timer.poll(cx)
}

/// Serves a connection within its limits, and counts the limits that it exceeded.
///
/// One timer runs, to the earliest limit known when it was set. If that is no longer the earliest, as
/// after each request, this is found out when the timer fires. So requests set no timers.
pub(super) async fn over<'a, I, S>(
    connection: auto::Connection<'a, I, S, TokioExecutor>,
    limits: &Limits,
    activity: &Activity,
    app: &App,
) -> Result<(), BoxError>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Leaving>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    let drain = &app.drain;
    let start = Instant::now();
    let mut watch = Watch::new(limits, activity, start);
    let mut connection = pin!(connection);
    let mut timer = pin!(sleep_until(start + limits.header));
    let mut closing = pin!(drain.closing());
    let mut is_waiting = false;
    std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            let now = Instant::now();
            // Polled once, to be woken by it: the waker of a task stays the same.
            if watch.is_ending.is_none()
                && (!is_waiting || drain.is_closing())
                && closing.as_mut().poll(cx).is_ready()
            {
                watch.is_ending = Some(now);
                connection.as_mut().graceful_shutdown();
                continue;
            }
            is_waiting = true;
            match watch.due(now) {
                Some((at, Limit::Idle)) if at <= now => {
                    // In HTTP/2 this sends a GOAWAY.
                    app.metrics.connections().cut(Limit::Idle.setting());
                    watch.is_ending = Some(now);
                    connection.as_mut().graceful_shutdown();
                }
                Some((at, limit)) if at <= now => {
                    watch.count(limit, app);
                    return Poll::Ready(Ok(()));
                }
                due => {
                    // While a request is in progress nothing may be due; check again later.
                    let at = due.map_or(now + limits.idle, |(at, _limit)| at);
                    ready!(poll_until(timer.as_mut(), at, now, cx));
                }
            }
        }
    })
    .await
}
