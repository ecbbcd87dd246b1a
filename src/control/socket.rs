//! The socket in the state folder.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

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

/// Bytes of a path in `sockaddr_un`, without the NUL behind it (unix(7)).
const LONGEST_ADDRESS: usize = 107;
/// Clients that may wait to be let in.
const BACKLOG: i32 = 16;
