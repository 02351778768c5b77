//! Two locations in one thread, over stores in memory, and the messages between them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use kv_core::{
    Account, Attributes, Key, NamespaceId, Operation, Table, Title,
    commit::{Committer, Creation},
    derive_id,
    engine::{
        Batch, Engine, Snapshot, Visibility, disk,
        redb::{RedbEngine, RedbSnapshot},
    },
    writer::{self, Output, Step, WriterConfig, WriterCore},
};
use kv_replicate::{
    Config, Core, Difference, Event, MAX_MESSAGE_BYTES, MemberId, Notice, Now, Verdict, Work,
    replicator::Replicator,
};

/// A location.
pub(crate) struct Location {
    pub(crate) engine: Arc<RedbEngine>,
    pub(crate) store: WriterCore<RedbEngine, (), Replicator<RedbSnapshot>>,
    pub(crate) core: Core,
    id: u8,
    incarnations: u64,
}

/// Decides about a message by its number among all and by its kind.
pub(crate) type Fate = fn(u64, u8) -> Copies;

/// How often a message arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copies {
    None,
    One,
    Two,
}

/// Two locations and their link.
pub(crate) struct Pair {
    pub(crate) nodes: [Location; 2],
    pub(crate) now_ms: u64,
    pub(crate) fate: Fate,
    /// Whether each location's disk is unreadable for verifications.
    pub(crate) is_unreadable: [bool; 2],
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) inspections: u64,
    way: VecDeque<(usize, Bytes)>,
    pub(crate) verdicts: VecDeque<(usize, Verdict)>,
    pub(crate) differences: Vec<(usize, Difference)>,
    pub(crate) progress: usize,
}

pub(crate) fn member(node: usize) -> MemberId {
    MemberId([u8::try_from(node).unwrap() + 1; 16])
}

pub(crate) fn namespace() -> NamespaceId {
    derive_id("", "one", 0)
}

impl Location {
    fn open(id: u8, engine: Arc<RedbEngine>, incarnations: u64) -> Location {
        let mut last = u64::from(id) << 32 | incarnations << 16;
        let random = move || {
            last += 1;
            Ok([last.to_be_bytes(), [id; 8]].concat().try_into().unwrap())
        };
        let creation = Creation { member: Some(MemberId([id; 16])), is_joining: id > 1 };
        let committer = Committer::open(Arc::clone(&engine), creation, random).unwrap();
        let expiry_grace = Duration::from_millis(500);
        let config = WriterConfig {
            gc_rows: 100,
            gc_bodies: 9,
            expiry_grace,
            closing_interval: Duration::ZERO,
            ..WriterConfig::default()
        };
        let mut store = WriterCore::new(committer, config, Duration::ZERO);
        store.replicate(Some(Replicator::default()));
        store.run(writer::Now::default(), Step::Sync);
        while store.poll_output().is_some() {}
        let config = Config {
            cluster: [1; 16],
            member: MemberId([id; 16]),
            incarnation: u64::from(id) << 8 | incarnations,
            backlog_bytes: 1 << 20,
            batch_rows: 128,
            pinned_bytes: kv_replicate::PINNED_BYTES,
            max_clock_skew_ms: 500,
            software: kv_replicate::software(),
        };
        let state = store.replicator().unwrap().state().clone();
        let core = Core::new(config, Now::default(), state);
        Location { engine, store, core, id, incarnations }
    }

    /// Runs a step of the store; the events for the core.
    fn run(&mut self, now_ms: u64, step: Step) -> Vec<Event> {
        let now = writer::Now { mono: Duration::from_millis(now_ms), wall_ms: now_ms };
        self.store.set_clock(self.core.clock());
        self.store.run(now, step);
        while let Some(output) = self.store.poll_output() {
            match output {
                Output::Answers(answers) => assert!(answers.iter().all(|(_, it)| it.is_ok())),
                Output::Synced(result) => result.unwrap(),
                Output::Collected(result) => assert!(result.is_ok()),
                _ => {}
            }
        }
        let replicator = self.store.replicator_mut().unwrap();
        let events: Vec<_> = std::iter::from_fn(|| replicator.poll_event()).collect();
        for event in &events {
            if let Event::Wrote(rows) = event {
                replicator.room().release(rows);
            }
        }
        events
    }

    /// A row of a table, as it is in the engine.
    pub(crate) fn raw(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        self.engine.snapshot(Visibility::Latest).unwrap().get(table, key).unwrap()
    }
}

