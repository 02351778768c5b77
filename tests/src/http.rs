//! A small HTTP/1.1 client: one connection, one request after the other. It sends invalid requests
//! as well as valid ones.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use crate::Address;

/// The time after which a test fails because a response does not arrive.
const PATIENCE: Duration = Duration::from_secs(120);

/// A TCP or unix stream.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Stream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If the server does not accept the connection.
    pub fn to(address: &Address) -> io::Result<Connection> {
        let stream = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Stream::Unix(stream)
            }
        };
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// Sets the time to wait for each part of a response.
    ///
    /// # Errors
    /// If the system rejects the time.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(patience)),
        }
    }

    /// Sends a GET without extra headers and reads the response.
    ///
    /// # Errors
    /// If the connection breaks, or the response is not HTTP.
    pub fn get(&mut self, target: &str) -> io::Result<Response> {
        self.request("GET", target, &[], b"")
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// If the connection breaks, or the response is not HTTP.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        if !body.is_empty() || matches!(method, "PUT" | "POST" | "PATCH" | "DELETE") {
            all.push(("Content-Length", &length));
        }
        self.send(head(method, target, &all).as_bytes())?;
        self.send(body)?;
        self.response_to(method)
    }

    /// Sends bytes unchanged.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends one chunk of a chunked body. An empty chunk ends the body.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        self.send(bytes)?;
        self.send(b"\r\n")
    }

    /// Closes the sending half of the connection.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn finish_sending(&self) -> io::Result<()> {
        match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Reads the response to a request of this method, and skips interim responses (1xx).
    ///
    /// # Errors
    /// If the connection ends first (`UnexpectedEof`), or the response is not HTTP.
    pub fn response_to(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let mut response = self.read_head()?;
            if !(100..200).contains(&response.status) {
                response.body = self.body(method, &response)?;
                return Ok(response);
            }
        }
    }

    /// Reads everything until the server closes the connection.
    ///
    /// # Errors
    /// If the connection breaks, or stays open.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Reads the head of a response, whose body is empty in the result.
    ///
    /// # Errors
    /// If the connection breaks, or the response is not HTTP.
    pub fn read_head(&mut self) -> io::Result<Response> {
        let line = self.line()?;
        let invalid =
            || io::Error::new(io::ErrorKind::InvalidData, format!("not a status line: {line:?}"));
        let rest = line.strip_prefix("HTTP/1.1 ").ok_or_else(invalid)?;
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let status = status.parse().map_err(|_not_a_number| invalid())?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Response { status, reason: reason.to_owned(), headers, body: Vec::new() })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn body(&mut self, method: &str, response: &Response) -> io::Result<Vec<u8>> {
        if method == "HEAD" || matches!(response.status, 204 | 304) {
            return Ok(Vec::new());
        }
        if response.header("transfer-encoding") == Some("chunked") {
            return self.chunks();
        }
        match response.header("content-length").map(str::parse) {
            Some(Ok(length)) => self.exactly(length),
            Some(Err(_)) => Err(io::Error::other("Content-Length is not a number")),
            None => self.rest(),
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            body.extend(self.exactly(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads bytes until the buffer is full.
    ///
    /// # Errors
    /// If the connection ends first (`UnexpectedEof`), or breaks.
    pub fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(buffer)
    }
}

/// The head of a request, including the empty line that ends it.
#[must_use]
pub fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: fake-host\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("writing to a string can't fail");
    }
    head + "\r\n"
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// Its reason phrase.
    pub reason: String,
    /// Its headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name. The name must be in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &value[..])
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
