//! The table of settings. Flags, variables, the keys of the file, defaults, help texts and
//! docs/settings.md are all derived from it. **To add a setting, add one entry.**

use std::{
    net::{Ipv6Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use ratelimit::Algorithm;
use serde::Deserialize;
use toml::Spanned;

use super::{
    error::ConfigError,
    given::Given,
    kinds::{Durability, LogFilter, Number, Size, Span, Title},
    listeners::ListenerTable,
    value::{List, Value, from_file},
};
use crate::{
    access::ApiName,
    api::rls::{Fields, config::Domain},
    cluster::state::{
        names::{Address, Name, advertised},
        token::Token,
    },
    connection::{Limits, Listen, SocketMode},
    rate_limits::NamedLimits,
    threads,
    web_pages::AllowedHost,
};

/// The heading under which the help lists a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The settings that every server needs.
    General,
    /// Where clients connect.
    Listener,
    /// Joining a cluster.
    Cluster,
    /// The storage engine and its queue of writes.
    Store,
    /// Rate limits.
    RateLimits,
    /// Bounds of connections.
    Connections,
    /// The end of a server.
    Stopping,
}

impl Group {
    /// Returns the heading's text.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Group::General => "General",
            Group::Listener => "Listener",
            Group::Cluster => "Cluster",
            Group::Store => "Store",
            Group::RateLimits => "Rate limits",
            Group::Connections => "Connections",
            Group::Stopping => "Stopping",
        }
    }
}

/// A setting, as the table describes it. Its three names come from one: `idle_timeout` is
/// `--idle-timeout`, `WAYPOST_IDLE_TIMEOUT`, and `idle-timeout` in the file.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The field of [`Settings`].
    pub field: &'static str,
    /// The heading under which the help lists it.
    pub group: Group,
    /// The word that the help shows in place of the value.
    pub value_name: &'static str,
    /// The default: a value, or words if it has to be found out.
    pub default: &'static str,
    /// Whether the flag may be repeated.
    pub is_list: bool,
    /// Whether the flag may stand without a value.
    pub is_switch: bool,
    /// The help text, as it stands in the table.
    help: &'static str,
}

impl Setting {
    /// Returns its key in the file.
    #[must_use]
    pub fn key(&self) -> String {
        self.field.replace('_', "-")
    }

    /// Returns its flag.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.key())
    }

    /// Returns its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("WAYPOST_{}", self.field.to_ascii_uppercase())
    }

    /// Returns what it does, without its default.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }
}

/// The fields of the settings that a reload applies; a change of any other one needs a restart.
pub const RELOADED: [&str; 5] =
    ["allowed_hosts", "max_limits", "rls_config", "rls_algorithm", "rls_headers"];

macro_rules! settings {
    ($(
        $group:ident {
            $($(#[doc = $help:literal])+ $field:ident: $type:ty = $default:literal, $value:literal;)+
        }
    )+) => {
        /// All settings, in the order of the help.
        pub const SETTINGS: &[Setting] = &[$($(
            Setting {
                field: stringify!($field),
                group: Group::$group,
                value_name: $value,
                default: $default,
                is_list: <$type as Value>::IS_LIST,
                is_switch: <$type as Value>::IS_SWITCH,
                help: concat!($($help),+),
            },
        )+)+];

        /// The value of every setting.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(
                $(#[doc = $help])+
                pub $field: $type,
            )+)+
        }

        /// The file: settings, and the tables that exist only there.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        pub(super) struct FileSettings {
            $($(
                #[serde(deserialize_with = "from_file")]
                $field: Option<$type>,
            )+)+
            /// Listeners: `[[listener]]`.
            pub(super) listener: Vec<Spanned<ListenerTable>>,
            /// Rate limits by name: `[limits.NAME]`.
            pub(super) limits: NamedLimits,
            /// Limits for Envoy: `[[rls]]`.
            pub(super) rls: Vec<Domain>,
        }

        impl Settings {
            /// Returns the settings whose values differ.
            #[must_use]
            pub fn differences(&self, other: &Settings) -> Vec<&'static Setting> {
                let mut fields = Vec::new();
                $($(
                    if self.$field != other.$field {
                        fields.push(stringify!($field));
                    }
                )+)+
                SETTINGS.iter().filter(|setting| fields.contains(&setting.field)).collect()
            }

            /// Takes each setting from the command line, else from the environment, else from the
            /// file, else its default.
            ///
            /// # Errors
            /// If a flag or a variable has a value that is not one of its setting.
            pub(super) fn resolve(
                given: &Given,
                file: FileSettings,
            ) -> Result<(Settings, NamedLimits, Vec<Domain>), ConfigError> {
                let settings = Settings {
                    $($(
                        $field: match given.value(stringify!($field))?.or(file.$field) {
                            Some(value) => value,
                            None => Value::by_default($default),
                        },
                    )+)+
                };
                Ok((settings, file.limits, file.rls))
            }
        }
    };
}

