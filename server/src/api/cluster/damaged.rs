//! The alarm about damaged entries.

use std::collections::BTreeSet;

use super::info::{DamagedInfo, KeyInfo};
use crate::cluster::state::dates::minute;

/// How many keys the alarm names.
const MAX_NAMED: usize = 5;

/// The alarm about so many keys whose entries are damaged, of which these are the first; none if there are none.
pub(super) fn damage(count: usize, first: &[DamagedInfo]) -> Option<String> {
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
    (count > 0).then(|| {
        format!(
            "{entries} damaged on this location's disk{since}, or could not be read where this location caught up, \
             and this location requests {they} from the others: {}{more}. This ends once {awaited}. A put or a \
             delete of the key repairs it too. Check the disk",
            names.join(", ")
        )
    })
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
        assert_eq!(damage(0, &[]), None);
        let one = damage(1, &[damaged("a\n")]).unwrap();
        assert!(one.starts_with("1 entry is damaged on this location's disk since 20"), "{one}");
        assert!(one.contains(r#""shared" "a\n". "#) && one.contains("A put or a delete"), "{one}");
        assert!(one.contains("; it waits for paris. "), "{one}");
        let keys: Vec<_> = (0..9).map(|n| damaged(&n.to_string())).collect();
        let many = damage(200, &keys).unwrap();
        assert!(many.starts_with("200 entries are damaged"), "{many}");
        assert!(many.contains(r#""shared" "4", …"#), "{many}");
    }
}
