//! The messages between locations and their bytes: see "Between locations" in FORMAT.md.
//!
//! A message begins with its version and kind and with the *incarnations* of both ends: the random number
//! that each took when it was started. A message for an earlier incarnation, or from one, is ignored. A message of an
//! unknown kind is skipped, and so are optional fields with unknown tags, behind the fixed ones.
//!
//! A new message has a variant in [`message`], a number in [`kind`], and an arm in [`encode`] and
//! [`decode`]; the router (`core/route.rs`) hands it to its machine. A new optional field has an arm in [`extension`].

mod check;
mod decode;
mod encode;
mod envelope;
mod error;
mod extension;
mod kind;
mod message;
mod progress;
mod put;
mod question;
mod row;
mod rows;
mod take;
#[cfg(test)]
mod tests;

pub use check::{check_message, reencode_message};
pub(crate) use decode::{Received, decode};
pub(crate) use encode::{Frame, encode};
pub use envelope::software;
pub(crate) use envelope::{Envelope, Incarnations, common_version};
pub use error::MessageError;
pub(crate) use message::{
    BATCH_BYTES, End, GetBody, Hello, MAX_ASKED_BYTES, MAX_ROWS, Message, NoBody, Page, PageHead,
    Pull, Reason, Report, Want,
};
pub use message::{MAX_MESSAGE_BYTES, MAX_USAGE_BYTES, OLDEST_WIRE_VERSION, WIRE_VERSION};
pub(crate) use progress::{Count, Echo, MAX_VISIBLE, Opened, ProgressDelta, UNKNOWN};
pub(crate) use row::encode_row;
