//! Reading: a consistent view of a store as of one commit.

mod bodies;
mod changes;
mod damage;
mod examination;
mod examine;
mod index;
mod list;
mod point;
mod scan;
mod unindexed;

pub(crate) use self::damage::{Damage, Met};
pub(crate) use self::examination::Defect;
pub(crate) use self::list::{Stretch, StretchEnd};
pub use self::{
    changes::Changes,
    damage::MetDamage,
    examination::{EntryName, Examination, Findings, Repair, Repaired},
    point::View,
    scan::{RowName, Scanned},
    unindexed::IndexState,
};
pub use crate::types::{Found, FoundState};
