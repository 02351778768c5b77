//! Takes a changed configuration while the server runs: all of it on SIGHUP, and Envoy's limits as soon as their files change.
//!
//! The files are looked at each second, which takes a few system calls for each. A watcher of the system (the crate `notify`)
//! would not see changes on network file systems, and would have to follow each symbolic link on the way to a file, which
//! Kubernetes replaces when a ConfigMap changes. A change is taken once the files have stayed the same for a second, because a
//! program may still be writing them.
//!
//! A faulty configuration changes nothing. It is an alarm, and the faulty file is then looked at as well, so that no second
//! signal is needed once it is mended.
//!
//! To reload another part of the server, apply it in [`Reloader::apply`], add its settings to
//! [`RELOADED`], and its files to [`Watched`].

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    admin_token::{AdminToken, Unusable},
    entrances::Certificates,
};
use crate::{
    access::TokenText,
    alarms::Part,
    api::rls::{Domains, Fields, LoadError, Rls},
    app::App,
    config::{
        Config, ConfigError, List, ListenerSettings, RELOADED, RlsSource, Settings, Sources, Stamp,
    },
    rate_limits::NamedLimits,
    router::Router,
    signals::Hangups,
    web_pages::WebPages,
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The label of the metrics of limits that have no name.
const UNNAMED: &str = "";

/// The files whose changes are taken without a signal.
#[derive(Debug)]
struct Watched {
    /// Envoy's limits.
    rls: Arc<RlsSource>,
    /// Files of a configuration that was faulty.
    faulty: Vec<PathBuf>,
}

impl Watched {
    /// The state of the files. Blocks.
    fn stamp(&self) -> Stamp {
        let mut stamp = self.rls.stamp();
        self.faulty.iter().for_each(|path| stamp.add(path));
        stamp
    }
}

/// Reloads the configuration of a running server.
pub(super) struct Reloader {
    /// Where the configuration comes from.
    sources: Arc<Sources>,
    /// The settings that the server started with.
    started: Settings,
    /// Where the server listens since then.
    listeners: Vec<ListenerSettings>,
    /// The headers that Envoy adds to its client's response.
    fields: Fields,
    /// The state that the APIs share.
    app: Arc<App>,
    /// What decides with the limits of Envoy and the rules for web pages.
    router: Arc<Router>,
    /// The certificates of the listeners.
    certificates: Certificates,
    /// The file of the setting `admin-token-file`.
    admin_token: Option<AdminToken>,
    /// The files that are looked at.
    watched: Arc<Watched>,
    /// Their state when they were last read.
    read: Stamp,
    /// Another state that may be half-written.
    changing: Option<Stamp>,
}

impl Reloader {
    /// Begins with the configuration that the server runs with.
    pub(super) fn new(
        sources: Sources,
        config: Config,
        (app, router, certificates, admin_token): (
            Arc<App>,
            Arc<Router>,
            Certificates,
            Option<AdminToken>,
        ),
    ) -> Reloader {
        Reloader {
            sources: Arc::new(sources),
            fields: config.settings.rls_headers,
            started: config.settings,
            listeners: config.listeners,
            app,
            router,
            certificates,
            admin_token,
            watched: Arc::new(Watched { rls: config.rls_source, faulty: Vec::new() }),
            read: config.rls_stamp,
            changing: None,
        }
    }

    /// Reloads whenever it is due, until it is dropped.
    pub(super) async fn run(mut self, mut hangups: Hangups) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = hangups.next() => {
                    self.app.audit.reopen();
                    self.take_admin_token(|file| Some(file.reload()));
                    self.certificates.reload(self.app.alarms.configuration());
                    self.reload("SIGHUP").await;
                }
                _ = looks.tick() => {
                    self.take_admin_token(AdminToken::look);
                    self.look().await;
                }
            }
        }
    }

    /// Takes the token of its file, if `read` has read that. If it can't be used, the former token stays in use.
    fn take_admin_token(
        &mut self,
        read: impl FnOnce(&mut AdminToken) -> Option<Result<TokenText, Unusable>>,
    ) {
        let Some(file) = &mut self.admin_token else { return };
        let Some(token) = read(file) else { return };
        let path = file.path().display();
        let error = match token {
            Ok(token) => {
                if self.app.gate.replace_admin(&token) {
                    let detail = json!({"id": token.id().to_string()});
                    self.app.audit.own("token.replace", "done", &detail);
                    tracing::info!(id = %token.id(), "took the changed token of {path} (admin-token-file)");
                }
                None
            }
            Err(reason) => Some(format!("--admin-token-file: {path}: {reason}")),
        };
        let faults = self.app.alarms.configuration();
        if faults.set(Part::AdminToken, error.clone())
            && let Some(error) = error
        {
            tracing::error!("{error}. The former token stays in use until the file can be used");
        }
    }

    /// Reloads if the files have changed and have stayed the same since the last look.
    async fn look(&mut self) {
        let watched = Arc::clone(&self.watched);
        let Ok(now) = tokio::task::spawn_blocking(move || watched.stamp()).await else { return };
        if now == self.read {
            self.changing = None;
        } else if self.changing.as_ref() != Some(&now) {
            self.changing = Some(now);
        } else {
            self.changing = None;
            self.read = now;
            if self.watched.faulty.is_empty() {
                self.reload_rls().await;
            } else {
                self.reload("a faulty file has changed").await;
            }
        }
    }

    /// Reloads everything.
    async fn reload(&mut self, why: &str) {
        let sources = Arc::clone(&self.sources);
        match tokio::task::spawn_blocking(move || sources.load()).await {
            Ok(Ok(config)) => self.apply(config, why),
            Ok(Err(error)) => self.refuse(&error),
            Err(error) => tracing::error!(%error, "can't reload the configuration"),
        }
    }

    /// Reloads Envoy's limits.
    async fn reload_rls(&mut self) {
        let source = Arc::clone(&self.watched.rls);
        let loaded: Result<Result<Domains, LoadError>, _> =
            tokio::task::spawn_blocking(move || source.load()).await;
        match loaded {
            Ok(Ok(domains)) => {
                let rates = self.app.rate_limits.load();
                self.keep_metrics(rates.all_named().map(|named| &named.name[..]), &domains);
                tracing::info!(
                    limits = domains.paths().len(),
                    "took the changed limits of Envoy (rls-config)"
                );
                self.apply_rls(domains);
                self.mended();
            }
            Ok(Err(error)) => self.report(&error.to_string()),
            Err(error) => tracing::error!(%error, "can't reload the limits of Envoy"),
        }
    }

    /// Takes a configuration.
    fn apply(&mut self, config: Config, why: &str) {
        self.app.audit.own("configuration.reload", "done", &json!({"why": why}));
        let Config { settings, listeners, rate_limits, rls, rls_source, rls_stamp } = config;
        self.keep_metrics(names(&rate_limits), &rls);
        tracing::info!(
            limits = rate_limits.0.len(),
            rls = rls.paths().len(),
            "reloaded the configuration ({why})"
        );
        self.app.rate_limits.replace(rate_limits);
        self.fields = settings.rls_headers;
        self.apply_rls(rls);
        let List(allowed) = settings.allowed_hosts.clone();
        self.router.replace_web_pages(WebPages::new(allowed));
        self.watched = Arc::new(Watched { rls: rls_source, faulty: Vec::new() });
        (self.read, self.changing) = (rls_stamp, None);
        if let Some(warning) =
            not_applied((&self.started, &self.listeners), (&settings, &listeners))
        {
            tracing::warn!("{warning}");
        }
        self.mended();
    }

    /// Takes Envoy's limits.
    fn apply_rls(&self, domains: Domains) {
        for warning in domains.warnings() {
            tracing::warn!("{warning}");
        }
        self.app.rate_limits.load().add_spaces(domains.spaces());
        let metrics = &self.app.metrics;
        self.router.replace_rls(Rls::new(domains, self.fields, metrics.limits(), metrics.rls()));
    }

    /// Removes the metrics of all limits but these, before the metrics of new ones are made.
    fn keep_metrics<'a>(&self, named: impl Iterator<Item = &'a str>, rls: &Domains) {
        let rls = rls.paths().iter().map(|path| Rls::label(path));
        let names: BTreeSet<String> = named.chain([UNNAMED]).map(String::from).chain(rls).collect();
        self.app.metrics.limits().keep_only(&names);
    }

    /// Keeps the former configuration, and looks at the files of this one.
    fn refuse(&mut self, error: &ConfigError) {
        let files = [self.sources.file(), error.path()].into_iter().flatten();
        let faulty: Vec<PathBuf> = files.map(PathBuf::from).collect();
        if self.watched.faulty != faulty {
            // A file may have been mended since it was read: what is seen of it now counts as a change.
            let rls = Arc::clone(&self.watched.rls);
            self.watched = Arc::new(Watched { rls, faulty });
            (self.read, self.changing) = (Stamp::default(), None);
        }
        self.report(&error.to_string());
    }

    /// Reports a faulty configuration.
    fn report(&self, error: &str) {
        self.app.audit.own("configuration.reload", "refused", &json!({"why": error}));
        if self.app.alarms.configuration().set(Part::Settings, Some(error.to_owned())) {
            tracing::error!(
                "the changed configuration is faulty, the former one stays in use: {error}"
            );
        }
    }

    /// Reports that the configuration is not faulty any more.
    fn mended(&self) {
        self.app.alarms.configuration().set(Part::Settings, None);
    }
}

/// The names of limits.
fn names(limits: &NamedLimits) -> impl Iterator<Item = &str> {
    limits.0.keys().map(String::as_str)
}

/// The warning about settings that have changed, and that need a restart.
fn not_applied(
    (started, before): (&Settings, &[ListenerSettings]),
    (now, listeners): (&Settings, &[ListenerSettings]),
) -> Option<String> {
    let differences = started.differences(now).into_iter();
    let keys = differences.filter(|setting| !RELOADED.contains(&setting.field));
    let mut keys: Vec<String> = keys.map(|setting| setting.key()).collect();
    let is_same = |(one, other): (&ListenerSettings, &ListenerSettings)| one.is_same(other);
    if keys.is_empty()
        && !(before.len() == listeners.len() && before.iter().zip(listeners).all(is_same))
    {
        keys.push("listener".into());
    }
    (!keys.is_empty()).then(|| {
        format!(
            "these settings have changed and stay as they were until the server is restarted: {}",
            keys.join(", ")
        )
    })
}
