//! Tests of the binary as a process: its command line, its connections, its end.

mod bounds;
mod cluster;
mod commands;
mod connections;
mod demo;
mod http;
mod limits;
mod pipelining;
mod process;
mod refused;
mod requests;
mod rls;
mod settings;
mod stopping;
