//! Rotations of the CA, and moves of its key, on files.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{DAY, created, invited};
use crate::cluster::{
    Identity, Location,
    ca::{CaError, Holder, import, move_to, retire, rotate, show},
    load, open,
    state::{
        authorities::{Authorities, MAX_AUTHORITIES},
        ca::LIFE,
        certificate::{check_chain, unix_time},
        files::{self, ClusterDir},
        location::{load_ca, read_key, write_chain},
        names::Sha256,
    },
};

const NOW: u64 = 1_800_000_000;

fn loaded(data: &Path, now: u64) -> Location {
    load(data, now).unwrap().expect("it is in a cluster")
}

/// Whether a location with the certificates of one accepts the chain of another.
fn accepts(one: &Location, other: &Location, now: u64) -> bool {
    let provider = rustls::crypto::ring::default_provider();
    let (own, others) = other.chain.split_first().expect("a certificate");
    check_chain(own, &one.trusted, others, unix_time(now), &provider).is_ok()
}

/// Makes the files of another member, as the CA holder would issue them.
fn member(holder: &Path, now: u64) -> TempDir {
    let (data, _) = created(now);
    let (own, of_holder) = (ClusterDir::of(data.path()), ClusterDir::of(holder));
    let ca = load_ca(&of_holder).unwrap();
    let cluster = loaded(holder, now).descriptor.cluster;
    let text = own.read(files::DESCRIPTOR).unwrap();
    let before = loaded(data.path(), now).descriptor;
    let text = text.replace(&before.cluster.to_string(), &cluster.to_string());
    own.write(files::DESCRIPTOR, &text).unwrap();
    Authorities::load(&of_holder).unwrap().save(&own).unwrap();
    let identity = Identity { cluster, member: before.member };
    let issued = ca.issue(identity, &read_key(&own, files::KEY).unwrap(), now).unwrap();
    write_chain(&own, &issued, ca.vouchers()).unwrap();
    own.remove(files::CA_KEY).unwrap();
    own.remove(files::INVITATIONS).unwrap();
    data
}

#[test]
fn both_authorities_are_trusted_until_no_certificate_of_the_former_is_valid() {
    let (holder, _) = created(NOW);
    let other = member(holder.path(), NOW);
    let (before, first) = (loaded(other.path(), NOW), loaded(holder.path(), NOW));
    let rotated = NOW + 10 * DAY;
    let fingerprint = rotate(holder.path(), rotated).unwrap();
    let after = loaded(holder.path(), rotated);
    assert!(after.has_newest_ca());
    assert_eq!(Sha256::of(after.authorities.newest()), fingerprint);
    assert_eq!(after.expiry.location, rotated + LIFE);
    // The former CA vouches for the new one, and the new certificates are accepted at once.
    assert!(accepts(&before, &after, rotated) && accepts(&after, &before, rotated));
    let fresh = loaded(member(holder.path(), rotated).path(), rotated);
    assert!(accepts(&before, &fresh, rotated) && accepts(&fresh, &before, rotated));
    let end = rotated + LIFE;
    assert_eq!(loaded(holder.path(), end - 1).trusted.len(), 2);
    assert_eq!(loaded(holder.path(), end).trusted.len(), 1);
    assert_ne!(first.chain, after.chain);
    // A second rotation.
    rotate(holder.path(), rotated + DAY).unwrap();
    let last = loaded(holder.path(), rotated + DAY);
    assert!(accepts(&before, &last, rotated + DAY), "one voucher leads to the other");
}

#[test]
fn an_authority_that_no_other_vouches_for_is_not_accepted() {
    let (holder, _) = created(NOW);
    let other = loaded(member(holder.path(), NOW).path(), NOW);
    let (outside, _) = created(NOW);
    rotate(outside.path(), NOW).unwrap();
    assert!(!accepts(&other, &loaded(outside.path(), NOW), NOW));
}

