//! A location of the demo: a store in a directory, and the replica that links it with others.

use std::{net::SocketAddr, path::PathBuf, thread, time::Duration};

use kv_core::{
    MemberId, NamespaceId, Operation, Options, Store, Version,
    env::{Environment as _, SystemEnvironment},
};
use kv_replicate::{
    Verdict,
    quic::{AskError, Config, Replica},
};

use super::{
    DemoError,
    step::{Step, blocking},
};

/// A store of the demo holds little.
const CACHE_BYTES: usize = 8 << 20;

/// Between two looks at what is measured.
const BETWEEN_LOOKS: Duration = Duration::from_micros(100);

/// A location.
pub(super) struct Place {
    /// What people call it.
    pub(super) name: &'static str,
    config: Config,
    store: Store,
    /// None while it is cut off.
    replica: Option<Replica>,
}

/// A put that is on the disk of the location where it was made.
pub(super) struct Put {
    /// Which write.
    pub(super) version: Version,
    /// When it was acknowledged, on the clock of the demo.
    pub(super) at: Duration,
    /// How long that took.
    pub(super) took: Duration,
}

impl Place {
    /// Opens a store and starts its replica, on any port; from then on it has that port.
    pub(super) async fn start(
        name: &'static str,
        directory: PathBuf,
        mut config: Config,
    ) -> Result<Place, DemoError> {
        let options = Options::new().replicated(true).cache_bytes(CACHE_BYTES);
        let store = blocking(move || Ok(options.open(directory)?)).await?;
        let replica = Replica::start(config.clone(), store.clone()).await?;
        config.listen = replica.local_address();
        Ok(Place { name, config, store, replica: Some(replica) })
    }

    /// Its id.
    pub(super) fn member(&self) -> MemberId {
        self.config.member
    }

    /// Its UDP address.
    pub(super) fn address(&self) -> SocketAddr {
        self.config.listen
    }

    /// Makes a location a member of the cluster, durably.
    pub(super) async fn admit(&self, other: &Place) -> Result<(), DemoError> {
        let (store, member) = (self.store.clone(), other.as_member());
        blocking(move || Ok(store.submit(member)?.wait().map(drop)?)).await
    }

    fn as_member(&self) -> Operation {
        Operation::PutMember {
            id: self.member(),
            origins: self.store.origins(),
            name: self.name.to_owned(),
            addresses: vec![self.address().to_string()],
        }
    }

    /// Makes the namespace that the demo writes to.
    pub(super) async fn make_namespace(&self) -> Result<NamespaceId, DemoError> {
        let store = self.store.clone();
        blocking(move || Ok(store.create_namespace("demo")?.id)).await
    }

    /// Cuts it off: the port is closed, and the links with it. The store goes on.
    pub(super) async fn cut(&mut self) -> Result<(), DemoError> {
        if let Some(replica) = self.replica.take() {
            replica.close().await;
        }
        Ok(())
    }

    /// Starts its replica again, on the port that it had.
    pub(super) async fn heal(&mut self) -> Result<(), DemoError> {
        let replica = Replica::start(self.config.clone(), self.store.clone()).await?;
        self.replica = Some(replica);
        Ok(())
    }

    fn replica(&self) -> Result<&Replica, AskError> {
        self.replica.as_ref().ok_or(AskError::Closed)
    }

    /// Whether it is a member that has all, linked with so many others and no more.
    pub(super) async fn is_linked_with(&self, others: usize) -> Result<bool, DemoError> {
        let status = self.replica()?.status().await?;
        let is_up = |peer: &&kv_replicate::quic::Peer| peer.is_connected && peer.state.is_known;
        Ok(status.is_joined && status.peers.values().filter(is_up).count() == others)
    }

    /// Compares all that it holds with what another does.
    pub(super) async fn verify(&self, other: &Place) -> Result<Verdict, DemoError> {
        Ok(self.replica()?.verify(other.member()).await?)
    }

    /// Whether the two have seen the same writes.
    pub(super) fn has_seen_the_same_as(&self, other: &Place) -> bool {
        self.store.durable_view().vector() == other.store.durable_view().vector()
    }

    /// Puts a value, and waits until it is durable here.
    pub(super) async fn put(&self, clock: SystemEnvironment, row: Row) -> Result<Put, DemoError> {
        let store = self.store.clone();
        blocking(move || {
            let begun = clock.monotonic();
            let version = store.put(row.namespace, row.key, row.value)?.version;
            let at = clock.monotonic();
            Ok(Put { version, at, took: at.saturating_sub(begun) })
        })
        .await
    }

    /// What a key holds here, and which write that is.
    pub(super) fn get(&self, row: Row) -> Result<Option<(String, Version)>, DemoError> {
        let Some(entry) = self.store.get(row.namespace, row.key)? else { return Ok(None) };
        let value = entry.body.read()?;
        Ok(Some((String::from_utf8_lossy(&value).into_owned(), entry.version)))
    }

    /// Looks, on a thread of its own, until a value can be read here: says when, on the clock of the demo.
    pub(super) async fn sees(
        &self,
        clock: SystemEnvironment,
        step: Step,
        row: Row,
    ) -> Result<Duration, DemoError> {
        let (store, ends) = (self.store.clone(), clock.monotonic() + step.left());
        let what = format!("{} reads {}", self.name, row.key);
        blocking(move || {
            while clock.monotonic() < ends {
                let entry = store.get(row.namespace, row.key)?;
                if let Some(entry) = entry
                    && entry.body.read()? == row.value
                {
                    return Ok(clock.monotonic());
                }
                thread::sleep(BETWEEN_LOOKS);
            }
            Err(DemoError::InVain { what })
        })
        .await
    }

    /// Ends it, its links first.
    pub(super) async fn close(mut self) -> Result<(), DemoError> {
        self.cut().await?;
        let store = self.store;
        blocking(move || Ok(store.close()?)).await
    }
}

/// A key of the demo, and what is put there.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// Where.
    pub(super) namespace: NamespaceId,
    /// Which key.
    pub(super) key: &'static str,
    /// Its value.
    pub(super) value: &'static str,
}
