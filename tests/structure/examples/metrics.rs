//! Prints the circles and the counts of the shipped crates: for each crate, and for all.
//!
//! `cargo run -p waypost-structure-tests --example metrics [--list]`; `--list` names what was counted.

use waypost_structure_tests::metrics::Metrics;
use waypost_structure_tests::{CRATES, circles, repository, resolve, source};

fn main() -> Result<(), source::Failure> {
    let list = std::env::args().any(|argument| argument == "--list");
    let mut all = Metrics::default();
    for name in CRATES {
        let read = source::read(&repository(), name)?;
        let edges = resolve::edges(&read);
        let (files, folders) =
            (circles::of_files(&read, &edges), circles::of_folders(&read, &edges));
        let largest = files.iter().map(|circle| circle.nodes.len()).max().unwrap_or(0);
        let metrics = Metrics::of(&read);
        println!("== {name}: {} files", read.files.len());
        println!("{:<40}{}", "circles between folders", folders.len());
        println!("{:<40}{largest}", "files in the largest circle");
        if let Some(largest) = metrics.structs.iter().max_by_key(|found| found.fields) {
            let (path, struct_name) = &largest.place;
            println!(
                "{:<40}{} ({struct_name} in {path})",
                "most fields of a struct", largest.fields
            );
        }
        println!("{metrics}");
        if list {
            folders.iter().for_each(|circle| print!("{circle}"));
            files.iter().for_each(|circle| print!("{circle}"));
        }
        all.add(metrics);
    }
    println!("== all\n{all}");
    if list {
        let named = [
            &all.long_files,
            &all.string_errors,
            &all.private_string_errors,
            &all.long_functions,
            &all.many_arguments,
            &all.deep_functions,
        ];
        named.iter().for_each(|names| println!("{}\n", names.join("\n")));
    }
    Ok(())
}
