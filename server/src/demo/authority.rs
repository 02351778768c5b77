//! The cluster of the demo: its CA, and a certificate for each location. All in memory.

use std::net::{Ipv4Addr, SocketAddr};

use kv_core::{MemberId, env::Environment};
use kv_replicate::quic::{Config, Identity, Tuning};

use super::{DemoError, step::SHORT};
use crate::cluster::{
    ClusterId,
    ca::{self, Ca},
    certificate,
    names::{Name, WrongText},
};

/// Who makes the certificates of one demo.
pub(super) struct Authority {
    cluster: ClusterId,
    ca: Ca,
    /// In Unix seconds.
    now: u64,
}

impl Authority {
    /// A new one.
    pub(super) fn new(environment: &dyn Environment) -> Result<Authority, DemoError> {
        let cluster = ClusterId(
            environment.random_id().map_err(|error| DemoError::System(error.to_string()))?,
        );
        let name: Name = "demo".parse().map_err(|error: WrongText| DemoError::System(error.0))?;
        let now = environment.now_ms() / 1000;
        let ca = Ca::generate(cluster, &name, now)?;
        Ok(Authority { cluster, ca, now })
    }

    /// What a location of this cluster is started with: a certificate of its own, and any port.
    pub(super) fn config(&self, member: MemberId) -> Result<Config, DemoError> {
        let key = ca::new_key()?;
        let named = certificate::Identity { cluster: self.cluster, member };
        let own = self.ca.issue(named, &key, self.now)?;
        let identity = Identity {
            authorities: vec![self.ca.certificate().to_vec()],
            chain: vec![own.to_vec()],
            key: key.serialize_der(),
        };
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config::new(anywhere, self.cluster.0, member, identity);
        config.tuning = near();
        Ok(config)
    }
}

/// For links that are as short as these, it is no use to wait long before another try.
fn near() -> Tuning {
    Tuning {
        dial_patience: 4 * SHORT,
        retry_first: SHORT,
        retry_most: 4 * SHORT,
        ..Tuning::default()
    }
}
