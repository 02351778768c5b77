//! Origins: each process of a location opens its own, and the former ones are closed.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use common::peer::{joined_write, opening};
use kv_core::{
    Account, Attributes, Dot, FieldNumber, FieldValue, FoundState, Hlc, Key, Lane, MemberId,
    NamespaceId, OpenError, Operation, Options, OriginEntry, OriginId, OriginInfo, Outcome, Title,
    VersionVector, WriteError,
    commit::{Applied, Committer, Creation, NewContent, Remote, RemoteWrite},
    derive_id,
    engine::{disk, redb::RedbEngine},
    env::RandomError,
    limits::{MAX_CLOSES, MAX_MEMBER_ORIGINS, MAX_ORIGINS},
};

type Replica = Committer<RedbEngine>;

const US: MemberId = MemberId([1; 16]);
const PEER: MemberId = MemberId([2; 16]);

/// Ids that never repeat, whichever store draws them.
fn random_id() -> Result<[u8; 16], RandomError> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [7; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Ok(id)
}

fn open(engine: Arc<RedbEngine>, is_joining: bool) -> Replica {
    Committer::open(engine, Creation { member: Some(US), is_joining }, random_id).unwrap()
}

fn new_replica() -> Replica {
    open(Arc::new(RedbEngine::open(disk::memory(), 1 << 20).unwrap()), false)
}

/// Starts another process on a store.
fn restart(replica: Replica) -> Replica {
    let engine = Arc::clone(replica.engine());
    drop(replica);
    open(engine, false)
}

fn namespace() -> NamespaceId {
    derive_id("", "t", 0)
}

fn create() -> Operation {
    let (account, title) = (Account::default(), Title::new("t").unwrap());
    Operation::CreateNamespace { account, title, id: None }
}

fn delete(key: &str) -> Operation {
    Operation::Delete { namespace: namespace(), key: Key::new(key).unwrap() }
}

fn put(replica: &Replica, key: &str, value: &[u8]) -> Operation {
    let mut upload = replica.upload();
    assert!(upload.push(value).unwrap().is_empty());
    let attributes = Attributes::default();
    let (key, body) = (Key::new(key).unwrap(), upload.finish().1);
    Operation::Put { namespace: namespace(), key, body, attributes }
}

fn make(replica: &mut Replica, operation: Operation) -> Result<Outcome, WriteError> {
    replica.commit(1, vec![operation]).results.remove(0)
}

fn apply(replica: &mut Replica, remote: Remote) -> Applied {
    match make(replica, Operation::Remote(remote)).unwrap() {
        Outcome::Applied(applied) => applied,
        other => panic!("{other:?}"),
    }
}

fn dot(origin: u8, seq: u64) -> Dot {
    Dot { origin: OriginId([origin; 16]), seq }
}

fn origin(member: MemberId, origin: u8, closes: &[OriginId]) -> OriginInfo {
    let (id, partner) = (OriginId([origin; 16]), OriginId([origin + 1; 16]));
    let (lane, opened) = (Lane::Small, Hlc(u64::from(origin)));
    OriginInfo { id, member, lane, partner, closes: closes.into(), opened }
}

fn system_write(
    (dot, hlc): (Dot, Hlc),
    key: &[u8],
    field: (FieldNumber, FieldValue),
) -> RemoteWrite {
    joined_write(dot, hlc, key, [field])
}

/// A delete of a peer, which needs no body.
fn remote_delete(dot: Dot, hlc: u64, key: &str) -> RemoteWrite {
    let (hlc, key) = (Hlc(hlc), Key::new(key).unwrap());
    RemoteWrite { dot, hlc, prev: None, namespace: namespace(), key, change: NewContent::Delete }
}

fn adopt(vector: VersionVector, collected: VersionVector) -> Remote {
    Remote::Adopt { vector, collected, floor: Hlc::ZERO, damaged: Vec::new() }
}

fn is_refused(applied: Applied) -> bool {
    matches!(applied, Applied::Refused(_))
}

