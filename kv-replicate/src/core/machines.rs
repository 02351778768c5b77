//! The machines of a core, one for each concern. None of them knows another, except that live writes and
//! sessions fetch their bodies with the one [`BodyFetcher`].

use std::time::Duration;

use super::{
    actions::{Context, Keep},
    body_fetcher::BodyFetcher,
    body_source::BodySource,
    claims::Claims,
    clocks::Clocks,
    counts::Counts,
    lag::LagWatch,
    live_receiver::LiveReceiver,
    live_sender::LiveSender,
    local::Local,
    membership::Membership,
    puller::Puller,
    rebuild::Rebuild,
    reports::Reports,
    row_fetcher::RowFetcher,
    row_source::RowSource,
    session_source::SessionSource,
    stability::Stability,
    uncounted::Uncounted,
    usage::Usage,
    verifier::Verifier,
};
use crate::{MemberId, wire::Want};

/// All machines.
#[derive(Debug)]
pub(super) struct Machines {
    /// Removed members.
    pub(super) membership: Membership,
    /// The clocks of the members, and cluster time.
    pub(super) clocks: Clocks,
    /// Closed, resolved and stable timestamps.
    pub(super) stability: Stability,
    /// The counts that peers receive.
    pub(super) counts: Counts,
    /// Writes that peers claim to hold and that were never made.
    pub(super) claims: Claims,
    /// New local writes, to peers.
    pub(super) sender: LiveSender,
    /// New writes of peers, to the store.
    pub(super) receiver: LiveReceiver,
    /// Catch-up sessions that are received.
    pub(super) puller: Puller,
    /// Large bodies that are fetched for the receiver and the puller.
    pub(super) fetcher: BodyFetcher,
    /// Writes that are missing and do not arrive.
    pub(super) lag: LagWatch,
    /// Catch-up sessions that are served.
    pub(super) sessions: SessionSource,
    /// Large bodies that are served.
    pub(super) bodies: BodySource,
    /// Rows that are fetched by name.
    pub(super) rows: RowFetcher,
    /// Rows that are served by name.
    pub(super) row_source: RowSource,
    /// Comparisons with peers, and answers to those of peers.
    pub(super) verifier: Verifier,
    /// Writes of ended origins that are here and not counted.
    pub(super) uncounted: Uncounted,
    /// The rebuild of the store.
    pub(super) rebuild: Rebuild,
    /// What locations report of themselves.
    pub(super) reports: Reports,
    /// Usage of global limits.
    pub(super) usage: Usage,
}

impl Machines {
    /// All machines of a location that was just started.
    pub(super) fn new(local: &Local) -> Machines {
        Machines {
            membership: Membership::default(),
            clocks: Clocks::default(),
            stability: Stability::default(),
            counts: Counts::new(local),
            claims: Claims::default(),
            sender: LiveSender::new(local),
            receiver: LiveReceiver::default(),
            puller: Puller::default(),
            fetcher: BodyFetcher::default(),
            lag: LagWatch::default(),
            sessions: SessionSource::default(),
            bodies: BodySource::default(),
            rows: RowFetcher::default(),
            row_source: RowSource::default(),
            verifier: Verifier::default(),
            uncounted: Uncounted::default(),
            rebuild: Rebuild::new(local),
            reports: Reports::default(),
            usage: Usage::default(),
        }
    }

    /// The link to a peer is about to end.
    pub(super) fn disconnecting(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        self.puller.suspend(cx, &mut self.fetcher, peer);
        self.verifier.disconnect(cx, peer);
        self.rebuild.disconnect(cx, peer);
        self.unpin(cx, peer);
    }

    /// Drops the views that are pinned for a peer.
    pub(super) fn unpin(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        self.sessions.unpin(cx.out, peer);
        self.bodies.unpin(cx.out, peer);
    }

    /// The link to a peer has ended.
    pub(super) fn disconnected(&mut self, peer: MemberId, keep: Keep) {
        self.clocks.disconnect(peer);
        self.sender.disconnect(peer);
        self.claims.disconnect(peer);
        self.receiver.disconnect(peer);
        self.puller.disconnect(peer);
        self.sessions.disconnect(peer, keep);
        self.bodies.disconnect(peer, keep);
        self.rows.disconnect(peer);
        self.row_source.disconnect(peer);
        self.reports.disconnect(peer);
    }

    /// Sends live writes to a peer from behind those that it has received, as its first progress reports.
    pub(super) fn follow_received(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        let state = cx.peers.get(peer).filter(|state| state.hello().is_some());
        if let Some((state, origins)) = state.zip(cx.local.origins()) {
            let progress = state.progress();
            let has = |origin| progress.received.get(origin).max(progress.durable.get(origin));
            let numbers = origins.map(has);
            self.sender.follow(cx, peer, Want { origins, numbers });
        }
    }

    /// Asks a peer for its live writes.
    pub(super) fn want(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        self.receiver.want(cx, peer);
    }

    /// Begins a session with a peer.
    pub(super) fn begin_session(&mut self, cx: &mut Context<'_>, peer: MemberId) {
        self.uncounted.taking(cx.peers, peer);
        self.rebuild.session_began(cx, peer);
        self.puller.begin(cx, peer);
    }

    /// When something is due that no peer's handshake or progress is about.
    pub(super) fn timeout(&self, now: Duration) -> Option<Duration> {
        let all = [
            self.clocks.timeout(now),
            self.lag.timeout(now),
            self.puller.timeout(),
            self.sessions.timeout(),
            self.fetcher.timeout(),
            self.rows.timeout(),
            self.bodies.timeout(),
            self.verifier.timeout(),
            self.uncounted.timeout(),
            self.rebuild.timeout(),
        ];
        all.into_iter().flatten().min()
    }

    /// About how many bytes all machines hold.
    pub(super) fn memory_bytes(&self) -> usize {
        self.sender.memory_bytes()
            + self.receiver.memory_bytes()
            + self.puller.memory_bytes()
            + self.fetcher.memory_bytes()
            + self.sessions.memory_bytes()
            + self.bodies.memory_bytes()
            + self.rows.memory_bytes()
            + self.row_source.memory_bytes()
            + self.counts.memory_bytes()
            + self.verifier.memory_bytes()
            + self.usage.memory_bytes()
    }
}
