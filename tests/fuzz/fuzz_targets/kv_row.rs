//! A single row of any table: its key, then its value.
#![no_main]

use kv_core::{Table, check_row};
use libfuzzer_sys::fuzz_target;
use waypost_fuzz::row::{seal, seal_entry};

/// The input: how to seal, the table, the lengths of the key and of what comes first, the key, what
/// comes first, the rest.
struct Input<'a> {
    how: u8,
    table: Table,
    key: &'a [u8],
    first: &'a [u8],
    rest: &'a [u8],
}

fn split(input: &[u8]) -> Option<Input<'_>> {
    let ([how, table, key, first], rest) = input.split_first_chunk()?;
    let table = Table::ALL[usize::from(*table) % Table::ALL.len()];
    let (key, rest) = rest.split_at_checked(usize::from(*key))?;
    let (first, rest) = rest.split_at_checked(usize::from(*first))?;
    Some(Input { how: *how, table, key, first, rest })
}

fuzz_target!(|input: &[u8]| {
    let Some(Input { how, table, key, first, rest }) = split(input) else { return };
    let row = match (how % 3, table) {
        (0, _) => [first, rest].concat(),
        (1, Table::Entries) => seal_entry(key, first, Some(rest)),
        (_, Table::Entries) => seal_entry(key, &[first, rest].concat(), None),
        _ => seal(table, key, &[first, rest].concat()),
    };
    let is_sound = check_row(table, key, &row).is_ok();
    // A checksum finds every single flipped bit. (Not where the flip moves the place at which the
    // checksum is looked for, as in an entry's head, nor in the engine's own row, which has none.)
    let has_one_checksum = table != Table::Entries && key.first() != Some(&0);
    if is_sound && has_one_checksum {
        let mut flipped = row;
        for at in 0..flipped.len() {
            flipped[at] ^= 1 << (how % 8);
            assert!(check_row(table, key, &flipped).is_err(), "byte {at} is not checked");
            flipped[at] ^= 1 << (how % 8);
        }
    }
});
