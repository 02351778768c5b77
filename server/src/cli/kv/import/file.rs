//! A file of entries: a line of JSON each, or an array of them as `wrangler kv bulk put` reads it.

use std::{
    borrow::Cow,
    fmt,
    io::{BufRead, Read as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer as _,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use waypost_client::{Attributes, Expiry, Pair};

use super::{
    super::error::KvError,
    batch::{Feed, Position, Stop},
};

/// The longest line, in bytes: a value of 25 MiB, each of whose characters is an escape.
const MAX_LINE_BYTES: u64 = 160 << 20;

/// An entry, as it is written.
#[derive(Deserialize)]
struct Item<'a> {
    /// The key.
    key: String,
    /// The value, as text or base64.
    #[serde(borrow)]
    value: Cow<'a, str>,
    /// Whether the value is base64; text by default.
    #[serde(default)]
    base64: Option<bool>,
    /// When it expires, in Unix seconds. Wrangler's files may have a fraction.
    #[serde(default)]
    expiration: Option<f64>,
    /// In how many seconds it expires, counted from the moment of the import.
    #[serde(default)]
    expiration_ttl: Option<f64>,
    /// Its metadata, as it is written.
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
}

impl Item<'_> {
    /// The entry.
    fn into_pair(self) -> Result<Pair, base64::DecodeError> {
        let value = match self.base64 {
            Some(true) => STANDARD.decode(self.value.as_bytes())?.into(),
            _ => self.value.into_owned().into(),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast from a float takes the nearest number, and the server checks it"
        )]
        let seconds = |number: f64| number as u64;
        let after = self.expiration_ttl.map(|ttl| Expiry::After(seconds(ttl)));
        let expiry = after.or(self.expiration.map(|time| Expiry::At(seconds(time))));
        Ok(Pair {
            key: self.key,
            value,
            attributes: Attributes { metadata: self.metadata, expiry },
        })
    }
}

/// Counts items, and hands them over behind those that were imported before.
struct Counted<'a> {
    /// The beginning of the keys.
    prefix: &'a str,
    /// How many were imported before.
    before: u64,
    /// How many there were.
    items: u64,
    /// Takes the entries.
    feed: &'a mut Feed,
}

impl Counted<'_> {
    /// Takes an item.
    fn take(&mut self, item: Item<'_>) -> Result<(), Stop> {
        self.items += 1;
        if self.items <= self.before || !item.key.starts_with(self.prefix) {
            return Ok(());
        }
        let (key, next) = (item.key.clone(), Some(Position::Items(self.items)));
        match item.into_pair() {
            Ok(pair) => self.feed.push(pair, next)?,
            Err(error) => {
                self.feed
                    .left()
                    .refuse(|| format!("key {key:?}: its value is not base64: {error}"));
                self.feed.pass(next);
            }
        }
        Ok(())
    }
}

/// Reads the entries of a file with a prefix, behind the first `before` ones. `name` is what errors call it.
pub(super) fn read(
    name: &str,
    mut file: impl BufRead,
    (prefix, before): (&str, u64),
    feed: &mut Feed,
) -> Result<(), Stop> {
    let unreadable = |error| KvError::Source(format!("can't read {name}: {error}"));
    let mut counted = Counted { prefix, before, items: 0, feed };
    let mut before = 0;
    loop {
        let start = file.fill_buf().map_err(unreadable)?;
        let spaces = start.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        match start.get(spaces) {
            None if start.is_empty() => return Ok(()),
            None => {}
            Some(b'[') => return array(name, file, &mut counted),
            Some(_) => return lines((name, before), file, &mut counted),
        }
        before += start[..spaces].iter().filter(|byte| **byte == b'\n').count() as u64;
        file.consume(spaces);
    }
}

/// Reads a line of JSON for each entry, behind `before` lines without any.
fn lines(
    (name, before): (&str, u64),
    mut file: impl BufRead,
    counted: &mut Counted<'_>,
) -> Result<(), Stop> {
    let mut line = Vec::new();
    for number in before + 1.. {
        line.clear();
        let read = (&mut file).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        let read = read.map_err(|error| KvError::Source(format!("can't read {name}: {error}")))?;
        if read == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let item = serde_json::from_slice(&line).map_err(|error| {
            let cut = if line.ends_with(b"\n") {
                ""
            } else {
                "; it is the last line, and may be cut off"
            };
            KvError::Source(format!(
                "{name}, line {number}: {error}{cut}; write {{\"key\":\"...\",\"value\":\"...\"}}"
            ))
        })?;
        counted.take(item)?;
    }
    Ok(())
}

/// Reads an array of entries, one at a time.
fn array(name: &str, file: impl BufRead, counted: &mut Counted<'_>) -> Result<(), Stop> {
    struct Items<'a, 'b>(&'a mut Counted<'b>, &'a mut Option<Stop>);

    impl<'de> Visitor<'de> for Items<'_, '_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of {\"key\":\"...\",\"value\":\"...\"}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
            while let Some(item) = items.next_element::<Item<'de>>()? {
                if let Err(stop) = self.0.take(item) {
                    *self.1 = Some(stop);
                    return Err(A::Error::custom("stopped"));
                }
            }
            Ok(())
        }
    }

    let mut stop = None;
    let mut json = serde_json::Deserializer::from_reader(file);
    let read = json.deserialize_seq(Items(counted, &mut stop)).and_then(|()| json.end());
    match (read, stop) {
        (_, Some(stop)) => Err(stop),
        (Err(error), None) => {
            let items = counted.items;
            Err(KvError::Source(format!("{name}, after {items} entries: {error}")).into())
        }
        (Ok(()), None) => Ok(()),
    }
}
