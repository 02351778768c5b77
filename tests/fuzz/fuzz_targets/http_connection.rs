//! The bytes of a connection: the server responds to any input or closes the connection, quickly,
//! and without a server error.
#![no_main]

use std::{
    num::NonZeroU32,
    path::PathBuf,
    process,
    sync::{Arc, LazyLock},
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    join,
    net::UnixStream,
    runtime::{Builder, Runtime},
    time::timeout,
};
use waypost::{
    config::Listen,
    connection::{Entrance, Limits, Listener, Server},
};
use waypost_fuzz::server::{app, router};

const LIMIT: Duration = Duration::from_secs(5);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_all().build().expect("the runtime starts")
});

static SOCKET: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("waypost-fuzz-{}.sock", process::id())));

/// Sends the input and closes the sending half. Returns the response.
async fn exchange(input: &[u8]) -> Vec<u8> {
    let app = app();
    let limits = Limits {
        header: LIMIT,
        idle: LIMIT,
        body: LIMIT,
        response: LIMIT,
        connections: NonZeroU32::MIN,
        header_bytes: 8 << 10,
    };
    let server = Arc::new(Server::new(Arc::new(router(&app)), limits));
    let mode = "0600".parse().expect("a mode");
    let listener = Listener::bind(&Listen::Unix(SOCKET.clone()), mode).expect("the path is free");
    let accepting = {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.accept(Entrance::plain(listener)).await })
    };
    let stream = UnixStream::connect(&*SOCKET).await.expect("the server listens");
    let (mut from, mut to) = stream.into_split();
    let mut answer = Vec::new();
    let send = async {
        // The server may have closed the connection already.
        drop(to.write_all(input).await);
        drop(to.shutdown().await);
    };
    let (read, ()) = join!(timeout(3 * LIMIT, from.read_to_end(&mut answer)), send);
    drop(read.expect("the connection ends"));
    app.drain.close();
    timeout(3 * LIMIT, server.ended()).await.expect("the server ends its connection");
    accepting.await.expect("the server did not panic");
    answer
}

fn check(answer: &[u8]) {
    // An HTTP/2 server responds in frames.
    let Some(rest) = answer.strip_prefix(b"HTTP/1.") else { return };
    let line = rest.split(|byte| *byte == b'\r').next().expect("a split has a first part");
    let (version, line) = line.split_at_checked(2).expect("a status line has a version");
    assert!(matches!(version, b"0 " | b"1 "));
    let (status, phrase) = line.split_at_checked(3).expect("a status line has a status");
    let status: u16 = str::from_utf8(status)
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("a status is a number");
    assert!((100..500).contains(&status) || status == 505, "{status}");
    assert!(phrase.iter().all(|byte| (b' '..=b'~').contains(byte)), "{phrase:?}");
}

fuzz_target!(|input: &[u8]| check(&RUNTIME.block_on(exchange(input))));
