//! Damage of the store: which entries it hit, and the alarms about it.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use kv_core::{
    Key, Member, MemberId, Namespace, NamespaceId, Namespaces, OriginInfo, Owed, StoreView,
    limits::MAX_OWED, view::IndexState,
};
use kv_replicate::inspect::Place;
use serde::{Deserialize, Serialize};

use super::{alarm::Alarm, kind::AlarmKind};
use crate::cluster::state::dates::minute;

/// The most damaged keys that are named.
const MAX_DAMAGED: usize = 100;

/// How many keys the alarm names.
const MAX_NAMED: usize = 5;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The title of its namespace; the id, if the namespace has none here; `(system)` for a damaged row about an origin,
    /// a location or a namespace, which `key` describes.
    pub namespace: String,
    /// The key; `0x` and hexadecimal digits, if it is not text.
    pub key: String,
}

/// A key whose entry is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedInfo {
    /// The key.
    #[serde(flatten)]
    pub key: KeyInfo,
    /// When this location noticed, in Unix seconds; 0 if that is not known any more.
    pub since: u64,
    /// The names of the locations whose answers the entry waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
}

impl KeyInfo {
    /// The key of a place, with the title of its namespace.
    pub(crate) fn new(place: &Place, namespaces: &Namespaces) -> KeyInfo {
        let namespace = namespaces.get(place.namespace);
        let key = match str::from_utf8(&place.key) {
            Ok(text) => text.into(),
            Err(_not_text) => format!("0x{}", HEXLOWER.encode(&place.key)),
        };
        let id = || place.namespace.to_string();
        KeyInfo { namespace: namespace.map_or_else(id, |one| one.title.to_string()), key }
    }
}

/// The damage of a store at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DamageState {
    /// How many keys' entries are damaged.
    pub count: usize,
    /// The first 100 of these keys.
    pub first: Vec<DamagedInfo>,
    /// Whether there is no room to record others.
    pub is_full: bool,
    /// The state of the index of writes, from which others catch up.
    pub index: IndexState,
}

impl DamageState {
    /// Reads it from a view. If this is a member of a cluster, `awaited` has the locations that keys wait for.
    #[must_use]
    pub fn of(view: &StoreView, awaited: Option<&BTreeMap<Place, Vec<MemberId>>>) -> DamageState {
        let name = |id: &MemberId| {
            view.members().get(*id).map_or_else(|| id.to_string(), |member| member.name.clone())
        };
        let info = |(namespace, key, owed): (NamespaceId, &Key, Owed)| {
            let place = Place { namespace, key: key.clone() };
            let awaited = awaited.and_then(|awaited| awaited.get(&place));
            let mut waits_for: Vec<_> = awaited.into_iter().flatten().map(name).collect();
            waits_for.sort_unstable();
            let key = match system_key(&place) {
                Some(key) => KeyInfo { namespace: "(system)".into(), key },
                None => KeyInfo::new(&place, view.namespaces()),
            };
            DamagedInfo { key, since: owed.since_ms / 1000, waits_for }
        };
        DamageState {
            count: view.owed().len(),
            first: view.owed().iter().take(MAX_DAMAGED).map(info).collect(),
            is_full: view.owed().is_full(),
            index: view.index_state(),
        }
    }
}

/// Returns what a row of the system namespace is about, in words; none for a row of another namespace.
fn system_key(place: &Place) -> Option<String> {
    if place.namespace != NamespaceId::SYSTEM {
        return None;
    }
    let key = &place.key;
    if let Some(id) = OriginInfo::id_of(key) {
        return Some(format!("opening row of origin {id}"));
    }
    if let Some(id) = Member::id_of(key) {
        return Some(format!("row of location {id}"));
    }
    if let Some(id) = Namespace::id_of(key) {
        return Some(format!("row of namespace {id}"));
    }
    Some(format!("row 0x{}", HEXLOWER.encode(key)))
}

/// The alarms about damage.
pub(super) fn alarms(damage: &DamageState) -> Vec<Alarm> {
    let mut alarms: Vec<_> = entries(damage.count, &damage.first).into_iter().collect();
    if damage.is_full {
        let text = format!(
            "{MAX_OWED} damaged entries are recorded, and there is no room for others, which are not requested from other locations: \
             replace the disk, start this location with an empty data directory and a new token, and remove its former \
             self"
        );
        alarms.push(Alarm::here(AlarmKind::TooMuchDamage, text));
    }
    let text = match damage.index {
        IndexState::Sound => return alarms,
        IndexState::Checking => {
            "a row of the index of writes is damaged on this location's disk: the index is checked against the entries, \
             and its rows are written again. Other locations can't catch up from here until that is done. Check the disk"
        }
        IndexState::Undecided => {
            "rows of the index of writes are damaged on this location's disk, and more entries than can be recorded, any \
             of which the rows may name: other locations can't catch up from here until these entries are repaired \
             (see damaged-entries). Check the disk"
        }
    };
    alarms.push(Alarm::here(AlarmKind::DamagedIndex, text));
    alarms
}

