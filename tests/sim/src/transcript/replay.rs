//! Replays one side of a transcript to a real location.
//!
//! A later version may use other numbers for its sessions and fetches, and send its requests at
//! other times, and still be compatible. So the replay replaces the numbers with those that the
//! location uses, and delays a response until the location sends the request.

use bytes::{BufMut, Bytes, BytesMut};
use kv_replicate::Event;

use super::{Transcript, rows};
use crate::{
    mesh::{
        Mesh, Sent, Settings,
        traffic::{KINDS, kind},
    },
    node::member,
};

/// How long a response waits for its request, in virtual milliseconds.
const PATIENCE_MS: u64 = 60_000;

/// The positions of the fields that are replaced; see FORMAT.md.
const FROM: std::ops::Range<usize> = 3..11;
const TO: std::ops::Range<usize> = 11..19;
const NUMBER: std::ops::Range<usize> = 19..27;
const BURST: std::ops::Range<usize> = 27..31;

/// Sends the messages of the first location to a new second one. Returns the rows that the second
/// one then has.
///
/// # Errors
/// If it does not send a request for a recorded response.
pub fn replay(transcript: &Transcript) -> Result<Vec<String>, String> {
    let mut mesh = Mesh::new(Settings { places: 2, ..Settings::default() });
    mesh.isolate();
    mesh.record = Some(Vec::new());
    mesh.tell(1, Event::Connected(member(0)));
    let mut has_verified = false;
    let latency_ms = Settings::default().latency_ms;
    let mut late = 0;
    for Sent { at, bytes, .. } in transcript.messages.iter().filter(|sent| sent.from == 0) {
        let due = at + latency_ms + late;
        mesh.run_for(due.saturating_sub(mesh.now()));
        let bytes = loop {
            match adapted(bytes, &transcript.messages, requests(&mesh)) {
                Some(bytes) => break bytes,
                None if mesh.now() > due + PATIENCE_MS => {
                    return Err(format!("{} of {at} was never requested", KINDS[kind(bytes)]));
                }
                None if KINDS[kind(bytes)] == "answer" && !has_verified => {
                    has_verified = true;
                    mesh.tell(1, Event::Verify(member(0)));
                }
                None => mesh.run_for(10),
            }
        };
        late += mesh.now().saturating_sub(due);
        mesh.tell(1, Event::Received { from: member(0), bytes });
    }
    mesh.run_for(1_000);
    let refused = mesh.notices.iter().find(|(_, notice)| {
        use kv_replicate::Notice::{Close, Halted, Rebuilding, Refused};
        // The last message of the transcript informs it that it was removed.
        let is_removed = matches!(notice, Halted(_)) && has_verified;
        matches!(notice, Close { .. } | Halted(_) | Rebuilding(_) | Refused { .. }) && !is_removed
    });
    match refused {
        Some(refused) => Err(format!("{refused:?}")),
        None => Ok(rows(&mut mesh, 1)),
    }
}

fn requests(mesh: &Mesh) -> &[Sent] {
    mesh.record.as_deref().unwrap_or_default()
}

/// A recorded message with the numbers of the receiving location; none if it responds to a request
/// that was not sent yet.
fn adapted(bytes: &Bytes, recorded: &[Sent], requests: &[Sent]) -> Option<Bytes> {
    let mut adapted = BytesMut::from(&bytes[..]);
    if bytes[TO].iter().any(|byte| *byte != 0) {
        let incarnation = &requests.iter().find(|sent| sent.from == 1)?.bytes[FROM];
        adapted[TO].copy_from_slice(incarnation);
    }
    let question = match KINDS[kind(bytes)] {
        "page" | "refusal" => "pull",
        "piece" | "no body" => "get body",
        "answer" => "ask",
        _ => return Some(adapted.freeze()),
    };
    let at = numbers(recorded, question).iter().position(|number| **number == bytes[NUMBER])?;
    let number = numbers(requests, question).get(at)?.to_vec();
    let last =
        questions(requests, question).filter(|sent| sent.bytes[NUMBER] == number[..]).last()?;
    (&mut adapted[NUMBER]).put_slice(&number);
    if KINDS[kind(bytes)] == "page" {
        (&mut adapted[BURST]).put_slice(&last.bytes[BURST]);
    }
    Some(adapted.freeze())
}

fn questions<'a>(messages: &'a [Sent], name: &'a str) -> impl Iterator<Item = &'a Sent> {
    messages.iter().filter(move |sent| sent.from == 1 && KINDS[kind(&sent.bytes)] == name)
}

/// The distinct numbers of the second location's requests, in order.
fn numbers<'a>(messages: &'a [Sent], name: &'a str) -> Vec<&'a [u8]> {
    let mut numbers = Vec::new();
    for sent in questions(messages, name) {
        if !numbers.contains(&&sent.bytes[NUMBER]) {
            numbers.push(&sent.bytes[NUMBER]);
        }
    }
    numbers
}
