//! How far a joining location is, in words.

use kv_replicate::quic::Status;

/// Describes how far a joining location is.
#[must_use]
pub fn progress(status: &Status) -> String {
    let sessions = status.peers.values().filter_map(|peer| peer.state.receiving);
    let (walked, of) =
        sessions.fold((0, 0), |(walked, of), session| (walked + session.walked, of + session.of));
    let links = status.peers.values().filter(|peer| peer.is_connected).count();
    match (links, of) {
        (0, _) => "no link to another location yet".into(),
        (_, 0) => format!("{} entries so far", status.rows_taken),
        _ => format!("{} entries so far, {} %", status.rows_taken, 100 * walked.min(of) / of),
    }
}
