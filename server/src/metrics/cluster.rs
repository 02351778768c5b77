//! What is shown of a cluster: looked up when the metrics are read, each time in a registry of its own. Peers
//! come and go, and who reads at the same time must not find what another is filling in.

use kv_core::Members;
use kv_replicate::quic::{Peer, Status};
use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts, Registry, proto::MetricFamily};

use super::{gauge, register};
use crate::cluster::Expiry;

const PEER: &[&str] = &["peer"];
const NOT_AFTER: &str = "waypost_cluster_certificate_not_after_seconds";

/// How a location's cluster is now.
#[derive(Clone, Copy, Debug)]
pub struct ClusterGauges<'a> {
    /// What its replica says; none once it has ended.
    pub status: Option<&'a Status>,
    /// Who is called what.
    pub members: &'a Members,
    /// Until when its certificates hold.
    pub ends: Expiry,
}

/// All gauges of a cluster.
pub(super) fn families(now: &ClusterGauges<'_>) -> Vec<MetricFamily> {
    let registry = Registry::new();
    ClusterMetrics::new(&registry).set(now);
    let mut families = registry.gather();
    if now.status.is_none() {
        // A gauge that nothing is known of would show 0.
        families.retain(|family| family.name() == NOT_AFTER);
    }
    families
}

#[derive(Debug)]
struct ClusterMetrics {
    joined: IntGauge,
    halted: IntGauge,
    rows_taken: IntGauge,
    core_bytes: IntGauge,
    handshakes_refused: IntGauge,
    handshakes_failed: IntGauge,
    not_after: IntGaugeVec,
    up: IntGaugeVec,
    down_seconds: GaugeVec,
    missing_here: IntGaugeVec,
    missing_there: IntGaugeVec,
    late_seconds: GaugeVec,
    rtt_seconds: GaugeVec,
    bytes_sent: IntGaugeVec,
    bytes_received: IntGaugeVec,
    sessions: IntGaugeVec,
    parked: IntGaugeVec,
}

