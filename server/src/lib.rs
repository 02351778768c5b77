//! The Waypost server: HTTP doors over a [`kv_core::Store`], and the command line.
//!
//! | module | what it knows |
//! |---|---|
//! | [`cli`] | the command line: `serve`, `demo`, and the client commands |
//! | [`config`] | the settings: one name each, from flag, environment, file or default |
//! | [`serve`] | wiring: store, listener, signals, drain |
//! | [`threads`] | how many threads serve |
//! | [`connection`] | connections and their bounds in time, number and size |
//! | [`router`] | which door a request goes to |
//! | [`api`] | one module per protocol: what a request means, and the answer |
//! | [`app`] | what every door shares: the store, the admission before its queue, the rate limits, the metrics |
//! | [`cluster`] | the location's part of a cluster: its files, certificates, tokens, how other locations join |
//! | [`membership`] | whether this location may serve traffic and accept writes |
//! | [`private_files`] | files that only their owner may use: atomic and durable writes |
//! | [`demo`] | three locations in one process that show what a cluster does |
//! | [`rate_limits`] | the table of counters, the limits that have a name |
//!
//! A request goes down this table and its answer comes up. A door knows the store and HTTP; it
//! knows no socket, no timer and no other door.

pub mod admission;
pub mod api;
pub mod app;
pub mod body;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod demo;
pub mod drain;
pub mod membership;
pub mod metrics;
pub mod private_files;
pub mod rate_limits;
pub mod reply;
pub mod router;
pub mod serve;
mod signals;
pub mod threads;
