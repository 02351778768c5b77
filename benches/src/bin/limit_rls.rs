//! A call of Envoy's rate-limit service compared with a tonic service that answers a constant OK.

use std::{fs, path::PathBuf, time::Duration};

use clap::Parser;
use http::uri::PathAndQuery;
use tokio::{runtime, task::JoinSet, time::Instant};
use tonic::{
    Request,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use waypost::api::rls::proto::{
    Code, Entry, RateLimitDescriptor, RateLimitRequest, RateLimitResponse,
};
use waypost_benches::{
    Failure, Scratch, data,
    meter::Stopwatch,
    rounds::{CPU, RATE, Sample, Side, Target, alternate},
    server::Server,
};

/// Envoy's rate-limit service compared with a constant one. The client is this program, on one
/// thread.
#[derive(Clone, Parser)]
struct Arguments {
    /// Number of connections: as many as Envoy has worker threads.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Numbers of concurrent calls on each connection.
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    calls: Vec<usize>,
    /// Number of keys with limits.
    #[arg(long, default_value_t = 1000)]
    keys: u64,
    /// Rounds of each side.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Seconds of a round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// More arguments for `waypost serve`.
    #[arg(long, allow_hyphen_values = true)]
    serve: Vec<String>,
    /// Directory for the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// The only limit, which no call of a run exceeds.
const CONFIGURATION: &str = "\
[[rls]]
domain = \"bench\"
descriptors = [{ key = \"user\", rate_limit = { unit = \"second\", requests_per_unit = 2000000 } }]
";

const METHOD: PathAndQuery =
    PathAndQuery::from_static("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let scratch = Scratch::new(arguments.dir.clone())?;
    let file = scratch.join("waypost.toml");
    fs::write(&file, CONFIGURATION)?;
    let file = format!("--config={}", file.display());
    let more = arguments.serve.iter().map(String::as_str);
    let more: Vec<&str> = [file.as_str()].into_iter().chain(more).collect();
    let waypost = Server::waypost(&scratch.join("data"), &more)?;
    let constant = Server::constant_rls()?;
    for calls in &arguments.calls {
        let sides = vec![
            Side::new("waypost", |_| round(&arguments, *calls, &waypost)),
            Side::new("tonic, constant OK", |_| round(&arguments, *calls, &constant)),
        ];
        let rounds = alternate(arguments.rounds, sides)?;
        let connections = arguments.connections;
        let title = format!("ShouldRateLimit, {connections} connections, {calls} calls on each");
        rounds.print(&format!("{title}; CPU of the server"), &[CPU, RATE]);
        rounds.compare(0, 1, CPU, Target::AtMost(1.2));
        rounds.compare(0, 1, RATE, Target::Report);
    }
    Ok(())
}

/// Calls a server for the duration of a round, on a runtime with one thread.
fn round(arguments: &Arguments, calls: usize, server: &Server) -> Result<Sample, Failure> {
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut channels = Vec::new();
        for _ in 0..arguments.connections {
            let endpoint = Endpoint::from_shared(format!("http://{}", server.address()))?;
            channels.push(endpoint.connect().await?);
        }
        let watch = Stopwatch::of(server.pid())?;
        let end = Instant::now() + Duration::from_secs(arguments.seconds);
        let mut callers = JoinSet::new();
        for n in 0..arguments.connections * calls {
            let channel = channels[n % channels.len()].clone();
            callers.spawn(call_until(end, channel, n as u64, arguments.keys));
        }
        let mut operations = 0;
        while let Some(done) = callers.join_next().await {
            operations += done??;
        }
        Ok(Sample { operations, cpu: watch.cpu()?, wall: watch.wall() })
    })
}

/// Calls continuously, with one key after the other from number `first`. Returns the number of
/// calls.
async fn call_until(end: Instant, channel: Channel, first: u64, keys: u64) -> Result<u64, Failure> {
    let mut client = Grpc::new(channel);
    let mut calls = 0;
    while Instant::now() < end {
        client.ready().await?;
        let codec = ProstCodec::<RateLimitRequest, RateLimitResponse>::default();
        let request = Request::new(hit((first + calls) % keys)?);
        let answer = client.unary(request, METHOD, codec).await?.into_inner();
        // A call without a limit would cost less than one with a limit.
        let is_limited = answer.statuses.iter().all(|status| status.current_limit.is_some());
        if answer.overall_code() != Code::Ok || !is_limited {
            return Err(format!("a call got the response {answer:?}").into());
        }
        calls += 1;
    }
    Ok(calls)
}

/// A request for a key, as Envoy's action for a header makes it.
fn hit(n: u64) -> Result<RateLimitRequest, Failure> {
    let value = str::from_utf8(&data::key(n))?.to_owned();
    let entry = Entry { key: "user".into(), value: value.into() };
    let descriptor = RateLimitDescriptor { entries: vec![entry], ..Default::default() };
    Ok(RateLimitRequest { domain: "bench".into(), descriptors: vec![descriptor], hits_addend: 0 })
}
