//! `invitations.toml`: the tokens that were given out, and who used them.
//!
//! The server and `waypost cluster invite` both change it, each under the lock of the directory,
//! reading it anew each time.

use kv_core::MemberId;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{
    files::{self, ClusterDir, FilesError},
    names::{Name, Sha256, TokenId, text},
    token::Secret,
};

/// How long an invitation is kept after its end: who lost the answer to a used token may still ask
/// again, and who comes late is told so.
const KEPT: u64 = 30 * 24 * 60 * 60;

/// A token that was given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Invitation {
    /// Which token.
    pub id: TokenId,
    /// The hash of its secret, which is not kept.
    pub secret_hash: Sha256,
    /// Until when it can be used, in Unix seconds.
    pub expires: u64,
    /// For which location, if for a certain one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Name>,
    /// Who used it, if anyone has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
}

impl Invitation {
    /// Whether it is marked as used by this location, with this key.
    #[must_use]
    pub fn is_used_by(&self, member: MemberId, key_hash: Sha256) -> bool {
        self.used.as_ref().is_some_and(|used| (used.member, used.key_hash) == (member, key_hash))
    }

    /// Whether a location may use it: nobody else has, and it is not too late unless this one has. Changes
    /// nothing.
    ///
    /// # Errors
    /// If it has expired, or another location used it.
    pub fn check_free(&self, member: MemberId, key_hash: Sha256, now: u64) -> Result<(), Refusal> {
        match self.used {
            None if self.expires <= now => Err(Refusal::Expired),
            Some(_) if !self.is_used_by(member, key_hash) => Err(Refusal::Used),
            _ => Ok(()),
        }
    }
}

/// Who used a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Used {
    /// Which location.
    #[serde(with = "text")]
    pub member: MemberId,
    /// The SHA-256 of its public key.
    pub key_hash: Sha256,
    /// When, in Unix seconds.
    pub at: u64,
    /// The certificate that it got, in PEM; none until it is a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// All that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitations {
    #[serde(default, rename = "invitation")]
    all: Vec<Invitation>,
}

/// Why a token does not let anyone in. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such token, or another secret: which, a stranger is not told.
    #[error(
        "this location gave out no such token, or long ago: ask for a new one (`waypost cluster invite`)"
    )]
    Unknown,
    /// It came too late.
    #[error("the token has expired: ask for a new one (`waypost cluster invite`)")]
    Expired,
    /// Another location used it.
    #[error(
        "the token was used already, by another location: ask for a new one (`waypost cluster invite`)"
    )]
    Used,
}

