//! Bulk calls: many entries with one request.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    call::Call,
    envelope::Note,
    error::Error,
    namespace::{Attributes, Expiry, Namespace},
};

/// The most pairs or keys of a bulk write.
pub const MAX_BULK_ITEMS: usize = 10_000;
/// The most keys of a bulk get.
const MAX_GET_KEYS: usize = 100;

/// A pair of a bulk put.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// Its metadata and expiry.
    pub attributes: Attributes,
}

/// What came of a bulk write that the server performed. It is not atomic: pairs that break a rule are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// How many pairs were written, or keys deleted.
    pub successful: usize,
    /// The keys that were not.
    pub unsuccessful: Vec<String>,
    /// Why not.
    pub messages: Vec<Note>,
}

/// An entry of a bulk get, whose value is text.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct TextEntry {
    /// The value; bytes that are not UTF-8 are replaced by U+FFFD.
    pub value: String,
    /// Its metadata.
    #[serde(default)]
    pub metadata: Option<Box<RawValue>>,
    /// When it expires, in Unix seconds.
    #[serde(default)]
    pub expiration: Option<u64>,
}

/// A pair, as it is written.
#[derive(Serialize)]
struct Item<'a> {
    key: &'a str,
    value: Cow<'a, str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    base64: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
}

impl<'a> Item<'a> {
    /// Writes a value that is not text as base64.
    fn of(pair: &'a Pair) -> Item<'a> {
        let text = str::from_utf8(&pair.value);
        let (at, after) = match pair.attributes.expiry {
            None => (None, None),
            Some(Expiry::At(time)) => (Some(time), None),
            Some(Expiry::After(seconds)) => (None, Some(seconds)),
        };
        Item {
            key: &pair.key,
            base64: text.is_err(),
            value: match text {
                Ok(text) => text.into(),
                Err(_) => data_encoding::BASE64.encode(&pair.value).into(),
            },
            expiration: at,
            expiration_ttl: after,
            metadata: pair.attributes.metadata.as_deref(),
        }
    }
}

/// The result of a bulk write. Some servers answer null.
#[derive(Default, Deserialize)]
struct Written {
    #[serde(default)]
    successful_key_count: Option<usize>,
    #[serde(default)]
    unsuccessful_keys: Option<Vec<String>>,
}

/// The body of a bulk get.
#[derive(Serialize)]
struct Wanted<'a> {
    keys: &'a [&'a str],
    #[serde(rename = "withMetadata")]
    with_metadata: bool,
}

/// The result of a bulk get.
#[derive(Deserialize)]
struct Values {
    values: BTreeMap<String, Option<TextEntry>>,
}

impl Namespace {
    /// Puts up to [`MAX_BULK_ITEMS`] pairs with one request, of up to 100 MiB as JSON. If it fails, some may have been written;
    /// putting them again is safe.
    ///
    /// # Errors
    /// See [`Error`]. It fails also if no pair is valid.
    pub async fn bulk_put(&self, pairs: &[Pair]) -> Result<BulkOutcome, Error> {
        let items: Vec<_> = pairs.iter().map(Item::of).collect();
        let call = Call::new(Method::PUT, format!("{}/bulk", self.path));
        self.bulk(call.json(serde_json::to_vec(&items)?), pairs.len()).await
    }

    /// Deletes up to [`MAX_BULK_ITEMS`] keys with one request. Keys that do not exist count as deleted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn bulk_delete(&self, keys: &[&str]) -> Result<BulkOutcome, Error> {
        let call = Call::new(Method::POST, format!("{}/bulk/delete", self.path));
        self.bulk(call.json(serde_json::to_vec(keys)?), keys.len()).await
    }

    /// Gets the entries of keys whose values are text, 100 with each request. Keys that do not exist are not in the result.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn bulk_get(&self, keys: &[&str]) -> Result<BTreeMap<String, TextEntry>, Error> {
        let mut all = BTreeMap::new();
        for keys in keys.chunks(MAX_GET_KEYS) {
            let call = Call::new(Method::POST, format!("{}/bulk/get", self.path));
            let body = serde_json::to_vec(&Wanted { keys, with_metadata: true })?;
            let Values { values } = self.caller.result(call.json(body)).await?;
            all.extend(values.into_iter().filter_map(|(key, entry)| Some((key, entry?))));
        }
        Ok(all)
    }

    /// Sends a bulk write of so many items.
    async fn bulk(&self, call: Call, items: usize) -> Result<BulkOutcome, Error> {
        fn read<T: DeserializeOwned + Default>(result: Option<T>) -> T {
            result.unwrap_or_default()
        }
        let envelope = self.caller.call(call).await?;
        let Written { successful_key_count, unsuccessful_keys } = read(envelope.result);
        let unsuccessful = unsuccessful_keys.unwrap_or_default();
        let successful = successful_key_count.unwrap_or(items - unsuccessful.len().min(items));
        let messages = envelope.messages.unwrap_or_default();
        Ok(BulkOutcome { successful, unsuccessful, messages })
    }
}
