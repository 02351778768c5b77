//! `POST /ratelimit` compared with throttlecrab-server's `POST /throttle`, driven by `wrk`.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use waypost_benches::{
    Failure, Scratch, data,
    rounds::{CPU, RATE, Sample, Side, Target, alternate},
    server::Server,
    wrk::Load,
};
use waypost_tests::{Address, http::Connection};

/// The rate-limit API compared with throttlecrab-server. Needs wrk, and throttlecrab-server in the
/// target directory's `peers` (benches/README.md).
#[derive(Parser)]
struct Arguments {
    /// Number of keys with limits, except for work with one key.
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
    /// Directory for the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The API of one side.
struct Api {
    path: &'static str,
    /// The JSON of a request for a key with a limit per ten seconds.
    body: fn(&str, u32) -> String,
    /// The text in its response that shows a denial or an admission.
    admitted: [&'static str; 2],
}

const WAYPOST: Api = Api {
    path: "/ratelimit",
    body: |key, limit| {
        format!(r#"{{"namespace":"bench","key":"{key}","limit":{limit},"period":10}}"#)
    },
    admitted: [r#""success":false"#, r#""success":true"#],
};

const THROTTLECRAB: Api = Api {
    path: "/throttle",
    body: |key, limit| {
        format!(r#"{{"key":"{key}","max_burst":{limit},"count_per_period":{limit},"period":10}}"#)
    },
    admitted: [r#""allowed":false"#, r#""allowed":true"#],
};

/// The work of a round: the number of keys, the limit in ten seconds, and whether all requests are
/// admitted.
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
    // More than a server can answer in ten seconds.
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
        let title = format!("one request, {} connections: {}", arguments.connections, work.name);
        rounds.print(&format!("{title}; CPU of the server"), &[CPU, RATE]);
        rounds.compare(0, 1, CPU, Target::AtMost(0.65));
        rounds.compare(0, 1, RATE, Target::AtLeast(1.4));
    }
    Ok(())
}

/// `TARGET/peers/bin/throttlecrab-server`, because this program is in `TARGET/release`.
fn installed() -> Result<PathBuf, Failure> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("this program is not in a target directory")?;
    let path = target.join("peers/bin/throttlecrab-server");
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} does not exist; benches/README.md explains how to build it", path.display())
        .into())
}

fn key(n: u64) -> Result<String, Failure> {
    Ok(str::from_utf8(&data::key(n))?.to_owned())
}

/// Runs wrk once, and then sends another request to check that the responses are the expected ones.
fn round(
    load: Load,
    server: &Server,
    api: &Api,
    script: &Path,
    work: &Work,
) -> Result<Sample, Failure> {
    let script = script.to_str().ok_or("a path that is not UTF-8")?;
    let sample = load.run(server, api.path, &["-s", script])?;
    let mut answer = String::new();
    // For a denied key one request is admitted from time to time.
    for _ in 0..if work.is_admitted { 1 } else { 3 } {
        let mut connection = Connection::to(&Address::Tcp(server.address()))?;
        let json = [("Content-Type", "application/json")];
        let body = (api.body)(&key(0)?, work.limit);
        answer = connection.request("POST", api.path, &json, body.as_bytes())?.text();
        if answer.contains(api.admitted[usize::from(work.is_admitted)]) {
            return Ok(sample);
        }
    }
    Err(format!("{}: {} responded {answer}", work.name, api.path).into())
}

/// Prepares all requests before the first one, so that they cost the client almost nothing.
fn write_script(path: &Path, api: &Api, work: &Work) -> Result<(), Failure> {
    let mut script = String::from("local requests = {}\nlocal bodies = {\n");
    for n in 0..work.keys {
        writeln!(script, "'{}',", (api.body)(&key(n)?, work.limit))?;
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
