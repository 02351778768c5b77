//! Two batches of a session that are under way at once, through the whole core. The peer is scripted, so
//! that a test can choose which commit fails.

use std::time::Duration;

use kv_core::{DamagedKey, Dot, Key, NamespaceId, OriginInfo, VersionVector, commit::Applied};

use crate::{
    Core, Event, Now, Row, Work,
    core::testing::{
        PEER, THIRD, config, dot, hello, joining_store, large_row_of, origins, row_of, vector,
    },
    wire::{
        Count, End, Incarnations, Message, NoBody, Opened, Page, PageHead, ProgressDelta, Pull,
        decode, encode,
    },
};

const PEER_INCARNATION: u64 = 22;

/// A member that lacks four writes of its peer, and a session that brings them two by two.
struct Receiver {
    core: Core,
    now: Duration,
}

impl Receiver {
    fn new() -> Receiver {
        let core = Core::new(config(), Now::default(), joining_store());
        let mut receiver = Receiver { core, now: Duration::ZERO };
        receiver.connect();
        receiver
    }

    /// A link to the peer comes up, and the peer reports what it has.
    fn connect(&mut self) {
        self.handle(Event::Connected(PEER));
        self.receive(&Message::Hello(hello(PEER)));
        let count = Count { number: 0, origin: Some(dot(4).origin), seq: 4 };
        self.receive(&Message::Progress(ProgressDelta {
            number: 1,
            counts: vec![count],
            opened: Opened::Pair(origins(PEER)),
            ..ProgressDelta::default()
        }));
    }

    fn at(&self) -> Now {
        Now { mono: self.now, wall_ms: 0 }
    }

    fn handle(&mut self, event: Event) {
        self.core.handle_event(self.at(), event);
    }

    fn receive(&mut self, message: &Message) {
        let incarnations = Incarnations { from: PEER_INCARNATION, to: config().incarnation };
        self.handle(Event::Received { from: PEER, bytes: encode(incarnations, message) });
    }

    /// When it sends its next request to the peer.
    fn pull_within(&mut self, limit: Duration) -> Duration {
        let end = self.now + limit;
        while self.now < end {
            while let Some(sent) = self.core.poll_transmit(PEER) {
                let received = decode(&sent.bytes, crate::software().wire()).unwrap();
                if let Message::Pull(_) = received.message {
                    return self.now;
                }
            }
            self.now += Duration::from_millis(500);
            self.core.handle_timeout(self.at());
        }
        panic!("nothing is requested");
    }

    /// Its next request to the peer, however long it takes.
    fn pull(&mut self) -> Pull {
        for _ in 0..1000 {
            while let Some(sent) = self.core.poll_transmit(PEER) {
                if let Message::Pull(pull) =
                    decode(&sent.bytes, crate::software().wire()).unwrap().message
                {
                    return pull;
                }
            }
            self.now += Duration::from_millis(50);
            self.core.handle_timeout(self.at());
        }
        panic!("nothing is requested");
    }

    /// The peer answers a request with a batch of these writes.
    fn batch(&mut self, pull: &Pull, rows: [u64; 2], end: End) {
        self.page(pull, rows.map(|seq| row_of(PEER, seq)).to_vec(), end);
    }

    /// The peer answers a request with these rows.
    fn page(&mut self, pull: &Pull, rows: Vec<Row>, end: End) {
        self.damaged_page(pull, (rows, Vec::new()), end);
    }

    /// The peer answers a request with these rows, and keys that it can't read.
    fn damaged_page(
        &mut self,
        pull: &Pull,
        (rows, damaged): (Vec<Row>, Vec<DamagedKey>),
        end: End,
    ) {
        self.receive(&Message::Page(Page {
            session: pull.session,
            batch: pull.batch,
            stamp: u64::from(pull.batch),
            commit: 7,
            index: 0,
            head: Some(PageHead {
                vector: vector(4),
                collected: VersionVector::default(),
                floor: kv_core::Hlc::ZERO,
                next: next(end),
                index: 0,
            }),
            end,
            damaged,
            rows,
        }));
    }

