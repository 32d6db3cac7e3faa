//! A Unix socket answered by a fixed number of threads, so that no crowd of callers takes more of the daemon than that.
//!
//! Whoever finds all threads busy waits in the kernel's queue. A socket on which nobody can be taken in any more ends the
//! program: systemd starts it again, and its start is the way on from any state. It must never end quietly: a daemon that
//! lives and does not listen is not started again.

use super::mutex::spawn;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Looks in a row at a socket that takes nobody in for want of files or memory, and the pause between: five seconds.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Makes a socket for the owner alone, in the place of one that an earlier life left.
///
/// # Errors
/// What the system says about the socket.
pub fn bind(socket: &Path) -> std::io::Result<UnixListener> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Hands every caller to `talk`, from now on, on so many threads of this name. What a talk ends with is nobody's concern
/// but the caller's: it is logged for those who look for it.
///
/// # Errors
/// A thread cannot be started.
pub fn serve(
    listener: UnixListener,
    name: &'static str,
    threads: usize,
    talk: impl Fn(UnixStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> std::io::Result<()> {
    let shared = Arc::new((listener, talk));
    for _ in 0..threads {
        let shared = Arc::clone(&shared);
        spawn(name, move || {
            let (listener, talk) = &*shared;
            let error = listen(|| listener.accept().map(|(caller, _)| caller), talk, name);
            tracing::error!(%error, name, "nobody is taken in any more: the daemon ends, to start again");
            std::process::exit(1);
        })?;
    }
    Ok(())
}

/// Takes callers in until that fails for good; answers with what it failed for.
fn listen(
    accept: impl Fn() -> std::io::Result<UnixStream>,
    talk: &impl Fn(UnixStream) -> std::io::Result<()>,
    name: &str,
) -> std::io::Error {
    let mut failed = 0;
    loop {
        match accept() {
            Ok(caller) => {
                failed = 0;
                if let Err(error) = talk(caller) {
                    tracing::debug!(%error, name, "a caller went away");
                }
            }
            Err(error) if is_of_one_caller(&error) => {}
            Err(error) if failed >= TRIES => return error,
            Err(error) => {
                if failed == 0 {
                    tracing::warn!(%error, name, "a caller is not taken in");
                }
                failed += 1;
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Whether the next caller may well be taken in.
fn is_of_one_caller(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io::{Read as _, Write as _};
    use std::sync::mpsc::channel;

    #[test]
    fn a_socket_that_fails_once_goes_on_and_one_that_fails_for_good_is_given_up() {
        let calls = Cell::new(0);
        let accept = || {
            calls.set(calls.get() + 1);
            match calls.get() {
                1 => Err(ErrorKind::ConnectionAborted.into()),
                2 => Err(std::io::Error::from_raw_os_error(24)),
                3 => Ok(UnixStream::pair()?.0),
                _ => Err(std::io::Error::from_raw_os_error(22)),
            }
        };
        let talks = Cell::new(0);
        let talk = |_| {
            talks.set(talks.get() + 1);
            Err(ErrorKind::BrokenPipe.into())
        };
        assert_eq!(listen(accept, &talk, "t").raw_os_error(), Some(22));
        assert_eq!((talks.get(), calls.get()), (1, 4 + TRIES));
    }

    #[test]
    fn one_that_says_nothing_keeps_one_thread_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = bind(&socket).unwrap();
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let (sender, talked) = channel();
        serve(listener, "t", 2, move |mut caller| {
            let mut said = [0];
            caller.read_exact(&mut said)?;
            sender.send(said).map_err(std::io::Error::other)
        })
        .unwrap();
        let silent = UnixStream::connect(&socket).unwrap();
        for n in 0..10 {
            UnixStream::connect(&socket).unwrap().write_all(&[n]).unwrap();
            assert_eq!(talked.recv_timeout(Duration::from_secs(60)).unwrap(), [n]);
        }
        drop(silent);
    }
}
