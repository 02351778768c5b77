//! Constants of the protocol `waypost-join/1`.

use std::time::Duration;

use quinn::VarInt;

/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"waypost-join/1";

/// The longest request or response, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Closes the connection of a joining member for which there is no slot. Its token was not checked, or
/// stays reserved for it; it retries.
pub(super) const BUSY: VarInt = VarInt::from_u32(1);

/// How long either side waits for the whole exchange.
pub const TIMEOUT: Duration = Duration::from_secs(10);