/// The alarm about damaged entries: how many, and the keys of the first of them; none if there are none.
fn entries(count: usize, first: &[DamagedInfo]) -> Option<Alarm> {
    let noticed = first.iter().map(|key| key.since).filter(|since| *since > 0).min();
    let since = noticed.map_or(String::new(), |since| format!(" since {}", minute(since)));
    let (entries, they) = if count == 1 { ("1 entry is", "it") } else { ("entries are", "them") };
    let entries = if count == 1 { entries.into() } else { format!("{count} {entries}") };
    // Quoted: a key may contain control sequences of a terminal.
    let name = |DamagedInfo { key: KeyInfo { namespace, key }, .. }: &DamagedInfo| {
        format!("{namespace:?} {key:?}")
    };
    let names: Vec<_> = first.iter().take(MAX_NAMED).map(name).collect();
    let more = if count > names.len() { ", …" } else { "" };
    let awaited: BTreeSet<_> =
        first.iter().flat_map(|key| &key.waits_for).map(|name| &name[..]).collect();
    let awaited = match awaited.into_iter().collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => "all of them have answered".into(),
        names => format!("all of them have answered; it waits for {names}"),
    };
    let text = format!(
        "{entries} damaged on this location's disk{since}, or could not be read where this location caught up, \
         and this location requests {they} from the others: {}{more}. This ends once {awaited}. A put or a \
         delete of the key repairs it too. Check the disk",
        names.join(", ")
    );
    let alarm = Alarm { since: noticed, ..Alarm::here(AlarmKind::DamagedEntries, text) };
    (count > 0).then_some(alarm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(key: &str) -> DamagedInfo {
        let key = KeyInfo { namespace: "shared".into(), key: key.into() };
        DamagedInfo { key, since: 1_800_000_000, waits_for: vec!["paris".into()] }
    }

    #[test]
    fn the_alarm_names_the_first_keys_and_what_ends_it() {
        assert_eq!(entries(0, &[]), None);
        let text = |count, first: &[DamagedInfo]| entries(count, first).expect("an alarm").text;
        let one = text(1, &[damaged("a\n")]);
        assert!(one.starts_with("1 entry is damaged on this location's disk since 20"), "{one}");
        assert!(one.contains(r#""shared" "a\n". "#) && one.contains("A put or a delete"), "{one}");
        assert!(one.contains("; it waits for paris. "), "{one}");
        let keys: Vec<_> = (0..9).map(|n| damaged(&n.to_string())).collect();
        let many = text(200, &keys);
        assert!(many.starts_with("200 entries are damaged"), "{many}");
        assert!(many.contains(r#""shared" "4", …"#), "{many}");
    }

    #[test]
    fn a_damaged_index_and_damage_that_is_not_recorded_are_alarms_of_their_own() {
        let found = |damage: &DamageState| -> Vec<_> {
            alarms(damage).into_iter().map(|alarm| (alarm.kind, alarm.text)).collect()
        };
        assert_eq!(found(&DamageState::default()), []);
        let full = found(&DamageState { is_full: true, ..DamageState::default() });
        let [(AlarmKind::TooMuchDamage, text)] = &full[..] else { panic!("{full:?}") };
        assert!(text.contains("16384 damaged entries") && text.contains("replace the disk"));
        for (index, says) in [
            (IndexState::Checking, "written again"),
            (IndexState::Undecided, "until these entries are repaired"),
        ] {
            let found = found(&DamageState { index, ..DamageState::default() });
            let [(AlarmKind::DamagedIndex, text)] = &found[..] else { panic!("{found:?}") };
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn a_damaged_row_of_the_system_is_described() {
        let system = |key: &[u8]| {
            let key = kv_core::Key::new(key).unwrap();
            system_key(&Place { namespace: NamespaceId::SYSTEM, key })
        };
        let (id, digits) = ([1; 16], "01".repeat(16));
        for (key, description) in [
            (
                &OriginInfo::key(kv_core::OriginId(id))[..],
                format!("opening row of origin {digits}"),
            ),
            (&Member::key(MemberId(id)), format!("row of location {digits}")),
            (&id, format!("row of namespace {digits}")),
            (b"x", "row 0x78".into()),
        ] {
            assert_eq!(system(key), Some(description));
        }
        let key = kv_core::Key::new("x").unwrap();
        assert_eq!(system_key(&Place { namespace: NamespaceId(id), key }), None);
    }
}
