//! A server from its start to its end.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use kv_core::{Durability, OpenError, Options, Store, WriteError};
use ratelimit::BuildError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    task::JoinError,
    time::{sleep, timeout},
};

use crate::{
    admission::WriteAdmission,
    api::rls::Rls,
    app::App,
    cluster::{self, location::LoadError},
    config::{Config, Listen},
    connection::{BindError, Listener, Server},
    drain::Drain,
    metrics::Metrics,
    rate_limits::RateLimits,
    router::Router,
};

mod membership;
pub(crate) mod signals;

use membership::Replication;
use signals::Signals;

/// Files beside connections: the store, the listener, logs.
const SPARE_FILES: u64 = 64;

/// How long the store may still take to close once the process is to end at once. Mostly it takes
/// milliseconds, and the next start is the faster for it; only a disk that hangs takes longer.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Why a server did not start, or did not stop as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It can't listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store does not open.
    #[error("can't open the store in {}: {source}", data.display())]
    Open {
        /// The data directory.
        data: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// A namespace of the configuration can't be made.
    #[error("can't make the namespace {title:?} of the configuration: {source}")]
    Namespace {
        /// Its title.
        title: String,
        /// Why.
        source: WriteError,
    },
    /// It did not become a member of the cluster.
    #[error(transparent)]
    Join(#[from] cluster::join::JoinError),
    /// It can't be a member of the cluster as it is.
    #[error(transparent)]
    Cluster(#[from] LoadError),
    /// It can't listen for other locations.
    #[error(
        "can't replicate with other locations at {listen} (UDP): {source}; free that port, or say another as \
         `listen` in cluster/cluster.toml, and in `advertise`"
    )]
    Replicate {
        /// Where.
        listen: SocketAddr,
        /// Why.
        source: kv_replicate::quic::StartError,
    },
    /// The founder of a cluster can't be its first member.
    #[error(
        "can't make this location, as cluster/cluster.toml says it is, a member of its cluster: {0}"
    )]
    Member(WriteError),
    /// The store of the cluster's first location is not the one that it had.
    #[error(
        "the store in {} is not the one that this location of the cluster had: put that one back, or let \
         this location be removed by another one and join anew, in an empty directory", data.display()
    )]
    OtherStore {
        /// The data directory.
        data: PathBuf,
    },
    /// There can be no limiter.
    #[error(transparent)]
    Limiter(BuildError),
    /// The store did not close as it should. What was acknowledged as durable is.
    #[error("the store did not close cleanly: {0}")]
    Close(WriteError),
    /// The system did not let it run.
    #[error("{0}")]
    System(#[from] io::Error),
    /// A task of the server panicked.
    #[error("{0}")]
    Task(#[from] JoinError),
}

/// Serves until SIGTERM, SIGINT or SIGHUP, then drains: `/readyz` fails, no more connections are accepted,
/// and what runs may finish. Then the store is closed. A second signal but a hangup, at any time, ends
/// at once.
///
/// # Errors
/// See [`ServeError`].
pub async fn run(config: Config) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    tokio::select! {
        joined = membership::join(&config) => joined?,
        name = signals.next() => {
            tracing::info!("{name} before the location had joined: the next start goes on with it");
            return Ok(());
        }
    }
    let location = membership::load(&config.data)?;
    let listener = Listener::bind(&config.listen)?;
    let address = listener.address()?;
    let metrics = Arc::new(Metrics::new());
    let mut opening = tokio::task::spawn_blocking({
        let (config, metrics) = (config.clone(), Arc::clone(&metrics));
        let is_member = location.is_some();
        move || open(&config, is_member, metrics)
    });
    let (store, rate_limits) = tokio::select! {
        opened = &mut opening => opened??,
        name = signals.next() => {
            tracing::info!("{name} before the start was complete");
            let closing = async {
                match opening.await? {
                    // Opening took the counters of rate limits out of the store.
                    Ok((store, rate_limits)) => put_away(store, rate_limits).await,
                    Err(_nothing_is_open) => Ok(()),
                }
            };
            let hurry = async {
                let name = signals.next().await;
                tracing::warn!("{name} again: ending at once");
            };
            return close(closing, hurry, Duration::ZERO, config.durability).await;
        }
    };
    let replication = match &location {
        None => None,
        Some(location) => match Replication::start(location, &config, &store).await {
            Ok(replication) => Some(replication),
            Err(error) => {
                put_away(store, rate_limits).await?;
                return Err(error);
            }
        },
    };
    if let Some(warning) = config.rls.warning() {
        tracing::warn!("{warning}");
    }
    let rls = Rls::new(config.rls.clone(), config.rls_headers, metrics.limits(), metrics.rls());
    let membership = replication.as_ref().map(Replication::membership);
    let app = Arc::new(App {
        writes: WriteAdmission::new(store.clone(), config.queue_wait).of(membership.clone()),
        store: store.clone(),
        rate_limits: Arc::clone(&rate_limits),
        rls,
        metrics,
        membership,
        drain: Arc::new(Drain::default()),
    });
    raise_file_limit(config.limits.connections.get());
    let server = Arc::new(Server::new(Router::new(Arc::clone(&app)), config.limits));
    let accepting = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.accept(listener).await }
    });
    greet(&config, &address, &store);

    let name = signals.next().await;
    tracing::info!(connections = server.connections(), "{name}: draining; again to end at once");
    let drained = tokio::select! {
        () = drain(&config, &app.drain, &server) => true,
        name = signals.next() => {
            tracing::warn!(connections = server.connections(), "{name}: ending at once");
            false
        }
    };
    app.drain.close();
    accepting.await?;
    if let Some(replication) = replication {
        replication.stop().await;
    }
    let closing = put_away(store, rate_limits);
    let hurry = async {
        if drained {
            let name = signals.next().await;
            tracing::warn!("{name} while the store closes: ending at once");
        }
    };
    close(closing, hurry, LAST_WAIT, config.durability).await
}

