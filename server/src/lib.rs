//! The Waypost server: HTTP APIs over a [`kv_core::Store`], and the command line.
//!
//! | module | what it knows |
//! |---|---|
//! | [`cli`] | the command line: `serve`, `demo`, and the client commands |
//! | [`config`] | the settings: one name each, from flag, environment, file or default |
//! | [`serve`] | wiring: store, listener, signals, drain |
//! | [`threads`] | how many threads serve |
//! | [`connection`] | connections and their bounds in time, number and size |
//! | [`tls`] | the certificates of listeners |
//! | [`access`] | what a client may use |
//! | [`router`] | which API a request goes to |
//! | [`web_pages`] | which requests a web page made a browser send |
//! | [`api`] | one module per protocol: what a request means, and the response |
//! | [`http`] | what the APIs share of HTTP: bodies, JSON, forms, replies, streams |
//! | [`kv`] | what the APIs of keys and values share: keys, cursors, expirations, uploads, bulk gets |
//! | [`app`] | the state that all APIs share: the store, the way to it, the rate limits, the metrics |
//! | [`bounds`] | the bounds of writes that an operator sets |
//! | [`budget`] | how many bytes requests in progress hold |
//! | [`writes`], [`admission`] | how many writes, long bodies and connections there are at a time |
//! | [`rate_limits`] | the table of counters, and the limits that have a name |
//! | [`metrics`] | what is counted, and its Prometheus text |
//! | [`audit`] | a line for each administrative act |
//! | [`drain`] | how the server stops |
//! | [`core_dumps`] | the process leaves none |
//! | [`cluster`] | the location's part of a cluster: its files, certificates, tokens, how other locations join |
//! | [`alarms`] | what an operator must act on, and whether all is well, from one snapshot of the state |
//! | [`membership`] | whether this location may serve traffic and accept writes |
//! | [`doctor`] | the examination of a whole store, and its repair |
//! | [`logging`], [`terminal`] | what is printed for people; texts of other machines are escaped there |
//! | [`private_files`] | files that only their owner may use: atomic and durable writes |
//! | [`demo`] | three locations in one process, which show what a cluster does |
//!
//! A request goes down this table and its response comes up. An API knows the store and HTTP; it
//! knows no socket, no timer and no other API.

pub mod access;
pub mod admission;
pub mod alarms;
pub mod api;
pub mod app;
pub mod audit;
pub mod bounds;
pub mod budget;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod core_dumps;
pub mod demo;
pub mod doctor;
pub mod drain;
pub mod http;
pub mod kv;
pub mod logging;
pub mod membership;
pub mod metrics;
pub mod private_files;
pub mod rate_limits;
pub mod router;
pub mod serve;
mod signals;
pub mod terminal;
pub mod threads;
pub mod tls;
pub mod web_pages;
pub mod writes;
