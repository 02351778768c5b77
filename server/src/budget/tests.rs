use super::*;

const KIB: u64 = 1 << 10;

#[test]
fn what_is_charged_is_free_again_with_the_request_and_its_bytes() {
    let budget = Budget::new(1000 * KIB);
    let account = budget.open();
    assert_eq!(budget.used(), CONNECTION_BYTES);
    let mut first = account.charge(100 * KIB).expect("it fits");
    assert!(first.grow_to(200 * KIB) && first.grow_to(50 * KIB));
    assert_eq!(budget.used(), CONNECTION_BYTES + 200 * KIB);
    let mut piece = first.on_their_way(Bytes::from_static(&[7; 1000]));
    drop(first);
    let rest = piece.split_off(10);
    drop(piece);
    assert_eq!((budget.used(), rest.len()), (CONNECTION_BYTES + 1000, 990), "a part is on its way");
    drop(rest);
    assert_eq!(budget.used(), CONNECTION_BYTES);
    drop(account);
    assert_eq!(budget.used(), 0);
}

#[test]
fn requests_that_do_not_fit_are_refused_except_those_of_operators() {
    let budget = Budget::new(100 * KIB);
    let account = budget.open();
    let mut most = account.charge(70 * KIB).expect("it fits");
    assert!(account.charge(7 * KIB).is_none());
    assert!(!most.grow_to(77 * KIB));
    drop(account.charge_anyway(50 * KIB));
    assert!(account.charge(2 * KIB).is_some());
}

/// Which connections are cut.
fn cut(accounts: &[Arc<Account>]) -> Vec<bool> {
    accounts.iter().map(|account| account.state.end.is_cancelled()).collect()
}

#[test]
fn the_connections_that_stand_still_for_the_longest_time_are_cut_first() {
    let budget = Budget::new(1000 * KIB);
    let accounts: Vec<_> = (0..4).map(|_| budget.open()).collect();
    let charges: Vec<_> = accounts.iter().map(|account| account.charge_anyway(200 * KIB)).collect();
    let start = Instant::now();
    let at = |halves: u32| start + halves * STALLED_FOR / 2;
    let used = budget.used();
    // The first one is the last to move, and the last one never stops.
    for (halves, moved) in [(1, 1), (2, 2), (3, 0)] {
        charges[moved].moved();
        charges[3].moved();
        budget.look(used, at(halves));
    }
    charges[3].moved();
    budget.look(used, at(6));
    assert_eq!(cut(&accounts), [false; 4], "there is room");
    charges[3].moved();
    budget.look(used + 300 * KIB, at(7));
    assert_eq!(cut(&accounts), [false, true, true, false], "two make enough room");
    budget.look(used + 300 * KIB, at(8));
    assert_eq!(cut(&accounts), [false, true, true, false], "what they hold is about to be free");
}

#[test]
fn connections_without_a_request_are_cut_too() {
    let budget = Budget::new(100 * KIB);
    let accounts: Vec<_> = (0..5).map(|_| budget.open()).collect();
    budget.look(budget.used(), Instant::now() + 2 * STALLED_FOR);
    let cut = cut(&accounts).into_iter().filter(|is_cut| *is_cut).count();
    assert_eq!(cut, 2, "until a quarter is free");
}

#[test]
fn requests_that_fit_do_not_put_off_the_search_for_connections_to_cut() {
    let budget = Budget::new(1000 * KIB);
    let account = budget.open();
    let _most = account.charge_anyway(900 * KIB);
    let later = Instant::now() + 2 * STALLED_FOR;
    budget.look(budget.used(), later);
    budget.look(budget.used() + 200 * KIB, later);
    assert!(account.state.end.is_cancelled());
}
