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
        (0, _) if status.peers.is_empty() => "its store is new and names no other location: if the file of the store was \
                                              lost, stop this location and restore a copy of its data directory"
            .into(),
        (0, _) => "no link to another location yet".into(),
        (_, 0) => format!("{} entries so far", status.rows_taken),
        _ => format!("{} entries so far, {} %", status.rows_taken, 100 * walked.min(of) / of),
    }
}

#[cfg(test)]
mod tests {
    use kv_core::MemberId;
    use kv_replicate::quic::Peer;

    use super::*;

    #[test]
    fn a_new_store_that_names_no_other_location_says_what_was_lost_and_what_to_do() {
        let mut status = Status::default();
        assert!(progress(&status).contains("restore a copy"), "{}", progress(&status));
        status.peers.insert(MemberId([1; 16]), Peer::default());
        assert_eq!(progress(&status), "no link to another location yet");
    }
}
