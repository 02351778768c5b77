use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kv_core::{
    DamagedKey, Dot, Features, FieldNumber, FieldValue, Hlc, JoinedRow, Key, MemberId, Metadata,
    NamespaceId, OriginId, SoftwareVersion, VersionVector, codec::put_optional_field,
    limits::MAX_ORIGINS,
};
use proptest::prelude::*;

use super::{
    message::{Live, MAX_SEQ, Want},
    *,
};
use crate::{
    Condition, Content, KeyState, Row,
    inspect::{
        Answer, Ask, Held, Kind, Looked, MAX_ASKED_ROWS, Place, Range, RangeDigest, RangeList,
        Reading, Summary,
    },
};

fn read(bytes: &Bytes) -> Result<Received, MessageError> {
    decode(bytes, software().wire())
}

/// The most origins that a progress message may name.
const ORIGINS: u32 = 1 << 16;
const _: () = assert!(ORIGINS as usize == MAX_ORIGINS);

const INCARNATIONS: Incarnations = Incarnations { from: 1, to: 2 };

fn dot() -> impl Strategy<Value = Dot> {
    (1..=u8::MAX, 1..1_000_000u64).prop_map(|(id, seq)| Dot { origin: OriginId([id; 16]), seq })
}

fn report() -> impl Strategy<Value = Report> {
    let condition = (any::<u16>(), any::<u64>(), any::<Option<[u8; 16]>>())
        .prop_map(|(code, for_ms, about)| Condition { code, for_ms, about: about.map(MemberId) });
    let conditions = prop::collection::vec(condition, 0..crate::MAX_CONDITIONS);
    (conditions, any::<Option<(u64, u64)>>())
        .prop_map(|(conditions, receiving)| Report { conditions, receiving })
}

fn vector() -> impl Strategy<Value = VersionVector> {
    prop::collection::vec(dot(), 0..8).prop_map(|dots| dots.into_iter().collect())
}

fn content() -> impl Strategy<Value = Content> {
    let len = 1..kv_core::limits::MAX_VALUE_BYTES;
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|value| Content::Value(value.into())),
        (len, any::<[u8; 32]>()).prop_map(|(len, digest)| Content::Large { len, digest }),
        Just(Content::Deleted),
        Just(Content::Expired),
    ]
}

/// A row of two writes, under the dot of either.
fn joined_row() -> impl Strategy<Value = Row> {
    let field = || (1..=15_u8, prop::collection::vec(any::<u8>(), 0..40));
    let write = move || (dot(), any::<u64>(), prop::collection::vec(field(), 1..4));
    let row = |(dot, hlc, fields): (Dot, u64, Vec<(u8, Vec<u8>)>)| {
        let version = kv_core::Version { hlc: Hlc(hlc), origin: dot.origin };
        let field = |(number, value): (u8, Vec<u8>)| {
            (FieldNumber::new(number).unwrap(), FieldValue::new(value).unwrap())
        };
        JoinedRow::written(version, dot.seq, fields.into_iter().map(field)).unwrap()
    };
    (write(), write(), any::<prop::sample::Index>()).prop_map(move |(one, other, at)| {
        let mut joined = row(one);
        joined.join(&row(other));
        let dots: Vec<_> = joined.dots().into_iter().collect();
        let dot = *at.get(&dots);
        Row {
            dot,
            hlc: joined.version_at(dot).unwrap().hlc,
            prev: None,
            namespace: NamespaceId::SYSTEM,
            key: Key::new("row").unwrap(),
            metadata: None,
            expires_at: None,
            content: Content::Joined(Arc::new(joined)),
        }
    })
}

prop_compose! {
    fn row()(
        dot in dot(),
        hlc in any::<u64>(),
        prev in proptest::option::of((any::<u64>(), any::<[u8; 16]>())),
        namespace in any::<[u8; 16]>(),
        key in prop::collection::vec(any::<u8>(), 1..40),
        metadata in proptest::option::of("[a-z]{0,20}"),
        expires_at in proptest::option::of(any::<u64>()),
        content in content(),
    ) -> Row {
        let is_put = matches!(content, Content::Value(_) | Content::Large { .. });
        let expires_at = match content {
            Content::Expired => Some(expires_at.unwrap_or(7)),
            Content::Deleted => None,
            _ => expires_at,
        };
        Row {
            dot,
            hlc: Hlc(hlc),
            prev: prev.map(|(hlc, id)| kv_core::Version { hlc: Hlc(hlc), origin: OriginId(id) }),
            namespace: NamespaceId(namespace),
            key: Key::try_from(key).unwrap(),
            metadata: metadata.filter(|_| is_put).map(|text| Metadata::new(text).unwrap()),
            expires_at,
            content,
        }
    }
}

