use kv_core::{Key, NamespaceId, OriginId};

use super::*;
use crate::core::testing::{Fixture, PEER, THIRD, large_row_of, origins, row_of, vector};

struct Case {
    fixture: Fixture,
    rows: RowFetcher,
    bodies: BodyFetcher,
}

fn place(seq: u64) -> Place {
    Place { namespace: NamespaceId([9; 16]), key: Key::new(format!("key {seq}")).unwrap() }
}

impl Case {
    /// A location that wants these keys, with links to these peers.
    fn new(wanted: &[u64], peers: &[MemberId]) -> Case {
        let mut fixture = Fixture::new();
        peers.iter().for_each(|peer| fixture.connect(*peer));
        let wanted: BTreeSet<_> = wanted.iter().map(|seq| place(*seq)).collect();
        fixture.store(|store| store.wanted = Arc::new(wanted));
        let (mut rows, bodies) = (RowFetcher::default(), BodyFetcher::default());
        rows.follow(&fixture.context());
        Case { fixture, rows, bodies }
    }

    fn watch(&mut self) {
        self.rows.watch(&mut self.fixture.context(), &mut self.bodies);
    }

    /// A peer's progress counts everything that is known.
    fn has_all(&mut self, peer: MemberId) {
        let own = origins(crate::core::testing::US)[0];
        self.fixture.progress(peer, |progress| {
            progress.durable = vector(9);
            progress.durable.raise(own, 1);
        });
    }

    /// The numbers of the requests to a peer, and how many names each has.
    fn requests_to(&mut self, peer: MemberId) -> Vec<(u64, usize)> {
        let sent = self.fixture.sent(peer).into_iter();
        sent.filter_map(|message| match message {
            Message::GetRows { id, names } => Some((id, names.len())),
            _ => None,
        })
        .collect()
    }

    fn answer(&mut self, peer: MemberId, id: u64, rows: Vec<KeyState>) {
        let mut cx = self.fixture.context();
        self.rows.receive(&mut cx, &mut self.bodies, peer, (id, rows));
    }

    /// Answers the request to a peer.
    fn reply(&mut self, peer: MemberId, rows: Vec<KeyState>) {
        let requests = self.requests_to(peer);
        let [(id, _)] = requests[..] else { panic!("{requests:?}") };
        self.answer(peer, id, rows);
    }

    /// Does the work that was requested of the store. Returns the rows that were applied, and the keys that are settled.
    fn work(&mut self) -> (Vec<Row>, Vec<Settled>) {
        let (mut rows, mut settled) = (Vec::new(), Vec::new());
        while let Some(work) = self.fixture.poll_work() {
            match work {
                Work::Apply { id, rows: applied, .. } => {
                    let Some(Pending::Found { round, key }) = self.fixture.out().finished(id)
                    else {
                        panic!("other work")
                    };
                    let results = vec![Applied::Won { concurrent: false }; applied.len()];
                    rows.extend(applied.into_iter().map(|row| row.row));
                    let mut cx = self.fixture.context();
                    let results = Some(&results[..]);
                    self.rows.applied(&mut cx, &mut self.bodies, (round, key), results);
                }
                Work::Settle { keys, .. } => {
                    let is_over = |key: &Settled| key.is_nothing && !key.is_destroyed;
                    assert!(keys.iter().all(|key| key.ended.is_some() == is_over(key)));
                    settled.extend(keys.into_iter().map(|key| Settled { ended: None, ..key }));
                }
                _ => {}
            }
        }
        (rows, settled)
    }
}

fn has(row: Row) -> KeyState {
    KeyState { row: Some(row), is_owed: false }
}

fn later(row: &Row) -> Row {
    Row { hlc: kv_core::Hlc(row.hlc.0 + 50), ..row.clone() }
}

/// The first key, as settled.
fn settled(is_nothing: bool, is_destroyed: bool) -> Settled {
    Settled { place: place(1), is_nothing, is_destroyed, ended: None }
}

#[test]
fn the_greatest_row_is_applied_and_the_key_settled_once_all_members_have_answered() {
    let mut case = Case::new(&[1], &[PEER, THIRD]);
    case.has_all(PEER);
    case.watch();
    let (old, new) = (row_of(PEER, 1), later(&row_of(PEER, 1)));
    case.reply(PEER, vec![has(old)]);
    assert_eq!(case.work(), (vec![], vec![]), "another member has not answered");
    case.reply(THIRD, vec![has(new.clone())]);
    let settled = settled(false, false);
    assert_eq!(case.work(), (vec![new], vec![settled]));
}

