//! Listeners: TLS, certificates that change, and the APIs of each.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version,
};
use tempfile::TempDir;

use crate::{
    cluster::eventually,
    http::Peer,
    process::{PATIENCE, Server, run, waypost},
};

/// A CA that issues certificates for `localhost`.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Ca {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Ca(CertifiedIssuer::self_signed(params, key).expect("a CA"))
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate and its key, in PEM.
    fn issue(&self) -> (String, String) {
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a certificate and its key into a directory.
    fn write(&self, directory: &Path) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.issue();
        let paths = (directory.join("cert.pem"), directory.join("key.pem"));
        fs::write(&paths.0, certificate).expect("a file");
        fs::write(&paths.1, key).expect("a file");
        paths
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A client that trusts `ca`.
fn client_config(
    ca: &Ca,
    own: Option<(String, String)>,
    protocol: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der()).expect("a CA");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[protocol])
        .expect("a version")
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("one")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("its key")
        }
    }
}

/// Connects with TLS.
fn connect_with(server: &Server, config: Arc<ClientConfig>) -> Tls {
    let stream = TcpStream::connect(&server.address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let name = ServerName::try_from("localhost").expect("a name");
    StreamOwned::new(ClientConnection::new(config, name).expect("a client"), stream)
}

/// Connects with TLS to a server whose certificate `ca` issued.
fn connect(server: &Server, ca: &Ca, own: Option<(String, String)>, protocols: &[&str]) -> Tls {
    let mut config = client_config(ca, own, &version::TLS13);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    connect_with(server, Arc::new(config))
}

/// A server with TLS, and its files.
fn start(ca: &Ca, args: &[&str]) -> (Server, PathBuf, PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let (certificate, key) = ca.write(directory.path());
    let paths = (certificate.clone(), key.clone());
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().expect("UTF-8"));
    let all = [&["--tls-cert", certificate, "--tls-key", key][..], args].concat();
    let server = Server::start_in(directory, "127.0.0.1:0", &all);
    (server, paths.0, paths.1)
}

const ALIVE: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn a_client_chooses_the_protocol_over_tls() {
    let ca = Ca::new();
    let (server, ..) = start(&ca, &[]);
    for (protocols, chosen) in
        [(&["http/1.1"][..], Some("http/1.1")), (&["h2", "http/1.1"], Some("h2")), (&[], None)]
    {
        let mut tls = connect(&server, &ca, None, protocols);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).expect("the handshake succeeds");
        }
        assert_eq!(tls.conn.alpn_protocol(), chosen.map(str::as_bytes));
        if chosen != Some("h2") {
            assert_eq!(Peer::new(tls).request(ALIVE).status, 200);
        }
    }
    assert!(server.into_log().contains(" listens on https://127.0.0.1:"));
}

#[test]
fn a_request_without_tls_is_told_to_use_it() {
    let (server, ..) = start(&Ca::new(), &[]);
    let response = server.connect().request(ALIVE);
    assert_eq!(response.status, 400);
    assert!(response.body.contains("use https://"), "{}", response.body);
}

#[test]
fn a_handshake_that_takes_too_long_ends() {
    let ca = Ca::new();
    let (server, ..) = start(&ca, &["--header-timeout", "300ms"]);
    let mut silent = server.connect();
    assert_eq!(silent.rest(), "");
    // A client that stops half way.
    let mut half = server.connect();
    half.send([22, 3, 1, 0, 100]);
    assert_eq!(half.rest(), "");
    assert_eq!(Peer::new(connect(&server, &ca, None, &[])).request(ALIVE).status, 200);
}

#[test]
fn connections_that_send_nothing_or_half_a_hello_keep_nobody_from_a_handshake() {
    let ca = Ca::new();
    // One handshake at a time.
    let (server, ..) = start(&ca, &["--max-connections", "10"]);
    let mut idle: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for (one, begin) in idle.iter_mut().zip([&[][..], &[22], &[22, 3, 1, 0, 100, 1]]) {
        one.send(begin);
    }
    assert_eq!(Peer::new(connect(&server, &ca, None, &[])).request(ALIVE).status, 200);
    // A beginning that never ends is cut.
    let mut long = server.connect();
    let record = [&[22, 3, 1, 64, 0, 1, 0, 255, 255][..], &[0; 16_380]].concat();
    while long.try_send(&record).is_ok() {}
    assert_eq!(Peer::new(connect(&server, &ca, None, &[])).request(ALIVE).status, 200);
}

