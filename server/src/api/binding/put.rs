//! Put: stores a value while it arrives, a chunk at a time.

use http::{Response, header};
use kv_core::{Attributes, Key, Metadata, NamespaceId, Operation, Outcome, WriteError};

use super::{call::Call, get::etag, metadata, permission::Permission, refusal::Refusal};
use crate::{
    http::{Body, incoming::Incoming},
    kv::{Invalid, expiry, upload::receive},
};

/// Responds to a put. If the value is too long, at most `max_discarded` bytes are read.
///
/// The chunks of the value are written as they arrive, and the entry once all are there: a body that is
/// cut off stores nothing. In memory are the bytes that the connection has read and about two chunks
/// more.
pub(super) async fn respond(
    permission: Permission<'_>,
    namespace: NamespaceId,
    call: &Call<'_>,
    body: &mut Incoming,
    max_discarded: u64,
) -> Result<Response<Body>, Refusal> {
    let app = permission.app;
    let key = call.target.key()?;
    let expires_at =
        expiry::expires_at(call.target.query(), app.store.now_ms() / 1000, app.bounds.min_ttl())?;
    app.bounds.check_put(namespace, key.as_bytes()).map_err(Invalid::from)?;
    let metadata = call.metadata()?.map(|text| metadata::parse(text.as_bytes())).transpose()?;
    let metadata = metadata.map(Metadata::new).transpose().map_err(WriteError::from)?;
    let value = receive(app, body, max_discarded).await?;
    permission.recheck()?;
    let put = Operation::Put {
        namespace,
        key: Key::new(key.as_bytes()).map_err(WriteError::from)?,
        body: value,
        attributes: Attributes { metadata, expires_at },
    };
    let mut response = Response::new(Body::empty());
    if let Outcome::Written(written) = app.writes.submit(put).await? {
        response.headers_mut().insert(header::ETAG, etag(written.version));
    }
    Ok(response)
}
