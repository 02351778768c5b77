//! Messages to bytes. Bounds are kept by who makes the messages.

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::{Dot, VersionVector};

use super::{
    End, Incarnations, Message, Reason, WIRE_VERSION,
    inspect::{put_answer, put_ask},
};
use crate::row::{Content, Row};

/// A message whose rows were encoded before: a ring keeps them so, for all peers.
pub(crate) struct Frame(BytesMut);

impl Frame {
    /// The next writes of an origin, the first of them under `first`.
    pub(crate) fn live(incarnations: Incarnations, first: Dot, rows: &[Bytes]) -> Frame {
        let mut out = begin(incarnations, 5);
        put_dot(&mut out, first);
        put_count(&mut out, rows.len());
        rows.iter().for_each(|row| out.put_slice(row));
        Frame(out)
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

fn begin(incarnations: Incarnations, kind: u8) -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    out.put_u16(WIRE_VERSION);
    out.put_u8(kind);
    out.put_u64(incarnations.from);
    out.put_u64(incarnations.to);
    out
}

/// The bytes of a message.
pub(crate) fn encode(incarnations: Incarnations, message: &Message) -> Bytes {
    let mut out = begin(incarnations, kind(message));
    match message {
        Message::Hello(hello) => {
            out.put_u16(hello.versions.0);
            out.put_u16(hello.versions.1);
            out.put_u64(hello.features);
            out.put_slice(&hello.cluster);
            out.put_slice(&hello.member.0);
            hello.origins.iter().for_each(|origin| out.put_slice(&origin.0));
            put_vector(&mut out, &hello.received);
        }
        Message::Progress(progress) => {
            out.put_u64(progress.number);
            out.put_u64(progress.closed_timestamp.0);
            out.put_u64(progress.resolved.0);
            out.put_u64(progress.held.0);
            out.put_u64(progress.members);
            put_vector(&mut out, &progress.durable);
            let beyond = |dot: &Dot| !progress.durable.covers(*dot);
            put_vector(&mut out, &progress.received.iter().filter(beyond).collect());
        }
        Message::Want(numbers) => numbers.iter().for_each(|number| out.put_u64(*number)),
        Message::Behind | Message::Removed => {}
        Message::Live(live) => {
            put_dot(&mut out, live.rows[0].dot);
            put_count(&mut out, live.rows.len());
            live.rows.iter().for_each(|row| put_row(&mut out, row));
        }
        Message::Pull(pull) => {
            out.put_u64(pull.session);
            out.put_u32(pull.batch);
            out.put_u8(u8::from(pull.is_new));
            put_option(&mut out, pull.after);
            put_vector(&mut out, &pull.since);
        }
        Message::Page(page) => put_page(&mut out, page),
        Message::Refusal { session, reason } => {
            out.put_u64(*session);
            match reason {
                Reason::Gone(collected) => {
                    out.put_u8(1);
                    put_vector(&mut out, collected);
                }
                Reason::Busy => out.put_u8(2),
            }
        }
        Message::GetBody(get) => {
            out.put_u64(get.fetch);
            out.put_slice(&get.namespace.0);
            put_dot(&mut out, get.dot);
            out.put_u64(get.offset);
            out.put_u32(get.len);
            out.put_slice(&get.key);
        }
        Message::Piece { fetch, offset, bytes } => {
            out.put_u64(*fetch);
            out.put_u64(*offset);
            out.put_slice(bytes);
        }
        Message::NoBody { fetch } => out.put_u64(*fetch),
        Message::Done { session } => out.put_u64(*session),
        Message::Ask { verify, step, ask } => put_ask(&mut out, (*verify, *step), ask),
        Message::Answer { verify, step, answer } => {
            put_answer(&mut out, (*verify, *step), answer.as_ref());
        }
    }
    out.freeze()
}

fn kind(message: &Message) -> u8 {
    match message {
        Message::Hello(_) => 1,
        Message::Progress(_) => 2,
        Message::Want(_) => 3,
        Message::Behind => 4,
        Message::Live(_) => 5,
        Message::Pull(_) => 6,
        Message::Page(_) => 7,
        Message::Refusal { .. } => 8,
        Message::GetBody(_) => 9,
        Message::Piece { .. } => 10,
        Message::NoBody { .. } => 11,
        Message::Done { .. } => 12,
        Message::Removed => 13,
        Message::Ask { .. } => 14,
        Message::Answer { .. } => 15,
    }
}

fn put_page(out: &mut BytesMut, page: &super::Page) {
    out.put_u64(page.session);
    out.put_u32(page.batch);
    out.put_u64(page.stamp);
    out.put_u64(page.commit);
    out.put_u16(page.index);
    out.put_u8(u8::from(page.head.is_some()));
    if let Some(head) = &page.head {
        put_vector(out, &head.vector);
        put_vector(out, &head.collected);
    }
    match page.end {
        End::Page => out.put_u8(0),
        End::Batch(after) => {
            out.put_u8(1);
            put_dot(out, after);
        }
        End::Round => out.put_u8(2),
    }
    put_count(out, page.rows.len());
    for row in &page.rows {
        put_dot(out, row.dot);
        put_row(out, row);
    }
}

pub(super) fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u16(u16::try_from(count).expect("batches of rows are bounded"));
}

fn put_dot(out: &mut BytesMut, dot: Dot) {
    out.put_slice(&dot.origin.0);
    out.put_u64(dot.seq);
}

fn put_option(out: &mut BytesMut, dot: Option<Dot>) {
    out.put_u8(u8::from(dot.is_some()));
    if let Some(dot) = dot {
        put_dot(out, dot);
    }
}

pub(super) fn put_vector(out: &mut BytesMut, vector: &VersionVector) {
    put_count(out, vector.iter().count());
    vector.iter().for_each(|dot| put_dot(out, dot));
}

/// A row without its dot, which the message says.
pub(crate) fn encode_row(row: &Row) -> Bytes {
    let mut out = BytesMut::with_capacity(row.weight());
    put_row(&mut out, row);
    out.freeze()
}

fn put_row(out: &mut BytesMut, row: &Row) {
    let kind = match row.content {
        Content::Value(_) => 0,
        Content::Large { .. } => 1,
        Content::Deleted => 2,
        Content::Expired => 3,
    };
    let flags = [row.prev.is_some(), row.expires_at.is_some(), row.metadata.is_some()];
    let flags = flags.iter().rev().fold(0, |all, flag| all << 1 | u8::from(*flag));
    out.put_u8(kind | flags << 2);
    out.put_u64(row.hlc.0);
    if let Some(prev) = row.prev {
        out.put_u64(prev.hlc.0);
        out.put_slice(&prev.origin.0);
    }
    out.put_slice(&row.namespace.0);
    put_short(out, &row.key);
    if let Some(at) = row.expires_at {
        out.put_u64(at);
    }
    if let Some(metadata) = &row.metadata {
        put_short(out, metadata.as_bytes());
    }
    match &row.content {
        Content::Value(value) => {
            out.put_u32(u32::try_from(value.len()).expect("a value in a row is short"));
            out.put_slice(value);
        }
        Content::Large { len, digest } => {
            out.put_u64(*len);
            out.put_slice(digest);
        }
        Content::Deleted | Content::Expired => {}
    }
}

pub(super) fn put_short(out: &mut BytesMut, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}
