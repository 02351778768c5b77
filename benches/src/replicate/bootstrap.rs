//! A location that joins one with many entries, compared with applying the same batches locally.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use kv_core::{
    Options,
    commit::{Committer, Creation},
    engine::{
        disk::DataDir,
        redb::{RedbEngine, RedbSnapshot},
    },
    env::{Environment as _, SystemEnvironment},
    writer::{Now, Output, Step, WriterConfig, WriterCore},
};
use kv_replicate::{Event, How, MAX_BATCH_BYTES, ToApply, Work, replicator::Replicator};

use super::{NAMESPACE, VALUE_BYTES, set_up, verdict};
use crate::{Failure, fill, meter};

/// The cache of each store.
const CACHE: (&str, usize) = ("--cache=64MiB", 64 << 20);
/// The greatest number of rows in a batch, as sessions request it; the limit in bytes is reached
/// sooner.
const ROWS: usize = 4096;
/// How often the driver syncs applied rows.
const SYNC: Duration = Duration::from_millis(30);

/// Measures both, and the memory of both servers.
///
/// # Errors
/// If a server or a store fails.
pub fn run(directory: &Path, entries: u64) -> Result<(), Failure> {
    let mut cluster = set_up(directory, None, &[CACHE.0])?;
    let data = cluster.locations()[0].data();
    let store = Options::new().replicated(true).cache_bytes(CACHE.1).open(&data)?;
    let namespace = store.create_namespace(NAMESPACE)?;
    fill::put_all(&store, namespace.id, entries, VALUE_BYTES)?;
    store.close()?;
    drop(store);

    let on_disk = size_of(&data)?;
    let Locally { applying, reading } = apply_locally(&data, &directory.join("locally"))?;
    cluster.start_first(NAMESPACE);
    meter::forget_peak(cluster.locations()[0].server().pid())?;
    let clock = SystemEnvironment::new();
    cluster.join();
    let joined = clock.monotonic();

    let rate = |took: Duration| entries as f64 / took.as_secs_f64();
    println!("\nbootstrap of {entries} entries of 1 KiB, on loopback; load {}\n", meter::load());
    println!("| | entries/s | s |\n|---|---|---|");
    let sides = [
        ("a location joins", joined),
        ("the same batches applied locally", applying),
        ("read and applied locally, in turns", reading + applying),
    ];
    for (what, took) in sides {
        println!("| {what} | {:.0} | {:.1} |", rate(took), took.as_secs_f64());
    }
    println!(
        "\non the disk: {:.0} B an entry, keys of {} B",
        on_disk as f64 / entries as f64,
        crate::data::KEY_BYTES
    );
    let ratio = rate(joined) / rate(applying);
    println!("\njoined / applied locally = {ratio:.2}: at least 0.7x {}", verdict(ratio >= 0.7));
    for (what, location) in ["source", "joining member"].iter().zip(cluster.locations()) {
        let memory = meter::memory(location.server().pid())?;
        let [own, peak] = [memory.anonymous, memory.peak].map(|bytes| bytes >> 20);
        println!(
            "memory of the {what}: peak {peak} MiB (own {own} MiB now): below 200 MiB {}",
            verdict(peak < 200)
        );
    }
    Ok(())
}

/// The duration of each step.
struct Locally {
    applying: Duration,
    reading: Duration,
}

/// Reads all rows of a store in batches like a session, and applies them to another store, in turns
/// in one thread.
fn apply_locally(from: &Path, to: &Path) -> Result<Locally, Failure> {
    let clock = SystemEnvironment::new();
    let (source, mut target) = (open(from, &clock)?, open(to, &clock)?);
    let since = replicator(&target)?.state().durable.clone();
    let source = replicator(&source)?.durable().ok_or("the source has no view")?;
    let (mut after, mut synced) = (None, Duration::ZERO);
    let mut reading = Duration::ZERO;
    loop {
        let began = clock.monotonic();
        let (id, limit, bytes) = (1, ROWS, MAX_BATCH_BYTES);
        let (known, pin) = (None, None);
        let read =
            Work::Read { id, since: since.clone(), after, limit, bytes, is_new: true, known, pin };
        let Some(Event::Read { result: Ok(batch), .. }) = source.read(read) else {
            return Err("a batch can't be read".into());
        };
        reading += clock.monotonic() - began;
        let rows = batch.rows.into_iter().map(|row| ToApply { row, how: How::Row, fetch: None });
        let basis = Some(batch.vector.clone().into());
        let rows = rows.collect();
        apply(&mut target, &clock, Work::Apply { id, epoch: 0, rows, basis })?;
        after = batch.next;
        if after.is_none() {
            let (vector, collected, floor) = (batch.vector, batch.collected, batch.floor);
            let damaged = Vec::new();
            let resolved_by_most = floor;
            let adopt =
                Work::Adopt { id, epoch: 0, vector, collected, floor, resolved_by_most, damaged };
            apply(&mut target, &clock, adopt)?;
            step(&mut target, &clock, Step::Sync)?;
            return Ok(Locally { applying: clock.monotonic() - reading, reading });
        }
        if clock.monotonic() - synced > SYNC {
            step(&mut target, &clock, Step::Sync)?;
            synced = clock.monotonic();
        }
    }
}

/// A store without threads, and the replicator that applies to it.
type Writer = WriterCore<RedbEngine, (), Replicator<RedbSnapshot>>;

fn replicator(writer: &Writer) -> Result<&Replicator<RedbSnapshot>, Failure> {
    writer.replicator().ok_or_else(|| "nothing replicates the store".into())
}

fn step(writer: &mut Writer, clock: &SystemEnvironment, step: Step) -> Result<(), Failure> {
    writer.run(Now { mono: clock.monotonic(), wall_ms: clock.now_ms() }, step);
    while let Some(output) = writer.poll_output() {
        if let Output::Synced(result) = output {
            result?;
        }
    }
    Ok(())
}

fn apply(writer: &mut Writer, clock: &SystemEnvironment, work: Work) -> Result<(), Failure> {
    let replicator = |writer: &mut Writer| writer.replicator_mut().map(Replicator::poll_event);
    while replicator(writer).flatten().is_some() {}
    if let Some(replicator) = writer.replicator_mut() {
        replicator.push(work);
    }
    step(writer, clock, Step::Turn)?;
    match replicator(writer).flatten() {
        Some(Event::Applied { results: Some(_), .. }) => Ok(()),
        other => Err(format!("a batch was not applied: {other:?}").into()),
    }
}

/// The bytes of a directory's files.
fn size_of(directory: &Path) -> io::Result<u64> {
    let files = fs::read_dir(directory)?.map(|file| file.and_then(|file| file.metadata()));
    files.map(|file| file.map(|file| file.len())).sum()
}

fn open(path: &Path, clock: &SystemEnvironment) -> Result<Writer, Failure> {
    let engine = RedbEngine::open(Arc::new(DataDir::open(path)?), CACHE.1)?;
    let clock_of_ids = *clock;
    let random = move || clock_of_ids.random_id();
    let committer = Committer::open(Arc::new(engine), Creation::default(), random)?;
    let mut writer = WriterCore::new(committer, WriterConfig::default(), clock.monotonic());
    writer.replicate(Some(Replicator::default()));
    step(&mut writer, clock, Step::Sync)?;
    Ok(writer)
}
