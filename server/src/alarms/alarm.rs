//! An alarm.

use kv_core::MemberId;

use super::kind::AlarmKind;

/// What an operator must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Its kind.
    pub kind: AlarmKind,
    /// The other location that it is about, if it is about one.
    pub about: Option<MemberId>,
    /// Whether that location has reported it, so that its own status shows it too.
    pub is_reported: bool,
    /// Since when it lasts, in Unix seconds, if that is known better than from when it was first derived.
    pub since: Option<u64>,
    /// What is wrong, why, and what to do, in a sentence or some.
    pub text: String,
}

impl Alarm {
    /// An alarm of this location.
    pub(super) fn here(kind: AlarmKind, text: impl Into<String>) -> Alarm {
        Alarm { kind, about: None, is_reported: false, since: None, text: text.into() }
    }

    /// An alarm of this location about another one.
    pub(super) fn about(kind: AlarmKind, about: MemberId, text: impl Into<String>) -> Alarm {
        Alarm { about: Some(about), ..Alarm::here(kind, text) }
    }

    /// The same, with the time since which it lasts.
    pub(super) fn since(self, since: u64) -> Alarm {
        Alarm { since: Some(since), ..self }
    }
}
