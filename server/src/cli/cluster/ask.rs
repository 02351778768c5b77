//! What `waypost cluster` asks of a running server: how the cluster is, whether two locations hold the
//! same, and to remove one.

use std::{
    borrow::Cow,
    io::{self, Write as _},
};

use clap::Args;
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{
    super::{
        client::{Client, ClientError, ServerUrl},
        confirm::confirm,
    },
    CommandError,
};
use crate::{
    api::cluster::{ClusterInfo, KeyInfo, NewVerification, PeerInfo, Removed, VerdictInfo},
    cluster::when::{day, minute},
};

/// Which server is asked, and for whom it answers.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The server to ask
    #[arg(
        long,
        env = "WAYPOST_SERVER",
        value_name = "URL|unix:PATH",
        default_value = "http://127.0.0.1:8420"
    )]
    server: ServerUrl,

    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

const CLUSTER: &str = "/v1/cluster";
const NO_BODY: Option<&()> = None;

/// Shows the cluster as one location sees it. Fails if somebody must see to something.
pub(super) fn status(server: Server) -> Result<(), CommandError> {
    let client = Client::new(server.server)?;
    let info: ClusterInfo = client.call(&Method::GET, CLUSTER, NO_BODY)?;
    if server.json {
        print_json(&info)?;
    } else {
        print_status(&info)?;
    }
    if info.alarms.is_empty() { Ok(()) } else { Err(CommandError::Alarms(info.alarms.len())) }
}

fn print_status(info: &ClusterInfo) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} of the cluster {}: {}", info.location, info.name, info.verdict)?;
    if !info.peers.is_empty() {
        let width =
            info.peers.iter().map(|peer| peer.name.chars().count()).max().unwrap_or(0).max(8);
        writeln!(out)?;
        writeln!(
            out,
            "{:width$}  {:4}  {:>9}  {:>12}  {:>13}  {:>8}  now",
            "location", "link", "rtt", "missing here", "missing there", "late"
        )?;
        for peer in &info.peers {
            let rtt = peer.rtt_ms.map_or_else(|| "-".into(), |rtt| format!("{rtt:.1} ms"));
            let link = if peer.is_connected { "up" } else { "down" };
            let late = format!("{} ms", peer.late_ms);
            writeln!(
                out,
                "{:width$}  {link:4}  {rtt:>9}  {:>12}  {:>13}  {late:>8}  {}",
                peer.name,
                peer.missing_here,
                peer.missing_there,
                doing(peer)
            )?;
        }
    }
    if info.ca_not_after > 0 {
        writeln!(out)?;
        writeln!(
            out,
            "certificates: this location's holds until {}, the CA's until {}",
            day(info.certificate_not_after),
            day(info.ca_not_after)
        )?;
    }
    for alarm in &info.alarms {
        writeln!(out)?;
        writeln!(out, "ALARM: {alarm}")?;
    }
    Ok(())
}

fn doing(peer: &PeerInfo) -> Cow<'static, str> {
    if let Some(since) = peer.down_since.filter(|_| !peer.is_connected) {
        return format!("dialling, down since {}", minute(since)).into();
    }
    let doing = match peer {
        _ if !peer.is_connected => "dialling",
        _ if peer.is_parked => "its clock is ahead: its writes wait",
        _ if peer.is_receiving && peer.is_sending => "catching up, both ways",
        _ if peer.is_receiving => "catching up from it",
        _ if peer.is_sending => "it is catching up",
        _ => "live",
    };
    doing.into()
}

/// Compares what a location holds with another one, or with each other one. Fails unless all is the same.
pub(super) fn verify(location: Option<String>, server: Server) -> Result<(), CommandError> {
    let client = Client::patient(server.server)?;
    let locations = match location {
        Some(location) => vec![location],
        None => {
            let info: ClusterInfo = client.call(&Method::GET, CLUSTER, NO_BODY)?;
            info.peers.into_iter().map(|peer| peer.member).collect()
        }
    };
    let mut different = 0;
    let count = locations.len();
    for location in locations {
        let ask = NewVerification { location };
        let path = format!("{CLUSTER}/verify");
        let verdict: VerdictInfo = match client.call(&Method::POST, &path, Some(&ask)) {
            // The others can be compared nevertheless.
            Err(ClientError::Refused(why)) if count > 1 => {
                eprintln!("{}: {why}", ask.location);
                different += 1;
                continue;
            }
            answer => answer?,
        };
        different += usize::from(!verdict.is_equal);
        if server.json {
            print_json(&verdict)?;
        } else {
            let mut out = io::stdout().lock();
            writeln!(out, "{}: {}", verdict.location, verdict.verdict)?;
            // Quoted: a key may hold what a terminal obeys.
            for KeyInfo { namespace, key } in &verdict.keys {
                writeln!(out, "  {namespace:?} {key:?}")?;
            }
        }
    }
    match (count, different) {
        (0, _) => Err(CommandError::NobodyElse),
        (_, 0) => Ok(()),
        _ => Err(CommandError::Different(different)),
    }
}

/// Removes a location for good.
pub(super) fn remove(location: &str, yes: bool, server: Server) -> Result<(), CommandError> {
    let client = Client::new(server.server)?;
    if !yes {
        let question = format!(
            "Remove {location} for good? What only it holds is lost, and it can come back only empty."
        );
        confirm(&question, CommandError::NotConfirmed, CommandError::NobodyToAsk)?;
    }
    let path = format!("{CLUSTER}/locations/{}", utf8_percent_encode(location, NON_ALPHANUMERIC));
    let removed: Removed = client.call(&Method::DELETE, &path, NO_BODY)?;
    if server.json {
        return Ok(print_json(&removed)?);
    }
    let Removed { location, member } = removed;
    Ok(writeln!(io::stdout().lock(), "removed {member}  {location}")?)
}

fn print_json(document: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, document)?;
    writeln!(out)
}
