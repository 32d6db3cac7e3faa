//! Ending SSH sessions: the processes that carry them. What was started in one and goes on without it, such as tmux, stays.

use crate::os::cgroups::{group_of, is_in};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;

/// Where systemd puts sessions of people.
const PEOPLE: &str = "user.slice";
/// What carries a session, from OpenSSH 9.8 on and before.
const CARRIERS: [&str; 2] = ["sshd-session", "sshd"];

/// Ends all sessions of this moment. One that has gone meanwhile is ended.
pub fn end(proc: &Path) {
    for pid in carriers(proc) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

fn carriers(proc: &Path) -> Vec<u32> {
    let processes = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| carries(proc, *pid)).collect()
}

fn carries(proc: &Path, pid: u32) -> bool {
    let name = std::fs::read_to_string(proc.join(pid.to_string()).join("comm")).unwrap_or_default();
    CARRIERS.contains(&name.trim_end()) && group_of(proc, pid).is_some_and(|group| is_in(&group, PEOPLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_people_end_and_neither_what_runs_in_them_nor_any_other_sshd() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, name, group) in [
            (10, "sshd-session", "/user.slice/user-1000.slice/session-3.scope"),
            (11, "sshd", "/user.slice/user-1000.slice/session-4.scope"),
            (12, "tmux: server", "/user.slice/user-1000.slice/session-3.scope"),
            (13, "sshd", "/ebbtide.slice/ebbtide-sshd.service"),
            (14, "sshd", "/system.slice/docker-0af1.scope"),
        ] {
            let directory = proc.path().join(pid.to_string());
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("comm"), format!("{name}\n")).unwrap();
            std::fs::write(directory.join("cgroup"), format!("0::{group}\n")).unwrap();
        }
        let mut found = carriers(proc.path());
        found.sort_unstable();
        assert_eq!(found, [10, 11]);
    }
}