    /// The number of the fetch for which it requests a body.
    fn fetch(&mut self) -> u64 {
        while let Some(sent) = self.core.poll_transmit(PEER) {
            let received = decode(&sent.bytes, crate::software().wire()).unwrap();
            if let Message::GetBody(get) = received.message {
                return get.fetch;
            }
        }
        panic!("no body is requested");
    }

    /// The number of the next commit that it requests, and the writes in it.
    fn commit(&mut self) -> (u64, Vec<u64>) {
        loop {
            if let Work::Apply { id, rows, .. } = self.core.poll_work().expect("a commit") {
                return (id, rows.iter().map(|apply| apply.row.dot.seq).collect());
            }
        }
    }

    fn committed(&mut self, id: u64, is_done: bool) {
        let results = is_done.then(|| vec![Applied::Won { concurrent: false }; 2]);
        self.handle(Event::Applied { id, results, visible: VersionVector::default() });
    }

    /// Two batches whose commits are under way at once: the numbers of the commits.
    fn two_under_way(&mut self) -> [u64; 2] {
        let first = self.pull();
        assert_eq!(first.after, None);
        self.batch(&first, [1, 2], End::Batch(dot(2)));
        let (id, rows) = self.commit();
        assert_eq!(rows, [1, 2]);
        let second = self.pull();
        assert_eq!(second.after, Some(dot(2)), "requested while the first is being committed");
        self.batch(&second, [3, 4], End::Round);
        let (next_id, rows) = self.commit();
        assert_eq!(rows, [3, 4]);
        [id, next_id]
    }
}

/// The beginning of the next batch, as the head of a batch names it.
fn next(end: End) -> Option<Dot> {
    match end {
        End::Batch(after) => Some(after),
        End::Page | End::Round => None,
    }
}

/// Where the session continues when the commits of the first and the second batch are made, or fail, in
/// this order.
fn continues_after(commits: [(usize, bool); 2]) -> Option<Dot> {
    let mut receiver = Receiver::new();
    let under_way = receiver.two_under_way();
    for (batch, is_made) in commits {
        receiver.committed(under_way[batch], is_made);
    }
    receiver.pull().after
}

#[test]
fn a_batch_whose_commit_failed_is_requested_again_with_the_next_one() {
    assert_eq!(continues_after([(0, false), (1, true)]), None);
}

#[test]
fn a_batch_whose_commit_failed_after_the_former_was_made_is_requested_again_alone() {
    assert_eq!(continues_after([(0, true), (1, false)]), Some(dot(2)));
}

#[test]
fn a_batch_whose_commit_failed_is_requested_again_if_the_next_one_was_made_before() {
    assert_eq!(continues_after([(1, true), (0, false)]), None);
}

#[test]
fn vectors_are_adopted_only_after_both_commits_are_made() {
    let mut receiver = Receiver::new();
    let [first, second] = receiver.two_under_way();
    receiver.committed(second, true);
    assert!(receiver.core.poll_work().is_none());
    receiver.committed(first, true);
    assert!(matches!(receiver.core.poll_work(), Some(Work::Adopt { .. })));
}

#[test]
fn both_batches_are_requested_again_after_the_link_breaks() {
    let mut receiver = Receiver::new();
    let _under_way = receiver.two_under_way();
    receiver.handle(Event::Disconnected(PEER));
    receiver.connect();
    assert_eq!(receiver.pull().after, None);
}

#[test]
fn a_later_write_of_an_origin_that_is_not_opened_here_is_left_to_the_next_round() {
    let mut receiver = Receiver::new();
    let first = receiver.pull();
    receiver.page(&first, vec![large_row_of(PEER, 1)], End::Round);
    let fetch = receiver.fetch();
    let row = Row { key: large_row_of(PEER, 1).key, ..row_of(THIRD, 9) };
    receiver.receive(&Message::NoBody { fetch, why: NoBody::Replaced(Box::new(row)) });
    let (id, _) = receiver.commit();
    let (results, visible) = (Some(vec![Applied::Unopened]), VersionVector::default());
    receiver.handle(Event::Applied { id, results, visible });
    let next = receiver.pull();
    assert_eq!((next.session, next.since), (first.session, vector(4)));
}

