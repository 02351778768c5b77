use super::*;
use crate::types::Version;

pub(super) const US: MemberId = MemberId([1; 16]);
pub(super) const THEM: MemberId = MemberId([2; 16]);

pub(super) fn id(byte: u8) -> OriginId {
    OriginId([byte; 16])
}

pub(super) fn opened(member: MemberId, byte: u8, closes: &[u8]) -> OriginInfo {
    let closes = closes.iter().map(|byte| id(*byte)).collect();
    let (id, partner) = (id(byte), id(byte + 1));
    OriginInfo { id, member, lane: Lane::Small, partner, closes, opened: Hlc(u64::from(byte)) }
}

fn registry(entries: impl IntoIterator<Item = OriginInfo>) -> OriginRegistry {
    entries.into_iter().map(OriginEntry::Opened).collect()
}

pub(super) fn ids<'a>(origins: impl Iterator<Item = &'a OriginInfo>) -> Vec<u8> {
    origins.map(|info| info.id.0[0]).collect()
}

/// Reads a row of one field, which this write wrote.
fn read_row(
    key: &[u8],
    (origin, seq, hlc): (OriginId, u64, Hlc),
    value: Vec<u8>,
) -> Result<OriginEntry, DecodeError> {
    let field = (ENTRY, FieldValue::new(value).unwrap());
    let row = JoinedRow::written(Version { hlc, origin }, seq, [field]).unwrap();
    OriginEntry::of(key, &row)
}

fn read_opening(info: &OriginInfo) -> Result<OriginEntry, DecodeError> {
    read_row(&OriginInfo::key(info.id), (info.id, 1, info.opened), info.encode())
}

#[test]
fn the_rows_of_an_origin_read_back_as_they_were_written() {
    let info = opened(US, 10, &[20, 30]);
    assert_eq!(read_opening(&info), Ok(OriginEntry::Opened(info)));
    let key = OriginEntry::closing_key(id(10), US);
    let read = read_row(&key, (id(40), 9, Hlc(7)), vec![LAYOUT]);
    assert_eq!(read, Ok(OriginEntry::Closed { id: id(10), member: US }));
    assert!(!OriginEntry::is_key(&[b'o'; 16]), "this key names a namespace");
}

#[test]
fn a_pair_is_in_the_order_of_its_lanes() {
    let small = opened(US, 10, &[]);
    let large = OriginInfo { id: id(11), lane: Lane::Large, partner: id(10), ..small.clone() };
    assert_eq!(small.pair(), [id(10), id(11)]);
    assert_eq!(large.pair(), small.pair());
    assert_eq!(large.order(), small.order());
}

#[test]
fn an_opening_row_that_no_store_writes_is_an_error() {
    let good = opened(US, 10, &[20]);
    assert!(read_opening(&good).is_ok());
    let closes = |ids: Vec<OriginId>| OriginInfo { closes: ids.into(), ..good.clone() };
    let many = (0..=MAX_CLOSES).map(|n| {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        OriginId(id)
    });
    for bad in [
        OriginInfo { partner: good.id, ..good.clone() },
        OriginInfo { partner: id(0), ..good.clone() },
        OriginInfo { member: MemberId([0; 16]), ..good.clone() },
        closes(vec![good.id]),
        closes(vec![good.partner]),
        closes(vec![id(0)]),
        closes(many.collect()),
    ] {
        assert!(read_opening(&bad).is_err(), "{bad:?}");
    }
    let mut long = good.encode();
    long.push(0);
    let key = OriginInfo::key(good.id);
    assert!(read_row(&key, (good.id, 1, Hlc(1)), long).is_err());
    assert!(read_row(&key, (good.id, 2, Hlc(1)), good.encode()).is_err(), "not its first write");
    assert!(read_row(&key, (id(9), 1, Hlc(1)), good.encode()).is_err(), "of another origin");
    assert!(read_row(&OriginInfo::key(id(0)), (id(0), 1, Hlc(1)), good.encode()).is_err());
    let read = |id, member| {
        let key = OriginEntry::closing_key(id, member);
        read_row(&key, (self::id(40), 9, Hlc(1)), vec![LAYOUT])
    };
    assert!(read(id(1), US).is_ok());
    assert!(read(id(1), MemberId([0; 16])).is_err() && read(id(0), US).is_err());
}

#[test]
fn the_registry_lists_the_origins_of_a_location_and_those_that_are_open() {
    let known = registry([opened(US, 10, &[]), opened(THEM, 20, &[]), opened(US, 30, &[10])]);
    assert_eq!(known.len(), 3);
    assert_eq!(ids(known.iter()), [10, 20, 30]);
    assert_eq!(ids(known.of_member(US)), [10, 30]);
    assert_eq!((known.count_of(US), known.count_of(THEM)), (2, 1));
    assert_eq!(ids(known.open_of(US)), [30]);
    assert_eq!(ids(known.open_of(THEM)), [20]);
    assert_eq!(known.get(id(30)).map(|info| info.member), Some(US));
    assert_eq!(known.get(id(40)), None);
    assert!(known.is_closed(id(10)) && !known.is_closed(id(30)) && !known.is_closed(id(40)));
}

#[test]
fn only_a_row_of_the_same_location_closes_an_origin() {
    let mut known = registry([opened(US, 10, &[]), opened(THEM, 20, &[10])]);
    assert!(!known.is_closed(id(10)));
    known.insert(OriginEntry::Closed { id: id(10), member: THEM });
    assert!(!known.is_closed(id(10)));
    known.insert(OriginEntry::Closed { id: id(10), member: US });
    assert!(known.is_closed(id(10)));
}

#[test]
fn an_origin_may_be_closed_before_its_own_row_arrives() {
    let mut known = registry([opened(US, 30, &[10])]);
    known.insert(OriginEntry::Closed { id: id(20), member: US });
    assert!(!known.is_closed(id(10)) && !known.is_closed(id(20)), "they are unknown");
    known.insert(OriginEntry::Opened(opened(US, 10, &[])));
    known.insert(OriginEntry::Opened(opened(US, 20, &[])));
    assert!(known.is_closed(id(10)) && known.is_closed(id(20)));
}

#[test]
fn a_known_origin_does_not_change() {
    let mut known = registry([opened(US, 10, &[])]);
    known.insert(OriginEntry::Opened(opened(THEM, 10, &[30])));
    assert_eq!(known, registry([opened(US, 10, &[])]));
}
