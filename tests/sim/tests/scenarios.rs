//! Runs each scenario of [`waypost_sim_tests::scenario`] with many seeds.

use waypost_disk_tests::violation::Checked;
use waypost_sim_tests::scenario;

/// How many seeds each scenario runs with.
const SEEDS: u64 = 50;

fn passes(scenario: fn(u64) -> Checked) {
    for seed in 0..SEEDS {
        let result = scenario(seed);
        assert!(result.is_ok(), "seed {seed}: {result:?}");
    }
}

#[test]
fn a_tombstone_waits_for_an_absent_member() {
    passes(scenario::absent::run);
}

#[test]
fn a_removed_members_write_that_is_not_durable_yet_reaches_every_member() {
    passes(scenario::barrier::run);
}

#[test]
fn a_row_that_a_source_receives_behind_a_walk_is_sent_in_the_next_round() {
    passes(scenario::behind_walk::run);
}

#[test]
fn what_a_lost_progress_reported_is_reported_again() {
    passes(scenario::lost_progress::run);
}

#[test]
fn an_end_of_a_link_that_begins_again_receives_everything() {
    passes(scenario::half_linked::run);
}

#[test]
fn of_two_copies_of_a_store_the_later_process_continues() {
    passes(scenario::copied::run);
}

#[test]
fn what_a_location_lacks_is_counted_while_there_is_no_link_to_it() {
    passes(scenario::counted_away::run);
}

#[test]
fn catch_up_over_a_link_that_is_slower_than_any_patience_sends_little_twice() {
    passes(scenario::slow_link::run);
}

#[test]
fn a_put_after_a_forgotten_deletion_is_read_although_the_clock_stepped_back() {
    passes(scenario::forgotten_alone::run);
}

#[test]
fn an_overwrite_of_a_damaged_row_wins_however_far_ahead_that_is_dated() {
    passes(scenario::damaged_ahead::run);
}

#[test]
fn a_damaged_row_of_the_index_of_writes_is_made_again_and_no_session_ends_without_its_write() {
    passes(scenario::damaged_index::run);
}

#[test]
fn damaged_entries_and_a_damaged_index_of_writes_do_not_wait_for_each_other() {
    passes(scenario::damaged_both::run);
}

#[test]
fn a_damaged_opening_row_at_the_only_source_ends_no_session_and_stays_known_as_missing() {
    passes(scenario::damaged_opening::run);
}

#[test]
fn a_damaged_tombstone_that_was_collected_elsewhere_is_no_less_collected() {
    passes(scenario::damaged_tombstone::run);
}

#[test]
fn an_entry_of_which_every_copy_is_destroyed_is_reported_until_it_is_put_again() {
    passes(scenario::destroyed::run);
}

#[test]
fn a_write_of_a_copy_that_is_older_than_a_forgotten_deletion_is_salvaged() {
    passes(scenario::late_write::run);
}

#[test]
fn a_late_deletion_is_forgotten_only_once_all_members_have_it() {
    passes(scenario::late_deletion::run);
}

#[test]
fn a_damaged_row_at_a_source_ends_no_session_and_comes_from_another_member() {
    passes(scenario::damaged_source::run);
}

#[test]
fn a_damaged_row_of_a_namespace_or_of_a_member_comes_from_another_member() {
    passes(scenario::damaged_system::run);
}

#[test]
fn a_page_of_a_dead_session_is_ignored() {
    passes(scenario::dead_session::run);
}

#[test]
fn entries_later_than_a_drop_bring_their_namespace_back() {
    passes(scenario::dropped::run);
}

#[test]
fn versions_beside_each_other_converge_and_use_the_features_that_all_members_have() {
    passes(scenario::mixed_versions::run);
}

#[test]
fn a_joining_member_reports_no_resolved_timestamp() {
    passes(scenario::half_joined::run);
}

#[test]
fn a_tombstone_of_a_lost_member_reaches_every_member_before_it_is_dropped() {
    passes(scenario::last_words::run);
}

#[test]
fn messages_of_an_earlier_incarnation_are_ignored() {
    passes(scenario::late_progress::run);
}

