//! Which processes listen in a network of their own, as a container's do: found through `/proc/{pid}/net`, which shows the
//! network that the process is in. They are servers to the verdict; nobody outside reaches them, so that no port of
//! theirs is told or let through to. A network that cannot be read has no servers.

use super::throttle::Throttle;
use crate::os::clock::Moment;
use crate::ports::{owner, table};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Most networks that are looked into.
const NETWORKS: usize = 16;
/// Most processes of one whose descriptors are looked through.
const PROCESSES: usize = 256;

/// Looks again and again.
#[derive(Debug, Default)]
pub struct ContainerListeners {
    throttle: Throttle,
    found: BTreeSet<(u32, u64)>,
}

impl ContainerListeners {
    /// Which of these processes (id and start) listen in a network that is not ours.
    pub fn look(&mut self, proc: &Path, processes: &[(u32, u64)], now: Moment) -> BTreeSet<u32> {
        if self.throttle.is_due(now) {
            let begun = Instant::now();
            self.found = find(proc, processes);
            self.throttle.spent(now, begun.elapsed());
        }
        processes.iter().filter(|process| self.found.contains(process)).map(|(pid, _)| *pid).collect()
    }
}

fn find(proc: &Path, processes: &[(u32, u64)]) -> BTreeSet<(u32, u64)> {
    let network = |pid: &str| std::fs::read_link(proc.join(pid).join("ns/net")).ok();
    let Some(own) = network("self") else { return BTreeSet::new() };
    let mut networks: BTreeMap<PathBuf, Vec<(u32, u64)>> = BTreeMap::new();
    for (pid, started) in processes {
        if let Some(other) = network(&pid.to_string()).filter(|other| *other != own)
            && (networks.len() < NETWORKS || networks.contains_key(&other))
        {
            networks.entry(other).or_default().push((*pid, *started));
        }
    }
    let mut found = BTreeSet::new();
    for members in networks.values() {
        let inodes = members.first().map(|(pid, _)| listening(&proc.join(pid.to_string()).join("net")));
        let Some(inodes) = inodes.filter(|inodes| !inodes.is_empty()) else { continue };
        let listens =
            |(pid, _): &&(u32, u64)| owner::sockets(proc, *pid).any(|inode| inodes.contains(&inode));
        found.extend(members.iter().take(PROCESSES).filter(listens));
    }
    found
}

/// The sockets that listen in a network.
fn listening(net: &Path) -> BTreeSet<u64> {
    let texts = ["tcp", "tcp6"].into_iter().filter_map(|name| std::fs::read_to_string(net.join(name)).ok());
    texts.flat_map(|text| table::parse(&text)).map(|listener| listener.inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41234 1 0000000000000000 100 0 0 10 0
   1: 0100007F:0BB8 0100007F:D4A2 01 00000000:00000000 00:00000000 00000000     0        0 41300 1 0000000000000000 20 4 30 10 -1
";

    fn process(proc: &Path, pid: &str, network: u32, sockets: &[u64]) {
        let directory = proc.join(pid);
        std::fs::create_dir_all(directory.join("ns")).unwrap();
        std::fs::create_dir_all(directory.join("fd")).unwrap();
        std::fs::create_dir_all(directory.join("net")).unwrap();
        symlink(format!("net:[{network}]"), directory.join("ns/net")).unwrap();
        std::fs::write(directory.join("net/tcp"), TABLE).unwrap();
        for (number, inode) in sockets.iter().enumerate() {
            symlink(format!("socket:[{inode}]"), directory.join(format!("fd/{number}"))).unwrap();
        }
    }

    #[test]
    fn whoever_listens_in_another_network_is_found_and_whoever_is_connected_there_or_listens_here_is_not() {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), "self", 1, &[]);
        process(proc.path(), "20", 1, &[41234]);
        process(proc.path(), "30", 2, &[41300]);
        process(proc.path(), "31", 2, &[7, 41234]);
        let all = [(20, 1), (30, 1), (31, 1), (32, 1)];
        let mut container_listeners = ContainerListeners::default();
        assert_eq!(container_listeners.look(proc.path(), &all, Moment(0)), BTreeSet::from([31]));
        // One that has the same id and started later is another one.
        let later = [(20, 1), (30, 1), (31, 9)];
        container_listeners.throttle.spent(Moment(0), std::time::Duration::from_secs(9));
        assert_eq!(container_listeners.look(proc.path(), &later, Moment(1)), BTreeSet::new());
    }

    #[test]
    fn what_cannot_be_read_listens_nowhere() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(find(proc.path(), &[(31, 1)]), BTreeSet::new());
        process(proc.path(), "self", 1, &[]);
        process(proc.path(), "31", 2, &[41234]);
        std::fs::remove_dir_all(proc.path().join("31/fd")).unwrap();
        assert_eq!(find(proc.path(), &[(31, 1)]), BTreeSet::new());
    }
}
