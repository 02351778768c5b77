//! How the server stops: first announced, then each connection ends with its request.

use tokio_util::sync::CancellationToken;

/// The two steps of a stop, which every connection can wait for.
#[derive(Debug, Default)]
pub struct Drain {
    /// Set when the stop is announced: `/readyz` fails from then on.
    announced: CancellationToken,
    /// Set when connections end with their requests.
    closing: CancellationToken,
}

impl Drain {
    /// Announces the stop: `/readyz` fails from now on, and everything else still works.
    pub fn begin(&self) {
        self.announced.cancel();
    }

    /// Whether the stop was announced.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Closes: the server accepts no more connections, and each open one ends with its request.
    pub fn close(&self) {
        self.begin();
        self.closing.cancel();
    }

    /// Whether the server is closing.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Returns once the server is closing.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }
}