#[test]
fn the_first_write_of_a_process_opens_its_origins_in_the_same_commit() {
    let mut replica = new_replica();
    assert_eq!((replica.member(), replica.origins()), (US, None));
    let committed = replica.commit(1, vec![create(), delete("k")]);
    assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
    let [small, large] = replica.origins().unwrap();
    let dots: Vec<_> = committed.writes.iter().map(|write| write.found.dot).collect();
    let first = |origin| Dot { origin, seq: 1 };
    assert_eq!(dots[..3], [first(small), first(large), Dot { origin: small, seq: 2 }]);
    let view = replica.view();
    let info = view.registry().get(large).unwrap();
    assert_eq!((info.member, info.lane, info.pair()), (US, Lane::Large, [small, large]));
    assert_eq!((view.vector().get(small), view.vector().get(large)), (3, 1));
}

#[test]
fn a_process_that_writes_nothing_opens_no_origins() {
    let mut replica = new_replica();
    assert!(make(&mut replica, delete("k")).is_err(), "there is no namespace");
    assert_eq!(replica.origins(), None);
    assert!(replica.settle_origins(1).is_none());
    assert!(replica.view().registry().is_empty());
}

#[test]
fn the_next_process_writes_under_other_origins_and_closes_the_former_ones() {
    let mut replica = new_replica();
    make(&mut replica, create()).unwrap();
    let former = replica.origins().unwrap();
    let mut replica = restart(replica);
    assert_eq!(replica.origins(), None);
    assert!(!replica.view().registry().is_closed(former[0]));
    make(&mut replica, delete("k")).unwrap();
    let own = replica.origins().unwrap();
    assert!(own.iter().all(|origin| !former.contains(origin)));
    let view = replica.view();
    assert!(former.iter().all(|origin| view.registry().is_closed(*origin)));
    assert!(own.iter().all(|origin| !view.registry().is_closed(*origin)));
    let reopened = restart(replica).view();
    assert_eq!(reopened.registry(), view.registry(), "the rows give the same registry");
}

#[test]
fn a_replicated_process_opens_its_origins_without_a_write_if_former_ones_are_open() {
    let mut replica = new_replica();
    make(&mut replica, create()).unwrap();
    let former = replica.origins().unwrap();
    let mut replica = restart(replica);
    let committed = replica.settle_origins(1).unwrap();
    assert!(committed.needs_sync);
    assert_eq!(committed.writes.len(), 2);
    assert!(replica.view().registry().is_closed(former[0]));
    assert!(replica.settle_origins(1).is_none(), "once");
}

#[test]
fn open_origins_that_one_row_cannot_close_are_closed_by_rows_of_their_own() {
    let mut replica = new_replica();
    let count = MAX_CLOSES as u64 + 3;
    for number in 0..count {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let (id, partner) = (OriginId(id), OriginId([8; 16]));
        let info = OriginInfo { id, partner, ..origin(US, 50, &[]) };
        let write = opening(&info);
        assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Won { concurrent: false });
    }
    assert_eq!(replica.settle_origins(1 << 20).unwrap().writes.len(), 2);
    assert_eq!(replica.settle_origins(1 << 20).unwrap().writes.len(), 3);
    assert!(replica.settle_origins(1 << 20).is_none());
    let open: Vec<_> = replica.view().registry().open_of(US).map(|info| info.id).collect();
    let mut own = replica.origins().unwrap();
    own.sort_unstable();
    assert_eq!(open, own);
}

