//! The server's part in a cluster: it joins before it starts, replicates its store, and, at the CA
//! holder, admits joining members.

use std::{sync::Arc, time::Duration};

use kv_core::{
    MemberId, Operation, Store, Ticket, WriteError, env::Environment, env::SystemEnvironment,
};
use kv_replicate::{
    Notice, SalvagedRow,
    quic::{self, Guests, Replica},
};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    error::ServeError,
    join_token,
    renewal::{self, Proof},
    store::{OpenStore, create_namespaces},
    usage,
};
use crate::{
    cluster::{
        self, Address, Authority, Descriptor, JoinOptions, JoinOutcome, Location, Peer, Renewal,
        enrol::{AdmissionError, EnrolServer, JoiningMember, Registry, StoreRegistry},
    },
    config::{Config, Settings},
    membership::{Incidents, Membership, Readiness, progress},
    rate_limits::Exchange,
};

/// How often a joining location checks whether it has joined, and how often it logs its progress.
const JOIN_CHECK: Duration = Duration::from_millis(50);
/// The pause between two log lines on the progress of joining.
const JOIN_LOG: Duration = Duration::from_secs(2);
/// The same while there is no progress.
const SAME_LOG: Duration = Duration::from_secs(60);

/// Joins a cluster, if the settings have a token.
pub(super) async fn join(settings: &Settings) -> Result<(), ServeError> {
    let Some(token) = join_token::of(settings).await? else { return Ok(()) };
    let joining = JoinOptions {
        token,
        data: settings.data.clone(),
        location: settings.location.clone(),
        advertise: settings.advertised(),
        listen: settings.cluster_listen(),
    };
    let joined = cluster::join(&joining, &SystemEnvironment::new()).await?;
    let Descriptor { cluster_name, location, .. } = joined.descriptor();
    match &joined {
        JoinOutcome::New(_) => {
            tracing::info!("now a member of the cluster {cluster_name} as {location}");
        }
        JoinOutcome::Renewed(_) => tracing::info!("renewed the certificate of {location}"),
        JoinOutcome::Already(_) => {
            tracing::info!("already a member of the cluster {cluster_name}: the token is not used")
        }
    }
    Ok(())
}

/// The replication of a store, while the server runs.
#[derive(Debug)]
pub(super) struct Replication {
    /// The running replica.
    replica: Replica,
    /// The membership that the APIs see.
    membership: Arc<Membership>,
    /// The task that follows the replica's state.
    watching: JoinHandle<()>,
    /// The task that keeps the certificate valid.
    renewing: JoinHandle<()>,
    /// The task that exchanges what is counted of global limits.
    exchanging: JoinHandle<()>,
    /// That exchange.
    exchange: Arc<Exchange>,
}

