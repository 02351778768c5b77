//! A location, its store in memory, and two peers that send anything, also as answers to its requests:
//! nothing panics, what waits is bounded, and no vector counts a write of its own that it did not make.
#![no_main]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use arbitrary::Arbitrary;
use bytes::{BufMut, Bytes, BytesMut};
use kv_core::{
    Attributes, Dot, Hlc, JoinedRow, Key, Lane, MemberId, NamespaceId, Operation, OriginId,
    OriginInfo, Version, VersionVector,
    commit::{NewContent, Remote, RemoteWrite},
    engine::redb::{RedbEngine, RedbSnapshot},
    writer::{self, Output, WriterConfig, WriterCore},
};
use kv_replicate::{Config, Core, Event, Now, WIRE_VERSION, Work, replicator::Replicator};
use libfuzzer_sys::fuzz_target;
use waypost_fuzz::{
    disk::{Disk, Image},
    number::Number,
    store,
};

const CLUSTER: [u8; 16] = [5; 16];
const OUR_BOOT: u64 = 1;
const PEER_BOOT: u64 = 2;
const WALL_MS: u64 = 1_700_000_000_000;

/// More than a backlog, the pages of a batch, the vectors of two sessions and what an input brings.
const MOST_BYTES: usize = 2 << 20;

/// How many messages it may send before it has received a new one.
const MOST_MESSAGES: usize = 4096;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// A message of this kind with any bytes behind its beginning.
    Say {
        peer: Peer,
        kind: u8,
        body: &'a [u8],
    },
    /// A message about the location's last request of this kind.
    Answer {
        peer: Peer,
        kind: u8,
        body: &'a [u8],
    },
    Progress {
        peer: Peer,
        report: Report,
    },
    Up(Peer),
    Down(Peer),
    Verify(Peer),
    Put(u8),
    Sync,
    Wait(u16),
}