#[test]
fn a_member_that_is_away_keeps_a_key_unsettled_until_it_has_answered() {
    let mut case = Case::new(&[1], &[PEER]);
    case.has_all(PEER);
    case.watch();
    case.reply(PEER, vec![has(row_of(PEER, 1))]);
    assert_eq!(case.work(), (vec![row_of(PEER, 1)], vec![]), "what there is comes at once");
    assert_eq!(case.rows.awaited(case.fixture.local(), &place(1)), [THIRD]);
    case.fixture.connect(THIRD);
    case.rows.greeted(&case.fixture.context(), THIRD);
    case.fixture.wait(PAUSE);
    case.watch();
    case.reply(THIRD, vec![KeyState::default()]);
    case.reply(PEER, vec![has(row_of(PEER, 1))]);
    assert_eq!(case.work().1.len(), 1);
}

#[test]
fn nothing_counts_only_from_a_member_that_has_every_write_and_can_read_its_row() {
    let owed = KeyState { row: None, is_owed: true };
    for (has_all, state, settles) in [
        (false, KeyState::default(), false),
        (true, owed, false),
        (true, KeyState::default(), true),
    ] {
        let mut case = Case::new(&[1], &[PEER, THIRD]);
        // The key is requested before this member has every write.
        case.fixture.store(|store| store.durable.raise(OriginId([7; 16]), 1));
        case.rows.follow(&case.fixture.context());
        if has_all {
            case.has_all(PEER);
            case.fixture.progress(PEER, |progress| progress.durable.raise(OriginId([7; 16]), 1));
        }
        case.watch();
        for peer in [PEER, THIRD] {
            case.reply(peer, vec![state.clone()]);
        }
        let settled = settled(true, false);
        let expected = if settles { vec![settled] } else { vec![] };
        assert_eq!(case.work().1, expected, "{has_all} {state:?}");
    }
}

#[test]
fn an_answer_that_waited_on_its_way_says_nothing_of_what_its_member_reported_meanwhile() {
    let mut case = Case::new(&[1], &[PEER, THIRD]);
    // A local write of the key, which this member gets after it has read the key for the answer.
    case.fixture.store(|store| store.durable.raise(OriginId([7; 16]), 1));
    case.rows.follow(&case.fixture.context());
    for peer in [PEER, THIRD] {
        case.has_all(peer);
    }
    case.watch();
    for settles in [false, true] {
        case.fixture.progress(PEER, |progress| progress.durable.raise(OriginId([7; 16]), 1));
        for peer in [PEER, THIRD] {
            case.reply(peer, vec![KeyState::default()]);
        }
        let expected = if settles { vec![settled(true, false)] } else { vec![] };
        assert_eq!(case.work().1, expected);
        case.fixture.wait(AGAIN);
        case.watch();
    }
}

#[test]
fn a_key_that_all_members_owe_and_none_can_read_is_destroyed_once_all_have_every_write() {
    let owed = KeyState { row: None, is_owed: true };
    for has_all in [false, true] {
        let mut case = Case::new(&[1], &[PEER, THIRD]);
        case.has_all(PEER);
        if has_all {
            case.has_all(THIRD);
        }
        case.watch();
        for peer in [PEER, THIRD] {
            case.reply(peer, vec![owed.clone()]);
        }
        let settled = settled(true, true);
        assert_eq!(case.work().1, if has_all { vec![settled] } else { vec![] }, "{has_all}");
    }
}

#[test]
fn a_row_of_an_earlier_round_counts_when_a_later_one_settles_the_key() {
    let owed = KeyState { row: None, is_owed: true };
    let mut case = Case::new(&[1], &[PEER]);
    case.has_all(PEER);
    case.watch();
    case.reply(PEER, vec![KeyState { row: Some(row_of(PEER, 1)), is_owed: true }]);
    assert_eq!(case.work().1, [], "another member has not answered");
    case.fixture.connect(THIRD);
    case.has_all(THIRD);
    case.rows.greeted(&case.fixture.context(), THIRD);
    case.fixture.wait(PAUSE);
    case.watch();
    for peer in [PEER, THIRD] {
        case.reply(peer, vec![owed.clone()]);
    }
    assert_eq!(case.work().1, [settled(false, true)]);
}

#[test]
fn a_write_that_no_member_has_any_more_is_not_needed() {
    let mut case = Case::new(&[1], &[PEER, THIRD]);
    case.fixture.store(|store| store.durable = vector(1));
    for peer in [PEER, THIRD] {
        case.fixture.progress(peer, |progress| progress.durable = vector(1));
    }
    case.fixture.progress(PEER, |progress| progress.durable.raise(OriginId([7; 16]), 1));
    case.watch();
    // The member is restored from a backup.
    case.fixture.progress(PEER, |progress| progress.durable = vector(1));
    for settles in [false, true] {
        for peer in [PEER, THIRD] {
            case.reply(peer, vec![KeyState::default()]);
        }
        assert_eq!(!case.work().1.is_empty(), settles);
        case.fixture.wait(AGAIN);
        case.watch();
    }
}

