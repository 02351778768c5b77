//! Lists of 1,000 keys: with values of several lengths, and after tombstones.

use std::path::PathBuf;

use clap::Parser;
use kv_core::{ListQuery, NamespaceId, Options, Page, Store};
use waypost_benches::{
    Failure, Scratch, data, fill,
    meter::Stopwatch,
    rounds::{CPU, Sample, Side, Target, WALL, alternate},
};

/// Lists: with values of several lengths, and after tombstones.
#[derive(Parser)]
struct Arguments {
    /// Lengths of the values in bytes. The others are compared with the first one.
    #[arg(long, value_delimiter = ',', default_value = "10,1024,3584,1048576")]
    values: Vec<usize>,
    /// Number of tombstones before the keys.
    #[arg(long, default_value_t = 1_000_000)]
    tombstones: u64,
    /// Cache in MiB.
    #[arg(long, default_value_t = 64)]
    cache: usize,
    /// Rounds of each side.
    #[arg(long, default_value_t = 7)]
    rounds: u64,
    /// Lists in a round.
    #[arg(long, default_value_t = 200)]
    lists: u64,
    /// Directory for the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The number of keys in each namespace: as many as a page holds.
const KEYS: u64 = 1000;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let scratch = Scratch::new(arguments.dir.clone())?;
    let lengths = arguments.values.iter();
    // A store that may have peers keeps its tombstones until these have them.
    let options = Options::new().cache_bytes(arguments.cache << 20).replicated(true);
    let store = options.open(scratch.join("store"))?;
    let namespaces = lengths
        .map(|length| {
            let namespace = store.create_namespace(&format!("values of {length}"))?.id;
            fill::put_all(&store, namespace, KEYS, *length)?;
            Ok((namespace, *length))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    compare_lengths(&store, &namespaces, &arguments)?;

    let plain = store.create_namespace("plain")?.id;
    fill::put_all(&store, plain, KEYS, 10)?;
    let tombstones_namespace = store.create_namespace("behind tombstones")?.id;
    fill::delete_all(&store, tombstones_namespace, arguments.tombstones)?;
    for n in 0..KEYS {
        // Greater than all keys of `data::key`.
        store.put(tombstones_namespace, [b"zzz:", &data::key(n)[..]].concat(), "0123456789")?;
    }
    compare_tombstones(&store, plain, tombstones_namespace, &arguments)
}

fn compare_lengths(
    store: &Store,
    namespaces: &[(NamespaceId, usize)],
    arguments: &Arguments,
) -> Result<(), Failure> {
    let side = |(namespace, length): &(NamespaceId, usize)| {
        let namespace = *namespace;
        Side::new(format!("values of {length} B"), move |_| {
            list_often(store, namespace, arguments.lists)
        })
    };
    let rounds = alternate(arguments.rounds, namespaces.iter().map(side).collect())?;
    let title = format!("list of {KEYS} keys, cache {} MiB", arguments.cache);
    rounds.print(&title, &[CPU, WALL]);
    for (index, (_, length)) in namespaces.iter().enumerate().skip(1) {
        // Values that are too long for their rows must not slow a list down. Shorter ones are in
        // the pages that the list reads.
        let is_large = *length > kv_core::limits::MAX_INLINE_BYTES;
        let target = if is_large { Target::AtMost(1.2) } else { Target::Report };
        rounds.compare(index, 0, CPU, target);
    }
    Ok(())
}

fn compare_tombstones(
    store: &Store,
    plain: NamespaceId,
    tombstones_namespace: NamespaceId,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let rounds = alternate(
        arguments.rounds.min(5),
        vec![
            Side::new("no tombstones", |_| list_often(store, plain, arguments.lists)),
            Side::new(format!("behind {} tombstones", arguments.tombstones), |_| {
                list_often(store, tombstones_namespace, arguments.lists)
            }),
        ],
    )?;
    rounds.print(&format!("list of {KEYS} keys, cache {} MiB", arguments.cache), &[CPU, WALL]);
    rounds.compare(1, 0, CPU, Target::AtMost(2.0));
    Ok(())
}

fn list_often(store: &Store, namespace: NamespaceId, lists: u64) -> Result<Sample, Failure> {
    let watch = Stopwatch::own()?;
    for _ in 0..lists {
        let Page { entries, .. } = store.list(namespace, &ListQuery::default())?;
        if entries.len() as u64 != KEYS {
            return Err(format!("the list has {} keys", entries.len()).into());
        }
    }
    Ok(Sample { operations: lists, cpu: watch.cpu()?, wall: watch.wall() })
}