fn progress() -> impl Strategy<Value = Message> {
    let echo = proptest::option::of((any::<u64>(), any::<u32>()));
    let counts = prop::collection::btree_map(0..ORIGINS, (any::<bool>(), 0..MAX_SEQ), 0..9);
    let rest = (0..3_usize, any::<bool>(), counts, vector());
    (any::<[u64; 6]>(), 0..3_usize, echo, rest).prop_map(|(numbers, base, echo, rest)| {
        let [number, wall_ms, closed_timestamp, resolved, held, uncounted] = numbers;
        let (opened, rebuilding, counts, visible) = rest;
        let pair = Opened::Pair([OriginId([1; 16]), OriginId([2; 16])]);
        let opened = [Opened::Nothing, pair, Opened::AsBefore][opened.min(1 + base)];
        let counts = counts.into_iter().map(|(number, (is_named, seq))| {
            let origin = is_named.then_some(OriginId([9; 16]));
            Count { number, origin, seq }
        });
        Message::Progress(ProgressDelta {
            number: number.max(3),
            base: base as u64,
            wall_ms,
            echo: echo.map(|(number, held_ms)| Echo { number, held_ms }),
            closed_timestamp: Hlc(closed_timestamp),
            resolved: Hlc(resolved),
            held: Hlc(held),
            opened,
            rebuilding,
            uncounted,
            counts: counts.collect(),
            visible: if base == 0 { visible.iter().collect() } else { Vec::new() },
        })
    })
}

fn hello() -> impl Strategy<Value = Message> {
    let software = proptest::option::of("[a-z0-9.]{1,64}");
    (any::<[[u8; 16]; 2]>(), any::<(u16, u16, u64)>(), software).prop_map(
        |([cluster, member], (oldest, newest, features), software)| {
            Message::Hello(Hello {
                versions: (oldest, newest),
                features: Features::from_bits(features),
                cluster,
                member: MemberId(member),
                software: software.map(|text| SoftwareVersion::new(text).unwrap()),
            })
        },
    )
}

fn page() -> impl Strategy<Value = Message> {
    let end = prop_oneof![Just(End::Page), Just(End::Round), dot().prop_map(End::Batch)];
    let head = (vector(), vector(), proptest::option::of(dot()), 0..3u64);
    let floor = Hlc(7);
    let head = head.prop_map(move |(vector, collected, next, index)| PageHead {
        vector,
        collected,
        floor,
        next,
        index,
    });
    let dots = prop_oneof![3 => dot(), 1 => Just(kv_core::UNPLACED)];
    let damaged = (dots, prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(dot, key)| {
        DamagedKey { namespace: NamespaceId([3; 16]), key: Key::try_from(key).unwrap(), dot }
    });
    let damaged = prop::collection::vec(damaged, 0..3);
    let row = prop_oneof![3 => row(), 1 => joined_row()];
    (any::<u64>(), 0..3u16, head, end, prop::collection::vec(row, 0..5), damaged).prop_map(
        |(session, index, head, end, rows, damaged)| {
            let head = (index == 0).then_some(head);
            Message::Page(Page {
                session,
                batch: 3,
                stamp: 9,
                commit: 4,
                index,
                head,
                end,
                damaged,
                rows,
            })
        },
    )
}

fn live() -> impl Strategy<Value = Message> {
    (dot(), prop::collection::vec(row(), 1..5)).prop_map(|(first, mut rows)| {
        for (row, seq) in rows.iter_mut().zip(first.seq..) {
            row.dot = Dot { seq, ..first };
        }
        Message::Live(Live { rows })
    })
}

