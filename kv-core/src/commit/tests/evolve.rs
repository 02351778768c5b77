//! Formats that another version of the program left in a store.

use super::*;
use crate::{
    commit::{Formats, Program, Step},
    tables::FormatBy,
    types::SoftwareVersion,
};

fn version(text: &str) -> SoftwareVersion {
    SoftwareVersion::new(text).unwrap()
}

fn reopen(
    store: Committer<RedbEngine>,
    program: Program,
) -> Result<Committer<RedbEngine>, OpenError> {
    let engine = Arc::clone(store.engine());
    drop(store);
    Committer::open_as(engine, Creation::default(), || Err(RandomError::default()), program)
}

/// The rows of a store of this format.
fn of_format(format: u32) -> Batch {
    let mut batch = Batch::new();
    tables::put::<Format>(&mut batch, &(), &format);
    tables::put::<FormatBy>(&mut batch, &(), &version("7.8.9"));
    batch
}

#[test]
fn a_store_of_a_newer_format_is_refused_with_the_version_that_is_needed() {
    let error = with_rows(new_store(), of_format(4)).err().unwrap();
    let needed = "this store has format 4, and this program reads format 3: start version 7.8.9, or a newer version";
    assert_eq!(error.to_string(), needed);
}

#[test]
fn a_store_of_a_newer_format_whose_program_is_unknown_is_refused_too() {
    let mut rows = of_format(4);
    rows[1].2 = None;
    let error = with_rows(new_store(), rows).err().unwrap();
    assert!(error.to_string().contains("start the program that wrote it"), "{error}");
}

#[test]
fn a_store_from_before_the_first_migration_is_refused_with_what_to_do() {
    let error = with_rows(new_store(), of_format(1)).err().unwrap();
    assert!(matches!(error, OpenError::OldFormat { found: 1, oldest: 2 }), "{error}");
    assert!(error.to_string().ends_with("begin with an empty data directory"), "{error}");
}

#[test]
fn a_new_store_names_the_program_that_gave_it_its_format() {
    let mut store = new_store();
    let by = tables::get::<FormatBy>(&store.view().snapshot, &()).unwrap();
    assert_eq!(by, Some(SoftwareVersion::of_this_program()));
}

#[test]
fn a_store_that_does_not_name_its_program_opens() {
    let row = (Table::Meta, FormatBy::key(&()), None);
    assert!(with_rows(new_store(), vec![row]).is_ok());
}

#[test]
fn a_store_is_unchanged_by_a_migration_that_stands_still() {
    static CHAIN: [Step; 1] = [Step {
        from: 3,
        slice: |_, _| Ok(crate::commit::Slice { batch: Batch::new(), next: Some(Vec::new()) }),
    }];
    let program = Program { formats: Formats { newest: 4, chain: &CHAIN }, ..Program::default() };
    let mut store = new_store();
    store.commit(1, vec![create("t")]);
    let engine = Arc::clone(store.engine());
    let error = reopen(store, program).err().unwrap();
    assert!(matches!(error, OpenError::Corrupt(_)), "{error}");
    let mut store =
        Committer::open(engine, Creation::default(), || Err(RandomError::default())).unwrap();
    assert_eq!(store.view().namespaces().iter().count(), 1);
}
