//! The files that `cluster init` creates, and the errors of loading them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tempfile::TempDir;

use super::{At, DAY, created, invited, name, new_cluster};
use crate::cluster::{
    JoinOptions, JoinOutcome, Location, init,
    init::InitError,
    invite, join, load, open,
    state::{
        ca::{self, CA_LIFE, LIFE},
        certificate::to_pem,
        files::{CA_KEY, ClusterDir, KEY},
    },
};

const NOW: u64 = 1_800_000_000;

fn loaded(data: &Path, now: u64) -> Location {
    load(data, now).unwrap().expect("it is in a cluster")
}

fn refused(data: &Path) -> String {
    load(data, NOW).expect_err("it can't be a member").to_string()
}

#[test]
fn a_new_cluster_loads() {
    let (data, descriptor) = created(NOW);
    let location = loaded(data.path(), NOW);
    assert_eq!(location.descriptor, descriptor);
    assert_eq!(
        location.identity().to_string(),
        format!("waypost:{}/{}", descriptor.cluster, descriptor.member)
    );
    assert_eq!(location.chain[1], *location.authorities.newest());
    assert_eq!(location.expiry.location, NOW + LIFE);
    assert_eq!((location.expiry.ca, location.expiry.has_ca_key), (NOW + CA_LIFE, true));
    assert_eq!(location.warnings, Vec::<String>::new());
    assert!(load(TempDir::new().unwrap().path(), NOW).unwrap().is_none(), "no cluster");
}