/// Saves the counters of rate limits, and closes the store.
async fn put_away(store: Store, rate_limits: Arc<RateLimits>) -> Result<(), ServeError> {
    let closing = tokio::task::spawn_blocking(move || {
        rate_limits.save(&store);
        store.close()
    });
    closing.await?.map_err(ServeError::Close)
}

/// Waits until the store is closed; once there is a hurry, `last_wait` more. Not to wait is no
/// error: the operator asked for it, and a store that was not closed is like one after a crash.
async fn close(
    closing: impl Future<Output = Result<(), ServeError>>,
    hurry: impl Future<Output = ()>,
    last_wait: Duration,
    durability: Durability,
) -> Result<(), ServeError> {
    let over = async {
        hurry.await;
        sleep(last_wait).await;
    };
    tokio::select! {
        biased;
        closed = closing => {
            closed?;
            tracing::info!("stopped");
        }
        () = over => match durability {
            Durability::Relaxed { within } => tracing::warn!(
                "stopped before the store was closed: writes of the last {within:?} or so may be lost"
            ),
            _ => tracing::warn!(
                "stopped before the store was closed: no acknowledged write is lost, but perhaps the \
                 counters of rate limits"
            ),
        },
    }
    Ok(())
}

/// Opens the store, makes the namespaces of the configuration, and takes up the rate limits.
fn open(
    config: &Config,
    is_member: bool,
    metrics: Arc<Metrics>,
) -> Result<(Store, Arc<RateLimits>), ServeError> {
    let store = open_store(config, is_member, Arc::clone(&metrics))?;
    if !is_member {
        make_namespaces(&store, config)?;
    }
    let rate_limits =
        RateLimits::open(&store, config, metrics.limits()).map_err(ServeError::Limiter)?;
    Ok((store, Arc::new(rate_limits)))
}

