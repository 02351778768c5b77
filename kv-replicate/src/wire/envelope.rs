//! The beginning of every message, whatever its version, and the versions that two ends have in common.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::{Features, Software, SoftwareVersion};

use super::{
    kind,
    message::{OLDEST_WIRE_VERSION, WIRE_VERSION},
    take::Decoded,
};

/// Returns this program, as it describes itself to peers.
///
/// # Panics
/// Never: its range of versions is one.
#[must_use]
pub fn software() -> Software {
    let range = (OLDEST_WIRE_VERSION, WIRE_VERSION);
    Software::new(SoftwareVersion::of_this_program(), range, Features::of_this_program())
        .expect("the oldest version is not above the newest")
}

/// Returns the newest version of messages that two programs understand, which they use; none if they have none in common.
/// Each range is the oldest and the newest version.
pub(crate) fn common_version(one: (u16, u16), other: (u16, u16)) -> Option<u16> {
    let newest = one.1.min(other.1);
    (newest >= one.0.max(other.0)).then_some(newest)
}

/// The random numbers of the starts of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnations {
    /// The sender's.
    pub(crate) from: u64,
    /// 0 if the sender has not received a message of the receiver yet.
    pub(crate) to: u64,
}

/// The beginning of a message. Its layout is the same in all versions, so that a receiver can skip a message whose kind
/// it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The version of the message's layout.
    pub(crate) version: u16,
    /// The random numbers of both ends.
    pub(crate) incarnations: Incarnations,
}

impl From<Incarnations> for Envelope {
    /// The envelope of a message of the newest version.
    fn from(incarnations: Incarnations) -> Envelope {
        Envelope { version: WIRE_VERSION, incarnations }
    }
}

impl Envelope {
    /// Begins a message of a kind.
    pub(super) fn put(self, out: &mut BytesMut, kind: u8) {
        out.put_u16(self.version);
        out.put_u8(kind);
        out.put_u64(self.incarnations.from);
        out.put_u64(self.incarnations.to);
    }

    /// Reads the beginning of a message, and its kind.
    pub(super) fn take(input: &mut Bytes) -> Decoded<(Envelope, u8)> {
        let (version, kind) = (input.try_get_u16()?, input.try_get_u8()?);
        let incarnations = Incarnations { from: input.try_get_u64()?, to: input.try_get_u64()? };
        Ok((Envelope { version, incarnations }, kind))
    }

    /// Returns the incarnations of a message that was sent to another process of the receiver than the one of
    /// `incarnation`, whose two ends may have used a version that this one does not understand. None for other messages,
    /// also for those that are sent before the sender knows of any process, or that are too short.
    pub(crate) fn to_another(message: &Bytes, incarnation: u64) -> Option<Incarnations> {
        let (Envelope { incarnations, .. }, kind) = Envelope::take(&mut message.clone()).ok()?;
        let is_addressed = !has_one_layout(kind);
        (is_addressed && incarnations.to != incarnation).then_some(incarnations)
    }

    /// Whether a program that understands the versions from `range.0` to `range.1` understands the layout of a message of
    /// this kind, if it knows the kind.
    pub(super) fn is_understood(self, kind: u8, range: (u16, u16)) -> bool {
        has_one_layout(kind) || (range.0..=range.1).contains(&self.version)
    }
}

/// Whether messages of a kind have one layout in all versions: a hello and the notice of a removal, which are sent before
/// the two ends agree on a version.
fn has_one_layout(kind: u8) -> bool {
    matches!(kind, kind::HELLO | kind::REMOVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_to_another_process_is_known_by_its_envelope_whatever_its_version() {
        let message = |kind, to| {
            let mut out = BytesMut::new();
            let incarnations = Incarnations { from: 1, to };
            Envelope { version: WIRE_VERSION + 7, incarnations }.put(&mut out, kind);
            out.freeze()
        };
        assert!(Envelope::to_another(&message(kind::PROGRESS, 3), 2).is_some());
        assert_eq!(Envelope::to_another(&message(kind::PROGRESS, 2), 2), None);
        assert_eq!(Envelope::to_another(&message(kind::HELLO, 0), 2), None);
        assert_eq!(Envelope::to_another(&Bytes::from_static(b"short"), 2), None);
    }

    #[test]
    fn two_programs_use_the_newest_version_that_both_understand() {
        for (one, other, common) in [
            ((2, 2), (2, 2), Some(2)),
            ((2, 4), (3, 9), Some(4)),
            ((2, 9), (3, 4), Some(4)),
            ((2, 2), (3, 4), None),
        ] {
            assert_eq!(common_version(one, other), common, "{one:?} {other:?}");
            assert_eq!(common_version(other, one), common, "{other:?} {one:?}");
        }
    }
}
