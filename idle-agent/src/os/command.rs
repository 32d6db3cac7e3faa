//! Runs one program for a boot step: arguments, never a shell; its own process group; a clean environment; every
//! line of its output handed on as it comes; ended with its whole group when it takes too long.

use crate::os::clock::Moment;
use crate::os::users::User;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A directory that is looked through before those; for tests.
static FIRST: OnceLock<PathBuf> = OnceLock::new();

/// Looks for programs in this directory first.
pub fn look_first_in(directory: PathBuf) {
    // Set once, before the first thread is started.
    let _ = FIRST.set(directory);
}

/// Where programs are looked for.
pub fn path() -> String {
    FIRST.get().map_or_else(|| PATH.to_owned(), |first| format!("{}:{PATH}", first.display()))
}

/// Whether a program is found where the daemon's programs are.
pub fn is_installed(program: &str) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path().split(':').any(|directory| {
        std::fs::metadata(Path::new(directory).join(program))
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// Last lines of output that are kept for the reason of a failure.
const TAIL_LINES: usize = 30;
/// Longest line; the rest of a longer one becomes the next.
const LINE_BYTES: usize = 4096;
/// Most output that is kept whole.
const OUTPUT_BYTES: usize = 32 << 20;
/// How long output is still read after the program has ended, should a grandchild hold the pipe.
const AFTER_EXIT: Duration = Duration::from_millis(300);

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Its last lines, both streams together.
    pub tail: Vec<String>,
}

/// Why a program has no end of its own.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Which program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It took too long and was ended.
    #[error("{program} took longer than {} and was ended", ebbtide_api::text::seconds(*.secs))]
    TimedOut {
        /// Which program.
        program: String,
        /// How long it was given.
        secs: u64,
    },
    /// Its output could not be read.
    #[error("lost sight of {program}: {source}")]
    Lost {
        /// Which program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It failed where its output was asked for.
    #[error("{program} failed: {status}")]
    Failed {
        /// Which program.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It printed more than is kept.
    #[error("{program} printed more than {} MiB", OUTPUT_BYTES >> 20)]
    TooMuch {
        /// Which program.
        program: String,
    },
}

/// Where what a program says of errors goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errors {
    AmongOutput,
    Nowhere,
}

/// A command with a clean environment that runs as the user where we are root and it is another.
pub fn command_as(program: impl AsRef<std::ffi::OsStr>, user: Option<&User>) -> Command {
    let mut command = Command::new(program);
    user_environment(&mut command, user);
    if let Some(user) = user.filter(|user| crate::os::users::is_root() && user.uid != 0) {
        // The standard library also gives up our supplementary groups here.
        command.gid(user.gid).uid(user.uid);
    }
    command
}

/// Gives a command a clean environment, the user's or root's, and nothing to read.
pub fn user_environment(command: &mut Command, user: Option<&User>) {
    command
        .env_clear()
        .env("PATH", path())
        .env("LC_ALL", "C.UTF-8")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null());
    match user {
        Some(user) => {
            let shell = if user.shell.is_empty() { "/bin/bash" } else { &user.shell };
            command
                .env("HOME", &user.home)
                .env("USER", &user.name)
                .env("LOGNAME", &user.name)
                .env("SHELL", shell);
        }
        None => {
            command.env("HOME", "/root");
        }
    }
}

/// Runs a command to its end, or to the end of its time.
///
/// # Errors
/// [`RunError`]; a failing status is none.
pub fn run(command: Command, limit: Duration, on_line: &mut dyn FnMut(&str)) -> Result<Ended, RunError> {
    let mut lines = Lines::default();
    let status = follow(command, Errors::AmongOutput, limit, &mut |bytes| lines.push(bytes, on_line))?;
    Ok(Ended { status, tail: lines.finish(on_line) })
}

/// Runs a command to its end likewise, and answers with what it printed, byte for byte.
///
/// # Errors
/// [`RunError`], of a failing status too.
pub fn output(command: Command, limit: Duration) -> Result<Vec<u8>, RunError> {
    let program = name_of(&command);
    let (mut printed, mut is_too_much) = (Vec::new(), false);
    let status = follow(command, Errors::Nowhere, limit, &mut |bytes| {
        is_too_much |= printed.len() + bytes.len() > OUTPUT_BYTES;
        if !is_too_much {
            printed.extend(bytes);
        }
    })?;
    if is_too_much {
        return Err(RunError::TooMuch { program });
    }
    if status.success() { Ok(printed) } else { Err(RunError::Failed { program, status }) }
}

