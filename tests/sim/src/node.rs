//! One location: a disk, and while it runs a store and a core on it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use kv_core::{
    Members, NamespaceId, OpenError, OriginId, Software, Version, VersionVector,
    commit::{Committer, Creation},
    engine::{CommitNo, redb::RedbEngine},
};
use kv_replicate::{Config, Core, MemberId, Now, Row, Work};
use waypost_disk_tests::{
    disk::{FailingDisk, Image},
    rng::Rng,
};

use crate::{
    later,
    plan::Plan,
    store::{self, Store},
};

/// Which entry: namespace and key.
pub type Name = (NamespaceId, Vec<u8>);

/// When virtual time begins, in Unix milliseconds.
pub const START_MS: u64 = 1_700_000_000_000;

/// A location.
pub struct Node {
    /// Its identity; a copy has that of the node that it was copied from.
    pub member: MemberId,
    /// Its disk.
    pub disk: FailingDisk,
    /// The running store and core; none while it is down.
    pub running: Option<Running>,
    /// How far its clock is ahead, in milliseconds; more than right clocks differ only while it is wrong.
    pub skew_ms: i64,
    /// Its clock is wrong, until it is set right.
    pub is_wrong: bool,
    /// How often it was started.
    pub starts: u64,
    /// Local writes that are not acknowledged; after a crash, those whose outcome is not known.
    pub open: Vec<Row>,
    /// The version that each key was last seen to have, durably.
    pub floor: BTreeMap<Name, Version>,
    /// Sends one message at a time.
    pub is_slow: bool,
    /// While set, its syncs wait.
    pub is_stuck: bool,
    /// While set, its store does no work of its core.
    pub is_busy: bool,
    /// It has taken part.
    pub has_joined: bool,
    /// It is about to be removed, and runs until it learns of that.
    pub is_leaving: bool,
    /// Its disk is new, and it joins a cluster.
    pub is_new: bool,
    /// There are other images of its disk, which may come back: it has a copy, is one, or was restored.
    pub is_forked: bool,
    /// It was restored and has not been started since.
    pub is_restored: bool,
    /// It never comes back.
    pub is_gone: bool,
    /// An image of its disk, from some time ago.
    pub image: Option<Image>,
    /// The image is of the disk that an old one has replaced.
    pub is_swapped: bool,
    /// Its own writes on this disk that were acknowledged.
    pub made: VersionVector,
    /// The writes that it durably held when it last synced.
    pub held: VersionVector,
    /// The origins whose count a rebuild lowered that salvaged something: it may still hold later writes.
    pub lowered: BTreeSet<OriginId>,
    /// The latest write of each key that its rebuilds have handed to the owner.
    pub salvaged: BTreeMap<Name, Version>,
    /// Writes of its own that the image lacks from which it was restored, and that others have.
    pub lost: Option<VersionVector>,
    rng: Rng,
}

/// A location that runs.
pub struct Running {
    /// Its store: the writer that ships, with the replicator that ships.
    pub store: Store<RedbEngine>,
    /// Its core.
    pub core: Core,
    /// The random number of this start.
    pub incarnation: u64,
    /// The members as the core last got them.
    pub members: Arc<Members>,
    /// The writes that readers see.
    pub shown: VersionVector,
    /// The life of the disk in which it was started.
    pub life: u64,
    /// When its core wants to be called.
    pub timer: Option<u64>,
    /// When the next sync runs.
    pub sync_at: Option<u64>,
    /// The commits whose answers have not come, by the token of each operation.
    pub unanswered: BTreeMap<u64, CommitNo>,
    /// Applications that have a large body, by the number of their work.
    pub large: BTreeSet<u64>,
    /// The work that the core has requested and that is not done.
    pub queue: VecDeque<Work>,
    /// Some of it is about to be.
    pub is_working: bool,
    /// A later process of its member runs, as its core last got it.
    pub is_superseded: bool,
    /// The peers that its core has named because there may be messages for them.
    pub ready: BTreeSet<MemberId>,
}

impl Running {
    /// Whether there may be messages for a peer.
    pub fn is_ready(&mut self, peer: MemberId) -> bool {
        self.ready.extend(std::iter::from_fn(|| self.core.poll_ready()));
        self.ready.contains(&peer)
    }

    /// The store goes by the clock that its core has found out.
    pub fn follow_clock(&mut self) {
        self.store.set_clock(self.core.clock());
    }
}

