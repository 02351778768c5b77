//! `invitations.toml`: the issued tokens, and which location used each.
//!
//! The server and `waypost cluster invite` both change it. Each takes the lock of the directory and
//! reads the file again.

use kv_core::MemberId;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{
    files::{self, ClusterDir, FilesError},
    names::{Name, Sha256, TokenId, text},
    token::Secret,
};

/// How long an invitation is kept after its end, in seconds: a location that lost the response to its
/// token can still retry, and a late one learns that its token has expired.
const KEPT: u64 = 30 * 24 * 60 * 60;

/// An issued token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Invitation {
    /// The token's id.
    pub id: TokenId,
    /// The hash of its secret; the secret itself is not kept.
    pub secret_hash: Sha256,
    /// When it expires, in Unix seconds.
    pub expires: u64,
    /// The only location that may use it, if it is for a certain one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Name>,
    /// Which location used it, if one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
}

impl Invitation {
    /// Whether it is marked as used by a location with this key.
    #[must_use]
    pub fn is_used_by(&self, member: MemberId, key_hash: Sha256) -> bool {
        self.used.as_ref().is_some_and(|used| (used.member, used.key_hash) == (member, key_hash))
    }

    /// Checks that a location may use it: no other location has, and it has not expired unless this one
    /// used it before. Changes nothing.
    ///
    /// # Errors
    /// If it has expired, or another location used it.
    pub fn check_free(
        &self,
        member: MemberId,
        key_hash: Sha256,
        now: u64,
    ) -> Result<(), TokenRejection> {
        match self.used {
            None if self.expires <= now => Err(TokenRejection::Expired),
            Some(_) if !self.is_used_by(member, key_hash) => Err(TokenRejection::Used),
            _ => Ok(()),
        }
    }
}

/// The location that used a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Used {
    /// Its id.
    #[serde(with = "text")]
    pub member: MemberId,
    /// The SHA-256 of its public key.
    pub key_hash: Sha256,
    /// When it did, in Unix seconds.
    pub at: u64,
    /// The certificate that was issued to it, in PEM; none until it is a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitations {
    /// All invitations, in the order of their creation.
    #[serde(default, rename = "invitation")]
    all: Vec<Invitation>,
}

/// Why a token is refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRejection {
    /// No such token, or another secret. An unauthenticated peer must not learn which.
    #[error(
        "this location did not issue the token, or issued it long ago: ask for a new one (`waypost cluster invite`)"
    )]
    Unknown,
    /// It has expired.
    #[error("the token has expired: ask for a new one (`waypost cluster invite`)")]
    Expired,
    /// Another location has used it.
    #[error(
        "the token has already been used by another location: ask for a new one (`waypost cluster invite`)"
    )]
    Used,
}

