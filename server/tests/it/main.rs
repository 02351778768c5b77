//! Tests of the binary as a process: its command line, its connections, its end.

mod addresses;
mod bounds;
mod cluster;
mod commands;
mod connections;
mod demo;
mod head;
mod http;
mod limit_commands;
mod limits;
mod listeners;
mod overrides;
mod owners;
mod pipelining;
mod process;
mod refused;
mod reload;
mod requests;
mod rest;
mod rls;
mod settings;
mod stopping;
mod tokens;
mod web_pages;
