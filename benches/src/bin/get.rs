//! A get from the library compared with the same read from redb by hand, in one thread.
//!
//! The sides read two copies, made the same way, of the file that the library wrote: the same rows
//! in the same pages, equally cached by the system. The hand-written side copies the row and checks
//! nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use kv_core::{Body, Durability, NamespaceId, Options, Store};
use redb::{ReadOnlyTable, ReadableDatabase, TableDefinition};
use waypost_benches::{
    Failure, Scratch,
    data::{self, Random},
    fill,
    meter::Stopwatch,
    read_through,
    rounds::{CPU, Sample, Side, Target, WALL, alternate},
};

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// Gets: the library compared with hand-written reads from redb.
#[derive(Parser)]
struct Arguments {
    /// Number of keys in the store.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Length of the values in bytes.
    #[arg(long, default_value_t = 1024)]
    value: usize,
    /// Sizes of the cache, in MiB.
    #[arg(long, value_delimiter = ',', default_value = "64,3072")]
    cache: Vec<usize>,
    /// Rounds of each side.
    #[arg(long, default_value_t = 7)]
    rounds: u64,
    /// Reads in a round.
    #[arg(long, default_value_t = 300_000)]
    reads: u64,
    /// Directory for the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let scratch = Scratch::new(arguments.dir.clone())?;
    let directory = scratch.join("store");
    let copy = scratch.join("copy.redb");
    let namespace = load(&directory, &arguments)?;
    let file = directory.join("waypost.redb");
    fs::rename(&file, scratch.join("loaded.redb"))?;
    fs::copy(scratch.join("loaded.redb"), &file)?;
    fs::copy(scratch.join("loaded.redb"), &copy)?;
    let files = [file, copy];
    for cache in &arguments.cache {
        compare(&files, namespace, &arguments, *cache)?;
    }
    Ok(())
}

/// Fills a store through the library.
fn load(directory: &Path, arguments: &Arguments) -> Result<NamespaceId, Failure> {
    let relaxed = Durability::Relaxed { within: Duration::from_millis(500) };
    let store = Options::new().cache_bytes(1 << 30).durability(relaxed).open(directory)?;
    let namespace = store.create_namespace("bench")?.id;
    fill::put_all(&store, namespace, arguments.keys, arguments.value)?;
    store.close()?;
    Ok(namespace)
}

/// Compares the sides with a cache of `cache` MiB. The library reads the first file, and redb the second.
fn compare(
    files: &[PathBuf; 2],
    namespace: NamespaceId,
    arguments: &Arguments,
    cache: usize,
) -> Result<(), Failure> {
    let Arguments { keys, value, reads, rounds, .. } = *arguments;
    let directory = files[0].parent().ok_or("a store's file is in a directory")?;
    let store = Options::new().cache_bytes(cache << 20).open(directory)?;
    let by_hand = redb::Database::builder().set_cache_size(cache << 20).open(&files[1])?;
    let held = by_hand.begin_read()?.open_table(ENTRIES)?;
    let library = |n| library(&store, namespace, n, value);
    let own_transaction = |n| from_table(&by_hand.begin_read()?.open_table(ENTRIES)?, namespace, n);
    let held_table = |n| from_table(&held, namespace, n);
    // The caches are warm before a round.
    let library_side = |round| {
        read_through(&files[0])?;
        read_at_random(round, reads, keys, library)
    };
    let own_side = |round| {
        read_through(&files[1])?;
        read_at_random(round, reads, keys, own_transaction)
    };
    let held_side = |round| {
        read_through(&files[1])?;
        read_at_random(round, reads, keys, held_table)
    };
    read_at_random(u64::MAX, keys * 2, keys, library)?;
    read_at_random(u64::MAX, keys * 2, keys, held_table)?;
    let rounds = alternate(
        rounds,
        vec![
            Side::new("library", library_side),
            Side::new("redb, a transaction each", own_side),
            Side::new("redb, table held open", held_side),
        ],
    )?;
    rounds.print(&format!("get of {value} B among {keys} keys, cache {cache} MiB"), &[CPU, WALL]);
    rounds.compare(0, 1, CPU, Target::AtMost(1.3));
    rounds.compare(0, 2, CPU, Target::Report);
    Ok(())
}

/// Reads random keys, and checks the length and the first bytes of each value.
fn read_at_random(
    seed: u64,
    reads: u64,
    keys: u64,
    read: impl Fn(u64) -> Result<(), Failure>,
) -> Result<Sample, Failure> {
    let mut random = Random::new(seed);
    let watch = Stopwatch::own()?;
    for _ in 0..reads {
        read(random.between(0, keys))?;
    }
    Ok(Sample { operations: reads, cpu: watch.cpu()?, wall: watch.wall() })
}

fn library(store: &Store, namespace: NamespaceId, n: u64, len: usize) -> Result<(), Failure> {
    let entry = store.get(namespace, data::key(n))?.ok_or("a key is missing")?;
    match entry.body {
        Body::Inline(value) if value.len() == len && value.starts_with(&n.to_be_bytes()) => Ok(()),
        Body::Inline(_) => Err("the value is wrong".into()),
        Body::Large(mut reader) => {
            while let Some(chunk) = reader.next_chunk()? {
                std::hint::black_box(chunk);
            }
            Ok(())
        }
    }
}

fn from_table(
    table: &ReadOnlyTable<&[u8], &[u8]>,
    namespace: NamespaceId,
    n: u64,
) -> Result<(), Failure> {
    let mut key = [0; 16 + data::KEY_BYTES];
    key[..16].copy_from_slice(&namespace.0);
    key[16..].copy_from_slice(&data::key(n));
    let row = table.get(&key[..])?.ok_or("a key is missing")?;
    std::hint::black_box(row.value().to_vec());
    Ok(())
}