impl Node {
    /// A location that has not been started.
    #[must_use]
    pub fn new(member: MemberId, mut rng: Rng) -> Node {
        Node {
            member,
            disk: FailingDisk::new(rng.fork()),
            running: None,
            skew_ms: 0,
            is_wrong: false,
            starts: 0,
            open: Vec::new(),
            floor: BTreeMap::new(),
            is_slow: false,
            is_stuck: false,
            is_busy: false,
            has_joined: false,
            is_leaving: false,
            is_new: false,
            is_forked: false,
            is_restored: false,
            is_gone: false,
            image: None,
            is_swapped: false,
            made: VersionVector::default(),
            held: VersionVector::default(),
            lowered: BTreeSet::new(),
            salvaged: BTreeMap::new(),
            lost: None,
            rng,
        }
    }

    /// Whether it runs a later version of the program. Each start is of the other version.
    #[must_use]
    pub fn runs_later(&self) -> bool {
        (u64::from(self.member.0[0]) + self.starts).is_multiple_of(2)
    }

    /// The program that it runs.
    fn software(&self) -> Software {
        if self.runs_later() { later::software(later::FEATURE) } else { kv_replicate::software() }
    }

    /// The time that its clock shows at this virtual millisecond.
    #[must_use]
    pub fn now(&self, at: u64) -> Now {
        let wall_ms = (START_MS + at).saturating_add_signed(self.skew_ms);
        Now { mono: Duration::from_millis(at), wall_ms }
    }

    /// Starts it; false if its disk failed while it was opened.
    ///
    /// # Errors
    /// If it did not open although nothing failed.
    pub fn start(&mut self, at: u64, plan: &Plan) -> Result<bool, String> {
        self.disk.kill();
        self.disk.disarm();
        self.disk.make_room();
        let life = self.disk.life();
        let mut ids = self.rng.fork();
        let creation = Creation { member: Some(self.member), is_joining: self.is_new };
        let committer = RedbEngine::open(self.disk.process(), 1 << 20)
            .map_err(OpenError::Engine)
            .and_then(|engine| Committer::open(Arc::new(engine), creation, move || Ok(ids.id())));
        let committer = committer.map_err(|error| error.to_string())?;
        self.starts += 1;
        let Some(store) = store::open(committer, self.now(at)) else { return Ok(false) };
        let state = store::state(&store).clone();
        let incarnation = self.rng.next_u64() | 1;
        let config = Config {
            cluster: [1; 16],
            member: self.member,
            incarnation,
            backlog_bytes: plan.backlog_bytes,
            batch_rows: plan.batch_rows,
            pinned_bytes: plan.pinned_bytes,
            max_clock_skew_ms: 500,
            software: self.software(),
        };
        let members = Arc::clone(&state.members);
        let shown = state.visible.clone();
        let core = Core::new(config, self.now(at), state);
        self.running = Some(Running {
            store,
            core,
            incarnation,
            members,
            shown,
            life,
            timer: None,
            sync_at: None,
            unanswered: BTreeMap::new(),
            large: BTreeSet::new(),
            queue: VecDeque::new(),
            is_working: false,
            is_superseded: false,
            ready: BTreeSet::new(),
        });
        Ok(true)
    }

    /// Whether it runs and takes part.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.core.is_joined())
    }

    /// The origins that its process writes under.
    #[must_use]
    pub fn origins(&mut self) -> Option<[OriginId; 2]> {
        self.running.as_mut().and_then(|running| running.store.committer().origins())
    }

    /// Whether it runs, and a later process of its member has closed its origins.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.running.as_ref().is_some_and(|running| store::state(&running.store).superseded)
    }

    /// The writes that its vector counts; none while it is down.
    #[must_use]
    pub fn vector(&self) -> VersionVector {
        let running = self.running.as_ref();
        running.map(|running| store::state(&running.store).durable.clone()).unwrap_or_default()
    }
}

/// The member that a location is: never the one that no location is, whose id has only bytes of 255.
#[must_use]
pub fn member(index: usize) -> MemberId {
    let (turn, place) = (index / 254, index % 254 + 1);
    let place = u8::try_from(place).expect("at most 254");
    let mut id = [place; 16];
    id[15] = place.wrapping_add(u8::try_from(turn).expect("few locations"));
    MemberId(id)
}

/// Which of the first 254 locations a member is.
#[must_use]
pub fn index(member: MemberId) -> usize {
    usize::from(member.0[0]) - 1
}
