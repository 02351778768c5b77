//! The suite is tested: each rule is broken once, and the runs must notice.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kv_core::mutant::{Mutant, break_rule as break_store_rule};
use kv_replicate::mutant::{Rule, break_rule};
use waypost_disk_tests::{rng::Rng, violation::Checked};
use waypost_sim_tests::{plan::Plan, scenario, world::World};

/// Within so many seeds a broken rule is noticed.
const SEEDS: u64 = 50;

/// What is run with a seed.
type Run = fn(u64) -> Checked;

/// A bit of everything.
fn mixed(seed: u64) -> Checked {
    World::run(seed, Plan::mixed(&mut Rng::new(seed)), false).1
}

/// Runs seeds until one notices: the seed, and what it says.
fn notice(run: Run) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| match catch_unwind(AssertUnwindSafe(|| run(seed))) {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some((seed, violation.to_string())),
        Err(_) => Some((seed, "it panicked".into())),
    })
}

fn is_noticed(name: &str, run: Run) {
    let noticed = notice(run);
    break_rule(None);
    break_store_rule(None);
    match noticed {
        Some((seed, what)) => println!("{name}: noticed by seed {seed}: {what:.300}"),
        None => panic!("{name}: not noticed in {SEEDS} seeds"),
    }
}

macro_rules! noticed {
    ($($name:ident: $rule:ident,)*) => {
        $(#[test]
        fn $name() {
            break_rule(Some(Rule::$rule));
            is_noticed(stringify!($rule), mixed);
        })*

        /// The rules that mixed runs notice.
        const NOTICED_BY_CHANCE: &[Rule] = &[$(Rule::$rule),*];
    };
}

macro_rules! noticed_by_scenario {
    ($($name:ident: $rule:ident by $scenario:ident,)*) => {
        $(#[test]
        fn $name() {
            break_rule(Some(Rule::$rule));
            is_noticed(stringify!($rule), scenario::$scenario::run);
        })*

        /// The rules whose breach chance brings to light too seldom, and what brings it to light.
        const SCENARIOS: &[(Rule, Run)] = &[$((Rule::$rule, scenario::$scenario::run)),*];
    };
}

macro_rules! noticed_in_the_store {
    ($($name:ident: $rule:ident,)*) => {
        $(#[test]
        fn $name() {
            break_store_rule(Some(Mutant::$rule));
            is_noticed(stringify!($rule), mixed);
        })*
    };
}

noticed! {
    a_vector_of_several_snapshots_is_noticed: AdoptOneSnapshot,
    a_body_that_is_gone_and_let_go_is_noticed: GoneBodyMeansTheBurstAgain,
    a_promise_without_its_writes_is_noticed: PromiseNeedsItsWrites,
    a_fast_clock_that_is_let_in_is_noticed: ParkFastClocks,
}

noticed_in_the_store! {
    a_vector_raised_before_the_end_of_a_session_is_noticed: AdoptPerRow,
    a_last_arrival_that_wins_is_noticed: LastArrivalWins,
    a_tombstone_dropped_too_early_is_noticed: CollectEarly,
    a_clock_that_hears_no_peer_is_noticed: DeafClock,
}

noticed_by_scenario! {
    a_watermark_of_who_can_be_reached_is_noticed: AbsentMembersCount by absent,
    an_answer_mixed_of_two_snapshots_is_noticed: OneStampABurst by two_snapshots,
    a_page_of_a_dead_session_that_is_taken_is_noticed: DeadSessionsAreIgnored by dead_session,
    a_claim_to_be_complete_that_power_takes_back_is_noticed: CompleteIsDurable by visible_only,
    a_gap_that_is_left_open_is_noticed: AskAfterGaps by lost_live,
    a_writer_cut_off_that_no_one_stands_in_for_is_noticed: Relay by relay,
    a_tombstone_dropped_with_its_author_is_noticed: DropNothingBeforeClosed by last_words,
    a_member_that_left_and_counts_as_closed_at_once_is_noticed: ClosingSessions by last_words,
    a_new_member_that_says_to_be_complete_is_noticed: NewMembersAreNotComplete by half_joined,
    a_new_member_with_what_others_have_forgotten_is_noticed: NewMembersKnowWhatIsGone by second_sponsor,
    a_stranger_that_is_served_is_noticed: OnlyMembersAreServed by stranger,
    a_new_member_that_nobody_vouches_for_is_noticed: NewMembersAreVouchedFor by unheard_member,
    a_vector_adopted_after_its_rows_were_lost_is_noticed: NothingLateIsDone by went_back,
    a_stranger_that_is_never_heard_is_noticed: StrangersAreHeard by stranded,
    a_removal_that_is_said_to_be_known_too_early_is_noticed: BarrierBeforeSaying by barrier,
    a_store_that_went_back_and_goes_on_is_noticed: WhoWentBackHalts by old_image,
    a_store_that_takes_its_own_lost_row_is_noticed: WhatWasNotMadeHalts by not_made,
    a_store_that_meets_its_double_and_goes_on_is_noticed: DoublesHalt by copied,
    a_suspended_session_that_does_not_go_back_is_noticed: SuspendedGoBack by suspended,
    a_body_that_is_gone_with_a_page_lost_behind_it_is_noticed: GoneBodyOutlivesALostPage by lost_page,
    a_message_of_an_earlier_start_that_is_heard_is_noticed: BootsAreChecked by late_heads,
    a_removal_that_is_told_in_answer_to_one_is_noticed: RemovedIsNotAnswered by mutual_removal,
}

/// Rules that another suite breaks: `verify`.
const BROKEN_ELSEWHERE: &[Rule] = &[Rule::DifferencesAreCovered];

#[test]
fn scenarios_notice_nothing_where_no_rule_is_broken() {
    for (rule, run) in SCENARIOS {
        for seed in 0..SEEDS {
            let found = run(seed);
            assert!(found.is_ok(), "the scenario of {rule:?}, seed {seed}: {found:?}");
        }
    }
}

#[test]
fn every_rule_is_broken_by_a_test() {
    for rule in Rule::ALL {
        let is_broken = NOTICED_BY_CHANCE.contains(&rule);
        let has_scenario = SCENARIOS.iter().any(|(broken, _)| *broken == rule);
        let is_elsewhere = BROKEN_ELSEWHERE.contains(&rule);
        let ways = [is_broken, has_scenario, is_elsewhere].iter().filter(|way| **way).count();
        assert_eq!(ways, 1, "{rule:?}");
    }
}
