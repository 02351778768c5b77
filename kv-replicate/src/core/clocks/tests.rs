use super::*;
use crate::{
    core::testing::{Fixture, PEER, THIRD},
    wire::Echo,
};

const WALL: u64 = 1_700_000_000_000;

/// A peer sends its clock, which is ahead of the true time by so much, after a round trip.
fn hear(fixture: &mut Fixture, clocks: &mut Clocks, peer: MemberId, ahead_ms: i64, trip_ms: u64) {
    let number = fixture.out().next_id();
    clocks.sending(fixture.local(), peer, number);
    fixture.pass(trip_ms);
    let wall_ms = (fixture.true_ms() - trip_ms / 2).saturating_add_signed(ahead_ms);
    let echo = Some(Echo { number, held_ms: 0 });
    let progress = ProgressDelta { number, wall_ms, echo, ..ProgressDelta::default() };
    clocks.progressed(fixture.local(), peer, &progress);
}

/// A location whose clock is ahead by so much.
fn location(ahead_ms: i64) -> Fixture {
    let mut fixture = Fixture::new();
    fixture.at_wall(WALL.saturating_add_signed(ahead_ms));
    fixture
}

fn offset(fixture: &Fixture, clocks: &Clocks) -> Option<i64> {
    let zero_ms = clocks.clock(fixture.local()).zero_ms?;
    Some(zero_ms - own(fixture.local()).zero_ms)
}

#[test]
fn a_clock_is_read_at_half_a_round_trip() {
    let mut fixture = location(0);
    let mut clocks = Clocks::default();
    hear(&mut fixture, &mut clocks, PEER, 40, 200);
    assert_eq!(clocks.ahead_ms(fixture.local(), PEER), Some(40));
}

#[test]
fn one_wrong_clock_of_three_corrects_itself_and_names_itself() {
    for ahead in [8 * 3_600_000, -600_000, 2_000] {
        let mut fixture = location(ahead);
        let mut clocks = Clocks::default();
        hear(&mut fixture, &mut clocks, PEER, 0, 20);
        hear(&mut fixture, &mut clocks, THIRD, 0, 20);
        assert_eq!(offset(&fixture, &clocks), Some(-ahead));
        let state = clocks.state(fixture.local());
        assert_eq!((state.is_confirmed, state.off_ms), (true, Some(ahead)));
        assert_eq!(state.disagreeing, []);
    }
}

#[test]
fn a_clock_within_the_skew_of_the_others_is_not_shifted_by_how_they_are_read() {
    let mut fixture = location(0);
    let mut clocks = Clocks::default();
    hear(&mut fixture, &mut clocks, PEER, 60, 200);
    hear(&mut fixture, &mut clocks, THIRD, 90, 200);
    assert_eq!(offset(&fixture, &clocks), Some(0));
}

#[test]
fn a_right_clock_does_not_follow_one_that_is_wrong() {
    let mut fixture = location(0);
    let mut clocks = Clocks::default();
    hear(&mut fixture, &mut clocks, PEER, 0, 20);
    hear(&mut fixture, &mut clocks, THIRD, 3_600_000, 20);
    assert_eq!(offset(&fixture, &clocks), Some(0));
    assert_eq!(
        clocks.state(fixture.local()),
        ClockState { is_confirmed: true, ..ClockState::default() }
    );
}

#[test]
fn two_clocks_that_disagree_confirm_nothing_and_both_report_it() {
    let mut fixture = location(600_000);
    let mut clocks = Clocks::default();
    hear(&mut fixture, &mut clocks, PEER, 0, 20);
    let state = clocks.state(fixture.local());
    assert_eq!((state.is_confirmed, state.off_ms), (false, None));
    assert_eq!(state.disagreeing, [(PEER, 600_000)]);
    let clock = clocks.clock(fixture.local());
    assert_eq!(clock.zero_ms, None, "it goes by its own clock");
    let closing = clock.closing_ms(fixture.local().mono()).unwrap();
    assert!(closing.abs_diff(fixture.true_ms()) <= 20, "time closes up to the least clock");
}

