//! Messages to bytes. The machines that make the messages keep their bounds.

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::Dot;

use super::{
    envelope::Envelope,
    extension, kind,
    message::{End, Hello, Message, NoBody, Page, Pull, Reason, Report, Want},
    progress, put, question,
    row::put_row,
    rows,
};

/// A message whose rows were encoded before: a backlog keeps them so, for all peers.
pub(crate) struct Frame(BytesMut);

impl Frame {
    /// The next writes of an origin, the first of them under `first`.
    pub(crate) fn live(envelope: impl Into<Envelope>, first: Dot, rows: &[Bytes]) -> Frame {
        let mut out = begin(envelope.into(), kind::LIVE);
        put::dot(&mut out, first);
        put::count(&mut out, rows.len());
        rows.iter().for_each(|row| out.put_slice(row));
        Frame(out)
    }

    /// The bytes of the message.
    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// Begins a message.
fn begin(envelope: Envelope, kind: u8) -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    envelope.put(&mut out, kind);
    out
}

/// Encodes a message.
pub(crate) fn encode(envelope: impl Into<Envelope>, message: &Message) -> Bytes {
    let mut out = begin(envelope.into(), kind_of(message));
    put_fixed(&mut out, message);
    extension::put(&mut out, message);
    out.freeze()
}

/// Appends the fixed fields of a message.
fn put_fixed(out: &mut BytesMut, message: &Message) {
    match message {
        Message::Hello(hello) => put_hello(out, hello),
        Message::Progress(delta) => progress::put(out, delta),
        Message::Want(want) => put_want(out, want),
        Message::Behind => {}
        Message::Removed(row) => {
            put::dot(out, row.dot);
            put_row(out, row);
        }
        Message::Live(live) => {
            put::dot(out, live.rows[0].dot);
            put::count(out, live.rows.len());
            live.rows.iter().for_each(|row| put_row(out, row));
        }
        Message::Pull(pull) => put_pull(out, pull),
        Message::Page(page) => put_page(out, page),
        Message::Refusal { session, reason } => {
            out.put_u64(*session);
            match reason {
                Reason::Gone(collected) => {
                    out.put_u8(1);
                    put::vector(out, collected);
                }
                Reason::Busy => out.put_u8(2),
            }
        }
        Message::GetBody(get) => {
            out.put_u64(get.fetch);
            out.put_slice(&get.namespace.0);
            put::dot(out, get.dot);
            out.put_u64(get.offset);
            out.put_u32(get.len);
            put::short(out, &get.key);
        }
        Message::Piece { fetch, dot, offset, bytes } => {
            out.put_u64(*fetch);
            put::dot(out, *dot);
            out.put_u64(*offset);
            put::count(out, bytes.len());
            out.put_slice(bytes);
        }
        Message::NoBody { fetch, why } => {
            out.put_u64(*fetch);
            put_no_body(out, why);
        }
        Message::Done { session } => out.put_u64(*session),
        Message::Ask { verify, step, ask } => {
            out.put_u64(*verify);
            out.put_u32(*step);
            question::put_ask(out, ask);
        }
        Message::Answer { verify, step, answer } => {
            out.put_u64(*verify);
            out.put_u32(*step);
            question::put_answer(out, answer.as_ref());
        }
        Message::GetRows { id, names } => {
            out.put_u64(*id);
            rows::put_names(out, names);
        }
        Message::Rows { id, rows } => {
            out.put_u64(*id);
            rows::put_states(out, rows);
        }
        Message::Report(report) => put_report(out, report),
        Message::Durable(dot) => put::dot(out, *dot),
        Message::Usage(piece) => put_usage(out, piece),
        Message::Unknown { body, .. } => out.put_slice(body),
    }
}

