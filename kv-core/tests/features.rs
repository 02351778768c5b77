//! Features that all members of a cluster have, and programs that lack them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use kv_core::{
    Features, Hlc, Member, MemberId, NamespaceId, OpenError, Operation, Software, SoftwareVersion,
    Table, VersionVector,
    commit::{Committer, Creation, Program, Remote},
    engine::{Engine as _, disk, redb::RedbEngine},
};

type Store = Committer<RedbEngine>;

/// A bit that no program has.
const TEST: Features = Features::from_bits(1 << 63);

fn version(text: &str) -> SoftwareVersion {
    SoftwareVersion::new(text).unwrap()
}

fn engine() -> Arc<RedbEngine> {
    Arc::new(RedbEngine::open(disk::memory(), 1 << 20).unwrap())
}

/// Opens the store of an engine, or creates it.
fn open(engine: Arc<RedbEngine>, program: Program) -> Result<Store, OpenError> {
    let mut ids = u8::try_from(engine.status().latest).unwrap() * 10 + 1..;
    Committer::open_as(engine, Creation::default(), move || Ok([ids.next().unwrap(); 16]), program)
}

fn member(id: u8, features: Features) -> [Operation; 2] {
    let id = MemberId([id; 16]);
    let software = Software::new(version("1.2.3"), (2, 2), features).unwrap();
    let (name, addresses) = (format!("place {id}"), Vec::new());
    [Operation::PutMember { id, name, addresses }, Operation::PutSoftware { id, software }]
}

/// A store of a program with the test's feature, whose two members have these features.
fn cluster(features: [Features; 2]) -> (Store, Program) {
    let program = Program { version: version("1.2.3"), features: TEST, ..Program::default() };
    let mut store = open(engine(), program.clone()).unwrap();
    let operations = (11..).zip(features).flat_map(|(id, features)| member(id, features));
    let committed = store.commit(1, operations.collect());
    assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
    (store, program)
}

#[test]
fn a_program_that_lacks_a_feature_in_use_does_not_open_the_store_and_names_it() {
    let (mut store, program) = cluster([TEST, TEST]);
    assert_eq!(store.view().features().set(), TEST);
    let engine = Arc::clone(store.engine());
    drop(store);
    let older = Program { version: version("1.1.0"), ..Program::default() };
    let error = open(Arc::clone(&engine), older).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the cluster of this store uses feature 63 (version 1.2.3), and this program, version 1.1.0, does not have that: \
         start the version that is named, or a newer one"
    );
    let mut store = open(engine, program).unwrap();
    assert_eq!(store.view().features().set(), TEST, "it is in use after a restart");
}

#[test]
fn a_feature_that_one_member_lacks_is_not_in_use_until_that_member_has_it() {
    let (mut store, _) = cluster([TEST, Features::NONE]);
    assert!(store.view().features().set().is_empty());
    store.commit(2, member(12, TEST).into());
    assert_eq!(store.view().features().set(), TEST);
    store.commit(3, member(13, Features::NONE).into());
    assert_eq!(store.view().features().set(), TEST, "a feature stays in use");
}

#[test]
fn a_feature_does_not_come_into_use_while_the_row_of_a_member_is_damaged() {
    let (store, program) = cluster([TEST, Features::NONE]);
    let engine = Arc::clone(store.engine());
    drop(store);
    let id = MemberId([12; 16]);
    let key = [&NamespaceId::SYSTEM.0[..], &Member::key(id)].concat();
    let damaged = (Table::Entries, key, Some(vec![7; 40]));
    engine.commit(engine.status().latest + 1, vec![damaged]).unwrap();
    let mut store = open(engine, program).unwrap();
    assert!(store.view().members().get(id).is_none(), "its row can't be read");
    let committed = store.commit(2, member(13, TEST).into());
    assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
    assert!(store.view().features().set().is_empty(), "that member may lack it");
}

#[test]
fn a_feature_does_not_come_into_use_before_a_store_that_joins_has_all_member_rows() {
    let (mut store, _) = cluster([TEST, Features::NONE]);
    store.commit(2, vec![Operation::Remote(Remote::Rebuild)]);
    let committed = store.commit(3, member(12, TEST).into());
    assert!(committed.results.iter().all(Result::is_ok), "{:?}", committed.results);
    assert!(store.view().features().set().is_empty(), "rows of other members may follow");
    let (vector, collected) = (store.view().vector().clone(), VersionVector::default());
    let rebuilt = Remote::Rebuilt { vector, collected, floor: Hlc::ZERO, damaged: Vec::new() };
    store.commit(4, vec![Operation::Remote(rebuilt)]);
    assert!(!store.view().is_rebuilding());
    assert_eq!(store.view().features().set(), TEST);
}

#[test]
fn a_name_and_a_program_of_a_member_change_independently() {
    let (mut store, _) = cluster([TEST, TEST]);
    let id = MemberId([11; 16]);
    let renamed = Operation::PutMember { id, name: "renamed".into(), addresses: Vec::new() };
    store.commit(2, vec![renamed]);
    let view = store.view();
    let member = view.members().get(id).unwrap();
    assert_eq!(member.name, "renamed");
    assert_eq!(member.software.as_ref().unwrap().features, TEST);
    let again = store.commit(3, member_software(id));
    assert!(again.writes.is_empty(), "the same program causes no write");
    let unknown = store.commit(4, member_software(MemberId([77; 16])));
    assert!(unknown.results[0].is_err());
}

fn member_software(id: MemberId) -> Vec<Operation> {
    let software = Software::new(version("1.2.3"), (2, 2), TEST).unwrap();
    vec![Operation::PutSoftware { id, software }]
}
