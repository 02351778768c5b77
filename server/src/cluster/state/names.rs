//! Ids, addresses and names, as texts.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use data_encoding::HEXLOWER_PERMISSIVE;
use kv_core::{
    limits::{MAX_ADDRESS_BYTES, MAX_MEMBER_NAME_BYTES},
    visible::is_invisible,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A text is not of its type. The message describes the valid form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TextError(pub String);

/// Defines a newtype of bytes that is written as lower-case hexadecimal digits.
macro_rules! hexadecimal {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<$name, TextError> {
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
                bytes.and_then(|bytes| bytes.try_into().ok()).map($name).ok_or_else(|| {
                    TextError(format!("{} has {} hexadecimal digits", $what, 2 * $bytes))
                })
            }
        }
    };
}

hexadecimal!(
    /// The id of a cluster: 128 random bits.
    ClusterId, 16, "the id of a cluster"
);
hexadecimal!(
    /// The id of a token: 64 random bits. It is not secret.
    TokenId, 8, "the id of a token"
);
hexadecimal!(
    /// A SHA-256 digest.
    Sha256, 32, "a SHA-256"
);

impl Sha256 {
    /// Hashes bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Sha256 {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        Sha256(digest.as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }
}

/// A UDP address of a location, for other locations: `host:port`, `192.0.2.1:8421` or `[2001:db8::1]:8421`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads an address that a location has had for long, maybe since a program with fewer rules.
    ///
    /// # Errors
    /// If it has no host or no port.
    pub(crate) fn kept(text: &str) -> Result<Address, TextError> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_host = |host: &str| match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(is_good),
        };
        Address::with(text, is_host)
    }

    /// Whether others can dial it. One that was kept may be of the machine itself only.
    #[must_use]
    pub(crate) fn is_dialable(&self) -> bool {
        self.0.parse::<Address>().is_ok()
    }

    /// Reads an address whose host this accepts.
    fn with(text: &str, is_host: impl FnOnce(&str) -> bool) -> Result<Address, TextError> {
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
        match text.rsplit_once(':') {
            Some((host, port))
                if is_host(host) && is_port(port) && text.len() <= MAX_ADDRESS_BYTES =>
            {
                Ok(Address(text.to_owned()))
            }
            _ => Err(TextError(format!(
                "{text:?} is not an address that other locations can dial: write HOST:PORT, for example \
                 fra.example.com:8421 or [2001:db8::1]:8421"
            ))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Address {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Address, TextError> {
        Address::with(text, is_host)
    }
}

/// Whether others can dial this host: a name, or the address of one machine.
fn is_host(host: &str) -> bool {
    if let Some(ip) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return ip.parse::<Ipv6Addr>().is_ok_and(|ip| is_reachable(ip.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or(name);
    // What ends in a number is an IPv4 address or nothing, also where the system would read it as another one.
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    if is_number {
        return host.parse::<Ipv4Addr>().is_ok_and(|ip| is_reachable(ip.into()));
    }
    let is_label = |label: &str| {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let ends = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && !ends && label.bytes().all(is_good)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Whether an address is one of a machine that others can reach by it.
fn is_reachable(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        // All of 0.0.0.0/8 means this network.
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast() && ip.octets()[0] != 0,
        // A link-local one has no meaning without the name of an interface, which only one machine knows.
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unspecified() && !ip.is_unicast_link_local(),
    }
}

/// An advertised address is of a family on which the location does not listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "other locations can't reach this one at {address}, because it listens on {listen} only: set --cluster-listen to an \
     address of the same family, or to [::]:{port} for all addresses of a machine with both; or advertise another address",
    port = listen.port()
)]
pub struct FamilyError {
    /// The address.
    address: Address,
    /// Where the location listens.
    listen: SocketAddr,
}

/// Checks that a location that listens there receives what is sent to the addresses, as far as their families tell. A
/// name may resolve to either.
///
/// # Errors
/// The first address of another family.
pub fn check_families(addresses: &[Address], listen: SocketAddr) -> Result<(), FamilyError> {
    if listen.ip() == Ipv6Addr::UNSPECIFIED {
        return Ok(());
    }
    let is_other = |address: &&Address| {
        let number = address.0.parse::<SocketAddr>().ok();
        number.is_some_and(|number| number.ip().to_canonical().is_ipv4() != listen.is_ipv4())
    };
    match addresses.iter().find(is_other) {
        Some(address) => Err(FamilyError { address: address.clone(), listen }),
        None => Ok(()),
    }
}

/// The name of a cluster or a location: 1 to 128 bytes, no control and no invisible characters, no space at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a name that a location has had for long, maybe since a program with fewer rules.
    ///
    /// # Errors
    /// If it is empty or too long, or has control characters.
    pub(crate) fn kept(text: &str) -> Result<Name, TextError> {
        Name::with(text, |text| !text.contains(char::is_control))
    }

    /// Reads a name whose characters this accepts.
    fn with(text: &str, is_plain: impl FnOnce(&str) -> bool) -> Result<Name, TextError> {
        if (1..=MAX_MEMBER_NAME_BYTES).contains(&text.len()) && is_plain(text) {
            return Ok(Name(text.to_owned()));
        }
        Err(TextError(format!(
            "{text:?} is not a name: write 1 to {MAX_MEMBER_NAME_BYTES} bytes without control \
             characters, invisible characters, and spaces at the ends"
        )))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Name, TextError> {
        let is_hidden = |letter: char| letter.is_control() || is_invisible(letter);
        Name::with(text, |text| !text.contains(is_hidden) && text.trim() == text)
    }
}

/// Parses the UDP address that a location listens on.
///
/// # Errors
/// If it is not an IP address with a port.
pub fn listen_on(text: &str) -> Result<SocketAddr, TextError> {
    text.parse().map_err(|_no_address| {
        TextError(format!(
            "{text:?} is not an address to listen on: write IP:PORT, for example 0.0.0.0:8421 or [::]:8421"
        ))
    })
}

/// Returns the name of this machine, which is the default name of its location.
#[must_use]
pub fn machine_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// Returns the default address at which others reach a location that listens there: that address, or
/// the name of this machine if it listens on all addresses; none if others can't dial either.
#[must_use]
pub fn advertised(listen: SocketAddr) -> Option<Address> {
    if listen.ip().is_unspecified() {
        return format!("{}:{}", machine_name(), listen.port()).parse().ok();
    }
    listen.to_string().parse().ok()
}

/// For `#[serde(with = "text")]`: a value that is written and read as a text.
pub(crate) mod text {
    use super::{Deserialize as _, Deserializer, FromStr, Serializer, fmt};

    /// Writes a value as its text.
    pub(crate) fn serialize<T: fmt::Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Implements serde's traits for types that are written as their text and read with the function.
macro_rules! serde_as_text {
    ($($name:ident: $read:path),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $read(&String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    )*};
}

// Files and members may have names and addresses that a former program accepted: this one goes on with them.
serde_as_text!(
    ClusterId: ClusterId::from_str,
    TokenId: TokenId::from_str,
    Sha256: Sha256::from_str,
    Address: Address::kept,
    Name: Name::kept
);

#[cfg(test)]
mod tests;
