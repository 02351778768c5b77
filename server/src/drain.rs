//! The way out: first announced, then everything ends when it is done.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// How far the server is on its way out.
#[derive(Debug, Default)]
pub struct Drain {
    is_begun: AtomicBool,
    is_closing: AtomicBool,
    closing: Notify,
}

impl Drain {
    /// Announces the end: `/readyz` fails from now on, all else goes on.
    pub fn begin(&self) {
        self.is_begun.store(true, Ordering::Release);
    }

    /// Whether the end was announced.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.is_begun.load(Ordering::Acquire)
    }

    /// Asks for the end: no new connections, and each that there is ends with its request.
    pub fn close(&self) {
        self.begin();
        self.is_closing.store(true, Ordering::Release);
        self.closing.notify_waiters();
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Returns when the end is asked for.
    pub async fn closing(&self) {
        let notified = self.closing.notified();
        tokio::pin!(notified);
        // Enlisted before the look, so that a call between the two is not missed.
        notified.as_mut().enable();
        if !self.is_closing() {
            notified.await;
        }
    }
}
