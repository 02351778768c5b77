//! A namespace: get, put and delete entries.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use crate::{
    call::{Call, Caller},
    entry::Entry,
    error::Error,
    upload::Upload,
};

/// The number of the error that a key does not exist.
const NO_KEY: u32 = 10009;

/// A namespace of a server. Clones are cheap.
///
/// Every call may be performed twice without harm, so that the client repeats it when a retry may help.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Sends the calls.
    pub(crate) caller: Arc<Caller>,
    /// The path of the namespace.
    pub(crate) path: String,
}

/// What an entry has beside its value. The default is nothing, for ever.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// Its metadata: JSON of up to 1024 bytes. [`serde_json::value::to_raw_value`] makes it of any value.
    pub metadata: Option<Box<RawValue>>,
    /// When it expires.
    pub expiry: Option<Expiry>,
}

/// When an entry expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this time, in Unix seconds.
    At(u64),
    /// So many seconds after the write.
    After(u64),
}

impl Namespace {
    /// The namespace at a path.
    pub(crate) fn new(caller: Arc<Caller>, path: String) -> Namespace {
        Namespace { caller, path }
    }

    /// Gets an entry, whose value arrives while it is read; none if there is no such key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let call = Call::new(Method::GET, self.of("values", key));
        let caller = &self.caller;
        let entry = |response| Entry::new(&caller.address, caller.timeout, response);
        found(caller.send(call).await.map(entry))
    }

    /// Gets a whole value; none if there is no such key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_bytes(&self, key: &str) -> Result<Option<Bytes>, Error> {
        match self.get(key).await? {
            Some(entry) => entry.bytes().await.map(Some),
            None => Ok(None),
        }
    }

    /// Gets the metadata of an entry; none if there is no such key, or it has none. This is a call of its own: the entry may have
    /// changed since its value was read.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn metadata(&self, key: &str) -> Result<Option<Box<RawValue>>, Error> {
        let call = Call::new(Method::GET, self.of("metadata", key));
        let found: Option<_> = found(self.caller.call::<Box<RawValue>>(call).await)?;
        let metadata = found.and_then(|envelope| envelope.result);
        Ok(metadata.filter(|json| json.get() != "null"))
    }

    /// Puts an entry, and replaces value, metadata and expiry of the one before. Without attributes, pass
    /// `Attributes::default()`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put(
        &self,
        key: &str,
        value: impl Into<Upload>,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let path = self.of("values", key);
        let path = match attributes.expiry {
            None => path,
            Some(Expiry::At(time)) => format!("{path}?expiration={time}"),
            Some(Expiry::After(seconds)) => format!("{path}?expiration_ttl={seconds}"),
        };
        let mut call = Call::new(Method::PUT, path);
        call.body = value.into();
        match attributes.metadata {
            None => call.content_type = Some(HeaderValue::from_static("application/octet-stream")),
            Some(metadata) => {
                let boundary = boundary();
                let before = format!(
                    "--{boundary}\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\
                     Content-Type: application/json\r\n\r\n{metadata}\r\n--{boundary}\r\n\
                     Content-Disposition: form-data; name=\"value\"; filename=\"value\"\r\n\
                     Content-Type: application/octet-stream\r\n\r\n"
                );
                let after = format!("\r\n--{boundary}--\r\n");
                call.body = call.body.inside(before.into(), after.into());
                let form = format!("multipart/form-data; boundary={boundary}");
                call.content_type = Some(form.try_into().map_err(http::Error::from)?);
            }
        }
        self.caller.perform(call).await
    }

    /// Deletes a key. It succeeds also if there is no such key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.caller.perform(Call::new(Method::DELETE, self.of("values", key))).await
    }

    /// The path of a key below one of the endpoints.
    fn of(&self, endpoint: &str, key: &str) -> String {
        format!("{}/{endpoint}/{}", self.path, utf8_percent_encode(key, NON_ALPHANUMERIC))
    }
}

/// A text that no value contains by chance.
fn boundary() -> String {
    let random = || getrandom::u64().unwrap_or_default();
    format!("waypost-{:016x}{:016x}", random(), random())
}

/// Makes nothing of the error that a key does not exist.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Some(NO_KEY) => Ok(None),
        Err(error) => Err(error),
    }
}
