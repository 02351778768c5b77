//! A location whose certificate has expired. That ends its replication, not the location: it serves reads and local
//! writes, reports the end, renews the certificate by itself once it reaches the location with the CA's key, and
//! replicates.
//!
//! The expired certificates are made here with the cluster's own CA: as if they had been made some time ago.

use rcgen::KeyPair;
use waypost::cluster::{
    Descriptor, Identity,
    state::{
        ca::{Ca, LIFE},
        certificate::{Facts, from_pem, to_pem},
        files::{self, ClusterDir},
    },
};
use waypost_tests::{
    cluster::Cluster,
    wait::{self, unix_seconds},
};

use super::{Entries, PATIENCE, assert_all_is_well, assert_starts, messages, server, start};

const DAY: u64 = 24 * 60 * 60;

const FAULT: &str = "a certificate expired";

/// A time of certificates, counted from now.
#[derive(Clone, Copy)]
enum End {
    DaysAgo(u64),
    DaysAhead(u64),
}

impl End {
    fn unix_seconds(self) -> u64 {
        match self {
            End::DaysAgo(days) => unix_seconds() - days * DAY,
            End::DaysAhead(days) => unix_seconds() + days * DAY,
        }
    }
}

/// Gives a location that is down a certificate that ends then.
fn give_certificate(cluster: &Cluster, number: usize, end: End) {
    let directory = |number: usize| ClusterDir::of(&cluster.locations()[number].home().data());
    let (holder, own) = (directory(0), directory(number));
    let read = |name| holder.read(name).expect("the first location has the CA's files");
    let certificate = from_pem(&read(files::CA)).expect("a certificate");
    let key = KeyPair::from_pem(&read(files::CA_KEY)).expect("a key");
    let ca = Ca::new(certificate, key).expect("a CA");
    let about = Descriptor::load(&own).expect("it can be read").expect("the location is a member");
    let identity = Identity { cluster: about.cluster, member: about.member };
    let key = KeyPair::from_pem(&own.read(files::KEY).expect("a location has a key"));
    let issued = ca.issue(identity, &key.expect("a key"), end.unix_seconds() - LIFE);
    let issued = to_pem(&issued.expect("a certificate can be made"));
    own.write(files::CERTIFICATE, &issued).expect("the certificate can be written");
}

/// When a location's certificate ends, as its file shows.
fn ends(cluster: &Cluster, number: usize) -> u64 {
    let directory = ClusterDir::of(&cluster.locations()[number].home().data());
    let text = directory.read(files::CERTIFICATE).expect("a location has a certificate");
    let certificate = from_pem(&text).expect("it is a certificate");
    Facts::read(&certificate).expect("it is a certificate").not_after
}

/// Waits until a location has a certificate that ends more than two thirds of a life from now.
fn assert_renews(cluster: &Cluster, number: usize) {
    let is_new = || ends(cluster, number) > unix_seconds() + LIFE * 2 / 3;
    let renewed = wait::until(PATIENCE, || is_new().then_some(()));
    assert!(
        renewed.is_some(),
        "location {number} does not renew its certificate within {PATIENCE:?} though it reaches the CA's key: {}",
        cluster.locations()[number].status().shown
    );
}

/// Three locations with some entries, and all but the others stopped.
fn start_and_stop(number: usize) -> (Cluster, Entries) {
    let mut cluster = start(3);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 1), "base", 5);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(number);
    (cluster, entries)
}

#[test]
fn a_location_with_an_expired_certificate_serves_and_renews_it_when_it_reaches_the_ca_key() {
    let (mut cluster, mut entries) = start_and_stop(1);
    give_certificate(&cluster, 1, End::DaysAgo(3));
    // The location with the CA's key is away.
    cluster.stop(0);
    assert_starts(&mut cluster, 1, FAULT);
    let wrong = entries.wrong_at(server(&cluster, 1));
    assert!(wrong.is_empty(), "after {FAULT}, its location does not serve reads: {wrong:?}");
    entries.put_many(server(&cluster, 1), "while-expired", 3);
    let reports = cluster.locations()[1].status_becomes(PATIENCE, |status| {
        !status.is_success && status.has_alarm(&messages::CERTIFICATE_EXPIRED)
    });
    assert!(reports.is_ok(), "no alarm reports the expired certificate: {reports:?}");
    // It is as expired after another restart.
    cluster.kill(1);
    assert_starts(&mut cluster, 1, FAULT);

    assert_starts(&mut cluster, 0, FAULT);
    assert_renews(&cluster, 1);
    assert_all_is_well(&cluster, &mut entries, FAULT);
}

#[test]
fn a_location_whose_certificate_expired_long_ago_renews_it_at_its_start() {
    let (mut cluster, mut entries) = start_and_stop(2);
    give_certificate(&cluster, 2, End::DaysAgo(400));
    entries.put_many(server(&cluster, 0), "missed", 3);
    assert_starts(&mut cluster, 2, FAULT);
    assert_renews(&cluster, 2);
    assert_all_is_well(&cluster, &mut entries, "a certificate expired long ago");
}

#[test]
fn the_location_with_the_ca_key_renews_its_own_expired_certificate() {
    let (mut cluster, mut entries) = start_and_stop(0);
    give_certificate(&cluster, 0, End::DaysAgo(3));
    assert_starts(&mut cluster, 0, FAULT);
    assert_renews(&cluster, 0);
    assert_all_is_well(&cluster, &mut entries, "the certificate of the CA holder expired");
}

#[test]
fn all_certificates_expire_and_all_locations_renew_them() {
    let (mut cluster, mut entries) = start_and_stop(1);
    cluster.stop(0);
    cluster.stop(2);
    (0..3).for_each(|number| give_certificate(&cluster, number, End::DaysAgo(1)));
    for number in [2, 1] {
        assert_starts(&mut cluster, number, FAULT);
        entries.put_many(server(&cluster, number), &format!("expired-{number}"), 3);
    }
    assert_starts(&mut cluster, 0, FAULT);
    (0..3).for_each(|number| assert_renews(&cluster, number));
    assert_all_is_well(&cluster, &mut entries, "all certificates expired");
}

#[test]
fn a_location_renews_its_certificate_over_its_links_long_before_the_end() {
    let (mut cluster, mut entries) = start_and_stop(1);
    // Two thirds of its life are over, and a day.
    give_certificate(&cluster, 1, End::DaysAhead(LIFE / DAY / 3 - 1));
    assert_starts(&mut cluster, 1, FAULT);
    assert_renews(&cluster, 1);
    let info = cluster.locations()[1].status().info;
    let shown = info["certificate_not_after"].as_u64();
    assert_eq!(shown, Some(ends(&cluster, 1)), "the status shows the new certificate's end");
    assert_all_is_well(&cluster, &mut entries, "a certificate was renewed");
}
