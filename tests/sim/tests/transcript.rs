//! What was once written down between two locations is still understood.
//!
//! `WAYPOST_RECORD=1 cargo test -p waypost-sim-tests --test transcript` writes it down anew, which
//! only a message that no released program sends may make necessary.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use waypost_sim_tests::{
    mesh::traffic::{KINDS, kind},
    transcript::{Transcript, replay::replay, session::record},
};

const ABOUT: &str = "\
# Messages of version 1 between two locations, and the rows of the second at the end.
# See tests/sim/src/transcript.rs; tests/sim/tests/transcript.rs says how to record it anew.
";

fn fixture() -> Transcript {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/version-1.txt");
    if std::env::var_os("WAYPOST_RECORD").is_some() {
        let text = format!("{ABOUT}{}", record().print());
        // Two tests may record at once: the text is the same, and comes in one step.
        let part = path.with_extension(format!("{:?}", std::thread::current().id()));
        fs::write(&part, text).unwrap();
        fs::rename(&part, &path).unwrap();
    }
    Transcript::parse(&fs::read_to_string(&path).unwrap()).unwrap()
}

#[test]
fn each_message_is_read_and_written_as_it_was() {
    for sent in fixture().messages {
        let name = KINDS[kind(&sent.bytes)];
        let again = kv_replicate::reencode_message(&sent.bytes);
        assert_eq!(again.unwrap(), sent.bytes, "{name} of {}", sent.at);
    }
}

#[test]
fn a_location_that_hears_it_again_has_the_same_rows() {
    let fixture = fixture();
    assert_eq!(replay(&fixture).unwrap(), fixture.rows);
}

#[test]
fn it_has_every_kind_of_message_and_of_row() {
    let fixture = fixture();
    let kinds: BTreeSet<_> = fixture.messages.iter().map(|sent| kind(&sent.bytes)).collect();
    assert_eq!(kinds, (1..KINDS.len()).collect());
    for content in [" value", " large", " deleted", " expired", "{\"a\":1}"] {
        assert!(fixture.rows.iter().any(|row| row.contains(content)), "no row of{content}");
    }
}

#[test]
fn a_session_is_the_same_whenever_it_is_recorded() {
    let transcript = record();
    assert_eq!(Transcript::parse(&transcript.print()), Ok(transcript.clone()));
    assert_eq!(record(), transcript);
}
