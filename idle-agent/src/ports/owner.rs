//! Which process holds a socket: descriptors of all processes, looked through only when something new listens.

use std::collections::BTreeMap;
use std::path::Path;

/// The process behind a socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    /// Process ids that hold it, lowest first.
    pub pids: Vec<u32>,
    /// What the first of them is called.
    pub name: String,
    /// What it was called with.
    pub arguments: Vec<String>,
}

/// Most arguments that are read.
const ARGUMENTS: usize = 200;

/// Finds the owners of these sockets. A process that ends meanwhile, or that we may not look at, is left out.
pub fn find(proc: &Path, inodes: &[u64]) -> BTreeMap<u64, Owner> {
    let mut owners: BTreeMap<u64, Owner> = BTreeMap::new();
    for entry in std::fs::read_dir(proc).into_iter().flatten().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        for inode in sockets(proc, pid).filter(|inode| inodes.contains(inode)) {
            owners.entry(inode).or_default().pids.push(pid);
        }
    }
    for owner in owners.values_mut() {
        owner.pids.sort_unstable();
        owner.pids.dedup();
        if let Some(pid) = owner.pids.first() {
            (owner.name, owner.arguments) = called(proc, *pid);
        }
    }
    owners
}

/// The sockets that a process holds; none where it may not be looked at.
pub fn sockets(proc: &Path, pid: u32) -> impl Iterator<Item = u64> + use<> {
    let descriptors =
        std::fs::read_dir(proc.join(pid.to_string()).join("fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| {
        let target = std::fs::read_link(descriptor.path()).ok()?;
        socket_inode(target.to_str()?)
    })
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn called(proc: &Path, pid: u32) -> (String, Vec<String>) {
    let directory = proc.join(pid.to_string());
    let cmdline = std::fs::read(directory.join("cmdline")).unwrap_or_default();
    let comm = std::fs::read_to_string(directory.join("comm")).unwrap_or_default();
    let arguments = cmdline.split(|byte| *byte == 0).take(ARGUMENTS);
    (
        readable_name(&cmdline, comm.trim()),
        arguments.map(|argument| String::from_utf8_lossy(argument).into_owned()).collect(),
    )
}

/// The last part of the program's path as it was called; what the kernel calls it where that is empty.
fn readable_name(cmdline: &[u8], comm: &str) -> String {
    let called =
        String::from_utf8_lossy(cmdline.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    let called = called.split([' ', ':']).next().unwrap_or_default();
    let name = called.rsplit('/').next().unwrap_or_default().trim_start_matches('-');
    let name = if name.is_empty() { comm } else { name };
    name.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_fall_back_to_the_kernels() {
        assert_eq!(readable_name(b"/usr/bin/node\0server.js\0", "MainThread"), "node");
        assert_eq!(readable_name(b"nginx: master process nginx\0", "nginx"), "nginx");
        assert_eq!(readable_name(b"-bash\0", "bash"), "bash");
        assert_eq!(readable_name(b"", "kthread"), "kthread");
        assert_eq!(socket_inode("socket:[12]"), Some(12));
        assert_eq!(socket_inode("anon_inode:[eventpoll]"), None);
    }

    #[test]
    fn a_socket_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let inode =
            super::super::table::parse(&table).into_iter().find(|one| one.port == port).unwrap().inode;
        let owners = find(Path::new("/proc"), &[inode]);
        assert_eq!(owners[&inode].pids, [std::process::id()]);
    }
}