#[test]
fn a_repeated_answer_requests_nothing() {
    let mut case = Case::new(&[1, 2], &[PEER, THIRD]);
    case.watch();
    let [(id, _)] = case.requests_to(PEER)[..] else { panic!("one request") };
    for requests in [1, 0] {
        case.answer(PEER, id, vec![has(row_of(PEER, 1))]);
        assert_eq!(case.requests_to(PEER).len(), requests, "the rest is requested once");
    }
}

#[test]
fn of_one_version_a_value_wins_over_its_expired_tombstone() {
    let expired = Row { content: Content::Expired, expires_at: Some(5), ..row_of(PEER, 1) };
    let value = Row { content: Content::Value("v".into()), ..expired.clone() };
    for rows in [[&expired, &value], [&value, &expired]] {
        let mut case = Case::new(&[1], &[PEER, THIRD]);
        case.watch();
        for (peer, row) in [PEER, THIRD].into_iter().zip(rows) {
            case.reply(peer, vec![has(row.clone())]);
        }
        assert_eq!(case.work().0, std::slice::from_ref(&value));
    }
}

#[test]
fn a_body_that_is_gone_at_one_holder_is_fetched_from_another() {
    let mut case = Case::new(&[1], &[PEER, THIRD]);
    case.watch();
    for peer in [PEER, THIRD] {
        case.reply(peer, vec![has(large_row_of(PEER, 1))]);
    }
    for peer in [PEER, THIRD] {
        let fetches = case.bodies.of_peer(peer);
        let [fetch] = fetches[..] else { panic!("{peer:?}: {fetches:?}") };
        let sent = case.fixture.sent(peer);
        let is_requested = sent.iter().any(|sent| matches!(sent, Message::GetBody(_)));
        assert!(is_requested, "at once");
        let (_, purpose) = case.bodies.lose(case.fixture.out(), fetch).unwrap();
        let Purpose::Found { round, key } = purpose else { panic!() };
        case.rows.body_lost(&mut case.fixture.context(), &mut case.bodies, (round, key), false);
    }
    assert_eq!(case.work(), (vec![], vec![]));
    assert!(case.rows.round.is_none(), "the round is over, and another follows later");
    assert!(case.rows.timeout().is_some());
}

#[test]
fn a_value_that_its_only_holder_can_not_read_counts_as_none_from_the_next_round_on() {
    let mut case = Case::new(&[1], &[PEER, THIRD]);
    [PEER, THIRD].into_iter().for_each(|peer| case.has_all(peer));
    let (older, large) = (row_of(PEER, 1), later(&large_row_of(PEER, 1)));
    for is_first in [true, false] {
        case.watch();
        case.reply(PEER, vec![has(large.clone())]);
        case.reply(THIRD, vec![has(older.clone())]);
        let fetches = case.bodies.of_peer(PEER);
        assert_eq!(fetches.len(), usize::from(is_first));
        for fetch in fetches {
            case.bodies.lose(case.fixture.out(), fetch);
            let found = (case.rows.round.as_ref().unwrap().number, 0);
            case.rows.body_lost(&mut case.fixture.context(), &mut case.bodies, found, true);
        }
        let (rows, settled) = case.work();
        assert_eq!((rows.is_empty(), settled.is_empty()), (is_first, is_first));
        case.fixture.wait(AGAIN);
    }
}

#[test]
fn an_answer_that_holds_only_the_first_rows_is_followed_by_a_request_for_the_rest() {
    let mut case = Case::new(&[1, 2, 3], &[PEER]);
    case.watch();
    case.reply(PEER, vec![has(row_of(PEER, 1))]);
    let requests = case.requests_to(PEER);
    assert_eq!(requests.iter().map(|(_, names)| *names).collect::<Vec<_>>(), [2]);
    case.answer(PEER, requests[0].0, vec![KeyState::default(); 2]);
    assert_eq!(case.work().0, [row_of(PEER, 1)]);
}

#[test]
fn a_request_is_repeated_once_and_the_round_continues_without_the_peer() {
    let mut case = Case::new(&[1], &[PEER, THIRD]);
    case.watch();
    case.reply(THIRD, vec![has(row_of(PEER, 1))]);
    assert_eq!(case.requests_to(PEER).len(), 1);
    for repeated in [1, 0] {
        case.fixture.wait(PATIENCE);
        case.watch();
        assert_eq!(case.requests_to(PEER).len(), repeated);
    }
    assert_eq!(case.work(), (vec![row_of(PEER, 1)], vec![]));
}