#[test]
fn a_session_does_not_outlive_the_ca_of_its_client() {
    let (ca, old, new) = (Ca::new(), Ca::new(), Ca::new());
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("clients.pem");
    fs::write(&path, old.0.pem()).expect("a file");
    let (server, ..) = start(&ca, &["--client-ca", path.to_str().expect("UTF-8")]);
    for protocol in [&version::TLS13, &version::TLS12] {
        fs::write(&path, old.0.pem()).expect("a file");
        // One configuration: it keeps the tickets of its sessions.
        let config = Arc::new(client_config(&ca, Some(old.issue()), protocol));
        eventually("the client is accepted", || {
            let mut tls = connect_with(&server, Arc::clone(&config));
            tls.write_all(ALIVE.as_bytes()).is_ok() && tls.read(&mut [0; 12]).is_ok()
        });
        let mut resumed = connect_with(&server, Arc::clone(&config));
        assert_eq!(Peer::new(&mut resumed).request(ALIVE).status, 200);
        assert_eq!(resumed.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        fs::write(&path, new.0.pem()).expect("a file");
        eventually("the client is refused", || {
            let mut tls = connect_with(&server, Arc::clone(&config));
            tls.write_all(ALIVE.as_bytes()).is_err() || tls.read(&mut [0; 12]).is_err()
        });
    }
}

#[test]
fn a_certificate_that_changes_is_used_and_drops_no_connection() {
    let (old, new) = (Ca::new(), Ca::new());
    let (server, certificate, key) = start(&old, &[]);
    let mut open = Peer::new(connect(&server, &old, None, &[]));
    assert_eq!(open.request(ALIVE).status, 200);
    let good = fs::read(&key).expect("the key");
    fs::write(&key, "not a key").expect("a file");
    server.await_log("key.pem has no private key");
    server.await_log("alarm faulty-configuration: ");
    assert_eq!(Peer::new(connect(&server, &old, None, &[])).request(ALIVE).status, 200);
    fs::write(&key, good).expect("a file");
    new.write(certificate.parent().expect("a directory"));
    server.await_log("new connections use the certificate in");
    // It may have used the former files once more before both had changed.
    let is_new = || {
        let mut tls = connect(&server, &new, None, &[]);
        tls.conn.complete_io(&mut tls.sock).is_ok() && !tls.conn.is_handshaking()
    };
    eventually("the new certificate is used", is_new);
    server.await_log_times("faulty-configuration", 2);
    assert_eq!(open.request(ALIVE).status, 200);
}

#[test]
fn with_a_client_ca_only_its_clients_are_served() {
    let ca = Ca::new();
    let clients = Ca::new();
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("clients.pem");
    fs::write(&path, clients.0.pem()).expect("a file");
    let (server, ..) = start(&ca, &["--client-ca", path.to_str().expect("UTF-8")]);
    let mut known = Peer::new(connect(&server, &ca, Some(clients.issue()), &[]));
    assert_eq!(known.request(ALIVE).status, 200);
    for own in [None, Some(ca.issue())] {
        let mut unknown = connect(&server, &ca, own, &[]);
        let refused = unknown.read_to_end(&mut Vec::new());
        assert!(refused.is_err(), "the server accepts a client without a certificate of the CA");
    }
}

#[test]
fn a_certificate_that_can_not_be_used_is_an_error_that_names_flag_and_file() {
    let directory = TempDir::new().expect("a directory");
    let (certificate, key) = Ca::new().write(directory.path());
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().expect("UTF-8"));
    let output = run(["serve", "--tls-cert", certificate, "--tls-key", certificate]);
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(error.starts_with("waypost: --listen: ") && error.contains("cert.pem"), "{error}");
    assert!(error.contains("has no private key") && error.lines().count() == 1, "{error}");
    let output = run(["serve", "--listen=127.0.0.1:0", "--tls-cert", "/gone", "--tls-key", key]);
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(error.contains("can't read /gone"), "{error}");
}

#[test]
fn a_listener_serves_its_apis_and_says_which_others_it_does_not() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("waypost.toml");
    let socket = directory.path().join("admin.sock");
    let text = format!(
        "namespaces = [\"t\"]\n[[listener]]\nlisten = \"127.0.0.1:0\"\napis = [\"binding\", \"ops\"]\n\
         [[listener]]\nlisten = \"unix:{}\"\napis = [\"admin\"]\n",
        socket.display()
    );
    fs::write(&file, text).expect("a file");
    let mut command = waypost(["serve", "--config"]);
    command.arg(&file);
    let server = Server::start_with(command, directory, &[]);
    let status = |target: &str, more: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        let response = server.connect().request(request);
        (response.status, response.body)
    };
    assert_eq!(status("/binding/t/?prefix=", "").0, 200);
    assert_eq!(status("/healthz", "").0, 200);
    // A key may be named like a path of another API.
    assert_eq!(status("/v1/namespaces", "Waypost-Namespace: t\r\n").0, 404);
    for path in ["/v1/namespaces", "/v1/cluster", "/v1/doctor", "/ratelimit?namespace=a&key=b"] {
        let (code, body) = status(path, "");
        assert_eq!(code, 404, "{path}");
        assert!(body.starts_with("{\"error\":\"this listener does not serve the API"), "{body}");
        assert!(body.contains("only binding, ops"), "{body}");
    }
    let url = format!("unix:{}", socket.display());
    let list = run(["namespace", "list", "--server", &url]);
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let mut admin = std::os::unix::net::UnixStream::connect(&socket).map(Peer::new).expect("open");
    let response = admin.request("GET /binding/t/k HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(response.status, 404);
    assert!(response.body.contains("does not serve the API binding, only admin"));
    // A runtime takes 404 for a key without a value.
    let runtime = "GET /binding/t/k HTTP/1.1\r\nHost: a\r\nCF-KV-FLPROD-405: x\r\n\r\n";
    assert_eq!(admin.request(runtime).status, 400);
}

#[test]
fn listeners_share_the_connections_and_an_idle_one_takes_none() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("waypost.toml");
    let socket = directory.path().join("s.sock");
    let text = format!(
        "max-connections = 1\n[[listener]]\nlisten = \"127.0.0.1:0\"\n[[listener]]\nlisten = \"unix:{}\"\n",
        socket.display()
    );
    fs::write(&file, text).expect("a file");
    let mut command = waypost(["serve", "--config"]);
    command.arg(&file);
    let server = Server::start_with(command, directory, &[]);
    let close = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for _ in 0..3 {
        let mut one = server.connect();
        assert_eq!(one.request(close).status, 200);
        assert_eq!(one.rest(), "");
        let mut other =
            std::os::unix::net::UnixStream::connect(&socket).map(Peer::new).expect("open");
        assert_eq!(other.request(close).status, 200);
        assert_eq!(other.rest(), "");
    }
}
