//! A GET of the binding API compared with an axum server with a constant body, driven by `wrk`.

use std::{fmt::Write as _, fs, path::PathBuf};

use clap::Parser;
use kv_core::Store;
use waypost_benches::{
    Failure, Scratch, data, fill, read_through,
    rounds::{CPU, RATE, Side, Target, alternate},
    server::Server,
    wrk::Load,
};

/// A GET of the binding API compared with an axum server with a constant body. Needs wrk.
#[derive(Parser)]
struct Arguments {
    /// Number of keys in the store.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Length of the values in bytes.
    #[arg(long, default_value_t = 1024)]
    value: usize,
    /// Connections of wrk.
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Rounds of each side.
    #[arg(long, default_value_t = 7)]
    rounds: u64,
    /// Seconds of a round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// More arguments for `waypost serve`, such as `--cache=256MiB`.
    #[arg(long, allow_hyphen_values = true)]
    serve: Vec<String>,
    /// Directory for the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let Arguments { keys, value, rounds, .. } = arguments;
    let scratch = Scratch::new(arguments.dir.clone())?;
    let data = scratch.join("data");
    let store = Store::open(&data)?;
    let namespace = store.create_namespace("bench")?.id;
    fill::put_all(&store, namespace, keys, value)?;
    store.close()?;
    drop(store);
    let uniform = scratch.join("uniform.lua");
    fs::write(&uniform, uniform_script(keys)?)?;

    let more: Vec<&str> = arguments.serve.iter().map(String::as_str).collect();
    let waypost = Server::waypost(&data, &more)?;
    let constant = Server::constant(value)?;
    let load = Load { connections: arguments.connections, seconds: arguments.seconds };
    let wrk = |server: &Server, extra: &[&str]| {
        let prefix = if extra.first() == Some(&"-H") { "" } else { "/binding/bench" };
        load.run(server, &format!("{prefix}{}", path(0)?), extra)
    };
    let script = uniform.to_str().ok_or("a path that is not UTF-8")?;
    let by_header = ["-H", "Waypost-Namespace: bench"];
    // Both servers get the same requests, because the client's load affects the cost of a request.
    for (name, extra, target) in [
        ("one key", &[][..], Target::AtMost(1.3)),
        ("one key, namespace in a header", &by_header, Target::Report),
        ("uniform over all keys", &["-s", script], Target::AtMost(1.45)),
    ] {
        let sides = vec![
            Side::new("waypost", |_| {
                read_through(&data.join("waypost.redb"))?;
                wrk(&waypost, extra)
            }),
            Side::new("axum, constant body", |_| wrk(&constant, extra)),
        ];
        let title = format!("GET, {value} B, {} connections: {name}", arguments.connections);
        let rounds = alternate(rounds, sides)?;
        rounds.print(&format!("{title}; CPU of the server"), &[CPU, RATE]);
        rounds.compare(0, 1, CPU, target);
        rounds.compare(0, 1, RATE, Target::Report);
    }
    Ok(())
}

fn path(n: u64) -> Result<String, Failure> {
    // In the form that runtimes use.
    Ok(format!("/{}?urlencoded=true", str::from_utf8(&data::key(n))?))
}

/// Prepares all requests before the first one, so that they cost the client almost nothing.
fn uniform_script(keys: u64) -> Result<String, Failure> {
    let mut script = String::from("local requests = {}\nlocal paths = {\n");
    for n in 0..keys {
        writeln!(script, "\"/binding/bench{}\",", path(n)?)?;
    }
    script.push_str(
        "}\n\
        init = function(args)\n\
        \tfor i, path in ipairs(paths) do requests[i] = wrk.format(\"GET\", path) end\n\
        end\n\
        request = function() return requests[math.random(#requests)] end\n",
    );
    Ok(script)
}
