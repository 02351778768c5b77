//! The members of a cluster: entries of the system namespace beside the namespaces, and the registry
//! that is read from them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{
    OriginId,
    codec::{DecodeError, Reader, put_text},
    id::{ParseIdError, parse_hex, write_hex},
    limits::{MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_MEMBER_NAME_BYTES},
};

/// Which location: random, 128 bits, written as 32 lower-case hexadecimal digits; never that of
/// another, also after the location has left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub [u8; 16]);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberId({self})")
    }
}

impl FromStr for MemberId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text).map(MemberId)
    }
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which location.
    pub id: MemberId,
    /// The origins that it writes under, as long as it is a member.
    pub origins: [OriginId; 2],
    /// What people call it, 1 to [`MAX_MEMBER_NAME_BYTES`].
    pub name: String,
    /// Where it can be reached, `host:port` each, the best first; at most [`MAX_ADDRESSES`].
    pub addresses: Vec<String>,
    /// It left for good. Final: no later write brings it back, and its id is refused for ever.
    pub removed: bool,
}

const LAYOUT: u8 = 1;

/// What the key of a member's entry begins with; behind it stands the id. (A namespace's key is its
/// id alone.)
const KEY: u8 = b'm';

impl Member {
    /// The key of a member's entry in the system namespace.
    #[must_use]
    pub fn key(id: MemberId) -> [u8; 17] {
        let mut key = [KEY; 17];
        key[1..].copy_from_slice(&id.0);
        key
    }

    /// The member that a key of the system namespace names; none if it names something else.
    #[must_use]
    pub fn id_of(key: &[u8]) -> Option<MemberId> {
        let id = key.strip_prefix(&[KEY])?;
        id.try_into().map(MemberId).ok()
    }

    /// The value of this member's entry in the system namespace.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = u8::try_from(self.addresses.len()).expect("a member has few addresses");
        let mut out = vec![LAYOUT, u8::from(self.removed)];
        self.origins.iter().for_each(|origin| out.extend_from_slice(&origin.0));
        put_text(&mut out, &self.name);
        out.push(count);
        self.addresses.iter().for_each(|address| put_text(&mut out, address));
        out
    }

    /// Reads the value of a member's entry.
    ///
    /// # Errors
    /// If it is not one.
    pub fn decode(id: MemberId, value: &[u8]) -> Result<Member, DecodeError> {
        let mut reader = Reader::new(value);
        if reader.u8()? != LAYOUT {
            return Err(DecodeError("a member of an unknown layout"));
        }
        let removed = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError("a member with unknown flags")),
        };
        let origins = [OriginId(reader.id()?), OriginId(reader.id()?)];
        let name = reader.text(MAX_MEMBER_NAME_BYTES)?.to_owned();
        let count = usize::from(reader.u8()?);
        if count > MAX_ADDRESSES {
            return Err(DecodeError("a member with too many addresses"));
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            addresses.push(reader.text(MAX_ADDRESS_BYTES)?.to_owned());
        }
        reader.end()?;
        let member = Member { id, origins, name, addresses, removed };
        match member.check() {
            Ok(()) => Ok(member),
            Err(_) => Err(DecodeError("a member with a name or address that can't be")),
        }
    }

    /// Why this can't be a member, if so.
    pub(crate) fn check(&self) -> Result<(), String> {
        let is_plain = |text: &str, most: usize| {
            !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control)
        };
        if !is_plain(&self.name, MAX_MEMBER_NAME_BYTES) {
            return Err(format!(
                "a location's name has 1 to {MAX_MEMBER_NAME_BYTES} bytes and no control characters"
            ));
        }
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(format!("a location has at most {MAX_ADDRESSES} addresses"));
        }
        if !self.addresses.iter().all(|address| is_plain(address, MAX_ADDRESS_BYTES)) {
            return Err(format!("an address has 1 to {MAX_ADDRESS_BYTES} bytes: host:port"));
        }
        Ok(())
    }
}

/// All members of a cluster as of one commit, those that left among them; empty for a store that
/// is in no cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(BTreeMap<MemberId, Member>);

impl Members {
    /// A member, also one that left.
    #[must_use]
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.0.get(&id)
    }

    /// Whether this is a member that has not left.
    #[must_use]
    pub fn is_current(&self, id: MemberId) -> bool {
        self.get(id).is_some_and(|member| !member.removed)
    }

    /// Those that have not left, by id.
    pub fn current(&self) -> impl Iterator<Item = &Member> {
        self.0.values().filter(|member| !member.removed)
    }

    /// The origins of those that left.
    pub fn closed_origins(&self) -> impl Iterator<Item = OriginId> {
        self.0.values().filter(|member| member.removed).flat_map(|member| member.origins)
    }

    /// All, those that left among them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.values()
    }

    /// Names who is a member and who left, whatever else is said of them: equal on two locations
    /// only if both know of the same. 0 if nobody has left.
    #[must_use]
    pub fn digest(&self) -> u64 {
        if self.0.values().all(|member| !member.removed) {
            return 0;
        }
        let mut hasher = blake3::Hasher::new();
        for member in self.0.values() {
            hasher.update(&member.id.0);
            hasher.update(&[u8::from(member.removed)]);
        }
        let first = hasher.finalize().as_bytes().first_chunk().copied();
        u64::from_be_bytes(first.expect("a hash has 32 bytes")).max(1)
    }

    pub(crate) fn insert(&mut self, member: Member) {
        self.0.insert(member.id, member);
    }
}

impl FromIterator<Member> for Members {
    fn from_iter<I: IntoIterator<Item = Member>>(members: I) -> Self {
        Members(members.into_iter().map(|member| (member.id, member)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u8) -> Member {
        let addresses = vec!["a.example:8421".into(), "[::1]:8421".into()];
        let origins = [OriginId([1; 16]), OriginId([2; 16])];
        Member { id: MemberId([id; 16]), origins, name: "fra".into(), addresses, removed: false }
    }

    #[test]
    fn a_member_reads_back_from_its_entry() {
        let made = member(7);
        assert_eq!(Member::decode(made.id, &made.encode()), Ok(made.clone()));
        assert_eq!(Member::id_of(&Member::key(made.id)), Some(made.id));
        assert_eq!(Member::id_of(&made.id.0), None, "that names a namespace");
    }

    #[test]
    fn the_digest_tells_who_left_and_nothing_else() {
        let digest = |members: &[Member]| members.iter().cloned().collect::<Members>().digest();
        let (one, two) = (member(1), member(2));
        let left = Member { removed: true, ..member(2) };
        let renamed = Member { name: "ams".into(), ..member(1) };
        assert_eq!(digest(&[one.clone(), two]), 0);
        assert_ne!(digest(&[one.clone(), left.clone()]), 0);
        assert_eq!(digest(&[one, left.clone()]), digest(&[renamed, left]));
    }
}
