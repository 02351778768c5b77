//! What a peer and this location lack of each other, and what is known of a peer without a link.

use kv_replicate::quic::Peer;
use prometheus::{GaugeVec, IntGaugeVec, Opts, Registry};

use super::registry::{gauges, number, register};
use crate::alarms;

/// The label of the metrics of one peer: its name.
const PEER: &[&str] = &["peer"];

/// What a peer and this location lack of each other, whether there is a link or not.
#[derive(Debug)]
pub(super) struct LackingMetrics {
    live: IntGaugeVec,
    last_message_seconds: GaugeVec,
    halted: IntGaugeVec,
    holds_back: IntGaugeVec,
    missing_here: IntGaugeVec,
    missing_there: IntGaugeVec,
    missing_seconds: GaugeVec,
    rate: GaugeVec,
    left_seconds: GaugeVec,
}

/// The labels of what goes in one of two directions.
const DIRECTION: &[&str] = &["peer", "direction"];

impl LackingMetrics {
    /// Registers the metrics.
    pub(super) fn new(r: &Registry) -> LackingMetrics {
        let floats = |name: &str, help: &str, labels: &[&str]| {
            register(r, GaugeVec::new(Opts::new(name, help), labels))
        };
        LackingMetrics {
            live: gauges(
                r,
                "waypost_peer_live",
                "1 if there is a link to this location on which something has arrived within 3 s.",
                PEER,
            ),
            last_message_seconds: floats(
                "waypost_peer_last_message_seconds",
                "How long ago the last message of this location arrived, at most.",
                PEER,
            ),
            halted: gauges(
                r,
                "waypost_peer_halted",
                "1 if this location has reported that it does not replicate any more, and still answers.",
                PEER,
            ),
            holds_back: gauges(
                r,
                "waypost_peer_holds_tombstones",
                "1 if this location is among those that hold the stable timestamp back the most.",
                PEER,
            ),
            missing_here: gauges(
                r,
                "waypost_peer_missing_here",
                "Writes that the peer has and this location has not received.",
                PEER,
            ),
            missing_there: gauges(
                r,
                "waypost_peer_missing_there",
                "Writes that this location has and the peer has not acknowledged.",
                PEER,
            ),
            missing_seconds: floats(
                "waypost_peer_missing_seconds",
                "For how long the oldest write has been missing that one end has and the other lacks.",
                DIRECTION,
            ),
            rate: floats(
                "waypost_peer_catch_up_per_second",
                "Writes that a catch-up session passes in a second.",
                DIRECTION,
            ),
            left_seconds: floats(
                "waypost_peer_catch_up_left_seconds",
                "How long the rest of a catch-up session takes at its rate.",
                DIRECTION,
            ),
        }
    }

    /// Sets the metrics of one peer. What is not known is left out.
    pub(super) fn set(&self, name: &str, peer: &Peer, holds_back: bool) {
        let of = [name];
        self.holds_back.with_label_values(&of).set(i64::from(holds_back));
        self.live.with_label_values(&of).set(i64::from(alarms::is_live(peer)));
        if let Some(last) = peer.last_message {
            self.last_message_seconds.with_label_values(&of).set(last.as_secs_f64());
        }
        self.halted
            .with_label_values(&of)
            .set(i64::from(peer.halted.is_some() && !peer.is_halt_old));
        let here = (peer.missing_there.is_some()).then_some(peer.missing_here);
        for (direction, count, missing, pace) in [
            ("in", &self.missing_here, here, peer.receiving),
            ("out", &self.missing_there, peer.missing_there, peer.sending),
        ] {
            let labels = [name, direction];
            if let Some(missing) = missing {
                count.with_label_values(&of).set(number(missing.writes));
                let seconds = missing.lasting.as_secs_f64();
                self.missing_seconds.with_label_values(&labels).set(seconds);
            }
            if let Some(rate) = pace.and_then(|pace| pace.per_second) {
                self.rate.with_label_values(&labels).set(rate);
            }
            if let Some(rest) = pace.and_then(|pace| pace.rest) {
                self.left_seconds.with_label_values(&labels).set(rest.as_secs_f64());
            }
        }
    }
}
