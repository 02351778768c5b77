//! The test Worker on real workerds, each at a location of its own.

use waypost_tests::{cluster::Cluster, workerd::Worker};

use crate::{
    binary,
    cluster::schedule::stormy,
    workers::{clients, worker_with},
};

#[test]
fn a_worker_reads_what_a_worker_at_another_location_wrote() {
    let Some(clients) = clients() else { return };
    let versions = ["workerd-2026-08", "workerd-2026-11"].map(|name| clients.workerd(name));
    let [Some(old), Some(new)] = versions else { return };
    let cluster = Cluster::start(binary(), 2, "by-header", stormy(), 1);
    let workers = [(0, &old), (1, &new)].map(|(number, workerd)| {
        let address = cluster.locations()[number].server().address();
        worker_with(workerd, address, address)
    });
    let run = |worker: &Worker, case: &str| worker.run("ELSEWHERE", &format!("elsewhere: {case}"));
    assert_eq!(run(&workers[0], "the first Worker writes"), Ok(()));
    assert_eq!(run(&workers[1], "the second Worker reads and answers"), Ok(()));
    assert_eq!(run(&workers[0], "the first Worker reads the answer"), Ok(()));
    cluster.converge();
}
