//! A value of a bulk put, while it arrives: as text, as base64, or as both until that is known.

use base64::{
    Engine as _,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD_NO_PAD,
    },
};
use kv_core::NewBody;

use super::super::failure::{Failure, code};
use crate::{
    app::App,
    kv::{KvError, upload::Receiver},
};

/// Decodes the end of base64, with its padding or without.
const END: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes base64 piece by piece.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The last characters, which may be the end: at most 4.
    rest: Vec<u8>,
}

/// The text is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBase64;

impl Decoder {
    /// Decodes the next characters, except the last few.
    ///
    /// # Errors
    /// If they are not base64.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, NotBase64> {
        self.rest.extend_from_slice(piece);
        let ready = self.rest.len().saturating_sub(1) / 4 * 4;
        let decoded = STANDARD_NO_PAD.decode(&self.rest[..ready]);
        self.rest.drain(..ready);
        decoded.map_err(|_not_base64| NotBase64)
    }

    /// Decodes the last characters.
    ///
    /// # Errors
    /// If they are not base64.
    pub fn finish(self) -> Result<Vec<u8>, NotBase64> {
        END.decode(&self.rest).map_err(|_not_base64| NotBase64)
    }
}

/// A value that arrives. As long as it is not known whether it is base64, it is received as both: the flag may follow
/// the value, which may have 100 MB.
pub(super) struct Value<'a> {
    /// The location.
    app: &'a App,
    /// The text itself, or why it can't be the value.
    plain: Result<Receiver<'a>, Failure>,
    /// The bytes that it encodes, or why it can't be the value.
    decoded: Result<(Decoder, Receiver<'a>), Failure>,
}

impl<'a> Value<'a> {
    /// An empty value.
    pub(super) fn new(app: &'a App) -> Value<'a> {
        let decoded = (Decoder::default(), Receiver::new(app));
        Value { app, plain: Ok(Receiver::new(app)), decoded: Ok(decoded) }
    }

    /// Takes the next bytes of the text.
    ///
    /// # Errors
    /// If the store does not write. A value that is not valid is an error of [`Value::finish`].
    pub(super) async fn push(&mut self, text: &[u8], base64: Option<bool>) -> Result<(), KvError> {
        if base64 != Some(true)
            && let Ok(receiver) = &mut self.plain
        {
            let pushed = receiver.push(text).await;
            tolerate(pushed, &mut self.plain)?;
        }
        if base64 != Some(false)
            && let Ok((decoder, receiver)) = &mut self.decoded
        {
            match decoder.push(text) {
                Ok(bytes) => {
                    let pushed = receiver.push(&bytes).await;
                    tolerate(pushed, &mut self.decoded)?;
                }
                Err(NotBase64) => self.decoded = Err(not_base64()),
            }
        }
        Ok(())
    }

    /// The value, ready to be put; or why it is not valid.
    ///
    /// # Errors
    /// If the store does not write.
    pub(super) async fn finish(
        &mut self,
        base64: bool,
    ) -> Result<Result<NewBody, Failure>, KvError> {
        let Value { plain, decoded, .. } = std::mem::replace(self, Value::new(self.app));
        if !base64 {
            return match plain {
                Ok(receiver) => receiver.finish().await.map(Ok),
                Err(failure) => Ok(Err(failure)),
            };
        }
        let (decoder, mut receiver) = match decoded {
            Ok(decoded) => decoded,
            Err(failure) => return Ok(Err(failure)),
        };
        let Ok(bytes) = decoder.finish() else { return Ok(Err(not_base64())) };
        match receiver.push(&bytes).await {
            Ok(()) => receiver.finish().await.map(Ok),
            Err(KvError::Invalid(invalid)) => Ok(Err(invalid.into())),
            Err(error) => Err(error),
        }
    }
}

/// Records that a value is too long, and passes other errors on.
fn tolerate<T>(pushed: Result<(), KvError>, value: &mut Result<T, Failure>) -> Result<(), KvError> {
    match pushed {
        Err(KvError::Invalid(invalid)) => *value = Err(invalid.into()),
        other => other?,
    }
    Ok(())
}

/// The failure of a value that should be base64.
fn not_base64() -> Failure {
    Failure::invalid(code::BODY, "The value is not base64.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &[u8], size: usize) -> Result<Vec<u8>, NotBase64> {
        let (mut decoder, mut bytes) = (Decoder::default(), vec![]);
        for piece in text.chunks(size) {
            bytes.extend(decoder.push(piece)?);
        }
        bytes.extend(decoder.finish()?);
        Ok(bytes)
    }

    #[test]
    fn base64_is_the_same_wherever_it_is_cut() {
        for (text, expected) in [
            (&b""[..], Ok(&b""[..])),
            (b"AAEC/w==", Ok(&[0, 1, 2, 255][..])),
            (b"AAEC/w", Ok(&[0, 1, 2, 255])),
            (b"AAEC", Ok(&[0, 1, 2])),
            (b"AAE=", Ok(&[0, 1])),
            (b"AA==AAEC", Err(NotBase64)),
            (b"AAECA", Err(NotBase64)),
            (b"AAE-", Err(NotBase64)),
            (b"AA EC", Err(NotBase64)),
        ] {
            for size in 1..=9 {
                assert_eq!(decode(text, size).as_deref(), expected.as_deref(), "{text:?} {size}");
            }
        }
    }
}
