//! Recorded messages between two locations are still understood.
//!
//! `WAYPOST_RECORD=1 cargo test -p waypost-sim-tests --test transcript` records them again, which
//! is only correct for messages that no released version sends.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use waypost_sim_tests::{
    mesh::traffic::{DURABLE, KINDS, REPORT, kind},
    transcript::{Transcript, replay::replay, session::record},
};

const ABOUT: &str = "\
# Messages of version 2 between two locations, and the rows of the second at the end.
# See tests/sim/src/transcript.rs; tests/sim/tests/transcript.rs explains how to record it again.
";

fn fixture() -> Transcript {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/version-2.txt");
    if std::env::var_os("WAYPOST_RECORD").is_some() {
        let text = format!("{ABOUT}{}", record().print());
        // Two tests may record at the same time: the text is the same, and the file is replaced
        // atomically.
        let part = path.with_extension(format!("{:?}", std::thread::current().id()));
        fs::write(&part, text).unwrap();
        fs::rename(&part, &path).unwrap();
    }
    Transcript::parse(&fs::read_to_string(&path).unwrap()).unwrap()
}

#[test]
fn each_recorded_message_decodes_and_encodes_unchanged() {
    for sent in fixture().messages {
        let name = KINDS[kind(&sent.bytes)];
        let again = kv_replicate::reencode_message(&sent.bytes);
        assert_eq!(again.unwrap(), sent.bytes, "{name} of {}", sent.at);
    }
}

#[test]
fn a_location_that_receives_the_recording_has_the_same_rows() {
    let fixture = fixture();
    assert_eq!(replay(&fixture).unwrap(), fixture.rows);
}

#[test]
fn the_recording_has_every_kind_of_message_and_row() {
    let fixture = fixture();
    let kinds: BTreeSet<_> = fixture.messages.iter().map(|sent| kind(&sent.bytes)).collect();
    // In a cluster of two, progress itself is sent as soon as "durable" would be.
    assert_eq!(kinds, (1..DURABLE).chain([REPORT]).collect());
    for content in [" value", " large", " deleted", " expired", " joined", "{\"a\":1}"] {
        assert!(fixture.rows.iter().any(|row| row.contains(content)), "no row of{content}");
    }
}

#[test]
fn recording_is_deterministic() {
    let transcript = record();
    assert_eq!(Transcript::parse(&transcript.print()), Ok(transcript.clone()));
    assert_eq!(record(), transcript);
}
