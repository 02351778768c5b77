//! Durable puts with several numbers of callers: the library, a hand-written group commit, and a
//! Redis that syncs each write.
//!
//! The hand-written one has a queue, and one thread that commits and syncs all waiting puts in one
//! redb transaction and then acknowledges them. It writes the same rows with the same number of
//! bytes as the library, and nothing else: no clock, no checksums, no read of old values.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use clap::Parser;
use kv_core::{Attributes, Key, NamespaceId, Operation, Options, Store};
use waypost_benches::{
    Failure, Scratch,
    data::{self, Random},
    fill,
    group_commit::GroupCommit,
    meter::Stopwatch,
    redis::Redis,
    rounds::{CPU, RATE, Sample, Side, Target, alternate},
};

/// Durable puts: the library, a hand-written redb group commit, Redis.
#[derive(Parser)]
struct Arguments {
    /// The number of keys that exist before.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Length of the values in bytes.
    #[arg(long, default_value_t = 1024)]
    value: usize,
    /// The numbers of callers.
    #[arg(long, value_delimiter = ',', default_value = "1,50,200")]
    callers: Vec<usize>,
    /// Cache of each store, in MiB.
    #[arg(long, default_value_t = 64)]
    cache: usize,
    /// Rounds of each side.
    #[arg(long, default_value_t = 7)]
    rounds: u64,
    /// Length of a round in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Leave Redis out.
    #[arg(long)]
    no_redis: bool,
    /// The directory for the files; beside the program by default. Not in memory, because it must
    /// sync.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The work of a round.
#[derive(Clone, Copy)]
struct Work {
    callers: usize,
    keys: Keys,
    value: usize,
    lasting: Duration,
}

#[derive(Clone, Copy)]
enum Keys {
    /// Random existing keys.
    Old(u64),
    /// New keys.
    New,
}

/// The compared sides.
struct Peers {
    store: Store,
    namespace: NamespaceId,
    by_hand: GroupCommit,
    redis: Option<Redis>,
}

/// Puts a value and waits until it is durable.
type Put<'a> = Box<dyn FnMut(&[u8], &[u8]) -> Result<(), Failure> + Send + 'a>;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let scratch = Scratch::new(arguments.dir.clone())?;
    let peers = Peers::open(&scratch, &arguments)?;
    for keys in [Keys::Old(arguments.keys), Keys::New] {
        for callers in &arguments.callers {
            let work = Work {
                callers: *callers,
                keys,
                value: arguments.value,
                lasting: Duration::from_secs_f64(arguments.seconds),
            };
            compare(&peers, work, arguments.rounds)?;
        }
    }
    Ok(())
}

impl Peers {
    fn open(scratch: &Scratch, arguments: &Arguments) -> Result<Peers, Failure> {
        let Arguments { keys, value, .. } = *arguments;
        let cache = arguments.cache << 20;
        let store = Options::new().cache_bytes(cache).open(scratch.join("store"))?;
        let namespace = store.create_namespace("bench")?.id;
        fill::put_all(&store, namespace, keys, value)?;
        let by_hand = GroupCommit::open(&scratch.join("by-hand.redb"), cache)?;
        by_hand.put_all(namespace, keys, value)?;
        let redis = match arguments.no_redis {
            true => None,
            false => Redis::start(&scratch.join("redis"))?,
        };
        if let Some(redis) = &redis {
            redis.put_all(keys, value)?;
        }
        Ok(Peers { store, namespace, by_hand, redis })
    }
}

fn compare(peers: &Peers, work: Work, rounds: u64) -> Result<(), Failure> {
    let Peers { store, namespace, by_hand, redis } = peers;
    let namespace = *namespace;
    let library = || -> Result<Put<'_>, Failure> {
        Ok(Box::new(move |key, value| Ok(store.put(namespace, key, value).map(drop)?)))
    };
    let hand = || -> Result<Put<'_>, Failure> {
        Ok(Box::new(move |key, value| Ok(by_hand.submit(namespace, key, value)?.recv()?)))
    };
    let submit_library = |key: &[u8], value: &[u8]| submit(store, namespace, key, value);
    let submit_hand = |key: &[u8], value: &[u8]| by_hand.submit(namespace, key, value);
    let mut sides = vec![
        Side::new("library", |round| from_threads(round, work, None, library)),
        Side::new("redb by hand", |round| from_threads(round, work, None, hand)),
        Side::new("library, tickets held by one thread", |round| {
            from_one_thread(round, work, submit_library, |ticket| Ok(ticket.wait().map(drop)?))
        }),
        Side::new("redb by hand, tickets held by one thread", |round| {
            from_one_thread(round, work, submit_hand, |ticket| Ok(ticket.recv()?))
        }),
    ];
    if let Some(redis) = redis {
        let connect = || -> Result<Put<'_>, Failure> {
            let mut connection = redis.connect()?;
            Ok(Box::new(move |key, value| connection.set(key, value)))
        };
        sides.push(Side::new("Redis, appendfsync always (CPU: the server's)", move |round| {
            from_threads(round, work, Some(redis.pid()), connect)
        }));
    }
    let rounds = alternate(rounds, sides)?;
    let keys = match work.keys {
        Keys::Old(keys) => format!("over one of {keys} keys"),
        Keys::New => "under a new key".into(),
    };
    let title = format!("durable put of {} B {keys}, {} callers", work.value, work.callers);
    rounds.print(&title, &[CPU, RATE]);
    for (one, other) in [(0, 1), (2, 3)] {
        rounds.compare(one, other, RATE, Target::AtLeast(0.8));
        rounds.compare(one, other, CPU, Target::Report);
    }
    if redis.is_some() {
        rounds.compare(0, 4, RATE, Target::Report);
    }
    Ok(())
}

