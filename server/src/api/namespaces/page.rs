//! A page of the list of namespaces, written while its client reads it.

use bytes::Bytes;
use kv_core::{NamespaceId, ReadError, Store};

use super::NamespaceInfo;
use crate::http::{
    Body,
    stream::{self, PIECE_BYTES, Pieces},
};

/// The most namespaces in one response.
const PAGE: usize = 1000;

/// The page after this id: in memory if it is short, else in pieces. Each piece is of the newest view, so
/// that a slow client holds none.
pub(super) fn body(store: &Store, after: NamespaceId) -> Body {
    let mut page =
        Page { store: store.clone(), after, left: PAGE, out: Vec::new(), state: State::Begin };
    page.fill();
    match page.state {
        State::Done => Body::full(page.out),
        State::Begin | State::Within => stream::body(page, None),
    }
}

/// How far a page is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is written.
    Begin,
    /// At least one namespace is written.
    Within,
    /// The end is written.
    Done,
}

/// A page that is written piece by piece.
struct Page {
    /// The store.
    store: Store,
    /// The last namespace that is written.
    after: NamespaceId,
    /// The namespaces that the page may still have.
    left: usize,
    /// The bytes that are written and not taken yet.
    out: Vec<u8>,
    /// How far it is written.
    state: State,
}

impl Page {
    /// Writes until the buffer has enough for a piece, or the page ends.
    fn fill(&mut self) {
        let all = self.store.namespaces();
        let mut rest = all.after(self.after);
        while self.state != State::Done && self.out.len() < PIECE_BYTES {
            if self.state == State::Begin {
                self.out.extend_from_slice(br#"{"namespaces":["#);
            }
            let next = rest.next();
            let Some(next) = next.filter(|_| self.left > 0) else {
                self.end(next.is_some());
                return;
            };
            if self.state == State::Within {
                self.out.push(b',');
            }
            self.state = State::Within;
            serde_json::to_writer(&mut self.out, &NamespaceInfo::from(next))
                .expect("texts can be written as JSON");
            self.after = next.id;
            self.left -= 1;
        }
    }

    /// Writes the end. If there are more namespaces, it names the id after which they follow.
    fn end(&mut self, has_more: bool) {
        let end = match has_more {
            true => format!("],\"next\":\"{}\"}}\n", self.after),
            false => "]}\n".into(),
        };
        self.out.extend_from_slice(end.as_bytes());
        self.state = State::Done;
    }
}

impl Pieces for Page {
    fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.fill();
        let piece = std::mem::take(&mut self.out);
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}
