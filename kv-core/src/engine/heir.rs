//! To whom root gives the files that it creates in the data directory of a server that runs as another user.

use std::{
    fs::{File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, statat},
    process::geteuid,
};

use super::storage::{FILE, LOCK};

/// The group may create files in a directory.
const GROUP_CREATES: u32 = 0o030;
/// A directory gives its group to new files.
const GIVES_GROUP: u32 = 0o2000;
/// The permissions of the group and of all others.
const OTHERS: u32 = 0o077;

/// The user and group who need what root creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heir {
    /// The user; root if only the group is known.
    user: u32,
    /// The group.
    group: u32,
}

impl Heir {
    /// Returns who needs what this process creates in a data directory; none if that is this process' own user.
    ///
    /// It is the owner of the directory. On a volume for a group it is the owner of the store's files, and if there are none,
    /// the group.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn of(directory: &File) -> io::Result<Option<Heir>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let found = directory.metadata()?;
        if found.uid() == 0 || is_for_group(&found) {
            for name in [FILE, LOCK] {
                let Ok(file) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
                let is_file = FileType::from_raw_mode(file.st_mode) == FileType::RegularFile;
                if is_file && file.st_uid != 0 {
                    return Ok(Some(Heir { user: file.st_uid, group: file.st_gid }));
                }
            }
        }
        let heir = Heir { user: found.uid(), group: found.gid() };
        Ok((found.uid() != 0 || is_for_group(&found)).then_some(heir))
    }

    /// The user's id.
    #[must_use]
    pub fn user(self) -> u32 {
        self.user
    }

    /// Whether a directory becomes unusable for this user if only its owner may use it.
    #[must_use]
    pub fn needs_group_of(self, directory: &Metadata) -> bool {
        self.user == 0 || directory.uid() != self.user
    }

    /// Gives what was created, and is private. Root in a container may not be allowed to give files away: that is a
    /// warning.
    ///
    /// # Errors
    /// If the system refuses for another reason.
    pub fn give(self, created: &File, path: &Path) -> io::Result<()> {
        let given = fchown(created, Some(self.user), Some(self.group));
        may_refuse(given, path)?;
        let found = created.metadata()?;
        if self.user == 0 {
            let mode = found.mode() & 0o7777;
            let of_group = (mode & 0o700) >> 3;
            return created.set_permissions(Permissions::from_mode(mode | of_group));
        }
        Ok(())
    }
}

/// Accepts that this process may not give a file away.
fn may_refuse(given: io::Result<()>, path: &Path) -> io::Result<()> {
    match given {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
            ) =>
        {
            tracing::warn!(
                path = %path.display(),
                %error,
                "root may not give this file to the user of the data directory (it lacks CAP_CHOWN, or the user is not \
                 mapped): a server that runs as that user can't open it until you change its owner"
            );
            Ok(())
        }
        given => given,
    }
}

/// Whether a directory is one that a group shares: Kubernetes makes such volumes (`fsGroup`).
fn is_for_group(directory: &Metadata) -> bool {
    let mode = directory.mode();
    let is_shared = mode & GIVES_GROUP != 0 || directory.gid() != 0;
    mode & GROUP_CREATES == GROUP_CREATES && is_shared
}

/// Whether users other than the owner have permissions.
pub(super) fn is_open_to_others(found: &Metadata) -> bool {
    found.mode() & OTHERS != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_to_give_files_away_is_a_warning_and_other_errors_are_not() {
        let path = Path::new("LOCK");
        for (code, is_accepted) in [(1, true), (22, true), (5, false), (30, false)] {
            let refused = Err(io::Error::from_raw_os_error(code));
            assert_eq!(may_refuse(refused, path).is_ok(), is_accepted, "{code}");
        }
    }
}