/// A progress message with one count.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Report {
    number: u8,
    /// The message that it builds on; 0 for none.
    base: u8,
    /// The number of the origin, and whether it is named too.
    index: u8,
    is_named: bool,
    origin: Origin,
    seq: Number,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Peer {
    One,
    Other,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Origin {
    Of(Peer),
    Any(u8),
}

impl Peer {
    fn id(self) -> MemberId {
        MemberId([if self == Peer::One { 0xa1 } else { 0xa2 }; 16])
    }

    fn origins(self) -> [OriginId; 2] {
        let first = self.id().0[0] + 0x10;
        [OriginId([first; 16]), OriginId([first + 0x10; 16])]
    }
}

fn us() -> MemberId {
    store::MEMBER
}

/// Opens the origins of a peer, as the first writes of its process do.
fn open_origins(store: &mut store::Store, peer: Peer) {
    let [small, large] = peer.origins();
    for (id, partner, lane) in [(small, large, Lane::Small), (large, small, Lane::Large)] {
        let (member, opened) = (peer.id(), Hlc::at_millis(WALL_MS - 1000));
        let info = OriginInfo { id, member, lane, partner, closes: [].into(), opened };
        let version = Version { hlc: opened, origin: id };
        let row = JoinedRow::written(version, 1, [info.field()]).expect("a field");
        let write = RemoteWrite {
            dot: Dot { origin: id, seq: 1 },
            hlc: opened,
            prev: None,
            namespace: NamespaceId::SYSTEM,
            key: Key::new(OriginInfo::key(id)).expect("a short key"),
            change: NewContent::Joined(Arc::new(row)),
        };
        let applied = Operation::Remote(Remote::Row(write));
        store::make(store, WALL_MS, applied).expect("it is applied");
    }
}

/// A store of a cluster of three that has a few writes.
fn prepared() -> Disk {
    static IMAGE: LazyLock<Image> = LazyLock::new(|| {
        let disk = Disk::default();
        let mut store = store::open(&disk).expect("a store is made");
        for id in [us(), Peer::One.id(), Peer::Other.id()] {
            let (name, addresses) = (format!("place {}", id.0[0]), Vec::new());
            let operation = Operation::PutMember { id, name, addresses };
            store::make(&mut store, WALL_MS, operation).expect("a member");
        }
        [Peer::One, Peer::Other].into_iter().for_each(|peer| open_origins(&mut store, peer));
        let namespace = store::create(&mut store, WALL_MS, "t").expect("a namespace");
        for key in 0..20u8 {
            let key = [b'k', key];
            store::put(&mut store, WALL_MS, namespace, &key, b"value", Attributes::default())
                .expect("a small value");
        }
        let value = vec![b'x'; 70_000];
        store::put(&mut store, WALL_MS, namespace, b"large", &value, Attributes::default())
            .expect("a large value");
        store.sync().expect("memory does not fail");
        drop(store);
        disk.image()
    });
    Disk::holding(IMAGE.clone())
}

struct Location {
    core: Core,
    store: WriterCore<RedbEngine, (), Replicator<RedbSnapshot>>,
    now: Duration,
    /// The first bytes behind the beginning of its last requests: pulls, bodies, verifications.
    asked: [Option<[u8; 12]>; 3],
    own: [OriginId; 2],
    /// How many writes it has made.
    made: u64,
}

impl Location {
    fn start() -> Location {
        let engine = store::engine(&prepared()).expect("it was opened before");
        let committer = store::committer(engine).expect("it was opened before");
        let mut store = WriterCore::new(committer, WriterConfig::default(), Duration::ZERO);
        store.replicate(Some(Replicator::default()));
        // The process before left its origins open, so that this one opens its own in its first turn.
        for step in [writer::Step::Sync, writer::Step::Turn, writer::Step::Sync] {
            store.run(writer::Now { mono: Duration::ZERO, wall_ms: WALL_MS }, step);
            while store.poll_output().is_some() {}
        }
        let own = store.committer().origins().expect("it has opened them");
        let replicator = store.replicator_mut().expect("memory does not fail");
        while let Some(event) = replicator.poll_event() {
            if let Event::Wrote(rows) = &event {
                replicator.room().release(rows);
            }
        }
        let config = Config {
            cluster: CLUSTER,
            member: us(),
            incarnation: OUR_BOOT,
            backlog_bytes: 4096,
            batch_rows: 8,
            pinned_bytes: 10_000,
            max_clock_skew_ms: 500,
            software: kv_replicate::software(),
        };
        let now = Now { mono: Duration::ZERO, wall_ms: WALL_MS };
        let state = store.replicator().expect("memory does not fail").state().clone();
        let core = Core::new(config, now, state);
        let now = Duration::ZERO;
        let mut location = Location { core, store, now, asked: [None; 3], own, made: 0 };
        location.made = location.counted();
        location.up(Peer::One);
        location.up(Peer::Other);
        location
    }

    fn at(&self) -> Now {
        let passed = u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX);
        Now { mono: self.now, wall_ms: WALL_MS + passed }
    }

    fn tell(&mut self, event: Event) {
        self.core.handle_event(self.at(), event);
        self.work();
    }

    /// Does all work that the core requests of the store, and takes all messages that it sends.
    fn work(&mut self) {
        while let Some(work) = self.core.poll_work() {
            self.perform(work);
        }
        while self.core.poll_event().is_some() {}
        for peer in [Peer::One, Peer::Other] {
            let mut messages = 0;
            while let Some(said) = self.core.poll_transmit(peer.id()) {
                messages += 1;
                assert!(messages < MOST_MESSAGES, "it does not end");
                self.note(&said.bytes);
            }
        }
        let held = self.core.memory_bytes();
        assert!(held < MOST_BYTES, "{held} bytes are held");
        assert_eq!(self.counted(), self.made, "of its own writes it counts those that it made");
    }

    fn replicator(&mut self) -> &mut Replicator<RedbSnapshot> {
        self.store.replicator_mut().expect("memory does not fail")
    }

    /// Runs a step of the store, and gives the core what came of it.
    fn run(&mut self, step: writer::Step) {
        let now = self.at();
        let before = self.store.unpublished().len();
        self.store.run(writer::Now { mono: now.mono, wall_ms: now.wall_ms }, step);
        if step == writer::Step::Turn {
            // It closes open origins of its location that a peer invents.
            self.made += self.store.unpublished().len().saturating_sub(before) as u64;
        }
        while let Some(output) = self.store.poll_output() {
            assert!(!matches!(output, Output::Synced(Err(_))), "memory does not fail");
        }
        while let Some(event) = self.replicator().poll_event() {
            if let Event::Wrote(rows) = &event {
                self.replicator().room().release(rows);
            }
            self.core.handle_event(now, event);
        }
    }

    fn perform(&mut self, work: Work) {
        if work.is_read() {
            let durable = self.replicator().durable().cloned();
            if let Some(event) = durable.and_then(|durable| durable.read(work)) {
                self.core.handle_event(self.at(), event);
            }
        } else {
            self.replicator().push(work);
            self.run(writer::Step::Turn);
        }
    }

    fn visible(&mut self) -> VersionVector {
        self.store.committer().view().vector().clone()
    }

    fn counted(&mut self) -> u64 {
        let vector = self.visible();
        self.own.iter().map(|origin| vector.get(*origin)).sum()
    }

    fn put(&mut self, key: u8) {
        let mut upload = self.store.committer().upload();
        let pieces = upload.push(&[key]).expect("a short value");
        let (last, body) = upload.finish();
        assert!(pieces.is_empty() && last.is_none(), "it goes with its row");
        let (namespace, key) =
            (kv_core::derive_id("", "t", 0), Key::try_from(vec![b'k', key]).expect("a key"));
        let put = Operation::Put { namespace, key, body, attributes: Attributes::default() };
        self.store.request((), put);
        self.run(writer::Step::Commit);
        self.made += u64::from(self.store.held().last().is_some_and(|(_, held)| held.is_ok()));
    }

    fn note(&mut self, said: &Bytes) {
        let (Some(kind), Some(body)) = (said.get(2), said.get(19..31)) else { return };
        let Some(index) = [6, 9, 14].iter().position(|asked| asked == kind) else { return };
        self.asked[index] = body.try_into().ok();
    }

    fn hear(&mut self, peer: Peer, kind: u8, body: &[u8]) {
        let mut bytes = BytesMut::new();
        bytes.put_u16(WIRE_VERSION);
        bytes.put_u8(kind);
        bytes.put_u64(PEER_BOOT);
        bytes.put_u64(OUR_BOOT);
        bytes.put_slice(body);
        self.tell(Event::Received { from: peer.id(), bytes: bytes.freeze() });
    }

    fn up(&mut self, peer: Peer) {
        self.tell(Event::Connected(peer.id()));
        let mut hello = BytesMut::new();
        hello.put_u16(WIRE_VERSION);
        hello.put_u16(WIRE_VERSION);
        hello.put_u64(0);
        hello.put_slice(&CLUSTER);
        hello.put_slice(&peer.id().0);
        self.hear(peer, 1, &hello);
    }

    /// The progress that a peer reports.
    fn progress(&mut self, peer: Peer, report: Report) {
        let origin = match report.origin {
            Origin::Of(peer) => peer.origins()[0],
            Origin::Any(n) => OriginId([n; 16]),
        };
        let mut progress = BytesMut::new();
        progress.put_u64(report.number.into());
        progress.put_u64(report.base.into());
        progress.put_u64(WALL_MS);
        progress.put_u8(0);
        progress.put_slice(&[0; 24]);
        if report.base == 0 {
            progress.put_u8(1);
            peer.origins().iter().for_each(|origin| progress.put_slice(&origin.0));
        } else {
            progress.put_u8(2);
        }
        progress.put_u8(0);
        progress.put_u64(0);
        progress.put_u8(1);
        varint(&mut progress, u64::from(report.index) << 1 | u64::from(report.is_named));
        if report.is_named {
            progress.put_slice(&origin.0);
        }
        varint(&mut progress, report.seq.0);
        if report.base == 0 {
            progress.put_u16(0);
        }
        self.hear(peer, 2, &progress);
    }

    /// A message about the last request: its number, and of some kinds a second one.
    fn answer(&mut self, peer: Peer, kind: u8, body: &[u8]) {
        let (kind, about, len) = match kind % 6 {
            0 => (7, 0, 12),
            1 => (8, 0, 8),
            2 => (12, 0, 8),
            3 => (10, 1, 8),
            4 => (11, 1, 8),
            _ => (15, 2, 12),
        };
        if let Some(asked) = self.asked[about] {
            self.hear(peer, kind, &[&asked[..len], body].concat());
        }
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Say { peer, kind, body } => self.hear(peer, kind, body),
            Step::Answer { peer, kind, body } => self.answer(peer, kind, body),
            Step::Progress { peer, report } => self.progress(peer, report),
            Step::Up(peer) => self.up(peer),
            Step::Down(peer) => self.tell(Event::Disconnected(peer.id())),
            Step::Verify(peer) => self.tell(Event::Verify(peer.id())),
            Step::Put(key) => self.put(key),
            Step::Sync => {
                self.run(writer::Step::Sync);
                self.work();
            }
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms.into());
                self.core.handle_timeout(self.at());
                self.work();
            }
        }
    }
}

/// A number in groups of seven bits, the lowest first.
fn varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut location = Location::start();
    let before = location.visible();
    for step in steps {
        location.step(step);
    }
    let after = location.visible();
    assert!(after.covers_all(&before), "something that was here is not counted any more");
});