#[test]
fn all_files_are_private() {
    let parent = TempDir::new().unwrap();
    let data = parent.path().join("data");
    init(&new_cluster(&data, "127.0.0.1:1"), &super::At::new(NOW)).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let cluster = data.join("cluster");
    assert_eq!([mode(&data), mode(&cluster)], [0o700; 2]);
    let mut names = Vec::new();
    for file in fs::read_dir(&cluster).unwrap().map(Result::unwrap) {
        assert_eq!(mode(&file.path()), 0o600, "{file:?}");
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    let all =
        ["ca.key", "ca.pem", "cluster.toml", "invitations.toml", "location.key", "location.pem"];
    assert_eq!(names, all);
    assert!(!data.join("cluster.new").exists());
}

#[test]
fn a_cluster_begins_with_the_store_that_is_there_even_if_that_was_to_join_another() {
    let data = TempDir::new().unwrap();
    let member = kv_core::MemberId([9; 16]);
    let store = kv_core::Options::new().member(member).joining().open(data.path()).unwrap();
    assert!(store.view().is_rebuilding());
    drop(store);
    let descriptor = init(&new_cluster(data.path(), "127.0.0.1:1"), &super::At::new(NOW)).unwrap();
    assert_eq!(descriptor.member, member);
    assert!(!kv_core::Store::open(data.path()).unwrap().view().is_rebuilding());
}

#[test]
fn a_store_that_is_in_use_can_not_become_a_cluster() {
    let data = TempDir::new().unwrap();
    let _in_use = kv_core::Store::open(data.path()).unwrap();
    let error = init(&new_cluster(data.path(), "127.0.0.1:1"), &super::At::new(NOW)).unwrap_err();
    assert!(error.to_string().contains("if a server runs on it, stop it first"), "{error}");
    assert!(!data.path().join("cluster").exists());
}

#[test]
fn a_second_init_is_rejected_and_changes_nothing() {
    let (data, _) = created(NOW);
    let key = ClusterDir::of(data.path()).read("ca.key").unwrap();
    let again = init(&new_cluster(data.path(), "127.0.0.1:1"), &super::At::new(NOW)).unwrap_err();
    assert!(matches!(again, InitError::AlreadyThere(_)));
    let error = again.to_string();
    assert!(
        error.contains("already has the files of a cluster: nothing was changed")
            && error.contains("--data"),
        "{error}"
    );
    assert_eq!(ClusterDir::of(data.path()).read("ca.key").unwrap(), key);
    let nowhere =
        super::NewCluster { advertise: vec![], ..new_cluster(data.path(), "127.0.0.1:1") };
    let empty = TempDir::new().unwrap();
    let nowhere = super::NewCluster { data: empty.path().join("data"), ..nowhere };
    let error = init(&nowhere, &super::At::new(NOW)).unwrap_err().to_string();
    assert!(error.contains("--advertise HOST:PORT"), "{error}");
    assert!(!empty.path().join("data").exists());
}

#[test]
fn a_missing_or_contradicting_file_is_named() {
    let (data, _) = created(NOW);
    let (other, _) = created(NOW);
    let (cluster, others) = (ClusterDir::of(data.path()), ClusterDir::of(other.path()));
    let all = ["ca.pem", "location.pem", "location.key", "cluster.toml", "ca.key"];
    let before = all.map(|name| cluster.read(name).unwrap());
    for (name, before) in all.iter().zip(&before) {
        if *name != "ca.key" {
            cluster.remove(name).unwrap();
            let error = refused(data.path());
            assert!(error.contains(&format!("{name} is missing")), "{name}: {error}");
        }
        for wrong in ["", "nonsense", &others.read(name).unwrap()] {
            cluster.write(name, wrong).unwrap();
            let error = refused(data.path());
            assert!(error.contains(" is damaged: "), "{name}: {error}");
            assert!(!error.contains("PRIVATE"), "{error}");
        }
        cluster.write(name, before).unwrap();
    }
    cluster.write(KEY, &ca::new_key().unwrap().serialize_pem()).unwrap();
    let error = refused(data.path());
    assert!(
        error.contains("location.key is damaged: it is not the key of the certificate"),
        "{error}"
    );
}

#[test]
fn a_certificate_that_expires_soon_or_has_expired_is_an_alarm() {
    let (data, _) = created(NOW);
    for days in [0, 69, 71, 89, 91, 400] {
        let location = loaded(data.path(), NOW + days * DAY);
        assert_eq!(location.warnings.len(), usize::from(days > 70), "after {days} days");
    }
    let warning = |days: u64| loaded(data.path(), NOW + days * DAY).warnings.remove(0);
    let error = warning(80);
    assert!(error.contains("expires on 2027-04-15") && error.contains("can't renew it"), "{error}");
    ClusterDir::of(data.path()).remove("ca.key").unwrap();
    let error = warning(80);
    assert!(
        error.contains("expires on 2027-04-15") && error.contains("is renewed once"),
        "{error}"
    );
    let error = warning(90);
    assert!(error.contains("expired on 2027-04-15") && error.contains("local writes"), "{error}");
}

#[test]
fn the_ca_holder_renews_its_certificate_in_time() {
    let (data, descriptor) = created(NOW);
    let first = loaded(data.path(), NOW);
    let same = open(data.path(), NOW + 59 * DAY).unwrap().expect("a member");
    assert_eq!(same.chain, first.chain);
    for later in [NOW + 61 * DAY, NOW + 900 * DAY] {
        let renewed = open(data.path(), later).unwrap().expect("a member");
        assert_eq!(renewed.expiry.location, later + LIFE);
        assert_eq!((renewed.descriptor, renewed.key), (descriptor.clone(), first.key.clone_key()));
    }
}

#[test]
fn no_certificate_is_valid_longer_than_the_ca_and_its_end_is_an_alarm() {
    let (data, _) = created(NOW);
    let ca_end = NOW + CA_LIFE;
    let late = open(data.path(), ca_end - 20 * DAY).unwrap().expect("a member");
    assert_eq!(late.expiry.location, ca_end);
    assert!(late.warnings[0].contains("the cluster's CA expires on"), "{:?}", late.warnings);
    let over = open(data.path(), ca_end + DAY).unwrap().expect("a member");
    let [alarm] = &over.warnings[..] else { panic!("one alarm") };
    assert!(alarm.contains("the cluster's CA expired on 2037-01-12"), "{alarm}");
    assert!(alarm.contains("run `waypost cluster ca rotate`"), "{alarm}");
}

#[test]
fn a_certificate_from_a_clock_that_was_ahead_is_replaced() {
    let (data, _) = created(NOW);
    let ahead = NOW + 900 * DAY;
    assert!(open(data.path(), ahead).is_ok());
    let error = loaded(data.path(), NOW).warnings.remove(0);
    assert!(error.contains("is not valid before 2029-07-03") && error.contains("clock"), "{error}");
    let mended = open(data.path(), NOW).unwrap().expect("a member");
    assert_eq!(mended.expiry.location, NOW + LIFE);
    for outside in [NOW - DAY, NOW + CA_LIFE, NOW + 2 * CA_LIFE] {
        let location = open(data.path(), outside).unwrap().expect("a member");
        assert_eq!(location.warnings.len(), 1, "{:?}", location.warnings);
        assert_eq!(open(data.path(), NOW).unwrap().expect("a member").chain, mended.chain);
    }
}

#[tokio::test]
async fn a_token_is_not_used_if_no_certificate_can_be_valid_longer() {
    let data = TempDir::new().unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let descriptor = init(&new_cluster(data.path(), &address), &At::new(NOW)).unwrap();
    let token = invited(data.path(), None, NOW);
    let ca_end = NOW + CA_LIFE;
    open(data.path(), ca_end - 20 * DAY).unwrap();
    ClusterDir::of(data.path()).remove("ca.key").unwrap();
    let (data, advertise, listen) =
        (data.path().into(), descriptor.advertise.clone(), descriptor.listen);
    let joining = JoinOptions { token, data, location: None, advertise, listen };
    for now in [ca_end - 10 * DAY, ca_end] {
        let joined = join(&joining, &At::new(now)).await.unwrap();
        assert_eq!(joined, JoinOutcome::Already(descriptor.clone()));
        let received = socket.recv(&mut [0; 1]).expect_err("nothing was sent");
        assert_eq!(received.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_private_key_that_other_users_can_read_is_rejected() {
    let (data, _) = created(NOW);
    for name in [KEY, CA_KEY] {
        let path = ClusterDir::of(data.path()).path(name);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = refused(data.path());
        assert!(error.contains(name) && error.contains("chmod 600"), "{error}");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    loaded(data.path(), NOW);
}

#[test]
fn a_certificate_of_another_ca_is_rejected_whatever_its_content() {
    let (data, descriptor) = created(NOW);
    let cluster = ClusterDir::of(data.path());
    let key = rcgen::KeyPair::from_pem(&cluster.read(KEY).unwrap()).unwrap();
    let other_ca = ca::Ca::generate(descriptor.cluster, &name("prod"), NOW).unwrap();
    let identity = loaded(data.path(), NOW).identity();
    let forged = other_ca.issue(identity, &key, NOW).unwrap();
    cluster.write("location.pem", &to_pem(&forged)).unwrap();
    let error = refused(data.path());
    assert!(error.contains("no CA in ca.pem issued it"), "{error}");
}

#[test]
fn only_the_ca_holder_can_invite() {
    let hour = std::time::Duration::from_secs(3600);
    let invite = |data: &Path| {
        let invited = invite(data, None, hour, &super::At::new(NOW));
        invited.map(drop).expect_err("it can't").to_string()
    };
    let error = invite(TempDir::new().unwrap().path());
    assert!(error.contains("has no cluster: create one with"), "{error}");
    let (data, _) = created(NOW);
    ClusterDir::of(data.path()).remove("ca.key").unwrap();
    let error = invite(data.path());
    assert!(error.contains("invite at the location that has it"), "{error}");
}
