//! `POST /ratelimit` beside throttlecrab-server's `POST /throttle`, driven by `wrk`.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

use clap::Parser;
use waypost_benches::{
    Failure, Scratch, data,
    rounds::{CPU, RATE, Sample, Side, Target, alternate},
    server::Server,
    wrk::Load,
};

/// The limit door beside throttlecrab-server. Needs wrk, and throttlecrab-server in the target
/// directory's `peers` (benches/README.md).
#[derive(Parser)]
struct Arguments {
    /// How many keys are limited, where it is not one.
    #[arg(long, default_value_t = 20_000)]
    keys: u64,
    /// Connections of wrk.
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Rounds of each side.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Seconds of a round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// The throttlecrab-server to run.
    #[arg(long)]
    throttlecrab: Option<PathBuf>,
    /// More arguments for `waypost serve`.
    #[arg(long, allow_hyphen_values = true)]
    serve: Vec<String>,
    /// Where to put the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// One side's door.
struct Door {
    path: &'static str,
    /// The JSON that asks for one hit of a key under a limit in ten seconds.
    body: fn(&str, u32) -> String,
    /// What its answer says.
    admitted: [&'static str; 2],
}

const WAYPOST: Door = Door {
    path: "/ratelimit",
    body: |key, limit| {
        format!(r#"{{"namespace":"bench","key":"{key}","limit":{limit},"period":10}}"#)
    },
    admitted: [r#""success":false"#, r#""success":true"#],
};

const THROTTLECRAB: Door = Door {
    path: "/throttle",
    body: |key, limit| {
        format!(r#"{{"key":"{key}","max_burst":{limit},"count_per_period":{limit},"period":10}}"#)
    },
    admitted: [r#""allowed":false"#, r#""allowed":true"#],
};

/// What is asked for in a row: how many keys, the limit in ten seconds, whether all is admitted.
struct Work {
    name: &'static str,
    keys: u64,
    limit: u32,
    is_admitted: bool,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let scratch = Scratch::new(arguments.dir.clone())?;
    let path = scratch.join("data");
    let more: Vec<&str> = arguments.serve.iter().map(String::as_str).collect();
    let waypost = Server::waypost(&path, &more)?;
    let throttlecrab = match &arguments.throttlecrab {
        Some(program) => Server::throttlecrab(program)?,
        None => Server::throttlecrab(&installed()?)?,
    };
    let load = Load { connections: arguments.connections, seconds: arguments.seconds };
    // More than a server answers in ten seconds.
    let high = 2_000_000;
    for work in [
        Work { name: "one key, all admitted", keys: 1, limit: high, is_admitted: true },
        Work { name: "one key, denied", keys: 1, limit: 10, is_admitted: false },
        Work {
            name: "uniform over all keys",
            keys: arguments.keys,
            limit: high,
            is_admitted: true,
        },
    ] {
        let own_script = scratch.join("waypost.lua");
        let peer_script = scratch.join("throttlecrab.lua");
        write_script(&own_script, &WAYPOST, &work)?;
        write_script(&peer_script, &THROTTLECRAB, &work)?;
        let sides = vec![
            Side::new("waypost", |_| round(load, &waypost, &WAYPOST, &own_script, &work)),
            Side::new("throttlecrab-server", |_| {
                round(load, &throttlecrab, &THROTTLECRAB, &peer_script, &work)
            }),
        ];
        let rounds = alternate(arguments.rounds, sides)?;
        let title = format!("one hit, {} connections: {}", arguments.connections, work.name);
        rounds.print(&format!("{title}; CPU of the server"), &[CPU, RATE]);
        rounds.compare(0, 1, CPU, Target::AtMost(0.65));
        rounds.compare(0, 1, RATE, Target::AtLeast(1.4));
    }
    Ok(())
}

/// `TARGET/peers/bin/throttlecrab-server`, for this program lies in `TARGET/release`.
fn installed() -> Result<PathBuf, Failure> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("this program lies in no target directory")?;
    let path = target.join("peers/bin/throttlecrab-server");
    if path.exists() {
        return Ok(path);
    }
    Err(format!("there is no {}: benches/README.md says how to build it", path.display()).into())
}

fn key(n: u64) -> Result<String, Failure> {
    Ok(str::from_utf8(&data::key(n))?.to_owned())
}

/// One run of wrk; then asks once more, to see that the answers are those of the row.
fn round(
    load: Load,
    server: &Server,
    door: &Door,
    script: &Path,
    work: &Work,
) -> Result<Sample, Failure> {
    let script = script.to_str().ok_or("a path that is not UTF-8")?;
    let sample = load.run(server, door.path, &["-s", script])?;
    let mut answer = String::new();
    // Of a key that is denied, one hit is let through from time to time.
    for _ in 0..if work.is_admitted { 1 } else { 3 } {
        answer = post(server.address(), door.path, &(door.body)(&key(0)?, work.limit))?;
        if answer.contains(door.admitted[usize::from(work.is_admitted)]) {
            return Ok(sample);
        }
    }
    Err(format!("{}: {} answers {answer}", work.name, door.path).into())
}

/// Makes all requests before the first, so that they cost the client about nothing.
fn write_script(path: &Path, door: &Door, work: &Work) -> Result<(), Failure> {
    let mut script = String::from("local requests = {}\nlocal bodies = {\n");
    for n in 0..work.keys {
        writeln!(script, "'{}',", (door.body)(&key(n)?, work.limit))?;
    }
    script.push_str(
        "}\n\
        wrk.method = \"POST\"\n\
        wrk.headers[\"Content-Type\"] = \"application/json\"\n\
        init = function(args)\n\
        \tfor i, body in ipairs(bodies) do requests[i] = wrk.format(nil, nil, nil, body) end\n\
        end\n\
        request = function() return requests[math.random(#requests)] end\n",
    );
    Ok(fs::write(path, script)?)
}

/// One request on a connection of its own: head and body of the answer.
fn post(address: SocketAddr, path: &str, body: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
