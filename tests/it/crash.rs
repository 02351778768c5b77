//! `kill -9` at random moments while clients write. Acknowledged writes survive; an unacknowledged
//! write is complete or absent.

mod ledger;
mod writer;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use kv_core::Store;
use waypost_tests::{Home, Server, process::announce, random::Random, settings};

use crate::home;

use self::{ledger::Ledger, writer::Writer};

const NAMESPACE: &str = "crash";

/// The number of clients that write at the same time, each to keys of its own.
const WRITERS: u64 = 8;

/// Runs a test with a seed, and prints the seed if the test fails.
pub(crate) fn seeded(test: impl FnOnce(Random)) {
    let seed = settings::seed();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(Random::new(seed)))) {
        announce(&format!("to repeat the random choices: WAYPOST_TEST_SEED={seed}"));
        resume_unwind(panic);
    }
}

/// All writers of a test, across its rounds.
struct Crowd {
    ledgers: Vec<Ledger>,
}

impl Crowd {
    fn new() -> Crowd {
        Crowd { ledgers: (0..WRITERS).map(Ledger::new).collect() }
    }

    /// Lets all writers write to the server until `end` has ended it. Returns the number of
    /// acknowledged writes.
    fn write_until(
        &mut self,
        random: &mut Random,
        server: Server,
        end: impl FnOnce(Server),
    ) -> u64 {
        let stop = AtomicBool::new(false);
        let address = server.address().clone();
        thread::scope(|scope| {
            let running: Vec<_> = self
                .ledgers
                .iter_mut()
                .zip(0..)
                .map(|(ledger, index)| {
                    let writer = Writer::new(random.fork(index), ledger, &address);
                    let stop = &stop;
                    scope.spawn(move || writer.run(stop))
                })
                .collect();
            // The next fork must differ from those of the writers.
            random.next();
            end(server);
            stop.store(true, Ordering::Relaxed);
            running
                .into_iter()
                .map(|writer| writer.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .sum()
        })
    }

    /// Compares the server's entries with the acknowledged writes.
    fn check(&mut self, server: &Server) {
        let mut connection = server.connect();
        let listed = ledger::list(&mut connection, NAMESPACE);
        let mut count = 0;
        for ledger in &mut self.ledgers {
            count += ledger.check(&mut connection, NAMESPACE, &listed);
        }
        assert_eq!(listed.len(), count, "the list contains keys that no writer wrote");
    }
}

/// Opens the data of a stopped server and counts the bodies that belong to no entry.
fn orphans(home: &Home) -> usize {
    let store = Store::open(home.data()).expect("the data of a stopped server opens");
    let orphans = store.view().pending().expect("the pending table can be read");
    store.close().expect("the store closes");
    orphans
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    seeded(|mut random| {
        let home = home();
        let mut crowd = Crowd::new();
        let server = home.serve(&[]);
        server.create_namespace(NAMESPACE, None);
        assert!(server.stop().success());
        let mut acknowledged = 0;
        for round in 0..settings::rounds() {
            let pause = Duration::from_millis(random.between(30, 900));
            acknowledged += crowd.write_until(&mut random, home.serve(&[]), |server| {
                thread::sleep(pause);
                server.kill();
            });
            // Sometimes the server is killed once more, during its start.
            if random.percent(40) {
                let starting = home.start("127.0.0.1:0", &[]);
                thread::sleep(Duration::from_micros(random.between(0, 60_000)));
                starting.kill();
            }
            let server = home.serve(&[]);
            crowd.check(&server);
            server.settle();
            let status = server.stop();
            assert!(status.success(), "round {round}: {status}");
            assert_eq!(orphans(&home), 0, "orphaned bodies after round {round}");
        }
        assert!(acknowledged > 0, "no write was acknowledged in any round");
        println!("{acknowledged} writes acknowledged and checked");
    });
}

#[test]
fn a_clean_stop_during_writes_loses_no_acknowledged_write() {
    seeded(|mut random| {
        let home = home();
        let mut crowd = Crowd::new();
        let server = home.serve(&[]);
        server.create_namespace(NAMESPACE, None);
        let acknowledged = crowd.write_until(&mut random, server, |server| {
            thread::sleep(Duration::from_millis(300));
            let status = server.stop();
            assert!(status.success(), "{status}");
        });
        assert!(acknowledged > 0, "no write was acknowledged");
        let server = home.serve(&[]);
        crowd.check(&server);
        server.settle();
        assert!(server.stop().success());
        assert_eq!(orphans(&home), 0, "orphaned bodies");
    });
}