/// Bytes in a kibibyte.
const KIB: u64 = 1 << 10;
/// Bytes in a mebibyte.
const MIB: u64 = 1 << 20;
/// Bytes in a tebibyte.
const TIB: u64 = 1 << 40;

// field: type = "default", "name of the value";
settings! {
    General {
        /// Data directory; created if it does not exist
        data: PathBuf = "waypost-data", "DIR";
        /// Namespaces to create at startup if they do not exist, by title
        namespaces: List<Title> = "", "TITLE,…";
        /// What to log to stderr: error, warn, info, debug, trace, or a filter such as
        /// waypost=debug,info
        log: LogFilter = "info", "FILTER";
        /// Threads that serve connections, and links to other locations
        threads: Option<Number<1, 1024>> =
            "half of the CPU cores, because clients usually run on the same machine", "NUMBER";
    }
    Listener {
        /// Where to serve HTTP: an address and a port, or a unix socket
        listen: Option<Listen> = "127.0.0.1:8420", "ADDR|unix:PATH";
        /// Permissions of unix sockets: who may connect
        socket_mode: SocketMode = "0660", "MODE";
        /// Names with a dot that clients may use for this server where no token is needed, such as kv.example.com. Other
        /// names with a dot are refused there, because a web page could point its own name at this machine
        allowed_hosts: List<AllowedHost> = "", "NAME,…";
        /// Certificate of this server, a PEM file, followed by those of the CAs between it and a root.
        /// With it, the listener speaks TLS. It is read again when it changes
        tls_cert: Option<PathBuf> = "", "FILE";
        /// Key of the certificate, a PEM file
        tls_key: Option<PathBuf> = "", "FILE";
        /// Certificates of the CAs of clients, a PEM file. With it, each client needs a certificate of
        /// one of them
        client_ca: Option<PathBuf> = "", "FILE";
        /// APIs that the listener serves: binding, kv, ratelimit, rls, admin, ops
        apis: Option<List<ApiName>> = "all", "API,…";
        /// Serve addresses that other machines can reach without TLS. Everyone on the way can then read
        /// tokens and values
        insecure: Option<bool> = "false", "true|false";
        /// File with a token that permits everything at this location, as `waypost token generate`
        /// prints one. Every listener on an address then needs tokens
        admin_token_file: Option<PathBuf> = "", "FILE";
        /// File to which each administrative act is added, as a line of JSON. It is reopened on SIGHUP
        audit_log: Option<PathBuf> = "", "FILE";
    }
    Cluster {
        /// Join the cluster whose `waypost cluster invite` printed this token, unless this location
        /// is a member already. Prefer --join-file: other users of the machine can read a command
        /// line
        join: Option<Token> = "", "TOKEN";
        /// File with that token, or - for stdin. A member need not have it any more
        join_file: Option<PathBuf> = "", "FILE|-";
        /// Name of this location when it joins
        location: Option<Name> = "the name in the token", "NAME";
        /// Addresses at which other locations reach this one, the best first; used when it joins
        advertise: Option<List<Address>> =
            "the address of --cluster-listen, or the name of this machine", "HOST:PORT";
        /// UDP address on which this location listens for others; used when it joins
        cluster_listen: Option<SocketAddr> = "[::]:8421, all addresses of IPv6 and IPv4", "IP:PORT";
    }
    Store {
        /// Memory for the store's cache, for example 512MiB
        cache: Size<MIB, TIB> = "256MiB", "SIZE";
        /// When a write is acknowledged: `durable`, once it survives a crash; `relaxed:100ms`, at
        /// once, and it survives a crash that comes later than this time
        durability: Durability = "durable", "durable|relaxed:TIME";
        /// Writes in progress at a time; each holds at most 64 KiB
        queue: Number<1, 65_536> = "512", "NUMBER";
        /// How long a write waits for a place in the queue before it is answered with 503
        queue_wait: Span<0> = "5s", "TIME";
        /// The least time until an entry expires. The default is that of Workers KV
        min_ttl: Span<1_000> = "60s", "TIME";
        /// Have all limits of Workers KV, for tests of what is deployed there: one put a second to a key, entries that live for
        /// at least 60 s, and 1000 namespaces
        strict: Option<bool> = "false", "true|false";
        /// How long an expired entry keeps its disk space, hidden, so that a clock that is wrong for less
        /// than this time destroys nothing
        expiry_grace: Span<1_000> = "1h", "TIME";
        /// The largest difference between two clocks that are right. A location whose clock differs by more
        /// from that of the others reports an alarm
        max_clock_skew: Span<10> = "500ms", "TIME";
    }
    RateLimits {
        /// Memory for the counters of rate limits, allocated at startup: 32 bytes for each key that
        /// is counted at a time. Half of it is for the limits of the configuration, half for those that
        /// callers describe. In a cluster, a quarter of it is for what other locations count of global limits
        limiter_memory: Size<{ 64 * KIB }, TIB> = "32MiB", "SIZE";
        /// Limits that the configuration may have: those with a name, and those for Envoy. Each takes about
        /// 500 bytes of memory, and up to 1 KiB more once it is used, for its metrics
        max_limits: Number<1, 10_000_000> = "1000000", "NUMBER";
        /// How many of the keys that rate limits deny most /metrics shows. Off by default, because
        /// keys may contain personal data
        top_denied_keys: Number<0, 100> = "0", "NUMBER";
        /// Limits for Envoy: a YAML file in the format of envoyproxy/ratelimit, or a directory of them
        rls_config: Option<PathBuf> = "", "FILE|DIR";
        /// Algorithm of Envoy's limits that do not name one: sliding, fixed or gcra
        rls_algorithm: Algorithm = "sliding", "ALGORITHM";
        /// Headers that Envoy adds to its client's response: none, x-ratelimit, ratelimit or ietf
        rls_headers: Fields = "none", "HEADERS";
    }
    Connections {
        /// Time in which the head of a request must arrive
        header_timeout: Span<1> = "10s", "TIME";
        /// Time that a connection may stay without a request
        idle_timeout: Span<1> = "75s", "TIME";
        /// Time in which more of a request's body must arrive
        body_timeout: Span<1> = "30s", "TIME";
        /// Time in which a client must read more of its response
        response_timeout: Span<1> = "30s", "TIME";
        /// Connections at a time, half of them for one client address; more get 503, except for health,
        /// metrics and administration
        max_connections: Number<1, 1_000_000> = "10000", "NUMBER";
        /// Memory for requests in progress, all connections together: bodies that arrive, and responses that their clients
        /// have not read. If it is used up, further requests get 503, and connections that stand still are closed
        budget: Size<{ 16 * MIB }, TIB> = "256MiB", "SIZE";
        /// Size of a request's head, which may have 100 headers
        max_header_size: Size<{ 8 * KIB }, MIB> = "64KiB", "SIZE";
    }
    Stopping {
        /// Time in which running requests may finish after SIGTERM or SIGINT
        drain: Span<0> = "30s", "TIME";
        /// Time between the failure of /readyz and the end of accepting connections, for load
        /// balancers that must see it first
        drain_notice: Span<0> = "0s", "TIME";
    }
}

