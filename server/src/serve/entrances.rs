//! The listeners of a server: bound before the store is opened, with certificates that follow their files.

use std::{sync::Arc, time::Duration};

use kv_core::Store;
use tokio::time::sleep;

use super::{admin_token::AdminToken, error::ServeError};
use crate::{
    access::Gate,
    alarms::{ConfigurationFault, Part},
    app::App,
    config::{Config, ListenerSettings, Settings},
    connection::{Entrance, Listener, SocketMode},
    tls::{Tls, TlsError},
};

/// How often the files of certificates are looked at.
const CHECK: Duration = Duration::from_secs(2);

/// Reads the certificates, and begins to listen. Connections wait until they are accepted.
pub(super) fn bind(
    settings: &[ListenerSettings],
    mode: SocketMode,
) -> Result<Vec<Entrance>, ServeError> {
    let bind = |one: &ListenerSettings| {
        let tls = one.tls.clone().map(Tls::load).transpose();
        let tls = tls.map_err(|source| ServeError::Tls { place: one.place.clone(), source })?;
        let listener = Listener::bind(&one.listen, mode)
            .map_err(|source| ServeError::Bind { place: one.place.clone(), source })?;
        Ok(Entrance { listener, tls: tls.map(Arc::new), apis: one.apis })
    };
    settings.iter().map(bind).collect()
}

/// Reads the token of the setting `admin-token-file`, and makes the gate of all listeners.
pub(super) fn gate(settings: &Settings) -> Result<(Gate, Option<AdminToken>), ServeError> {
    let Some(path) = &settings.admin_token_file else { return Ok((Gate::default(), None)) };
    let (file, token) = AdminToken::load(path)?;
    Ok((Gate::new(Some(&token)), Some(file)))
}

/// Checks that clients of listeners which other machines reach can have a token. A member of a cluster may receive the
/// tokens of the others later.
pub(super) fn check_tokens(
    config: &Config,
    entrances: &[Entrance],
    gate: &Gate,
    store: &Store,
    is_member: bool,
) -> Result<(), ServeError> {
    let remote = entrances.iter().zip(&config.listeners).find(|(entrance, _)| entrance.is_remote());
    let Some((entrance, one)) = remote.filter(|_| !gate.has_tokens(&store.tokens())) else {
        return Ok(());
    };
    let url = entrance.url()?;
    if is_member {
        tracing::warn!("no client can use {url} before there is a token in the cluster");
        return Ok(());
    }
    let data = config.settings.data.display().to_string();
    Err(ServeError::NoTokens { place: one.place.clone(), url, data })
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
    /// the certificate that it has; a line in the log and an alarm say why.
    pub(super) fn reload(&self, faults: &ConfigurationFault) {
        self.each(faults, |tls| tls.reload().map(|()| true));
    }

    /// Reloads what changes, until it is dropped.
    pub(super) async fn follow(self, app: Arc<App>) {
        while !self.0.is_empty() {
            sleep(CHECK).await;
            self.each(app.alarms.configuration(), Tls::reload_if_changed);
        }
    }

    /// Reloads each, and reports what came of it.
    fn each(&self, faults: &ConfigurationFault, reload: impl Fn(&Tls) -> Result<bool, TlsError>) {
        for (place, tls) in self.0.iter().enumerate() {
            let path = tls.files().certificate.display();
            let reloaded = reload(tls);
            let is_new = faults.set(Part::Certificate(place), tls.fault());
            match reloaded {
                Ok(true) => tracing::info!("new connections use the certificate in {path}"),
                Err(error) if is_new => tracing::error!(
                    "{error}. New connections use the former certificate of {path}, until its files can be used"
                ),
                Ok(false) | Err(_) => {}
            }
        }
    }
}
