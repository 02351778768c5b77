//! The demo's cluster: its CA, and a certificate for each location. All in memory.

use std::net::{Ipv4Addr, SocketAddr};

use kv_core::{MemberId, env::Environment};
use kv_replicate::quic::{Config, Identity, Tuning};

use super::{error::DemoError, step::SHORT};
use crate::cluster::state::{
    ca::{self, Ca},
    certificate,
    names::{ClusterId, Name},
};

/// Issues the certificates of one demo.
pub(super) struct Authority {
    /// The id of the demo's cluster.
    cluster: ClusterId,
    /// The demo's certificate authority, whose key is never written to a disk.
    ca: Ca,
    /// The time of the start, in Unix seconds.
    now: u64,
}

impl Authority {
    /// Generates a CA.
    pub(super) fn new(environment: &dyn Environment) -> Result<Authority, DemoError> {
        let cluster = ClusterId(environment.random_id().map_err(DemoError::Random)?);
        let name: Name = "demo".parse()?;
        let now = environment.now_ms() / 1000;
        let ca = Ca::generate(cluster, &name, now)?;
        Ok(Authority { cluster, ca, now })
    }

    /// Returns the configuration of a location: a certificate of its own, and any port.
    pub(super) fn config(&self, member: MemberId) -> Result<Config, DemoError> {
        let key = ca::new_key()?;
        let subject = certificate::Identity { cluster: self.cluster, member };
        let own = self.ca.issue(subject, &key, self.now)?;
        let identity = Identity {
            authorities: vec![self.ca.certificate().to_vec()],
            chain: vec![own.to_vec()],
            key: key.serialize_der(),
        };
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config::new(any_port, self.cluster.0, member, identity);
        config.tuning = loopback_tuning();
        Ok(config)
    }
}

/// Retries soon: on loopback there is nothing to wait for.
fn loopback_tuning() -> Tuning {
    Tuning {
        dial_patience: 4 * SHORT,
        retry_first: SHORT,
        retry_most: 4 * SHORT,
        ..Tuning::default()
    }
}
