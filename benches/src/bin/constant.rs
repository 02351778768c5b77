//! The upper bound for `http`: an axum server that answers any GET with a constant body. It has the
//! build profile, allocator and runtime of the `waypost` binary.

use std::{env, net::SocketAddr};

use axum::{Router, serve::ListenerExt as _};
use bytes::Bytes;
use tokio::net::TcpListener;
use waypost::threads;
use waypost_benches::{Failure, data};

fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(len)) = (arguments.next(), arguments.next()) else {
        return Err("say ADDRESS BYTES".into());
    };
    let address: SocketAddr = address.parse()?;
    let body = Bytes::from(data::value(0, len.parse()?));
    let routes = Router::new().fallback(async move || body.clone());
    let runtime = threads::runtime(threads::default())?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                eprintln!("a connection without TCP_NODELAY: {error}");
            }
        });
        Ok(axum::serve(listener, routes).await?)
    })
}
