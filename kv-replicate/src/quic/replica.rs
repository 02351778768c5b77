//! The handles of a running replica.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use kv_core::{MemberId, Store};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    config::{Config, Identity},
    driver::Driver,
    error::{IdentityError, QueryError, StartError},
    input::Query,
    socket::Port,
    status::Status,
    tls::Tls,
};
use crate::{Condition, Verdict};

/// How many requests of owners may wait.
const QUERIES: usize = 16;

/// Sends requests to a [`Replica`]. Clones address the same one. After the replica has ended, every
/// request fails with [`QueryError::Closed`].
#[derive(Clone, Debug)]
pub struct Handle {
    /// The way to the driver.
    queries: mpsc::Sender<Query>,
}

impl Handle {
    /// See [`Replica::status`].
    ///
    /// # Errors
    /// [`QueryError::Closed`].
    pub async fn status(&self) -> Result<Status, QueryError> {
        let (answer, status) = oneshot::channel();
        self.send(Query::Status(answer)).await?;
        status.await.map_err(|_ended| QueryError::Closed)
    }

    /// See [`Replica::verify`].
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn verify(&self, peer: MemberId) -> Result<Verdict, QueryError> {
        let (answer, verdict) = oneshot::channel();
        self.send(Query::Verify(peer, answer)).await?;
        verdict.await.map_err(|_ended| QueryError::Closed)?
    }

    /// Replaces the proof of this location's identity, for example after its certificate was renewed. Links that are
    /// up stay up. Peers without a link are dialled at once, because they may have rejected the former certificate.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub async fn set_identity(&self, identity: Identity) -> Result<(), IdentityError> {
        let (answer, done) = oneshot::channel();
        let query = Query::SetIdentity(Box::new(identity), answer);
        self.send(query).await.map_err(|_ended| IdentityError::Closed)?;
        let done = done.await.map_err(|_ended| IdentityError::Closed)?;
        done.map_err(IdentityError::Unusable)
    }

    /// Closes all links, because the proof of this location's identity has expired, or it trusts other authorities: links
    /// that are up would stay up. Peers are dialled again, and prove their identity again.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn unlink(&self, reason: &'static str) -> Result<(), QueryError> {
        self.send(Query::Unlink(reason)).await
    }

    /// Sets the conditions of this location that are reported to its peers, as of now: the peers' status shows them.
    /// Call it about once a second, because how far catch-up is travels with them.
    ///
    /// # Errors
    /// [`QueryError::Closed`].
    pub async fn set_conditions(&self, conditions: Vec<Condition>) -> Result<(), QueryError> {
        self.send(Query::SetConditions(conditions)).await
    }

    /// Sends pieces of usage of global limits, each to one peer or to all that a link is up to: see
    /// [`Core::send_usage`](crate::Core::send_usage).
    ///
    /// # Errors
    /// [`QueryError::Closed`].
    pub async fn send_usage(
        &self,
        pieces: Vec<(Option<MemberId>, Bytes)>,
    ) -> Result<(), QueryError> {
        self.send(Query::Usage(pieces)).await
    }

    /// Sends a request to the driver, and waits while `QUERIES` others wait.
    async fn send(&self, query: Query) -> Result<(), QueryError> {
        self.queries.send(query).await.map_err(|_ended| QueryError::Closed)
    }
}

/// A store's part in its cluster. Dropping it ends replication soon; [`Replica::close`] waits for the end.
#[derive(Debug)]
pub struct Replica {
    /// The owner's own handle, of which clones are given out.
    handle: Handle,
    /// Ends the driver when it is set or dropped.
    closing: watch::Sender<bool>,
    /// The driver's task; none once `close` waits for it.
    driver: Option<JoinHandle<()>>,
    /// The address that the replica listens on.
    local: SocketAddr,
}

impl Replica {
    /// Binds the port and begins to replicate a store. The store should have been opened as
    /// [`replicated`](kv_core::Options::replicated), and nothing else should replicate it.
    ///
    /// Must be called on a tokio runtime, which runs the replica from then on.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, store: Store) -> Result<Replica, StartError> {
        let tls = Arc::new(Tls::new(&config)?);
        let port = Port::bind(config.listen, &config.tuning, &tls)
            .map_err(|source| StartError::Bind { address: config.listen, source })?;
        let (queries, requests) = mpsc::channel(QUERIES);
        let (closing, is_closing) = watch::channel(false);
        let local = port.local();
        let started = Driver::start(config, store, tls, port, (requests, is_closing)).await;
        let driver = match started {
            Ok(driver) => driver,
            Err((error, port)) => {
                port.close().await;
                return Err(error);
            }
        };
        let driver = Some(tokio::spawn(driver.run()));
        Ok(Replica { handle: Handle { queries }, closing, driver, local })
    }

    /// Returns the address that it listens on, with the port that the system chose if the configuration
    /// names none.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Returns the state of the replica and of its links.
    ///
    /// # Errors
    /// [`QueryError::Closed`].
    pub async fn status(&self) -> Result<Status, QueryError> {
        self.handle.status().await
    }

    /// Returns a handle for [`Replica::status`] and [`Replica::verify`] that may be cloned.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Compares everything that this location and a peer hold: see [`crate::Event::Verify`]. This may take
    /// long; dropping the future ends the wait and not the comparison.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn verify(&self, peer: MemberId) -> Result<Verdict, QueryError> {
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
