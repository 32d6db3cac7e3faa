//! Child processes that cannot outlive us.
//!
//! Each gets a process group of its own (so that Ctrl-C in a terminal reaches only us, and we end things in order) and
//! a parent-death signal. `wrangler` leaves its runtime behind when it is killed, so it runs in a PID namespace: the
//! kernel ends everything in it together. A child started by a thread gets its death signal when that *thread* ends,
//! therefore one thread that never ends starts them all.

use crate::{interrupt, wait};
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How a child is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Asked with SIGTERM and given time to clean up after itself.
    Asked,
    /// Killed, with everything it started: runs in a PID namespace of its own.
    Killed,
}

/// How long a child that is asked may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A child process that ends when this value is dropped.
#[derive(Debug)]
pub struct Supervised {
    name: String,
    child: Child,
    ending: Ending,
    log: PathBuf,
}

/// What to start.
#[derive(Debug)]
pub struct Start {
    /// For messages.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments; never a secret.
    pub arguments: Vec<OsString>,
    /// Variables beside ours.
    pub environment: Vec<(&'static str, OsString)>,
    /// How it is ended.
    pub ending: Ending,
    /// Where its standard error goes (and its standard output where that is not read), appended.
    pub log: PathBuf,
}

impl Supervised {
    /// Starts a child.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn start(start: Start) -> Result<Self> {
        Self::spawn(start, false).map(|(child, _)| child)
    }

    /// Starts a child and waits for the first line of its standard output.
    ///
    /// # Errors
    /// Where it cannot be started, or ends, or says nothing in time; the end of its log is part of the message.
    pub fn start_and_read_line(start: Start, limit: Duration) -> Result<(Self, String)> {
        let name = start.name.to_owned();
        let (mut child, lines) = Self::spawn(start, true)?;
        let line = wait::until(&format!("the first line of {name}"), limit, || match lines.try_recv() {
            Ok(line) => Ok(Some(line)),
            Err(_) if child.has_ended() => Ok(None),
            Err(_) => Err("nothing yet".into()),
        })?;
        match line.or_else(|| lines.try_recv().ok()) {
            Some(line) => Ok((child, line)),
            None => bail!("{name} ended at once; it said:\n{}", child.log_end()),
        }
    }

    fn spawn(start: Start, read: bool) -> Result<(Self, Receiver<String>)> {
        interrupt::check()?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&start.log)
            .with_context(|| format!("opening {}", start.log.display()))?;
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig");
        match start.ending {
            Ending::Asked => command.args(["TERM", "--"]),
            Ending::Killed => command.args(["KILL", "--"]).args(namespace_wrapper()),
        };
        command.arg(start.program).args(&start.arguments).envs(start.environment).process_group(0);
        command.stdin(Stdio::null()).stderr(log.try_clone()?);
        command.stdout(if read { Stdio::piped() } else { log.into() });
        let mut child =
            spawn_from_lasting_thread(command).with_context(|| format!("starting {}", start.name))?;
        let (sender, receiver) = channel();
        if let Some(output) = child.stdout.take() {
            // Reads on to the end, so that the child never blocks on a full pipe.
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Ok((Self { name: start.name.into(), child, ending: start.ending, log: start.log }, receiver))
    }

    /// The process id; that of the wrapper where it runs in a namespace.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        log_end(&self.log)
    }

    /// Kills it at once, as a crash would.
    pub fn crash(mut self) {
        self.kill();
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    fn kill(&mut self) {
        if let Some(pid) = self.pid() {
            // Already gone is as good as killed.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        if self.ending == Ending::Asked
            && let Some(pid) = self.pid()
        {
            let _ = kill_process(pid, Signal::TERM);
            let asked = Instant::now();
            // Not `wait::until`: that gives up when we are interrupted, which is just when this must finish.
            while asked.elapsed() < PATIENCE {
                if self.has_ended() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            eprintln!("{} did not end within {} s and is killed", self.name, PATIENCE.as_secs());
        }
        self.kill();
    }
}

/// The last lines of a log file.
pub fn log_end(file: &Path) -> String {
    let text =
        std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}

/// What puts a program and all it starts into one PID namespace; nothing where this system does not allow it.
fn namespace_wrapper() -> &'static [&'static str] {
    const ROOT: &[&str] = &["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"];
    const USER: &[&str] = &[
        "unshare",
        "--user",
        "--map-current-user",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "--",
    ];
    static CHOSEN: OnceLock<&'static [&'static str]> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let wrapper = if rustix::process::geteuid().is_root() { ROOT } else { USER };
        let works = wrapper.split_first().is_some_and(|(program, arguments)| {
            let tried = Command::new(program).args(arguments).arg("true").stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        });
        if works { wrapper } else { &[] }
    })
}

type Order = (Command, Sender<std::io::Result<Child>>);

fn spawn_from_lasting_thread(command: Command) -> Result<Child> {
    static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (sender, receiver) = channel();
    orders
        .lock()
        .map_err(|_| anyhow!("another thread failed while it started a process"))?
        .send((command, sender))
        .map_err(|_| anyhow!("the starting thread is gone"))?;
    Ok(receiver.recv().context("the starting thread is gone")??)
}

/// Runs a program to its end, or kills it once the limit is over. What it started and did not end may outlive it, and
/// hold its output open: that is not waited for.
///
/// # Errors
/// Where it cannot be started, or is still there when the limit is over.
pub fn output_within(command: &mut Command, limit: Duration) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
    let (out, err) = (reading(child.stdout.take()), reading(child.stderr.take()));
    let (mut stdout, mut stderr) = (None, None);
    let ended = wait::until(&format!("{name} to end"), limit, || {
        stdout = stdout.take().or_else(|| out.try_recv().ok());
        stderr = stderr.take().or_else(|| err.try_recv().ok());
        match child.try_wait() {
            Ok(Some(status)) if stdout.is_some() && stderr.is_some() => Ok(status),
            ended => Err(format!("{ended:?}")),
        }
    });
    if ended.is_err() {
        // One that we may not kill, as `sudo` is, cannot be waited for either.
        let _ = child.kill();
        let _ = child.try_wait();
    }
    let (stdout, stderr) = (stdout.unwrap_or_default(), stderr.unwrap_or_default());
    ended.map(|status| Output { status, stdout, stderr })
}

/// Reads a pipe to its end, in a thread of its own.
fn reading(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a failure is what there is.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        let _ = sender.send(bytes);
    });
    receiver
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// Where it cannot be started or fails; what it said is part of the message.
pub fn run(
    program: impl AsRef<OsStr>,
    configure: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<String> {
    let name = program.as_ref().to_string_lossy().into_owned();
    let mut command = Command::new(program);
    let output =
        configure(&mut command).stdin(Stdio::null()).output().with_context(|| format!("starting {name}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("{name} failed ({}):\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str, limit: Duration) -> Result<Output> {
        output_within(Command::new("sh").args(["-c", text]), limit)
    }

    #[test]
    fn what_ends_in_time_is_heard_in_full() {
        let output =
            shell("head -c 300000 /dev/zero; echo bad >&2; exit 3", Duration::from_secs(60)).unwrap();
        assert_eq!((output.stdout.len(), output.status.code()), (300_000, Some(3)));
        assert_eq!(output.stderr, b"bad\n");
    }

    #[test]
    fn what_hangs_is_given_up_and_so_is_what_holds_its_output() {
        for text in ["kill -STOP $$", "sleep 3 & exit 0"] {
            let error = shell(text, Duration::from_millis(300)).unwrap_err();
            assert!(error.to_string().contains("sh to end"), "{error}");
        }
    }
}
