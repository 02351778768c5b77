//! The server's part of a cluster: it joins before it starts, replicates its store, and lets newcomers in
//! where the key of the cluster's CA is.

use std::{path::Path, sync::Arc, time::Duration};

use kv_core::{Operation, Store, env::Environment, env::SystemEnvironment};
use kv_replicate::quic::{self, Guests, Replica};
use tokio::{task::JoinHandle, time::sleep};

use super::{ServeError, make_namespaces};
use crate::{
    cluster::{
        self, About, Address, Authority, Joined, Joining, Location,
        enrol::{ALPN, Door, admit_to},
        files::{self, ClusterDir},
    },
    config::Config,
    membership::{Membership, progress},
};

/// How often a location that joins looks whether it has, and how often it says how far it is.
const LOOK: Duration = Duration::from_millis(50);
const SAY: Duration = Duration::from_secs(2);

/// How often the state that `/readyz` tells is brought up to date afterwards.
const LOOK_LATER: Duration = Duration::from_secs(1);

/// Becomes a member, if the settings say so.
pub(super) async fn join(config: &Config) -> Result<(), ServeError> {
    let Some(token) = config.join.clone() else { return Ok(()) };
    let (data, listen) = (config.data.clone(), config.cluster_listen);
    let (location, advertise) = (config.location.clone(), config.advertise.clone());
    let joining = Joining { token, data, location, advertise, listen };
    let joined = cluster::join(&joining, &SystemEnvironment::new()).await?;
    let About { cluster_name, location, .. } = joined.about();
    match &joined {
        Joined::New(_) => tracing::info!("a member of the cluster {cluster_name} as {location}"),
        Joined::Renewed(_) => tracing::info!("the certificate of {location} was made anew"),
        Joined::Already(_) => {
            tracing::info!("a member of the cluster {cluster_name} already: the token is not used");
        }
    }
    Ok(())
}

/// The location's part in a cluster; none if it is in none.
pub(super) fn load(data: &Path) -> Result<Option<Location>, ServeError> {
    let location = cluster::open(data, SystemEnvironment::new().now_ms() / 1000)?;
    if let Some(location) = &location {
        location.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    Ok(location)
}

/// A store's replication, as long as the server runs.
#[derive(Debug)]
pub(super) struct Replication {
    replica: Replica,
    membership: Arc<Membership>,
    watching: JoinHandle<()>,
}

impl Replication {
    /// Begins to replicate. The location that founded the cluster is its first member; where the key of the
    /// CA is, newcomers are let in on the same port.
    pub(super) async fn start(
        location: &Location,
        config: &Config,
        store: &Store,
    ) -> Result<Replication, ServeError> {
        let authority =
            Authority::open(&config.data).map_err(cluster::location::LoadError::from)?;
        if authority.is_some() {
            let founder = (location.about.clone(), store.clone());
            let data = config.data.clone();
            tokio::task::spawn_blocking(move || be_member(&data, &founder.0, &founder.1)).await??;
        }
        let guests = authority.map(|authority| newcomers(authority, store));
        let listen = location.about.listen;
        let replica = Replica::start(replica(location, guests), store.clone())
            .await
            .map_err(|source| ServeError::Replicate { listen, source })?;
        let membership = Arc::new(Membership::new(location.about.clone(), replica.handle()));
        let address = replica.local_address();
        tracing::info!("listens for the other locations at {address} (UDP)");
        // A member of long standing takes writes at once.
        let _ends_with_it = membership.status().await;
        if membership.is_joined() {
            make_namespaces(store, config)?;
        }
        let watching = (Arc::clone(&membership), store.clone(), config.clone());
        let watching = tokio::spawn(watch(watching.0, watching.1, watching.2));
        Ok(Replication { replica, membership, watching })
    }

    /// What doors ask.
    pub(super) fn membership(&self) -> Arc<Membership> {
        Arc::clone(&self.membership)
    }

    /// Ends all links and frees the port; who was being let in hears the end of it.
    pub(super) async fn stop(self) {
        self.watching.abort();
        self.replica.close().await;
    }
}

fn replica(location: &Location, guests: Option<Guests>) -> quic::Config {
    let about = &location.about;
    let identity = quic::Identity {
        authorities: vec![location.ca.to_vec()],
        chain: location.chain.iter().map(|certificate| certificate.to_vec()).collect(),
        key: location.key.secret_der().to_vec(),
    };
    let mut config = quic::Config::new(about.listen, about.cluster.0, about.member, identity);
    config.bootstrap = (about.dial.iter())
        .map(|peer| (peer.member, peer.addresses.iter().map(Address::to_string).collect()))
        .collect();
    config.guests = guests;
    config
}

fn newcomers(authority: Authority, store: &Store) -> Guests {
    let store = store.clone();
    let admit = Box::new(move |newcomer: &_| admit_to(&store, newcomer));
    let door = Arc::new(Door::new(authority, admit, Arc::new(SystemEnvironment::new())));
    let serve = Arc::new(move |connection| {
        let door = Arc::clone(&door);
        let heard: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { door.hear(connection).await });
        heard
    });
    Guests { alpn: ALPN.to_vec(), serve }
}

/// Says how far a location is that joins; then keeps what `/readyz` tells true.
async fn watch(membership: Arc<Membership>, store: Store, config: Config) {
    if !membership.is_joined() {
        tracing::info!("joining: it takes writes once it has what the others have");
        let mut said = 0;
        while !membership.is_joined() {
            sleep(LOOK).await;
            let Ok(status) = membership.status().await else { return };
            said += 1;
            if LOOK * said >= SAY && !status.is_joined {
                said = 0;
                tracing::info!("joining: {}", progress(&status));
            }
        }
        tracing::info!("joined: this location has what the others had, and takes writes");
        let made = tokio::task::spawn_blocking(move || make_namespaces(&store, &config)).await;
        if let Ok(Err(error)) = made {
            tracing::error!("{error}");
        }
    }
    while membership.status().await.is_ok() {
        sleep(LOOK_LATER).await;
    }
}

/// Writes the founder's row, unless it is there as it should be. A store that is another than the one that had
/// the row is refused: it would take itself for a whole cluster.
fn be_member(data: &Path, about: &About, store: &Store) -> Result<(), ServeError> {
    let (id, origins, name) = (about.member, store.origins(), about.location.to_string());
    let directory = ClusterDir::of(data);
    let ours = format!("{}\n{}\n", origins[0], origins[1]);
    let had_row = directory.has(files::STORE);
    if had_row && directory.read(files::STORE).map_err(cluster::location::LoadError::from)? != ours
    {
        return Err(ServeError::OtherStore { data: data.to_owned() });
    }
    let addresses: Vec<String> = about.advertise.iter().map(Address::to_string).collect();
    let is_there = store.view().members().get(id).is_some_and(|member| {
        member.origins == origins && member.name == name && member.addresses == addresses
    });
    if !is_there {
        let operation = Operation::PutMember { id, origins, name, addresses };
        store.submit(operation).and_then(|ticket| ticket.wait()).map_err(ServeError::Member)?;
    }
    if !had_row {
        directory.write(files::STORE, &ours).map_err(cluster::location::LoadError::from)?;
    }
    Ok(())
}
