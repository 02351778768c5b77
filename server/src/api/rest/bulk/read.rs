//! The JSON of bulk writes, read piece by piece: one piece of one value is in memory.
//!
//! serde_json reads a string whole before it hands it over, and a value may have 100 MB here. struson reads a string as
//! a stream. It reads names and numbers whole, so that `Metered` bounds those.

use std::{
    cell::Cell,
    io::{self, Read, Write},
    rc::Rc,
};

use kv_core::limits::{MAX_KEY_BYTES, MAX_METADATA_BYTES};
use struson::{
    reader::{JsonReader as _, JsonStreamReader, ReaderSettings, ValueType},
    writer::{JsonStreamWriter, JsonWriter as _},
};

/// The most pairs or keys of one call.
pub const MAX_ITEMS: usize = 10_000;

/// The most bytes of a name, a number or metadata, as they are written.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// The most arrays and objects inside of each other.
const MAX_DEPTH: u32 = 1024;

/// How much of a value is read at a time, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// Text of which only the beginning is kept, and its whole length in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The beginning; the whole text, if it is not too long.
    pub kept: Vec<u8>,
    /// The length of the whole text.
    pub length: usize,
}

impl Text {
    /// Appends bytes, of which at most `most` in all are kept.
    fn push(&mut self, bytes: &[u8], most: usize) {
        let room = most.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.length += bytes.len();
    }
}

/// A pair of a bulk put, without its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Text,
    /// Whether the value is base64, if that was said.
    pub base64: Option<bool>,
    /// When it expires, as it is written.
    pub expiration: Option<String>,
    /// For how long it lives, as it is written.
    pub ttl: Option<String>,
    /// The metadata, as compact JSON.
    pub metadata: Option<Text>,
}

/// What receives the pairs of a bulk put.
pub trait Sink {
    /// Why it stops.
    type Error;

    /// Takes the next bytes of the value of the current pair. `base64` is none if that is not known yet.
    ///
    /// # Errors
    /// If nothing more can be written.
    fn value(&mut self, bytes: &[u8], base64: Option<bool>) -> Result<(), Self::Error>;

    /// Ends the current pair.
    ///
    /// # Errors
    /// If nothing more can be written.
    fn end(&mut self, pair: Pair) -> Result<(), Self::Error>;
}

/// Why the reading stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop<E> {
    /// The body is not the JSON of this call.
    Malformed(String),
    /// There are more than [`MAX_ITEMS`] items.
    TooMany,
    /// The receiver stopped.
    Sink(E),
}

/// A failure of the JSON reader, with the number of the item.
fn malformed<E>(item: usize, error: impl std::fmt::Display) -> Stop<E> {
    Stop::Malformed(format!("item {item}: {error}"))
}

/// How many bytes may be read before the next token ends.
#[derive(Clone, Default)]
struct Fuel(Rc<Cell<usize>>);

impl Fuel {
    /// Allows a token of ordinary length.
    fn refill(&self) {
        self.0.set(MAX_TOKEN_BYTES);
    }

    /// Allows what is not kept in memory.
    fn lift(&self) {
        self.0.set(usize::MAX);
    }
}

/// A source that fails once the fuel is used up.
struct Metered<R> {
    /// The bytes.
    source: R,
    /// How many may be read.
    fuel: Fuel,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fuel = self.fuel.0.get();
        if fuel == 0 {
            return Err(io::Error::other("a name, a number or metadata is too long"));
        }
        let most = buffer.len().min(fuel);
        let read = self.source.read(&mut buffer[..most])?;
        self.fuel.0.set(fuel - read);
        Ok(read)
    }
}

/// The JSON of a bulk write.
struct Document<R: Read> {
    /// Reads the JSON.
    json: JsonStreamReader<Metered<R>>,
    /// Bounds what the reader keeps.
    fuel: Fuel,
    /// How many items there were.
    items: usize,
}

impl<R: Read> Document<R> {
    /// Begins a document, which must be an array.
    fn begin<E>(source: R) -> Result<Document<R>, Stop<E>> {
        let fuel = Fuel::default();
        fuel.refill();
        let settings = ReaderSettings {
            // It would keep the names of members that are skipped.
            track_path: false,
            max_nesting_depth: Some(MAX_DEPTH),
            restrict_number_values: false,
            ..ReaderSettings::default()
        };
        let source = Metered { source, fuel: fuel.clone() };
        let mut json = JsonStreamReader::new_custom(source, settings);
        json.begin_array().map_err(|error| Stop::Malformed(error.to_string()))?;
        Ok(Document { json, fuel, items: 0 })
    }

    /// Whether another item follows.
    fn has_item<E>(&mut self) -> Result<bool, Stop<E>> {
        self.fuel.lift();
        let has_item = self.json.has_next().map_err(|error| malformed(self.items, error))?;
        self.fuel.refill();
        if has_item && self.items == MAX_ITEMS {
            return Err(Stop::TooMany);
        }
        Ok(has_item)
    }