impl Pair {
    pub(crate) fn new() -> Pair {
        let open = |id| {
            let engine = Arc::new(RedbEngine::open(disk::memory(), 8 << 20).unwrap());
            Location::open(id, engine, 1)
        };
        let mut pair = Pair {
            nodes: [open(1), open(2)],
            now_ms: 1_000_000,
            fate: |_, _| Copies::One,
            is_unreadable: [false; 2],
            messages: 0,
            bytes: 0,
            inspections: 0,
            way: VecDeque::new(),
            verdicts: VecDeque::new(),
            differences: Vec::new(),
            progress: 0,
        };
        let members = [0, 1].map(|node| {
            let name = format!("location {node}");
            Operation::PutMember { id: member(node), name, addresses: Vec::new() }
        });
        let (account, title) = (Account::default(), Title::new("one").unwrap());
        pair.write(0, members.into());
        pair.write(0, vec![Operation::CreateNamespace { account, title, id: None }]);
        pair.connect();
        pair.run_for(1_000);
        assert!(pair.nodes.iter().all(|node| node.core.is_joined()));
        pair
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: Duration::from_millis(self.now_ms), wall_ms: self.now_ms }
    }

    pub(crate) fn connect(&mut self) {
        for node in 0..2 {
            self.tell(node, Event::Connected(member(1 - node)));
        }
    }

    pub(crate) fn put(&mut self, node: usize, key: &str, value: &[u8], attributes: Attributes) {
        let mut upload = self.nodes[node].store.committer().upload();
        let mut operations = upload.push(value).unwrap();
        let (last, body) = upload.finish();
        operations.extend(last);
        let key = Key::new(key).unwrap();
        operations.push(Operation::Put { namespace: namespace(), key, body, attributes });
        self.write(node, operations);
    }

    pub(crate) fn write(&mut self, node: usize, operations: Vec<Operation>) {
        for operation in operations {
            self.nodes[node].store.request((), operation);
        }
        self.nodes[node].run(self.now_ms, Step::Commit);
        self.sync(node);
    }

    /// Lets both locations close the time up to now, for the tombstones that wait for it, and learn of it.
    pub(crate) fn close_time(&mut self) {
        for node in 0..2 {
            self.collect_garbage_below(node, kv_core::Hlc::ZERO);
        }
        self.run_for(5_000);
    }

    /// Collects garbage up to the stable timestamp of the core.
    pub(crate) fn collect_garbage(&mut self, node: usize) {
        let stable = kv_core::Hlc(self.nodes[node].core.stable().0 + 1);
        self.collect_garbage_below(node, stable);
    }

    pub(crate) fn collect_garbage_below(&mut self, node: usize, stable: kv_core::Hlc) {
        let replicator = self.nodes[node].store.replicator_mut().unwrap();
        let members = Arc::clone(&replicator.state().members);
        replicator.set_stable(&members, stable);
        self.nodes[node].run(self.now_ms, Step::CollectGarbage);
        self.sync(node);
    }

    fn sync(&mut self, node: usize) {
        for event in self.nodes[node].run(self.now_ms, Step::Sync) {
            self.tell(node, event);
        }
    }

    /// Changes rows in the engine, and restarts the location on them.
    pub(crate) fn alter(&mut self, node: usize, batch: Batch) {
        let engine = Arc::clone(&self.nodes[node].engine);
        engine.commit(engine.status().latest + 1, batch).unwrap();
        engine.sync(engine.status().latest).unwrap();
        let (id, incarnations) = (self.nodes[node].id, self.nodes[node].incarnations + 1);
        self.nodes[node] = Location::open(id, engine, incarnations);
        self.way.clear();
        self.connect();
        self.run_for(100);
    }

    pub(crate) fn tell(&mut self, node: usize, event: Event) {
        let now = self.now();
        self.nodes[node].core.handle_event(now, event);
        self.pump(node);
    }

    fn pump(&mut self, node: usize) {
        self.work(node);
        while let Some(transmit) = self.nodes[node].core.poll_transmit(member(1 - node)) {
            assert!(transmit.bytes.len() <= MAX_MESSAGE_BYTES);
            self.messages += 1;
            self.bytes += transmit.bytes.len() as u64;
            let copies = (self.fate)(self.messages, transmit.bytes[2]);
            if copies != Copies::None {
                self.way.push_back((1 - node, transmit.bytes.clone()));
            }
            if copies == Copies::Two {
                self.way.push_front((1 - node, transmit.bytes));
            }
            self.work(node);
        }
        while let Some(notice) = self.nodes[node].core.poll_event() {
            match notice {
                Notice::Verified(verdict) => self.verdicts.push_back((node, verdict)),
                Notice::Differs(difference) => self.differences.push((node, *difference)),
                Notice::Verifying { .. } => self.progress += 1,
                Notice::Halted(_) | Notice::Refused { .. } => panic!("{notice:?}"),
                _ => {}
            }
        }
    }

    fn work(&mut self, node: usize) {
        while let Some(work) = self.nodes[node].core.poll_work() {
            let now = self.now();
            let is_inspect = matches!(work, Work::Inspect { .. });
            self.inspections += u64::from(is_inspect);
            for event in self.perform(node, work) {
                self.nodes[node].core.handle_event(now, event);
            }
        }
        if self.nodes[node].store.sync_due().is_some() {
            self.sync(node);
        }
    }

    fn perform(&mut self, node: usize, work: Work) -> Vec<Event> {
        if let Work::Inspect { id, .. } = work
            && self.is_unreadable[node]
        {
            return vec![Event::Inspected { id, answer: None }];
        }
        let replicator = self.nodes[node].store.replicator_mut().unwrap();
        if work.is_read() {
            return replicator.read(work).into_iter().collect();
        }
        replicator.push(work);
        self.nodes[node].run(self.now_ms, Step::Turn)
    }

    /// Lets all arrive that is on its way, then moves time.
    pub(crate) fn run_for(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            while let Some((to, bytes)) = self.way.pop_front() {
                self.tell(to, Event::Received { from: member(1 - to), bytes });
            }
            self.now_ms += 10;
            for node in 0..2 {
                let now = self.now();
                self.nodes[node].core.handle_timeout(now);
                self.pump(node);
            }
        }
    }

    /// Verifies from one side until there is a verdict.
    pub(crate) fn verify(&mut self, node: usize) -> Verdict {
        self.differences.clear();
        self.verdicts.clear();
        self.tell(node, Event::Verify(member(1 - node)));
        self.verdict()
    }

    /// The next verdict.
    pub(crate) fn verdict(&mut self) -> Verdict {
        for _ in 0..20_000 {
            if let Some((_, verdict)) = self.verdicts.pop_front() {
                return verdict;
            }
            self.run_for(10);
        }
        panic!("no verdict");
    }
}
