//! The server's part of a cluster: it joins before it starts, replicates its store, and lets newcomers in
//! where the key of the cluster's CA is.

use std::{path::Path, sync::Arc, time::Duration};

use kv_core::{Operation, Store, WriteError, env::Environment, env::SystemEnvironment};
use kv_replicate::{
    Notice,
    quic::{self, Guests, Replica},
};
use tokio::{task::JoinHandle, time::sleep};

use super::{ServeError, make_namespaces};
use crate::{
    cluster::{
        self, About, Address, Authority, Joined, Joining, Location,
        about::Peer,
        enrol::{Api, Newcomer, Registry, StoreRegistry},
        files::{self, ClusterDir},
    },
    config::Config,
    membership::{Membership, Standing, progress},
};

/// How often a location that joins looks whether it has, and how often it says how far it is.
const LOOK: Duration = Duration::from_millis(50);
const SAY: Duration = Duration::from_secs(2);

/// How often the state that `/readyz` tells is brought up to date afterwards.
const LOOK_LATER: Duration = Duration::from_secs(1);

/// How often certificates that end soon are logged.
const SAY_ENDS: Duration = Duration::from_secs(24 * 60 * 60);

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
        let standing = Arc::new(Standing::new());
        let guests = authority.map(|authority| newcomers(authority, store, &standing));
        let mut replicated = replica(location, guests.transpose()?);
        replicated.on_notice = Some({
            let standing = Arc::clone(&standing);
            Arc::new(move |notice: &Notice| {
                if let Notice::Halted(why) = notice {
                    standing.halted(why);
                }
            })
        });
        let listen = location.about.listen;
        let replica = Replica::start(replicated, store.clone())
            .await
            .map_err(|source| ServeError::Replicate { listen, source })?;
        let about = location.about.clone();
        let membership = Membership::new(about, location.ends, replica.handle(), standing);
        let membership = Arc::new(membership);
        let address = replica.local_address();
        tracing::info!("listens for the other locations at {address} (UDP)");
        // A member of long standing takes writes at once.
        let _ends_with_it = membership.status().await;
        if membership.is_joined()
            && let Err(error) = settle(location.about.clone(), store.clone(), config.clone()).await
        {
            // The store is closed next, and not under what replicates it.
            replica.close().await;
            return Err(error);
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

/// Where newcomers come in: not at a location that replicates no more, for what it writes of them would go
/// nowhere.
fn newcomers(
    authority: Authority,
    store: &Store,
    standing: &Arc<Standing>,
) -> Result<Guests, ServeError> {
    let registry =
        Founder { members: StoreRegistry(store.clone()), standing: Arc::clone(standing) };
    let environment = Arc::new(SystemEnvironment::new());
    let api = Api::new(authority, Box::new(registry), environment).map_err(ServeError::Limiter)?;
    Ok(Arc::new(api).guests())
}

/// The members in the store of the location that lets newcomers in.
struct Founder {
    members: StoreRegistry,
    standing: Arc<Standing>,
}

impl Registry for Founder {
    fn check(&mut self, newcomer: &Newcomer) -> Result<(), String> {
        match self.standing.over() {
            Some(why) => Err(format!("the location that invites lets nobody in, for {why}")),
            None => self.members.check(newcomer),
        }
    }

    fn admit(&mut self, newcomer: &Newcomer) -> Result<Vec<Peer>, String> {
        self.members.admit(newcomer)
    }
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
        if let Err(error) = settle(membership.about().clone(), store, config).await {
            tracing::error!("{error}");
        }
    }
    let environment = SystemEnvironment::new();
    let mut next = SAY_ENDS;
    while membership.status().await.is_ok() {
        sleep(LOOK_LATER).await;
        // The start has said what there was to say then.
        if environment.monotonic() >= next {
            next = environment.monotonic() + SAY_ENDS;
            let alarms = membership.ends().alarms(environment.now_ms() / 1000);
            alarms.iter().for_each(|alarm| tracing::warn!("{alarm}"));
        }
    }
}

