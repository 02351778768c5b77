//! How far a joining location is, in words.

use kv_core::MemberId;
use kv_replicate::quic::Status;

/// Describes how far a joining location is. `called` names locations.
#[must_use]
pub fn progress(status: &Status, called: impl Fn(MemberId) -> String) -> String {
    let sessions = status.peers.values().filter_map(|peer| peer.state.receiving);
    let (walked, of) =
        sessions.fold((0, 0), |(walked, of), session| (walked + session.walked, of + session.of));
    let links = status.peers.values().filter(|peer| peer.is_connected).count();
    match (links, of) {
        (0, _) if status.peers.is_empty() => "its store is new and names no other location: if the file of the store was \
                                              lost, stop this location and restore a copy of its data directory"
            .into(),
        (0, _) => unlinked(status, called),
        (_, 0) => format!("{} entries so far", status.rows_taken),
        _ => format!("{} entries so far, {} %", status.rows_taken, 100 * walked.min(of) / of),
    }
}

/// Why a location has no link to any other one, as far as it is known.
fn unlinked(status: &Status, called: impl Fn(MemberId) -> String) -> String {
    let tried = status.peers.iter().filter_map(|(id, peer)| match &peer.last_error {
        Some(why) => Some(format!("{}: {why}", called(*id))),
        None if peer.addresses.is_empty() => None,
        None => Some(format!("{}: dialling {}", called(*id), peer.addresses.join(", "))),
    });
    match &tried.collect::<Vec<_>>()[..] {
        [] => "no link to another location yet".into(),
        tried => format!(
            "no link to another location yet ({}); check that one of them runs, and that its UDP port is reachable from \
             here",
            tried.join("; ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use kv_replicate::quic::Peer;

    use super::*;

    #[test]
    fn a_new_store_that_names_no_other_location_reports_what_was_lost_and_what_to_do() {
        let progress = |status: &Status| progress(status, |_| "ams".into());
        let mut status = Status::default();
        assert!(progress(&status).contains("restore a copy"), "{}", progress(&status));
        status.peers.insert(MemberId([1; 16]), Peer::default());
        assert_eq!(progress(&status), "no link to another location yet");
    }

    #[test]
    fn a_location_that_reaches_no_other_names_the_addresses_and_their_errors() {
        let (mut status, mut peer) = (Status::default(), Peer::default());
        peer.addresses = vec!["198.51.100.7:8421".into()];
        status.peers.insert(MemberId([1; 16]), peer.clone());
        let text = progress(&status, |_| "ams".into());
        assert!(text.contains("(ams: dialling 198.51.100.7:8421)"), "{text}");
        peer.last_error = Some("198.51.100.7:8421: no answer within 5s".into());
        status.peers.insert(MemberId([1; 16]), peer);
        let text = progress(&status, |_| "ams".into());
        let says =
            "no link to another location yet (ams: 198.51.100.7:8421: no answer within 5s); check";
        assert!(text.starts_with(says), "{text}");
    }
}
