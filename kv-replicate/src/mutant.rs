//! Rules of replication that a test can switch off, to show that the simulator would notice.
//!
//! Only with the feature `mutants`; without it every question is answered `false` at compile time.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// A pass that took several snapshots is followed by another before its vector is adopted.
    AdoptOneSnapshot = 1,
    /// Pages of two snapshots are not mixed in one burst.
    OneStampABurst,
    /// Pages of dead sessions are passed over.
    DeadSessionsAreIgnored,
    /// A burst with a body that was gone at its source comes again.
    GoneBodyMeansTheBurstAgain,
    /// The watermark is the least that all members say, whether they can be reached or not.
    AbsentMembersCount,
    /// A member says that it is complete only up to what is durable.
    CompleteIsDurable,
    /// A promise counts only when all that was written before it is here.
    PromiseNeedsItsWrites,
    /// Rows of a clock that is far ahead are not applied.
    ParkFastClocks,
    /// A gap in a live stream is asked for again.
    AskAfterGaps,
    /// Who can't be reached is caught up on through others.
    Relay,
    /// When a member left, nothing is dropped until all have what is left of it.
    DropNothingBeforeClosed,
    /// What is left of a member that left is taken from every other before it counts as closed.
    ClosingSessions,
    /// Who has not joined is complete up to no time.
    NewMembersAreNotComplete,
    /// Only members get rows.
    OnlyMembersAreServed,
    /// Who has rows and has not joined goes on only where nothing is gone that its source did not have.
    NewMembersKnowWhatIsGone,
    /// Who has proven to be of the cluster is heard, though no entry here says so.
    StrangersAreHeard,
    /// A member is vouched for by who knows of it, to those who do not.
    NewMembersAreVouchedFor,
    /// What was asked of a store before it went back is not done after.
    NothingLateIsDone,
    /// Two rows differ only if both locations count both.
    DifferencesAreCovered,
    /// Whom a location knows of it says only when all that came of those who left is durable.
    BarrierBeforeSaying,
    /// A store of which a peer counts more than it made replicates no more.
    WhoWentBackHalts,
    /// A store that gets a row of its own which it did not make replicates no more.
    WhatWasNotMadeHalts,
    /// A store that meets another with its identity replicates no more.
    DoublesHalt,
    /// A session that is suspended goes on with the first burst that is not wholly in the store.
    SuspendedGoBack,
    /// A burst with a body that was gone comes again, also if its next page is lost.
    GoneBodyOutlivesALostPage,
    /// What was meant for an earlier start, or comes from one, is passed over.
    BootsAreChecked,
    /// Who is told that it was removed by one that it has removed itself says nothing.
    RemovedIsNotAnswered,
}

impl Rule {
    /// Every rule that can be broken.
    pub const ALL: [Rule; 27] = [
        Rule::AdoptOneSnapshot,
        Rule::OneStampABurst,
        Rule::DeadSessionsAreIgnored,
        Rule::GoneBodyMeansTheBurstAgain,
        Rule::AbsentMembersCount,
        Rule::CompleteIsDurable,
        Rule::PromiseNeedsItsWrites,
        Rule::ParkFastClocks,
        Rule::AskAfterGaps,
        Rule::Relay,
        Rule::DropNothingBeforeClosed,
        Rule::ClosingSessions,
        Rule::NewMembersAreNotComplete,
        Rule::OnlyMembersAreServed,
        Rule::NewMembersKnowWhatIsGone,
        Rule::StrangersAreHeard,
        Rule::NewMembersAreVouchedFor,
        Rule::NothingLateIsDone,
        Rule::DifferencesAreCovered,
        Rule::BarrierBeforeSaying,
        Rule::WhoWentBackHalts,
        Rule::WhatWasNotMadeHalts,
        Rule::DoublesHalt,
        Rule::SuspendedGoBack,
        Rule::GoneBodyOutlivesALostPage,
        Rule::BootsAreChecked,
        Rule::RemovedIsNotAnswered,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Rule;

    thread_local!(static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) });

    /// Breaks one rule, or none, for what this thread does from now on.
    pub fn break_rule(rule: Option<Rule>) {
        BROKEN.set(rule);
    }

    pub(crate) fn is_broken(rule: Rule) -> bool {
        BROKEN.get() == Some(rule)
    }
}

#[cfg(feature = "mutants")]
pub use switch::break_rule;
#[cfg(feature = "mutants")]
pub(crate) use switch::is_broken;

#[cfg(not(feature = "mutants"))]
pub(crate) const fn is_broken(_rule: Rule) -> bool {
    false
}
