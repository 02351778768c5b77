//! The optional fields that may follow the fixed fields of a message: see [`kv_core::codec::OptionalFields`]. A later
//! version may add some; a receiver skips and counts those that it does not know.

use bytes::BytesMut;
use kv_core::{
    SoftwareVersion,
    codec::{OptionalFields, put_optional_field},
};

use super::{error::MessageError, message::Message, take::Decoded};

/// The optional field of a hello with the version of the sender's program.
const HELLO_SOFTWARE: u8 = 1;

/// The optional field of the first page of a batch with the state of the source's index, if that was ever repaired.
const PAGE_INDEX: u8 = 1;

/// Appends the optional fields of a message, by rising tags.
pub(super) fn put(out: &mut BytesMut, message: &Message) {
    if let Message::Hello(hello) = message
        && let Some(version) = &hello.software
    {
        put_optional_field(out, HELLO_SOFTWARE, version.as_str().as_bytes());
    }
    if let Message::Page(page) = message
        && let Some(head) = page.head.as_ref().filter(|head| head.index > 0)
    {
        put_optional_field(out, PAGE_INDEX, &head.index.to_be_bytes());
    }
}

/// Reads the optional fields of a message, which are the rest of its bytes. Returns the tags of those that this program
/// does not know.
pub(super) fn take(message: &mut Message, rest: &[u8]) -> Decoded<Vec<u8>> {
    let mut unknown = Vec::new();
    for field in OptionalFields::new(rest) {
        let (tag, bytes) = field.map_err(|error| MessageError::Invalid(error.0))?;
        match (&mut *message, tag) {
            (Message::Hello(hello), HELLO_SOFTWARE) => hello.software = Some(software(bytes)?),
            (Message::Page(page), PAGE_INDEX) => {
                let head = page.head.as_mut();
                head.ok_or(MessageError::Invalid("a later page has a head"))?.index = state(bytes)?;
            }
            _ => unknown.push(tag),
        }
    }
    Ok(unknown)
}

/// The state of an index.
fn state(bytes: &[u8]) -> Decoded<u64> {
    let bytes = bytes.try_into();
    let state = bytes.map(u64::from_be_bytes).ok().filter(|state| *state > 0);
    state.ok_or(MessageError::Invalid("a page has an invalid state of the index"))
}

/// The version of a program.
fn software(bytes: &[u8]) -> Decoded<SoftwareVersion> {
    let text = str::from_utf8(bytes).ok();
    let version = text.and_then(|text| SoftwareVersion::new(text).ok());
    version.ok_or(MessageError::Invalid("a hello has an invalid software version"))
}
