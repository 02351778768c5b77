//! What is seen of one connection, for the watch to judge. No clock is read here: most of what
//! happens on a connection needs no time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// The first bytes of an HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is seen of one connection. All relaxed: each field is looked at by itself, and by the task
/// that writes it or one that is woken later.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests whose head has come, ever.
    requests: AtomicU64,
    /// Of these, those whose response has not left.
    active: AtomicU32,
    /// The request, counted from 1, whose head gave the length of its body in two ways; or 0.
    framed_twice: AtomicU64,
    /// Bytes came while no request was active: a head is on its way (not in HTTP/2).
    head_begun: AtomicBool,
    is_http2: AtomicBool,
    /// The last write found no room.
    write_blocked: AtomicBool,
    /// Writes that found room.
    writes: AtomicU64,
    /// HTTP/2 responses with a body on its way.
    bodies: AtomicU32,
    /// How often HTTP/2 took from one.
    body_polls: AtomicU64,
    /// A request's body was not read to its end.
    body_unread: AtomicBool,
    /// Our half is closed, and we wait for the client to close its own.
    is_lingering: AtomicBool,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The head of a request is on its way.
    Head,
    /// At least one request is being answered.
    Active,
    /// Neither.
    Idle,
    /// Our half is closed.
    Lingering,
}

impl Activity {
    pub(crate) fn phase(&self) -> Phase {
        if self.is_lingering.load(Relaxed) {
            Phase::Lingering
        } else if self.active.load(Relaxed) > 0 {
            Phase::Active
        } else if self.requests() == 0
            || (self.head_begun.load(Relaxed) && !self.is_http2.load(Relaxed))
        {
            Phase::Head
        } else {
            Phase::Idle
        }
    }

    /// Whether what comes is the head of an HTTP/1 request, as far as can be told.
    pub(crate) fn awaits_http1_head(&self) -> bool {
        self.is_between_requests() && !self.is_http2.load(Relaxed)
    }

    /// Whether no request is being answered.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.active.load(Relaxed) == 0
    }

    /// The head of the next request gives the length of its body in two ways.
    pub(crate) fn next_is_framed_twice(&self) {
        self.framed_twice.store(self.requests() + 1, Relaxed);
    }

    /// Requests whose head has come, ever.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Whether the client does not take what we write, and how often it did.
    pub(crate) fn blocked_write(&self) -> (bool, u64) {
        (self.write_blocked.load(Relaxed), self.writes.load(Relaxed))
    }

    /// Whether HTTP/2 has bodies to send, and how often it took from one. A client that opens no
    /// window shows in no write.
    pub(crate) fn waiting_bodies(&self) -> (bool, u64) {
        (self.bodies.load(Relaxed) > 0, self.body_polls.load(Relaxed))
    }

    /// Bytes have come.
    pub(crate) fn received(&self, bytes: &[u8]) {
        if self.active.load(Relaxed) > 0 {
            return;
        }
        let is_first = self.requests() == 0 && !self.head_begun.load(Relaxed);
        // One that comes in pieces is known as HTTP/2 by its first request.
        if is_first && bytes.starts_with(HTTP2_PREFACE) {
            self.is_http2.store(true, Relaxed);
        }
        self.head_begun.store(true, Relaxed);
    }

    /// A write found room or (`false`) none.
    pub(crate) fn wrote(&self, found_room: bool) {
        if found_room {
            self.writes.fetch_add(1, Relaxed);
        }
        if self.write_blocked.load(Relaxed) == found_room {
            self.write_blocked.store(!found_room, Relaxed);
        }
    }

    /// A request's body was not read to its end.
    pub(crate) fn left_unread(&self) {
        self.body_unread.store(true, Relaxed);
    }

    /// Our half is closed. Returns whether the client may still be sending: then closing the other
    /// half would reset the connection, and the response could be lost on the client's side.
    pub(crate) fn linger(&self) -> bool {
        let lingers = self.body_unread.load(Relaxed)
            || (self.head_begun.load(Relaxed) && !self.is_http2.load(Relaxed));
        self.is_lingering.store(lingers, Relaxed);
        lingers
    }
}

/// A request being answered; gone when its response has left.
#[derive(Debug)]
pub(crate) struct Visit {
    activity: Arc<Activity>,
    is_framed_twice: bool,
    has_body: bool,
}

impl Visit {
    pub(crate) fn begin(activity: Arc<Activity>, is_http2: bool) -> Visit {
        if is_http2 && activity.requests() == 0 {
            activity.is_http2.store(true, Relaxed);
        }
        let request = activity.requests.fetch_add(1, Relaxed) + 1;
        let is_framed_twice = activity.framed_twice.load(Relaxed) == request;
        activity.active.fetch_add(1, Relaxed);
        if activity.head_begun.load(Relaxed) {
            activity.head_begun.store(false, Relaxed);
        }
        Visit { activity, is_framed_twice, has_body: false }
    }

    /// Whether the request's head gave the length of its body in two ways.
    pub(crate) fn is_framed_twice(&self) -> bool {
        self.is_framed_twice
    }

    /// The response has a body that HTTP/2 is to send.
    pub(crate) fn has_http2_body(&mut self) {
        self.has_body = true;
        self.activity.bodies.fetch_add(1, Relaxed);
    }

    /// The body is asked for its next piece.
    pub(crate) fn polled(&self) {
        if self.has_body {
            self.activity.body_polls.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.has_body {
            self.activity.bodies.fetch_sub(1, Relaxed);
        }
        self.activity.active.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_from_head_to_request_to_idle_and_again() {
        let activity = Arc::new(Activity::default());
        assert_eq!(activity.phase(), Phase::Head);
        activity.received(b"GET / HT");
        assert_eq!(activity.phase(), Phase::Head);
        let visit = Visit::begin(Arc::clone(&activity), false);
        assert_eq!(activity.phase(), Phase::Active);
        activity.received(b"a body");
        drop(visit);
        assert_eq!(activity.phase(), Phase::Idle);
        activity.received(b"G");
        assert_eq!(activity.phase(), Phase::Head);
    }

    #[test]
    fn http2_is_known_by_its_preface_and_has_a_first_head_alone() {
        let activity = Arc::new(Activity::default());
        assert!(activity.awaits_http1_head());
        activity.received(HTTP2_PREFACE);
        assert_eq!(activity.phase(), Phase::Head);
        assert!(!activity.awaits_http1_head());
        drop(Visit::begin(Arc::clone(&activity), true));
        activity.received(b"a ping");
        assert_eq!(activity.phase(), Phase::Idle);

        let activity = Arc::new(Activity::default());
        activity.received(b"PRI * HTTP/2.0");
        assert_eq!(activity.phase(), Phase::Head);
        drop(Visit::begin(Arc::clone(&activity), true));
        activity.received(b"a ping");
        assert_eq!(activity.phase(), Phase::Idle);
    }

    #[test]
    fn a_connection_lingers_only_where_the_client_may_still_be_sending() {
        let activity = Arc::new(Activity::default());
        assert!(!activity.linger());
        drop(Visit::begin(Arc::clone(&activity), false));
        assert!(!activity.linger());
        activity.left_unread();
        assert!(activity.linger());
        assert_eq!(activity.phase(), Phase::Lingering);
    }
}