impl Replication {
    /// Starts to replicate. The CA holder first becomes a member itself, and admits joining members on
    /// the same port.
    pub(super) async fn start(
        location: &Location,
        config: &Config,
        opened: &OpenStore,
    ) -> Result<Replication, ServeError> {
        let OpenStore { store, rate_limits } = opened;
        let descriptor = &location.descriptor;
        let authority = Authority::open(&config.settings.data)?;
        if authority.is_some() {
            let (descriptor, store) = (descriptor.clone(), store.clone());
            tokio::task::spawn_blocking(move || become_member(&descriptor, &store)).await??;
        }
        let readiness = Arc::new(Readiness::new());
        let guests = authority.map(|authority| enrol_guests(authority, store, &readiness));
        let mut replicated = replica_config(location, guests.transpose()?);
        let max_clock_skew = config.settings.max_clock_skew.get().as_millis();
        replicated.tuning.max_clock_skew_ms = u64::try_from(max_clock_skew).unwrap_or(u64::MAX);
        let incidents = Arc::new(Incidents::new(&config.settings.data));
        replicated.on_notice = Some({
            let (readiness, incidents) = (Arc::clone(&readiness), Arc::clone(&incidents));
            let (environment, exchange) =
                (SystemEnvironment::new(), Arc::clone(rate_limits.exchange()));
            Arc::new(move |notice: &Notice| {
                usage::observe(&exchange, notice);
                incidents.observe(notice, environment.now_ms() / 1000);
                if let Notice::Halted(reason) = notice {
                    readiness.halt(&reason.to_string());
                }
            })
        });
        replicated.salvage = Some({
            let (incidents, environment) = (Arc::clone(&incidents), SystemEnvironment::new());
            Arc::new(move |rows: &[SalvagedRow]| {
                incidents.salvage(rows, environment.now_ms() / 1000).map_err(Into::into)
            })
        });
        let replica = Replica::start(replicated, store.clone())
            .await
            .map_err(|source| ServeError::Replicate { listen: descriptor.listen, source })?;
        let renewal = Renewal { ca_holder: ca_holder(location, store), last_error: None };
        let (certificate, handle) = ((location.expiry, renewal), replica.handle());
        let membership =
            Membership::new(descriptor.clone(), certificate, handle, readiness, incidents);
        let membership = Arc::new(membership);
        tracing::info!("listens for other locations at {} (UDP)", replica.local_address());
        // A location that joined at an earlier start accepts writes at once.
        let _updates_readiness = membership.status().await;
        if membership.is_joined()
            && let Err(error) = settle(&membership, store.clone(), config.clone()).await
        {
            // The store is closed next, so the replica must end before that.
            replica.close().await;
            return Err(error);
        }
        let watching = tokio::spawn(watch(Arc::clone(&membership), store.clone(), config.clone()));
        let data = config.settings.data.clone();
        let used = Proof::of(location);
        let renewing =
            tokio::spawn(renewal::keep_valid(Arc::clone(&membership), store.clone(), data, used));
        let exchange = Arc::clone(rate_limits.exchange());
        let exchanging = tokio::spawn(usage::exchange(replica.handle(), exchange, store.clone()));
        let exchange = Arc::clone(rate_limits.exchange());
        Ok(Replication { replica, membership, watching, renewing, exchanging, exchange })
    }

    /// Returns the membership, for APIs.
    pub(super) fn membership(&self) -> Arc<Membership> {
        Arc::clone(&self.membership)
    }

    /// Closes all links and frees the port. Joining members in progress are disconnected, and retry.
    pub(super) async fn stop(self) {
        self.watching.abort();
        self.renewing.abort();
        self.exchanging.abort();
        usage::finish(&self.replica.handle(), &self.exchange).await;
        self.replica.close().await;
    }
}

/// The configuration of the replica, from the location's files.
fn replica_config(location: &Location, guests: Option<Guests>) -> quic::Config {
    let Descriptor { listen, cluster, member, dial, .. } = &location.descriptor;
    let mut config = quic::Config::new(*listen, cluster.0, *member, identity(location));
    let addresses = |peer: &Peer| {
        let dialable = peer.addresses.iter().filter(|address| address.is_dialable());
        dialable.map(Address::to_string).collect()
    };
    config.bootstrap = dial.iter().map(|peer| (peer.member, addresses(peer))).collect();
    config.guests = guests;
    config
}

/// What proves a location's identity to its peers.
pub(super) fn identity(location: &Location) -> quic::Identity {
    quic::Identity {
        authorities: location.trusted.iter().map(|ca| ca.to_vec()).collect(),
        chain: location.chain.iter().map(|certificate| certificate.to_vec()).collect(),
        key: location.key.secret_der().to_vec(),
    }
}

/// The name of the location that has the CA's key, if it is known: the one that this location last learned of, or the
/// first of those that it joined through.
fn ca_holder(location: &Location, store: &Store) -> Option<String> {
    let learned = location.ca_holder.as_ref().map(|holder| holder.location.to_string());
    learned.or_else(|| {
        let first = location.descriptor.dial.first()?.member;
        store.view().members().get(first).map(|member| member.name.clone())
    })
}

