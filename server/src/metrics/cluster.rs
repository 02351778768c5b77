//! The state of a cluster, read when the metrics are exported, each time into a new registry: peers
//! come and go, and concurrent exports must not see each other's half-filled gauges.

use kv_core::Members;
use kv_replicate::{
    Skipped,
    quic::{Peer, Status},
};
use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts, Registry, proto::MetricFamily};

use super::{
    lacking::LackingMetrics,
    registry::{gauge, gauges, number, register, size},
};
use crate::{cluster::Expiry, membership::OriginState};

/// The label of the metrics of one peer: its name.
const PEER: &[&str] = &["peer"];

/// The state of the cluster, as this location sees it.
#[derive(Clone, Copy, Debug)]
pub struct ClusterGauges<'a> {
    /// The status of its replica; the last one, if that has ended.
    pub status: &'a Status,
    /// Whether the location has stopped replicating.
    pub has_stopped: bool,
    /// The members, for their names.
    pub members: &'a Members,
    /// The state of the store's origins.
    pub origins: OriginState,
    /// When its certificates expire.
    pub ends: Expiry,
    /// Whether all is well.
    pub is_well: bool,
}

/// All gauges of a cluster.
pub(super) fn families(now: &ClusterGauges<'_>) -> Vec<MetricFamily> {
    let registry = Registry::new();
    LocationMetrics::new(&registry).set(now);
    PeerMetrics::new(&registry).set(now);
    registry.gather()
}

/// The gauges of this location.
#[derive(Debug)]
struct LocationMetrics {
    joined: IntGauge,
    halted: IntGauge,
    paused: IntGauge,
    rows_applied: IntGauge,
    skipped: SkippedMetrics,
    core_bytes: IntGauge,
    handshakes_refused: IntGauge,
    handshakes_failed: IntGauge,
    clock_confirmed: IntGauge,
    clock_offset: GaugeVec,
    origins: IntGauge,
    superseded: IntGauge,
    rebuilding: IntGauge,
    not_after: IntGaugeVec,
    whole: WholeMetrics,
}

/// Registers the offset of the own clock.
fn clock_offset(r: &Registry) -> GaugeVec {
    let options = Opts::new(
        "waypost_cluster_clock_offset_seconds",
        "How far this location's clock is ahead of the cluster's time, if it is more than right clocks may differ; \
         else 0.",
    );
    register(r, GaugeVec::new(options, &[]))
}

impl LocationMetrics {
    fn new(r: &Registry) -> LocationMetrics {
        LocationMetrics {
            joined: gauge(r, "waypost_cluster_joined", "1 once this location has joined."),
            halted: gauge(
                r,
                "waypost_cluster_halted",
                "1 if this location has stopped replicating until it is restarted.",
            ),
            paused: gauge(
                r,
                "waypost_cluster_paused_seconds",
                "For how long this process did not run since its start, because it was stopped or its machine was \
                 overloaded.",
            ),
            rows_applied: gauge(
                r,
                "waypost_cluster_rows_applied",
                "Rows of other locations that were applied here since the start.",
            ),
            skipped: SkippedMetrics::new(r),
            core_bytes: gauge(
                r,
                "waypost_cluster_core_bytes",
                "Bytes of memory that replication uses.",
            ),
            handshakes_refused: gauge(
                r,
                "waypost_cluster_handshakes_refused",
                "Handshakes refused since the start because too many were in progress.",
            ),
            handshakes_failed: gauge(
                r,
                "waypost_cluster_handshakes_failed",
                "Handshakes that failed since the start, for lack of a certificate of this cluster \
                 for example.",
            ),
            clock_confirmed: gauge(
                r,
                "waypost_cluster_clock_confirmed",
                "1 while a majority of the locations agrees with the time that this location goes by.",
            ),
            clock_offset: clock_offset(r),
            origins: gauge(
                r,
                "waypost_cluster_origins",
                "Origins that the store knows: two for each start of a location.",
            ),
            superseded: gauge(
                r,
                "waypost_cluster_superseded",
                "1 if a process on a copy of the data directory started later, and this one takes no writes.",
            ),
            rebuilding: gauge(
                r,
                "waypost_cluster_rebuilding",
                "1 while this location takes deletions that its restored store lacks from another one.",
            ),
            not_after: gauges(
                r,
                "waypost_cluster_certificate_not_after_seconds",
                "When the certificates of this location and of the CA expire, in Unix time.",
                &["of"],
            ),
            whole: WholeMetrics::new(r),
        }
    }

