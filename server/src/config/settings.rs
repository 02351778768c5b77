//! Settings as they are given: none of them has to be.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use ratelimit::Algorithm;
use serde::Deserialize;

use super::{
    limit::UpTo,
    value::{Count, Durability, LogFilter, Size, Span, Titles, text},
};
use crate::{
    api::rls::{Fields, config::Domain},
    cluster::{
        Address,
        names::{Name, listen_on},
        token::TokenText,
    },
    connection::Listen,
    rate_limits::NamedLimits,
};

/// What was said, in one place or several. The doc texts are the help of the command line.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Where to listen: an address of this machine alone, or a unix socket
    /// [default: 127.0.0.1:8420]
    #[arg(long, env = "WAYPOST_LISTEN", value_name = "ADDR|unix:PATH", hide_env_values = true)]
    #[serde(deserialize_with = "text")]
    pub listen: Option<Listen>,

    /// The data directory; made if it is not there [default: ./waypost-data]
    #[arg(long, env = "WAYPOST_DATA", value_name = "DIR", hide_env_values = true)]
    pub data: Option<PathBuf>,

    /// Namespaces to make at the start if they are not there, by title
    #[arg(long, env = "WAYPOST_NAMESPACES", value_name = "TITLE,…", hide_env_values = true)]
    pub namespaces: Option<Vec<Titles>>,

    /// What to log to stderr: error, warn, info, debug, trace, or a filter such as
    /// waypost=debug,info [default: info]
    #[arg(long, env = "WAYPOST_LOG", value_name = "FILTER", hide_env_values = true)]
    #[serde(deserialize_with = "text")]
    pub log: Option<LogFilter>,

    /// Threads that serve connections, and links to other locations [default: half as many as the
    /// machine has cores, for the clients need the others]
    #[arg(long, env = "WAYPOST_THREADS", value_name = "NUMBER", hide_env_values = true)]
    pub threads: Option<Count<1024>>,

    /// Become a member of the cluster that `waypost cluster invite` printed this token for, if this
    /// location is not one yet. (Other users of the machine can see a command line, but no
    /// environment)
    #[arg(
        long,
        env = "WAYPOST_JOIN",
        value_name = "TOKEN",
        help_heading = CLUSTER,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub join: Option<TokenText>,

    /// What to call this location when it joins [default: what the token says]
    #[arg(
        long,
        env = "WAYPOST_LOCATION",
        value_name = "NAME",
        help_heading = CLUSTER,
        hide_env_values = true
    )]
    pub location: Option<Name>,

    /// Where other locations reach this one, said when it joins; may be said several times [default:
    /// where it listens for them, or the name of its machine]
    #[arg(
        long,
        env = "WAYPOST_ADVERTISE",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        help_heading = CLUSTER,
        hide_env_values = true
    )]
    pub advertise: Option<Vec<Address>>,

    /// Where this location listens for others on UDP, said when it joins [default: 0.0.0.0:8421]
    #[arg(
        long,
        env = "WAYPOST_CLUSTER_LISTEN",
        value_name = "IP:PORT",
        value_parser = listen_on,
        help_heading = CLUSTER,
        hide_env_values = true
    )]
    pub cluster_listen: Option<SocketAddr>,

    /// Memory for the store's cache, as in 512MiB [default: 256MiB]
    #[arg(long, env = "WAYPOST_CACHE", value_name = "SIZE", help_heading = STORE, hide_env_values = true)]
    #[serde(deserialize_with = "text")]
    pub cache: Option<Size<MIB, TIB>>,

    /// When a write is acknowledged: `durable`, when it survives a crash; or `relaxed:100ms`, at
    /// once, and it survives one after so long [default: durable]
    #[arg(
        long,
        env = "WAYPOST_DURABILITY",
        value_name = "durable|relaxed:TIME",
        help_heading = STORE,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub durability: Option<Durability>,

    /// How many writes may be under way, each holding at most 64 KiB [default: 512]
    #[arg(
        long,
        env = "WAYPOST_QUEUE",
        value_name = "NUMBER",
        help_heading = STORE,
        hide_env_values = true
    )]
    pub queue: Option<Count<65_536>>,

    /// How long a write waits to be among them before it is answered 503 [default: 5s]
    #[arg(
        long,
        env = "WAYPOST_QUEUE_WAIT",
        value_name = "TIME",
        help_heading = STORE,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub queue_wait: Option<Span<0>>,

    /// Memory for the counters of rate limits, 32 bytes for each key that is counted at a time; it
    /// is taken at once [default: 32MiB]
    #[arg(
        long,
        env = "WAYPOST_LIMITER_MEMORY",
        value_name = "SIZE",
        help_heading = LIMITS,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub limiter_memory: Option<Size<{ 64 * KIB }, TIB>>,

    /// How many of the keys that rate limits deny most are shown in /metrics; keys may be personal,
    /// so that none is if this is not said [default: 0]
    #[arg(
        long,
        env = "WAYPOST_TOP_DENIED_KEYS",
        value_name = "NUMBER",
        help_heading = LIMITS,
        hide_env_values = true
    )]
    pub top_denied_keys: Option<UpTo<100>>,

    /// Rate limits by name, `[limits.NAME]`: only in the file.
    #[arg(skip)]
    pub limits: Option<NamedLimits>,

    /// What Envoy is limited by: a YAML file of envoyproxy/ratelimit, or a directory of such
    #[arg(
        long,
        env = "WAYPOST_RLS_CONFIG",
        value_name = "FILE|DIR",
        help_heading = LIMITS,
        hide_env_values = true
    )]
    pub rls_config: Option<PathBuf>,

    /// How Envoy's limits count that do not say it: sliding, fixed or gcra [default: sliding]
    #[arg(
        long,
        env = "WAYPOST_RLS_ALGORITHM",
        value_name = "ALGORITHM",
        help_heading = LIMITS,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub rls_algorithm: Option<Algorithm>,

    /// Headers that Envoy is asked to add to its client's response: none, x-ratelimit, ratelimit or
    /// ietf [default: none]
    #[arg(
        long,
        env = "WAYPOST_RLS_HEADERS",
        value_name = "HEADERS",
        help_heading = LIMITS,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub rls_headers: Option<Fields>,

    /// What Envoy is limited by, `[[rls]]`: only in the file.
    #[arg(skip)]
    pub rls: Option<Vec<Domain>>,

    /// Time for the head of a request to come whole [default: 10s]
    #[arg(
        long,
        env = "WAYPOST_HEADER_TIMEOUT",
        value_name = "TIME",
        help_heading = CONNECTIONS,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub header_timeout: Option<Span<1>>,

    /// Time that a connection may stay without a request [default: 75s]
    #[arg(
        long,
        env = "WAYPOST_IDLE_TIMEOUT",
        value_name = "TIME",
        help_heading = CONNECTIONS,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub idle_timeout: Option<Span<1>>,

    /// Time in which a request's body must move [default: 30s]
    #[arg(
        long,
        env = "WAYPOST_BODY_TIMEOUT",
        value_name = "TIME",
        help_heading = CONNECTIONS,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub body_timeout: Option<Span<1>>,

    /// Time in which a client must take some of its response [default: 30s]
    #[arg(
        long,
        env = "WAYPOST_RESPONSE_TIMEOUT",
        value_name = "TIME",
        help_heading = CONNECTIONS,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub response_timeout: Option<Span<1>>,

    /// Connections at a time; more wait until one ends [default: 10000]
    #[arg(
        long,
        env = "WAYPOST_MAX_CONNECTIONS",
        value_name = "NUMBER",
        help_heading = CONNECTIONS,
        hide_env_values = true
    )]
    pub max_connections: Option<Count<1_000_000>>,

    /// Size of a request's head, which has at most 100 headers [default: 64KiB]
    #[arg(
        long,
        env = "WAYPOST_MAX_HEADER_SIZE",
        value_name = "SIZE",
        help_heading = CONNECTIONS,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub max_header_size: Option<Size<{ 8 * KIB }, MIB>>,

    /// Time that requests may still take after SIGTERM or SIGINT [default: 30s]
    #[arg(
        long,
        env = "WAYPOST_DRAIN",
        value_name = "TIME",
        help_heading = STOPPING,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub drain: Option<Span<0>>,

    /// Time between the failing of /readyz and the end of accepting connections, for balancers
    /// that must see it first [default: 0s]
    #[arg(
        long,
        env = "WAYPOST_DRAIN_NOTICE",
        value_name = "TIME",
        help_heading = STOPPING,
        hide_env_values = true
    )]
    #[serde(deserialize_with = "text")]
    pub drain_notice: Option<Span<0>>,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

