//! Lists of keys.

use bytes::Bytes;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{call::Call, error::Error, namespace::Namespace};

/// Which keys a page of a list shows. The default is the first 1000 keys.
///
/// Only Waypost has the fields from `start` on. Cloudflare's service ignores them.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Only keys that start with this.
    pub prefix: String,
    /// At most so many keys, 10 to 1000; by default 1000.
    pub limit: Option<usize>,
    /// Where the page begins: [`Page::cursor`] of the page before. All else must be as for that page.
    pub cursor: Option<String>,
    /// Only this key and those after it.
    pub start: Option<String>,
    /// Only keys after this one, which need not exist.
    pub start_after: Option<String>,
    /// Only keys before this one, which need not exist.
    pub end: Option<String>,
    /// The last key comes first.
    pub reverse: bool,
    /// Shows values, except long ones: a page has about 2 MiB of them.
    pub values: bool,
    /// Only keys whose metadata contains this JSON: of an object, at least these fields.
    pub metadata: Option<Box<RawValue>>,
}

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The keys, in the order of their bytes. With [`List::metadata`] a page may be empty and have a cursor.
    pub keys: Vec<Listed>,
    /// Where the next page begins; none after the last.
    pub cursor: Option<String>,
}

/// A key of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Item")]
#[non_exhaustive]
pub struct Listed {
    /// The key.
    pub name: String,
    /// When it expires, in Unix seconds.
    pub expiration: Option<u64>,
    /// Its metadata.
    pub metadata: Option<Box<RawValue>>,
    /// Its value, if the list shows values and it is not too long.
    pub value: Option<Bytes>,
}

/// A key of a list, as it is written.
#[derive(Deserialize)]
struct Item {
    name: String,
    #[serde(default)]
    expiration: Option<u64>,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    base64: bool,
}

impl TryFrom<Item> for Listed {
    type Error = data_encoding::DecodeError;

    fn try_from(item: Item) -> Result<Listed, Self::Error> {
        let Item { name, expiration, metadata, value, base64 } = item;
        let value = match value {
            Some(text) if base64 => Some(data_encoding::BASE64.decode(text.as_bytes())?.into()),
            text => text.map(Bytes::from),
        };
        Ok(Listed { name, expiration, metadata, value })
    }
}

impl Namespace {
    /// Lists a page of keys.
    ///
    /// ```no_run
    /// # async fn f(namespace: waypost_client::Namespace) -> Result<(), waypost_client::Error> {
    /// let mut list = waypost_client::List { prefix: "user:".into(), ..Default::default() };
    /// loop {
    ///     let page = namespace.list(&list).await?;
    ///     page.keys.iter().for_each(|key| println!("{}", key.name));
    ///     let Some(cursor) = page.cursor else { break };
    ///     list.cursor = Some(cursor);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, list: &List) -> Result<Page, Error> {
        let path = format!("{}/keys?{}", self.path, list.query());
        let envelope = self.caller.call(Call::new(Method::GET, path)).await?;
        let cursor = envelope.result_info.and_then(|info| info.cursor);
        let keys = envelope.result.unwrap_or_default();
        Ok(Page { keys, cursor: cursor.filter(|cursor| !cursor.is_empty()) })
    }
}

impl List {
    /// The query of the list.
    fn query(&self) -> String {
        let limit = self.limit.map(|limit| limit.to_string());
        let prefix = self.prefix.as_str();
        let pairs = [
            ("prefix", (!prefix.is_empty()).then_some(prefix)),
            ("limit", limit.as_deref()),
            ("cursor", self.cursor.as_deref()),
            ("start", self.start.as_deref()),
            ("start_after", self.start_after.as_deref()),
            ("end", self.end.as_deref()),
            ("reverse", self.reverse.then_some("true")),
            ("values", self.values.then_some("true")),
            ("metadata", self.metadata.as_deref().map(RawValue::get)),
        ];
        let pairs = pairs.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        pairs.join("&")
    }
}