impl Settings {
    /// Returns the bounds of connections.
    #[must_use]
    pub fn connection_limits(&self) -> Limits {
        Limits {
            header: self.header_timeout.get(),
            idle: self.idle_timeout.get(),
            body: self.body_timeout.get(),
            response: self.response_timeout.get(),
            connections: NonZeroU32::new(self.max_connections.get()).unwrap_or(NonZeroU32::MIN),
            header_bytes: u32::try_from(self.max_header_size.get()).unwrap_or(u32::MAX),
        }
    }

    /// Returns how many threads serve.
    #[must_use]
    pub fn serving_threads(&self) -> NonZeroUsize {
        let set = self.threads.and_then(|threads| usize::try_from(threads.get()).ok());
        set.and_then(NonZeroUsize::new).unwrap_or_else(threads::default)
    }

    /// Returns the addresses at which other locations reach this one; none if none was set and this
    /// machine has no name that they could look up.
    #[must_use]
    pub fn advertised(&self) -> Vec<Address> {
        match &self.advertise {
            Some(List(addresses)) => addresses.clone(),
            None => advertised(self.cluster_listen()).into_iter().collect(),
        }
    }

    /// Returns the UDP address on which this location listens for others.
    #[must_use]
    pub fn cluster_listen(&self) -> SocketAddr {
        self.cluster_listen.unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, 8421).into())
    }
}
