//! An HTTP/1.1 client that sends raw bytes, including requests that no HTTP library would send.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

/// A client's connection.
pub(crate) struct Peer<S: Read + Write> {
    stream: BufReader<S>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The response head, unchanged.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl<S: Read + Write> Peer<S> {
    pub(crate) fn new(stream: S) -> Peer<S> {
        Peer { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the server accepts the bytes");
    }

    /// Sends bytes to a server that may close the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Sends a request and reads its response.
    pub(crate) fn request(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.send(bytes);
        self.response()
    }

    /// Reads a response that has a Content-Length.
    pub(crate) fn response(&mut self) -> Response {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.stream.read_line(&mut head).expect("the response arrives in time");
            assert_ne!(read, 0, "the connection ended within the head of a response: {head:?}");
        }
        let status = head
            .split(' ')
            .nth(1)
            .expect("the head has a status")
            .parse()
            .expect("the status is a number");
        let mut response = Response { status, head, body: String::new() };
        let length = response.header("content-length").map_or(0, |text| text.parse().expect("one"));
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the body is complete");
        response.body = String::from_utf8(body).expect("the body is UTF-8");
        response
    }

    /// Reads everything until the server closes the connection.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("the server closes the connection");
        String::from_utf8(rest).expect("the data is UTF-8")
    }

    /// Counts the bytes until the connection ends, with or without an error.
    pub(crate) fn count_rest(&mut self) -> usize {
        let mut buffer = [0; 1 << 16];
        let mut count = 0;
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return count,
                Ok(read) => count += read,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                    return count;
                }
            }
        }
    }
}

impl Peer<TcpStream> {
    /// Closes the sending half of the connection.
    pub(crate) fn finish_sending(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Whether no data arrives for a while.
    pub(crate) fn is_silent(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("the timeout is not zero");
        let peeked = stream.peek(&mut [0]);
        stream.set_read_timeout(Some(crate::process::PATIENCE)).expect("the timeout is not zero");
        peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// An HTTP/2 client's connection, and the task that drives it.
pub(crate) async fn http2<B>(address: &str) -> (SendRequest<B>, JoinHandle<hyper::Result<()>>)
where
    B: http_body::Body<Data: Send, Error: Into<waypost::http::BoxError>> + Send + Unpin + 'static,
{
    let stream = tokio::net::TcpStream::connect(address).await.expect("the server listens");
    let io = TokioIo::new(stream);
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), io).await.expect("the server speaks HTTP/2");
    (sender, tokio::spawn(connection))
}
