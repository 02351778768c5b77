//! A server from its start to its stop.
//!
//! | module | contents |
//! |---|---|
//! | `error` | why a server did not start, or did not stop cleanly |
//! | `store` | the store and the rate limits: opened, saved, closed |
//! | `replication` | the server's part in a cluster |
//! | `renewal` | keeps the location's certificate valid |
//! | `watch` | logs alarms, and reports them to the other locations |

use std::{sync::Arc, time::Duration};

use kv_core::{MemberId, Store};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    alarms::AlarmBook,
    api::rls::Rls,
    app::App,
    cluster::Location,
    config::{Config, Settings},
    connection::{Listen, Listener, Server},
    drain::Drain,
    http::incoming::long_bodies,
    metrics::Metrics,
    router::Router,
    signals::Signals,
    writes::Writes,
};

mod error;
mod hand_over;
mod renewal;
mod replication;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use self::error::ServeError;
use self::{
    replication::Replication,
    store::{OpenStore, wait_for_close},
};

/// Files that are needed beside those of `max-connections`: the store, the listener, logs, and the connections that
/// are kept for monitoring and administration.
const SPARE_FILES: u64 = 128;

/// How long the store may still take to close once the operator wants to stop at once. It usually takes
/// milliseconds and makes the next start faster; only a disk that hangs takes longer.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Serves until SIGTERM, SIGINT or SIGHUP. Then drains: `/readyz` fails, no more connections are
/// accepted, running requests may finish; and closes the store. A second signal other than SIGHUP, at
/// any time, stops the server at once.
///
/// # Errors
/// See [`ServeError`].
pub async fn run(config: Config) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    tokio::select! {
        joined = replication::join(&config.settings) => joined?,
        name = signals.next() => {
            tracing::info!("{name} while joining the cluster: the next start continues the join");
            return Ok(());
        }
    }
    let location = replication::load(&config.settings.data)?;
    let listener = Listener::bind(&config.settings.listen)?;
    let address = listener.address()?;
    let metrics = Arc::new(Metrics::new());
    let member = location.as_ref().map(|location| location.descriptor.member);
    let opened = open(&config, member, &metrics, &mut signals).await?;
    let Some(opened) = opened else { return Ok(()) };
    let Running { opened, replication, app, rls, watching } =
        start(&config, location, opened, metrics).await?;

    raise_file_limit(config.settings.max_connections.get());
    let limits = config.settings.connection_limits();
    let server = Arc::new(Server::new(Router::new(Arc::clone(&app), rls), limits));
    let accepting = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.accept(listener).await }
    });
    log_start(&config.settings, &address, &opened.store);

    let name = signals.next().await;
    tracing::info!(
        connections = server.connections(),
        "{name}: draining; signal again to stop at once"
    );
    let draining = async {
        drain(&config.settings, &app.drain, &server).await;
        if let Some(replication) = &replication {
            hand_over::hand_over(&replication.membership(), &opened.store).await;
        }
    };
    let is_drained = tokio::select! {
        () = draining => true,
        name = signals.next() => {
            tracing::warn!(connections = server.connections(), "{name}: stopping at once");
            false
        }
    };
    app.drain.close();
    accepting.await?;
    watching.abort();
    if let Some(replication) = replication {
        replication.stop().await;
    }
    let hurry = async {
        if is_drained {
            let name = signals.next().await;
            tracing::warn!("{name} while the store closes: stopping at once");
        }
    };
    wait_for_close(opened.close(), hurry, LAST_WAIT, config.settings.durability.0).await
}

/// Opens the store. Returns none if a signal came meanwhile; then the store is closed again.
async fn open(
    config: &Config,
    member: Option<MemberId>,
    metrics: &Arc<Metrics>,
    signals: &mut Signals,
) -> Result<Option<OpenStore>, ServeError> {
    let mut opening = tokio::task::spawn_blocking({
        let (config, metrics) = (config.clone(), Arc::clone(metrics));
        move || OpenStore::open(&config, member, &metrics)
    });
    tokio::select! {
        opened = &mut opening => return opened?.map(Some),
        name = signals.next() => tracing::info!("{name} before the start was complete"),
    }
    let closing = async {
        match opening.await? {
            // Opening removed the counters of rate limits from the store, so they are saved again.
            Ok(opened) => opened.close().await,
            Err(_nothing_is_open) => Ok(()),
        }
    };
    let hurry = async {
        let name = signals.next().await;
        tracing::warn!("{name} again: stopping at once");
    };
    wait_for_close(closing, hurry, Duration::ZERO, config.settings.durability.0).await?;
    Ok(None)
}