#[test]
fn a_lost_live_message_is_resent_from_the_backlog() {
    passes(scenario::lost_live::run);
}

#[test]
fn a_lost_process_that_was_announced_does_not_hold_back_garbage_collection() {
    passes(scenario::lost_process::run);
}

#[test]
fn a_batch_with_a_missing_body_and_a_lost_page_is_requested_again() {
    passes(scenario::lost_page::run);
}

#[test]
fn a_member_that_lies_about_a_removal_stops_no_member() {
    passes(scenario::lying_removal::run);
}

#[test]
fn a_member_that_claims_writes_which_another_one_never_made_hides_none_of_its_writes() {
    passes(scenario::claimed_writes::run);
}

#[test]
fn a_member_that_claims_a_time_which_has_not_come_dates_no_write_of_another_one() {
    passes(scenario::claimed_time::run);
}

#[test]
fn a_member_that_invents_origins_stops_nobody() {
    passes(scenario::invented_origins::run);
}

#[test]
fn a_removed_location_that_restarts_alone_does_not_take_part() {
    passes(scenario::removed_alone::run);
}

#[test]
fn two_members_that_remove_each_other_come_to_rest() {
    passes(scenario::mutual_removal::run);
}

#[test]
fn a_restored_store_gets_back_a_write_that_no_vector_counts() {
    passes(scenario::not_made::run);
}

#[test]
fn a_restored_store_reuses_no_number_and_gets_back_what_it_lost() {
    passes(scenario::old_image::run);
}

#[test]
fn a_session_ends_under_writes_although_its_source_has_rows_that_are_counted_nowhere() {
    passes(scenario::orphaned::run);
}

#[test]
fn a_location_joins_while_keys_are_rewritten_faster_than_a_round_trip() {
    passes(scenario::rewritten::run);
}

#[test]
fn a_reader_catches_up_through_a_member_that_did_not_write() {
    passes(scenario::relay::run);
}

#[test]
fn a_location_with_stale_rows_does_not_join_through_a_second_sponsor() {
    passes(scenario::second_sponsor::run);
}

#[test]
fn a_member_that_only_its_lost_sponsor_knew_is_answered() {
    passes(scenario::stranded::run);
}

#[test]
fn a_location_that_is_not_a_member_receives_no_row() {
    passes(scenario::non_member::run);
}

#[test]
fn a_suspended_session_resumes_with_its_incomplete_batch() {
    passes(scenario::suspended::run);
}

#[test]
fn pages_of_two_snapshots_are_not_mixed() {
    passes(scenario::two_snapshots::run);
}

#[test]
fn a_tombstone_waits_for_a_member_that_its_author_does_not_know() {
    passes(scenario::unheard_member::run);
}

#[test]
fn a_tombstone_waits_until_the_deletion_is_durable_everywhere() {
    passes(scenario::visible_only::run);
}

#[test]
fn late_work_is_not_done_after_a_store_rolled_back() {
    passes(scenario::rolled_back::run);
}

#[test]
fn a_clock_that_was_ahead_leaves_nothing_but_the_keys_written_meanwhile() {
    passes(scenario::wrong_clock::run);
}

#[test]
fn a_value_that_a_wrong_clock_freed_comes_back_from_the_others() {
    passes(scenario::freed_early::run);
}

#[test]
fn a_store_that_lacks_old_deletions_is_rebuilt_in_place() {
    passes(scenario::old_deletions::run);
}

#[test]
fn two_stores_that_lack_old_deletions_are_not_rebuilt_from_each_other() {
    passes(scenario::two_old_images::run);
}

#[test]
fn two_stores_that_lack_deletions_of_each_other_are_rebuilt_by_turns() {
    passes(scenario::two_halves::run);
}

#[test]
fn a_store_that_is_rebuilt_while_all_others_are_restored_becomes_their_source() {
    passes(scenario::all_restored::run);
}

#[test]
fn a_disk_that_comes_back_brings_its_writes() {
    passes(scenario::swapped::run);
}
