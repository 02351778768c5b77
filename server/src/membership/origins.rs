//! The conditions of the store's origins that an operator must act on.

use kv_core::{StoreView, limits::MAX_ORIGINS};

/// From so many origins on there is an alarm: every start of a location adds two, and they never go.
const MANY_ORIGINS: usize = 4096;

/// The state of the store that matters to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginState {
    /// How many origins the store knows.
    pub known: usize,
    /// A process of this location that started later has closed this one's origins: it takes no more writes.
    pub is_superseded: bool,
    /// The store was a member's, and lacks deletions until a session has brought them.
    pub is_rebuilding: bool,
}

impl OriginState {
    /// Reads it from a view.
    #[must_use]
    pub fn of(view: &StoreView) -> OriginState {
        OriginState {
            known: view.registry().len(),
            is_superseded: view.is_superseded(),
            is_rebuilding: view.is_rebuilding() && view.members().is_current(view.member()),
        }
    }

    /// Returns the alarms, each a sentence with the action to take.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let mut alarms = Vec::new();
        if self.is_superseded {
            alarms.push(
                "another process runs as this location, on a copy of its data directory, and started later, so that \
                 this one takes no more writes: stop one of the two; if this one is to continue, stop the other and \
                 restart this one"
                    .into(),
            );
        }
        if self.is_rebuilding {
            alarms.push(
                "this location was restored from a copy that is older than deletions that the others no longer keep, \
                 or its store was lost: it takes what it lacks from another location, and serves none until then; if \
                 this does not end, check that it has a link to another location"
                    .into(),
            );
        }
        if self.known >= MANY_ORIGINS {
            alarms.push(format!(
                "this cluster's locations have been started very often: it knows {} origins, two for each start, and \
                 can have {MAX_ORIGINS}; find out why they restart, and plan to move to a new cluster",
                self.known
            ));
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_is_an_alarm() {
        assert_eq!(OriginState::default().alarms(), Vec::<String>::new());
        let all = OriginState { known: MANY_ORIGINS, is_superseded: true, is_rebuilding: true };
        let alarms = all.alarms();
        assert_eq!(alarms.len(), 3);
        assert!(alarms[0].contains("another process") && alarms[0].contains("stop"), "{alarms:?}");
        assert!(alarms[2].contains("knows 4096 origins"), "{alarms:?}");
    }
}
