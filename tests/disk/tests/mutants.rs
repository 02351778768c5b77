//! The suite is tested: each rule of the store is broken once, and the random runs must notice.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kv_core::mutant::{Mutant, break_rule};
use waypost_disk_tests::world::{Plan, World};

/// Within so many seeds a broken rule is noticed.
const SEEDS: u64 = 50;

/// Runs seeds with a rule broken, until one notices: the seed, and what it says.
fn notice(rule: Mutant) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| {
        break_rule(Some(rule));
        let result = catch_unwind(AssertUnwindSafe(|| World::run(seed, Plan::mixed(), false).1));
        break_rule(None);
        match result {
            Ok(Ok(())) => None,
            Ok(Err(violation)) => Some((seed, violation.to_string())),
            Err(_) => Some((seed, "it panicked".into())),
        }
    })
}

fn is_noticed(rule: Mutant) {
    let Some((seed, what)) = notice(rule) else {
        panic!("{rule:?}: not noticed in {SEEDS} seeds");
    };
    println!("{rule:?}: noticed by seed {seed}: {what}");
}

macro_rules! noticed {
    ($($name:ident: $rule:ident,)*) => {
        $(#[test]
        fn $name() {
            is_noticed(Mutant::$rule);
        })*

        /// The rules that the tests here break.
        const BROKEN: &[Mutant] = &[$(Mutant::$rule),*];
    };
}

noticed! {
    a_dot_that_stays_in_the_index_is_noticed: KeepOldDot,
    a_vector_that_is_not_written_is_noticed: ForgetVector,
    a_commit_in_two_parts_is_noticed: SplitCommit,
    a_staged_body_without_a_pending_row_is_noticed: StageWithoutPending,
    a_clock_that_starts_from_nothing_is_noticed: ForgetClock,
    a_write_applied_over_a_gap_is_noticed: ApplyOverGaps,
    a_vector_raised_before_the_end_of_a_session_is_noticed: AdoptPerRow,
    a_last_arrival_that_wins_is_noticed: LastArrivalWins,
    a_tombstone_dropped_in_silence_is_noticed: CollectSilently,
    an_expiry_row_that_stays_is_noticed: KeepOldExpiry,
    a_body_freed_under_its_reader_is_noticed: FreeWhileRead,
    a_replaced_body_that_is_not_freed_is_noticed: LeakBodies,
    a_write_after_a_failed_sync_is_noticed: WriteAfterFailedSync,
    a_sync_that_does_nothing_is_noticed: SyncNothing,
    a_grave_row_that_stays_is_noticed: KeepOldGrave,
    a_pending_row_that_stays_is_noticed: KeepPending,
    an_upload_that_lost_its_pieces_is_noticed: StaleUpload,
    a_failure_that_is_not_taken_up_is_noticed: ForgetLost,
    an_origin_without_a_number_is_noticed: ForgetOrigin,
    a_write_that_forgets_what_it_replaced_is_noticed: ForgetPrev,
    a_clock_that_hears_no_peer_is_noticed: DeafClock,
    a_tombstone_dropped_too_early_is_noticed: CollectEarly,
    a_body_that_expires_too_early_is_noticed: ExpireEarly,
    a_collected_vector_that_is_not_adopted_is_noticed: ForgetCollected,
    a_write_stored_in_a_dropped_namespace_is_noticed: FillDropped,
    a_dropped_namespace_that_lives_again_is_noticed: ReviveDropped,
    a_dropped_namespace_that_is_not_purged_is_noticed: ForgetPurge,
}

#[test]
fn every_rule_is_broken_by_a_test() {
    // These two are broken in tests of their own: of the threads, and of damage.
    let elsewhere = [Mutant::AckBeforeSync, Mutant::TrustChecksums];
    for rule in Mutant::ALL {
        assert!(BROKEN.contains(&rule) || elsewhere.contains(&rule), "{rule:?} has no test");
    }
}
