//! A client that writes until its server is gone.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use waypost_tests::{
    Address,
    http::{Connection, Response, head},
    random::Random,
    wait::unix_seconds,
};

use super::{
    NAMESPACE,
    ledger::{Ledger, Written},
};

/// Puts and deletes keys of its own, one after the other.
pub(super) struct Writer<'a> {
    random: Random,
    ledger: &'a mut Ledger,
    address: &'a Address,
}

impl<'a> Writer<'a> {
    pub(super) fn new(random: Random, ledger: &'a mut Ledger, address: &'a Address) -> Writer<'a> {
        Writer { random, ledger, address }
    }

    /// Writes until the server is gone or `stop` is set. Returns the number of acknowledged writes.
    pub(super) fn run(mut self, stop: &AtomicBool) -> u64 {
        let mut acknowledged = 0;
        let mut connection = None;
        while !stop.load(Ordering::Relaxed) {
            let key = Ledger::pick(self.random.next());
            let write = self.random.percent(75).then(|| self.choose());
            // A stopping server may close the connection between two requests; that is not a
            // failure.
            let Ok(open) = connection.take().map_or_else(|| Connection::to(self.address), Ok)
            else {
                break;
            };
            self.ledger.begins(key, write.clone());
            let answer = self.send(open, key, write.as_ref());
            let Ok((answer, open)) = answer else { break };
            assert_eq!(answer.status, 200, "{answer:?}");
            self.ledger.succeeds(key);
            acknowledged += 1;
            if answer.header("connection") != Some("close") {
                connection = Some(open);
            }
            if self.random.percent(10) && self.read_back(connection.as_mut(), key).is_err() {
                break;
            }
        }
        acknowledged
    }

    /// A random value. Most are small, some are large, and some are near the length from which
    /// values are stored as bodies.
    fn choose(&mut self) -> Written {
        let length = match self.random.between(0, 100) {
            0..40 => self.random.between(0, 300),
            40..65 => self.random.between(3_300, 4_400),
            65..85 => self.random.between(60_000, 70_000),
            85..95 => self.random.between(100_000, 600_000),
            _ => self.random.between(1_000_000, 3_000_000),
        };
        let stamp = self.ledger.stamp();
        let metadata = self.random.percent(50).then(|| {
            let long = "m".repeat(usize::try_from(self.random.between(0, 900)).expect("fits"));
            format!(r#"{{"stamp":{stamp},"long":"{long}"}}"#)
        });
        let expires_at =
            self.random.percent(30).then(|| unix_seconds() + self.random.between(1_000, 9_000));
        let length = usize::try_from(length).expect("a value's length fits");
        Written { stamp, length, metadata, expires_at }
    }

    fn target(&self, key: u64) -> String {
        format!("/binding/{NAMESPACE}/{}", self.ledger.name(key))
    }

    /// Sends a write, with the body in pieces so that the server can die between two of them.
    fn send(
        &mut self,
        mut connection: Connection,
        key: u64,
        write: Option<&Written>,
    ) -> io::Result<(Response, Connection)> {
        let target = self.target(key);
        let Some(write) = write else {
            let answer = connection.request("DELETE", &target, &[], b"")?;
            return Ok((answer, connection));
        };
        let body = write.bytes();
        let is_chunked = self.random.percent(30);
        let length = body.len().to_string();
        let expiration = write.expires_at.map(|at| format!("?expiration={at}")).unwrap_or_default();
        let mut headers = vec![if is_chunked {
            ("Transfer-Encoding", "chunked")
        } else {
            ("Content-Length", &length[..])
        }];
        headers.extend(write.metadata.as_deref().map(|metadata| ("CF-KV-Metadata", metadata)));
        connection.send(head("PUT", &(target + &expiration), &headers).as_bytes())?;
        let piece = usize::try_from(self.random.between(10_000, 200_000)).expect("fits");
        for part in body.chunks(piece) {
            if is_chunked {
                connection.send_chunk(part)?;
            } else {
                connection.send(part)?;
            }
        }
        if is_chunked {
            connection.send_chunk(b"")?;
        }
        let answer = connection.response_to("PUT")?;
        Ok((answer, connection))
    }

    /// Checks that an acknowledged write is immediately visible.
    fn read_back(&self, connection: Option<&mut Connection>, key: u64) -> io::Result<()> {
        let Some(connection) = connection else { return Ok(()) };
        let answer = connection.get(&self.target(key))?;
        match self.ledger.holds(key) {
            None => assert_eq!(answer.status, 404, "{answer:?}"),
            Some(written) => {
                assert_eq!(answer.status, 200, "{answer:?}");
                assert!(
                    answer.body == written.bytes(),
                    "the server returns another value than the one just written"
                );
            }
        }
        Ok(())
    }
}