/// Writes the founder's row, unless it has one. A store that is another than the one that had the row is refused:
/// it would take itself for a whole cluster.
fn be_member(data: &Path, about: &About, store: &Store) -> Result<(), ServeError> {
    let origins = store.origins();
    let directory = ClusterDir::of(data);
    let ours = format!("{}\n{}\n", origins[0], origins[1]);
    let had_row = directory.has(files::STORE);
    if had_row && directory.read(files::STORE).map_err(cluster::location::LoadError::from)? != ours
    {
        return Err(ServeError::OtherStore { data: data.to_owned() });
    }
    // Who has a row says what is new of it when the replica runs, as all locations do.
    if !store.view().members().is_current(about.member) {
        write_own_row(about, store).map_err(ServeError::Member)?;
    }
    if !had_row {
        directory.write(files::STORE, &ours).map_err(cluster::location::LoadError::from)?;
    }
    Ok(())
}

/// Writes this location's row, unless it says what `cluster.toml` says.
fn write_own_row(about: &About, store: &Store) -> Result<(), WriteError> {
    let (id, origins, name) = (about.member, store.origins(), about.location.to_string());
    let addresses: Vec<String> = about.advertise.iter().map(Address::to_string).collect();
    let is_there = store.view().members().get(id).is_some_and(|member| {
        member.origins == origins && member.name == name && member.addresses == addresses
    });
    if !is_there {
        let operation = Operation::PutMember { id, origins, name, addresses };
        store.submit(operation)?.wait()?;
    }
    Ok(())
}

/// Writes the row of a location that has one. If that fails, it is a member as it was, and the others may find
/// it there still.
fn tell_own_row(about: &About, store: &Store) {
    if let Err(error) = write_own_row(about, store) {
        tracing::error!(
            "what cluster/cluster.toml says of this location (its name, and `advertise`) can't be told the \
             others: {error}"
        );
    }
}

/// What a location that has joined does at each start: others are to find it where it is, and the namespaces of
/// its settings are to be there.
async fn settle(about: About, store: Store, config: Config) -> Result<(), ServeError> {
    let settling = move || {
        tell_own_row(&about, &store);
        make_namespaces(&store, &config)
    };
    tokio::task::spawn_blocking(settling).await?
}

#[cfg(test)]
mod tests {
    use kv_core::{MemberId, Options, OriginId};
    use tempfile::TempDir;

    use super::*;
    use crate::cluster::{about::Which, names::ClusterId};

    fn called(name: &str) -> About {
        let which = Which { id: ClusterId([3; 16]), name: "prod".parse().expect("a name") };
        let (name, address) = (name.parse().expect("a name"), "192.0.2.1:8421");
        let advertise = vec![address.parse().expect("an address")];
        About::new(which, MemberId([1; 16]), name, advertise, ([127, 0, 0, 1], 0).into())
    }

    #[test]
    fn a_founder_with_a_row_starts_also_if_its_file_says_a_name_that_is_taken() {
        let data = TempDir::new().expect("a directory");
        ClusterDir::of(data.path()).make().expect("a directory");
        let store = Options::new().replicated(true).open(data.path()).expect("a store");
        let ams = Operation::PutMember {
            id: MemberId([2; 16]),
            origins: [OriginId([8; 16]), OriginId([9; 16])],
            name: "ams".into(),
            addresses: vec!["192.0.2.2:8421".into()],
        };
        store.submit(ams).and_then(kv_core::Ticket::wait).expect("a member");
        let first = be_member(data.path(), &called("ams"), &store).expect_err("it has no row");
        assert!(first.to_string().contains("cluster/cluster.toml"), "{first}");
        be_member(data.path(), &called("fra"), &store).expect("it is a member");
        be_member(data.path(), &called("ams"), &store).expect("it is one already");
        let view = store.view();
        assert_eq!(view.members().get(MemberId([1; 16])).expect("its row").name, "fra");
    }
}