const CLUSTER: &str = "Cluster";
const STORE: &str = "Store";
const LIMITS: &str = "Rate limits";
const CONNECTIONS: &str = "Connections";
const STOPPING: &str = "Stopping";

impl Settings {
    /// These settings, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: Settings) -> Settings {
        Settings {
            listen: self.listen.or(other.listen),
            data: self.data.or(other.data),
            namespaces: self.namespaces.or(other.namespaces),
            log: self.log.or(other.log),
            threads: self.threads.or(other.threads),
            join: self.join.or(other.join),
            location: self.location.or(other.location),
            advertise: self.advertise.or(other.advertise),
            cluster_listen: self.cluster_listen.or(other.cluster_listen),
            cache: self.cache.or(other.cache),
            durability: self.durability.or(other.durability),
            queue: self.queue.or(other.queue),
            queue_wait: self.queue_wait.or(other.queue_wait),
            limiter_memory: self.limiter_memory.or(other.limiter_memory),
            top_denied_keys: self.top_denied_keys.or(other.top_denied_keys),
            limits: self.limits.or(other.limits),
            rls_config: self.rls_config.or(other.rls_config),
            rls_algorithm: self.rls_algorithm.or(other.rls_algorithm),
            rls_headers: self.rls_headers.or(other.rls_headers),
            rls: self.rls.or(other.rls),
            header_timeout: self.header_timeout.or(other.header_timeout),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            body_timeout: self.body_timeout.or(other.body_timeout),
            response_timeout: self.response_timeout.or(other.response_timeout),
            max_connections: self.max_connections.or(other.max_connections),
            max_header_size: self.max_header_size.or(other.max_header_size),
            drain: self.drain.or(other.drain),
            drain_notice: self.drain_notice.or(other.drain_notice),
        }
    }
}
