//! `waypost kv put`.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::Bytes;
use clap::{Args, builder::NonEmptyStringValueParser};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
};
use waypost_client::{Attributes, Expiry, Upload};

use super::{connect::Target, error::KvError};

/// How much is read at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// Put a key with a value. It replaces the value, the metadata and the expiry of a key that exists.
#[derive(Debug, Args)]
pub(super) struct Put {
    /// The title or id of the namespace
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) namespace: String,
    /// The key
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    key: String,
    /// The value, or - for stdin
    #[arg(required_unless_present = "file", allow_negative_numbers = true)]
    value: Option<String>,
    /// A file with the value
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    file: Option<PathBuf>,
    /// For how long the key lives, such as 90s, 1h or 30d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    ttl: Option<u64>,
    /// When the key expires: Unix seconds, or a time such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "ttl")]
    expiration: Option<u64>,
    /// JSON of up to 1024 bytes, which lists show
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
}

/// Reads a time to live, in whole seconds.
fn seconds(text: &str) -> Result<u64, humantime::DurationError> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let time = humantime::parse_duration(text)?;
    Ok(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

/// Reads a moment, in Unix seconds.
fn moment(text: &str) -> Result<u64, humantime::TimestampError> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let time = humantime::parse_rfc3339_weak(text)?;
    Ok(time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

impl Put {
    /// Puts the key.
    pub(super) async fn run(&self, target: &Target) -> Result<(), KvError> {
        let metadata = self.metadata.clone().map(RawValue::from_string).transpose();
        let metadata = metadata.map_err(KvError::Metadata)?;
        let expiry = match (self.ttl, self.expiration) {
            (Some(seconds), _) => Some(Expiry::After(seconds)),
            (None, Some(time)) => Some(Expiry::At(time)),
            (None, None) => None,
        };
        let upload = self.upload()?;
        let put = target.keys.put(&self.key, upload, Attributes { metadata, expiry }).await;
        put.map_err(|error| target.failed(error))
    }

    /// The value.
    fn upload(&self) -> Result<Upload, KvError> {
        if let Some(path) = &self.file {
            let unreadable = |error| KvError::Read { path: path.clone(), error };
            let file = File::open(path).map_err(unreadable)?;
            let about = file.metadata().map_err(unreadable)?;
            if about.is_dir() {
                return Err(unreadable(io::ErrorKind::IsADirectory.into()));
            }
            return Ok(Upload::stream(Threaded::new(file), about.is_file().then_some(about.len())));
        }
        match self.value.as_deref() {
            Some("-") => Ok(Upload::stream(Threaded::new(io::stdin()), None)),
            value => Ok(value.unwrap_or_default().to_owned().into()),
        }
    }
}

/// Reads on a thread of its own, so that the server can refuse the value before it was read.
struct Threaded {
    /// The pieces.
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    /// The rest of the current one.
    piece: Bytes,
}

impl Threaded {
    /// Starts to read.
    fn new(mut reader: impl Read + Send + 'static) -> Threaded {
        let (sender, pieces) = mpsc::channel(2);
        std::thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE_BYTES];
                let read = reader.read(&mut piece).map(|read| {
                    piece.truncate(read);
                    Bytes::from(piece)
                });
                let is_last = !read.as_ref().is_ok_and(|piece| !piece.is_empty());
                if sender.blocking_send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Threaded { pieces, piece: Bytes::new() }
    }
}

impl AsyncRead for Threaded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.piece.is_empty() {
            match ready!(self.pieces.poll_recv(cx)).transpose()? {
                Some(piece) => self.piece = piece,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.piece.len().min(buffer.remaining());
        buffer.put_slice(&self.piece.split_to(length));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_whole_seconds() {
        for (text, expected) in
            [("90", 90), ("90s", 90), ("1h", 3600), ("30d", 2_592_000), ("1500ms", 2)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        assert!(seconds("soon").is_err());
        assert_eq!(moment("1900000000"), Ok(1_900_000_000));
        assert_eq!(moment("2030-03-17T17:46:40Z"), Ok(1_900_000_000));
        assert!(moment("tomorrow").is_err());
    }
}
