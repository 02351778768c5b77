//! Workers on real workerds, each at a location of its own.

use waypost_tests::{cluster::Cluster, workerd::Worker};

use crate::{
    binary,
    cluster::schedule::stormy,
    workers::{clients, worker_with},
};

#[test]
fn what_a_worker_puts_at_one_location_a_worker_at_another_reads() {
    let Some(clients) = clients() else { return };
    let versions = ["workerd-2026-08", "workerd-2026-11"].map(|name| clients.workerd(name));
    let [Some(old), Some(new)] = versions else { return };
    let cluster = Cluster::start(binary(), 2, "by-header", stormy(), 1);
    let workers = [(0, &old), (1, &new)].map(|(number, workerd)| {
        let address = cluster.locations()[number].server().address();
        worker_with(workerd, address, address)
    });
    let run = |worker: &Worker, case: &str| worker.run("ELSEWHERE", &format!("elsewhere: {case}"));
    assert_eq!(run(&workers[0], "it is put here"), Ok(()));
    assert_eq!(run(&workers[1], "it is read there, and answered"), Ok(()));
    assert_eq!(run(&workers[0], "the answer is read here"), Ok(()));
    cluster.converge();
}
