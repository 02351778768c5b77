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
/// The least lines of documentation for each 100 lines of code. It must become 25.
const DOCUMENTATION_PERCENT: usize = 20;
/// The most public functions that return `Result<_, String>`. It must become 0.
const STRING_ERRORS: usize = 10;
/// The most functions of more than 70 lines. It must become 0.
const LONG_FUNCTIONS: usize = 2;
/// The most functions of more than five arguments; one implements a trait of another crate. It must
/// become 1.
const MANY_ARGUMENTS: usize = 5;
/// The most functions with blocks nested deeper than three. It must become 0.
const DEEP_FUNCTIONS: usize = 4;

/// The circles between folders that are still allowed. This list must become empty. A circle may shrink:
/// it is allowed if it lies within one of these.
const ALLOWED_FOLDERS: &[&[&str]] = &[
    &[
        "kv-core/body",
        "kv-core/changes",
        "kv-core/commit",
        "kv-core/engine",
        "kv-core/entry",
        "kv-core/error",
        "kv-core/local",
        "kv-core/operation",
        "kv-core/record",
        "kv-core/schema",
        "kv-core/view",
    ],
    &["kv-core/options", "kv-core/store", "kv-core/writer"],
    &["kv-core/engine/disk", "kv-core/engine/redb"],
    &["kv-replicate/backlog", "kv-replicate/core", "kv-replicate/link", "kv-replicate/wire"],
    &[
        "kv-replicate/quic/accept",
        "kv-replicate/quic/dial",
        "kv-replicate/quic/driver",
        "kv-replicate/quic/frame",
        "kv-replicate/quic/link",
    ],
    &[
        "server/api",
        "server/app",
        "server/config",
        "server/connection",
        "server/metrics",
        "server/rate_limits",
        "server/router",
    ],
];

/// The circles of more than three files that are still allowed. This list must become empty.
const ALLOWED_FILES: &[&[&str]] = &[
    &[
        "kv-core/src/body.rs",
        "kv-core/src/changes.rs",
        "kv-core/src/commit.rs",
        "kv-core/src/commit/state.rs",
        "kv-core/src/commit/transaction.rs",
        "kv-core/src/engine.rs",
        "kv-core/src/entry.rs",
        "kv-core/src/error.rs",
        "kv-core/src/local.rs",
        "kv-core/src/operation.rs",
        "kv-core/src/record.rs",
        "kv-core/src/schema.rs",
        "kv-core/src/view.rs",
    ],
    &[
        "kv-core/src/engine/disk.rs",
        "kv-core/src/engine/redb.rs",
        "kv-core/src/engine/redb/file.rs",
        "kv-core/src/engine/redb/snapshot.rs",
    ],
    &[
        "kv-replicate/src/backlog.rs",
        "kv-replicate/src/core.rs",
        "kv-replicate/src/core/fetch.rs",
        "kv-replicate/src/core/lag.rs",
        "kv-replicate/src/core/live.rs",
        "kv-replicate/src/core/members.rs",
        "kv-replicate/src/core/stable.rs",
        "kv-replicate/src/core/verify.rs",
        "kv-replicate/src/core/verify/serve.rs",
        "kv-replicate/src/link.rs",
        "kv-replicate/src/wire.rs",
        "kv-replicate/src/wire/decode.rs",
        "kv-replicate/src/wire/encode.rs",
        "kv-replicate/src/wire/inspect.rs",
    ],
    &[
        "kv-replicate/src/quic.rs",
        "kv-replicate/src/quic/accept.rs",
        "kv-replicate/src/quic/dial.rs",
        "kv-replicate/src/quic/driver.rs",
        "kv-replicate/src/quic/driver/links.rs",
        "kv-replicate/src/quic/frame.rs",
        "kv-replicate/src/quic/link.rs",
        "kv-replicate/src/quic/socket.rs",
        "kv-replicate/src/quic/store.rs",
        "kv-replicate/src/quic/tls.rs",
    ],
    &[
        "server/src/api/binding.rs",
        "server/src/api/binding/get.rs",
        "server/src/api/binding/put.rs",
        "server/src/api/cluster.rs",
        "server/src/api/cluster/alarms.rs",
        "server/src/api/limit.rs",
        "server/src/api/limit/check.rs",
        "server/src/api/namespaces.rs",
        "server/src/api/operations.rs",
        "server/src/api/rls.rs",
        "server/src/api/rls/build.rs",
        "server/src/api/rls/decide.rs",
        "server/src/api/rls/grpc.rs",
        "server/src/app.rs",
        "server/src/config.rs",
        "server/src/config/limit.rs",
        "server/src/config/rls.rs",
        "server/src/config/settings.rs",
        "server/src/connection.rs",
        "server/src/connection/answer.rs",
        "server/src/connection/watch.rs",
        "server/src/rate_limits.rs",
        "server/src/router.rs",
    ],
    &[
        "server/src/demo.rs",
        "server/src/demo/authority.rs",
        "server/src/demo/place.rs",
        "server/src/demo/screen.rs",
        "server/src/demo/step.rs",
        "server/src/demo/story.rs",
    ],
    &[
        "server/src/metrics.rs",
        "server/src/metrics/cluster.rs",
        "server/src/metrics/limits.rs",
        "server/src/metrics/rls.rs",
    ],
];

fn is_allowed(nodes: &[String], allowed: &[&[&str]]) -> bool {
    allowed.iter().any(|allowed| nodes.iter().all(|node| allowed.contains(&node.as_str())))
}

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
    found.retain(|circle| {
        let nodes: Vec<String> =
            circle.nodes.iter().map(|node| format!("{}/{node}", circle.place)).collect();
        !is_allowed(&nodes, ALLOWED_FOLDERS)
    });
    assert!(found.is_empty(), "new circles between folders:\n{}", report(&found));
}

#[test]
fn no_circle_of_more_than_three_files() {
    let mut found = Vec::new();
    for name in CRATES {
        let read = source::read(&repository(), name).expect("the crate can be read");
        found.extend(circles::of_files(&read, &resolve::edges(&read)));
    }
    found.retain(|circle| {
        let nodes: Vec<String> = circle.nodes.iter().cloned().collect();
        nodes.len() > CIRCLE_FILES && !is_allowed(&nodes, ALLOWED_FILES)
    });
    assert!(found.is_empty(), "new circles of files:\n{}", report(&found));
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
