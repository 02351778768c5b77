//! The structure of the shipped crates: no circle between folders, none of more than three files, and the
//! bounds of CONTRIBUTING.md on sizes and documentation.
//!
//! `cargo run -p waypost-structure-tests --example metrics -- --list` prints the figures and all circles.

use waypost_structure_tests::circles::{self, Circle};
use waypost_structure_tests::metrics::Metrics;
use waypost_structure_tests::{CRATES, repository, resolve, source};

/// The most files in a circle.
const CIRCLE_FILES: usize = 3;
/// The most files of more than 400 lines.
const LONG_FILES: usize = 6;
/// The least lines of documentation for each 100 lines of code.
const DOCUMENTATION_PERCENT: usize = 25;
/// The most functions that return `Result<_, String>`, private ones included.
const STRING_ERRORS: usize = 0;
/// The most functions of more than 70 lines.
const LONG_FUNCTIONS: usize = 0;
/// The most functions of more than five arguments, apart from implementations of traits.
const MANY_ARGUMENTS: usize = 0;
/// The most functions with blocks nested deeper than three.
const DEEP_FUNCTIONS: usize = 0;
/// The most fields of a struct in the core of kv-replicate.
const CORE_FIELDS: usize = 10;

fn report(circles: &[Circle]) -> String {
    circles.iter().map(ToString::to_string).collect()
}

#[test]
fn no_circle_between_folders() {
    let mut found = Vec::new();
    for name in CRATES {
        let read = source::read(&repository(), name).expect("the crate can be read");
        found.extend(circles::of_folders(&read, &resolve::edges(&read)));
    }
    assert!(found.is_empty(), "circles between folders:\n{}", report(&found));
}

#[test]
fn no_circle_of_more_than_three_files() {
    let mut found = Vec::new();
    for name in CRATES {
        let read = source::read(&repository(), name).expect("the crate can be read");
        found.extend(circles::of_files(&read, &resolve::edges(&read)));
    }
    found.retain(|circle| circle.nodes.len() > CIRCLE_FILES);
    assert!(found.is_empty(), "circles of more than {CIRCLE_FILES} files:\n{}", report(&found));
}

#[test]
fn sizes_and_documentation_are_within_bounds() {
    let mut all = Metrics::default();
    for name in CRATES {
        let read = source::read(&repository(), name).expect("the crate can be read");
        all.add(Metrics::of(&read));
    }
    let bounds = [
        ("files over 400 lines", &all.long_files, LONG_FILES),
        ("public functions -> Result<_, String>", &all.string_errors, STRING_ERRORS),
        ("private functions -> Result<_, String>", &all.private_string_errors, STRING_ERRORS),
        ("functions over 70 lines", &all.long_functions, LONG_FUNCTIONS),
        ("functions over 5 arguments", &all.many_arguments, MANY_ARGUMENTS),
        ("functions nested over 3", &all.deep_functions, DEEP_FUNCTIONS),
    ];
    for (what, found, most) in bounds {
        assert!(found.len() <= most, "{what}: at most {most}, found:\n{}", found.join("\n"));
    }
    let percent = all.documentation_percent();
    assert!(
        percent >= DOCUMENTATION_PERCENT,
        "{percent} lines of documentation for each 100 lines of code, at least {DOCUMENTATION_PERCENT}"
    );
}

#[test]
fn the_structs_in_the_core_of_replication_have_few_fields() {
    let read = source::read(&repository(), "kv-replicate").expect("the crate can be read");
    let metrics = Metrics::of(&read);
    // `Machines` is the list of the machines, with a field for each and no state of its own.
    let largest = metrics.largest_struct("kv-replicate/src/core", "Machines");
    let largest = largest.expect("there are structs");
    assert!(largest.fields <= CORE_FIELDS, "at most {CORE_FIELDS} fields: {largest:?}");
}

/// The fixture has a trait whose method has six arguments, and an implementation of it.
#[test]
fn arguments_count_where_a_function_chooses_them() {
    let here = repository().join("tests/structure");
    let read = source::read(&here, "fixture").expect("the fixture can be read");
    assert_eq!(Metrics::of(&read).many_arguments, ["fixture/src/alone.rs:6 wide (6 arguments)"]);
}

/// The fixture has a lower file that uses an upper one through a re-export, a submodule that uses its
/// parent, and a circle in tests only.
#[test]
fn a_circle_is_found_through_re_exports_and_named_by_its_ties() {
    let here = repository().join("tests/structure");
    let read = source::read(&here, "fixture").expect("the fixture can be read");
    let edges = resolve::edges(&read);
    let folders = circles::of_folders(&read, &edges);
    assert_eq!(
        report(&folders),
        "fixture: 2 in a circle: lower, upper\n    \
         lower uses Roof of upper\n    \
         upper uses Floor of lower\n"
    );
    let files = circles::of_files(&read, &edges);
    let names = |circle: &Circle| -> Vec<String> {
        let names = circle.nodes.iter().filter_map(|path| path.rsplit('/').next());
        names.map(String::from).collect()
    };
    let files: Vec<Vec<String>> = files.iter().map(names).collect();
    assert_eq!(files, [["lower.rs", "upper.rs", "part.rs"]]);
}
