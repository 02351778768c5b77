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
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Address {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Address, TextError> {
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
        let is_plain = !text.contains(is_hidden) && text.trim() == text;
        if (1..=MAX_MEMBER_NAME_BYTES).contains(&text.len()) && is_plain {
            return Ok(Name(text.to_owned()));
        }
        Err(TextError(format!(
            "{text:?} is not a name: write 1 to {MAX_MEMBER_NAME_BYTES} bytes without control \
             characters, invisible characters, and spaces at the ends"
        )))
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

/// Implements serde's traits for types that are written as their text.
macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

serde_as_text!(ClusterId, TokenId, Sha256, Address, Name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port_that_others_can_dial() {
        for text in [
            "fra.example:8421",
            "fra.example.:8421",
            "192.0.2.1:1",
            "[2001:db8::1]:65535",
            "[::1]:1",
            "127.0.0.1:1",
            "a_b-c:9",
            "1a:9",
            "4.example:9",
        ] {
            assert_eq!(text.parse::<Address>().expect(text).as_str(), text);
        }
        let long = format!("{}:8421", "x".repeat(270));
        for text in ["", "a", ":1", "a:", "a:0", "a:65536", "::1:5", "a b:1", "udp://a:1", &long] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for unreachable in [
            "0.0.0.0",
            "0.1.2.3",
            "[::]",
            "[::ffff:0.0.0.0]",
            "224.0.0.1",
            "255.255.255.255",
            "[ff02::1]",
            "[fe80::1]",
            "[fe80::1%eth0]",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1",
            "0x7f.1",
            "a.0x1",
            "01.2.3.4",
            "[1.2.3.4]",
            "a..b",
            ".a",
            "-a",
            "a-",
            "[2001:db8::1",
            "2001:db8::1]",
            "[]",
            "*",
            "a.b..",
            "user@a",
        ] {
            assert!(format!("{unreachable}:8421").parse::<Address>().is_err(), "{unreachable}");
        }
    }

    #[test]
    fn a_location_listens_on_the_family_of_each_address_that_it_advertises() {
        let check = |address: &str, listen: &str| {
            let addresses = ["fra.example:1".parse().unwrap(), address.parse().unwrap()];
            check_families(&addresses, listen.parse().unwrap()).is_ok()
        };
        let (v4, v6) = ("192.0.2.1:8421", "[2001:db8::1]:8421");
        for (address, listen, is_right) in [
            (v4, "[::]:8421", true),
            (v6, "[::]:8421", true),
            (v4, "0.0.0.0:8421", true),
            (v6, "0.0.0.0:8421", false),
            (v6, "10.0.0.1:8421", false),
            (v4, "[2001:db8::5]:8421", false),
            (v6, "[2001:db8::5]:8421", true),
            ("name.example:1", "0.0.0.0:8421", true),
        ] {
            assert_eq!(check(address, listen), is_right, "{address} {listen}");
        }
        let error = check_families(&[v6.parse().unwrap()], "0.0.0.0:8421".parse().unwrap());
        let text = error.unwrap_err().to_string();
        assert!(text.contains(v6) && text.contains("[::]:8421"), "{text}");
    }

    #[test]
    fn a_location_is_reached_where_it_listens_if_others_can_dial_that() {
        let at = |text: &str| advertised(text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(at("192.0.2.1:8421").as_deref(), Some("192.0.2.1:8421"));
        assert_eq!(at("[::1]:8421").as_deref(), Some("[::1]:8421"));
        assert_eq!(at("127.0.0.1:0"), None);
        assert_eq!(at("0.0.0.0:0"), None);
    }

    #[test]
    fn a_name_is_short_and_visible() {
        assert!("Frankfurt am Main".parse::<Name>().is_ok());
        assert!("K\u{f6}ln \u{4e2d}".parse::<Name>().is_ok());
        let long = "x".repeat(129);
        for text in
            ["", "a\nb", " a", "a ", "\u{a0}a", "a\u{200b}", "a\u{202e}b", "\u{feff}a", &long]
        {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_read_back_from_their_digits() {
        let id = ClusterId(std::array::from_fn(|i| u8::try_from(i * 15).unwrap()));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("12".parse::<ClusterId>().is_err());
    }
}