fn open_store(
    config: &Config,
    is_member: bool,
    metrics: Arc<Metrics>,
) -> Result<Store, ServeError> {
    Options::new()
        .replicated(is_member)
        .cache_bytes(config.cache_bytes)
        .durability(config.durability)
        .queue_capacity(config.queue)
        .queue_wait(config.queue_wait)
        .observer(metrics)
        .open(&config.data)
        .map_err(|source| ServeError::Open { data: config.data.clone(), source })
}

/// Makes the namespaces of the configuration that are not there. A member of a cluster does so once it has
/// joined: others may have made them.
fn make_namespaces(store: &Store, config: &Config) -> Result<(), ServeError> {
    for title in &config.namespaces {
        let is_there = store.namespaces().iter().any(|namespace| namespace.title == *title);
        if !is_there {
            store
                .create_namespace(title)
                .map_err(|source| ServeError::Namespace { title: title.clone(), source })?;
        }
    }
    Ok(())
}

/// Says where the server is and what to do next.
fn greet(config: &Config, address: &Listen, store: &Store) {
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!("waypost {version} listens on {address}, data in {}", config.data.display());
    let is_default = *address == Listen::default();
    let server = if is_default { String::new() } else { format!(" --server {address}") };
    let curl = match address {
        Listen::Tcp(_) => format!("curl {address}"),
        Listen::Unix(path) => format!("curl --unix-socket {} http://localhost", path.display()),
    };
    let titles: Vec<String> =
        store.namespaces().iter().map(|namespace| namespace.title.to_string()).collect();
    match titles.first() {
        None => tracing::info!(
            "no namespace yet: make one with `waypost namespace create TITLE{server}`"
        ),
        Some(_) if titles.len() > 1 => tracing::info!("{} namespaces", titles.len()),
        Some(title) => tracing::info!("one namespace: {title}"),
    }
    let url = format!("{curl}/binding/TITLE/KEY");
    tracing::info!("put a value: `{url} -T FILE`; get it: `{url}`");
}

/// From the first signal until no request runs, or for as long as the configuration allows.
async fn drain(config: &Config, drain: &Drain, server: &Server) {
    drain.begin();
    sleep(config.drain_notice).await;
    drain.close();
    if timeout(config.drain, server.ended()).await.is_err() {
        let connections = server.connections();
        tracing::warn!(connections, "cutting what still runs after {:?}", config.drain);
    }
}

/// Many systems let a process open 1,024 files unless it asks for more.
fn raise_file_limit(connections: u32) {
    let wanted = u64::from(connections) + SPARE_FILES;
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < wanted) else { return };
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)).max(current);
    let asked = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit });
    if asked.is_err() || raised < wanted {
        let files = if asked.is_ok() { raised } else { current };
        tracing::warn!(
            files,
            "the system allows fewer open files than max-connections may need: raise its limit \
             (ulimit -n), or lower max-connections"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const DURABLE: Durability = Durability::Durable;

    #[tokio::test]
    async fn a_store_that_does_not_close_is_waited_for_until_there_is_a_hurry() {
        let last_wait = Duration::from_millis(20);
        let relaxed = Durability::Relaxed { within: Duration::from_millis(1) };
        for durability in [DURABLE, relaxed] {
            assert!(close(pending(), ready(()), last_wait, durability).await.is_ok());
        }
        let patient = close(pending(), pending(), Duration::ZERO, DURABLE);
        assert!(timeout(last_wait, patient).await.is_err());
    }

    #[tokio::test]
    async fn what_the_close_says_counts_if_it_comes_in_time() {
        let failed = || ServeError::Close(WriteError::Failed("of a test".into()));
        for closed in [true, false] {
            let closing = async || {
                tokio::task::yield_now().await;
                if closed { Ok(()) } else { Err(failed()) }
            };
            for is_hurried in [true, false] {
                let hurry = async move || {
                    if !is_hurried {
                        pending().await
                    }
                };
                let said = close(closing(), hurry(), Duration::from_secs(60), DURABLE).await;
                assert_eq!(said.is_ok(), closed);
            }
        }
    }
}
