//! Tests of the binary as a process: its command line, its connections, its end.

mod cluster;
mod commands;
mod connections;
mod demo;
mod http;
mod limits;
mod listeners;
mod pipelining;
mod process;
mod refused;
mod reload;
mod requests;
mod rls;
mod settings;
mod stopping;
mod tokens;
mod web_pages;