/// The protocol by which joining members request a certificate; none unless this location is the CA
/// holder.
fn enrol_guests(
    authority: Authority,
    store: &Store,
    readiness: &Arc<Readiness>,
) -> Result<Guests, ServeError> {
    let members = StoreRegistry(store.clone());
    let registry = CaHolderRegistry { members, readiness: Arc::clone(readiness) };
    let environment = Arc::new(SystemEnvironment::new());
    let server = EnrolServer::new(authority, Box::new(registry), environment)
        .map_err(ServeError::Limiter)?;
    Ok(Arc::new(server).guests())
}

/// The members in the store of the CA holder. It admits no location once it has stopped replicating, because
/// no other location would learn of the new member.
struct CaHolderRegistry {
    /// The members in the store.
    members: StoreRegistry,
    /// Whether this location still replicates; if not, it admits no member.
    readiness: Arc<Readiness>,
}

impl Registry for CaHolderRegistry {
    fn check(&mut self, joining: &JoiningMember) -> Result<(), AdmissionError> {
        match self.readiness.halt_reason() {
            Some(reason) => Err(AdmissionError::Halted(reason)),
            None => self.members.check(joining),
        }
    }

    fn admit(&mut self, joining: &JoiningMember) -> Result<Vec<Peer>, AdmissionError> {
        self.members.admit(joining)
    }

    fn check_renewal(&mut self, member: MemberId) -> Result<(), AdmissionError> {
        match self.readiness.halt_reason() {
            Some(reason) => Err(AdmissionError::Halted(reason)),
            None => self.members.check_renewal(member),
        }
    }
}

/// Logs the progress of a join, and does what a location does that has joined.
async fn watch(membership: Arc<Membership>, store: Store, config: Config) {
    if !membership.is_joined()
        && await_join(&membership, &store).await
        && let Err(error) = settle(&membership, store, config).await
    {
        tracing::error!("{error}");
    }
}

/// Waits until the location has joined. Returns false if its replica ends before.
async fn await_join(membership: &Membership, store: &Store) -> bool {
    tracing::info!("joining: accepts writes once it has everything that the other locations have");
    let (mut since_log, mut logged) = (Duration::ZERO, String::new());
    while !membership.is_joined() {
        sleep(JOIN_CHECK).await;
        let Ok(status) = membership.status().await else { return false };
        if status.halted.is_some() {
            // The reason is in the log already, and it can only join after a restart.
            return false;
        }
        since_log += JOIN_CHECK;
        let view = store.view();
        let progress = progress(&status, |id| {
            view.members().get(id).map_or_else(|| id.to_string(), |member| member.name.clone())
        });
        let is_due = since_log >= if progress == logged { SAME_LOG } else { JOIN_LOG };
        if is_due && !status.is_joined {
            tracing::info!("joining: {progress}");
            (since_log, logged) = (Duration::ZERO, progress);
        }
    }
    tracing::info!("joined: this location has what the others had, and accepts writes");
    true
}

/// Writes the member row of the CA holder, unless it has one, or has lost its store: a new store gets the row from the
/// other locations, with everything else. Blocks.
fn become_member(descriptor: &Descriptor, store: &Store) -> Result<(), ServeError> {
    // Once it has a row, changes are announced after the replica has started, as at every location.
    let view = store.view();
    // A removed one keeps the row that says so.
    if !view.is_rebuilding() && view.members().get(descriptor.member).is_none() {
        write_own_row(descriptor, store).map_err(ServeError::Member)?;
    }
    Ok(())
}