#[test]
fn of_two_processes_of_a_location_the_one_that_started_later_continues() {
    let mut replica = new_replica();
    make(&mut replica, create()).unwrap();
    let own = replica.origins().unwrap();
    let order = replica.view().registry().get(own[0]).unwrap().opened;
    // An image of the store was started earlier, and its origins arrive later.
    let earlier = OriginInfo { opened: Hlc(order.0 - 1), ..origin(US, 50, &[]) };
    let write = opening(&earlier);
    apply(&mut replica, Remote::Row(write));
    assert_eq!(replica.settle_origins(1).unwrap().writes.len(), 1);
    assert!(replica.view().registry().is_closed(earlier.id));
    assert!(!replica.view().is_superseded());
    // Another was started later. It does not know of this process, and closes it once it does.
    let later = OriginInfo { opened: Hlc(order.0 + (5 << 16)), ..origin(US, 60, &[]) };
    let write = opening(&later);
    apply(&mut replica, Remote::Row(write));
    assert!(replica.settle_origins(1).is_none(), "the later one closes this one");
    make(&mut replica, delete("k")).unwrap();
    let key = OriginEntry::closing_key(own[0], US);
    let closing = OriginEntry::closing_field();
    let write = system_write((dot(60, 2), Hlc(1 << 40)), &key, closing);
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Won { concurrent: false });
    assert!(replica.view().is_superseded());
    assert_eq!(make(&mut replica, delete("k")), Err(WriteError::Superseded(US)));
    assert!(replica.settle_origins(1).is_none());
    let write = remote_delete(dot(60, 3), 1 << 41, "k");
    let applied = apply(&mut replica, Remote::Next(write));
    assert_eq!(applied, Applied::Won { concurrent: false }, "a peer's writes are applied");
    // A restart makes this the later process.
    let mut replica = restart(replica);
    make(&mut replica, delete("k")).unwrap();
    assert!(replica.view().registry().is_closed(later.id));
}

#[test]
fn a_row_of_another_location_does_not_stop_writes() {
    let mut replica = new_replica();
    make(&mut replica, create()).unwrap();
    let own = replica.origins().unwrap();
    let write = opening(&origin(PEER, 50, &own));
    assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Won { concurrent: false });
    let key = OriginEntry::closing_key(own[0], PEER);
    let write = system_write((dot(50, 2), Hlc(99)), &key, OriginEntry::closing_field());
    assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Won { concurrent: false });
    assert!(make(&mut replica, delete("k")).is_ok());
}

#[test]
fn an_opening_row_is_counted_as_soon_as_it_is_here_and_comes_before_other_rows() {
    let mut replica = new_replica();
    let write = remote_delete(dot(50, 2), 60, "k");
    assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Unopened);
    let write = remote_delete(dot(50, 2), 60, "k");
    assert_eq!(apply(&mut replica, Remote::Next(write)), Applied::Gap { missing: 1 });
    let info = origin(PEER, 50, &[]);
    let write = opening(&info);
    assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Won { concurrent: false });
    assert_eq!(replica.view().vector().get(info.id), 1);
    let write = opening(&origin(US, 50, &[]));
    assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Known, "it never changes");
    assert_eq!(replica.view().registry().get(info.id), Some(&info));
    let write = remote_delete(dot(50, 2), 60, "k");
    assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Won { concurrent: false });
    assert_eq!(replica.view().vector().get(info.id), 1, "a session counts it at its end");
}

#[test]
fn a_first_write_that_opens_nothing_and_an_opening_under_another_number_are_refused() {
    let mut replica = new_replica();
    let first = remote_delete(dot(50, 1), 60, "k");
    assert!(is_refused(apply(&mut replica, Remote::Next(first))));
    let info = origin(PEER, 50, &[]);
    let foreign = RemoteWrite { dot: dot(60, 1), ..opening(&info) };
    assert!(is_refused(apply(&mut replica, Remote::Row(foreign))));
    let write = opening(&info);
    apply(&mut replica, Remote::Row(write));
    let second = RemoteWrite { dot: dot(50, 2), ..opening(&info) };
    assert!(is_refused(apply(&mut replica, Remote::Next(second))));
    let deleted = RemoteWrite { change: NewContent::Delete, ..opening(&info) };
    let deleted = RemoteWrite { dot: dot(50, 2), ..deleted };
    assert!(is_refused(apply(&mut replica, Remote::Row(deleted))), "it is never deleted");
    let zero = OriginInfo { id: OriginId([0; 16]), ..origin(PEER, 70, &[]) };
    let zero = opening(&zero);
    assert!(is_refused(apply(&mut replica, Remote::Row(zero))));
    assert_eq!(replica.view().registry().len(), 1);
}

