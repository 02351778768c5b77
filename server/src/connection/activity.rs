//! The record of what happens on one connection, which the watch judges.
//!
//! No clock is read here, because most events need no time. hyper reports none of these events, so
//! the socket and the service around it record them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// The first bytes of an HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The record of one connection. All accesses are relaxed: each field is read by itself, by the task
/// that writes it or by one that is woken later.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests whose head was parsed, since the connection opened.
    requests: AtomicU64,
    /// Of these, those whose response was not sent whole.
    active: AtomicU32,
    /// The request, counted from 1, whose head gave the length of its body in two ways; or 0.
    framed_twice: AtomicU64,
    /// Bytes arrived while no request was active: a head is arriving (not in HTTP/2).
    head_begun: AtomicBool,
    /// Whether the connection speaks HTTP/2, where heads are not seen one by one.
    is_http2: AtomicBool,
    /// The last write found no room in the socket's buffer.
    write_blocked: AtomicBool,
    /// Writes that found room.
    writes: AtomicU64,
    /// HTTP/2 responses with a body in progress.
    bodies: AtomicU32,
    /// How often HTTP/2 polled one of them.
    body_polls: AtomicU64,
    /// A request's body was not read to its end.
    body_unread: AtomicBool,
    /// The server closed its half, and waits for the client to close the other.
    is_lingering: AtomicBool,
    /// The client sent a flood of HTTP/2 frames, which ended the connection.
    is_flooded: AtomicBool,
}

/// The state of a connection, as the watch judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The head of a request is arriving.
    Head,
    /// At least one request is in progress.
    Active,
    /// Neither.
    Idle,
    /// The server's half is closed.
    Lingering,
}

impl Activity {
    /// Returns the current state.
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

    /// Whether the next bytes are the head of an HTTP/1 request, as far as is known.
    pub(crate) fn awaits_http1_head(&self) -> bool {
        self.is_between_requests() && !self.is_http2.load(Relaxed)
    }

    /// Whether no request is in progress.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.active.load(Relaxed) == 0
    }

    /// Records that the head of the next request gives the length of its body in two ways.
    pub(crate) fn next_is_framed_twice(&self) {
        self.framed_twice.store(self.requests() + 1, Relaxed);
    }

    /// Requests whose head was parsed, since the connection opened.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Whether the last write found no room, and how many writes did find it.
    pub(crate) fn blocked_write(&self) -> (bool, u64) {
        (self.write_blocked.load(Relaxed), self.writes.load(Relaxed))
    }

    /// Whether HTTP/2 has bodies to send, and how often it polled one. A client that opens no window
    /// blocks no write of the socket, so only this shows it.
    pub(crate) fn waiting_bodies(&self) -> (bool, u64) {
        (self.bodies.load(Relaxed) > 0, self.body_polls.load(Relaxed))
    }

    /// Records that bytes arrived.
    pub(crate) fn received(&self, bytes: &[u8]) {
        if self.active.load(Relaxed) > 0 {
            return;
        }
        let is_first = self.requests() == 0 && !self.head_begun.load(Relaxed);
        // If the preface arrives in pieces, the first request shows that this is HTTP/2.
        if is_first && bytes.starts_with(HTTP2_PREFACE) {
            self.is_http2.store(true, Relaxed);
        }
        self.head_begun.store(true, Relaxed);
    }

    /// Records a write that found room or (`false`) did not.
    pub(crate) fn wrote(&self, found_room: bool) {
        if found_room {
            self.writes.fetch_add(1, Relaxed);
        }
        if self.write_blocked.load(Relaxed) == found_room {
            self.write_blocked.store(!found_room, Relaxed);
        }
    }

    /// Records that a request's body was not read to its end.
    pub(crate) fn left_unread(&self) {
        self.body_unread.store(true, Relaxed);
    }

    /// Records that a flood of HTTP/2 frames ended the connection.
    pub(crate) fn flooded(&self) {
        self.is_flooded.store(true, Relaxed);
    }

    /// Whether a flood of HTTP/2 frames ended the connection.
    pub(crate) fn is_flooded(&self) -> bool {
        self.is_flooded.load(Relaxed)
    }

    /// Records that the server closed its half. Returns whether the client may still be sending: then
    /// closing the other half would reset the connection, and the client could lose the response.
    pub(crate) fn linger(&self) -> bool {
        let lingers = self.body_unread.load(Relaxed)
            || (self.head_begun.load(Relaxed) && !self.is_http2.load(Relaxed));
        self.is_lingering.store(lingers, Relaxed);
        lingers
    }
}