/// The number of a message's kind.
fn kind_of(message: &Message) -> u8 {
    match message {
        Message::Hello(_) => kind::HELLO,
        Message::Progress(_) => kind::PROGRESS,
        Message::Want(_) => kind::WANT,
        Message::Behind => kind::BEHIND,
        Message::Live(_) => kind::LIVE,
        Message::Pull(_) => kind::PULL,
        Message::Page(_) => kind::PAGE,
        Message::Refusal { .. } => kind::REFUSAL,
        Message::GetBody(_) => kind::GET_BODY,
        Message::Piece { .. } => kind::PIECE,
        Message::NoBody { .. } => kind::NO_BODY,
        Message::Done { .. } => kind::DONE,
        Message::Removed(_) => kind::REMOVED,
        Message::Ask { .. } => kind::ASK,
        Message::Answer { .. } => kind::ANSWER,
        Message::GetRows { .. } => kind::GET_ROWS,
        Message::Rows { .. } => kind::ROWS,
        Message::Report(_) => kind::REPORT,
        Message::Durable(_) => kind::DURABLE,
        Message::Usage(_) => kind::USAGE,
        Message::Unknown { kind, .. } => *kind,
    }
}

/// See `decode::hello`.
fn put_hello(out: &mut BytesMut, hello: &Hello) {
    out.put_u16(hello.versions.0);
    out.put_u16(hello.versions.1);
    out.put_u64(hello.features.bits());
    out.put_slice(&hello.cluster);
    out.put_slice(&hello.member.0);
}

/// See `decode::want`.
fn put_want(out: &mut BytesMut, want: &Want) {
    want.origins.iter().for_each(|origin| out.put_slice(&origin.0));
    want.numbers.iter().for_each(|number| out.put_u64(*number));
}

/// See `decode::report`.
fn put_report(out: &mut BytesMut, report: &Report) {
    put::optional(out, report.receiving, |out, (walked, of)| {
        out.put_u64(walked);
        out.put_u64(of);
    });
    put::count(out, report.conditions.len());
    for condition in &report.conditions {
        out.put_u16(condition.code);
        out.put_u64(condition.for_ms);
        put::optional(out, condition.about, |out, member| out.put_slice(&member.0));
    }
}

/// See `decode::usage`.
fn put_usage(out: &mut BytesMut, piece: &[u8]) {
    put::count(out, piece.len());
    out.put_slice(piece);
}

/// See `decode::no_body`.
fn put_no_body(out: &mut BytesMut, why: &NoBody) {
    match why {
        NoBody::Gone => out.put_u8(0),
        NoBody::Damaged => out.put_u8(1),
        NoBody::Replaced(row) => {
            out.put_u8(2);
            put::dot(out, row.dot);
            put_row(out, row);
        }
    }
}

/// See `decode::pull`.
fn put_pull(out: &mut BytesMut, pull: &Pull) {
    out.put_u64(pull.session);
    out.put_u32(pull.batch);
    out.put_u8(u8::from(pull.is_new));
    put::optional(out, pull.after, put::dot);
    put::optional(out, pull.known, |out, commit| out.put_u64(commit));
    out.put_u32(pull.bytes);
    put::vector(out, &pull.since);
}

/// See `decode::page`.
fn put_page(out: &mut BytesMut, page: &Page) {
    out.put_u64(page.session);
    out.put_u32(page.batch);
    out.put_u64(page.stamp);
    out.put_u64(page.commit);
    out.put_u16(page.index);
    put::optional(out, page.head.as_ref(), |out, head| {
        put::vector(out, &head.vector);
        put::vector(out, &head.collected);
        out.put_u64(head.floor.0);
        put::optional(out, head.next, put::dot);
    });
    match page.end {
        End::Page => out.put_u8(0),
        End::Batch(after) => {
            out.put_u8(1);
            put::dot(out, after);
        }
        End::Round => out.put_u8(2),
    }
    put::count(out, page.damaged.len());
    for damaged in &page.damaged {
        out.put_slice(&damaged.namespace.0);
        put::short(out, &damaged.key);
        put::dot(out, damaged.dot);
    }
    put::count(out, page.rows.len());
    for row in &page.rows {
        put::dot(out, row.dot);
        put_row(out, row);
    }
}
