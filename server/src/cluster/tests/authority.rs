//! What the location that invites answers, without a network, at times that the test says.

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use kv_core::{MemberId, Operation, OriginId, Store, limits::MAX_MEMBERS};
use rcgen::{CertificateParams, KeyPair};

use super::{HOUR, asked, authority, founded, invited, name};
use crate::cluster::{
    Authority, Identity, Token,
    about::Peer,
    ca,
    certificate::{Facts, check_issued, unix_time},
    enrol::{
        Api, Claim, MAX_MESSAGE_BYTES, Newcomer, Registry, Request, Response, StoreRegistry,
        Welcome,
        message::{Der, Origins, decode_request, decode_response, encode},
        serve,
    },
    files::{self, ClusterDir},
    token::Secret,
};

const NOW: u64 = 1_800_000_000;

/// Lets all in who come to it, and counts them; fails them as it is told.
#[derive(Default)]
struct Members {
    admitted: Vec<Newcomer>,
    check: Option<&'static str>,
    /// What is wrong the next time that it looks.
    check_again: Option<&'static str>,
    admit: Option<&'static str>,
}

impl Registry for Members {
    fn check(&mut self, _newcomer: &Newcomer) -> Result<(), String> {
        let wrong = self.check;
        self.check = self.check_again.or(wrong);
        wrong.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    fn admit(&mut self, newcomer: &Newcomer) -> Result<Vec<Peer>, String> {
        match self.admit {
            Some("a panic") => panic!("of a test"),
            Some(why) => Err(why.to_owned()),
            None => {
                self.admitted.push(newcomer.clone());
                Ok(Vec::new())
            }
        }
    }
}

fn welcomed(request: &Request, authority: &Authority, now: u64) -> Welcome {
    serve(request, authority, &mut Members::default(), now).expect("it is let in")
}

fn refused(request: &Request, authority: &Authority, now: u64) -> String {
    refused_by(&mut Members::default(), request, authority, now)
}

fn refused_by(members: &mut Members, request: &Request, authority: &Authority, now: u64) -> String {
    let error = serve(request, authority, members, now).expect_err("it is not let in");
    assert_eq!(members.admitted, [], "nobody was let in");
    error.to_string()
}

#[test]
fn a_good_token_makes_a_member_with_a_certificate() {
    let (data, about) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (key, request) = asked(&token, 7);
    let mut members = Members::default();
    let welcome = serve(&request, &authority(data.path()), &mut members, NOW + 60).unwrap();
    let admitted = members.admitted;
    assert_eq!((admitted.len(), admitted[0].claim), (1, Claim::New));
    assert_eq!(admitted[0].origins, request.origins.0);
    assert_eq!((&welcome.cluster_name, &welcome.location), (&name("prod"), &name("ams")));
    let own = Peer { member: about.member, addresses: about.advertise };
    assert_eq!(welcome.members, [own]);
    let certificate = welcome.certificate.certificate();
    let facts = Facts::read(&certificate).unwrap();
    let identity = Identity { cluster: about.cluster, member: request.member };
    assert_eq!(facts.identity, Some(identity));
    assert!(facts.is_of(&key));
    let provider = rustls::crypto::ring::default_provider();
    let ca = welcome.ca.certificate();
    check_issued(&certificate, &ca, unix_time(NOW + 60), &provider).unwrap();
}

#[test]
fn a_token_that_expired_or_was_used_or_never_was_lets_nobody_in() {
    let (data, _) = founded(NOW);
    let authority = authority(data.path());
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let says = refused(&request, &authority, NOW + HOUR);
    assert!(says.contains("has expired: ask for a new one"), "{says}");

    let wrong = Request { secret: Secret([0; 16]), ..request.clone() };
    let says = refused(&wrong, &authority, NOW);
    assert!(says.contains("gave out no such token"), "{says}");
    let (other, _) = founded(NOW);
    let stranger = asked(&invited(other.path(), None, NOW), 7).1;
    assert_eq!(refused(&stranger, &authority, NOW), says, "a stranger learns no more");

    welcomed(&request, &authority, NOW);
    for (_, other) in [asked(&token, 9), asked(&token, 7)] {
        let says = refused(&other, &authority, NOW);
        assert!(says.contains("was used already, by another"), "{says}");
    }
}

#[test]
fn who_asks_again_with_the_same_id_and_key_gets_the_same_certificate() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let first = welcomed(&request, &authority(data.path()), NOW);
    // Another process, after the token's end.
    let again = welcomed(&request, &authority(data.path()), NOW + 2 * HOUR);
    assert_eq!(again, first);
}

