//! The driver: runs a [`Core`] over QUIC, for a [`Store`].
//!
//! [`Replica::start`] binds one UDP port and links this location with each other member. It needs a tokio
//! runtime; the store's writer thread does the core's work (see [`kv_core::Replication`]), one thread
//! reads for peers, and one task owns the core and does nothing that waits.
//!
//! # Links
//!
//! Two members share one link: the one with the lower id dials, the other does so too if it waits in
//! vain. Who fails tries again, after a while that doubles up to a bound. A link is a QUIC connection
//! (ALPN `waypost/1`) on which both have proven, by certificates of the cluster's authority, which members
//! they are: see [`Identity`]. It has one stream in both directions for [`Channel::Control`], and one in
//! each direction for each other [`Channel`]. A stream begins with its channel's number (one byte), and
//! messages follow, each behind its length (four bytes, big-endian).
//!
//! # Memory
//!
//! The core keeps what waits for peers, in its bounds. Of each channel at most [a few
//! messages](crate::MAX_MESSAGE_BYTES) wait here; what QUIC has taken and the peer has not acknowledged, or
//! what came and was not read, is at most [`Tuning::window_bytes`] a link and direction, and in fact what is
//! under way: the link's rate times its delay.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kv_core::{MemberId, Store, WriteError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::Verdict;
#[cfg(doc)]
use crate::{Channel, Core};

mod accept;
mod config;
mod dial;
mod driver;
mod frame;
mod link;
mod pace;
mod socket;
mod status;
mod store;
mod tls;

pub use accept::network_of;
pub use config::{Config, GUEST_WINDOW_BYTES, Guests, Identity, OnNotice, ServeGuest, Tuning};
pub use status::{Doorkeeping, Peer, Status};
pub use tls::{ServerVerifier, member_uri};

use driver::{Driver, Query};
use socket::Port;

/// Why a replica did not start. Nothing was changed, and the port is free again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The certificates or the key can't be used, or name another cluster or member.
    #[error("this location's certificate can't be used: {0}")]
    Identity(String),
    /// The UDP port can't be had.
    #[error("{address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The store could not be made durable, or is closed.
    #[error(transparent)]
    Store(#[from] WriteError),
    /// The system gave no randomness or no thread.
    #[error("the system has no {0}")]
    System(String),
}

/// Why a replica did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// It replicates no more: its status says why.
    #[error("this location replicates no more")]
    Halted,
    /// It was closed, or its store was.
    #[error("replication was ended")]
    Closed,
}

/// Asks a [`Replica`]. Clones ask the same one, also after it has ended: then they hear that.
#[derive(Clone, Debug)]
pub struct Handle {
    queries: mpsc::Sender<Query>,
}

impl Handle {
    /// See [`Replica::status`].
    ///
    /// # Errors
    /// [`AskError::Closed`].
    pub async fn status(&self) -> Result<Status, AskError> {
        let (answer, status) = oneshot::channel();
        self.ask(Query::Status(answer)).await?;
        status.await.map_err(|_ended| AskError::Closed)
    }

    /// See [`Replica::verify`].
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn verify(&self, peer: MemberId) -> Result<Verdict, AskError> {
        let (answer, verdict) = oneshot::channel();
        self.ask(Query::Verify(peer, answer)).await?;
        verdict.await.map_err(|_ended| AskError::Closed)?
    }

    async fn ask(&self, query: Query) -> Result<(), AskError> {
        self.queries.send(query).await.map_err(|_ended| AskError::Closed)
    }
}

/// A store's part in its cluster. Dropping it ends it soon; [`Replica::close`] waits for that.
#[derive(Debug)]
pub struct Replica {
    handle: Handle,
    closing: watch::Sender<bool>,
    driver: Option<JoinHandle<()>>,
    local: SocketAddr,
}

impl Replica {
    /// Binds the port and begins to replicate a store. The store should have been opened as
    /// [`replicated`](kv_core::Options::replicated), and be replicated by nobody else.
    ///
    /// Must be called on a tokio runtime, on which it runs from then on.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, store: Store) -> Result<Replica, StartError> {
        let tls = Arc::new(tls::Tls::new(&config)?);
        let port = Port::bind(config.listen, &config.tuning, &tls)
            .map_err(|source| StartError::Bind { address: config.listen, source })?;
        let (queries, asked) = mpsc::channel(16);
        let (closing, is_closing) = watch::channel(false);
        let local = port.local();
        let started = Driver::start(config, store, tls, port, asked, is_closing).await;
        let driver = match started {
            Ok(driver) => driver,
            Err((error, port)) => {
                port.close().await;
                return Err(error);
            }
        };
        let driver = Some(tokio::spawn(driver.run()));
        let handle = Handle { queries };
        Ok(Replica { handle, closing, driver, local })
    }

    /// Where it listens: with the port that it was given, if the configuration named none.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// How it and its links are.
    ///
    /// # Errors
    /// [`AskError::Closed`].
    pub async fn status(&self) -> Result<Status, AskError> {
        self.handle.status().await
    }

    /// Who may be handed on to ask for [`Replica::status`] and [`Replica::verify`].
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Compares all that this location and a peer hold: see [`crate::Event::Verify`]. May take long; to
    /// drop the future ends the wait and not the comparison.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn verify(&self, peer: MemberId) -> Result<Verdict, AskError> {
        self.handle.verify(peer).await
    }

    /// Ends all links and waits until the tasks and threads have ended and the port is free. The store
    /// stays open. If the future is dropped, all of it ends nevertheless.
    pub async fn close(mut self) {
        self.closing.send_replace(true);
        if let Some(driver) = self.driver.take()
            && let Err(error) = driver.await
        {
            tracing::error!(%error, "replication ended in a panic");
        }
    }
}

/// How long is waited at most until the port is free.
const FAREWELL: Duration = Duration::from_secs(3);