/// The parts of a running server, beside the listener.
struct Running {
    /// The store, with the rate limits that are saved in it.
    opened: OpenStore,
    /// None if the location is not in a cluster.
    replication: Option<Replication>,
    /// The state that the APIs share.
    app: Arc<App>,
    /// Envoy's limits.
    rls: Rls,
    /// Logs alarms, and reports them to the other locations.
    watching: JoinHandle<()>,
}

/// Starts replication, and wires everything that APIs share.
async fn start(
    config: &Config,
    location: Option<Location>,
    opened: OpenStore,
    metrics: Arc<Metrics>,
) -> Result<Running, ServeError> {
    let store = &opened.store;
    let replication = match &location {
        None => None,
        Some(location) => match Replication::start(location, config, store).await {
            Ok(replication) => Some(replication),
            Err(error) => {
                opened.close().await?;
                return Err(error);
            }
        },
    };
    if let Some(warning) = config.rls.warning() {
        tracing::warn!("{warning}");
    }
    let settings = &config.settings;
    let rls = Rls::new(config.rls.clone(), settings.rls_headers, metrics.limits(), metrics.rls());
    let membership = replication.as_ref().map(Replication::membership);
    let app = Arc::new(App {
        writes: Writes::new(store.clone(), settings.queue_wait.get(), membership.clone()),
        long_bodies: long_bodies(),
        store: store.clone(),
        rate_limits: Arc::clone(&opened.rate_limits),
        metrics,
        membership,
        drain: Arc::new(Drain::default()),
        alarms: AlarmBook::default(),
    });
    let watching = tokio::spawn(watch::watch(Arc::clone(&app)));
    Ok(Running { opened, replication, app, rls, watching })
}

/// Logs where the server listens, and what to do next.
fn log_start(settings: &Settings, address: &Listen, store: &Store) {
    let version = env!("CARGO_PKG_VERSION");
    let data = settings.data.display();
    tracing::info!("waypost {version} listens on {address}, data in {data}");
    let is_default = *address == Listen::default();
    let server = if is_default { String::new() } else { format!(" --server {address}") };
    let curl = match address {
        Listen::Tcp(_) => format!("curl {address}"),
        Listen::Unix(path) => format!("curl --unix-socket {} http://localhost", path.display()),
    };
    let namespaces = store.namespaces();
    match namespaces.iter().next().map(|namespace| &namespace.title) {
        None => tracing::info!(
            "no namespaces yet: create one with `waypost namespace create TITLE{server}`"
        ),
        Some(_) if namespaces.len() > 1 => tracing::info!("{} namespaces", namespaces.len()),
        Some(title) => tracing::info!("one namespace: {title}"),
    }
    let url = format!("{curl}/binding/TITLE/KEY");
    tracing::info!("put a value: `{url} -T FILE`; get it: `{url}`");
}

/// Announces the stop, then waits until no request runs, or for as long as the settings allow.
async fn drain(settings: &Settings, drain: &Drain, server: &Server) {
    drain.begin();
    sleep(settings.drain_notice.get()).await;
    drain.close();
    let limit = settings.drain.get();
    if timeout(limit, server.ended()).await.is_err() {
        let connections = server.connections();
        tracing::warn!(
            connections,
            "closing connections with requests that still run after {limit:?}"
        );
    }
}

/// Raises the number of files that the process may open: many systems allow 1,024 by default.
fn raise_file_limit(connections: u32) {
    let wanted = u64::from(connections) + SPARE_FILES;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(files) if files >= wanted => {}
        Ok(files) => tracing::warn!(
            files,
            "the system allows fewer open files than --max-connections may need: raise its limit \
             (ulimit -n), or lower --max-connections"
        ),
        Err(error) => tracing::warn!(
            "can't raise the limit of open files: {error}; check that `ulimit -n` is at least {wanted}"
        ),
    }
}
