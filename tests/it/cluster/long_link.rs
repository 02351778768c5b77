//! A location catches up over a long link that loses packets at random.

use std::time::Duration;

use waypost_link_tests::Conditions;
use waypost_tests::cluster::{Cluster, Setup};

use super::{NAMESPACE, dropped};
use crate::{binary, crash::seeded};

/// The entries that the location lacks: 8 MB.
const ENTRIES: usize = 800;
const VALUE_BYTES: usize = 10_000;

/// Congestion control that takes each loss for congestion needs 40 s and more for them on this link.
const MOST: Duration = Duration::from_secs(20);

#[test]
fn one_lost_packet_in_a_hundred_does_not_slow_a_catch_up() {
    seeded(|mut random| {
        let lossy = Conditions { loss: 0.01, ..Conditions::delayed(Duration::from_millis(50)) };
        let setup = Setup {
            binary: binary().to_owned(),
            directory: None,
            conditions: Some(lossy),
            seed: random.next(),
            flags: Vec::new(),
            patience: Duration::from_secs(60),
        };
        let mut cluster = Cluster::prepare(setup, 2);
        cluster.init_first();
        cluster.start_first(NAMESPACE);
        let mut client = cluster.locations()[0].server().connect();
        let value = vec![b'v'; VALUE_BYTES];
        for n in 0..ENTRIES {
            let path = format!("/binding/{NAMESPACE}/key-{n}");
            let put = client.request("PUT", &path, &[], &value).expect("the put is answered");
            assert_eq!(put.status, 200);
        }
        cluster.try_join(1, MOST).expect("the location is ready in time");
        assert!(dropped(&cluster) > 10, "{:?}", cluster.counts());
    });
}
