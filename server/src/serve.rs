//! A server from its start to its stop.
//!
//! | module | contents |
//! |---|---|
//! | `error` | why a server did not start, or did not stop cleanly |
//! | `admin_token` | the token of a file, which is read again when that changes |
//! | `entrances` | the listeners, and their certificates |
//! | `store` | the store and the rate limits: opened, saved, closed |
//! | `location` | the files of its cluster, and settings that have no effect |
//! | `join_token` | the token with which a location joins |
//! | `replication` | the server's part in a cluster |
//! | `renewal` | keeps the location's certificate valid |
//! | `reload` | takes a changed configuration while the server runs |
//! | `usage` | exchanges what is counted of global limits |
//! | `quotas` | saves the counters of calendar windows |
//! | `watch` | logs alarms, and reports them to the other locations |

use std::{io, path::Path, sync::Arc, time::Duration};

use kv_core::{
    MemberId, Store,
    env::{Environment as _, SystemEnvironment},
};
use sd_notify::NotifyState;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    access::{ApiName, Apis, Gate},
    alarms::AlarmBook,
    api::rls::Rls,
    app::App,
    audit::AuditLog,
    bounds::Bounds,
    budget::Budget,
    cluster::{Location, state::dates::check_clock},
    config::{Config, Settings, Sources},
    connection::{Entrance, Listen, Server},
    drain::Drain,
    http::incoming::long_bodies,
    metrics::Metrics,
    rate_limits::CurrentLimits,
    router::Router,
    signals::{Hangups, Signals},
    web_pages::WebPages,
    writes::Writes,
};

mod admin_token;
mod entrances;
mod error;
mod hand_over;
mod join_token;
mod location;
mod quotas;
mod reload;
mod renewal;
mod replication;
mod store;
#[cfg(test)]
mod tests;
mod usage;
mod watch;

pub use self::{entrances::Certificates, error::ServeError};
use self::{
    reload::Reloader,
    replication::Replication,
    store::{OpenStore, wait_for_close},
};

/// Files that are needed beside those of `max-connections`: the store, the listener, logs, and the connections that
/// are kept for monitoring and administration.
const SPARE_FILES: u64 = 128;

/// How long the store may still take to close once the operator wants to stop at once. It usually takes
/// milliseconds and makes the next start faster; only a disk that hangs takes longer.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT, or until its terminal is closed. Then drains: `/readyz` fails, no more connections are
/// accepted, running requests may finish; and closes the store. A second SIGTERM or SIGINT, at any time, stops the server
/// at once. SIGHUP loads the configuration again from `sources`.
///
/// # Errors
/// See [`ServeError`].
pub async fn run(config: Config, sources: Sources) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    let hangups = Hangups::new()?;
    check_clock(SystemEnvironment::new().now_ms() / 1000)?;
    tokio::select! {
        joined = replication::join(&config.settings) => joined?,
        name = signals.next() => {
            tracing::info!("{name} while joining the cluster: the next start continues the join");
            return Ok(());
        }
    }
    let location = location::load(&config.settings)?;
    let (gate, admin_token) = entrances::gate(&config.settings)?;
    let entrances = entrances::bind(&config.listeners, config.settings.socket_mode)?;
    let metrics = Arc::new(Metrics::new());
    let audit = open_audit_log(&config.settings)?;
    let member = location.as_ref().map(|location| location.descriptor.member);
    let cluster = location.as_ref().map(|location| location.descriptor.cluster.0);
    let opened = open(&config, (member, cluster), &metrics, &mut signals).await?;
    let Some(opened) = opened else { return Ok(()) };
    let store = &opened.store;
    if let Err(error) = entrances::check_tokens(&config, &entrances, &gate, store, member.is_some())
    {
        opened.close().await?;
        return Err(error);
    }
    let Running { opened, replication, app, rls, watching } =
        start(&config, location, opened, (gate, metrics, audit)).await?;
    let saving = tokio::spawn(quotas::save(Arc::clone(&opened.rate_limits), opened.store.clone()));

    raise_file_limit(config.settings.max_connections.get());
    let limits = config.settings.connection_limits();
    let web_pages = WebPages::new(config.settings.allowed_hosts.0.clone());
    let router = Arc::new(Router::new(Arc::clone(&app), rls, web_pages));
    let server = Arc::new(Server::new(Arc::clone(&router), limits));
    log_start(&config.settings, &entrances, &opened.store)?;
    notify(NotifyState::Ready);
    let certificates = Certificates::of(&entrances);
    let following = tokio::spawn(certificates.clone().follow(Arc::clone(&app)));
    let parts = (Arc::clone(&app), router, certificates, admin_token);
    let reloader = Reloader::new(sources, config.clone(), parts);
    let reloading = tokio::spawn(reloader.run(hangups));
    let mut accepting = JoinSet::new();
    for entrance in entrances {
        let server = Arc::clone(&server);
        accepting.spawn(async move { server.accept(entrance).await });
    }

    let handing = replication.as_ref().map(|replication| (replication, &opened.store));
    let is_drained =
        drain_at_signal(&config.settings, (&app, &server), handing, &mut signals).await;
    app.drain.close();
    while let Some(ended) = accepting.join_next().await {
        ended?;
    }
    reloading.abort();
    watching.abort();
    saving.abort();
    following.abort();
    if let Some(replication) = replication {
        replication.stop().await;
    }
    let hurry = async {
        if is_drained {
            let name = signals.next().await;
            tracing::warn!("{name} while the store closes: stopping at once");
        }
    };
    app.audit.end();
    wait_for_close(opened.close(), hurry, LAST_WAIT, config.settings.durability.0).await
}