fn name_of(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn follow(
    mut command: Command,
    errors: Errors,
    limit: Duration,
    on_bytes: &mut dyn FnMut(&[u8]),
) -> Result<ExitStatus, RunError> {
    let program = name_of(&command);
    let lost = |source| RunError::Lost { program: program.clone(), source };
    let (mut reader, writer) = std::io::pipe().map_err(lost)?;
    let stderr = match errors {
        Errors::AmongOutput => writer.try_clone().map_err(lost)?.into(),
        Errors::Nowhere => Stdio::null(),
    };
    command.stdout(writer).stderr(stderr).process_group(0);
    let mut child = command.spawn().map_err(|source| RunError::Start { program: program.clone(), source })?;
    // It holds the writing ends of the pipe; nobody but the child may.
    drop(command);

    let end = Moment::now().plus(limit);
    let mut exited: Option<(ExitStatus, Moment)> = None;
    loop {
        let now = Moment::now();
        if exited.is_none() {
            if now >= end {
                end_group(&mut child);
                return Err(RunError::TimedOut { program, secs: limit.as_secs() });
            }
            exited = child.try_wait().map_err(lost)?.map(|status| (status, now));
        }
        let until = exited.map_or(end, |(_, at)| at.plus(AFTER_EXIT));
        let wait = until.since(now).min(Duration::from_millis(100));
        let time = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        let mut ready = [PollFd::new(&reader, PollFlags::IN)];
        if poll(&mut ready, Some(&time)).unwrap_or(0) == 0 {
            if let Some((status, at)) = exited
                && Moment::now() >= at.plus(AFTER_EXIT)
            {
                return Ok(status);
            }
            continue;
        }
        let mut buffer = [0; 8192];
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => on_bytes(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(lost(error)),
        }
    }
    // All output is read; the program ends within its time or is ended.
    loop {
        if let Some((status, _)) = exited {
            return Ok(status);
        }
        let now = Moment::now();
        if now >= end {
            end_group(&mut child);
            return Err(RunError::TimedOut { program, secs: limit.as_secs() });
        }
        exited = child.try_wait().map_err(lost)?.map(|status| (status, now));
        if exited.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn end_group(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Cuts output into lines at `\n` and `\r` (progress meters use the latter).
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
    tail: Vec<String>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        for byte in bytes {
            if matches!(byte, b'\n' | b'\r') || self.partial.len() >= LINE_BYTES {
                self.line(on_line);
            }
            if !matches!(byte, b'\n' | b'\r') {
                self.partial.push(*byte);
            }
        }
    }

    fn line(&mut self, on_line: &mut dyn FnMut(&str)) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).trim_end().to_owned();
        if line.is_empty() {
            return;
        }
        on_line(&line);
        if self.tail.len() == TAIL_LINES {
            self.tail.remove(0);
        }
        self.tail.push(line);
    }

    fn finish(mut self, on_line: &mut dyn FnMut(&str)) -> Vec<String> {
        self.line(on_line);
        self.tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> (Result<Ended, RunError>, Vec<String>) {
        let mut command = command_as("sh", None);
        command.args(["-c", script]);
        let mut lines = Vec::new();
        (run(command, limit, &mut |line| lines.push(line.to_owned())), lines)
    }

    #[test]
    fn lines_of_both_streams_come_as_they_are_and_meters_count_as_lines() {
        let (ended, lines) =
            sh("printf 'a\\rb\\n'; echo c >&2; printf 'last'; exit 3", Duration::from_secs(10));
        let ended = ended.unwrap();
        assert_eq!(lines, ["a", "b", "c", "last"]);
        assert_eq!(ended.tail, lines);
        assert_eq!(ended.status.code(), Some(3));
    }

    #[test]
    fn what_takes_too_long_is_ended_with_its_children() {
        let begun = Moment::now();
        let (ended, lines) = sh("sh -c 'echo $$; exec sleep 1000' & wait", Duration::from_millis(400));
        assert!(matches!(ended, Err(RunError::TimedOut { .. })), "{ended:?}");
        assert!(Moment::now().since(begun) < Duration::from_secs(5));
        let child = format!("/proc/{}/stat", lines[0]);
        let gone = |_: &i32| !std::fs::read_to_string(&child).is_ok_and(|stat| !stat.contains(") Z "));
        assert!(
            (0..500)
                .find(|n| gone(n) || {
                    std::thread::sleep(Duration::from_millis(10));
                    false
                })
                .is_some()
        );
    }

    #[test]
    fn output_is_kept_byte_for_byte_and_for_as_long_as_there_is_time_and_room() {
        let of = |script: &str, limit| {
            let mut command = command_as("sh", None);
            command.args(["-c", script]);
            output(command, limit)
        };
        let printed = of("echo no >&2; printf 'a\\r\\n\\n\\0 \\377'", Duration::from_secs(60)).unwrap();
        assert_eq!(printed, b"a\r\n\n\0 \xff");
        let failed = of("echo a; exit 3", Duration::from_secs(60));
        assert!(matches!(failed, Err(RunError::Failed { .. })), "{failed:?}");
        let late = of("sleep 1000", Duration::ZERO);
        assert!(matches!(late, Err(RunError::TimedOut { .. })), "{late:?}");
        let much = of("head -c 33M /dev/zero", Duration::from_secs(60));
        assert!(matches!(much, Err(RunError::TooMuch { .. })), "{:?}", much.map(|printed| printed.len()));
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_open_does_not_keep_us() {
        let begun = Moment::now();
        let (ended, lines) = sh("sleep 30 & echo started", Duration::from_secs(20));
        assert!(ended.unwrap().status.success());
        assert_eq!(lines, ["started"]);
        assert!(Moment::now().since(begun) < Duration::from_secs(10));
    }

    #[test]
    fn a_program_that_is_not_there_is_named_and_ours_is_not_its_environment() {
        let missing = run(command_as("no-such-program", None), Duration::from_secs(1), &mut |_| {});
        assert!(missing.unwrap_err().to_string().starts_with("cannot start no-such-program"));
        let (_, lines) = sh("env | cut -d= -f1 | sort | tr '\\n' ' '", Duration::from_secs(10));
        assert_eq!(lines, ["HOME LANG LC_ALL PATH PWD"]);
    }
}