#[test]
fn a_crash_after_the_token_was_marked_keeps_it_for_the_same_newcomer() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let crashing = authority(data.path());
    let crashed = catch_unwind(AssertUnwindSafe(|| {
        let mut members = Members { admit: Some("a panic"), ..Members::default() };
        serve(&request, &crashing, &mut members, NOW)
    }));
    assert!(crashed.is_err());
    let authority = authority(data.path());
    let says = refused(&asked(&token, 9).1, &authority, NOW);
    assert!(says.contains("was used already"), "{says}");
    let first = welcomed(&request, &authority, NOW);
    assert_eq!(welcomed(&request, &authority, NOW), first);
}

#[test]
fn who_can_not_be_made_a_member_gets_no_certificate_and_may_try_again() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let authority = authority(data.path());
    let mut failing = Members { admit: Some("the disk is full"), ..Members::default() };
    let says = refused_by(&mut failing, &request, &authority, NOW);
    assert!(says.contains("the disk is full") && says.contains("can be used again"), "{says}");
    let renamed = Request { location: Some(name("lhr")), ..request };
    assert_eq!(welcomed(&renamed, &authority, NOW).location, name("lhr"));
}

#[test]
fn who_is_seen_before_to_be_none_leaves_the_token_to_others() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let authority = authority(data.path());
    let mut full = Members { check: Some("another is called so"), ..Members::default() };
    let says = refused_by(&mut full, &asked(&token, 7).1, &authority, NOW);
    assert!(says.contains("called so") && says.contains("the token was not used"), "{says}");
    welcomed(&asked(&token, 9).1, &authority, NOW);
}

#[test]
fn a_location_that_stops_between_its_look_and_its_row_makes_nobody_a_member() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let mut stopping = Members { check_again: Some("it has stopped"), ..Members::default() };
    let (_, request) = asked(&token, 7);
    let says = refused_by(&mut stopping, &request, &authority(data.path()), NOW);
    assert!(says.contains("it has stopped; the token can be used again from it"), "{says}");
    welcomed(&request, &authority(data.path()), NOW);
}

#[test]
fn a_store_that_another_location_has_leaves_the_token_as_it_was() {
    let (data, _) = founded(NOW);
    let mut members = StoreRegistry(Store::open(data.path()).unwrap());
    let authority = authority(data.path());
    let (_, first) = asked(&invited(data.path(), None, NOW), 7);
    serve(&first, &authority, &mut members, NOW).unwrap();
    let token = invited(data.path(), None, NOW);
    let mut refused = |request: &Request| {
        let error = serve(request, &authority, &mut members, NOW).expect_err("it has no store");
        let says = error.to_string();
        assert!(says.contains("the token was not used"), "{says}");
        says
    };
    let (_, mut copy) = asked(&token, 20);
    copy.location = Some(name("lhr"));
    for origins in [first.origins.0, [first.origins.0[1], copy.origins.0[1]]] {
        let says = refused(&Request { origins: Origins(origins), ..copy.clone() });
        assert!(says.contains("the location ams has this store: one is a copy"), "{says}");
    }
    let (id, secret) = (token.id, token.secret.clone());
    let emptied = Request { token: id, secret, origins: copy.origins, ..first.clone() };
    assert!(refused(&emptied).contains("the location ams has another store"));
    serve(&copy, &authority, &mut members, NOW).expect("the token is good");
}

#[test]
fn a_cluster_that_has_had_all_its_locations_uses_up_no_token() {
    let (data, _) = founded(NOW);
    let store = Store::open(data.path()).unwrap();
    let rows = (0..u128::try_from(MAX_MEMBERS).unwrap()).map(|row| {
        let id = (1 << 64) + 4 * row;
        let operation = Operation::PutMember {
            id: MemberId(id.to_be_bytes()),
            origins: [1, 2].map(|origin| OriginId((id + origin).to_be_bytes())),
            name: format!("row-{row}"),
            addresses: vec!["ams.example:8421".into()],
        };
        store.submit(operation).unwrap()
    });
    let last = rows.collect::<Vec<_>>().pop().expect("some");
    last.wait().unwrap();
    let (_, request) = asked(&invited(data.path(), None, NOW), 7);
    let full = serve(&request, &authority(data.path()), &mut StoreRegistry(store), NOW);
    let says = full.expect_err("there is no room").to_string();
    assert!(says.contains("at most 500 locations") && says.contains("was not used"), "{says}");
}

