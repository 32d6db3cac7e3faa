//! Processes as the kernel shows them: text in, facts out; and the one function that reads them all.

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

/// Reads `/proc/{pid}/stat`. The name may hold anything, spaces and parentheses included.
pub fn parse_stat(text: &str) -> Option<Process> {
    let (head, rest) = text.rsplit_once(')')?;
    let (pid, comm) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // utime, stime, cutime, cstime: a tick is counted with the process while it lives and with its parent afterwards.
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Some(Process {
        pid: pid.trim().parse().ok()?,
        parent: u32::try_from(number(1)?).ok()?,
        comm: comm.to_owned(),
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
    Some(value("read_bytes:")? + value("write_bytes:")?)
}

/// Reads `/proc/{pid}/cmdline`, its first few arguments.
pub fn parse_cmdline(bytes: &[u8]) -> Vec<String> {
    let text = |argument: &[u8]| String::from_utf8_lossy(argument).chars().take(300).collect();
    bytes.split(|byte| *byte == 0).filter(|argument| !argument.is_empty()).take(6).map(text).collect()
}

/// Reads all processes. One that ends meanwhile is left out.
///
/// # Errors
/// The directory itself cannot be read.
pub fn read_all(proc: &Path, user: Option<u32>) -> std::io::Result<Vec<Process>> {
    let mut processes = Vec::with_capacity(256);
    for entry in std::fs::read_dir(proc)?.filter_map(Result::ok) {
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        let path = entry.path();
        let Some(mut process) =
            std::fs::read_to_string(path.join("stat")).ok().as_deref().and_then(parse_stat)
        else {
            continue;
        };
        process.uid = std::fs::metadata(&path).map_or(0, |metadata| metadata.uid());
        if process.has_terminal || Some(process.uid) == user {
            process.storage_bytes =
                std::fs::read_to_string(path.join("io")).ok().as_deref().and_then(parse_io);
            process.arguments =
                std::fs::read(path.join("cmdline")).map(|bytes| parse_cmdline(&bytes)).unwrap_or_default();
        }
        processes.push(process);
    }
    Ok(processes)
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
    fn io_and_arguments_are_read_and_torn_ones_are_absent() {
        let io = "rchar: 9\nwchar: 9\nsyscr: 1\nsyscw: 1\nread_bytes: 4096\nwrite_bytes: 100\ncancelled_write_bytes: 7\n";
        assert_eq!(parse_io(io), Some(4196));
        assert_eq!(parse_io("rchar: 9\nread_by"), None);
        assert_eq!(parse_cmdline(b"node\0/usr/bin/gemini\0\0"), ["node", "/usr/bin/gemini"]);
    }

    #[test]
    fn this_process_is_among_all() {
        let us =
            read_all(Path::new("/proc"), None).unwrap().into_iter().find(|one| one.pid == std::process::id());
        assert!(us.is_some());
    }
}