#[test]
fn writes_under_the_open_origins_of_a_process_that_it_has_not_made_are_refused() {
    let mut replica = new_replica();
    make(&mut replica, create()).unwrap();
    let [own, large] = replica.origins().unwrap();
    let next = replica.view().vector().get(own) + 1;
    let forged = remote_delete(Dot { origin: own, seq: next }, 1 << 40, "k");
    assert!(is_refused(apply(&mut replica, Remote::Next(forged))));
    let before = replica.view().vector().clone();
    let ahead: VersionVector = [Dot { origin: large, seq: 9 }].into_iter().collect();
    let nothing = VersionVector::default();
    for (vector, collected) in [(ahead.clone(), nothing.clone()), (nothing, ahead)] {
        assert!(is_refused(apply(&mut replica, adopt(vector, collected))));
    }
    assert_eq!(*replica.view().vector(), before);
    // The next process takes what a former one may have lost, like anybody's.
    let mut replica = restart(replica);
    make(&mut replica, delete("k")).unwrap();
    let lost = remote_delete(Dot { origin: own, seq: next }, 1 << 40, "lost");
    assert_eq!(apply(&mut replica, Remote::Next(lost)), Applied::Won { concurrent: false });
}

#[test]
fn a_vector_is_adopted_only_for_origins_whose_rows_are_here() {
    let mut replica = new_replica();
    let write = opening(&origin(PEER, 50, &[]));
    apply(&mut replica, Remote::Row(write));
    let vector: VersionVector = [dot(50, 7), dot(60, 9)].into_iter().collect();
    let collected: VersionVector = [dot(50, 3), dot(70, 9)].into_iter().collect();
    assert_eq!(apply(&mut replica, adopt(vector, collected)), Applied::Adopted);
    let view = replica.view();
    assert_eq!(view.vector().iter().collect::<Vec<_>>(), [dot(50, 7)]);
    assert_eq!(view.collected().iter().collect::<Vec<_>>(), [dot(50, 3)]);
}