#[test]
fn who_shows_no_token_where_the_tokens_can_not_be_read_hears_nothing_of_the_files() {
    let (data, _) = founded(NOW);
    let (_, request) = asked(&invited(data.path(), None, NOW), 7);
    let registry = Box::new(Members::default());
    let clock = std::sync::Arc::new(super::At::new(NOW));
    let api = Api::new(authority(data.path()), registry, clock).unwrap();
    let directory = ClusterDir::of(data.path());
    let whole = directory.read(files::INVITATIONS).unwrap();
    directory.write(files::INVITATIONS, "damaged").unwrap();
    let from = "192.0.2.1".parse().unwrap();
    let Err(Response::Refused(says)) = api.look(&request, from) else { panic!("no token") };
    assert!(says.contains("can't answer now"), "{says}");
    let path = data.path().display().to_string();
    assert!(!says.contains(&path) && !says.contains(files::INVITATIONS), "{says}");
    directory.write(files::INVITATIONS, &whole).unwrap();
    assert_eq!(api.look(&request, from), Ok(()));
}

#[test]
fn a_token_gives_nobody_the_id_of_a_member_that_it_is_not() {
    let (data, _) = founded(NOW);
    let store = Store::open(data.path()).unwrap();
    let mut members = StoreRegistry(store);
    let authority = authority(data.path());
    let ask = |members: &mut StoreRegistry, request: &Request, now| {
        serve(request, &authority, members, now).map_err(|error| error.to_string())
    };
    let (key, first) = asked(&invited(data.path(), None, NOW), 7);
    let welcome = ask(&mut members, &first, NOW).unwrap();
    let token = invited(data.path(), None, NOW);

    // Its answer was lost, and somebody gave it another token.
    let again = Request { token: token.id, secret: token.secret.clone(), ..first.clone() };
    ask(&mut members, &again, NOW).unwrap();

    // Whoever has a token and knows the member's id and origins, but not its key.
    let token = invited(data.path(), None, NOW);
    let (_, liar) = asked(&token, 7);
    let says = ask(&mut members, &liar, NOW).unwrap_err();
    let first_of_all = "has its id already: if it is that location, start it with this version";
    assert!(says.contains(first_of_all), "{says}");
    let with_its_certificate = Request { renews: Some(welcome.certificate.clone()), ..liar };
    let says = ask(&mut members, &with_its_certificate, NOW).unwrap_err();
    assert!(says.contains("not this location's: it is of another key"), "{says}");
    let (other, _) = founded(NOW);
    let forged = ca::Ca::generate(welcome.cluster, &name("prod"), NOW).unwrap();
    let identity = Identity { cluster: welcome.cluster, member: first.member };
    let forged = Der::from(&forged.issue(identity, &key, NOW).unwrap());
    let says = ask(&mut members, &renewal(&token, &key, &first, forged), NOW).unwrap_err();
    assert!(says.contains("the certificate to be made anew is not this location's"), "{says}");
    drop(other);

    // The token is as good as before, for the member itself too; after its certificate's end as well.
    let late = NOW + 2 * ca::LIFE;
    let token = invited(data.path(), None, late);
    let request = renewal(&token, &key, &first, welcome.certificate.clone());
    let renewed = ask(&mut members, &request, late).unwrap();
    let not_after =
        |welcome: &Welcome| Facts::read(&welcome.certificate.certificate()).unwrap().not_after;
    assert_eq!(not_after(&renewed), late + ca::LIFE);
    assert_eq!(ask(&mut members, &request, late).unwrap(), renewed, "its answer was lost");
    let says = ask(&mut members, &asked(&token, 9).1, late).unwrap_err();
    assert!(says.contains("was used already, by another"), "{says}");
}

