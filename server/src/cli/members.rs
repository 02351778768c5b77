//! The commands of `waypost cluster` that use a running server: status, verify, remove.

use std::{
    borrow::Cow,
    io::{self, Write as _},
};

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    client::{Client, ClientError, NO_BODY, ServerArgs, print_json},
    confirm::{ConfirmError, confirm},
};
use crate::{
    api::cluster::{
        ClusterInfo, DamagedInfo, KeyInfo, NewVerification, PeerInfo, Removed, VerdictInfo,
    },
    cluster::state::dates::{day, minute},
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum MembersError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    #[error("{0} alarms: see above")]
    Alarms(usize),
    #[error("{0} locations differ or could not be compared: see above")]
    Different(usize),
    #[error("nothing was compared: there is no other location")]
    NoOtherLocation,
    #[error("can't write to stdout: {0}")]
    Output(#[from] io::Error),
}

/// The path of the cluster API.
const CLUSTER: &str = "/v1/cluster";

/// Shows the cluster as one location sees it.
///
/// # Errors
/// Also if there are alarms.
pub(super) fn status(server: ServerArgs) -> Result<(), MembersError> {
    let client = Client::new(server.server)?;
    let info: ClusterInfo = client.call(&Method::GET, CLUSTER, NO_BODY)?;
    if server.json {
        print_json(&info)?;
    } else {
        print_status(&info)?;
    }
    if info.alarms.is_empty() { Ok(()) } else { Err(MembersError::Alarms(info.alarms.len())) }
}

/// Prints the cluster, its locations and the alarms.
fn print_status(info: &ClusterInfo) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} of the cluster {}: {}", info.location, info.name, info.verdict)?;
    if let Some(software) = &info.software {
        writeln!(out, "{} runs waypost {software}", info.location)?;
    }
    if !info.peers.is_empty() {
        let width =
            info.peers.iter().map(|peer| peer.name.chars().count()).max().unwrap_or(0).max(8);
        writeln!(out)?;
        writeln!(
            out,
            "{:width$}  {:8}  {:4}  {:>9}  {:>12}  {:>13}  {:>8}  state",
            "location", "version", "link", "rtt", "missing here", "missing there", "late"
        )?;
        for peer in &info.peers {
            let rtt = peer.rtt_ms.map_or_else(|| "-".into(), |rtt| format!("{rtt:.1} ms"));
            let link = if peer.is_connected { "up" } else { "down" };
            let late = format!("{} ms", peer.late_ms);
            writeln!(
                out,
                "{:width$}  {:8}  {link:4}  {rtt:>9}  {:>12}  {:>13}  {late:>8}  {}",
                peer.name,
                peer.software.as_deref().unwrap_or("unknown"),
                peer.missing_here,
                peer.missing_there,
                state(peer)
            )?;
        }
    }
    if info.ca_not_after > 0 {
        writeln!(out)?;
        writeln!(
            out,
            "certificates: this location's expires on {}, the CA's on {}",
            day(info.certificate_not_after),
            day(info.ca_not_after)
        )?;
    }
    if info.damaged > 0 {
        writeln!(out)?;
        writeln!(out, "damaged entries: {}", info.damaged)?;
        // Quoted: a key may contain control sequences of a terminal.
        for DamagedInfo { key: KeyInfo { namespace, key }, waits_for, .. } in &info.damaged_keys {
            let waits = match &waits_for[..] {
                [] => String::new(),
                names => format!(", waits for {}", names.join(", ")),
            };
            writeln!(out, "  {namespace:?} {key:?}{waits}")?;
        }
    }
    for alarm in &info.alarms {
        writeln!(out)?;
        writeln!(out, "ALARM: {alarm}")?;
    }
    Ok(())
}

/// The state of a link, in words.
fn state(peer: &PeerInfo) -> Cow<'static, str> {
    if let Some(since) = peer.down_since.filter(|_| !peer.is_connected) {
        return format!("dialling, down since {}", minute(since)).into();
    }
    let state = match peer {
        _ if !peer.is_connected => "dialling",
        _ if peer.is_receiving && peer.is_sending => "catching up, both ways",
        _ if peer.is_receiving => "catching up from it",
        _ if peer.is_sending => "it is catching up",
        _ => "live",
    };
    state.into()
}

/// Compares everything that this location holds with another one, or with each other one.
///
/// # Errors
/// Also unless all are equal.
pub(super) fn verify(location: Option<String>, server: ServerArgs) -> Result<(), MembersError> {
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
        let verification = NewVerification { location };
        let path = format!("{CLUSTER}/verify");
        let verdict: VerdictInfo = match client.call(&Method::POST, &path, Some(&verification)) {
            // The others can be compared nevertheless.
            Err(ClientError::Refused(reason)) if count > 1 => {
                eprintln!("{}: {reason}", verification.location);
                different += 1;
                continue;
            }
            response => response?,
        };
        different += usize::from(!verdict.is_equal);
        if server.json {
            print_json(&verdict)?;
        } else {
            print_verdict(&verdict)?;
        }
    }
    match (count, different) {
        (0, _) => Err(MembersError::NoOtherLocation),
        (_, 0) => Ok(()),
        _ => Err(MembersError::Different(different)),
    }
}

/// Prints the result of a comparison with one location.
fn print_verdict(verdict: &VerdictInfo) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {}", verdict.location, verdict.verdict)?;
    // Quoted: a key may contain control sequences of a terminal.
    for KeyInfo { namespace, key } in &verdict.keys {
        writeln!(out, "  {namespace:?} {key:?}")?;
    }
    Ok(())
}

/// Removes a location for good.
pub(super) fn remove(location: &str, yes: bool, server: ServerArgs) -> Result<(), MembersError> {
    let client = Client::new(server.server)?;
    if !yes {
        confirm(&format!(
            "Remove {location} for good? Data that only it holds is lost, and it can rejoin only when it is \
             empty."
        ))?;
    }
    let path = format!("{CLUSTER}/locations/{}", utf8_percent_encode(location, NON_ALPHANUMERIC));
    let removed: Removed = client.call(&Method::DELETE, &path, NO_BODY)?;
    if server.json {
        return Ok(print_json(&removed)?);
    }
    let Removed { location, member } = removed;
    Ok(writeln!(io::stdout().lock(), "removed {member}  {location}")?)
}
