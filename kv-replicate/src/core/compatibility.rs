//! Whether this location and a peer understand each other, and in which version of messages.

use std::borrow::Cow;

use kv_core::{Features, SoftwareVersion};

use super::local::Local;
use crate::wire::{Hello, common_version};

/// Returns the version of messages that this location and a peer use. Before the peer's hello was accepted, it is this
/// location's newest; a hello has one layout in all versions.
pub(super) fn version(local: &Local, hello: Option<&Hello>) -> u16 {
    let own = local.config().software.wire();
    hello.and_then(|hello| common_version(own, hello.versions)).unwrap_or(own.1)
}

/// Checks that this location and the sender of a hello have a version of messages in common, and that the sender has
/// every feature in use.
///
/// # Errors
/// The reason to close the link, which both ends report: it names both programs, and which of them to upgrade.
pub(super) fn check(local: &Local, hello: &Hello) -> Result<(), Cow<'static, str>> {
    let own = &local.config().software;
    let ours = Side { version: Some(&own.version), wire: own.wire() };
    let theirs = Side { version: hello.software.as_ref(), wire: hello.versions };
    if theirs.wire.0 == 0 || theirs.wire.0 > theirs.wire.1 {
        return Err("a hello has an invalid range of wire versions".into());
    }
    if common_version(ours.wire, theirs.wire).is_none() {
        let older = if ours.wire.1 < theirs.wire.1 { ours } else { theirs };
        return Err(format!(
            "the two locations have no wire version in common: one runs waypost {} and the other waypost {}: upgrade the \
             one that runs waypost {}",
            ours.with_range(),
            theirs.with_range(),
            older.name(),
        )
        .into());
    }
    check_features(&theirs, local.features().without(hello.features))
}

/// Rejects a program that lacks a feature in use.
fn check_features(peer: &Side<'_>, lacking: Features) -> Result<(), Cow<'static, str>> {
    if lacking.is_empty() {
        return Ok(());
    }
    let program = peer.name();
    Err(format!(
        "waypost {program} lacks what this cluster uses: {lacking}; upgrade the location that runs waypost {program}"
    )
    .into())
}

/// The program of one end.
#[derive(Clone, Copy)]
struct Side<'a> {
    /// Its version, if it is known.
    version: Option<&'a SoftwareVersion>,
    /// The oldest and the newest version of messages that it understands.
    wire: (u16, u16),
}

impl Side<'_> {
    /// The version of the program.
    fn name(&self) -> &str {
        self.version.map_or("of an unknown version", SoftwareVersion::as_str)
    }

    /// The version of the program, and of its messages.
    fn with_range(&self) -> String {
        let (oldest, newest) = self.wire;
        match newest - oldest {
            0 => format!("{} (wire version {newest})", self.name()),
            _ => format!("{} (wire versions {oldest} to {newest})", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Fixture, PEER, hello};

    fn check_with(change: impl FnOnce(&mut Hello)) -> Result<(), Cow<'static, str>> {
        let mut fixture = Fixture::new();
        fixture.store(|store| store.features = Features::from_bits(1 << 40));
        let mut hello = Hello {
            features: Features::from_bits(1 << 40 | 1 << 41),
            versions: (1, 7),
            ..hello(PEER)
        };
        hello.software = Some(SoftwareVersion::new("9.8.7").unwrap());
        change(&mut hello);
        check(fixture.local(), &hello)
    }

    #[test]
    fn a_peer_with_a_common_version_and_all_features_in_use_is_accepted() {
        assert_eq!(check_with(|_| {}), Ok(()));
    }

    #[test]
    fn an_error_names_both_programs_and_which_one_to_upgrade() {
        let own = crate::software();
        let (version, newest) = (own.version.as_str(), own.wire().1);
        let later = check_with(|hello| hello.versions = (newest + 1, newest + 2)).unwrap_err();
        assert!(later.contains("waypost 9.8.7 (wire versions"), "{later}");
        assert!(
            later.ends_with(&format!("upgrade the one that runs waypost {version}")),
            "{later}"
        );
        let older = check_with(|hello| hello.versions = (1, 1)).unwrap_err();
        assert!(older.ends_with("upgrade the one that runs waypost 9.8.7"), "{older}");
        assert!(check_with(|hello| hello.versions = (3, 2)).is_err());
    }

    #[test]
    fn a_peer_that_lacks_a_feature_in_use_is_rejected_by_its_hello() {
        let error = check_with(|hello| hello.features = Features::from_bits(1 << 41)).unwrap_err();
        assert!(
            error.starts_with("waypost 9.8.7 lacks") && error.contains("feature 40"),
            "{error}"
        );
    }
}