impl ClusterMetrics {
    fn new(r: &Registry) -> ClusterMetrics {
        let of_peer =
            |name: &str, help: &str| register(r, IntGaugeVec::new(Opts::new(name, help), PEER));
        let seconds =
            |name: &str, help: &str| register(r, GaugeVec::new(Opts::new(name, help), PEER));
        ClusterMetrics {
            joined: gauge(r, "waypost_cluster_joined", "1 once this location takes part."),
            halted: gauge(r, "waypost_cluster_halted", "1 if this location replicates no more."),
            rows_taken: gauge(
                r,
                "waypost_cluster_rows_taken",
                "Rows of other locations that were put in the store since the start.",
            ),
            core_bytes: gauge(r, "waypost_cluster_core_bytes", "Bytes that replication holds."),
            handshakes_refused: gauge(
                r,
                "waypost_cluster_handshakes_refused",
                "Handshakes not begun since the start, for too many were under way.",
            ),
            handshakes_failed: gauge(
                r,
                "waypost_cluster_handshakes_failed",
                "Handshakes that failed since the start: no certificate of this cluster, say.",
            ),
            not_after: register(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        NOT_AFTER,
                        "Until when the location's certificate and that of the CA hold, in Unix time.",
                    ),
                    &["of"],
                ),
            ),
            up: of_peer("waypost_peer_up", "1 if a link to this location is up."),
            down_seconds: seconds(
                "waypost_peer_down_seconds",
                "For how long there has been no link to this location that lasts; 0 while one does.",
            ),
            missing_here: of_peer(
                "waypost_peer_missing_here",
                "Writes that the peer holds and that have not come here.",
            ),
            missing_there: of_peer(
                "waypost_peer_missing_there",
                "Writes that are held here and not by the peer, as far as it has said.",
            ),
            late_seconds: seconds(
                "waypost_peer_late_seconds",
                "For how long nothing came of what the peer has and is missing here.",
            ),
            rtt_seconds: seconds("waypost_peer_rtt_seconds", "There and back on this link."),
            bytes_sent: of_peer("waypost_peer_sent_bytes", "Bytes sent on the link that is up."),
            bytes_received: of_peer(
                "waypost_peer_received_bytes",
                "Bytes that came on the link that is up.",
            ),
            sessions: register(
                r,
                IntGaugeVec::new(
                    Opts::new("waypost_peer_sessions", "Catch-up sessions under way."),
                    &["peer", "direction"],
                ),
            ),
            parked: of_peer(
                "waypost_peer_parked",
                "1 while the peer's clock is too far ahead, and its writes wait.",
            ),
        }
    }

    fn set(&self, now: &ClusterGauges<'_>) {
        let ClusterGauges { status, members, ends } = *now;
        for (of, end) in [("location", ends.location), ("ca", ends.ca)] {
            self.not_after.with_label_values(&[of]).set(count(end));
        }
        let Some(status) = status else { return };
        self.joined.set(i64::from(status.is_joined));
        self.halted.set(i64::from(status.halted.is_some()));
        self.rows_taken.set(count(status.rows_taken));
        self.core_bytes.set(i64::try_from(status.core_bytes).unwrap_or(i64::MAX));
        self.handshakes_refused.set(count(status.acceptor.refused));
        self.handshakes_failed.set(count(status.acceptor.failed));
        for (id, peer) in &status.peers {
            // Two that were given one name at once are told apart by their ids.
            let is_alone =
                |name: &str| members.current().filter(|one| one.name == name).count() < 2;
            let name = members.get(*id).map(|one| one.name.clone());
            let name = name.filter(|name| is_alone(name)).unwrap_or_else(|| id.to_string());
            self.set_peer(&name, peer);
        }
    }

    fn set_peer(&self, name: &str, peer: &Peer) {
        let of = [name];
        let state = &peer.state;
        self.up.with_label_values(&of).set(i64::from(peer.is_connected));
        let down_for = peer.down_for.unwrap_or_default();
        self.down_seconds.with_label_values(&of).set(down_for.as_secs_f64());
        if !peer.is_connected {
            return;
        }
        self.missing_here.with_label_values(&of).set(count(state.ahead));
        self.missing_there.with_label_values(&of).set(count(state.behind));
        self.late_seconds.with_label_values(&of).set(state.late.as_secs_f64());
        if let Some(rtt) = peer.rtt {
            self.rtt_seconds.with_label_values(&of).set(rtt.as_secs_f64());
        }
        self.bytes_sent.with_label_values(&of).set(count(peer.bytes_out));
        self.bytes_received.with_label_values(&of).set(count(peer.bytes_in));
        let sessions = |direction| self.sessions.with_label_values(&[name, direction]);
        sessions("in").set(i64::from(state.receiving.is_some()));
        sessions("out").set(i64::from(state.is_sending));
        self.parked.with_label_values(&of).set(i64::from(state.parked_until_ms.is_some()));
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use kv_core::MemberId;
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn a_peer_that_is_down_is_shown_with_how_long_and_the_ends_of_certificates_are() {
        let (mut status, mut peer) = (Status::default(), Peer::default());
        peer.down_for = Some(std::time::Duration::from_secs(90));
        status.peers.insert(MemberId([7; 16]), peer);
        let ends = Expiry { location: 17, ca: 18, has_ca_key: false };
        let now = ClusterGauges { status: Some(&status), members: &Members::default(), ends };
        let text = TextEncoder::new().encode_to_string(&families(&now)).expect("text");
        let peer = MemberId([7; 16]);
        for line in [
            format!(r#"waypost_peer_up{{peer="{peer}"}} 0"#),
            format!(r#"waypost_peer_down_seconds{{peer="{peer}"}} 90"#),
            r#"waypost_cluster_certificate_not_after_seconds{of="location"} 17"#.into(),
            r#"waypost_cluster_certificate_not_after_seconds{of="ca"} 18"#.into(),
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in:\n{text}");
        }
    }
    #[test]
    fn the_ends_of_certificates_are_shown_also_once_the_replica_has_ended() {
        let ends = Expiry { location: 17, ca: 18, has_ca_key: false };
        let now = ClusterGauges { status: None, members: &Members::default(), ends };
        let text = TextEncoder::new().encode_to_string(&families(&now)).expect("text");
        assert!(text.contains(r#"not_after_seconds{of="location"} 17"#), "{text}");
        assert!(!text.contains("waypost_cluster_halted"), "{text}");
    }
}
