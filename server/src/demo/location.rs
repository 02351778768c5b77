//! A location of the demo: a store in a directory, and the replica that links it with others.

use std::{net::SocketAddr, path::PathBuf, thread, time::Duration};

use kv_core::{
    MemberId, NamespaceId, Operation, Options, ReadError, Store, Version,
    env::{Environment as _, SystemEnvironment},
};
use kv_replicate::{
    Verdict,
    quic::{Config, QueryError, Replica},
};

use super::{
    error::DemoError,
    step::{Step, blocking},
};

/// A small cache, because a store of the demo holds little.
const CACHE_BYTES: usize = 8 << 20;

/// The pause between two checks of something that is measured.
const BETWEEN_CHECKS: Duration = Duration::from_micros(100);

/// A location of the demo.
pub(super) struct Location {
    /// Its name.
    pub(super) name: &'static str,
    /// The replica's configuration, to start it again.
    config: Config,
    /// The store of the location.
    store: Store,
    /// None while it is disconnected.
    replica: Option<Replica>,
}

/// A put that is on the disk of its location.
pub(super) struct Put {
    /// The version of the write.
    pub(super) version: Version,
    /// When it was acknowledged, on the demo's clock.
    pub(super) at: Duration,
    /// How long that took.
    pub(super) took: Duration,
}

impl Location {
    /// Opens a store and starts its replica, on any port, which the location keeps from then on.
    pub(super) async fn start(
        name: &'static str,
        directory: PathBuf,
        mut config: Config,
    ) -> Result<Location, DemoError> {
        let mut options = Options::new().replicated(true).cache_bytes(CACHE_BYTES);
        options = options.member(config.member);
        if !config.bootstrap.is_empty() {
            options = options.joining();
        }
        let store = blocking(move || Ok(options.open(directory)?)).await?;
        let replica = Replica::start(config.clone(), store.clone()).await?;
        config.listen = replica.local_address();
        Ok(Location { name, config, store, replica: Some(replica) })
    }

    /// Returns its id.
    pub(super) fn member(&self) -> MemberId {
        self.config.member
    }

    /// Returns its UDP address.
    pub(super) fn address(&self) -> SocketAddr {
        self.config.listen
    }

    /// Makes a location a member of the cluster, durably.
    pub(super) async fn admit(&self, other: &Location) -> Result<(), DemoError> {
        let (store, member) = (self.store.clone(), other.as_member());
        blocking(move || Ok(store.submit(member)?.wait().map(drop)?)).await
    }

    /// The operation that makes the location a member.
    fn as_member(&self) -> Operation {
        Operation::PutMember {
            id: self.member(),
            name: self.name.to_owned(),
            addresses: vec![self.address().to_string()],
        }
    }

    /// Creates the namespace that the demo writes to.
    pub(super) async fn create_namespace(&self) -> Result<NamespaceId, DemoError> {
        let store = self.store.clone();
        blocking(move || Ok(store.create_namespace("demo")?.id)).await
    }

    /// Closes its port and all its links. The store stays open.
    pub(super) async fn disconnect(&mut self) -> Result<(), DemoError> {
        if let Some(replica) = self.replica.take() {
            replica.close().await;
        }
        Ok(())
    }

    /// Restarts its replica, on the same port.
    pub(super) async fn reconnect(&mut self) -> Result<(), DemoError> {
        let replica = Replica::start(self.config.clone(), self.store.clone()).await?;
        self.replica = Some(replica);
        Ok(())
    }

    /// The running replica; an error while the location is cut off.
    fn replica(&self) -> Result<&Replica, QueryError> {
        self.replica.as_ref().ok_or(QueryError::Closed)
    }

    /// Whether it has joined, and is linked with exactly `others` others.
    pub(super) async fn is_linked_with(&self, others: usize) -> Result<bool, DemoError> {
        let status = self.replica()?.status().await?;
        let is_up = |peer: &&kv_replicate::quic::Peer| peer.is_connected && peer.state.is_known;
        Ok(status.is_joined && status.peers.values().filter(is_up).count() == others)
    }

    /// Compares everything that it holds with another location.
    pub(super) async fn verify(&self, other: &Location) -> Result<Verdict, DemoError> {
        Ok(self.replica()?.verify(other.member()).await?)
    }

    /// Whether two locations have the same version vector.
    pub(super) fn has_same_vector_as(&self, other: &Location) -> bool {
        self.store.durable_view().vector() == other.store.durable_view().vector()
    }

    /// Puts a value, and waits until it is durable at this location.
    pub(super) async fn put(&self, clock: SystemEnvironment, row: Row) -> Result<Put, DemoError> {
        let store = self.store.clone();
        blocking(move || {
            let start = clock.monotonic();
            let version = store.put(row.namespace, row.key, row.value)?.version;
            let at = clock.monotonic();
            Ok(Put { version, at, took: at.saturating_sub(start) })
        })
        .await
    }

    /// Returns the value of a key at this location, and its version.
    pub(super) fn get(&self, row: Row) -> Result<Option<(String, Version)>, DemoError> {
        let Some(entry) = self.store.get(row.namespace, row.key)? else { return Ok(None) };
        let value = entry.body.read()?;
        Ok(Some((String::from_utf8_lossy(&value).into_owned(), entry.version)))
    }

    /// Reads a key, on a thread of its own, until it has a value. Returns when, on the demo's clock.
    pub(super) async fn await_value(
        &self,
        clock: SystemEnvironment,
        step: Step,
        row: Row,
    ) -> Result<Duration, DemoError> {
        let (store, deadline) = (self.store.clone(), clock.monotonic() + step.left());
        let until = format!("{} reads {}", self.name, row.key);
        blocking(move || {
            while clock.monotonic() < deadline {
                let entry = match store.get(row.namespace, row.key) {
                    // The namespace is on its way as well.
                    Err(ReadError::UnknownNamespace(_)) => None,
                    entry => entry?,
                };
                if let Some(entry) = entry
                    && entry.body.read()? == row.value
                {
                    return Ok(clock.monotonic());
                }
                thread::sleep(BETWEEN_CHECKS);
            }
            Err(DemoError::TimedOut { until })
        })
        .await
    }

    /// Closes its links, then its store.
    pub(super) async fn close(mut self) -> Result<(), DemoError> {
        self.disconnect().await?;
        let store = self.store;
        blocking(move || Ok(store.close()?)).await
    }
}

/// A key of the demo, and the value that is put there.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// The namespace.
    pub(super) namespace: NamespaceId,
    /// The key.
    pub(super) key: &'static str,
    /// Its value.
    pub(super) value: &'static str,
}
