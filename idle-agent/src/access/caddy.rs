//! Caddy in front of every port: its configuration, and keeping it alive.
//!
//! The configuration is fixed: every request is first put to the agent (see `access`), whose answer names the
//! upstream. Nothing is ever reloaded, because a reload of Caddy 2.6 closes all WebSockets with 1001, and so the
//! admin interface is off: no process on the machine can reconfigure who may come in. Caddy outlives a restart of the
//! agent; a Caddy that runs with another configuration is replaced.

mod configuration;

use crate::os::clock::Moment;
use crate::os::service::{OWN_SLICE, beside};
use crate::os::{atomic_file, users};
use rustix::process::{Pid, Resource, Rlimit};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub use configuration::{QUESTIONERS, configuration};

/// The longest pause before it is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Files that Caddy may have open: two for each visitor who is let in, one for anybody else. With about 20 KiB for each, a
/// crowd takes a few hundred MB and no more.
const FILES: u64 = 16_384;

/// User and group that Caddy runs as where we are root: a number of nobody's, from the range that distributions leave
/// to fixed assignments, so that it needs no entry and collides with no account.
const CADDY_ID: u32 = 60_578;

/// Gives a file to Caddy's user, where there is one.
///
/// # Errors
/// What the file system says.
pub fn hand_over(path: &Path) -> std::io::Result<()> {
    if users::is_root() {
        std::os::unix::fs::lchown(path, Some(CADDY_ID), Some(CADDY_ID))?;
    }
    Ok(())
}

/// Why Caddy does not run.
#[derive(Debug, thiserror::Error)]
pub enum CaddyError {
    /// It could not be started.
    #[error("cannot start caddy: {0}")]
    Start(#[from] std::io::Error),
    /// It ended.
    #[error("caddy does not listen on port {port}: {said}")]
    NotListening {
        /// Where it should.
        port: u16,
        /// Its last words.
        said: String,
    },
    /// It lives, and has not come so far. It is not ended for that: another one would begin anew.
    #[error("caddy runs and does not listen on port {port} yet")]
    Slow {
        /// Where it should.
        port: u16,
    },
}

/// Caddy, or the place where it will be.
#[derive(Debug)]
pub struct Caddy {
    listen_port: u16,
    /// The configuration that it is to run with.
    wanted: String,
    config: PathBuf,
    pid_file: PathBuf,
    output: PathBuf,
    home: PathBuf,
    running: Option<Running>,
    /// It has been seen to listen since it was started.
    stands: bool,
    failures: u32,
    not_before: Moment,
}

#[derive(Debug)]
enum Running {
    Ours(Child),
    /// Started by an earlier life of the agent.
    Adopted(u32),
}

impl Caddy {
    /// Nothing is started yet.
    pub fn new(listen_port: u16, access_socket: &Path, run: &Path) -> Self {
        let home = run.join("caddy");
        Self {
            listen_port,
            wanted: configuration(listen_port, access_socket, &home.join("caddy.log")).to_string(),
            config: run.join("caddy.json"),
            pid_file: run.join("caddy.pid"),
            output: run.join("caddy.out"),
            home,
            running: None,
            stands: false,
            failures: 0,
            not_before: Moment::now(),
        }
    }

    /// Makes sure that Caddy runs with our configuration, and waits until it listens.
    ///
    /// # Errors
    /// [`CaddyError`]; call again, or [`Self::tend`].
    pub fn start(&mut self, patience: Duration) -> Result<(), CaddyError> {
        if !self.runs() {
            self.begin()?;
        }
        let give_up = Moment::now().plus(patience);
        while !self.listens() {
            if !self.runs() {
                return Err(CaddyError::NotListening { port: self.listen_port, said: self.last_words() });
            }
            if Moment::now() >= give_up {
                return Err(CaddyError::Slow { port: self.listen_port });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.stands = true;
        Ok(())
    }

    /// Looks after it; to be called every few seconds. Waits for nothing. Says what is new, for the log.
    pub fn tend(&mut self) -> Option<String> {
        let port = self.listen_port;
        if self.runs() {
            if self.stands || !self.listens() {
                return None;
            }
            (self.stands, self.failures) = (true, 0);
            return Some(format!("the web proxy listens on port {port}"));
        }
        if self.running.take().is_some() {
            self.stands = false;
            let pause = ebbtide_api::Duration::from_secs(self.pause().as_secs());
            return Some(format!(
                "the web proxy has ended: {}; it starts again in {pause}",
                self.last_words()
            ));
        }
        if Moment::now() < self.not_before {
            return None;
        }
        match self.begin() {
            Ok(()) => Some("the web proxy starts".to_owned()),
            Err(error) => {
                self.pause();
                Some(error.to_string())
            }
        }
    }

    /// Waits longer with every failure in a row; says for how long.
    fn pause(&mut self) -> Duration {
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Moment::now().plus(pause);
        pause
    }

    fn runs(&mut self) -> bool {
        match &mut self.running {
            Some(Running::Ours(child)) => matches!(child.try_wait(), Ok(None)),
            Some(Running::Adopted(pid)) => is_caddy(*pid),
            None => false,
        }
    }

    /// Takes over a Caddy of an earlier life of the agent that has our configuration, or starts one.
    fn begin(&mut self) -> Result<(), CaddyError> {
        self.stands = false;
        std::fs::create_dir_all(&self.home)?;
        hand_over(&self.home)?;
        let same = std::fs::read_to_string(&self.config).is_ok_and(|current| current == self.wanted);
        match self.earlier() {
            Some(pid) if same => {
                self.running = Some(Running::Adopted(pid));
                tracing::info!(pid, "caddy still runs");
                return Ok(());
            }
            Some(pid) => end(pid),
            None => {}
        }
        atomic_file::write(&self.config, self.wanted.as_bytes(), 0o600)?;
        hand_over(&self.config)?;
        self.spawn()
    }

    fn spawn(&mut self) -> Result<(), CaddyError> {
        self.running = None;
        let output = std::fs::File::create(&self.output)?;
        let child = confined("caddy")
            .args(["run", "--config"])
            .arg(&self.config)
            .env_clear()
            .env("PATH", crate::os::command::path())
            .env("HOME", &self.home)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()?;
        tracing::info!(pid = child.id(), port = self.listen_port, "caddy starts");
        let pid = child.id();
        limit_files(pid);
        self.running = Some(Running::Ours(child));
        atomic_file::write(&self.pid_file, pid.to_string().as_bytes(), 0o600)?;
        Ok(())
    }

    /// Whether it takes visitors in: it, and not a program of the user's that had its port first.
    fn listens(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.listen_port));
        TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
            && self.pid().is_some_and(|pid| holds_port(pid, self.listen_port).unwrap_or(true))
    }