#[test]
fn a_rotation_that_was_interrupted_is_finished_at_the_next_start() {
    let (holder, _) = created(NOW);
    let directory = ClusterDir::of(holder.path());
    let before = [files::CA, files::CERTIFICATE].map(|file| directory.read(file).unwrap());
    let fingerprint = rotate(holder.path(), NOW).unwrap();
    directory.write(files::CA, &before[0]).unwrap();
    directory.write(files::CERTIFICATE, &before[1]).unwrap();
    let location = open(holder.path(), NOW).unwrap().expect("a member");
    assert!(location.has_newest_ca());
    assert_eq!(Sha256::of(location.authorities.newest()), fingerprint);
    assert_eq!(location.authorities.former().len(), 1);
}

#[test]
fn former_authorities_are_retired_only_with_a_certificate_of_the_newest() {
    let (holder, _) = created(NOW);
    let other = member(holder.path(), NOW);
    assert!(matches!(retire(other.path(), NOW), Err(CaError::NoFormer)));
    rotate(holder.path(), NOW).unwrap();
    let own = ClusterDir::of(other.path());
    Authorities::load(&ClusterDir::of(holder.path())).unwrap().save(&own).unwrap();
    assert!(matches!(retire(other.path(), NOW), Err(CaError::NotRenewed)));
    assert_eq!(loaded(other.path(), NOW).trusted.len(), 2, "nothing was changed");
    assert_eq!(retire(holder.path(), NOW).unwrap(), 1);
    assert_eq!(loaded(holder.path(), NOW).trusted.len(), 1);
    assert!(!accepts(&loaded(holder.path(), NOW), &loaded(other.path(), NOW), NOW));
}

#[test]
fn rotations_are_bounded() {
    let (holder, _) = created(NOW);
    for _each in 1..MAX_AUTHORITIES {
        rotate(holder.path(), NOW).unwrap();
    }
    assert!(matches!(rotate(holder.path(), NOW), Err(CaError::TooMany)));
    retire(holder.path(), NOW).unwrap();
    rotate(holder.path(), NOW).unwrap();
}

#[test]
fn the_key_moves_to_another_location_in_a_private_file() {
    let (holder, _) = created(NOW);
    let other = member(holder.path(), NOW);
    let places = TempDir::new().unwrap();
    let file = places.path().join("ca");
    assert_eq!(show(holder.path(), NOW).unwrap().holder, Holder::Here);
    assert_eq!(show(other.path(), NOW).unwrap().holder, Holder::Unknown);
    assert!(matches!(rotate(other.path(), NOW), Err(CaError::NoKey(_))));
    assert!(matches!(move_to(other.path(), &file), Err(CaError::NoKey(_))));

    invited(holder.path(), None, NOW);
    move_to(holder.path(), &file).unwrap();
    assert_eq!(show(holder.path(), NOW).unwrap().holder, Holder::Unknown);
    assert!(!ClusterDir::of(holder.path()).has(files::INVITATIONS));
    import(other.path(), &file).unwrap();
    assert_eq!(show(other.path(), NOW).unwrap().holder, Holder::Here);
    assert!(matches!(import(other.path(), &file), Err(CaError::HasKey)));
    invited(other.path(), None, NOW);
    assert!(matches!(move_to(other.path(), &file), Err(CaError::Exists(_))));

    rotate(other.path(), NOW).unwrap();
    let own = ClusterDir::of(holder.path());
    assert!(matches!(import(holder.path(), &places.path().join("none")), Err(CaError::File(_))));
    Authorities::load(&ClusterDir::of(other.path())).unwrap().save(&own).unwrap();
    assert!(matches!(import(holder.path(), &file), Err(CaError::Former(_))));
    let next = places.path().join("next");
    move_to(other.path(), &next).unwrap();
    import(holder.path(), &next).unwrap();
    assert!(open(holder.path(), NOW).unwrap().expect("a member").has_newest_ca());

    let (outside, _) = created(NOW);
    let foreign = places.path().join("foreign");
    move_to(outside.path(), &foreign).unwrap();
    assert!(matches!(import(other.path(), &foreign), Err(CaError::Unknown(_))));
    fs::write(&foreign, "no key").unwrap();
    let error = import(other.path(), &foreign).unwrap_err().to_string();
    assert!(error.contains("it has no private key") && error.contains("cluster/ca.key"), "{error}");
}
