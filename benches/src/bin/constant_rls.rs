//! The upper bound for `limit_rls`: a tonic service that answers any rate-limit request with OK. It
//! has the build profile, allocator and runtime of the `waypost` binary.

use std::{
    convert::Infallible,
    env,
    future::{Future, ready},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::{
    Response, Status,
    body::Body,
    server::{Grpc, NamedService},
    transport::Server,
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};
use waypost::{
    api::rls::proto::{Code, RateLimitRequest, RateLimitResponse},
    threads,
};
use waypost_benches::Failure;

/// The service, in the form of generated code.
#[derive(Clone)]
struct Constant;

impl NamedService for Constant {
    const NAME: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
}

impl Service<http::Request<Body>> for Constant {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<RateLimitResponse, RateLimitRequest>::default();
            let answer = service_fn(|_: tonic::Request<RateLimitRequest>| {
                let overall_code = Code::Ok.into();
                let answer = RateLimitResponse { overall_code, ..RateLimitResponse::default() };
                ready(Ok::<_, Status>(Response::new(answer)))
            });
            Ok(Grpc::new(codec).unary(answer, request).await)
        })
    }
}

fn main() -> Result<(), Failure> {
    let address: SocketAddr = env::args().nth(1).ok_or("say ADDRESS")?.parse()?;
    let runtime = threads::runtime(threads::default())?;
    Ok(runtime.block_on(Server::builder().add_service(Constant).serve(address))?)
}
