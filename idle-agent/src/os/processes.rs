//! Processes as the kernel shows them: text in, facts out; and the reader that goes through all of them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// What the kernel calls it.
    pub comm: String,
    /// Whose it is.
    pub uid: u32,
    /// Whether it has a terminal.
    pub has_terminal: bool,
    /// When it started, in ticks; with the id it names a process for ever.
    pub started: u64,
    /// Processor time of it and of its children that ended, in ticks.
    pub ticks: u64,
    /// Bytes moved to and from storage by it and by its children that ended; `None` where it was not asked.
    pub storage_bytes: Option<u64>,
    /// Its arguments; empty where they were not asked.
    pub arguments: Vec<String>,
}

/// Reads `/proc/{pid}/stat`. The name may hold anything, spaces and parentheses included. One that has ended and that
/// nobody has waited for yet (`Z`, or `X`) is none: its parent may take for ever, and nothing can be read of it. Where
/// its first thread has ended and others have not, their time counts, but it is no agent any more.
pub fn parse_stat(text: &str) -> Option<Process> {
    let (head, rest) = text.rsplit_once(')')?;
    let (pid, comm) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let has_ended = matches!(*fields.first()?, "Z" | "X" | "x");
    if has_ended && fields.get(17)?.parse::<u64>().ok()? <= 1 {
        return None;
    }
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // utime, stime, cutime, cstime: a tick is counted with the process while it lives and with its parent afterwards.
    let times = [number(11)?, number(12)?, number(13)?, number(14)?];
    let ticks = times.into_iter().fold(0, u64::saturating_add);
    Some(Process {
        pid: pid.trim().parse().ok()?,
        parent: u32::try_from(number(1)?).ok()?,
        comm: if has_ended { format!("{comm} (ending)") } else { comm.to_owned() },
        uid: 0,
        has_terminal: fields.get(4)?.parse::<i64>().ok()? != 0,
        started: number(19)?,
        ticks,
        storage_bytes: None,
        arguments: Vec::new(),
    })
}

/// Reads `/proc/{pid}/io`: what really went to storage and came from it.
pub fn parse_io(text: &str) -> Option<u64> {
    let value =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(value("read_bytes:")?.saturating_add(value("write_bytes:")?))
}

/// Reads `/proc/{pid}/cmdline`, its first few arguments.
pub fn parse_cmdline(bytes: &[u8]) -> Vec<String> {
    let text = |argument: &[u8]| String::from_utf8_lossy(argument).chars().take(300).collect();
    bytes.split(|byte| *byte == 0).filter(|argument| !argument.is_empty()).take(6).map(text).collect()
}

/// Reads one process, its arguments included; `None` where it is gone.
pub fn read_one(proc: &Path, pid: u32) -> Option<Process> {
    let directory = proc.join(pid.to_string());
    let mut process = parse_stat(&std::fs::read_to_string(directory.join("stat")).ok()?)?;
    process.arguments = parse_cmdline(&std::fs::read(directory.join("cmdline")).unwrap_or_default());
    Some(process)
}

/// Reads processes again and again, each time only what can have changed: of one that has used no processor time since
/// the last look, a single file.
#[derive(Debug, Default)]
pub struct Reader {
    known: HashMap<u32, Process>,
}

impl Reader {
    /// Reads all processes. One that ends meanwhile is left out.
    ///
    /// # Errors
    /// The directory itself cannot be read.
    pub fn read_all(&mut self, proc: &Path, user: Option<u32>) -> std::io::Result<Vec<Process>> {
        let mut processes = Vec::with_capacity(self.known.len() + 16);
        let mut text = String::with_capacity(512);
        for entry in std::fs::read_dir(proc)?.filter_map(Result::ok) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let path = entry.path();
            text.clear();
            let read = File::open(path.join("stat")).and_then(|mut file| file.read_to_string(&mut text));
            let Some(mut process) = read.ok().and_then(|_| parse_stat(&text)) else { continue };
            match self.known.get(&pid).filter(|known| known.is_same_program(&process)) {
                Some(known) => {
                    process.uid = known.uid;
                    process.arguments.clone_from(&known.arguments);
                    process.storage_bytes = known.storage_bytes;
                    if process.is_of_interest(user) && process.ticks != known.ticks {
                        process.storage_bytes = read_io(&path);
                    }
                }
                None => {
                    process.uid = std::fs::metadata(&path).map_or(0, |metadata| metadata.uid());
                    if process.is_of_interest(user) {
                        process.storage_bytes = read_io(&path);
                        let cmdline = std::fs::read(path.join("cmdline"));
                        process.arguments = cmdline.map(|bytes| parse_cmdline(&bytes)).unwrap_or_default();
                    }
                }
            }
            processes.push(process);
        }
        self.known = processes.iter().map(|process| (process.pid, process.clone())).collect();
        Ok(processes)
    }
}

impl Process {
    /// Whether it is the same process and still runs the same program.
    fn is_same_program(&self, other: &Self) -> bool {
        self.started == other.started && self.comm == other.comm
    }

    /// Whether it can belong to the workspace.
    fn is_of_interest(&self, user: Option<u32>) -> bool {
        self.has_terminal || Some(self.uid) == user
    }
}

fn read_io(process: &Path) -> Option<u64> {
    parse_io(&std::fs::read_to_string(process.join("io")).ok()?)
}