    fn set(&self, now: &ClusterGauges<'_>) {
        for (of, end) in [("location", now.ends.location), ("ca", now.ends.ca)] {
            self.not_after.with_label_values(&[of]).set(number(end));
        }
        let status = now.status;
        self.origins.set(size(now.origins.known));
        self.superseded.set(i64::from(now.origins.is_superseded));
        self.rebuilding.set(i64::from(now.origins.is_rebuilding));
        self.joined.set(i64::from(status.is_joined));
        self.whole.stable.set(number(status.stable.at.millis() / 1000));
        self.whole.well.set(i64::from(now.is_well));
        self.halted.set(i64::from(now.has_stopped));
        self.paused.set(number(status.paused.as_secs()));
        self.rows_applied.set(number(status.rows_taken));
        self.skipped.set(status.skipped);
        self.core_bytes.set(size(status.core_bytes));
        self.handshakes_refused.set(number(status.handshakes.rejected));
        self.handshakes_failed.set(number(status.handshakes.failed));
        self.clock_confirmed.set(i64::from(status.clock.is_confirmed));
        let off_ms = status.clock.off_ms.unwrap_or_default();
        self.clock_offset.with_label_values::<&str>(&[]).set(off_ms as f64 / 1000.0);
    }
}

/// Whether everything is everywhere.
#[derive(Debug)]
struct WholeMetrics {
    stable: IntGauge,
    well: IntGauge,
}

impl WholeMetrics {
    fn new(r: &Registry) -> WholeMetrics {
        WholeMetrics {
            stable: gauge(
                r,
                "waypost_cluster_stable_timestamp_seconds",
                "The Unix time up to which every location holds every write; 0 as long as one has not reported.",
            ),
            well: gauge(
                r,
                "waypost_cluster_well",
                "1 if there is no alarm, and every write is known to be everywhere or on its way over a link on which \
                 something has arrived within 3 s.",
            ),
        }
    }
}

/// What peers sent and this location does not know.
#[derive(Debug)]
struct SkippedMetrics {
    messages: IntGauge,
    fields: IntGauge,
}

impl SkippedMetrics {
    fn new(r: &Registry) -> SkippedMetrics {
        SkippedMetrics {
            messages: gauge(
                r,
                "waypost_cluster_messages_skipped",
                "Messages of a later version that were skipped since the start.",
            ),
            fields: gauge(
                r,
                "waypost_cluster_fields_skipped",
                "Optional fields of a later version that were skipped since the start.",
            ),
        }
    }

    fn set(&self, skipped: Skipped) {
        self.messages.set(number(skipped.messages));
        self.fields.set(number(skipped.fields));
    }
}

/// The gauges of each peer.
#[derive(Debug)]
struct PeerMetrics {
    up: IntGaugeVec,
    down_seconds: GaugeVec,
    late_seconds: GaugeVec,
    rtt_seconds: GaugeVec,
    bytes_sent: IntGaugeVec,
    bytes_received: IntGaugeVec,
    sessions: IntGaugeVec,
    clock_ahead_seconds: GaugeVec,
    lacking: LackingMetrics,
}

impl PeerMetrics {
    fn new(r: &Registry) -> PeerMetrics {
        let of_peer = |name, help| gauges(r, name, help, PEER);
        let seconds =
            |name: &str, help: &str| register(r, GaugeVec::new(Opts::new(name, help), PEER));
        PeerMetrics {
            up: of_peer("waypost_peer_up", "1 if there is a link to this location."),
            down_seconds: seconds(
                "waypost_peer_down_seconds",
                "For how long there has been no link to this location; 0 while there is one.",
            ),
            late_seconds: seconds(
                "waypost_peer_late_seconds",
                "For how long none of the writes arrived that the peer has and this location lacks.",
            ),
            rtt_seconds: seconds("waypost_peer_rtt_seconds", "Round-trip time of the link."),
            bytes_sent: of_peer("waypost_peer_sent_bytes", "Bytes sent on the current link."),
            bytes_received: of_peer(
                "waypost_peer_received_bytes",
                "Bytes received on the current link.",
            ),
            sessions: gauges(
                r,
                "waypost_peer_sessions",
                "Catch-up sessions in progress.",
                &["peer", "direction"],
            ),
            clock_ahead_seconds: seconds(
                "waypost_peer_clock_ahead_seconds",
                "How far the peer's clock is ahead of the one here, to within half a round trip.",
            ),
            lacking: LackingMetrics::new(r),
        }
    }

