//! `waypost cluster ca`: the cluster's CA is rotated, and its key moves, while clients write.

use std::process::Output;

use waypost::cluster::state::{
    ca::{Ca, LIFE},
    certificate::{Facts, from_pem, to_pem},
    files::{self, ClusterDir},
};
use waypost_tests::{
    cluster::Cluster,
    wait::{self, unix_seconds},
};

use super::{Entries, PATIENCE, assert_all_is_well, assert_starts, server, start};

const DAY: u64 = 24 * 60 * 60;

/// Runs `waypost cluster ca …` on the data directory of a location.
fn run(cluster: &Cluster, number: usize, arguments: &[&str]) -> Output {
    let home = cluster.locations()[number].home();
    let mut command = home.command(&["cluster", "ca"]);
    command.args(arguments).arg("--data").arg(home.data());
    command.output().expect("the program runs")
}

/// The same, which must succeed. Returns its output.
pub(super) fn ca(cluster: &Cluster, number: usize, arguments: &[&str]) -> String {
    let output = run(cluster, number, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("the output is a text")
}

/// Waits until `ca show` at a location prints this text.
fn assert_shows(cluster: &Cluster, number: usize, text: &str) {
    let found =
        wait::until(PATIENCE, || ca(cluster, number, &["show"]).contains(text).then_some(()));
    assert!(
        found.is_some(),
        "location {number} does not show {text:?}: {}\n{}",
        ca(cluster, number, &["show"]),
        cluster.locations()[number].status().shown
    );
}

/// Rotates the CA at the first location. Returns the fingerprint of the new CA.
fn rotate(cluster: &Cluster) -> String {
    let said = ca(cluster, 0, &["rotate"]);
    let first = said.lines().next().expect("a line");
    first.strip_prefix("created the CA ").expect("the fingerprint").to_owned()
}

/// Restarts a location, so that it makes all its links again.
fn restart(cluster: &mut Cluster, number: usize) {
    cluster.stop(number);
    assert_starts(cluster, number, "a CA was rotated");
}

#[test]
fn all_locations_follow_a_rotation_of_the_ca_and_trust_both_meanwhile() {
    let mut cluster = start(3);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 1), "base", 5);
    let newest = rotate(&cluster);
    let issued = format!("issued by {newest}");
    assert_shows(&cluster, 0, &issued);
    // The holder has a certificate of the new CA, and the others do not know that CA yet.
    restart(&mut cluster, 0);
    assert_all_is_well(&cluster, &mut entries, "the CA holder got a certificate of a new CA");
    // They query the CA holder at each start, and every hour.
    restart(&mut cluster, 1);
    assert_shows(&cluster, 1, &issued);
    let trusts_both = |number| ca(&cluster, number, &["show"]).contains("former; trusted until");
    assert!(trusts_both(0) && trusts_both(1) && !trusts_both(2));
    let early = run(&cluster, 2, &["retire"]);
    assert!(!early.status.success(), "it trusts the former CA only: {early:?}");
    // One location has a certificate of the former CA.
    restart(&mut cluster, 0);
    assert_all_is_well(&cluster, &mut entries, "locations have certificates of two CAs");
    restart(&mut cluster, 2);
    assert_shows(&cluster, 2, &issued);
    for number in 0..3 {
        ca(&cluster, number, &["retire"]);
    }
    (0..3).for_each(|number| restart(&mut cluster, number));
    assert_all_is_well(&cluster, &mut entries, "the former CA was retired");
    cluster.join();
    assert_shows(&cluster, 3, &issued);
    assert_all_is_well(&cluster, &mut entries, "a location joined with the new CA");
}

#[test]
fn a_location_that_was_away_during_a_rotation_follows_it_even_with_an_expired_certificate() {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    cluster.stop(1);
    expire(&cluster, 1, 0);
    rotate(&cluster);
    let newest = rotate(&cluster);
    restart(&mut cluster, 0);
    entries.put_many(server(&cluster, 0), "missed", 5);
    assert_starts(&mut cluster, 1, "the CA was rotated twice");
    assert_shows(&cluster, 1, &format!("issued by {newest}"));
    assert_all_is_well(&cluster, &mut entries, "a location was away during two rotations");
}

/// Gives a location that is down a certificate that expired three days ago, with the CA of another one.
fn expire(cluster: &Cluster, number: usize, holder: usize) {
    let directory = |number: usize| ClusterDir::of(&cluster.locations()[number].home().data());
    let (own, holder) = (directory(number), directory(holder));
    let ca = Ca::from_pem(&holder.read(files::CA_KEY).expect("the CA's key")).expect("a CA");
    let before = from_pem(&own.read(files::CERTIFICATE).expect("a certificate"));
    let before = Facts::read(&before.expect("a certificate")).expect("a certificate");
    let key = rcgen::KeyPair::from_pem(&own.read(files::KEY).expect("a key")).expect("a key");
    let identity = before.identity.expect("it names the location");
    let issued = ca.issue(identity, &key, unix_seconds() - 3 * DAY - LIFE);
    let issued = to_pem(&issued.expect("a certificate can be made"));
    own.write(files::CERTIFICATE, &issued).expect("the certificate can be written");
}

#[test]
fn the_key_of_the_ca_moves_to_another_location_which_renews_certificates_from_then_on() {
    let mut cluster = start(3);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "base", 5);
    let places = tempfile::tempdir().expect("a directory");
    let file = places.path().join("moved");
    let file = file.to_str().expect("a path in UTF-8");
    assert!(ca(&cluster, 0, &["show"]).contains("at this location, location-0"));
    assert_shows(&cluster, 2, "at location-0 (");
    ca(&cluster, 0, &["move", file]);
    let late = run(&cluster, 0, &["rotate"]);
    assert!(!late.status.success(), "the key is not there any more: {late:?}");
    ca(&cluster, 1, &["import", file]);
    cluster.stop(2);
    expire(&cluster, 2, 1);
    restart(&mut cluster, 1);
    restart(&mut cluster, 0);
    assert_starts(&mut cluster, 2, "the CA's key has moved");
    assert_shows(&cluster, 2, "at location-1 (");
    assert_shows(&cluster, 0, "at location-1 (");
    assert!(ca(&cluster, 1, &["show"]).contains("at this location, location-1"));
    assert_all_is_well(&cluster, &mut entries, "the CA's key has moved");

    // The first location is removed; the other one still has the key.
    cluster.stop(0);
    cluster.stop(2);
    expire(&cluster, 2, 1);
    assert_starts(&mut cluster, 2, "the CA's key has moved");
    let newer = || {
        let own = ClusterDir::of(&cluster.locations()[2].home().data());
        let text = own.read(files::CERTIFICATE).expect("a certificate");
        let facts = Facts::read(&from_pem(&text).expect("a certificate")).expect("facts");
        (facts.not_after > unix_seconds()).then_some(())
    };
    let renewed = wait::until(PATIENCE, newer);
    assert!(renewed.is_some(), "{}", cluster.locations()[2].status().shown);
}
