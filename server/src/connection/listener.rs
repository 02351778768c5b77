//! The sockets that the server accepts connections from.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream};

use super::{listen::Listen, socket_mode::SocketMode};

/// How many connections the system queues until they are accepted: bursts, and those that wait when
/// `max-connections` is reached. The system has a bound of its own.
const BACKLOG: u32 = 4096;

/// How many bytes of responses the system may hold for a client that does not read them, per TCP connection. Linux doubles it, for its
/// own data. Without a bound it grows to 4 MiB for each. A single connection sends at most about this much in a round trip: 1.3 MB/s over
/// 100 ms.
const SEND_BUFFER_BYTES: u32 = 128 << 10;

/// How many bytes of responses the system takes before it has sent those before, per TCP connection, about.
const UNSENT_BYTES: u32 = 32 << 10;

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// At a path. Its file is removed with the listener.
    Unix(UnixListener, SocketFile),
}

/// A socket that is connected to a client.
pub(super) enum Socket {
    /// A TCP connection, and the address of the client.
    Tcp(TcpStream, IpAddr),
    /// A connection to a unix socket.
    Unix(UnixStream),
}

/// Why a server can't listen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process listens there.
    #[error("{0} is in use: stop the server that listens there, or choose another address")]
    InUse(Listen),
    /// The path is that of a file that is not a socket.
    #[error("{0} exists and is not a socket: choose another path")]
    NotASocket(Listen),
    /// The system refuses.
    #[error("can't listen on {0}: {1}; choose another address")]
    Refused(Listen, io::Error),
}

impl Listener {
    /// Starts to listen. A socket file that a crash left, on which no process listens, is replaced. The file of a unix
    /// socket gets the permissions `mode`.
    ///
    /// # Errors
    /// See [`BindError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(listen: &Listen, mode: SocketMode) -> Result<Listener, BindError> {
        let refused = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(listen.clone()),
            _ => BindError::Refused(listen.clone(), error),
        };
        match listen {
            Listen::Tcp(address) => bind_tcp(*address).map(Listener::Tcp).map_err(refused),
            Listen::Unix(path) => {
                if !remove_stale(path).map_err(refused)? {
                    return Err(BindError::NotASocket(listen.clone()));
                }
                let (listener, file) = bind_unix(path, mode).map_err(refused)?;
                Ok(Listener::Unix(listener, file))
            }
        }
    }

    /// The address that it listens on, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// If the system does not report it.
    pub fn address(&self) -> io::Result<Listen> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Listener::Unix(_, file) => Ok(Listen::Unix(file.path.clone())),
        }
    }

    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address): (_, SocketAddr) = listener.accept().await?;
                // Small responses must not wait for more. A connection that is gone fails later.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "can't set TCP_NODELAY on a connection");
                }
                Ok(Socket::Tcp(stream, address.ip()))
            }
            Listener::Unix(listener, _) => {
                let (stream, _address) = listener.accept().await?;
                Ok(Socket::Unix(stream))
            }
        }
    }
}

/// Listens on a TCP address.
fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted server must not wait until the system forgets the connections of the last one.
    socket.set_reuseaddr(true)?;
    // The connections that it accepts inherit this.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    limit_unsent(&socket);
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Bounds what the system takes of responses ahead of what it may send. A client that does not read then holds little more than
/// this, and its window. Systems without the option have the send buffer.
fn limit_unsent(socket: &TcpSocket) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(%error, "can't bound the unsent bytes of connections");
    }
}

/// Listens on a path. The permissions of its file are never wider than `mode`, not even for a moment.
fn bind_unix(path: &Path, mode: SocketMode) -> io::Result<(UnixListener, SocketFile)> {
    let socket = UnixSocket::new_stream()?;
    // Linux makes the file with the permissions of the socket, less the umask. Other systems may not let them be set; there
    // nobody can connect before the call of `listen`.
    let bits =
        rustix::fs::Mode::from_raw_mode(rustix::fs::RawMode::try_from(mode.bits()).unwrap_or(0));
    if let Err(error) = rustix::fs::fchmod(&socket, bits) {
        tracing::debug!(%error, "can't set the permissions of a socket before it has a file");
    }
    socket.bind(path)?;
    let file = SocketFile::new(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode.bits()))?;
    Ok((socket.listen(BACKLOG)?, file))
}

/// Removes a socket file on which no process listens; false if the file is not a socket.
fn remove_stale(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => Ok(false),
        Ok(_socket) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_connected) => Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map(|()| true)
            }
            Err(error) => Err(error),
        },
    }
}

/// The file of a unix socket; removed with it, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    /// The path of the socket's file.
    path: PathBuf,
    /// The file's inode, so that the file of a later server is not removed.
    inode: u64,
}

impl SocketFile {
    /// Remembers the file at a path.
    fn new(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), inode: fs::symlink_metadata(path)?.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "can't remove the socket file");
        }
    }
}