/// Waits for a signal, and then for running requests, and for the other locations to receive what was written here. Returns
/// whether that was done before another signal.
async fn drain_at_signal(
    settings: &Settings,
    (app, server): (&App, &Server),
    handing: Option<(&Replication, &Store)>,
    signals: &mut Signals,
) -> bool {
    let name = signals.next().await;
    notify(NotifyState::Stopping);
    tracing::info!(
        connections = server.connections(),
        "{name}: draining; signal again to stop at once"
    );
    let draining = async {
        drain(settings, &app.drain, server).await;
        if let Some((replication, store)) = handing {
            hand_over::hand_over(&replication.membership(), store).await;
        }
    };
    tokio::select! {
        () = draining => true,
        name = signals.next() => {
            tracing::warn!(connections = server.connections(), "{name}: stopping at once");
            false
        }
    }
}

/// Opens the store. Returns none if a signal came meanwhile; then the store is closed again.
async fn open(
    config: &Config,
    identity: (Option<MemberId>, Option<[u8; 16]>),
    metrics: &Arc<Metrics>,
    signals: &mut Signals,
) -> Result<Option<OpenStore>, ServeError> {
    let mut opening = tokio::task::spawn_blocking({
        let (config, metrics) = (config.clone(), Arc::clone(metrics));
        move || OpenStore::open(&config, identity, &metrics)
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
    (gate, metrics, audit): (Gate, Arc<Metrics>, AuditLog),
) -> Result<Running, ServeError> {
    let store = &opened.store;
    let replication = match &location {
        None => None,
        Some(location) => match Replication::start(location, config, &opened).await {
            Ok(replication) => Some(replication),
            Err(error) => {
                opened.close().await?;
                return Err(error);
            }
        },
    };
    for warning in config.rls.warnings() {
        tracing::warn!("{warning}");
    }
    let settings = &config.settings;
    let rls = Rls::new(config.rls.clone(), settings.rls_headers, metrics.limits(), metrics.rls());
    opened.rate_limits.add_spaces(rls.domains().spaces());
    let membership = replication.as_ref().map(Replication::membership);
    let bounds = Bounds::new(settings.min_ttl.get(), settings.strict == Some(true))
        .map_err(ServeError::Limiter)?;
    let app = Arc::new(App {
        writes: Writes::new(store.clone(), settings.queue_wait.get(), membership.clone()),
        bounds,
        long_bodies: long_bodies(),
        budget: Budget::new(settings.budget.get()),
        store: store.clone(),
        gate,
        rate_limits: CurrentLimits::new(Arc::clone(&opened.rate_limits)),
        metrics,
        membership,
        drain: Arc::new(Drain::default()),
        alarms: AlarmBook::of(store::watched(&settings.data)),
        audit,
    });
    app.audit.begin();
    let watching = tokio::spawn(watch::watch(Arc::clone(&app)));
    Ok(Running { opened, replication, app, rls, watching })
}

/// Opens the audit log.
fn open_audit_log(settings: &Settings) -> Result<AuditLog, ServeError> {
    let path = settings.audit_log.as_deref();
    AuditLog::open(path).map_err(|source| {
        let path = path.map(Path::to_owned).unwrap_or_default();
        ServeError::AuditLog { path, source }
    })
}

/// Tells the service manager, if one waits for it (`Type=notify` of systemd).
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!("can't notify the service manager (NOTIFY_SOCKET): {error}");
    }
}

/// Logs where the server listens, and what to do next.
fn log_start(settings: &Settings, entrances: &[Entrance], store: &Store) -> io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let data = settings.data.display();
    for entrance in entrances {
        let (url, apis) = (entrance.url()?, entrance.apis);
        if apis == Apis::ALL {
            tracing::info!("waypost {version} listens on {url}, data in {data}");
        } else {
            tracing::info!("waypost {version} listens on {url}, data in {data}, for {apis} only");
        }
    }
    let serves = |name| entrances.iter().find(|entrance| entrance.apis.has(name));
    if let Some(entrance) = serves(ApiName::Admin) {
        log_namespaces(&entrance.url()?, store);
    }
    if let Some(entrance) = serves(ApiName::Binding) {
        let curl = match entrance.listener.address()? {
            Listen::Tcp(_) => format!("curl {}", entrance.url()?),
            Listen::Unix(path) => format!("curl --unix-socket {} http://localhost", path.display()),
        };
        let url = format!("{curl}/binding/TITLE/KEY");
        tracing::info!("put a value: `{url} -T FILE`; get it: `{url}`");
    }
    Ok(())
}

/// Logs what namespaces there are, and how to create one through the listener at this URL.
fn log_namespaces(url: &str, store: &Store) {
    let is_default = url == Listen::default().to_string();
    let server = if is_default { String::new() } else { format!(" --server {url}") };
    let namespaces = store.namespaces();
    match namespaces.iter().next().map(|namespace| &namespace.title) {
        None => tracing::info!(
            "no namespaces yet: create one with `waypost namespace create TITLE{server}`"
        ),
        Some(_) if namespaces.len() > 1 => tracing::info!("{} namespaces", namespaces.len()),
        Some(title) => tracing::info!("one namespace: {title}"),
    }
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
