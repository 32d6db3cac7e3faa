//! Which programs the kernel ended for lack of memory: read from its own log, from the boot on, so that a daemon that was
//! restarted counts the same.

use super::mutex::spawn;
use std::io::Read as _;

/// The kernel's log; a read gives one record.
const LOG: &str = "/dev/kmsg";
/// Longer than the kernel makes a record.
const RECORD_BYTES: usize = 8 << 10;

/// Tells of each program that is ended, on a thread of its own. Where there is no log to read, nothing is told.
pub fn watch(told: impl Fn(&str) + Send + 'static) {
    let watching = spawn("memory-killer", move || {
        if let Err(error) = follow(&told) {
            tracing::warn!(%error, "the kernel's log is not read: nobody is told what ends for lack of memory");
        }
    });
    if let Err(error) = watching {
        tracing::warn!(%error, "the kernel's log is not read");
    }
}

fn follow(told: &impl Fn(&str)) -> std::io::Result<()> {
    let mut log = std::fs::File::open(LOG)?;
    let mut record = [0; RECORD_BYTES];
    loop {
        match log.read(&mut record) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                if let Some(program) = killed(&text) {
                    told(program);
                }
            }
            // Records that were written over before they were read.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The program that a record says was ended, as in `3,17,42,-;Out of memory: Killed process 7 (node) total-vm:…`. A program
/// can write records too, whose facility is not the kernel's: they say nothing.
fn killed(record: &str) -> Option<&str> {
    let (head, text) = record.split_once(';')?;
    let level: u32 = head.split(',').next()?.parse().ok()?;
    let by_the_kernel = level < 8;
    let (kind, rest) = text.split_once("ut of memory: Killed process ")?;
    let (_, rest) = rest.split_once(" (")?;
    // A name may hold brackets.
    let (name, _) = rest.rsplit_once(") total-vm:").or_else(|| rest.rsplit_once("), UID"))?;
    (by_the_kernel && kind.len() < 20).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read_and_nobody_elses() {
        let table = [
            (
                "3,901,5417,-;Out of memory: Killed process 812 (claude) total-vm:9kB, anon-rss:7kB, UID:1000 pgtables:1kB oom_score_adj:0",
                Some("claude"),
            ),
            (
                "3,9,1,-;Memory cgroup out of memory: Killed process 8 (a (b) c) total-vm:9kB, anon-rss:7kB",
                Some("a (b) c"),
            ),
            ("12,9,1,-;Out of memory: Killed process 8 (fake) total-vm:9kB", None),
            ("6,9,1,-;usb 1-1: new device", None),
            ("6,9,1,-;x says: Something else, out of memory: Killed process 8 (x) total-vm:9kB", None),
            ("", None),
            ("3,1,1,-;Out of memory: Killed process", None),
        ];
        for (record, expected) in table {
            assert_eq!(killed(record), expected, "{record}");
        }
    }
}
