//! The responses of the CA holder, without a network, at times that the test sets.

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use kv_core::{MemberId, Operation, Store, WriteError, limits::MAX_MEMBERS};
use rcgen::{CertificateParams, KeyPair};

use super::{HOUR, authority, created, invited, name, new_request};
use crate::cluster::{
    Authority, Identity, Peer, Token,
    enrol::{
        AdmissionError, Claim, EnrolServer, JoiningMember, MAX_MESSAGE_BYTES, Registry, Request,
        Response, StoreRegistry, Welcome, admit,
        authority::renew,
        message::{
            Der, Inquiry, RenewalRequest, decode_inquiry, decode_request, decode_response, encode,
            encode_renewal,
        },
    },
    state::{
        ca,
        certificate::{Facts, check_issued, unix_time},
        files::{self, ClusterDir},
        token::Secret,
    },
};

const NOW: u64 = 1_800_000_000;

/// Admits every location and keeps it, or fails as the test sets it.
#[derive(Default)]
struct Members {
    admitted: Vec<JoiningMember>,
    check: Option<&'static str>,
    /// How the next check fails.
    check_again: Option<&'static str>,
    admit: Option<&'static str>,
}

impl Registry for Members {
    fn check(&mut self, _joining: &JoiningMember) -> Result<(), AdmissionError> {
        let wrong = self.check;
        self.check = self.check_again.or(wrong);
        wrong.map_or(Ok(()), |reason| Err(failed(reason)))
    }

    fn admit(&mut self, joining: &JoiningMember) -> Result<Vec<Peer>, AdmissionError> {
        match self.admit {
            Some("a panic") => panic!("of a test"),
            Some(reason) => Err(failed(reason)),
            None => {
                self.admitted.push(joining.clone());
                Ok(Vec::new())
            }
        }
    }

    fn check_renewal(&mut self, _member: MemberId) -> Result<(), AdmissionError> {
        Ok(())
    }
}

fn failed(reason: &str) -> AdmissionError {
    AdmissionError::Write(WriteError::Failed(reason.to_owned()))
}

fn welcomed(request: &Request, authority: &Authority, now: u64) -> Welcome {
    admit(request, authority, &mut Members::default(), now).expect("it is admitted")
}

fn refused(request: &Request, authority: &Authority, now: u64) -> String {
    refused_by(&mut Members::default(), request, authority, now)
}

fn refused_by(members: &mut Members, request: &Request, authority: &Authority, now: u64) -> String {
    let error = admit(request, authority, members, now).expect_err("it is refused");
    assert_eq!(members.admitted, [], "nobody was admitted");
    error.to_string()
}

#[test]
fn a_valid_token_makes_a_member_with_a_certificate() {
    let (data, descriptor) = created(NOW);
    let token = invited(data.path(), None, NOW);
    let (key, request) = new_request(&token, 7);
    let mut members = Members::default();
    let welcome = admit(&request, &authority(data.path()), &mut members, NOW + 60).unwrap();
    let admitted = members.admitted;
    assert_eq!((admitted.len(), admitted[0].claim), (1, Claim::New));
    assert_eq!((&welcome.cluster_name, &welcome.location), (&name("prod"), &name("ams")));
    let own = Peer { member: descriptor.member, addresses: descriptor.advertise };
    assert_eq!(welcome.members, [own]);
    let certificate = welcome.certificate.certificate();
    let facts = Facts::read(&certificate).unwrap();
    let identity = Identity { cluster: descriptor.cluster, member: request.member };
    assert_eq!(facts.identity, Some(identity));
    assert!(facts.is_of(&key));
    let provider = rustls::crypto::ring::default_provider();
    let ca = welcome.ca.certificate();
    check_issued(&certificate, &ca, unix_time(NOW + 60), &provider).unwrap();
}

#[test]
fn an_expired_used_or_unknown_token_is_refused() {
    let (data, _) = created(NOW);
    let authority = authority(data.path());
    let token = invited(data.path(), None, NOW);
    let (_, request) = new_request(&token, 7);
    let error = refused(&request, &authority, NOW + HOUR);
    assert!(error.contains("has expired: ask for a new one"), "{error}");

    let wrong = Request { secret: Secret([0; 16]), ..request.clone() };
    let error = refused(&wrong, &authority, NOW);
    assert!(error.contains("did not issue the token"), "{error}");
    let (other, _) = created(NOW);
    let unknown = new_request(&invited(other.path(), None, NOW), 7).1;
    assert_eq!(refused(&unknown, &authority, NOW), error, "an unauthenticated peer learns no more");

    welcomed(&request, &authority, NOW);
    for (_, other) in [new_request(&token, 9), new_request(&token, 7)] {
        let error = refused(&other, &authority, NOW);
        assert!(error.contains("has already been used by another"), "{error}");
    }
}

