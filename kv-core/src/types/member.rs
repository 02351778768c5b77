//! The members of a cluster: their rows in the system namespace, and the registry that is built
//! from these.

use std::collections::BTreeMap;

use super::{
    features::Features,
    id::MemberId,
    joined::{FieldNumber, FieldValue, JoinedRow},
    limits::{MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_MEMBER_NAME_BYTES, MAX_MEMBERS, MAX_ORIGINS},
    software::Software,
};
use crate::codec::{DecodeError, Reader, put_text};

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The location.
    pub id: MemberId,
    /// Its name for people, 1 to [`MAX_MEMBER_NAME_BYTES`] bytes.
    pub name: String,
    /// Its addresses, `host:port` each, the best first; at most [`MAX_ADDRESSES`].
    pub addresses: Vec<String>,
    /// It was removed. Final: no later write brings it back, and its id is rejected for ever.
    pub removed: bool,
    /// The program that it runs; none before it has started for the first time as a member.
    pub software: Option<Software>,
}

/// The field of name and addresses.
const INFO: FieldNumber = FieldNumber::new(1).expect("a field number");
/// The field of the removal: that it is there is all that counts.
const REMOVED: FieldNumber = FieldNumber::new(2).expect("a field number");

/// The version of the layout of the field of name and addresses.
const LAYOUT: u8 = 1;

/// The field of the program that the member runs.
const SOFTWARE: FieldNumber = FieldNumber::new(3).expect("a field number");

/// The first byte of the key of a member's row; the id follows. (The key of a namespace's row is
/// its id alone.)
const KEY_TAG: u8 = b'm';

impl Member {
    /// Returns the key of a member's row in the system namespace.
    #[must_use]
    pub fn key(id: MemberId) -> [u8; 17] {
        let mut key = [KEY_TAG; 17];
        key[1..].copy_from_slice(&id.0);
        key
    }

    /// Returns the member that a key of the system namespace names, or `None` if it names something
    /// else.
    #[must_use]
    pub fn id_of(key: &[u8]) -> Option<MemberId> {
        let id = key.strip_prefix(&[KEY_TAG])?;
        id.try_into().map(MemberId).ok()
    }

    /// The field with the name and the addresses of this member.
    ///
    /// # Panics
    /// Never: the bounds of a member's texts and addresses are below that of a field.
    #[must_use]
    pub fn info(&self) -> (FieldNumber, FieldValue) {
        let count = u8::try_from(self.addresses.len()).expect("a member has few addresses");
        let mut out = vec![LAYOUT];
        put_text(&mut out, &self.name);
        out.push(count);
        self.addresses.iter().for_each(|address| put_text(&mut out, address));
        (INFO, FieldValue::new(out).expect("a member's texts are short"))
    }

    /// The field that removes a member.
    #[must_use]
    pub fn removal() -> (FieldNumber, FieldValue) {
        (REMOVED, FieldValue::default())
    }

    /// The field with the program that a member runs.
    ///
    /// # Panics
    /// Never: the description of a program is short.
    #[must_use]
    pub fn runs(software: &Software) -> (FieldNumber, FieldValue) {
        (SOFTWARE, FieldValue::new(software.encode()).expect("a program is described briefly"))
    }

    /// Interprets the row of a member. Returns `None` if it has no field of name and addresses that this program
    /// understands.
    #[must_use]
    pub fn of(id: MemberId, row: &JoinedRow) -> Option<Member> {
        let member = decode_info(id, row.get(INFO)?.value.as_bytes()).ok()?;
        let software =
            row.get(SOFTWARE).and_then(|field| Software::decode(field.value.as_bytes()).ok());
        Some(Member { removed: row.get(REMOVED).is_some(), software, ..member })
    }

