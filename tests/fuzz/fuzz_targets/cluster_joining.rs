//! The data that a joining member and its sponsor exchange: tokens, messages, signing requests and
//! certificates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rustls::pki_types::CertificateDer;
use waypost::cluster::{
    Token,
    enrol::{
        authority::read_csr,
        message::{
            Der, Inquiry, decode_inquiry, decode_request, decode_response, encode, encode_renewal,
        },
    },
    state::certificate::Facts,
};

fn check_token(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(token) = text.parse::<Token>() else { return };
    assert_eq!(token.to_string().parse(), Ok(token));
}

fn check_messages(input: &[u8]) {
    if let Ok(request) = decode_request(input) {
        assert_eq!(decode_request(&encode(&request)).expect("an encoded request decodes"), request);
    }
    if let Ok(Inquiry::Renew(request)) = decode_inquiry(input) {
        let again = decode_inquiry(&encode_renewal(request.clone()));
        assert_eq!(again.expect("an encoded request decodes"), Inquiry::Renew(request));
    }
    if let Ok(response) = decode_response(input) {
        assert_eq!(
            decode_response(&encode(&response)).expect("an encoded response decodes"),
            response
        );
    }
}

fuzz_target!(|input: &[u8]| {
    check_token(input);
    check_messages(input);
    let _refused_or_not = read_csr(&Der(input.to_vec()));
    if let Ok(facts) = Facts::read(&CertificateDer::from(input)) {
        assert!(input.len() > facts.public_key.len());
    }
});
