//! The request of a joining member and the response to it: JSON of at most 64 KiB.

use data_encoding::BASE64;
use kv_core::MemberId;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{program::Program, protocol::MAX_MESSAGE_BYTES};
use crate::cluster::state::{
    descriptor::Peer,
    names::{Address, ClusterId, Name, TokenId, text},
    token::Secret,
};

/// The request of a joining member. Unknown fields are ignored, because a later version may add some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// The token's id.
    pub token: TokenId,
    /// The token's secret.
    pub secret: Secret,
    /// The id that the joining member generated for itself.
    #[serde(with = "text")]
    pub member: MemberId,
    /// Its name; none if the token has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Name>,
    /// Its addresses, the best first; 1 to 8.
    pub addresses: Vec<Address>,
    /// A certificate signing request (PKCS #10), signed with its key.
    pub csr: Der,
    /// The certificate of a member that requests a renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<Der>,
    /// Its program; none if that is so old that it does not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<Program>,
}

/// The request of a member for another certificate. It needs no token: the member proves the certificate that it
/// has, and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RenewalRequest {
    /// The member.
    #[serde(with = "text")]
    pub member: MemberId,
    /// A certificate signing request (PKCS #10), signed with the member's key.
    pub csr: Der,
    /// The member's certificate for this key, expired or not.
    pub renews: Der,
}

/// The response to a member that has proved its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Renewed {
    /// The id of the CA holder.
    #[serde(with = "text")]
    pub member: MemberId,
    /// The name of the CA holder.
    pub location: Name,
    /// The member's next certificate. It also proves that the sender has the CA's key.
    pub certificate: Issued,
}

/// A certificate and the CA that issued it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Issued {
    /// The certificate.
    pub own: Der,
    /// The certificate of the CA that issued it.
    pub ca: Der,
    /// Certificates by which former CAs vouch for that CA.
    pub vouchers: Vec<Der>,
}

/// What an unauthenticated peer requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// To become a member.
    Join(Box<Request>),
    /// Another certificate for a member.
    Renew(RenewalRequest),
}

/// The JSON around a [`RenewalRequest`]. A [`Request`] has no such field.
#[derive(Serialize, Deserialize)]
struct RenewalEnvelope {
    renewal: Option<RenewalRequest>,
}

/// The response to a joining member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// The location is a member.
    Welcome(Box<Welcome>),
    /// The location is not a member; a sentence with the reason.
    Refused(String),
    /// The member has proved its certificate, and gets another one.
    Renewed(Box<Renewed>),
}

/// The response to an admitted location: everything that it needs to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Welcome {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// The cluster's name.
    pub cluster_name: Name,
    /// The new member's name.
    pub location: Name,
    /// The certificate of the cluster's CA.
    pub ca: Der,
    /// The new member's certificate.
    pub certificate: Der,
    /// Certificates by which former CAs vouch for the CA.
    #[serde(default)]
    pub vouchers: Vec<Der>,
    /// The certificates of former CAs, which some locations still have a certificate of.
    #[serde(default)]
    pub former_cas: Vec<Der>,
    /// Members that it can dial, the CA holder first.
    pub members: Vec<Peer>,
}

/// A DER document; base64 in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Der(pub Vec<u8>);

impl Der {
    /// Returns it as a certificate, without checking that it is one.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.0.clone())
    }
}

impl From<&CertificateDer<'_>> for Der {
    fn from(certificate: &CertificateDer<'_>) -> Der {
        Der(certificate.to_vec())
    }
}

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map(Der).map_err(D::Error::custom)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Der(bytes) = Der::deserialize(deserializer)?;
        let wrong = |_length| D::Error::custom("a secret has 16 bytes");
        bytes.try_into().map(Secret).map_err(wrong)
    }
}

/// Bytes are not a message of the protocol.
#[derive(Debug, thiserror::Error)]
#[error("this is not a message of waypost-join/1: {0}")]
pub struct DecodeError(String);

/// Encodes a message.
#[must_use]
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("the messages have text keys and no writer that fails")
}

/// Encodes the request of a member for another certificate.
#[must_use]
pub fn encode_renewal(request: RenewalRequest) -> Vec<u8> {
    encode(&RenewalEnvelope { renewal: Some(request) })
}

/// Decodes a request for membership or for another certificate.
///
/// # Errors
/// If the bytes are neither.
pub fn decode_inquiry(bytes: &[u8]) -> Result<Inquiry, DecodeError> {
    match decode::<RenewalEnvelope>(bytes)?.renewal {
        Some(request) => Ok(Inquiry::Renew(request)),
        None => decode_request(bytes).map(Box::new).map(Inquiry::Join),
    }
}

/// Decodes a request.
///
/// # Errors
/// If the bytes are not a request.
pub fn decode_request(bytes: &[u8]) -> Result<Request, DecodeError> {
    decode(bytes)
}

/// Decodes a response.
///
/// # Errors
/// If the bytes are not a response.
pub fn decode_response(bytes: &[u8]) -> Result<Response, DecodeError> {
    decode(bytes)
}

/// Decodes JSON. Unknown fields are ignored, so that later versions can add some.
fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError(format!("it has more than {MAX_MESSAGE_BYTES} bytes")));
    }
    // The position only, never the content: a message may contain a secret.
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "it is JSON of another shape",
            _ => "it is not JSON",
        };
        DecodeError(format!("{what} (line {}, column {})", error.line(), error.column()))
    })
}