    fn pid(&self) -> Option<u32> {
        match &self.running {
            Some(Running::Ours(child)) => Some(child.id()),
            Some(Running::Adopted(pid)) => Some(*pid),
            None => None,
        }
    }

    /// Process id of a Caddy that an earlier life of the agent started.
    fn earlier(&self) -> Option<u32> {
        let pid = std::fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()?;
        is_caddy(pid).then_some(pid)
    }

    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.output).unwrap_or_default();
        let said = said
            .lines()
            .rev()
            .find(|line| line.to_lowercase().contains("error"))
            .unwrap_or("it said nothing");
        said.chars().take(400).collect()
    }
}

/// A command that gives up everything but binding low ports before the program starts.
fn confined(program: &str) -> Command {
    if !users::is_root() {
        return Command::new(program);
    }
    let mut command = beside(OWN_SLICE, "setpriv");
    command
        .args([format!("--reuid={CADDY_ID}"), format!("--regid={CADDY_ID}")])
        .args(["--clear-groups", "--no-new-privs"])
        .args(
            ["--inh-caps", "--ambient-caps", "--bounding-set"]
                .map(|set| format!("{set}=-all,+net_bind_service")),
        )
        .args(["--", program]);
    command
}

/// Bounds what a crowd of visitors can take. Not set before it starts: to lower it is allowed wherever we are.
fn limit_files(pid: u32) {
    let Some(process) = process(pid) else { return };
    let of_ours = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(FILES);
    let files = Some(of_ours.min(FILES));
    let limit = Rlimit { current: files, maximum: files };
    if let Err(error) = rustix::process::prlimit(Some(process), Resource::Nofile, limit) {
        tracing::warn!(%error, pid, "the open files of caddy are not bounded");
    }
}

fn process(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Whether a socket of the process listens on a port; `None` where the kernel does not say.
fn holds_port(pid: u32, port: u16) -> Option<bool> {
    let mut listening = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        listening.extend(text.lines().skip(1).filter_map(|line| inode_of_listener(line, port)));
    }
    let mut seen = false;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.filter_map(Result::ok) {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        seen = true;
        if listening.contains(&*target.to_string_lossy()) {
            return Some(true);
        }
    }
    // A process without a single descriptor that can be read is one that we may not look into.
    seen.then_some(false)
}

/// The socket of a line of the kernel's table that listens on a port, as links to descriptors name it.
fn inode_of_listener(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let listens = *fields.get(3)? == "0A" && u16::from_str_radix(local, 16) == Ok(port);
    listens.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
}

fn is_caddy(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.contains("(caddy)") && !stat.contains(") Z "))
}

/// Ends a process and waits until it is gone.
fn end(pid: u32) {
    let Some(process) = process(pid) else { return };
    let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
    let give_up = Moment::now().plus(Duration::from_secs(5));
    while is_caddy(pid) && Moment::now() < give_up {
        std::thread::sleep(Duration::from_millis(20));
    }
    if is_caddy(pid) {
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_is_ones_own_where_a_socket_of_the_process_listens_on_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = std::process::id();
        assert_eq!(holds_port(own, port), Some(true));
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(holds_port(other.id(), port), Some(false), "another process has it");
        other.kill().unwrap();
        other.wait().unwrap();
        drop(listener);
        assert_eq!(holds_port(own, port), Some(false));
    }
}