/// A request in progress, from its head until its response was sent or given up.
#[derive(Debug)]
pub(crate) struct InProgress {
    /// The record of the connection.
    activity: Arc<Activity>,
    /// Whether the head gave the length of its body in two ways.
    is_framed_twice: bool,
    /// Whether HTTP/2 sends a body of the response, which is counted in `bodies`.
    has_body: bool,
}

impl InProgress {
    /// Records that a request began.
    pub(crate) fn begin(activity: Arc<Activity>, is_http2: bool) -> InProgress {
        if is_http2 && activity.requests() == 0 {
            activity.is_http2.store(true, Relaxed);
        }
        let number = activity.requests.fetch_add(1, Relaxed) + 1;
        let is_framed_twice = activity.framed_twice.load(Relaxed) == number;
        activity.active.fetch_add(1, Relaxed);
        if activity.head_begun.load(Relaxed) {
            activity.head_begun.store(false, Relaxed);
        }
        InProgress { activity, is_framed_twice, has_body: false }
    }

    /// Whether the request's head gave the length of its body in two ways.
    pub(crate) fn is_framed_twice(&self) -> bool {
        self.is_framed_twice
    }

    /// Records that the response has a body that HTTP/2 sends.
    pub(crate) fn has_http2_body(&mut self) {
        self.has_body = true;
        self.activity.bodies.fetch_add(1, Relaxed);
    }

    /// Records that the body was polled for its next piece.
    pub(crate) fn polled(&self) {
        if self.has_body {
            self.activity.body_polls.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for InProgress {
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
    fn a_connection_goes_from_head_to_request_to_idle_and_back() {
        let activity = Arc::new(Activity::default());
        assert_eq!(activity.phase(), Phase::Head);
        activity.received(b"GET / HT");
        assert_eq!(activity.phase(), Phase::Head);
        let request = InProgress::begin(Arc::clone(&activity), false);
        assert_eq!(activity.phase(), Phase::Active);
        activity.received(b"a body");
        drop(request);
        assert_eq!(activity.phase(), Phase::Idle);
        activity.received(b"G");
        assert_eq!(activity.phase(), Phase::Head);
    }

    #[test]
    fn http2_is_recognised_by_its_preface_and_has_one_head_phase() {
        let activity = Arc::new(Activity::default());
        assert!(activity.awaits_http1_head());
        activity.received(HTTP2_PREFACE);
        assert_eq!(activity.phase(), Phase::Head);
        assert!(!activity.awaits_http1_head());
        drop(InProgress::begin(Arc::clone(&activity), true));
        activity.received(b"a ping");
        assert_eq!(activity.phase(), Phase::Idle);

        let activity = Arc::new(Activity::default());
        activity.received(b"PRI * HTTP/2.0");
        assert_eq!(activity.phase(), Phase::Head);
        drop(InProgress::begin(Arc::clone(&activity), true));
        activity.received(b"a ping");
        assert_eq!(activity.phase(), Phase::Idle);
    }

    #[test]
    fn a_connection_lingers_only_while_the_client_may_still_be_sending() {
        let activity = Arc::new(Activity::default());
        assert!(!activity.linger());
        drop(InProgress::begin(Arc::clone(&activity), false));
        assert!(!activity.linger());
        activity.left_unread();
        assert!(activity.linger());
        assert_eq!(activity.phase(), Phase::Lingering);
    }
}
