//! The writes of a peer to the system namespace: the opening rows of its origins, and other joined rows.

use std::sync::Arc;

use kv_core::{
    Dot, FieldNumber, FieldValue, Hlc, JoinedRow, Key, Lane, MemberId, NamespaceId, OriginId,
    OriginInfo, Version,
    commit::{NewContent, RemoteWrite},
};

/// An origin for small writes, with its partner, which closes no others.
pub(crate) fn origin([id, partner]: [OriginId; 2], member: MemberId, opened: Hlc) -> OriginInfo {
    OriginInfo { id, member, lane: Lane::Small, partner, closes: [].into(), opened }
}

/// The first write of an origin.
pub(crate) fn opening(info: &OriginInfo) -> RemoteWrite {
    let dot = Dot { origin: info.id, seq: 1 };
    joined_write(dot, info.opened, &OriginInfo::key(info.id), [info.field()])
}

/// A write of fields of a row of the system namespace.
pub(crate) fn joined_write(
    dot: Dot,
    hlc: Hlc,
    key: &[u8],
    fields: impl IntoIterator<Item = (FieldNumber, FieldValue)>,
) -> RemoteWrite {
    let version = Version { hlc, origin: dot.origin };
    let row = JoinedRow::written(version, dot.seq, fields).unwrap();
    RemoteWrite {
        dot,
        hlc,
        prev: None,
        namespace: NamespaceId::SYSTEM,
        key: Key::new(key).unwrap(),
        change: NewContent::Joined(Arc::new(row)),
    }
}
