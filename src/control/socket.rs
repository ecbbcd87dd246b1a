//! Where clients knock: the socket in the state folder, and the address of the metrics.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

/// Its name in the state folder.
pub(super) const NAME: &str = "control.sock";

/// Listens in `folder`, for the agent's own user alone. What an agent that was killed left there is replaced: the
/// lock of the folder tells that nobody listens.
pub(super) fn listen_in(folder: &Path) -> io::Result<UnixListener> {
    let path = folder.join(NAME);
    match fs::symlink_metadata(&path) {
        Ok(stale) if stale.file_type().is_socket() => fs::remove_file(&path)?,
        Ok(_) => {
            return Err(io::Error::other(
                "something that is no socket has this name",
            ));
        }
        Err(_) => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name, so that nobody else can connect in between.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let (address, _folder) = address(folder)?;
    bind(&socket, &SocketAddrUnix::new(&address)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Connects to the agent whose state folder this is.
pub(super) fn connect_in(folder: &Path) -> io::Result<UnixStream> {
    let (address, _folder) = address(folder)?;
    UnixStream::connect(address)
}

/// The name to bind or connect to, and what must stay open meanwhile. An address has room for 107 bytes; a longer path
/// is reached through the descriptor of its folder.
fn address(folder: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = folder.join(NAME);
    if path.as_os_str().as_bytes().len() <= LONGEST_ADDRESS {
        return Ok((path, None));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = File::from(open(folder, flags, Mode::empty())?);
    let short = format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd());
    Ok((short.into(), Some(folder)))
}

/// Where metrics are asked for.
pub(super) struct Endpoint {
    address: SocketAddr,
    /// None: the address is taken, or not there.
    pub(super) listener: Option<TcpListener>,
    /// When it is tried again.
    pub(super) next: Instant,
    is_said: bool,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr) -> Endpoint {
        Endpoint {
            address,
            listener: None,
            next: Instant::now(),
            is_said: false,
        }
    }

    /// Listens, if it does not and it is time to try.
    pub(super) fn listen(&mut self, now: Instant) {
        if self.listener.is_some() || now < self.next {
            return;
        }
        let listener = TcpListener::bind(self.address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        match listener {
            Ok(listener) => {
                log::info!("metrics at http://{}/metrics", self.address);
                self.listener = Some(listener);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_said, true) {
                    log::warn!("metrics_listen = {}: {error}; retrying", self.address);
                }
                self.next = now + AGAIN;
            }
        }
    }
}

/// Bytes of a path in `sockaddr_un`, without the NUL behind it (unix(7)).
const LONGEST_ADDRESS: usize = 107;
/// Clients that may wait to be let in.
const BACKLOG: i32 = 16;
/// When an address that cannot be had is tried again.
const AGAIN: Duration = Duration::from_secs(10);
