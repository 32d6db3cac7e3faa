//! Which processes watch files: whoever does holds an `inotify` or `fanotify` instance with something to watch, which
//! `/proc/{pid}/fdinfo` shows. One that cannot be looked at watches nothing. Says nothing about what for: `tail -f` and
//! whoever waits for a single file hold the same.

use super::throttle::Throttle;
use crate::os::clock::Moment;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

/// Most processes that are looked at: only what agents left behind is asked about. One beyond them watches nothing, and so
/// counts as work.
const PROCESSES: usize = 64;
/// Most descriptors of one.
const DESCRIPTORS: usize = 1024;

/// How much of what the kernel says of one is read: the first watch stands within.
const HEAD_BYTES: u64 = 2048;

/// Looks again and again.
#[derive(Debug, Default)]
pub struct InotifyWatchers {
    throttle: Throttle,
    found: BTreeSet<(u32, u64)>,
}

impl InotifyWatchers {
    /// Which of these processes (id and start) watch files.
    pub fn look(&mut self, proc: &Path, processes: &[(u32, u64)], now: Moment) -> BTreeSet<u32> {
        if self.throttle.is_due(now) {
            let begun = Instant::now();
            let watches = |(pid, _): &&(u32, u64)| watches(&proc.join(pid.to_string()));
            self.found = processes.iter().take(PROCESSES).filter(watches).copied().collect();
            self.throttle.spent(now, begun.elapsed());
        }
        processes.iter().filter(|process| self.found.contains(process)).map(|(pid, _)| *pid).collect()
    }
}

fn watches(process: &Path) -> bool {
    let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors.take(DESCRIPTORS).any(|descriptor| {
        let target = std::fs::read_link(descriptor.path()).unwrap_or_default();
        let is_watch = target.to_str().is_some_and(|target| {
            matches!(target, "anon_inode:inotify" | "anon_inode:[inotify]" | "anon_inode:[fanotify]")
        });
        is_watch && {
            let mut info = String::new();
            let file = std::fs::File::open(process.join("fdinfo").join(descriptor.file_name()));
            // A line a watch, of which there may be hundreds of thousands; the first is behind some lines of the instance.
            let read = file.and_then(|file| file.take(HEAD_BYTES).read_to_string(&mut info));
            read.is_ok() && has_watch(&info)
        }
    })
}

/// Whether an instance has anything to watch. `fanotify flags:` is about the instance itself.
fn has_watch(info: &str) -> bool {
    let is_one = |line: &str| {
        line.starts_with("inotify wd:")
            || line.starts_with("fanotify ") && !line.starts_with("fanotify flags:")
    };
    info.lines().any(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::inotify;

    #[test]
    fn an_instance_with_something_to_watch_counts_and_an_empty_one_does_not() {
        let head = "pos:\t0\nflags:\t02004000\nmnt_id:\t15\nino:\t1057\n";
        let wd = "inotify wd:1 ino:2 sdev:800013 mask:fc6 ignored_mask:0 fhandle-bytes:8 fhandle-type:1\n";
        assert!(has_watch(&format!("{head}{wd}")));
        let fanotify = format!("{head}fanotify flags:10 event-flags:8000\n");
        assert!(!has_watch(head) && !has_watch(&fanotify));
        assert!(has_watch(&format!("{fanotify}fanotify mnt_id:12 mflags:40 mask:38 ignored_mask:0\n")));
    }

    #[test]
    fn a_real_watch_is_seen_and_one_that_ended_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let all = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(all < DESCRIPTORS);
        // Of this process alone, whose other tests may watch something too, nothing follows from `watches`.
        let instance = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        let info = |number| std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&instance);
        assert!(!has_watch(&info(number)));
        let watch = inotify::add_watch(&instance, directory.path(), inotify::WatchFlags::CREATE).unwrap();
        assert!(has_watch(&info(number)) && watches(Path::new("/proc/self")));
        inotify::remove_watch(&instance, watch).unwrap();
        assert!(!has_watch(&info(number)));
        assert!(!watches(Path::new("/nonexistent")));
    }
}
