//! A recorded session between two locations: the messages that later versions must still
//! understand.
//!
//! Each line is a message: when it was sent, by which location to which, its kind, and its bytes in
//! hex, where `62*500` stands for five hundred bytes of 0x62. The lines after the messages are the
//! rows that the second location has at the end.

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

/// The least number of equal bytes that are written as a count.
const RUN: usize = 16;

/// A recorded session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// All messages, in the order in which they were sent.
    pub messages: Vec<Sent>,
    /// The rows of the second location at the end, in the order of their dots.
    pub rows: Vec<String>,
}

impl Transcript {
    /// Formats the transcript as a fixture.
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

    /// Parses the output of [`Transcript::print`]. Skips lines that begin with `#`.
    ///
    /// # Errors
    /// The first line that is not part of a transcript.
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
    let mut fields = line.splitn(4, ' ');
    let at = fields.next()?.parse().ok()?;
    let (from, to) = fields.next()?.split_once('>')?;
    let name = fields.next()?;
    let bytes = unhex(fields.next()?)?;
    let is_named = KINDS[kind(&bytes)].replace(' ', "-") == name;
    is_named.then_some(Sent { at, from: from.parse().ok()?, to: to.parse().ok()?, bytes })
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        if run.len() < RUN {
            run.iter().for_each(|byte| {
                write!(text, "{byte:02x}").expect("writing to a string can't fail")
            });
        } else {
            write!(text, " {:02x}*{} ", run[0], run.len()).expect("writing to a string can't fail");
        }
    }
    text.trim().into()
}

fn unhex(text: &str) -> Option<Bytes> {
    let mut bytes = Vec::new();
    for part in text.split_whitespace() {
        let (digits, times) = part.split_once('*').unwrap_or((part, "1"));
        let times = times.parse().ok().filter(|times| *times <= 1 << 20)?;
        for _ in 0..times {
            for at in (0..digits.len()).step_by(2) {
                bytes.push(u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?);
            }
        }
    }
    Some(bytes.into())
}

/// All rows that a location holds, a line for each.
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
        Content::Joined(row) => format!("joined {row:?}"),
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