fn submit(
    store: &Store,
    namespace: NamespaceId,
    key: &[u8],
    value: &[u8],
) -> Result<kv_core::Ticket, Failure> {
    let mut upload = store.upload();
    for chunk in upload.push(value)? {
        store.submit(chunk)?.wait()?;
    }
    let (last, body) = upload.finish();
    if let Some(last) = last {
        store.submit(last)?.wait()?;
    }
    let key = Key::new(key)?;
    let attributes = Attributes::default();
    Ok(store.submit(Operation::Put { namespace, key, body, attributes })?)
}

/// The keys of one caller in one round: the same for every side.
struct Sequence {
    keys: Keys,
    random: Random,
    next: u64,
}

impl Sequence {
    fn new(work: Work, form: u64, round: u64, caller: usize) -> Sequence {
        let seed = [work.callers as u64, form, round, caller as u64]
            .iter()
            .fold(0, |seed, part| seed << 12 | part);
        // New keys have far greater numbers than the old ones.
        Sequence { keys: work.keys, random: Random::new(seed), next: seed << 24 | 1 << 63 }
    }

    fn next(&mut self) -> u64 {
        match self.keys {
            Keys::Old(keys) => self.random.between(0, keys),
            Keys::New => {
                self.next += 1;
                self.next
            }
        }
    }
}

/// Callers that each wait for a put before the next one.
fn from_threads<'a>(
    round: u64,
    work: Work,
    server: Option<u32>,
    mut put: impl FnMut() -> Result<Put<'a>, Failure>,
) -> Result<Sample, Failure> {
    let puts = (0..work.callers).map(|_| put()).collect::<Result<Vec<_>, _>>()?;
    let watch = server.map_or_else(Stopwatch::own, Stopwatch::of)?;
    let operations = std::thread::scope(|scope| {
        let callers: Vec<_> = puts
            .into_iter()
            .enumerate()
            .map(|(caller, mut put)| {
                scope.spawn(move || -> Result<u64, Failure> {
                    let mut keys = Sequence::new(work, 0, round, caller);
                    let mut value = data::value(round, work.value);
                    let mut done = 0;
                    while watch.wall() < work.lasting {
                        renew(&mut value, done);
                        put(&data::key(keys.next()), &value)?;
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        let done = callers
            .into_iter()
            .map(|caller| caller.join().map_err(|_panic| "a caller panicked")?);
        done.sum::<Result<u64, Failure>>()
    })?;
    Ok(Sample { operations, cpu: watch.cpu()?, wall: watch.wall() })
}

/// One thread that keeps as many puts in flight as there are callers, like a server's reactor.
fn from_one_thread<T>(
    round: u64,
    work: Work,
    mut submit: impl FnMut(&[u8], &[u8]) -> Result<T, Failure>,
    wait: impl Fn(T) -> Result<(), Failure>,
) -> Result<Sample, Failure> {
    let mut keys = Sequence::new(work, 1, round, 0);
    let mut value = data::value(round, work.value);
    let mut waiting = VecDeque::new();
    let mut operations = 0;
    let watch = Stopwatch::own()?;
    while watch.wall() < work.lasting {
        renew(&mut value, operations);
        waiting.push_back(submit(&data::key(keys.next()), &value)?);
        operations += 1;
        if waiting.len() == work.callers
            && let Some(first) = waiting.pop_front()
        {
            wait(first)?;
        }
    }
    waiting.into_iter().try_for_each(wait)?;
    Ok(Sample { operations, cpu: watch.cpu()?, wall: watch.wall() })
}

/// Changes a value, so that each put has a different one.
fn renew(value: &mut [u8], n: u64) {
    if let Some(head) = value.first_chunk_mut() {
        *head = n.to_be_bytes();
    }
}