#[test]
fn a_row_whose_key_holds_nothing_any_more_is_left_to_the_next_round() {
    let mut receiver = Receiver::new();
    let first = receiver.pull();
    receiver.page(&first, vec![large_row_of(PEER, 1)], End::Round);
    let fetch = receiver.fetch();
    receiver.receive(&Message::NoBody { fetch, why: NoBody::Gone });
    let next = receiver.pull();
    assert_eq!((next.session, next.since), (first.session, vector(4)));
}

/// The opening row of the peer's first origin, which the peer can't read.
fn opening() -> DamagedKey {
    let key = Key::new(OriginInfo::key(dot(1).origin)).unwrap();
    DamagedKey { namespace: NamespaceId::SYSTEM, key, dot: dot(1) }
}

#[test]
fn an_opening_row_that_the_source_could_not_read_is_adopted_ahead_of_the_rows_of_its_origin() {
    let mut receiver = Receiver::new();
    let first = receiver.pull();
    let rows = vec![row_of(PEER, 2), row_of(PEER, 3)];
    let entry = DamagedKey { namespace: NamespaceId([9; 16]), dot: dot(4), ..opening() };
    receiver.damaged_page(&first, (rows, vec![opening(), entry.clone()]), End::Round);
    let Some(Work::Adopt { id: opened, vector: none, damaged, .. }) = receiver.core.poll_work()
    else {
        panic!("the rows of its origin would be refused")
    };
    assert_eq!((none, damaged), (VersionVector::default(), vec![opening()]));
    let (rows, applied) = receiver.commit();
    assert_eq!(applied, [2, 3]);
    let results = Some(vec![Applied::Adopted]);
    receiver.handle(Event::Applied { id: opened, results, visible: vector(1) });
    receiver.committed(rows, true);
    let Some(Work::Adopt { vector: adopted, damaged, .. }) = receiver.core.poll_work() else {
        panic!("the session ends")
    };
    assert_eq!(adopted, vector(4));
    assert!(damaged.contains(&entry));
}

#[test]
fn a_source_that_could_not_read_too_many_rows_is_queried_again_a_minute_later() {
    let mut receiver = Receiver::new();
    let first = receiver.pull();
    receiver.page(&first, vec![row_of(PEER, 1)], End::Round);
    let (id, _) = receiver.commit();
    receiver.committed(id, true);
    let Some(Work::Adopt { id, .. }) = receiver.core.poll_work() else { panic!("no end") };
    let (results, visible) = (Some(vec![Applied::NoRoom]), VersionVector::default());
    let before = receiver.now;
    receiver.handle(Event::Applied { id, results, visible });
    let again = receiver.pull_within(Duration::from_secs(100));
    assert!(again - before >= Duration::from_secs(60), "{:?}", again - before);
}

#[test]
fn a_session_whose_values_find_no_room_counts_nothing_and_is_repeated_a_minute_later() {
    let mut receiver = Receiver::new();
    let first = receiver.pull();
    receiver.page(&first, vec![row_of(PEER, 1)], End::Round);
    let (id, _) = receiver.commit();
    let (results, visible) = (Some(vec![Applied::Full]), VersionVector::default());
    let before = receiver.now;
    receiver.handle(Event::Applied { id, results, visible });
    assert!(receiver.core.poll_work().is_none(), "no vector is adopted");
    let again = receiver.pull_within(Duration::from_secs(100));
    assert!(again - before >= Duration::from_secs(60), "{:?}", again - before);
    assert_eq!(
        receiver.pull().after,
        None,
        "it begins from the start, for the values before its end"
    );
}

#[test]
fn a_session_goes_on_behind_a_value_that_finds_no_room() {
    let mut receiver = Receiver::new();
    let first = receiver.pull();
    receiver.batch(&first, [1, 2], End::Batch(dot(2)));
    let (id, _) = receiver.commit();
    let results = Some(vec![Applied::Full, Applied::Won { concurrent: false }]);
    receiver.handle(Event::Applied { id, results, visible: VersionVector::default() });
    assert_eq!(receiver.pull().after, Some(dot(2)));
}