/// Resident memory of this process in bytes; 0 where it cannot be told.
pub fn resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .map_or(0, |kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_process_is_called() {
        let line = "4242 (a) S (b c) S 4200 4242 4200 34817 4242 4194304 1000 2000 0 0 150 50 30 20 20 0 7 0 98765 1 2 3";
        let process = parse_stat(line).unwrap();
        assert_eq!((process.pid, process.parent, process.comm.as_str()), (4242, 4200, "a) S (b c"));
        assert!(process.has_terminal);
        assert_eq!((process.started, process.ticks), (98765, 250));
        for torn in [
            "",
            "4242 (a",
            "4242 (a) S 1 2",
            "x (a) S 4200 4242 4200 0 -1 4194304 1 2 0 0 1 1 1 1 20 0 7 0 9",
        ] {
            assert_eq!(parse_stat(torn), None, "{torn}");
        }
    }

    #[test]
    fn what_has_ended_is_no_process_although_its_parent_has_not_waited_for_it() {
        let stat = |state: &str, threads: u32| {
            format!("42 (claude) {state} 1 42 42 34817 42 0 0 0 0 0 5 0 0 0 20 0 {threads} 0 777 0 0")
        };
        let name = |text: &str| parse_stat(text).map(|process| process.comm);
        assert_eq!(name(&stat("S", 9)).as_deref(), Some("claude"));
        assert_eq!(name(&stat("Z", 1)), None);
        assert_eq!(name(&stat("X", 0)), None);
        assert_eq!(
            name(&stat("Z", 3)).as_deref(),
            Some("claude (ending)"),
            "threads of it run on, and it is no agent"
        );
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let begun = std::time::Instant::now();
        // Nobody waits for it yet.
        while read_one(Path::new("/proc"), child.id()).is_some() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it is still taken for alive");
            std::thread::yield_now();
        }
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn io_and_arguments_are_read_and_torn_ones_are_absent() {
        let io = "rchar: 9\nwchar: 9\nsyscr: 1\nsyscw: 1\nread_bytes: 4096\nwrite_bytes: 100\ncancelled_write_bytes: 7\n";
        assert_eq!(parse_io(io), Some(4196));
        assert_eq!(parse_io("rchar: 9\nread_by"), None);
        assert_eq!(parse_cmdline(b"node\0/usr/bin/gemini\0\0"), ["node", "/usr/bin/gemini"]);
    }

    #[test]
    fn a_second_look_sees_what_changed_and_a_program_that_became_another() {
        let proc = tempfile::tempdir().unwrap();
        let write = |comm: &str, ticks: u32, bytes: u32, command: &str| {
            let directory = proc.path().join("42");
            std::fs::create_dir_all(&directory).unwrap();
            let stat = format!("42 ({comm}) S 1 42 42 34817 42 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 777 1 2 3");
            std::fs::write(directory.join("stat"), stat).unwrap();
            let io = format!("read_bytes: {bytes}\nwrite_bytes: 0\n");
            std::fs::write(directory.join("io"), io).unwrap();
            std::fs::write(directory.join("cmdline"), command).unwrap();
        };
        let mut reader = Reader::default();
        let mut look = || reader.read_all(proc.path(), None).unwrap().remove(0);
        write("sh", 1, 10, "sh\0-c");
        assert_eq!(
            (look().storage_bytes, look().arguments),
            (Some(10), vec!["sh".to_owned(), "-c".to_owned()])
        );
        write("sh", 1, 20, "sh\0-c");
        assert_eq!(look().storage_bytes, Some(10), "it has not run since");
        write("sh", 2, 20, "sh\0-c");
        assert_eq!(look().storage_bytes, Some(20));
        write("claude", 2, 20, "claude");
        assert_eq!(look().arguments, ["claude"]);
    }

    #[test]
    fn this_process_is_among_all() {
        let all = Reader::default().read_all(Path::new("/proc"), None).unwrap();
        assert!(all.iter().any(|one| one.pid == std::process::id()));
    }

    #[test]
    fn our_own_memory_can_be_told() {
        assert!(resident_bytes() > 100_000);
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::{bytes_like, text_like};
    use proptest::prelude::*;

    const STATS: &[&str] = &[
        "17 (a) b) S 1 17 17 34816 17 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 1",
        "1 (a) S 1 1 1 0 -1 0 0 0 0 0 18446744073709551615 1 0 0 20 0 1 0 1 1",
        "4294967295 (x (y) Z 1 1 1 0 -1 0 0 0 0 0 1 2 3 4 20 0 2 0 9 0 0",
    ];
    const IO: &[&str] = &[
        "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n",
        "read_bytes: 18446744073709551615\nwrite_bytes: 1\n",
    ];
    const ARGUMENTS: &[&str] = &["node\0/usr/bin/claude\0--resume\0", "\0\0a b\0"];

    proptest! {
        #[test]
        fn what_the_kernel_says_of_processes_is_read_or_left_out(
            stat in text_like(STATS),
            io in text_like(IO),
            arguments in bytes_like(ARGUMENTS),
        ) {
            parse_stat(&stat);
            parse_io(&io);
            let read = parse_cmdline(&arguments);
            prop_assert!(read.len() <= 6 && read.iter().all(|one| one.chars().count() <= 300));
        }
    }
}