impl Invitations {
    /// Reads the file, lets `change` change what is in it, and makes that durable. Others wait.
    ///
    /// # Errors
    /// If the file can't be read or written; it is as before. If `change` refuses, it is too.
    pub fn change<T, E: From<FilesError>>(
        directory: &ClusterDir,
        now: u64,
        change: impl FnOnce(&mut Invitations) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = directory.lock()?;
        let mut invitations = Invitations::load(directory)?;
        let before = invitations.clone();
        let changed = change(&mut invitations)?;
        if invitations != before {
            invitations.forget_old(now);
            invitations.save(directory)?;
        }
        Ok(changed)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn load(directory: &ClusterDir) -> Result<Invitations, FilesError> {
        let said = directory.read(files::INVITATIONS)?;
        toml::from_str(&said).map_err(|error| directory.wrong(files::INVITATIONS, error))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the system says no; it is as before.
    pub fn save(&self, directory: &ClusterDir) -> Result<(), FilesError> {
        let said =
            toml::to_string(self).map_err(|error| directory.wrong(files::INVITATIONS, error))?;
        directory.write(files::INVITATIONS, &format!("{HEAD}{said}"))
    }

    /// Adds a token.
    pub fn add(&mut self, invitation: Invitation) {
        self.all.push(invitation);
    }

    /// The invitation behind a token.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if there is none, or the secret is another.
    pub fn find(&self, id: TokenId, secret: &Secret) -> Result<&Invitation, Refusal> {
        let hash = secret.hash();
        let found = self.all.iter().find(|invitation| invitation.id == id);
        found
            .filter(|invitation| invitation.secret_hash.0.ct_eq(&hash.0).into())
            .ok_or(Refusal::Unknown)
    }

    /// Whether a location with this key has used any token, as far as is remembered.
    #[must_use]
    pub fn has_come(&self, member: MemberId, key_hash: Sha256) -> bool {
        self.all.iter().any(|invitation| invitation.is_used_by(member, key_hash))
    }

    /// Marks a token as used by a location, unless it is so by the same one and key; then that stays
    /// as it is, also after the token's end.
    ///
    /// # Errors
    /// If it has expired, or another location used it.
    pub fn use_up(
        &mut self,
        id: TokenId,
        member: MemberId,
        key_hash: Sha256,
        now: u64,
    ) -> Result<&Used, Refusal> {
        let invitation = self.all.iter_mut().find(|invitation| invitation.id == id);
        let invitation = invitation.ok_or(Refusal::Unknown)?;
        invitation.check_free(member, key_hash, now)?;
        Ok(invitation.used.get_or_insert(Used { member, key_hash, at: now, certificate: None }))
    }

    /// The certificate for who used a token: the one that is kept, else `made`, which is kept then.
    ///
    /// # Errors
    /// If it is gone, as it is long after its use.
    pub fn certify(&mut self, id: TokenId, made: String) -> Result<String, Refusal> {
        let invitation = self.all.iter_mut().find(|invitation| invitation.id == id);
        let used = invitation.and_then(|invitation| invitation.used.as_mut());
        Ok(used.ok_or(Refusal::Unknown)?.certificate.get_or_insert(made).clone())
    }

    fn forget_old(&mut self, now: u64) {
        self.all.retain(|invitation| {
            let end = invitation.used.as_ref().map_or(invitation.expires, |used| used.at);
            end.saturating_add(KEPT) > now
        });
    }
}

const HEAD: &str =
    "# The tokens that were given out. Written by the server and `waypost cluster invite`.\n";

#[cfg(test)]
mod tests {
    use super::*;

    const ME: MemberId = MemberId([1; 16]);
    const OTHER: MemberId = MemberId([2; 16]);
    const KEY: Sha256 = Sha256([5; 32]);

    fn invitations() -> (Invitations, TokenId, Secret) {
        let (id, secret) = (TokenId([7; 8]), Secret([8; 16]));
        let (secret_hash, location, used) = (secret.hash(), None, None);
        let one = Invitation { id, secret_hash, expires: 100, location, used };
        (Invitations { all: vec![one] }, id, secret)
    }

    #[test]
    fn a_wrong_secret_is_as_good_as_no_token() {
        let (invitations, id, secret) = invitations();
        assert!(invitations.find(id, &secret).is_ok());
        assert_eq!(invitations.find(id, &Secret([9; 16])), Err(Refusal::Unknown));
        assert_eq!(invitations.find(TokenId([0; 8]), &secret), Err(Refusal::Unknown));
    }

    #[test]
    fn a_token_is_used_by_one_location_and_before_it_expires() {
        let (mut late, id, _) = invitations();
        assert_eq!(late.use_up(id, ME, KEY, 100), Err(Refusal::Expired));
        let (mut invitations, ..) = invitations();
        assert!(invitations.use_up(id, ME, KEY, 99).is_ok());
        assert!(invitations.use_up(id, ME, KEY, 1000).is_ok(), "the same may ask again");
        assert_eq!(invitations.use_up(id, OTHER, KEY, 99), Err(Refusal::Used));
        assert_eq!(invitations.use_up(id, ME, Sha256([6; 32]), 99), Err(Refusal::Used));
        assert_eq!(invitations.certify(id, "one".into()), Ok("one".into()));
        assert_eq!(invitations.certify(id, "two".into()), Ok("one".into()));
    }

    #[test]
    fn what_is_long_over_is_forgotten() {
        let (mut invitations, id, secret) = invitations();
        invitations.forget_old(100 + KEPT - 1);
        assert!(invitations.find(id, &secret).is_ok());
        invitations.forget_old(100 + KEPT);
        assert_eq!(invitations.find(id, &secret), Err(Refusal::Unknown));
    }
}
