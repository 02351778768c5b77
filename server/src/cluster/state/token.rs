//! The one-time token of a joining member, as a text that survives chats and terminals.
//!
//! `wp1-` and base32 without padding, in lower case (upper case is read as well), over: the SHA-256 of
//! the CA's certificate (32), the token's id (8), its secret (16), the number of addresses (1), each
//! address after its length (2), and the first 4 bytes of the SHA-256 over all before it.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD_NOCASE;
use kv_core::limits::{MAX_ADDRESS_BYTES, MAX_ADDRESSES};

use super::names::{Address, Sha256, TokenId};

/// The prefix of a token, with the version of its layout.
const PREFIX: &str = "wp1-";
/// The length of the checksum at the end, in bytes.
const CHECKSUM_BYTES: usize = 4;
/// Longer texts are rejected without being decoded.
const MAX_TEXT_BYTES: usize = 4096;

/// A token: it admits one location, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The SHA-256 of the CA's certificate, by which the joining member recognises the cluster.
    pub ca: Sha256,
    /// The invitation's id.
    pub id: TokenId,
    /// The secret that proves possession of the token.
    pub secret: Secret,
    /// The addresses of the CA holder, the best first; 1 to 8.
    pub addresses: Vec<Address>,
}

/// 128 random bits, left out of debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Returns the hash that the CA holder keeps.
    #[must_use]
    pub fn hash(&self) -> Sha256 {
        Sha256::of(&[b"waypost token".as_slice(), &self.0].concat())
    }
}

/// Why a text is not a token. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It does not begin as a token does.
    #[error("this is not a token: a token begins with wp1-; `waypost cluster invite` prints one")]
    NoToken,
    /// It begins as a token of a later version does.
    #[error("this token is from a newer version: use the version of Waypost that printed it")]
    Newer,
    /// The checksum is wrong, or the text was cut.
    #[error(
        "the token was mistyped or cut: copy the whole line that `waypost cluster invite` printed"
    )]
    Mistyped,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [&self.ca.0[..], &self.id.0, &self.secret.0].concat();
        let addresses = self.addresses.iter().take(MAX_ADDRESSES);
        bytes.push(u8::try_from(addresses.len()).unwrap_or(u8::MAX));
        for address in addresses {
            let text = address.as_str().as_bytes();
            bytes.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(text);
        }
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        write!(f, "{PREFIX}{}", BASE32_NOPAD_NOCASE.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        if text.len() > MAX_TEXT_BYTES {
            return Err(TokenError::NoToken);
        }
        let Some(rest) = strip_prefix(text) else { return Err(unknown_prefix(text)) };
        let bytes =
            BASE32_NOPAD_NOCASE.decode(rest.as_bytes()).map_err(|_typo| TokenError::Mistyped)?;
        let (content, sum) =
            bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TokenError::Mistyped)?;
        if *sum != checksum(content) {
            return Err(TokenError::Mistyped);
        }
        read(content).ok_or(TokenError::Mistyped)
    }
}

/// Removes the prefix, in either case.
fn strip_prefix(text: &str) -> Option<&str> {
    let (prefix, rest) = text.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(rest)
}

/// The error of a text with another prefix: a later version, or no token.
fn unknown_prefix(text: &str) -> TokenError {
    let version = text.strip_prefix("wp").and_then(|rest| rest.split_once('-'));
    match version {
        Some((digits, _)) if digits.parse::<u16>().is_ok() => TokenError::Newer,
        _ => TokenError::NoToken,
    }
}

/// The first bytes of the SHA-256 of everything before the checksum.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Sha256::of(bytes).0;
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Reads the fields of a token; none if they do not fill it exactly.
fn read(bytes: &[u8]) -> Option<Token> {
    let (ca, bytes) = bytes.split_first_chunk()?;
    let (id, bytes) = bytes.split_first_chunk()?;
    let (secret, bytes) = bytes.split_first_chunk()?;
    let (count, mut bytes) = bytes.split_first()?;
    if !(1..=MAX_ADDRESSES).contains(&usize::from(*count)) {
        return None;
    }
    let mut addresses = Vec::new();
    for _ in 0..*count {
        let (len, rest) = bytes.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (address, rest) = rest.split_at_checked(len).filter(|_| len <= MAX_ADDRESS_BYTES)?;
        addresses.push(Address::kept(str::from_utf8(address).ok()?).ok()?);
        bytes = rest;
    }
    let (ca, id, secret) = (Sha256(*ca), TokenId(*id), Secret(*secret));
    bytes.is_empty().then_some(Token { ca, id, secret, addresses })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(addresses: &[&str]) -> Token {
        Token {
            ca: Sha256([1; 32]),
            id: TokenId([2; 8]),
            secret: Secret([3; 16]),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_token_survives_copying_in_other_case_and_with_white_space() {
        for addresses in [&["fra.example:8421"][..], &["192.0.2.1:1", "[2001:db8::1]:8421"]] {
            let token = token(addresses);
            let text = token.to_string();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{text}");
            assert_eq!(text.parse(), Ok(token.clone()));
            assert_eq!(text.to_uppercase().parse(), Ok(token.clone()));
            assert_eq!(format!("  {text}\n").parse(), Ok(token));
        }
    }

    #[test]
    fn a_mistyped_or_truncated_token_is_reported_as_such() {
        let text = token(&["fra.example:8421"]).to_string();
        for at in PREFIX.len()..text.len() {
            let other = if &text[at..=at] == "a" { "b" } else { "a" };
            let typo = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(typo.parse::<Token>(), Err(TokenError::Mistyped), "{typo}");
            assert_eq!(text[..at].parse::<Token>(), Err(TokenError::Mistyped), "cut at {at}");
        }
        assert_eq!(format!("{text}aa").parse::<Token>(), Err(TokenError::Mistyped));
        assert_eq!(text.replace('4', "1").parse::<Token>(), Err(TokenError::Mistyped));
    }

    #[test]
    fn a_text_that_is_not_a_token_is_distinguished_from_a_token_of_a_later_version() {
        for text in ["", "wp", "hello", "wp-1", "wé1-x", &"x".repeat(100_000)] {
            assert_eq!(text.parse::<Token>(), Err(TokenError::NoToken), "{text}");
        }
        assert_eq!("wp2-abc".parse::<Token>(), Err(TokenError::Newer));
    }

    #[test]
    fn a_secret_is_not_in_debug_output() {
        let shown = format!("{:?}", token(&["a:1"]));
        assert!(shown.contains("Secret(…)") && !shown.contains("[3, 3"), "{shown}");
    }
}