#[test]
fn two_clocks_of_three_members_that_agree_are_confirmed() {
    let mut fixture = location(0);
    let mut clocks = Clocks::default();
    assert!(!clocks.clock(fixture.local()).is_confirmed, "nobody was heard");
    assert_eq!(clocks.clock(fixture.local()).closing_zero_ms, None);
    hear(&mut fixture, &mut clocks, PEER, 300, 20);
    let clock = clocks.clock(fixture.local());
    assert!(clock.is_confirmed);
    fixture.at_wall(WALL + 365 * 24 * 3_600_000);
    let mono = fixture.local().mono();
    assert_eq!(clock.now_ms(mono, fixture.local().wall_ms()), WALL + 20, "a step does not move it");
    assert!(!clocks.clock(fixture.local()).is_confirmed);
}

#[test]
fn a_clock_counts_for_a_minute() {
    let mut fixture = location(0);
    let mut clocks = Clocks::default();
    hear(&mut fixture, &mut clocks, PEER, 0, 20);
    assert_eq!(clocks.timeout(fixture.local().mono()), Some(Duration::from_millis(60_020)));
    fixture.pass(59_999);
    assert!(clocks.clock(fixture.local()).is_confirmed);
    fixture.pass(1);
    assert_eq!(clocks.clock(fixture.local()), ClusterClock::default());
}

#[test]
fn an_inexact_reading_replaces_an_exact_one_only_if_the_clock_has_stepped() {
    let mut fixture = location(0);
    let mut clocks = Clocks::default();
    hear(&mut fixture, &mut clocks, PEER, 0, 20);
    hear(&mut fixture, &mut clocks, PEER, 100, 800);
    assert_eq!(clocks.ahead_ms(fixture.local(), PEER), Some(0));
    hear(&mut fixture, &mut clocks, PEER, 1_000, 800);
    assert_eq!(clocks.ahead_ms(fixture.local(), PEER), Some(1_000));
    assert!(clocks.state(fixture.local()).disagreeing.len() == 1);
}

#[test]
fn a_reading_that_may_be_wrong_by_more_than_the_skew_confirms_nothing_and_accuses_no_member() {
    let mut fixture = location(0);
    let mut clocks = Clocks::default();
    hear(&mut fixture, &mut clocks, PEER, 800, 1_200);
    assert_eq!(clocks.state(fixture.local()), ClockState::default());
}

#[test]
fn the_owner_is_notified_when_the_clock_is_off_and_when_it_is_right_again() {
    let mut fixture = location(10_000);
    let mut clocks = Clocks::default();
    let notices = |fixture: &mut Fixture, clocks: &mut Clocks| {
        clocks.watch(&mut fixture.context());
        fixture.out().poll_notice()
    };
    hear(&mut fixture, &mut clocks, PEER, 0, 20);
    hear(&mut fixture, &mut clocks, THIRD, 0, 20);
    assert!(matches!(notices(&mut fixture, &mut clocks), Some(Notice::ClockOff(_))));
    assert_eq!(notices(&mut fixture, &mut clocks), None);
    let true_ms = fixture.true_ms();
    fixture.at_wall(true_ms);
    assert_eq!(notices(&mut fixture, &mut clocks), Some(Notice::ClockRight));
}

#[test]
fn the_clocks_that_count_are_followed_without_looking_at_all_of_them() {
    let mut fixture = location(0);
    let mut clocks = Clocks::default();
    for (peer, ahead_ms, trip_ms) in
        [(PEER, 40, 20), (THIRD, 10, 20), (PEER, 60, 10), (PEER, -5_000, 10), (THIRD, 12, 4)]
    {
        clocks.watch(&mut fixture.context());
        hear(&mut fixture, &mut clocks, peer, ahead_ms, trip_ms);
        assert!(clocks.heeded.as_ref().unwrap().is_current(fixture.local()));
        let followed = clocks.heeded(fixture.local()).readings.clone();
        clocks.heeded = None;
        assert_eq!(followed, clocks.heeded(fixture.local()).readings);
    }
    clocks.watch(&mut fixture.context());
    fixture.pass(60_000);
    assert!(clocks.heeded(fixture.local()).readings.is_empty(), "they were heard too long ago");
}