/// What a member asks that wants another certificate.
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
fn a_name_that_is_taken_and_a_location_that_was_removed_are_told_so() {
    let (data, _) = founded(NOW);
    let store = Store::open(data.path()).unwrap();
    let mut members = StoreRegistry(store.clone());
    let authority = authority(data.path());
    let (key, first) = asked(&invited(data.path(), None, NOW), 7);
    let welcome = serve(&first, &authority, &mut members, NOW).unwrap();
    let token = invited(data.path(), None, NOW);
    let same_name = serve(&asked(&token, 9).1, &authority, &mut members, NOW);
    let says = same_name.expect_err("the name is taken").to_string();
    assert!(says.contains("another location is called \"ams\": say --location NAME"), "{says}");
    let operation = Operation::RemoveMember { id: first.member };
    store.submit(operation).unwrap().wait().unwrap();
    let request = renewal(&token, &key, &first, welcome.certificate);
    let says = serve(&request, &authority, &mut members, NOW).expect_err("it left").to_string();
    assert!(says.contains("was removed from the cluster: start it with an empty"), "{says}");
}

#[test]
fn a_request_that_can_not_be_leaves_the_token_as_it_was() {
    let (data, about) = founded(NOW);
    let authority = authority(data.path());
    let token = invited(data.path(), Some("ams"), NOW);
    let (_, request) = asked(&token, 7);
    let change = |change: &dyn Fn(&mut Request)| {
        let mut request = request.clone();
        change(&mut request);
        request
    };
    let mut csr = request.csr.0.clone();
    *csr.last_mut().unwrap() ^= 1;
    for (wrong, says) in [
        (change(&|r| r.location = Some(name("lhr"))), "is for the location ams, not for lhr"),
        (change(&|r| r.addresses.clear()), "1 to 8 addresses"),
        (change(&|r| r.addresses = vec!["a:1".parse().unwrap(); 9]), "1 to 8 addresses"),
        (change(&|r| r.member = about.member), "the location that invites"),
        (change(&|r| r.csr = Der(vec![1, 2, 3])), "signing request can't be"),
        (change(&|r| r.csr = Der(csr.clone())), "signing request can't be"),
    ] {
        let said = refused(&wrong, &authority, NOW);
        assert!(said.contains(says), "{said}");
    }
    let unnamed = change(&|r| r.location = None);
    assert_eq!(welcomed(&unnamed, &authority, NOW).location, name("ams"));
}

#[test]
fn who_guesses_is_told_less_and_keeps_nobody_out() {
    let (data, _) = founded(NOW);
    let registry = Box::new(Members::default());
    let clock = std::sync::Arc::new(super::At::new(NOW));
    let api = Api::new(authority(data.path()), registry, clock).unwrap();
    let (_, request) = asked(&invited(data.path(), None, NOW), 7);
    let wrong = Request { secret: Secret([0; 16]), ..request.clone() };
    let answer = |request: &Request, from: IpAddr| match api.look(request, from) {
        Ok(()) => match api.answer(request, from) {
            Response::Refused(why) => why,
            Response::Welcome(_) => "welcome".into(),
        },
        Err(Response::Refused(why)) => why,
        Err(Response::Welcome(_)) => panic!("nobody is let in by a look"),
    };
    let is_plain = |says: &String| !says.contains("too many wrong ones");
    let guesses = |from: &str, count: usize| {
        let from = from.parse().unwrap();
        (0..count).map(|_| answer(&wrong, from)).filter(is_plain).count()
    };
    assert_eq!(guesses("192.0.2.1", 100), 60);
    assert_eq!(guesses("192.0.2.2", 30), 30, "another is not meant");
    assert_eq!(guesses("2001:db8::1", 50) + guesses("2001:db8::2", 50), 60, "one network");
    for network in 0..20 {
        guesses(&format!("198.51.100.{network}"), 60);
    }
    assert_eq!(guesses("192.0.2.3", 1), 0, "there are too many of all");
    for from in ["192.0.2.1", "2001:db8::1", "192.0.2.3"] {
        let from: IpAddr = from.parse().unwrap();
        assert_eq!(answer(&request, from), "welcome", "a right token is never refused");
    }
}

#[test]
fn messages_read_back_and_damaged_ones_are_refused_without_a_panic_or_a_secret() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
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
fn a_newcomer_is_a_member_durably_also_where_the_store_is_relaxed() {
    let (data, _) = founded(NOW);
    let within = std::time::Duration::from_millis(20);
    let durability = kv_core::Durability::Relaxed { within };
    let store = kv_core::Options::new().durability(durability).open(data.path()).unwrap();
    let (_, request) = asked(&invited(data.path(), None, NOW), 7);
    let mut members = StoreRegistry(store.clone());
    let newcomer = request.member;
    serve(&request, &authority(data.path()), &mut members, NOW).unwrap();
    assert!(store.durable_view().members().is_current(newcomer));
}