#[test]
fn a_retry_with_the_same_id_and_key_gets_the_same_certificate() {
    let (data, _) = created(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = new_request(&token, 7);
    let first = welcomed(&request, &authority(data.path()), NOW);
    // Another process, after the token's end.
    let again = welcomed(&request, &authority(data.path()), NOW + 2 * HOUR);
    assert_eq!(again, first);
}

#[test]
fn a_crash_after_the_token_is_marked_reserves_it_for_the_same_location() {
    let (data, _) = created(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = new_request(&token, 7);
    let crashing = authority(data.path());
    let crashed = catch_unwind(AssertUnwindSafe(|| {
        let mut members = Members { admit: Some("a panic"), ..Members::default() };
        admit(&request, &crashing, &mut members, NOW)
    }));
    assert!(crashed.is_err());
    let authority = authority(data.path());
    let error = refused(&new_request(&token, 9).1, &authority, NOW);
    assert!(error.contains("has already been used"), "{error}");
    let first = welcomed(&request, &authority, NOW);
    assert_eq!(welcomed(&request, &authority, NOW), first);
}

#[test]
fn a_location_whose_admission_fails_gets_no_certificate_and_can_retry() {
    let (data, _) = created(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = new_request(&token, 7);
    let authority = authority(data.path());
    let mut failing = Members { admit: Some("the disk is full"), ..Members::default() };
    let error = refused_by(&mut failing, &request, &authority, NOW);
    assert!(error.contains("the disk is full") && error.contains("can be used again"), "{error}");
    let renamed = Request { location: Some(name("lhr")), ..request };
    assert_eq!(welcomed(&renamed, &authority, NOW).location, name("lhr"));
}

#[test]
fn a_location_that_fails_the_check_leaves_the_token_to_others() {
    let (data, _) = created(NOW);
    let token = invited(data.path(), None, NOW);
    let authority = authority(data.path());
    let mut full = Members { check: Some("another has this name"), ..Members::default() };
    let error = refused_by(&mut full, &new_request(&token, 7).1, &authority, NOW);
    assert!(error.contains("has this name") && error.contains("the token was not used"), "{error}");
    welcomed(&new_request(&token, 9).1, &authority, NOW);
}

#[test]
fn a_ca_holder_that_stops_between_the_check_and_the_row_admits_no_location() {
    let (data, _) = created(NOW);
    let token = invited(data.path(), None, NOW);
    let mut stopping = Members { check_again: Some("it has stopped"), ..Members::default() };
    let (_, request) = new_request(&token, 7);
    let error = refused_by(&mut stopping, &request, &authority(data.path()), NOW);
    assert!(error.contains("it has stopped; the token can be used again from it"), "{error}");
    welcomed(&request, &authority(data.path()), NOW);
}

#[test]
fn a_full_cluster_leaves_the_token_unchanged_until_a_location_is_removed() {
    let (data, _) = created(NOW);
    let store = Store::open(data.path()).unwrap();
    let rows = (0..u128::try_from(MAX_MEMBERS).unwrap()).map(|row| {
        let id = (1 << 64) + 4 * row;
        let operation = Operation::PutMember {
            id: MemberId(id.to_be_bytes()),
            name: format!("row-{row}"),
            addresses: vec!["ams.example:8421".into()],
        };
        store.submit(operation).unwrap()
    });
    let last = rows.collect::<Vec<_>>().pop().expect("some");
    last.wait().unwrap();
    let (_, request) = new_request(&invited(data.path(), None, NOW), 7);
    let (authority, mut registry) = (authority(data.path()), StoreRegistry(store.clone()));
    let full = admit(&request, &authority, &mut registry, NOW);
    let error = full.expect_err("the cluster is full").to_string();
    assert!(error.contains("has 500 locations") && error.contains("was not used"), "{error}");
    let id = MemberId((1_u128 << 64).to_be_bytes());
    store.submit(Operation::RemoveMember { id }).unwrap().wait().unwrap();
    admit(&request, &authority, &mut registry, NOW).expect("there is room");
}

#[test]
fn a_peer_learns_nothing_of_the_files_if_they_can_not_be_read() {
    let (data, _) = created(NOW);
    let (_, request) = new_request(&invited(data.path(), None, NOW), 7);
    let registry = Box::new(Members::default());
    let clock = std::sync::Arc::new(super::At::new(NOW));
    let server = EnrolServer::new(authority(data.path()), registry, clock).unwrap();
    let directory = ClusterDir::of(data.path());
    let whole = directory.read(files::INVITATIONS).unwrap();
    directory.write(files::INVITATIONS, "damaged").unwrap();
    let from = "192.0.2.1".parse().unwrap();
    let Err(Response::Refused(error)) = server.check_token(&request, from) else {
        panic!("no token")
    };
    assert!(error.contains("can't respond now"), "{error}");
    let path = data.path().display().to_string();
    assert!(!error.contains(&path) && !error.contains(files::INVITATIONS), "{error}");
    directory.write(files::INVITATIONS, &whole).unwrap();
    assert_eq!(server.check_token(&request, from), Ok(()));
}

#[test]
fn a_token_does_not_give_another_location_the_id_of_a_member() {
    let (data, _) = created(NOW);
    let store = Store::open(data.path()).unwrap();
    let mut members = StoreRegistry(store);
    let authority = authority(data.path());
    let ask = |members: &mut StoreRegistry, request: &Request, now| {
        admit(request, &authority, members, now).map_err(|error| error.to_string())
    };
    let (key, first) = new_request(&invited(data.path(), None, NOW), 7);
    let welcome = ask(&mut members, &first, NOW).unwrap();
    let token = invited(data.path(), None, NOW);

    // The response was lost, and the location got another token.
    let again = Request { token: token.id, secret: token.secret.clone(), ..first.clone() };
    ask(&mut members, &again, NOW).unwrap();

    // An impostor with a token that knows the member's id and origins, but not its key.
    let token = invited(data.path(), None, NOW);
    let (_, impostor) = new_request(&token, 7);
    let error = ask(&mut members, &impostor, NOW).unwrap_err();
    let first_of_all = "already has its id: if it is that location, start it with this version";
    assert!(error.contains(first_of_all), "{error}");
    let with_its_certificate = Request { renews: Some(welcome.certificate.clone()), ..impostor };
    let error = ask(&mut members, &with_its_certificate, NOW).unwrap_err();
    assert!(error.contains("not this location's: it is for another key"), "{error}");
    let (other, _) = created(NOW);
    let forged = ca::Ca::generate(welcome.cluster, &name("prod"), NOW).unwrap();
    let identity = Identity { cluster: welcome.cluster, member: first.member };
    let forged = Der::from(&forged.issue(identity, &key, NOW).unwrap());
    let error = ask(&mut members, &renewal(&token, &key, &first, forged), NOW).unwrap_err();
    assert!(error.contains("the certificate to be renewed is not this location's"), "{error}");
    drop(other);

    // The token is still valid, also for the member itself, and even after its certificate has expired.
    let late = NOW + 2 * ca::LIFE;
    let token = invited(data.path(), None, late);
    let request = renewal(&token, &key, &first, welcome.certificate.clone());
    let renewed = ask(&mut members, &request, late).unwrap();
    let not_after =
        |welcome: &Welcome| Facts::read(&welcome.certificate.certificate()).unwrap().not_after;
    assert_eq!(not_after(&renewed), late + ca::LIFE);
    assert_eq!(ask(&mut members, &request, late).unwrap(), renewed, "a retry");
    let error = ask(&mut members, &new_request(&token, 9).1, late).unwrap_err();
    assert!(error.contains("has already been used by another"), "{error}");
}

/// The request of a member for a renewal.
fn renewal(token: &Token, key: &KeyPair, first: &Request, old: Der) -> Request {
    let csr = CertificateParams::new(Vec::new()).unwrap().serialize_request(key).unwrap();
    Request {
        token: token.id,
        secret: token.secret.clone(),
        csr: Der(csr.der().to_vec()),
        renews: Some(old),
        ..first.clone()
    }
}

#[test]
fn a_taken_name_and_a_removed_location_are_reported() {
    let (data, _) = created(NOW);
    let store = Store::open(data.path()).unwrap();
    let mut members = StoreRegistry(store.clone());
    let authority = authority(data.path());
    let (key, first) = new_request(&invited(data.path(), None, NOW), 7);
    let welcome = admit(&first, &authority, &mut members, NOW).unwrap();
    let token = invited(data.path(), None, NOW);
    let same_name = admit(&new_request(&token, 9).1, &authority, &mut members, NOW);
    let error = same_name.expect_err("the name is taken").to_string();
    assert!(error.contains("another location is called \"ams\": set --location NAME"), "{error}");
    let operation = Operation::RemoveMember { id: first.member };
    store.submit(operation).unwrap().wait().unwrap();
    let request = renewal(&token, &key, &first, welcome.certificate);
    let error =
        admit(&request, &authority, &mut members, NOW).expect_err("it was removed").to_string();
    assert!(error.contains("was removed from the cluster: start it with an empty"), "{error}");
}

#[test]
fn an_invalid_request_leaves_the_token_unchanged() {
    let (data, descriptor) = created(NOW);
    let authority = authority(data.path());
    let token = invited(data.path(), Some("ams"), NOW);
    let (_, request) = new_request(&token, 7);
    let change = |change: &dyn Fn(&mut Request)| {
        let mut request = request.clone();
        change(&mut request);
        request
    };
    let mut csr = request.csr.0.clone();
    *csr.last_mut().unwrap() ^= 1;
    for (wrong, part) in [
        (change(&|r| r.location = Some(name("lhr"))), "is for the location ams, not for lhr"),
        (change(&|r| r.addresses.clear()), "1 to 8 addresses"),
        (change(&|r| r.addresses = vec!["a:1".parse().unwrap(); 9]), "1 to 8 addresses"),
        (change(&|r| r.member = descriptor.member), "the id of the CA holder"),
        (change(&|r| r.csr = Der(vec![1, 2, 3])), "signing request is not valid"),
        (change(&|r| r.csr = Der(csr.clone())), "signing request is not valid"),
    ] {
        let error = refused(&wrong, &authority, NOW);
        assert!(error.contains(part), "{error}");
    }
    let unnamed = change(&|r| r.location = None);
    assert_eq!(welcomed(&unnamed, &authority, NOW).location, name("ams"));
}

#[test]
fn guesses_get_less_specific_responses_and_block_no_joining_member() {
    let (data, _) = created(NOW);
    let registry = Box::new(Members::default());
    let clock = std::sync::Arc::new(super::At::new(NOW));
    let server = EnrolServer::new(authority(data.path()), registry, clock).unwrap();
    let (_, request) = new_request(&invited(data.path(), None, NOW), 7);
    let wrong = Request { secret: Secret([0; 16]), ..request.clone() };
    let answer = |request: &Request, from: IpAddr| match server.check_token(request, from) {
        Ok(()) => match server.respond(request, from) {
            Response::Refused(why) => why,
            Response::Welcome(_) | Response::Renewed(_) => "welcome".into(),
        },
        Err(Response::Refused(why)) => why,
        Err(_) => panic!("a check admits nobody"),
    };
    let is_plain = |error: &String| !error.contains("too many wrong ones");
    let guesses = |from: &str, count: usize| {
        let from = from.parse().unwrap();
        (0..count).map(|_| answer(&wrong, from)).filter(is_plain).count()
    };
    assert_eq!(guesses("192.0.2.1", 100), 60);
    assert_eq!(guesses("192.0.2.2", 30), 30, "another network is not affected");
    assert_eq!(guesses("2001:db8::1", 50) + guesses("2001:db8::2", 50), 60, "one network");
    for network in 0..20 {
        guesses(&format!("198.51.100.{network}"), 60);
    }
    assert_eq!(guesses("192.0.2.3", 1), 0, "there are too many of all");
    for from in ["192.0.2.1", "2001:db8::1", "192.0.2.3"] {
        let from: IpAddr = from.parse().unwrap();
        assert_eq!(answer(&request, from), "welcome", "a valid token is never refused");
    }
}

#[test]
fn messages_round_trip_and_damaged_ones_are_rejected_without_a_panic_or_a_secret() {
    let (data, _) = created(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = new_request(&token, 7);
    let bytes = encode(&request);
    assert_eq!(decode_request(&bytes).unwrap(), request);
    let answers = [
        Response::Welcome(Box::new(welcomed(&request, &authority(data.path()), NOW))),
        Response::Refused("no".into()),
    ];
    for answer in &answers {
        assert_eq!(decode_response(&encode(answer)).unwrap(), *answer);
    }
    let secret = data_encoding::BASE64.encode(&token.secret.0);
    for at in 0..bytes.len() {
        assert!(decode_request(&bytes[..at]).is_err());
        for flip in [0x01, 0x20, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            if let Err(error) = decode_request(&damaged) {
                assert!(!error.to_string().contains(&secret), "{error}");
            }
        }
    }
    assert!(decode_request(&vec![b' '; MAX_MESSAGE_BYTES + 1]).is_err());
    assert!(decode_response(b"\xff\x00").is_err());
}

#[test]
fn an_admission_is_durable_even_if_the_store_is_relaxed() {
    let (data, _) = created(NOW);
    let within = std::time::Duration::from_millis(20);
    let durability = kv_core::Durability::Relaxed { within };
    let store = kv_core::Options::new().durability(durability).open(data.path()).unwrap();
    let (_, request) = new_request(&invited(data.path(), None, NOW), 7);
    let mut members = StoreRegistry(store.clone());
    let member = request.member;
    admit(&request, &authority(data.path()), &mut members, NOW).unwrap();
    assert!(store.durable_view().members().is_current(member));
}

#[test]
fn a_renewal_without_a_token_needs_the_certificate_and_the_key_of_a_member() {
    let (data, _) = created(NOW);
    let store = Store::open(data.path()).unwrap();
    let mut members = StoreRegistry(store.clone());
    let authority = authority(data.path());
    let (key, first) = new_request(&invited(data.path(), None, NOW), 7);
    let welcome = admit(&first, &authority, &mut members, NOW).unwrap();
    let csr_of = |key: &KeyPair| {
        let csr = CertificateParams::new(Vec::new()).unwrap().serialize_request(key).unwrap();
        Der(csr.der().to_vec())
    };
    let (member, renews) = (first.member, welcome.certificate.clone());
    let request = RenewalRequest { member, csr: csr_of(&key), renews };
    let late = NOW + 2 * ca::LIFE;
    let renewed = renew(&request, &authority, &mut members, late).unwrap();
    let facts = Facts::read(&renewed.certificate.own.certificate()).unwrap();
    assert_eq!(facts.not_after, late + ca::LIFE);
    assert!(facts.is_of(&key));
    assert_eq!(facts.identity, Some(Identity { cluster: welcome.cluster, member }));

    let forged = ca::Ca::generate(welcome.cluster, &name("prod"), NOW).unwrap();
    let identity = Identity { cluster: welcome.cluster, member };
    let forged = Der::from(&forged.issue(identity, &key, NOW).unwrap());
    let change = |change: &dyn Fn(&mut RenewalRequest)| {
        let mut request = request.clone();
        change(&mut request);
        request
    };
    let other_key = ca::new_key().unwrap();
    for (wrong, part) in [
        (change(&|r| r.csr = csr_of(&other_key)), "it is for another key"),
        (change(&|r| r.member = MemberId([8; 16])), "it names another"),
        (change(&|r| r.renews = forged.clone()), "is not this location's"),
        (change(&|r| r.renews = Der(vec![1, 2])), "is not a certificate"),
        (change(&|r| r.csr = Der(vec![1, 2])), "signing request is not valid"),
    ] {
        let error = renew(&wrong, &authority, &mut members, NOW).expect_err("wrong").to_string();
        assert!(error.contains(part), "{error}");
    }
    let end = NOW + ca::CA_LIFE;
    let error = renew(&request, &authority, &mut members, end).expect_err("it ended").to_string();
    assert!(error.contains("the cluster's CA expired on"), "{error}");
    let operation = Operation::RemoveMember { id: member };
    store.submit(operation).unwrap().wait().unwrap();
    let error = renew(&request, &authority, &mut members, NOW).expect_err("removed").to_string();
    assert!(error.contains("was removed from the cluster: start it with an empty"), "{error}");
}

#[test]
fn a_renewal_and_a_request_for_membership_are_distinguished() {
    let (data, _) = created(NOW);
    let (_, join) = new_request(&invited(data.path(), None, NOW), 7);
    let decoded = decode_inquiry(&encode(&join)).unwrap();
    assert_eq!(decoded, Inquiry::Join(Box::new(join.clone())));
    let request =
        RenewalRequest { member: join.member, csr: join.csr.clone(), renews: Der(vec![1]) };
    let decoded = decode_inquiry(&encode_renewal(request.clone())).unwrap();
    assert_eq!(decoded, Inquiry::Renew(request));
    for garbage in [&b""[..], b"{}", b"{\"renewal\":null}", b"{\"renewal\":{}}"] {
        assert!(decode_inquiry(garbage).is_err());
    }
}
