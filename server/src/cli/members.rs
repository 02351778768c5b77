//! The commands of `waypost cluster` that use a running server: status, verify, remove.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::mpsc,
    thread,
    time::Duration,
};

use hyper::Method;
use kv_core::visible::escaped;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    client::{Client, ClientError, NO_BODY, ServerArgs, print_json},
    confirm::{ConfirmError, confirm},
    status::{print_status, verification},
};
use crate::{
    api::cluster::{ClusterInfo, KeyInfo, NewVerification, Removed, VerdictInfo},
    terminal,
};

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
    let client = Client::new(&server)?;
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
    let client = Client::patient(&server)?;
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
        let compare = || client.call(&Method::POST, &path, Some(&verification));
        let verdict: VerdictInfo = match beside(&server, &verification.location, compare) {
            // The others can be compared nevertheless.
            Err(ClientError::Refused(reason)) if count > 1 => {
                eprintln!("{}: {}", escaped(&verification.location), escaped(&reason));
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

/// The columns of the narrowest terminal that people use, less one for the cursor.
const COLUMNS: usize = 79;

/// How often the progress is shown.
const EVERY: Duration = Duration::from_secs(1);

/// Compares, and shows meanwhile how far the comparison with a location is, if somebody watches a terminal.
fn beside<T>(server: &ServerArgs, location: &str, compare: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return compare();
    }
    thread::scope(|scope| {
        let (end, has_ended) = mpsc::channel::<()>();
        scope.spawn(move || show_progress(server, location, &has_ended));
        let compared = compare();
        drop(end);
        compared
    })
}

/// Shows how far the comparison with a location is, until the other end of the channel is dropped.
fn show_progress(server: &ServerArgs, location: &str, has_ended: &mpsc::Receiver<()>) {
    let Ok(client) = Client::new(server) else { return };
    while has_ended.recv_timeout(EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
        // What can't be shown is no reason to end the comparison.
        let Ok(info) = client.call::<ClusterInfo>(&Method::GET, CLUSTER, NO_BODY) else { continue };
        let mut peers = info.peers.into_iter();
        let peer = peers.find(|peer| [&peer.name, &peer.member].contains(&&location.to_owned()));
        if let Some((name, verifying)) = peer.and_then(|peer| Some((peer.name, peer.verifying?))) {
            // A line that wraps could not be replaced by the next one.
            let line = format!("{name}: {}", verification(&verifying));
            let line: String = escaped(&line).chars().take(COLUMNS).collect();
            eprint!("\r\x1b[K{line}");
        }
    }
    eprint!("\r\x1b[K");
}

/// Prints the result of a comparison with one location.
fn print_verdict(verdict: &VerdictInfo) -> io::Result<()> {
    let mut out = terminal::stdout();
    writeln!(out, "{}: {}", verdict.location, verdict.verdict)?;
    // Quoted: a key may contain control sequences of a terminal.
    for KeyInfo { namespace, key } in &verdict.keys {
        writeln!(out, "  {namespace:?} {key:?}")?;
    }
    Ok(())
}

/// Removes a location for good.
pub(super) fn remove(location: &str, yes: bool, server: ServerArgs) -> Result<(), MembersError> {
    let client = Client::new(&server)?;
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
    Ok(writeln!(terminal::stdout(), "removed {member}  {location}")?)
}
