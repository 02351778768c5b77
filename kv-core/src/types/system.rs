//! The rows of the system namespace, as this program understands them.

use super::{
    id::NamespaceId,
    joined::JoinedRow,
    member::Member,
    namespace::Namespace,
    origin::OriginEntry,
    token::{AccessToken, AccessTokenId},
};

/// A row of the system namespace. Its key names its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemRow {
    /// The row of a namespace: its key is the id. See [`Namespace::of`] and [`Namespace::drop_of`].
    Namespace(NamespaceId),
    /// A member of the cluster: its key is `m` and the id.
    Member(Member),
    /// An origin that was opened or closed: its key begins with `o` or `c`.
    Origin(OriginEntry),
    /// An access token: its key is `t` and the id. None if this program does not understand it.
    Token(AccessTokenId, Option<AccessToken>),
    /// A row that a newer program wrote, or a member that this program does not understand. It is stored, joined and
    /// passed on like any other.
    Unknown,
}

impl SystemRow {
    /// Interprets a row of the system namespace. No row is an error: what is not understood is kept.
    #[must_use]
    pub fn of(key: &[u8], row: &JoinedRow) -> SystemRow {
        if let Some(id) = Member::id_of(key) {
            return Member::of(id, row).map_or(SystemRow::Unknown, SystemRow::Member);
        }
        if OriginEntry::is_key(key) {
            return OriginEntry::of(key, row).map_or(SystemRow::Unknown, SystemRow::Origin);
        }
        if let Some(id) = AccessToken::id_of(key) {
            return SystemRow::Token(id, AccessToken::of(id, row));
        }
        Namespace::id_of(key).map_or(SystemRow::Unknown, SystemRow::Namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{FieldNumber, FieldValue, Hlc, OriginId, Version};

    #[test]
    fn rows_of_unknown_kinds_and_layouts_are_not_errors() {
        let version = Version { hlc: Hlc(1), origin: OriginId([1; 16]) };
        let field = |number| (FieldNumber::new(number).unwrap(), FieldValue::new("?").unwrap());
        let row = JoinedRow::written(version, 1, [field(1), field(15)]).unwrap();
        let keys = [&b"x"[..], &[0; 16], b"m0123456789abcdef", b"m0123456789abcdefg"];
        for key in keys {
            assert_eq!(SystemRow::of(key, &row), SystemRow::Unknown, "{key:?}");
        }
        let id = NamespaceId([9; 16]);
        assert_eq!(SystemRow::of(&id.0, &row), SystemRow::Namespace(id));
    }
}
