//! The commands of `waypost cluster` that use a running server: status, verify, remove.

use std::io::{self, Write as _};

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    client::{Client, ClientError, NO_BODY, ServerArgs, print_json},
    confirm::{ConfirmError, confirm},
    status::print_status,
};
use crate::api::cluster::{ClusterInfo, KeyInfo, NewVerification, Removed, VerdictInfo};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum MembersError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    #[error("{0} alarm{s}: see above", s = if *.0 == 1 { "" } else { "s" })]
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
