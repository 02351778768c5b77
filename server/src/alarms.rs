//! Alarms and the verdict: what an operator must act on, and whether all is well.
//!
//! [`Snapshot`] is the state of a location at one moment. [`alarms`] and [`verdict`] derive everything from it that is
//! reported about it: `waypost cluster status`, `/v1/cluster`, `/metrics` and the log only format what they return.
//!
//! | module | what it knows |
//! |---|---|
//! | `kind` | the kinds of alarm: their names in metrics and documentation, their numbers between locations |
//! | `snapshot` | the state from which everything is derived |
//! | `derive` | the alarms, as a pure function; `links`, `writes`, `clock`, `damage`, `store`, `titles`, `directory` and `configuration` are its parts |
//! | `verdict` | whether all is well, in one line |
//! | `book` | since when each alarm lasts; logs when one rises and when it ends |
//!
//! A new alarm is a kind in `kind`, a condition in `derive`, and a section in docs/alarms.md, which a test demands.

mod alarm;
mod book;
mod clock;
mod configuration;
mod damage;
mod derive;
mod directory;
mod kind;
mod links;
mod snapshot;
mod store;
#[cfg(test)]
mod testing;
mod times;
mod titles;
mod verdict;
mod writes;

pub use self::{
    alarm::Alarm,
    book::{AlarmBook, Raised},
    configuration::{ConfigurationFault, Part},
    damage::{DamageState, DamagedInfo, KeyInfo},
    derive::{alarms, conditions},
    directory::DataDirectory,
    kind::{AlarmKind, CATCHING_UP},
    snapshot::{Member, Snapshot},
    titles::{TitleCache, TitleTwice},
    verdict::{Verdict, is_live, verdict},
};
