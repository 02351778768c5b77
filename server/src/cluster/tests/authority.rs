//! What the location that invites answers, without a network, at times that the test says.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{HOUR, asked, authority, founded, invited, name};
use crate::cluster::{
    Authority, Identity,
    about::Peer,
    certificate::{Facts, check_issued, unix_time},
    enrol::{
        MAX_MESSAGE_BYTES, Newcomer, Request, Response, Welcome, admit_to,
        message::{Der, decode_request, decode_response, encode},
        serve,
    },
    token::Secret,
};

const NOW: u64 = 1_800_000_000;

/// Answers a request; all that are admitted are counted.
fn answer(request: &Request, authority: &mut Authority, now: u64) -> (Response, Vec<Newcomer>) {
    let mut admitted = Vec::new();
    let mut admit = |newcomer: &Newcomer| {
        admitted.push(newcomer.clone());
        Ok(Vec::new())
    };
    let response = serve(request, authority, &mut admit, now);
    (response, admitted)
}

fn welcomed(request: &Request, authority: &mut Authority, now: u64) -> Welcome {
    match answer(request, authority, now).0 {
        Response::Welcome(welcome) => *welcome,
        Response::Refused(why) => panic!("it was refused: {why}"),
    }
}

fn refused(request: &Request, authority: &mut Authority, now: u64) -> String {
    let (response, admitted) = answer(request, authority, now);
    assert_eq!(admitted, [], "nobody was let in");
    match response {
        Response::Refused(why) => why,
        Response::Welcome(welcome) => panic!("it was let in: {welcome:?}"),
    }
}

#[test]
fn a_good_token_makes_a_member_with_a_certificate() {
    let (data, about) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (key, request) = asked(&token, 7);
    let (response, admitted) = answer(&request, &mut authority(data.path()), NOW + 60);
    let Response::Welcome(welcome) = response else { panic!("{response:?}") };
    assert_eq!(admitted.len(), 1);
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
    let mut authority = authority(data.path());
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let says = refused(&request, &mut authority, NOW + HOUR);
    assert!(says.contains("has expired: ask for a new one"), "{says}");

    let wrong = Request { secret: Secret([0; 16]), ..request.clone() };
    let says = refused(&wrong, &mut authority, NOW);
    assert!(says.contains("gave out no such token"), "{says}");
    let (other, _) = founded(NOW);
    let stranger = asked(&invited(other.path(), None, NOW), 7).1;
    assert_eq!(refused(&stranger, &mut authority, NOW), says, "a stranger learns no more");

    welcomed(&request, &mut authority, NOW);
    for (_, other) in [asked(&token, 9), asked(&token, 7)] {
        let says = refused(&other, &mut authority, NOW);
        assert!(says.contains("was used already, by another"), "{says}");
    }
}

#[test]
fn who_asks_again_with_the_same_id_and_key_gets_the_same_certificate() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let first = welcomed(&request, &mut authority(data.path()), NOW);
    // Another process, after the token's end.
    let again = welcomed(&request, &mut authority(data.path()), NOW + 2 * HOUR);
    assert_eq!(again, first);
}

#[test]
fn a_crash_after_the_token_was_marked_keeps_it_for_the_same_newcomer() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let mut crashing = authority(data.path());
    let crashed = catch_unwind(AssertUnwindSafe(|| {
        let mut admit = |_: &Newcomer| -> Result<Vec<Peer>, String> { panic!("of a test") };
        serve(&request, &mut crashing, &mut admit, NOW)
    }));
    assert!(crashed.is_err());
    let mut authority = authority(data.path());
    let says = refused(&asked(&token, 9).1, &mut authority, NOW);
    assert!(says.contains("was used already"), "{says}");
    let first = welcomed(&request, &mut authority, NOW);
    assert_eq!(welcomed(&request, &mut authority, NOW), first);
}

#[test]
fn who_can_not_be_made_a_member_gets_no_certificate_and_may_try_again() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let mut authority = authority(data.path());
    let mut admit = |_: &Newcomer| Err("another location is called \"ams\"".to_owned());
    let response = serve(&request, &mut authority, &mut admit, NOW);
    let Response::Refused(says) = response else { panic!("{response:?}") };
    assert!(says.contains("is called \"ams\"") && says.contains("can be used again"), "{says}");
    let renamed = Request { location: Some(name("lhr")), ..request };
    assert_eq!(welcomed(&renamed, &mut authority, NOW).location, name("lhr"));
}

#[test]
fn a_request_that_can_not_be_leaves_the_token_as_it_was() {
    let (data, about) = founded(NOW);
    let mut authority = authority(data.path());
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
        let said = refused(&wrong, &mut authority, NOW);
        assert!(said.contains(says), "{said}");
    }
    let unnamed = change(&|r| r.location = None);
    assert_eq!(welcomed(&unnamed, &mut authority, NOW).location, name("ams"));
}

#[test]
fn who_guesses_is_held_up() {
    let (data, _) = founded(NOW);
    let mut authority = authority(data.path());
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let wrong = Request { secret: Secret([0; 16]), ..request.clone() };
    let guesses = (0..100).map(|_| refused(&wrong, &mut authority, NOW));
    assert_eq!(guesses.filter(|says| says.contains("no such token")).count(), 60);
    assert!(refused(&request, &mut authority, NOW).contains("try again in a minute"));
    welcomed(&request, &mut authority, NOW + 60);
}

#[test]
fn messages_read_back_and_damaged_ones_are_refused_without_a_panic_or_a_secret() {
    let (data, _) = founded(NOW);
    let token = invited(data.path(), None, NOW);
    let (_, request) = asked(&token, 7);
    let bytes = encode(&request);
    assert_eq!(decode_request(&bytes).unwrap(), request);
    let answers = [
        Response::Welcome(Box::new(welcomed(&request, &mut authority(data.path()), NOW))),
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
    let mut admit = |newcomer: &Newcomer| {
        let members = admit_to(&store, newcomer)?;
        assert!(store.durable_view().members().is_current(newcomer.member));
        Ok(members)
    };
    let response = serve(&request, &mut authority(data.path()), &mut admit, NOW);
    assert!(matches!(response, Response::Welcome(_)), "{response:?}");
    // Another store under the same id, as of a copied directory, is refused by the store.
    let (_, mut other) = asked(&invited(data.path(), None, NOW), 7);
    other.origins.0[0].0[0] ^= 1;
    let response = serve(&other, &mut authority(data.path()), &mut admit, NOW);
    let Response::Refused(says) = response else { panic!("{response:?}") };
    assert!(says.contains("can't be made a member: the location"), "{says}");
}
