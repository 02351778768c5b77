//! A put as a form (`multipart/form-data`), which the SDKs always send: the fields `value` and `metadata`.
//!
//! An SDK that gets metadata as an object makes fields such as `metadata[a]` of it, which lack the types of the values.
//! They are ignored, as all unknown fields.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, StatusCode, header};
use kv_core::{Metadata, NewBody, WriteError, limits::MAX_METADATA_BYTES};
use multer::{Field, Multipart};

use super::{
    failure::{Failure, code},
    limits::MAX_PUT_BYTES,
};
use crate::{
    app::App,
    http::incoming::{Incoming, Unread},
    kv::{Invalid, KvError, metadata, upload::Receiver},
};

/// The most bytes of a form between two fields, such as the headers of a field.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The boundary of a form; none if the body is not a form.
///
/// # Errors
/// If the body is a form without a boundary.
pub fn boundary(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    if !kind.as_bytes().get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/")) {
        return Ok(None);
    }
    let text = kind.to_str().unwrap_or_default();
    multer::parse_boundary(text).map(Some).map_err(|error| {
        let message = format!("the header Content-Type of the form is malformed: {error}");
        Failure::invalid(code::BODY, message)
    })
}

/// What receives the value of a form.
pub trait Sink {
    /// Takes the next bytes of the value.
    fn push(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), KvError>> + Send;
}

impl Sink for Receiver<'_> {
    fn push(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), KvError>> + Send {
        Receiver::push(self, bytes)
    }
}

/// Receives the value and the metadata of a put.
pub(super) async fn receive(
    app: &App,
    body: &mut Incoming,
    boundary: String,
) -> Result<(NewBody, Option<Metadata>), Failure> {
    let mut receiver = Receiver::new(app);
    let metadata = read(body, boundary, &mut receiver).await?;
    let metadata = metadata.map(Metadata::new).transpose().map_err(WriteError::from)?;
    Ok((receiver.finish().await?, metadata))
}

/// Reads a form. Its value goes to `sink` while it arrives; its metadata is returned.
///
/// # Errors
/// If the form is malformed, has no value, or has one field twice.
pub async fn read(
    body: &mut Incoming,
    boundary: String,
    sink: &mut (impl Sink + Send),
) -> Result<Option<Box<str>>, Failure> {
    let fuel = Arc::new(AtomicUsize::new(MAX_HEAD_BYTES));
    let mut form = Multipart::new(Paced { body, fuel: Arc::clone(&fuel), is_due: false }, boundary);
    let (mut has_value, mut metadata) = (false, None);
    while let Some(mut field) = next_field(&mut form).await? {
        let mut bytes = Vec::new();
        let kind = Kind::of(field.name());
        match kind {
            Kind::Value if has_value => return Err(twice("value")),
            Kind::Metadata if metadata.is_some() => return Err(twice("metadata")),
            _ => has_value |= kind == Kind::Value,
        }
        let mut length = 0;
        while let Some(piece) = next_piece(&mut field).await? {
            fuel.store(MAX_HEAD_BYTES, Ordering::Relaxed);
            length += piece.len();
            match kind {
                Kind::Value => sink.push(&piece).await?,
                Kind::Metadata if length <= MAX_METADATA_BYTES => bytes.extend_from_slice(&piece),
                Kind::Metadata | Kind::Other => {}
            }
        }
        if kind == Kind::Metadata {
            if length > MAX_METADATA_BYTES {
                return Err(Invalid::metadata_too_long(length).into());
            }
            metadata = Some(metadata::check(bytes)?);
        }
        fuel.store(MAX_HEAD_BYTES, Ordering::Relaxed);
    }
    if !has_value {
        return Err(Failure::invalid(code::BODY, "put: the form has no field 'value'"));
    }
    // Null is what a key without metadata has.
    Ok(metadata.filter(|json| json.trim() != "null"))
}

/// A field of a form, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The value.
    Value,
    /// The metadata.
    Metadata,
    /// Any other, which is ignored.
    Other,
}

impl Kind {
    /// The field of this name.
    fn of(name: Option<&str>) -> Kind {
        match name {
            Some("value") => Kind::Value,
            Some("metadata") => Kind::Metadata,
            _ => Kind::Other,
        }
    }
}

/// The failure of a form that has a field twice.
fn twice(name: &str) -> Failure {
    Failure::invalid(code::BODY, format!("put: the form has the field '{name}' more than once"))
}

/// The next field of a form.
async fn next_field<'a>(form: &mut Multipart<'a>) -> Result<Option<Field<'a>>, Failure> {
    form.next_field().await.map_err(failure)
}

/// The next bytes of a field.
async fn next_piece(field: &mut Field<'_>) -> Result<Option<Bytes>, Failure> {
    field.chunk().await.map_err(failure)
}

/// Why a form can't be read.
fn failure(error: multer::Error) -> Failure {
    let error = match error {
        multer::Error::StreamReadFailed(inner) => match inner.downcast::<Stopped>() {
            Ok(stopped) => return (*stopped).into(),
            Err(other) => multer::Error::StreamReadFailed(other),
        },
        other => other,
    };
    let message = format!("put: the form is malformed: {error}");
    Failure::invalid(code::BODY, message)
}

/// Why the bytes of a form end.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    /// The body was not read whole.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// There is too much between two fields.
    #[error("the headers of a field are longer than {MAX_HEAD_BYTES} bytes")]
    LongHead,
    /// The form is longer than any that is valid.
    #[error("the form is longer than {MAX_PUT_BYTES} bytes")]
    Long,
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Failure {
        match stopped {
            Stopped::Unread(unread) => unread.into(),
            Stopped::LongHead => {
                Failure::invalid(code::BODY, format!("put: the form is malformed: {stopped}"))
            }
            Stopped::Long => {
                let message = format!("put: {stopped}");
                Failure::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, message)
            }
        }
    }
}

/// The bytes of a form, one piece for each poll. multer reads what is there until it must wait, and would otherwise
/// have the whole form in memory if it arrives faster than it is stored.
struct Paced<'a> {
    /// The bytes as they arrive.
    body: &'a mut Incoming,
    /// How many bytes may still arrive before the next bytes of a field.
    fuel: Arc<AtomicUsize>,
    /// Whether a piece was returned, so that multer must look at it first.
    is_due: bool,
}

impl Stream for Paced<'_> {
    type Item = Result<Bytes, Stopped>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_due {
            self.is_due = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let this = &mut *self;
        let next = std::task::ready!(pin!(this.body.next()).poll(cx));
        let piece = match next {
            Ok(None) => return Poll::Ready(None),
            Ok(Some(piece)) => piece,
            Err(unread) => return Poll::Ready(Some(Err(unread.into()))),
        };
        if this.body.read() > MAX_PUT_BYTES {
            return Poll::Ready(Some(Err(Stopped::Long)));
        }
        let fuel = this.fuel.load(Ordering::Relaxed);
        if fuel == 0 {
            return Poll::Ready(Some(Err(Stopped::LongHead)));
        }
        this.fuel.store(fuel.saturating_sub(piece.len()), Ordering::Relaxed);
        this.is_due = true;
        Poll::Ready(Some(Ok(piece)))
    }
}
