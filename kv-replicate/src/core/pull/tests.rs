//! Two bursts of a session under way at once, and what becomes of them. The peer is written out here,
//! for where a commit fails is not for a network or a disk to choose.

use std::{sync::Arc, time::Duration};

use kv_core::{Dot, Hlc, Member, MemberId, NamespaceId, OriginId, VersionVector, commit::Applied};

use crate::{
    Config, Content, Core, Event, Now, Row, StoreState, Work,
    wire::{
        End, Hello, Incarnations, Message, Page, PageHead, Progress, Pull, WIRE_VERSION, decode,
        encode,
    },
};

const US: MemberId = MemberId([1; 16]);
const PEER: MemberId = MemberId([2; 16]);
const OUR_INCARNATION: u64 = 11;
const PEER_INCARNATION: u64 = 22;

fn origins(member: MemberId) -> [OriginId; 2] {
    [OriginId([member.0[0]; 16]), OriginId([member.0[0] + 100; 16])]
}

fn dot(seq: u64) -> Dot {
    Dot { origin: origins(PEER)[0], seq }
}

fn vector(seq: u64) -> VersionVector {
    [dot(seq)].into_iter().collect()
}

fn row(seq: u64) -> Row {
    Row {
        dot: dot(seq),
        hlc: Hlc(seq),
        prev: None,
        namespace: NamespaceId([9; 16]),
        key: kv_core::Key::try_from(format!("key {seq}")).unwrap(),
        metadata: None,
        expires_at: None,
        content: Content::Deleted,
    }
}

/// A member that lacks the four writes of its one peer, and the session that brings them two by two.
struct Receiver {
    core: Core,
    now: Duration,
}

impl Receiver {
    fn new() -> Receiver {
        let member = |id: MemberId| Member {
            id,
            origins: origins(id),
            name: "place".into(),
            addresses: Vec::new(),
            removed: false,
        };
        let store = StoreState {
            members: Arc::new([member(US), member(PEER)].into_iter().collect()),
            ..StoreState::default()
        };
        let config = Config {
            cluster: [5; 16],
            member: US,
            origins: origins(US),
            incarnation: OUR_INCARNATION,
            backlog_bytes: 1 << 20,
            batch_rows: 4096,
            max_ahead_ms: 500,
        };
        let core = Core::new(config, Now::default(), store);
        let mut receiver = Receiver { core, now: Duration::ZERO };
        receiver.connect();
        receiver
    }

    /// A link to the peer comes up, and the peer says what it has.
    fn connect(&mut self) {
        self.tell(Event::Connected(PEER));
        self.hear(&Message::Hello(Hello {
            versions: (WIRE_VERSION, WIRE_VERSION),
            features: 0,
            cluster: [5; 16],
            member: PEER,
            origins: origins(PEER),
            received: VersionVector::default(),
        }));
        let (durable, received) = (vector(4), vector(4));
        self.hear(&Message::Progress(Progress {
            number: 1,
            durable,
            received,
            ..Progress::default()
        }));
    }

    fn at(&self) -> Now {
        Now { mono: self.now, wall_ms: 0 }
    }

    fn tell(&mut self, event: Event) {
        self.core.handle_event(self.at(), event);
    }

    fn hear(&mut self, message: &Message) {
        let incarnations = Incarnations { from: PEER_INCARNATION, to: OUR_INCARNATION };
        self.tell(Event::Received { from: PEER, bytes: encode(incarnations, message) });
    }

    /// What it asks its peer for next, however long that takes it.
    fn pull(&mut self) -> Pull {
        for _ in 0..1000 {
            while let Some(sent) = self.core.poll_transmit(PEER) {
                if let (_, Message::Pull(pull)) = decode(&sent.bytes).unwrap() {
                    return pull;
                }
            }
            self.now += Duration::from_millis(50);
            self.core.handle_timeout(self.at());
        }
        panic!("nothing is asked for");
    }

    /// The answer to a request: a burst of these writes, with more behind it.
    fn batch(&mut self, pull: &Pull, rows: [u64; 2], end: End) {
        self.hear(&Message::Page(Page {
            session: pull.session,
            batch: pull.batch,
            stamp: u64::from(pull.batch),
            commit: 7,
            index: 0,
            head: Some(PageHead { vector: vector(4), collected: VersionVector::default() }),
            end,
            rows: rows.map(row).to_vec(),
        }));
    }

    /// The number of a commit that it asks of its store, and the writes in it.
    fn commit(&mut self) -> (u64, Vec<u64>) {
        loop {
            if let Work::Apply { id, rows, .. } = self.core.poll_work().expect("a commit") {
                return (id, rows.iter().map(|apply| apply.row.dot.seq).collect());
            }
        }
    }

    fn committed(&mut self, id: u64, is_done: bool) {
        let results = is_done.then(|| vec![Applied::Won { concurrent: false }; 2]);
        self.tell(Event::Applied { id, results, visible: VersionVector::default() });
    }

    /// Two bursts whose commits are under way at once: their numbers.
    fn two_under_way(&mut self) -> [u64; 2] {
        let first = self.pull();
        assert_eq!(first.after, None);
        self.batch(&first, [1, 2], End::Batch(dot(2)));
        let (id, rows) = self.commit();
        assert_eq!(rows, [1, 2]);
        let second = self.pull();
        assert_eq!(second.after, Some(dot(2)), "asked for while the first is on its way");
        self.batch(&second, [3, 4], End::Round);
        let (next_id, rows) = self.commit();
        assert_eq!(rows, [3, 4]);
        [id, next_id]
    }
}

/// Where the session goes on when the commits of the first and the second burst are made, or fail, in
/// this order.
fn goes_on_after(commits: [(usize, bool); 2]) -> Option<Dot> {
    let mut receiver = Receiver::new();
    let under_way = receiver.two_under_way();
    for (batch, is_made) in commits {
        receiver.committed(under_way[batch], is_made);
    }
    receiver.pull().after
}

#[test]
fn a_burst_whose_commit_failed_comes_again_also_if_the_next_one_is_here() {
    assert_eq!(goes_on_after([(0, false), (1, true)]), None);
}

#[test]
fn a_burst_whose_commit_failed_after_the_one_before_was_made_comes_again_alone() {
    assert_eq!(goes_on_after([(0, true), (1, false)]), Some(dot(2)));
}

#[test]
fn a_burst_whose_commit_failed_comes_again_also_if_the_next_one_was_made_before() {
    assert_eq!(goes_on_after([(1, true), (0, false)]), None);
}

#[test]
fn nothing_is_adopted_before_both_commits_are_made() {
    let mut receiver = Receiver::new();
    let [first, second] = receiver.two_under_way();
    receiver.committed(second, true);
    assert!(receiver.core.poll_work().is_none());
    receiver.committed(first, true);
    assert!(matches!(receiver.core.poll_work(), Some(Work::Adopt { .. })));
}

#[test]
fn a_link_that_breaks_while_two_bursts_are_under_way_means_both_again() {
    let mut receiver = Receiver::new();
    let _under_way = receiver.two_under_way();
    receiver.tell(Event::Disconnected(PEER));
    receiver.connect();
    assert_eq!(receiver.pull().after, None);
}