/// Writes this location's member row, unless it equals `cluster.toml` and describes this program. Blocks.
fn write_own_row(descriptor: &Descriptor, store: &Store) -> Result<(), WriteError> {
    let id = descriptor.member;
    let name = descriptor.location.to_string();
    let addresses: Vec<String> = descriptor.advertise.iter().map(Address::to_string).collect();
    let view = store.view();
    let is_equal = (view.members().get(id))
        .is_some_and(|member| member.name == name && member.addresses == addresses);
    let write = |operation| store.submit(operation).and_then(Ticket::wait).map(drop);
    let named = match is_equal {
        true => Ok(()),
        false => write(Operation::PutMember { id, name, addresses }),
    };
    // The others wait for it before they use new features, also if the name is taken. The same program a second time is
    // no write.
    let announced = write(Operation::PutSoftware { id, software: kv_replicate::software() });
    named.and(announced)
}

/// Does what a joined location does at each start: announces its name and addresses, and creates the
/// namespaces of its settings.
async fn settle(membership: &Membership, store: Store, config: Config) -> Result<(), ServeError> {
    let descriptor = membership.descriptor().clone();
    let settling = move || {
        // If this fails, the member row is as before, and other locations may still reach this one.
        if let Err(error) = write_own_row(&descriptor, &store) {
            tracing::error!(
                "can't announce the name and addresses in cluster/cluster.toml to the other locations: {error}"
            );
        }
        create_namespaces(&store, &config)
    };
    tokio::task::spawn_blocking(settling).await?
}

#[cfg(test)]
mod tests {
    use kv_core::{MemberId, Options};
    use tempfile::TempDir;

    use super::*;
    use crate::cluster::{ClusterId, state::descriptor::ClusterRef};

    fn called(name: &str) -> Descriptor {
        let cluster = ClusterRef { id: ClusterId([3; 16]), name: "prod".parse().expect("a name") };
        let (name, address) = (name.parse().expect("a name"), "192.0.2.1:8421");
        let advertise = vec![address.parse().expect("an address")];
        Descriptor::new(cluster, MemberId([1; 16]), name, advertise, ([127, 0, 0, 1], 0).into())
    }

    #[test]
    fn a_location_announces_its_program_even_if_its_new_name_is_taken() {
        let data = TempDir::new().expect("a directory");
        let store = Options::new().replicated(true).open(data.path()).expect("a store");
        let put = |id: u8, name: &str| {
            let (id, name, addresses) = (MemberId([id; 16]), name.into(), Vec::new());
            let operation = Operation::PutMember { id, name, addresses };
            store.submit(operation).and_then(Ticket::wait).expect("a member");
        };
        put(1, "fra");
        put(2, "ams");
        write_own_row(&called("ams"), &store).expect_err("the name is taken");
        let software = |store: &Store| {
            let view = store.view();
            view.members().get(MemberId([1; 16])).expect("its row").software.clone()
        };
        assert_eq!(software(&store), Some(kv_replicate::software()));
        write_own_row(&called("fra"), &store).expect("its row can be written");
        let before = store.view().vector().clone();
        write_own_row(&called("fra"), &store).expect("there is nothing to write");
        assert_eq!(*store.view().vector(), before, "the same row causes no write");
    }

    #[test]
    fn a_ca_holder_with_a_row_starts_even_if_the_name_in_its_file_is_taken() {
        let data = TempDir::new().expect("a directory");
        let store = Options::new().replicated(true).open(data.path()).expect("a store");
        let ams = Operation::PutMember {
            id: MemberId([2; 16]),
            name: "ams".into(),
            addresses: vec!["192.0.2.2:8421".into()],
        };
        store.submit(ams).and_then(kv_core::Ticket::wait).expect("a member");
        let first = become_member(&called("ams"), &store).expect_err("it has no row");
        assert!(first.to_string().contains("cluster/cluster.toml"), "{first}");
        become_member(&called("fra"), &store).expect("it becomes a member");
        become_member(&called("ams"), &store).expect("it already is one");
        let view = store.view();
        assert_eq!(view.members().get(MemberId([1; 16])).expect("its row").name, "fra");
    }
}