impl Invitations {
    /// Reads the file, applies `change`, and writes the result durably, under the lock.
    ///
    /// # Errors
    /// If the file can't be read or written, or `change` fails. The file is unchanged then.
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
            invitations.remove_old(now);
            invitations.save(directory)?;
        }
        Ok(changed)
    }

    /// Reads the file. If it is lost, there are no invitations: the tokens that were printed before no longer work.
    ///
    /// # Errors
    /// If it is damaged or can't be read.
    pub fn load(directory: &ClusterDir) -> Result<Invitations, FilesError> {
        let content = match directory.read(files::INVITATIONS) {
            Err(FilesError::Missing(_)) => return Ok(Invitations::default()),
            content => content?,
        };
        toml::from_str(&content).map_err(|error| {
            let reason = format!(
                "{error} (or remove the file: then the tokens that were printed before no longer work)"
            );
            directory.damaged(files::INVITATIONS, reason)
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the system refuses; the file is unchanged.
    pub fn save(&self, directory: &ClusterDir) -> Result<(), FilesError> {
        let content =
            toml::to_string(self).map_err(|error| directory.damaged(files::INVITATIONS, error))?;
        directory.write(files::INVITATIONS, &format!("{HEAD}{content}"))
    }

    /// Adds an invitation.
    pub fn add(&mut self, invitation: Invitation) {
        self.all.push(invitation);
    }

    /// Finds the invitation of a token, comparing secrets in constant time.
    ///
    /// # Errors
    /// [`TokenRejection::Unknown`] if there is none, or the secret is another.
    pub fn find(&self, id: TokenId, secret: &Secret) -> Result<&Invitation, TokenRejection> {
        let hash = secret.hash();
        let found = self.all.iter().find(|invitation| invitation.id == id);
        found
            .filter(|invitation| invitation.secret_hash.0.ct_eq(&hash.0).into())
            .ok_or(TokenRejection::Unknown)
    }

    /// Whether a location with this key has used any token that is still kept.
    #[must_use]
    pub fn has_used_any(&self, member: MemberId, key_hash: Sha256) -> bool {
        self.all.iter().any(|invitation| invitation.is_used_by(member, key_hash))
    }

    /// Marks a token as used by a location. If the same location with the same key has used it before,
    /// the mark stays unchanged, also after the token has expired.
    ///
    /// # Errors
    /// If it has expired, or another location used it.
    pub fn mark_used(
        &mut self,
        id: TokenId,
        member: MemberId,
        key_hash: Sha256,
        now: u64,
    ) -> Result<&Used, TokenRejection> {
        let invitation = self.all.iter_mut().find(|invitation| invitation.id == id);
        let invitation = invitation.ok_or(TokenRejection::Unknown)?;
        invitation.check_free(member, key_hash, now)?;
        Ok(invitation.used.get_or_insert(Used { member, key_hash, at: now, certificate: None }))
    }

    /// Returns the certificate of the location that used a token: the one that is kept, or else `made`,
    /// which is kept from then on.
    ///
    /// # Errors
    /// If the invitation is no longer kept.
    pub fn certify(&mut self, id: TokenId, made: String) -> Result<String, TokenRejection> {
        let invitation = self.all.iter_mut().find(|invitation| invitation.id == id);
        let used = invitation.and_then(|invitation| invitation.used.as_mut());
        Ok(used.ok_or(TokenRejection::Unknown)?.certificate.get_or_insert(made).clone())
    }

    /// Removes invitations whose use or expiry is long past.
    fn remove_old(&mut self, now: u64) {
        self.all.retain(|invitation| {
            let end = invitation.used.as_ref().map_or(invitation.expires, |used| used.at);
            end.saturating_add(KEPT) > now
        });
    }
}

/// The comment at the head of the file.
const HEAD: &str =
    "# The issued tokens. Written by the server and `waypost cluster invite`; do not edit.\n";

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
    fn a_wrong_secret_is_rejected_like_an_unknown_token() {
        let (invitations, id, secret) = invitations();
        assert!(invitations.find(id, &secret).is_ok());
        assert_eq!(invitations.find(id, &Secret([9; 16])), Err(TokenRejection::Unknown));
        assert_eq!(invitations.find(TokenId([0; 8]), &secret), Err(TokenRejection::Unknown));
    }

    #[test]
    fn only_one_location_can_use_a_token_and_only_before_it_expires() {
        let (mut late, id, _) = invitations();
        assert_eq!(late.mark_used(id, ME, KEY, 100), Err(TokenRejection::Expired));
        let (mut invitations, ..) = invitations();
        assert!(invitations.mark_used(id, ME, KEY, 99).is_ok());
        assert!(invitations.mark_used(id, ME, KEY, 1000).is_ok(), "the same location may retry");
        assert_eq!(invitations.mark_used(id, OTHER, KEY, 99), Err(TokenRejection::Used));
        assert_eq!(invitations.mark_used(id, ME, Sha256([6; 32]), 99), Err(TokenRejection::Used));
        assert_eq!(invitations.certify(id, "one".into()), Ok("one".into()));
        assert_eq!(invitations.certify(id, "two".into()), Ok("one".into()));
    }

    #[test]
    fn an_old_invitation_is_removed() {
        let (mut invitations, id, secret) = invitations();
        invitations.remove_old(100 + KEPT - 1);
        assert!(invitations.find(id, &secret).is_ok());
        invitations.remove_old(100 + KEPT);
        assert_eq!(invitations.find(id, &secret), Err(TokenRejection::Unknown));
    }
}
