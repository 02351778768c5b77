//! gRPC's health checks (`grpc/health/v1/health.proto`), with the messages and the service of
//! tonic-health. Its `HealthReporter` is not used: the status is read from the drain when it is
//! requested, so changes need not be reported.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use tonic_health::{
    pb::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
        health_server::Health,
    },
    server::WatchStream,
};

use crate::drain::Drain;

/// The name of the rate-limit service in gRPC.
const RATE_LIMITS: &str = "envoy.service.ratelimit.v3.RateLimitService";

/// Reports whether clients should send requests here.
///
/// Rate limits need no disk, so they are served whatever the state of the store; but a server that is
/// about to stop should get no more requests.
#[derive(Debug)]
pub(super) struct HealthChecks(pub(super) Arc<Drain>);

#[tonic::async_trait]
impl Health for HealthChecks {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        // envoyproxy/ratelimit registers itself as `ratelimit`.
        if !matches!(&service[..], "" | "ratelimit" | RATE_LIMITS) {
            return Err(Status::not_found(format!("there is no service {service:?}")));
        }
        let status =
            if self.0.is_begun() { ServingStatus::NotServing } else { ServingStatus::Serving };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = WatchStream;

    /// Envoy's health checker only uses `Check`.
    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        Err(Status::unimplemented("/grpc.health.v1.Health/Watch is not supported: use Check"))
    }
}