    /// Makes a member that has not left.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub fn new(id: MemberId, name: String, addresses: Vec<String>) -> Result<Member, MemberError> {
        Member { id, name, addresses, removed: false, software: None }.checked()
    }

    /// Checks the id, and the bounds on the name and the addresses.
    fn checked(self) -> Result<Member, MemberError> {
        let is_plain = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        if self.id.0 == [0; 16] {
            return Err(MemberError::Id);
        }
        if !is_plain(&self.name, MAX_MEMBER_NAME_BYTES) {
            return Err(MemberError::Name);
        }
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(MemberError::AddressCount);
        }
        if !self.addresses.iter().all(|address| is_plain(address, MAX_ADDRESS_BYTES)) {
            return Err(MemberError::Address);
        }
        Ok(self)
    }
}

/// Decodes the field of name and addresses.
fn decode_info(id: MemberId, value: &[u8]) -> Result<Member, DecodeError> {
    let mut reader = Reader::new(value);
    if reader.u8()? != LAYOUT {
        return Err(DecodeError("a member of an unknown layout"));
    }
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
    Member::new(id, name, addresses)
        .map_err(|_invalid| DecodeError("a member with an invalid name or address"))
}

/// Why a member can't be described so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The id is zero.
    #[error("a location's id is different from zero")]
    Id,
    /// The name is empty, too long, or has control characters.
    #[error("a location's name has 1 to {MAX_MEMBER_NAME_BYTES} bytes and no control characters")]
    Name,
    /// There are too many addresses.
    #[error("a location has at most {MAX_ADDRESSES} addresses")]
    AddressCount,
    /// An address is empty, too long, or has control characters.
    #[error("an address has 1 to {MAX_ADDRESS_BYTES} bytes: host:port")]
    Address,
}

/// All members of a cluster as of one commit, including those that left; empty for a store outside a
/// cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// All members, by id.
    all: BTreeMap<MemberId, Member>,
    /// How many of them have not left.
    current: usize,
}

/// The most members that have not left, and of which rows of other locations are interpreted. Two locations that do not
/// reach each other may each admit members up to [`MAX_MEMBERS`].
const MAX_CURRENT: usize = 2 * MAX_MEMBERS;

/// The most members ever of which rows are interpreted: as many as there may be origins.
const MAX_EVER: usize = MAX_ORIGINS;

impl Members {
    /// Returns a member, also one that has left.
    #[must_use]
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.all.get(&id)
    }

    /// Whether a location is a member that has not left.
    #[must_use]
    pub fn is_current(&self, id: MemberId) -> bool {
        self.get(id).is_some_and(|member| !member.removed)
    }

    /// The members that have not left, by id.
    pub fn current(&self) -> impl Iterator<Item = &Member> {
        self.all.values().filter(|member| !member.removed)
    }

    /// All members, including those that left, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.all.values()
    }

    /// Returns the features that all members have that have not left; none if a member has not reported its own, or there
    /// are no members.
    #[must_use]
    pub fn common_features(&self) -> Features {
        let features = |member: &Member| match &member.software {
            Some(software) => software.features,
            None => Features::NONE,
        };
        self.current().map(features).reduce(Features::and).unwrap_or_default()
    }

    /// Returns a hash of which members there are and which of them left, whatever else changed. Two
    /// locations with the same hash know of the same members. 0 if no member has left.
    #[must_use]
    pub fn digest(&self) -> u64 {
        if self.all.values().all(|member| !member.removed) {
            return 0;
        }
        let mut hasher = blake3::Hasher::new();
        for member in self.all.values() {
            hasher.update(&member.id.0);
            hasher.update(&[u8::from(member.removed)]);
        }
        let first = hasher.finalize().as_bytes().first_chunk().copied();
        u64::from_be_bytes(first.expect("a hash has 32 bytes")).max(1)
    }

    /// Adds a member, or replaces the one with its id. Beyond the bounds, which only invented members reach, a row of
    /// another one stays without effect.
    pub(crate) fn insert(&mut self, member: Member) {
        let before = self.all.get(&member.id);
        let is_full =
            self.all.len() >= MAX_EVER || (!member.removed && self.current >= MAX_CURRENT);
        if before.is_none() && is_full {
            tracing::error!(member = %member.id, "there are too many members: one has no effect");
            return;
        }
        let was_current = before.is_some_and(|before| !before.removed);
        self.current += usize::from(!member.removed);
        self.current -= usize::from(was_current);
        self.all.insert(member.id, member);
    }
}

