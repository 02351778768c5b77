//! Calendar windows, in a build without the feature `calendar`: there are none.

use crate::algorithm::Window;

/// A calendar, of which there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Calendar {}

/// Whether a number is the code of a calendar: none is, so a save that has some is of another build.
pub(crate) fn is_code(_number: u64) -> bool {
    false
}

impl Calendar {
    pub(crate) fn of_code(_code: u64) -> Option<Calendar> {
        None
    }

    pub(crate) fn code(self) -> u64 {
        match self {}
    }

    pub(crate) fn window(self, _now_ms: u64) -> Window {
        match self {}
    }
}
