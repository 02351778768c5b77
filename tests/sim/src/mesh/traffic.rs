//! The bytes on the wire, by kind of message.

use bytes::Bytes;

/// The names of the kinds, as FORMAT.md numbers them; and the last two apart.
pub const KINDS: [&str; 18] = [
    "?", "hello", "progress", "want", "behind", "live", "pull", "page", "refusal", "get body",
    "piece", "no body", "done", "removed", "ask", "answer", "durable", "report",
];

/// The place of "durable" in [`KINDS`].
pub const DURABLE: usize = 16;

/// The number of the kind "durable".
const DURABLE_NUMBER: u8 = 23;

/// The place of "report" in [`KINDS`].
pub const REPORT: usize = 17;

/// The number of the kind "report".
const REPORT_NUMBER: u8 = 22;

/// Which kind a message is, as a place in [`KINDS`].
#[must_use]
pub fn kind(message: &[u8]) -> usize {
    match message.get(2).copied() {
        Some(DURABLE_NUMBER) => DURABLE,
        Some(REPORT_NUMBER) => REPORT,
        Some(kind) if usize::from(kind) < DURABLE => kind.into(),
        _ => 0,
    }
}

/// Messages and bytes of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic([(u64, u64); KINDS.len()]);

impl Traffic {
    pub(super) fn count(&mut self, message: &Bytes) {
        let (messages, bytes) = &mut self.0[kind(message)];
        *messages += 1;
        *bytes += message.len() as u64;
    }

    /// Messages and bytes of these kinds.
    #[must_use]
    pub fn of(&self, names: &[&str]) -> (u64, u64) {
        let counts = KINDS.iter().zip(self.0).filter(|(name, _)| names.contains(name));
        counts.fold((0, 0), |sum, (_, count)| (sum.0 + count.0, sum.1 + count.1))
    }

    /// Messages and bytes of all kinds.
    #[must_use]
    pub fn all(&self) -> (u64, u64) {
        self.of(&KINDS)
    }

    /// The traffic since.
    #[must_use]
    pub fn since(&self, before: &Traffic) -> Traffic {
        let mut since = *self;
        for (count, before) in since.0.iter_mut().zip(before.0) {
            *count = (count.0 - before.0, count.1 - before.1);
        }
        since
    }
}