impl FromIterator<Member> for Members {
    fn from_iter<I: IntoIterator<Item = Member>>(members: I) -> Self {
        let mut all = Members::default();
        members.into_iter().for_each(|member| all.insert(member));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Hlc, OriginId, Version};

    fn member(id: u8) -> Member {
        let addresses = vec!["a.example:8421".into(), "[::1]:8421".into()];
        Member::new(MemberId([id; 16]), "fra".into(), addresses).unwrap()
    }

    fn row(hlc: u64, field: (FieldNumber, FieldValue)) -> JoinedRow {
        let version = Version { hlc: Hlc(hlc), origin: OriginId([1; 16]) };
        JoinedRow::written(version, hlc, [field]).unwrap()
    }

    #[test]
    fn a_member_reads_back_from_its_row() {
        let made = member(7);
        assert_eq!(Member::of(made.id, &row(1, made.info())), Some(made.clone()));
        assert_eq!(Member::id_of(&Member::key(made.id)), Some(made.id));
        assert_eq!(Member::id_of(&made.id.0), None, "this key names a namespace");
    }

    #[test]
    fn a_removal_is_final_whatever_is_written_later() {
        let made = member(7);
        let mut joined = row(5, Member::removal());
        assert_eq!(Member::of(made.id, &joined), None, "nothing is known of it yet");
        joined.join(&row(1, made.info()));
        assert_eq!(Member::of(made.id, &joined), Some(Member { removed: true, ..made.clone() }));
        let renamed = Member { name: "ams".into(), ..made };
        joined.join(&row(9, renamed.info()));
        assert_eq!(Member::of(renamed.id, &joined), Some(Member { removed: true, ..renamed }));
    }

    #[test]
    fn the_program_of_a_member_is_a_field_of_its_own() {
        let version = crate::types::SoftwareVersion::of_this_program();
        let software = Software::new(version, (1, 2), Features::from_bits(4)).unwrap();
        let made = Member { software: Some(software.clone()), ..member(7) };
        let mut joined = row(5, Member::runs(&software));
        assert_eq!(Member::of(made.id, &joined), None, "a program alone does not make a member");
        joined.join(&row(1, made.info()));
        assert_eq!(Member::of(made.id, &joined), Some(made.clone()));
        let unknown = FieldValue::new(vec![0xff; 9]).unwrap();
        joined.join(&row(9, (SOFTWARE, unknown)));
        let without = Member { software: None, ..made.clone() };
        assert_eq!(Member::of(made.id, &joined), Some(without), "what is not understood is none");
    }

    #[test]
    fn the_digest_depends_on_which_members_left_and_on_nothing_else() {
        let digest = |members: &[Member]| members.iter().cloned().collect::<Members>().digest();
        let (one, two) = (member(1), member(2));
        let left = Member { removed: true, ..member(2) };
        let renamed = Member { name: "ams".into(), ..member(1) };
        assert_eq!(digest(&[one.clone(), two]), 0);
        assert_ne!(digest(&[one.clone(), left.clone()]), 0);
        assert_eq!(digest(&[one, left.clone()]), digest(&[renamed, left]));
    }
    #[test]
    fn invented_members_take_no_more_than_their_bound_and_hide_no_removal() {
        let of = |number: u128| Member { id: MemberId(number.to_be_bytes()), ..member(1) };
        let mut members: Members = (1..=2 * MAX_CURRENT as u128).map(of).collect();
        assert_eq!(members.current().count(), MAX_CURRENT);
        members.insert(Member { removed: true, ..of(1) });
        members.insert(Member { removed: true, ..of(1 << 60) });
        assert!(members.get(of(1 << 60).id).is_some_and(|member| member.removed));
        members.insert(of(1 << 70));
        assert!(members.is_current(of(1 << 70).id), "one has left");
        assert_eq!(members.current().count(), MAX_CURRENT);
    }
}
