//! Bounds the bytes that are queued in a link, to about two congestion windows.
//!
//! Bytes in QUIC's send buffer are sent before later ones of the same stream, also if the peer does not need them any
//! more. On a slow link a long send buffer therefore means seconds of delay. So QUIC takes bytes as long as
//! its buffer holds less than [`WINDOWS`] congestion windows, and a message is taken from the core when little is left
//! of those before.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use quinn::Connection;

use super::stream;
use crate::Channel;

/// How many congestion windows the send buffer holds: one is on its way, the other follows without a pause.
const WINDOWS: u64 = 2;

/// The least that the send buffer holds: about a message.
const LEAST: u64 = 64 << 10;

/// How often the send buffer is adapted while a write waits for room in it.
const EVERY: Duration = Duration::from_millis(20);

/// The bytes that are queued in one link, and their bound.
#[derive(Debug)]
pub(super) struct Window {
    /// The QUIC connection.
    connection: Connection,
    /// The most that the send buffer holds.
    most: u64,
    /// How many bytes the send buffer holds now.
    buffered: AtomicU64,
    /// The bytes of each channel that QUIC has not taken yet, by its index.
    waiting: [AtomicUsize; 4],
}

impl Window {
    /// The window of a connection, whose send buffer holds this much at most.
    pub(super) fn new(connection: Connection, most: u32) -> Window {
        let buffered = AtomicU64::new(0);
        let window =
            Window { connection, most: u64::from(most), buffered, waiting: Default::default() };
        window.adapt();
        window
    }

    /// Whether a message of a channel can be queued. One may always wait.
    pub(super) fn has_room(&self, channel: Channel) -> bool {
        let waiting = self.waiting[stream::index(channel)].load(Ordering::Relaxed);
        waiting == 0 || (waiting as u64) < self.buffered.load(Ordering::Relaxed) / WINDOWS
    }

    /// A message was queued.
    pub(super) fn queued(&self, channel: Channel, bytes: usize) {
        self.waiting[stream::index(channel)].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Completes a write of messages of `bytes` in total, while the send buffer follows the congestion window.
    pub(super) async fn write<T>(
        &self,
        channel: Channel,
        bytes: usize,
        writing: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(writing);
        loop {
            self.adapt();
            if let Ok(done) = tokio::time::timeout(EVERY, &mut writing).await {
                self.waiting[stream::index(channel)].fetch_sub(bytes, Ordering::Relaxed);
                return done;
            }
        }
    }

    /// Adapts the send buffer to the congestion window.
    fn adapt(&self) {
        let window = self.connection.stats().path.cwnd;
        let buffered = window.saturating_mul(WINDOWS).max(LEAST).min(self.most);
        if self.buffered.swap(buffered, Ordering::Relaxed) != buffered {
            self.connection.set_send_window(buffered);
        }
    }
}