fn message() -> impl Strategy<Value = Message> {
    let get =
        (any::<u64>(), dot(), 0..9u64, 0..MAX_ASKED_BYTES).prop_map(|(fetch, dot, chunk, len)| {
            GetBody {
                fetch,
                namespace: NamespaceId([3; 16]),
                dot,
                offset: chunk * 65_280,
                len,
                key: Key::new("key").unwrap(),
            }
        });
    prop_oneof![
        hello(),
        progress(),
        live(),
        page(),
        any::<[u64; 2]>().prop_map(|numbers| {
            let origins = [OriginId([1; 16]), OriginId([2; 16])];
            Message::Want(Want { origins, numbers })
        }),
        Just(Message::Behind),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|piece| Message::Usage(piece.into())),
        (any::<u64>(), prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 0..5))
            .prop_map(|(id, keys)| {
                let name = |key| Place { namespace: NamespaceId([3; 16]), key };
                let names = keys.into_iter().map(|key| name(Key::try_from(key).unwrap()));
                Message::GetRows { id, names: names.collect() }
            }),
        (any::<u64>(), prop::collection::vec((proptest::option::of(row()), any::<bool>()), 0..5))
            .prop_map(|(id, rows)| {
                let state = |(row, is_owed)| KeyState { row, is_owed };
                Message::Rows { id, rows: rows.into_iter().map(state).collect() }
            }),
        (any::<u64>(), any::<bool>(), proptest::option::of(dot()), vector()).prop_map(
            |(session, is_new, after, since)| {
                let known = is_new.then_some(session);
                let (batch, bytes) = (1, 2);
                Message::Pull(Pull { session, batch, is_new, after, known, bytes, since })
            }
        ),
        vector().prop_map(|gone| Message::Refusal { session: 1, reason: Reason::Gone(gone) }),
        Just(Message::Refusal { session: 3, reason: Reason::Busy }),
        get.prop_map(Message::GetBody),
        dot().prop_map(|dot| {
            Message::Piece { fetch: 1, dot, offset: 0, bytes: Bytes::from_static(b"piece") }
        }),
        prop_oneof![
            Just(NoBody::Gone),
            Just(NoBody::Damaged),
            row().prop_map(|row| NoBody::Replaced(Box::new(row))),
        ]
        .prop_map(|why| Message::NoBody { fetch: 4, why }),
        report().prop_map(Message::Report),
        Just(Message::Done { session: 4 }),
        dot().prop_map(Message::Durable),
        row().prop_map(|row| Message::Removed(Box::new(row))),
        ask().prop_map(|ask| Message::Ask { verify: 7, step: 1, ask }),
        proptest::option::of(answer()).prop_map(|answer| Message::Answer {
            verify: 7,
            step: 1,
            answer
        }),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    (any::<u8>(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(id, key)| Place {
        namespace: NamespaceId([id; 16]),
        key: Key::try_from(key).unwrap(),
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let ends = || (proptest::option::of(place()), proptest::option::of(place()));
    let range = || ends().prop_map(|(after, upto)| Range { after, upto });
    prop_oneof![
        range().prop_map(Ask::Digest),
        range().prop_map(Ask::List),
        prop::collection::vec(place(), 0..MAX_ASKED_ROWS).prop_map(Ask::Rows),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    let kind = prop_oneof![
        Just(Kind::Value),
        Just(Kind::Deleted),
        Just(Kind::Expired),
        Just(Kind::Joined)
    ];
    let expiry = proptest::option::of(any::<u64>());
    let row = (any::<u64>(), dot(), kind, expiry, any::<[u8; 32]>()).prop_map(
        |(hlc, dot, kind, expiry, digest)| {
            let version = kv_core::Version { hlc: Hlc(hlc), origin: dot.origin };
            let expires_at = match kind {
                Kind::Value => expiry,
                Kind::Deleted | Kind::Joined => None,
                Kind::Expired => Some(expiry.unwrap_or(7)),
            };
            Held::Row(Summary { version, seq: dot.seq, kind, expires_at, digest })
        },
    );
    prop_oneof![4 => row, 1 => Just(Held::Damaged)]
}

fn answer() -> impl Strategy<Value = Answer> {
    let end = || proptest::option::of(place());
    let digest =
        (end(), any::<[u32; 2]>(), any::<[u8; 32]>()).prop_map(|(end, [rows, damaged], digest)| {
            Answer::Digest(RangeDigest { end, rows, damaged, digest })
        });
    let list =
        (end(), prop::collection::vec((place(), held()), 0..9)).prop_map(|(end, mut rows)| {
            rows.sort_by(|(one, _), (other, _)| one.cmp(other));
            rows.dedup_by(|(one, _), (other, _)| one == other);
            Answer::List(RangeList { end, rows })
        });
    let drop = (any::<u64>(), any::<[u8; 16]>())
        .prop_map(|(hlc, id)| kv_core::Version { hlc: Hlc(hlc), origin: OriginId(id) });
    let looked = (any::<bool>(), proptest::option::of(drop), proptest::option::of(held()))
        .prop_map(|(is_counted, dropped_at, held)| Looked { is_counted, dropped_at, held });
    let rows = prop::collection::vec(looked, 0..MAX_ASKED_ROWS);
    let rows = (vector(), vector(), rows).prop_map(|(vector, collected, rows)| {
        Answer::Rows(Reading { vector, collected, collected_upto: Hlc(9), rows })
    });
    prop_oneof![digest, list, rows]
}

proptest! {
    #[test]
    fn a_message_is_decoded_as_it_was_encoded(message in message(), from in any::<u64>(), to in any::<u64>()) {
        let incarnations = Incarnations { from, to };
        let read = read(&encode(incarnations, &message)).unwrap();
        prop_assert_eq!(read.envelope, Envelope { version: WIRE_VERSION, incarnations });
        prop_assert_eq!((read.message, read.skipped), (message, Vec::new()));
    }

    #[test]
    fn optional_fields_of_a_later_version_change_nothing_and_are_reported(
        message in message(),
        tags in prop::collection::btree_set(2..=u8::MAX, 0..4),
        field in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = BytesMut::from(&encode(INCARNATIONS, &message)[..]);
        tags.iter().for_each(|tag| put_optional_field(&mut bytes, *tag, &field));
        let read = read(&bytes.freeze()).unwrap();
        prop_assert_eq!(read.message, message);
        prop_assert_eq!(read.skipped, tags.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn malformed_optional_fields_are_an_error(message in message(), cut in 1..5usize) {
        let mut bytes = BytesMut::from(&encode(INCARNATIONS, &message)[..]);
        put_optional_field(&mut bytes, 9, b"12");
        bytes.truncate(bytes.len() - cut.min(4));
        prop_assert!(read(&bytes.freeze()).is_err());
    }

    #[test]
    fn a_message_of_an_unknown_kind_is_not_an_error_and_keeps_its_bytes(
        kind in 200..=u8::MAX,
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let message = Message::Unknown { kind, body: body.into() };
        let read = read(&encode(INCARNATIONS, &message)).unwrap();
        prop_assert_eq!((read.kind, read.message), (kind, message));
    }

    #[test]
    fn a_damaged_message_never_causes_a_panic(
        message in message(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = encode(Incarnations { from: 1, to: 2 }, &message).to_vec();
        let at = at.index(bytes.len());
        if is_cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(read) = read(&Bytes::from(bytes.clone())) {
            // Each accepted message has one encoding, apart from optional fields that were skipped.
            if read.skipped.is_empty() {
                prop_assert_eq!(encode(read.envelope, &read.message), bytes);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _is_either = check_message(&bytes);
    }
}

#[test]
fn rows_of_a_backlog_are_decoded_as_they_were_encoded() {
    let dot = Dot { origin: OriginId([1; 16]), seq: 5 };
    let row = Row {
        dot,
        hlc: Hlc(9),
        prev: None,
        namespace: NamespaceId([2; 16]),
        key: Key::new("k").unwrap(),
        metadata: None,
        expires_at: None,
        content: Content::Deleted,
    };
    let incarnations = Incarnations { from: 1, to: 2 };
    let frame = Frame::live(incarnations, dot, &[encode_row(&row)]).finish();
    assert_eq!(read(&frame).unwrap().message, Message::Live(Live { rows: vec![row] }));
}

#[test]
fn a_joined_row_is_rejected_under_a_dot_that_none_of_its_fields_has() {
    let dot = Dot { origin: OriginId([1; 16]), seq: 5 };
    let version = kv_core::Version { hlc: Hlc(9), origin: dot.origin };
    let field = (FieldNumber::new(3).unwrap(), FieldValue::default());
    let row = Row {
        dot,
        hlc: Hlc(9),
        prev: None,
        namespace: NamespaceId::SYSTEM,
        key: Key::new("k").unwrap(),
        metadata: None,
        expires_at: None,
        content: Content::Joined(Arc::new(JoinedRow::written(version, 5, [field]).unwrap())),
    };
    let incarnations = Incarnations { from: 1, to: 2 };
    let live = |first| Frame::live(incarnations, first, &[encode_row(&row)]).finish();
    let rows = vec![row.clone()];
    assert_eq!(read(&live(dot)).unwrap().message, Message::Live(Live { rows }));
    assert!(read(&live(Dot { seq: 6, ..dot })).is_err());
}

/// A progress message that names as many origins as a store may have.
#[test]
fn the_longest_progress_fits_in_a_message() {
    let counts = (0..ORIGINS).map(|number| {
        let origin = OriginId((u128::from(number) + 1).to_be_bytes());
        Count { number, origin: Some(origin), seq: MAX_SEQ - 1 }
    });
    let visible = (1..=MAX_VISIBLE as u128)
        .map(|id| Dot { origin: OriginId(id.to_be_bytes()), seq: MAX_SEQ - 1 });
    let (counts, visible) = (counts.collect(), visible.collect());
    let delta = ProgressDelta { number: 1, counts, visible, ..ProgressDelta::default() };
    let bytes = encode(INCARNATIONS, &Message::Progress(delta.clone()));
    assert!(bytes.len() <= MAX_MESSAGE_BYTES);
    assert_eq!(read(&bytes).unwrap().message, Message::Progress(delta));
}

#[test]
fn a_count_takes_a_few_bytes_once_its_origin_is_named() {
    let delta = |counts| {
        let delta = ProgressDelta { number: 2, base: 1, counts, ..ProgressDelta::default() };
        encode(INCARNATIONS, &Message::Progress(delta)).len()
    };
    let count = |number| Count { number, origin: None, seq: 10_000 };
    assert_eq!(delta((0..300).map(count).collect()) - delta(Vec::new()), 64 * 3 + 236 * 4 + 1);
}

#[test]
fn an_invalid_progress_is_rejected() {
    let count = |number, seq| Count { number, origin: None, seq };
    let valid = ProgressDelta { number: 9, base: 5, ..ProgressDelta::default() };
    let invalid = [
        ProgressDelta { base: 9, ..valid.clone() },
        ProgressDelta { base: 0, opened: Opened::AsBefore, ..valid.clone() },
        ProgressDelta { counts: vec![count(2, 1), count(2, 2)], ..valid.clone() },
        ProgressDelta { counts: vec![count(2, 1), count(1, 1)], ..valid.clone() },
        ProgressDelta { counts: vec![count(ORIGINS, 1)], ..valid.clone() },
        ProgressDelta { counts: vec![count(1, MAX_SEQ)], ..valid.clone() },
    ];
    let read =
        |delta: &ProgressDelta| read(&encode(INCARNATIONS, &Message::Progress(delta.clone())));
    assert!(read(&valid).is_ok());
    for delta in invalid {
        assert!(read(&delta).is_err(), "{delta:?}");
    }
}

/// The largest answers are within the bound of a message.
#[test]
fn the_longest_answers_fit_in_a_message() {
    let incarnations = Incarnations { from: 1, to: 2 };
    let vector: VersionVector = (1..=MAX_ORIGINS as u64)
        .map(|n| Dot { origin: OriginId(u128::from(n).to_be_bytes()), seq: n })
        .collect();
    let version = kv_core::Version { hlc: Hlc(9), origin: OriginId([1; 16]) };
    let (kind, expires_at) = (Kind::Value, Some(1));
    let row = Held::Row(Summary { version, seq: 1, kind, expires_at, digest: [3; 32] });
    let key = Key::try_from(vec![b'k'; kv_core::limits::MAX_KEY_BYTES]).unwrap();
    let places = vec![Place { namespace: NamespaceId([9; 16]), key }; MAX_ASKED_ROWS];
    let rows = vec![
        Looked { is_counted: false, dropped_at: Some(version), held: Some(row) };
        MAX_ASKED_ROWS
    ];
    let (collected, collected_upto) = (vector.clone(), Hlc(9));
    let answer = Some(Answer::Rows(Reading { vector, collected, collected_upto, rows }));
    let ask = Message::Ask { verify: 1, step: 1, ask: Ask::Rows(places) };
    for message in [Message::Answer { verify: 1, step: 1, answer }, ask] {
        assert!(encode(incarnations, &message).len() <= MAX_MESSAGE_BYTES);
    }
}

#[test]
fn a_hello_is_understood_whatever_its_version_and_other_messages_are_not() {
    let later = Envelope { version: WIRE_VERSION + 1, incarnations: INCARNATIONS };
    let hello = Hello {
        versions: (WIRE_VERSION + 1, WIRE_VERSION + 2),
        features: Features::NONE,
        cluster: [5; 16],
        member: MemberId([2; 16]),
        software: None,
    };
    assert!(read(&encode(later, &Message::Hello(hello))).is_ok());
    assert!(read(&encode(later, &Message::Behind)).is_err());
}