#[test]
fn a_location_has_a_bounded_number_of_origins() {
    let mut replica = new_replica();
    let info = |number: u64| {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        OriginInfo { id: OriginId(id), partner: OriginId([8; 16]), ..origin(US, 50, &[]) }
    };
    let (mut taken, mut refused) = (0, 0);
    let all: Vec<_> = (0..MAX_MEMBER_ORIGINS as u64 + 2).map(info).collect();
    for some in all.chunks(4096) {
        let write = |info| Operation::Remote(Remote::Row(opening(info)));
        let operations = some.iter().map(write).collect();
        for result in replica.commit(1, operations).results {
            match result.unwrap() {
                Outcome::Applied(Applied::Won { .. }) => taken += 1,
                Outcome::Applied(Applied::Ignored) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((taken, refused), (MAX_MEMBER_ORIGINS, 2));
    assert_eq!(make(&mut replica, create()), Err(WriteError::TooManyOrigins));
}

#[test]
fn invented_origins_leave_the_members_their_share() {
    let mut replica = new_replica();
    for (member, name) in [(US, "us"), (PEER, "them")] {
        let addresses = vec!["a:1".to_owned()];
        make(&mut replica, Operation::PutMember { id: member, name: name.into(), addresses })
            .unwrap();
    }
    let id = |number: u64| {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        OriginId(id)
    };
    let of = |number: u64, member| OriginInfo {
        id: id(number),
        partner: OriginId([8; 16]),
        ..origin(member, 50, &[])
    };
    let invented =
        |number: u64| of(number, MemberId([u8::try_from(100 + number % 3).unwrap(); 16]));
    let mut taken = 0;
    let all: Vec<_> = (0..MAX_ORIGINS as u64).map(invented).collect();
    for some in all.chunks(8192) {
        let write = |info| Operation::Remote(Remote::Row(opening(info)));
        let results = replica.commit(1, some.iter().map(write).collect()).results;
        let is_taken =
            |result: &Result<_, _>| matches!(result, Ok(Outcome::Applied(Applied::Won { .. })));
        taken += results.iter().filter(|result| is_taken(result)).count();
    }
    assert_eq!(taken, MAX_ORIGINS / 2, "the other half belongs to the two members");
    let write = opening(&of(1 << 40, PEER));
    assert_eq!(apply(&mut replica, Remote::Row(write)), Applied::Won { concurrent: false });
    assert_eq!(apply(&mut replica, Remote::Row(opening(&invented(1 << 41)))), Applied::Ignored);
    let mut replica = restart(replica);
    make(&mut replica, create()).unwrap();
}

#[test]
fn a_rebuild_drops_what_its_source_has_not_and_ends_with_its_vectors() {
    let mut replica = new_replica();
    make(&mut replica, create()).unwrap();
    let Ok(Outcome::Written(kept)) = make(&mut replica, delete("kept")) else { panic!() };
    let operation = put(&replica, "gone", &[1; 9000]);
    let Ok(Outcome::Written(gone)) = make(&mut replica, operation) else { panic!() };
    let key = |key| Key::new(key).unwrap();
    let drop_row = |name, dot| Remote::DropRow { namespace: namespace(), key: key(name), dot };
    assert!(is_refused(apply(&mut replica, drop_row("gone", gone.dot))), "it does not rebuild");
    assert_eq!(apply(&mut replica, Remote::Rebuild), Applied::Rebuilding);
    let mut replica = restart(replica);
    assert!(replica.view().is_rebuilding(), "a restart does not end it");
    assert_eq!(apply(&mut replica, drop_row("gone", kept.dot)), Applied::Lost);
    assert_eq!(apply(&mut replica, drop_row("gone", gone.dot)), Applied::Removed);
    let view = replica.view();
    assert_eq!(view.row(namespace(), b"gone").unwrap(), None);
    assert!(!view.collected().covers(gone.dot), "its tombstone was collected elsewhere");
    let system = Remote::DropRow {
        namespace: NamespaceId::SYSTEM,
        key: Key::new(OriginInfo::key(gone.dot.origin)).unwrap(),
        dot: Dot { origin: gone.dot.origin, seq: 1 },
    };
    assert!(is_refused(apply(&mut replica, system)));
    let vector: VersionVector = [gone.dot].into_iter().collect();
    let collected = VersionVector::default();
    let rebuilt = Remote::Rebuilt { vector, collected, floor: Hlc::ZERO, damaged: Vec::new() };
    assert_eq!(apply(&mut replica, rebuilt), Applied::Adopted);
    let mut replica = restart(replica);
    let view = replica.view();
    assert!(!view.is_rebuilding());
    assert_eq!(
        view.row(namespace(), b"kept").unwrap().map(|found| found.state),
        Some(FoundState::Tombstone)
    );
}

#[test]
fn a_new_store_that_joins_rebuilds_and_an_existing_one_does_not() {
    let engine = Arc::new(RedbEngine::open(disk::memory(), 1 << 20).unwrap());
    assert!(open(engine, true).view().is_rebuilding());
    let replica = new_replica();
    let engine = Arc::clone(replica.engine());
    drop(replica);
    assert!(!open(engine, true).view().is_rebuilding());
}

#[test]
fn a_store_has_one_location_from_its_first_write_on() {
    let directory = tempfile::tempdir().unwrap();
    let open = |options: Options| options.open(directory.path());
    let store = open(Options::new().member(US)).unwrap();
    assert_eq!(store.member(), US);
    drop(store);
    assert_eq!(open(Options::new()).unwrap().member(), US);
    let error = open(Options::new().member(PEER)).unwrap_err();
    assert!(
        matches!(error, OpenError::Member { found: US, expected: PEER }),
        "{error}: what to do"
    );
    let error = open(Options::new().member(US).joining()).map(|store| store.view().is_rebuilding());
    assert!(!error.unwrap(), "it exists");
    let joined = open(Options::new().member(PEER).joining()).unwrap();
    assert_eq!(joined.member(), PEER, "nothing was ever written to it");
    assert!(joined.view().is_rebuilding());
    joined.create_namespace("t").unwrap();
    drop(joined);
    assert!(open(Options::new().member(US).joining()).is_err());
    let other = tempfile::tempdir().unwrap();
    let (store, random) = (Options::new().open(other.path()).unwrap(), US);
    assert_ne!(store.member(), random, "without a location it is a random one");
    assert_eq!(store.origins(), None);
    store.create_namespace("t").unwrap();
    assert!(store.origins().is_some());
}