    /// Sets all metrics from the replica's status.
    fn set(&self, now: &ClusterGauges<'_>) {
        for (id, peer) in &now.status.peers {
            // Two members with the same name, created concurrently, are shown by their ids.
            let is_alone =
                |name: &str| now.members.current().filter(|one| one.name == name).count() < 2;
            let name = now.members.get(*id).map(|one| one.name.clone());
            let name = name.filter(|name| is_alone(name)).unwrap_or_else(|| id.to_string());
            self.set_peer(&name, peer, now.status.stable.held_by.contains(id));
        }
    }

    /// Sets the metrics of one peer.
    fn set_peer(&self, name: &str, peer: &Peer, holds_back: bool) {
        let of = [name];
        let state = &peer.state;
        self.up.with_label_values(&of).set(i64::from(peer.is_connected));
        let down_for = peer.down_for.unwrap_or_default();
        self.down_seconds.with_label_values(&of).set(down_for.as_secs_f64());
        self.lacking.set(name, peer, holds_back);
        if !peer.is_connected {
            return;
        }
        self.late_seconds.with_label_values(&of).set(state.late.as_secs_f64());
        if let Some(rtt) = peer.rtt {
            self.rtt_seconds.with_label_values(&of).set(rtt.as_secs_f64());
        }
        self.bytes_sent.with_label_values(&of).set(number(peer.bytes_out));
        self.bytes_received.with_label_values(&of).set(number(peer.bytes_in));
        let sessions = |direction| self.sessions.with_label_values(&[name, direction]);
        sessions("in").set(i64::from(state.receiving.is_some()));
        sessions("out").set(i64::from(state.is_sending));
        if let Some(ahead_ms) = state.clock_ahead_ms {
            self.clock_ahead_seconds.with_label_values(&of).set(ahead_ms as f64 / 1000.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::MemberId;
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn a_peer_that_is_down_is_exported_with_its_downtime_and_the_expiry_of_certificates() {
        let (mut status, mut peer) = (Status::default(), Peer::default());
        peer.down_for = Some(std::time::Duration::from_secs(90));
        let lasting = std::time::Duration::from_secs(80);
        peer.missing_there = Some(kv_replicate::quic::Arrears { writes: 20, lasting });
        status.skipped = Skipped { messages: 3, fields: 4 };
        status.peers.insert(MemberId([7; 16]), peer);
        let ends = Expiry { not_before: 0, location: 17, ca: 18, has_ca_key: false };
        let now = ClusterGauges {
            status: &status,
            has_stopped: false,
            members: &Members::default(),
            origins: OriginState::default(),
            ends,
            is_well: false,
        };
        let text = TextEncoder::new().encode_to_string(&families(&now)).expect("text");
        let peer = MemberId([7; 16]);
        for line in [
            format!(r#"waypost_peer_up{{peer="{peer}"}} 0"#),
            format!(r#"waypost_peer_down_seconds{{peer="{peer}"}} 90"#),
            format!(r#"waypost_peer_missing_there{{peer="{peer}"}} 20"#),
            format!(r#"waypost_peer_missing_seconds{{direction="out",peer="{peer}"}} 80"#),
            "waypost_cluster_messages_skipped 3".into(),
            "waypost_cluster_fields_skipped 4".into(),
            r#"waypost_cluster_certificate_not_after_seconds{of="location"} 17"#.into(),
            r#"waypost_cluster_certificate_not_after_seconds{of="ca"} 18"#.into(),
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn a_location_whose_replica_has_ended_is_halted_and_its_expiry_is_exported() {
        let ends = Expiry { not_before: 0, location: 17, ca: 18, has_ca_key: false };
        let now = ClusterGauges {
            status: &Status::default(),
            has_stopped: true,
            members: &Members::default(),
            origins: OriginState::default(),
            ends,
            is_well: false,
        };
        let text = TextEncoder::new().encode_to_string(&families(&now)).expect("text");
        assert!(text.contains(r#"not_after_seconds{of="location"} 17"#), "{text}");
        assert!(text.contains("waypost_cluster_halted 1\n"), "{text}");
    }
}