    /// Ends the document.
    fn end<E>(mut self) -> Result<(), Stop<E>> {
        self.fuel.lift();
        let ended = self.json.end_array();
        ended
            .and_then(|()| self.json.consume_trailing_whitespace())
            .map_err(|error| Stop::Malformed(error.to_string()))
    }

    /// Reads a string piece by piece.
    fn string<E>(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), Stop<E>> {
        let (item, fuel) = (self.items, &self.fuel);
        let mut string = self.json.next_string_reader().map_err(|error| malformed(item, error))?;
        let mut piece = [0; PIECE_BYTES];
        loop {
            fuel.refill();
            match string.read(&mut piece).map_err(|error| malformed(item, error))? {
                0 => break,
                read => take(&piece[..read]).map_err(Stop::Sink)?,
            }
        }
        fuel.refill();
        Ok(())
    }

    /// Reads a string that is a key.
    fn key<E>(&mut self) -> Result<Text, Stop<E>> {
        let mut key = Text::default();
        self.string(|piece| {
            key.push(piece, MAX_KEY_BYTES);
            Ok(())
        })?;
        Ok(key)
    }

    /// Reads a value that may be null.
    fn optional<T, E>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Stop<E>>,
    ) -> Result<Option<T>, Stop<E>> {
        let item = self.items;
        match self.json.peek().map_err(|error| malformed(item, error))? {
            ValueType::Null => {
                self.json.next_null().map_err(|error| malformed(item, error))?;
                Ok(None)
            }
            _ => read(self).map(Some),
        }
    }

    /// Reads a number as it is written.
    fn number<E>(&mut self) -> Result<String, Stop<E>> {
        let item = self.items;
        self.json.next_number_as_string().map_err(|error| malformed(item, error))
    }

    /// Reads any JSON, and writes it without spaces.
    fn metadata<E>(&mut self) -> Result<Text, Stop<E>> {
        let item = self.items;
        let mut kept = Kept(Text::default());
        let mut writer = JsonStreamWriter::new(&mut kept);
        self.json.transfer_to(&mut writer).map_err(|error| malformed(item, error))?;
        writer.finish_document().map_err(|error| malformed(item, error))?;
        Ok(kept.0)
    }
}

/// Metadata as it is written.
struct Kept(Text);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes, MAX_METADATA_BYTES);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the pairs of a bulk put: `[{"key":"…","value":"…","base64":…,"expiration":…,"expiration_ttl":…,"metadata":…}]`.
/// The fields of a pair may have any order; unknown ones are ignored.
///
/// # Errors
/// See [`Stop`]. The pairs before are with the sink.
pub fn pairs<S: Sink>(source: impl Read, sink: &mut S) -> Result<(), Stop<S::Error>> {
    let mut document = Document::begin(source)?;
    while document.has_item()? {
        let pair = pair(&mut document, sink)?;
        sink.end(pair).map_err(Stop::Sink)?;
        document.items += 1;
    }
    document.end()
}

/// Reads one pair.
fn pair<R: Read, S: Sink>(
    document: &mut Document<R>,
    sink: &mut S,
) -> Result<Pair, Stop<S::Error>> {
    let item = document.items;
    document.json.begin_object().map_err(|error| malformed(item, error))?;
    let (mut pair, mut has_key, mut has_value) = (Pair::default(), false, false);
    loop {
        document.fuel.refill();
        if !document.json.has_next().map_err(|error| malformed(item, error))? {
            break;
        }
        match document.json.next_name().map_err(|error| malformed(item, error))? {
            "key" => {
                pair.key = document.key()?;
                has_key = true;
            }
            "value" if has_value => return Err(malformed(item, "it has two values")),
            "value" => {
                document.string(|piece| sink.value(piece, pair.base64))?;
                has_value = true;
            }
            "base64" => {
                pair.base64 = document.optional(|document| {
                    document.json.next_bool().map_err(|error| malformed(item, error))
                })?;
            }
            "expiration" => pair.expiration = document.optional(Document::number)?,
            "expiration_ttl" => pair.ttl = document.optional(Document::number)?,
            "metadata" => pair.metadata = document.optional(Document::metadata)?,
            _ => {
                document.fuel.lift();
                document.json.skip_value().map_err(|error| malformed(item, error))?;
            }
        }
    }
    document.json.end_object().map_err(|error| malformed(item, error))?;
    if !has_key || !has_value {
        let what = if has_key { "value" } else { "key" };
        return Err(malformed(item, format!("it has no string \"{what}\"")));
    }
    Ok(pair)
}

/// Reads the keys of a bulk delete: `["…", …]`.
///
/// # Errors
/// See [`Stop`]. The keys before were taken.
pub fn keys<E>(
    source: impl Read,
    mut take: impl FnMut(Text) -> Result<(), E>,
) -> Result<(), Stop<E>> {
    let mut document = Document::begin(source)?;
    while document.has_item()? {
        let key = document.key()?;
        take(key).map_err(Stop::Sink)?;
        document.items += 1;
    }
    document.end()
}

#[cfg(test)]
mod tests;
