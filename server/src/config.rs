//! The settings. Each has one name: `idle-timeout` in the file, `WAYPOST_IDLE_TIMEOUT` in the
//! environment, `--idle-timeout` on the command line. The command line wins, then the environment,
//! then the file, then the default.

mod limit;
mod settings;
mod value;

use std::{
    fs, io,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    api::rls::{self, Domains, Fields},
    cluster::{
        Address, Token, names,
        token::{TokenError, TokenText},
    },
    connection::Limits,
    rate_limits::RateLimitSettings,
    threads,
};

pub use self::{
    limit::UpTo,
    settings::Settings,
    value::{Count, Durability, LogFilter, Size, Span, Title, Titles},
};
pub use crate::connection::Listen;

/// What a server is run with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// The data directory.
    pub data: PathBuf,
    /// Namespaces to be made at the start if they are not there, by title.
    pub namespaces: Vec<String>,
    /// What makes this location a member of a cluster, if it is to be one.
    pub join: Option<Token>,
    /// What people call the location that joins.
    pub location: Option<names::Name>,
    /// Where others reach the location that joins, the best first.
    pub advertise: Vec<Address>,
    /// Where the location that joins listens for others.
    pub cluster_listen: SocketAddr,
    /// What to log.
    pub log: LogFilter,
    /// How many threads serve connections and links.
    pub threads: NonZeroUsize,
    /// The engine's cache, in bytes.
    pub cache_bytes: usize,
    /// When a write is acknowledged.
    pub durability: kv_core::Durability,
    /// How many writes may be under way.
    pub queue: usize,
    /// How long a write waits for a place among them.
    pub queue_wait: Duration,
    /// The rate limits.
    pub rate_limits: RateLimitSettings,
    /// What Envoy is limited by.
    pub rls: Domains,
    /// Headers for the clients of Envoy.
    pub rls_headers: Fields,
    /// How long requests may go on once the server is to stop.
    pub drain: Duration,
    /// How long the server goes on as before once `/readyz` fails.
    pub drain_notice: Duration,
    /// The bounds of connections.
    pub limits: Limits,
}

/// Why there is no configuration. The text names the file and line, where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not say what it should.
    #[error("{}:{line}: {message}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The token of `join` is none.
    #[error("join: {0}")]
    Join(#[from] TokenError),
    /// The limits of Envoy can't be read.
    #[error(transparent)]
    Rls(#[from] rls::LoadError),
}

impl Config {
    /// The configuration that `settings` (of the command line and environment) and a file make.
    ///
    /// # Errors
    /// If the file can't be read, or says something that can't be.
    pub fn load(settings: Settings, file: Option<&Path>) -> Result<Config, ConfigError> {
        let from_file = file.map(read).transpose()?.unwrap_or_default();
        let settings = settings.or(from_file);
        let inline = settings.rls.as_deref().zip(file);
        let algorithm = settings.rls_algorithm.unwrap_or_default();
        let rls = rls::load(inline, settings.rls_config.as_deref(), algorithm)?;
        let join = settings.join.as_ref().map(TokenText::token).transpose()?;
        Ok(Config { join, ..Config::new(settings, rls) })
    }

    /// Fills in the defaults, which the help texts repeat.
    fn new(settings: Settings, rls: Domains) -> Config {
        let seconds = Duration::from_secs;
        let limits = Limits {
            header: settings.header_timeout.map_or(seconds(10), Span::get),
            idle: settings.idle_timeout.map_or(seconds(75), Span::get),
            body: settings.body_timeout.map_or(seconds(30), Span::get),
            response: settings.response_timeout.map_or(seconds(30), Span::get),
            connections: settings.max_connections.map_or(TEN_THOUSAND, Count::get),
            header_bytes: settings
                .max_header_size
                .map_or(64 << 10, |size| u32::try_from(size.get()).unwrap_or(u32::MAX)),
        };
        let titles = settings.namespaces.into_iter().flatten();
        let cache = settings.cache.map_or(256 << 20, Size::get);
        let limiter = settings.limiter_memory.map_or(32 << 20, Size::get);
        let queue = settings.queue.map_or(512, |count| count.get().get());
        let threads = settings.threads.and_then(|count| NonZeroUsize::try_from(count.get()).ok());
        let cluster_listen = settings.cluster_listen.unwrap_or(names::LISTEN);
        let advertise = settings
            .advertise
            .unwrap_or_else(|| names::advertised(cluster_listen).into_iter().collect());
        Config {
            listen: settings.listen.unwrap_or_default(),
            data: settings.data.unwrap_or_else(|| "waypost-data".into()),
            namespaces: titles.flat_map(|titles| titles.0).map(Title::get).collect(),
            join: None,
            location: settings.location,
            advertise,
            cluster_listen,
            log: settings.log.unwrap_or_default(),
            threads: threads.unwrap_or_else(threads::default),
            cache_bytes: usize::try_from(cache).unwrap_or(usize::MAX),
            durability: settings.durability.unwrap_or_default().0,
            queue: usize::try_from(queue).unwrap_or(usize::MAX),
            queue_wait: settings.queue_wait.map_or(seconds(5), Span::get),
            rate_limits: RateLimitSettings {
                memory_bytes: usize::try_from(limiter).unwrap_or(usize::MAX),
                named: settings.limits.unwrap_or_default(),
                top_denied_keys: settings.top_denied_keys.map_or(0, UpTo::get),
            },
            rls,
            rls_headers: settings.rls_headers.unwrap_or_default(),
            drain: settings.drain.map_or(seconds(30), Span::get),
            drain_notice: settings.drain_notice.map_or(Duration::ZERO, Span::get),
            limits,
        }
    }
}

const TEN_THOUSAND: NonZeroU32 = NonZeroU32::new(10_000).expect("10,000 is not zero");

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(&text);
        ConfigError::Wrong {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            message: error.message().to_owned(),
        }
    })
}
