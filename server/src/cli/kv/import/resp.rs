//! The protocol of Redis (RESP2), as far as an import needs it. The crate `redis` has clusters, scripts, pools and
//! a dozen of dependencies that are not in the tree; this has one connection.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// The longest string that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// The most elements of an array.
const MAX_ELEMENTS: u64 = 1 << 20;
/// How deep arrays are inside of each other.
const MAX_DEPTH: u32 = 4;
/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A word such as `OK`.
    Word(String),
    /// An error of the command.
    Error(String),
    /// A number.
    Number(i64),
    /// Bytes; none if there is no such key.
    Bytes(Option<Vec<u8>>),
    /// Several replies.
    Array(Vec<Reply>),
}

/// A connection.
pub(super) struct Connection {
    /// The stream.
    stream: BufReader<TcpStream>,
}

/// What is not RESP.
fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the reply is not one of Redis: {what}"))
}

impl Connection {
    /// Connects.
    pub(super) fn open(host: &str, port: u16) -> io::Result<Connection> {
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// Sends several commands, and reads a reply to each.
    ///
    /// All commands are written before the first reply is read. An error of a command is a [`Reply::Error`] at its
    /// place, and the replies after it are still read.
    ///
    /// # Errors
    /// If the connection fails, or a reply is not RESP2 or exceeds a bound.
    pub(super) fn pipeline(&mut self, commands: &[Vec<&[u8]>]) -> io::Result<Vec<Reply>> {
        let mut bytes = Vec::new();
        for command in commands {
            write!(bytes, "*{}\r\n", command.len())?;
            for argument in command {
                write!(bytes, "${}\r\n", argument.len())?;
                bytes.extend_from_slice(argument);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.stream.get_mut().write_all(&bytes)?;
        commands.iter().map(|_| self.reply(0)).collect()
    }

    /// Sends a command that must succeed.
    pub(super) fn call(&mut self, command: &[&[u8]]) -> io::Result<Reply> {
        match self.pipeline(&[command.to_vec()])?.pop() {
            Some(Reply::Error(error)) => Err(io::Error::other(error)),
            reply => reply.ok_or_else(|| malformed("there is none")),
        }
    }

    /// Reads a reply.
    fn reply(&mut self, depth: u32) -> io::Result<Reply> {
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_BYTES).read_until(b'\n', &mut line)?;
        let Some((kind, rest)) = line.strip_suffix(b"\r\n").and_then(<[u8]>::split_first) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let text = String::from_utf8_lossy(rest).into_owned();
        let number = || text.parse::<i64>().map_err(|_not_one| malformed(&text));
        let length = |most| match u64::try_from(number()?) {
            Ok(length) if length > most => Err(malformed("it is too long")),
            length => Ok(length.ok()),
        };
        match kind {
            b'+' => Ok(Reply::Word(text)),
            b'-' => Ok(Reply::Error(text)),
            b':' => Ok(Reply::Number(number()?)),
            b'$' => match length(MAX_BYTES)? {
                None => Ok(Reply::Bytes(None)),
                Some(length) => self.bytes(length),
            },
            b'*' if depth == MAX_DEPTH => Err(malformed("it is nested too deep")),
            b'*' => {
                let length = length(MAX_ELEMENTS)?.unwrap_or_default();
                let replies: io::Result<_> = (0..length).map(|_| self.reply(depth + 1)).collect();
                Ok(Reply::Array(replies?))
            }
            _ => Err(malformed("it has an unknown type")),
        }
    }

    /// Reads bytes of this length.
    fn bytes(&mut self, length: u64) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut bytes)?;
        let mut end = [0; 2];
        self.stream.read_exact(&mut end)?;
        if bytes.len() as u64 != length || &end != b"\r\n" {
            return Err(malformed("bytes have another length"));
        }
        Ok(Reply::Bytes(Some(bytes)))
    }
}