#[test]
fn the_answer_to_a_repeated_request_counts_and_slow_peers_get_more_time() {
    let mut case = Case::new(&[1], &[PEER]);
    for patience in [PATIENCE, 2 * PATIENCE] {
        case.watch();
        let [(id, _)] = case.requests_to(PEER)[..] else { panic!("one request") };
        case.fixture.wait(patience - Duration::from_millis(1));
        case.watch();
        assert_eq!(case.requests_to(PEER), [], "it has more time");
        case.fixture.wait(Duration::from_millis(1));
        case.watch();
        assert_eq!(case.requests_to(PEER), [(id, 1)]);
        case.answer(PEER, id, vec![has(row_of(PEER, 1))]);
        assert_eq!(case.work().0, [row_of(PEER, 1)]);
        case.fixture.wait(AGAIN);
    }
}

#[test]
fn at_most_one_message_of_names_is_requested_at_a_time_and_all_keys_have_their_turn() {
    let keys: Vec<_> = (0..150).collect();
    let mut case = Case::new(&keys, &[PEER]);
    let mut seen = 0;
    for _ in 0..3 {
        case.watch();
        let requests = case.requests_to(PEER);
        let [(id, names)] = requests[..] else { panic!("{requests:?}") };
        assert!(names <= MAX_ASKED_ROWS);
        seen += names;
        case.answer(PEER, id, vec![KeyState::default(); names]);
        case.watch();
        assert_eq!(case.requests_to(PEER), [], "a pause follows");
        case.fixture.wait(PAUSE);
    }
    assert_eq!(seen, keys.len());
    case.watch();
    assert_eq!(case.requests_to(PEER), [], "all of them were requested");
    case.fixture.wait(AGAIN);
    case.watch();
    assert_eq!(case.requests_to(PEER).len(), 1, "they are requested again");
}

#[test]
fn rows_of_other_keys_close_the_link() {
    let mut case = Case::new(&[1], &[PEER]);
    case.watch();
    case.reply(PEER, vec![has(row_of(PEER, 2))]);
    assert!(case.fixture.is_closed(PEER));
}

#[test]
fn joined_rows_of_several_members_are_joined() {
    use kv_core::{Dot, FieldNumber, FieldValue, Hlc, JoinedRow, Version};

    let row = |member, number, hlc| {
        let dot = Dot { origin: origins(member)[0], seq: hlc };
        let version = Version { hlc: Hlc(hlc), origin: dot.origin };
        let field = (FieldNumber::new(number).unwrap(), FieldValue::default());
        let joined = JoinedRow::written(version, dot.seq, [field]).unwrap();
        Row {
            dot,
            hlc: version.hlc,
            content: Content::Joined(Arc::new(joined)),
            ..row_of(member, 1)
        }
    };
    let mut case = Case::new(&[1], &[PEER, THIRD]);
    case.watch();
    for (peer, number, hlc) in [(PEER, 1, 9), (THIRD, 2, 5)] {
        let row = Some(row(peer, number, hlc));
        case.reply(peer, vec![KeyState { row, is_owed: false }]);
    }
    let found = std::iter::from_fn(|| case.fixture.poll_work()).find_map(|work| match work {
        Work::Apply { mut rows, .. } => rows.pop().map(|one| one.row),
        _ => None,
    });
    let found = found.expect("the row is applied");
    let Content::Joined(joined) = &found.content else { panic!("{found:?}") };
    assert_eq!((joined.iter().count(), found.dot), (2, joined.latest().dot()));
}

#[test]
fn a_member_that_does_not_count_a_tombstone_that_was_collected_here_is_queried_once_it_does() {
    let mut case = Case::new(&[1], &[PEER, THIRD]);
    case.fixture.store(|store| store.collected = vector(5));
    case.watch();
    assert_eq!((case.requests_to(PEER).len(), case.requests_to(THIRD).len()), (0, 0));
    case.has_all(PEER);
    case.fixture.wait(AGAIN);
    case.watch();
    assert_eq!(case.requests_to(THIRD).len(), 0, "it may have a row that was deleted");
    case.reply(PEER, vec![has(row_of(PEER, 1))]);
    let (rows, settled) = case.work();
    assert_eq!((rows.len(), settled.len()), (1, 0));
    case.has_all(THIRD);
    case.fixture.wait(AGAIN * 2);
    case.watch();
    assert_eq!(case.requests_to(THIRD).len(), 1);
}
