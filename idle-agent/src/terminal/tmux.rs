//! The workspace's tmux: how its server is started, and how a client of it is attached to a pseudo-terminal.

use super::session::{Attached, Size};
use crate::os::command::{RunError, command_as, run};
use crate::os::service::work_of;
use crate::os::users::{self, User};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The session that terminals attach to.
const SESSION: &str = "main";
/// How long tmux may take to say whether it runs.
const ASKED: Duration = Duration::from_secs(10);

/// Why no terminal can be opened.
#[derive(Debug, thiserror::Error)]
pub enum TmuxError {
    /// The workspace's user is not there.
    #[error("there is no user {0} on this machine")]
    NoUser(String),
    /// tmux does not say whether it runs.
    #[error(transparent)]
    Ask(#[from] RunError),
    /// There is no pseudo-terminal.
    #[error("no pseudo-terminal: {0}")]
    Pty(#[from] rustix::io::Errno),
    /// tmux does not start.
    #[error("tmux does not start: {0}")]
    Start(#[from] std::io::Error),
}

/// Whose tmux it is, and where its terminals begin.
#[derive(Debug, Clone)]
pub struct Tmux {
    /// Directory with `passwd`.
    pub etc: PathBuf,
    /// The workspace's user.
    pub user: String,
    /// Where terminals begin; the user's home where it is missing.
    pub directory: PathBuf,
    /// The file of variables that each terminal reads when it starts.
    pub environment: PathBuf,
}

impl Tmux {
    /// Starts the server with one session, where it does not run; whether it did.
    ///
    /// # Errors
    /// [`TmuxError`], or what tmux said last as an I/O error.
    pub fn ensure(&self, limit: Duration) -> Result<bool, TmuxError> {
        let user = self.user()?;
        if self.runs(&user, limit)? {
            return Ok(false);
        }
        let mut command = work_of("tmux", &user);
        command.current_dir("/").args(self.beginning()).args(["new-session", "-d", "-s", SESSION, "-c"]);
        command.arg(self.directory(&user));
        let ended = run(command, limit, &mut |line| tracing::debug!(line, "tmux"))?;
        if ended.status.success() {
            return Ok(true);
        }
        let said = ended.tail.last().cloned().unwrap_or_default();
        Err(TmuxError::Start(std::io::Error::other(said)))
    }

    /// Attaches a client on a new pseudo-terminal. Where tmux has ended, it is started anew.
    pub(super) fn attach(&self, size: Size) -> Result<Attached, TmuxError> {
        let user = self.user()?;
        let runs = self.runs(&user, ASKED)?;
        let (ours, theirs, pts) = pseudo_terminal(&user, size)?;
        // A session of the kernel's, whose terminal this is: so it is told of its size, and of its end.
        let mut command = work_of("setsid", &user);
        command.args(["--ctty", "tmux"]);
        command.args(if runs { vec!["-u".to_owned()] } else { self.beginning() });
        command.args(["new-session", "-A", "-s", SESSION, "-c"]).arg(self.directory(&user));
        command.current_dir("/").env("TERM", "xterm-256color").env("COLORTERM", "truecolor");
        command.stdin(Stdio::from(theirs.try_clone()?)).stdout(Stdio::from(theirs.try_clone()?));
        let client = command.stderr(Stdio::from(theirs)).spawn()?;
        Ok(Attached { pts, terminal: ours, client })
    }

    fn user(&self) -> Result<User, TmuxError> {
        users::user(&self.etc, &self.user).ok_or_else(|| TmuxError::NoUser(self.user.clone()))
    }

    fn runs(&self, user: &User, limit: Duration) -> Result<bool, TmuxError> {
        let mut command = command_as("tmux", Some(user));
        command.current_dir("/").args(["has-session", "-t", SESSION]);
        Ok(run(command, limit, &mut |_| {})?.status.success())
    }

    fn directory<'a>(&'a self, user: &'a User) -> &'a Path {
        if self.directory.is_dir() { &self.directory } else { Path::new(&user.home) }
    }

    /// What stands before `new-session` where the server is to be started.
    fn beginning(&self) -> Vec<String> {
        let environment = self.environment.to_string_lossy().replace('\'', r"'\''");
        // Each terminal reads the environment when it starts: it appears in no argument and in no other process. Without
        // braces: newer systemd-run puts its own variables in their place.
        let shell =
            format!("set -a; [ -r '{environment}' ] && . '{environment}'; set +a; exec \"$SHELL\" -l");
        // What a wheel and a selection do in a browser; whoever has settings of their own has decided that.
        let ours = "[ -e ~/.tmux.conf ] || [ -e ~/.config/tmux/tmux.conf ]";
        let comfort =
            "set-option -g mouse on ; set-option -g set-clipboard on ; set-option -g history-limit 50000";
        [
            "-u",
            "start-server",
            ";",
            "if-shell",
            ours,
            "",
            comfort,
            ";",
            "set-option",
            "-g",
            "default-command",
            &shell,
            ";",
        ]
        .map(str::to_owned)
        .into()
    }
}

/// Our end, the program's end, and the name of it.
fn pseudo_terminal(user: &User, size: Size) -> Result<(OwnedFd, OwnedFd, String), TmuxError> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let theirs = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    if users::is_root() {
        std::os::unix::fs::fchown(&theirs, Some(user.uid), None)?;
    }
    size.set(&ours)?;
    // Neither end may hold up a thread of ours.
    rustix::io::ioctl_fionbio(&ours, true)?;
    let name = Path::new(OsStr::from_bytes(name.as_bytes()));
    Ok((ours, theirs, name.file_name().unwrap_or_default().to_string_lossy().into_owned()))
}
