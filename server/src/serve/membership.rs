//! The server's part of a cluster: it joins before it starts, and lets newcomers in where the key of
//! the cluster's CA is.

use std::{path::Path, sync::Arc};

use kv_core::{Operation, Store, env::Environment, env::SystemEnvironment};
use quinn::{Endpoint, VarInt};
use tokio::task::JoinHandle;

use super::ServeError;
use crate::{
    cluster::{
        self, About, Address, Authority, Joined, Joining, Location,
        enrol::{Door, admit_to, server},
    },
    config::Config,
};

/// Becomes a member, if the settings say so.
pub(super) async fn join(config: &Config) -> Result<(), ServeError> {
    let Some(token) = config.join.clone() else { return Ok(()) };
    let (data, listen) = (config.data.clone(), config.cluster_listen);
    let (location, advertise) = (config.location.clone(), config.advertise.clone());
    let joining = Joining { token, data, location, advertise, listen };
    let joined = cluster::join(&joining, &SystemEnvironment::new()).await?;
    let About { cluster_name, location, .. } = joined.about();
    match &joined {
        Joined::New(_) => tracing::info!("joined the cluster {cluster_name} as {location}"),
        Joined::Renewed(_) => tracing::info!("the certificate of {location} was made anew"),
        Joined::Already(_) => {
            tracing::info!("a member of the cluster {cluster_name} already: the token is not used");
        }
    }
    Ok(())
}

/// The location's part of a cluster; none if it is in none.
pub(super) fn load(data: &Path) -> Result<Option<Location>, ServeError> {
    let location = cluster::open(data, SystemEnvironment::new().now_ms() / 1000)?;
    if let Some(location) = &location {
        location.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    Ok(location)
}

/// Where newcomers come in, as long as the server runs.
#[derive(Debug)]
pub(super) struct Newcomers {
    endpoint: Endpoint,
    serving: JoinHandle<()>,
}

impl Newcomers {
    /// Lets newcomers in, where the key of the CA is. The location that founded the cluster is its
    /// first member.
    pub(super) async fn start(
        location: &Location,
        data: &Path,
        store: &Store,
    ) -> Result<Option<Newcomers>, ServeError> {
        let authority = Authority::open(data).map_err(cluster::location::LoadError::from)?;
        let Some(authority) = authority else { return Ok(None) };
        let founder = (location.about.clone(), store.clone());
        tokio::task::spawn_blocking(move || be_member(&founder.0, &founder.1)).await??;
        let listen = location.about.listen;
        let endpoint = server::listen(listen, location)
            .map_err(|source| ServeError::ClusterListen { listen, source })?;
        let store = store.clone();
        let admit = Box::new(move |newcomer: &_| admit_to(&store, newcomer));
        let door = Arc::new(Door::new(authority, admit, Arc::new(SystemEnvironment::new())));
        let serving = tokio::spawn(door.serve(endpoint.clone()));
        let address = endpoint.local_addr()?;
        tracing::info!("newcomers to the cluster come in at {address} (UDP)");
        Ok(Some(Newcomers { endpoint, serving }))
    }

    /// Lets nobody in any more; who is being let in hears the end of it.
    pub(super) async fn stop(self) -> Result<(), ServeError> {
        self.endpoint.close(VarInt::from_u32(0), b"the server stops");
        Ok(self.serving.await?)
    }
}

/// Writes the founder's row, unless it is there as it should be.
fn be_member(about: &About, store: &Store) -> Result<(), ServeError> {
    let (id, origins, name) = (about.member, store.origins(), about.location.to_string());
    let addresses: Vec<String> = about.advertise.iter().map(Address::to_string).collect();
    let is_there = store.view().members().get(id).is_some_and(|member| {
        member.origins == origins && member.name == name && member.addresses == addresses
    });
    if !is_there {
        let operation = Operation::PutMember { id, origins, name, addresses };
        store.submit(operation).and_then(|ticket| ticket.wait()).map_err(ServeError::Member)?;
    }
    Ok(())
}
