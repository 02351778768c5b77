//! Import from Redis, played by a server with a few of its commands.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use super::{failed, kv, printed, start};
use crate::process::waypost;

/// A value, and for how long it lives in milliseconds.
type Strings = BTreeMap<Vec<u8>, (Vec<u8>, i64)>;

/// Serves some strings, the list `list`, and nothing without the password `secret`. Returns its address.
fn redis(strings: Strings) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let strings = Arc::new(strings);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let strings = Arc::clone(&strings);
            thread::spawn(move || serve(stream.expect("a connection"), &strings));
        }
    });
    address
}

/// Reads a line that ends with CR and LF, and the number in it.
fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    line.trim_end().get(1..)?.parse().ok()
}

fn serve(stream: TcpStream, strings: &Strings) {
    let mut stream = BufReader::new(stream);
    let mut is_known = false;
    while let Some(length) = number(&mut stream) {
        let command: Vec<Vec<u8>> = (0..length)
            .map(|_| {
                let mut bytes = vec![0; number(&mut stream).expect("a length") + 2];
                stream.read_exact(&mut bytes).expect("an argument");
                bytes.truncate(bytes.len() - 2);
                bytes
            })
            .collect();
        is_known |= command == [b"AUTH".to_vec(), b"secret".to_vec()];
        let reply =
            if is_known { reply(&command, strings) } else { b"-NOAUTH log in\r\n".to_vec() };
        stream.get_mut().write_all(&reply).expect("the reply is read");
    }
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn reply(command: &[Vec<u8>], strings: &Strings) -> Vec<u8> {
    let found = command.get(1).and_then(|key| strings.get(key));
    let is_list = command.get(1).is_some_and(|key| key == b"list");
    match &command[0][..] {
        b"AUTH" | b"SELECT" => b"+OK\r\n".to_vec(),
        b"INFO" => bulk(b"# Server\r\nrun_id:abc\r\n"),
        b"SCAN" => {
            // A third at a time: the cursor is the number of the next key.
            let from: usize = String::from_utf8_lossy(&command[1]).parse().expect("a cursor");
            let keys: Vec<&[u8]> =
                strings.keys().map(|key| &key[..]).chain([&b"list"[..]]).collect();
            let to = (from + keys.len() / 3 + 1).min(keys.len());
            let next = if to == keys.len() { 0 } else { to };
            let page: Vec<u8> = keys[from..to].iter().flat_map(|key| bulk(key)).collect();
            let head = format!(
                "*2\r\n{}*{}\r\n",
                String::from_utf8_lossy(&bulk(next.to_string().as_bytes())),
                to - from
            );
            [head.as_bytes(), &page].concat()
        }
        b"STRLEN" if is_list => b"-WRONGTYPE not a string\r\n".to_vec(),
        b"STRLEN" => format!(":{}\r\n", found.map_or(0, |(value, _)| value.len())).into_bytes(),
        b"PTTL" => format!(":{}\r\n", found.map_or(-1, |(_, ttl)| *ttl)).into_bytes(),
        b"GET" => found.map_or(b"$-1\r\n".to_vec(), |(value, _)| bulk(value)),
        other => panic!("unexpected command {}", String::from_utf8_lossy(other)),
    }
}

#[test]
fn the_strings_of_redis_are_imported_with_their_expiries() {
    let mut strings = Strings::new();
    for number in 0..700 {
        strings.insert(format!("k{number:03}").into_bytes(), (vec![b'v'; number], -1));
    }
    strings.insert(b"bytes".to_vec(), (b"\xff\r\n\0".to_vec(), -1));
    strings.insert(b"soon".to_vec(), (b"x".to_vec(), 5_000));
    strings.insert(b"gone".to_vec(), (b"x".to_vec(), -2));
    strings.insert(b"session".to_vec(), (b"y".to_vec(), 3_600_000));
    let address = redis(strings.clone());
    let server = start();
    let url = format!("redis://:secret@{address}/3");
    let expected = "imported 702 entries; left out 1 that have expired or expire too soon; left out 1 keys that are not \
                    strings\n";
    assert_eq!(printed(kv(&server, &["import", "n", "--from", &url])), expected);
    assert_eq!(kv(&server, &["get", "n", "bytes"]).stdout, b"\xff\r\n\0");
    assert_eq!(printed(kv(&server, &["get", "n", "k050"])), "v".repeat(50));
    assert!(printed(kv(&server, &["get", "n", "session", "--json"])).contains("expiration"));
    assert_eq!(kv(&server, &["get", "n", "soon"]).status.code(), Some(3));

    strings.insert(b"\xff".to_vec(), (b"x".to_vec(), -1));
    strings.insert(vec![b'x'; 513], (b"x".to_vec(), -1));
    let url = format!("redis://{}/3", redis(strings));
    let mut command = waypost(["kv", "import", "n", "--server", &server.url(), "--from", &url]);
    let output = command.env("REDISCLI_AUTH", "secret").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("2 entries were not imported"), "{error}");

    let (_, error) = failed(kv(&server, &["import", "n", "--from", &url]));
    assert!(error.contains("NOAUTH"), "{error}");
    for (url, code, expected) in [
        ("redis://127.0.0.1:1", 1, "can't reach redis://127.0.0.1:1/0"),
        ("redis://", 2, "write redis://HOST:PORT/DATABASE"),
        ("rediss://localhost", 2, "through a tunnel"),
    ] {
        let (got, error) = failed(kv(&server, &["import", "n", "--from", url]));
        assert!(got == code && error.contains(expected), "{url}: {got} {error}");
    }
}
