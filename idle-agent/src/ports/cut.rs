//! Connections that outlive the right to them, cut: a WebSocket is asked about once, when it is opened, and stays.
//!
//! Caddy 2.6 has no way to end one but a reload or its own end, which end all of everybody's. So the socket between Caddy and
//! the app is shut down from outside, by a copy of Caddy's own descriptor; Caddy then closes the browser's side. All
//! connections to that one server are cut, for nobody knows which of them came by what: who may come back does.

use crate::os::mutex::spawn;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::BTreeSet;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

/// After so long it is looked again: whoever was let in just before may not have been connected yet.
const AGAIN: Duration = Duration::from_secs(2);

/// Cuts what Caddy holds to these servers, now and once more, on a thread of its own.
pub fn cut_soon(run: &Path, servers: Vec<SocketAddr>) {
    let pid_file = run.join("caddy.pid");
    let cutting = spawn("cut", move || {
        for pause in [Duration::ZERO, AGAIN] {
            std::thread::sleep(pause);
            match std::fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok()) {
                Some(pid) => tell(cut(pid, &servers)),
                None => return,
            }
        }
    });
    if let Err(error) = cutting {
        tracing::warn!(%error, "connections of ended links are not cut");
    }
}

fn tell(cut: std::io::Result<usize>) {
    match cut {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "connections are cut whose links or ports were ended"),
        Err(error) => tracing::warn!(%error, "connections of ended links are not cut"),
    }
}

/// Shuts a process's connections to these servers down; how many that were.
fn cut(pid: i32, servers: &[SocketAddr]) -> std::io::Result<usize> {
    let process = Pid::from_raw(pid).ok_or(std::io::ErrorKind::NotFound)?;
    let handle = pidfd_open(process, PidfdFlags::empty())?;
    let mut inodes = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        inodes.extend(connected(&text, servers));
    }
    let mut count = 0;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(Result::ok) {
        let is_one = std::fs::read_link(entry.path()).is_ok_and(|to| inodes.contains(&*to.to_string_lossy()));
        let number = entry.file_name().to_string_lossy().parse().ok().filter(|_| is_one);
        let Some(number) = number else { continue };
        // Gone meanwhile, or another by now: what is not a connection to one of the servers is left alone.
        let Ok(socket) = pidfd_getfd(handle.as_fd(), number, PidfdGetfdFlags::empty()) else { continue };
        let socket = TcpStream::from(socket);
        if socket.peer_addr().is_ok_and(|peer| servers.contains(&plain(peer))) {
            count += usize::from(socket.shutdown(Shutdown::Both).is_ok());
        }
    }
    Ok(count)
}

/// The sockets of a table that are connected to one of the servers, as links to descriptors name them.
fn connected(table: &str, servers: &[SocketAddr]) -> Vec<String> {
    let found = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(2);
        let (remote, state) = (fields.next()?, fields.next()?);
        let (address, port) = remote.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let peer = plain(SocketAddr::new(super::table::parse_address(address)?, port));
        let is_ours = state == "01" && servers.contains(&peer);
        is_ours.then(|| format!("socket:[{}]", fields.nth(5).unwrap_or_default()))
    });
    found.collect()
}

/// An IPv4 address as such, however the socket writes it.
fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => SocketAddr::new(ip.to_canonical(), address.port()),
    }
}
