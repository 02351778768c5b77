//! The listeners of a server: bound before the store is opened, with certificates that follow their files.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::error::ServeError;
use crate::{
    config::ListenerSettings,
    connection::{Entrance, Listener},
    tls::{Tls, TlsError},
};

/// How often the files of certificates are looked at.
const CHECK: Duration = Duration::from_secs(2);

/// Reads the certificates, and begins to listen. Connections wait until they are accepted.
pub(super) fn bind(settings: &[ListenerSettings]) -> Result<Vec<Entrance>, ServeError> {
    let bind = |one: &ListenerSettings| {
        if !one.listen.is_local() {
            let (place, listen) = (one.place.clone(), one.listen.clone());
            return Err(ServeError::NoTokens { place, listen });
        }
        let tls = one.tls.clone().map(Tls::load).transpose();
        let tls = tls.map_err(|source| ServeError::Tls { place: one.place.clone(), source })?;
        let listener = Listener::bind(&one.listen)
            .map_err(|source| ServeError::Bind { place: one.place.clone(), source })?;
        Ok(Entrance { listener, tls: tls.map(Arc::new), apis: one.apis })
    };
    settings.iter().map(bind).collect()
}

/// The certificates of all listeners.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Vec<Arc<Tls>>);

impl Certificates {
    /// The certificates of these listeners.
    pub(super) fn of(entrances: &[Entrance]) -> Certificates {
        Certificates(entrances.iter().filter_map(|entrance| entrance.tls.clone()).collect())
    }

    /// Reads all files again, for the handshakes from now on. A listener whose files can't be used keeps
    /// the certificate that it has, and a line in the log says why.
    pub fn reload(&self) {
        self.each(|tls| tls.reload().map(|()| true));
    }

    /// Reloads what changes, until it is dropped.
    pub(super) async fn follow(self) {
        while !self.0.is_empty() {
            sleep(CHECK).await;
            self.each(Tls::reload_if_changed);
        }
    }

    /// Logs what came of a reload of each.
    fn each(&self, reload: impl Fn(&Tls) -> Result<bool, TlsError>) {
        for tls in &self.0 {
            let path = tls.files().certificate.display();
            match reload(tls) {
                Ok(true) => tracing::info!("new connections use the certificate in {path}"),
                Ok(false) => {}
                Err(error) => tracing::error!(
                    "{error}. New connections use the former certificate of {path}, until its files can be used"
                ),
            }
        }
    }
}
