//! `cloud-sim machine-bridge SOCKET`: joins its standard input and output with a socket. QEMU starts one for each
//! connection that a guest opens to a service of this program, and gives it the connection.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

/// Runs until the service has said all, or is not there. Says nothing: standard error is the connection, too.
pub fn main(socket: &Path) -> ExitCode {
    match run(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(socket: &Path) -> io::Result<()> {
    let mut service = UnixStream::connect(socket)?;
    let mut to_service = service.try_clone()?;
    // Without the standard library's buffers: a guest waits for half a line, too.
    let mut from_guest = File::from(rustix::io::dup(rustix::stdio::stdin())?);
    let mut to_guest = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    std::thread::spawn(move || {
        // However it ends, the guest says no more.
        let _ = io::copy(&mut from_guest, &mut to_service);
        let _ = to_service.shutdown(Shutdown::Write);
    });
    io::copy(&mut service, &mut to_guest).map(drop)
}
