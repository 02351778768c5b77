//! A session between two locations, written down: what later versions must still speak.
//!
//! A line is a message: when it was sent, from whom to whom, its kind, and its bytes in hex, where
//! `62*500` are five hundred bytes of 0x62. The lines after them are the rows that the second
//! location has at the end.

use std::fmt::Write as _;

use bytes::Bytes;
use kv_core::VersionVector;
use kv_replicate::{Content, Row};

use crate::mesh::{
    Mesh, Sent,
    traffic::{KINDS, kind},
};

pub mod replay;
pub mod session;

/// From how many equal bytes on they are counted and not listed.
const RUN: usize = 16;

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// All messages, in the order in which they were sent.
    pub messages: Vec<Sent>,
    /// The rows of the second location at the end, in the order of their dots.
    pub rows: Vec<String>,
}

impl Transcript {
    /// The text of a fixture.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        for Sent { at, from, to, bytes } in &self.messages {
            let (name, bytes) = (KINDS[kind(bytes)].replace(' ', "-"), hex(bytes));
            text.push_str(&format!("{at} {from}>{to} {name} {bytes}\n"));
        }
        self.rows.iter().for_each(|row| text.push_str(&format!("row {row}\n")));
        text
    }

    /// Reads what [`Transcript::print`] printed. Lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// The first line that is none of a transcript.
    pub fn parse(text: &str) -> Result<Transcript, String> {
        let mut transcript = Transcript { messages: Vec::new(), rows: Vec::new() };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.strip_prefix("row ") {
                Some(row) => transcript.rows.push(row.into()),
                None => transcript.messages.push(message(line).ok_or(line)?),
            }
        }
        Ok(transcript)
    }
}

fn message(line: &str) -> Option<Sent> {
    let mut words = line.splitn(4, ' ');
    let at = words.next()?.parse().ok()?;
    let (from, to) = words.next()?.split_once('>')?;
    let name = words.next()?;
    let bytes = unhex(words.next()?)?;
    let is_named = KINDS[kind(&bytes)].replace(' ', "-") == name;
    is_named.then_some(Sent { at, from: from.parse().ok()?, to: to.parse().ok()?, bytes })
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        if run.len() < RUN {
            run.iter().for_each(|byte| write!(text, "{byte:02x}").expect("a string takes all"));
        } else {
            write!(text, " {:02x}*{} ", run[0], run.len()).expect("a string takes all");
        }
    }
    text.trim().into()
}

fn unhex(text: &str) -> Option<Bytes> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let times = times.parse().ok().filter(|times| *times <= 1 << 20)?;
        for _ in 0..times {
            for at in (0..digits.len()).step_by(2) {
                bytes.push(u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?);
            }
        }
    }
    Some(bytes.into())
}

/// All that a location holds, a line for each row.
///
/// # Panics
/// If its store can't be read.
#[must_use]
pub fn rows(mesh: &mut Mesh, place: usize) -> Vec<String> {
    let view = mesh.store(place).committer().view();
    let none = VersionVector::default();
    let read = view.rows_missing_in(&none, None, 100_000).expect("a good disk");
    read.changes.into_iter().map(|change| row(&Row::from(change))).collect()
}

fn row(row: &Row) -> String {
    let content = match &row.content {
        Content::Value(value) => format!("value {}", hex(value)),
        Content::Large { len, digest } => format!("large {len} {}", hex(digest)),
        Content::Deleted => "deleted".into(),
        Content::Expired => "expired".into(),
    };
    let (dot, key) = (row.dot, hex(&row.key));
    let (metadata, expires_at) = (row.metadata.as_deref().unwrap_or("-"), row.expires_at);
    let expires_at = expires_at.map_or("-".into(), |at| at.to_string());
    format!(
        "{} {} {} {} {key} {metadata} {expires_at} {content}",
        dot.origin, dot.seq, row.hlc.0, row.namespace
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_text() {
        let bytes = [&[1, 2, 0xff][..], &[0x62; 500], &[3]].concat();
        assert_eq!(hex(&bytes), "0102ff 62*500 03");
        assert_eq!(unhex(&hex(&bytes)), Some(bytes.into()));
        assert_eq!(unhex("0g"), None);
        assert_eq!(unhex("012"), None);
    }
}
