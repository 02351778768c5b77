//! A value that arrives.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::{address::Address, error::Error};

/// When an entry expires, in Unix seconds.
const EXPIRATION: HeaderName = HeaderName::from_static("expiration");

/// An entry whose value arrives while it is read. Dropping it ends the transfer.
#[derive(Debug)]
pub struct Entry {
    /// When it expires, in Unix seconds.
    pub expiration: Option<u64>,
    /// The rest of the value.
    body: Incoming,
    /// The server.
    address: Address,
    /// How long the next piece may take.
    timeout: Duration,
}

impl Entry {
    /// The entry of a response.
    pub(crate) fn new(address: &Address, timeout: Duration, response: Response<Incoming>) -> Entry {
        let (parts, body) = response.into_parts();
        let text = parts.headers.get(EXPIRATION).and_then(|value| value.to_str().ok());
        let expiration = text.and_then(|text| text.trim().parse().ok());
        Entry { expiration, body, address: address.clone(), timeout }
    }

    /// How many bytes of the value are still to be read, if the server told.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Reads the next piece of the value; none after the last.
    ///
    /// # Errors
    /// [`Error::TimedOut`] and [`Error::Broken`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Ok(frame) = timeout(self.timeout, self.body.frame()).await else {
                let address = self.address.clone();
                return Err(Error::TimedOut { address, timeout: self.timeout });
            };
            let Some(frame) = frame else { return Ok(None) };
            let broken = |reason: hyper::Error| Error::Broken {
                address: self.address.clone(),
                reason: reason.into(),
            };
            if let Ok(piece) = frame.map_err(broken)?.into_data() {
                return Ok(Some(piece));
            }
        }
    }

    /// Reads the rest of the value.
    ///
    /// # Errors
    /// As for [`Entry::next`].
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second);
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}
