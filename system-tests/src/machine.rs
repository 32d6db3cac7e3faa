//! A look into a machine of the local cloud from the host, as its owner would have it over SSH.
//!
//! Finds the machine's processes through `/proc` and enters their namespaces, which takes root (`sudo` where we are not).

use crate::process::{output_within, run};
use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a shell text in a machine may take; the longest, which types into a real program, take two minutes.
const LONGEST: Duration = Duration::from_mins(3);

/// A machine that is on.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The vendor's id of its server.
    pub server_id: u64,
    init: u32,
}

impl Machine {
    /// Finds the machine of a server of the stack that lives in that directory.
    ///
    /// # Errors
    /// Where no process runs in one.
    pub fn find(stack: &Path, server_id: u64) -> Result<Self> {
        let (boots, stack) = (format!("machine-init boot {server_id} "), stack.to_string_lossy());
        let ours = |pid: &u32| {
            command_line(*pid).contains(&boots)
                && parent(*pid).is_some_and(|parent| command_line(parent).contains(stack.as_ref()))
        };
        let init = processes().find(ours).ok_or_else(|| anyhow!("no machine of server {server_id} runs"))?;
        Ok(Self { server_id, init })
    }

    /// A path inside, as this host reaches it; for reading only (what we wrote would belong to nobody inside).
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.init)).join(inside.trim_start_matches('/'))
    }

    fn entering(&self, user: &str) -> Command {
        let mut command = as_root("nsenter");
        command.args(["--target", &self.init.to_string()]);
        command.args(["--user", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--"]);
        command.args(["/usr/bin/env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]);
        command.args(["/usr/sbin/runuser", "--login", user, "-c"]);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a shell text in a machine and returns its standard output.
    ///
    /// # Errors
    /// Where it fails, with what it said; or where it takes longer than anything does: a machine that freezes stops it.
    pub fn shell(&self, user: &str, text: &str) -> Result<String> {
        let output = output_within(self.entering(user).arg(text), LONGEST)
            .with_context(|| format!("\"{text}\" in the machine of server {}", self.server_id))?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.success(),
            "\"{text}\" in the machine of server {} failed ({}): {out}{err}",
            self.server_id,
            output.status
        );
        Ok(out.trim_end().to_owned())
    }

    /// Sums of everything in a directory: paths, modes, owners, links, times and contents of files, sorted; equal texts are equal trees.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn fingerprint(&self, directory: &str) -> Result<String> {
        let text = format!(
            "cd {directory} && find . -printf '%p %y %m %U %G %l\\n' | sort && \
             find . -type f -printf '%p %s %T@\\n' | sort && \
             find . -type f -print0 | sort -z | xargs -0 -r sha256sum"
        );
        self.shell("root", &text)
    }

    /// Everything about the files below a directory that a backup must bring back (`file_manifest.py`), a line a path.
    ///
    /// # Errors
    /// Where the machine does not answer.
    pub fn facts(&self, directory: &str) -> Result<Vec<String>> {
        let look = format!(
            "python3 - {directory} <<'END-OF-FILE'\n{}\nEND-OF-FILE\n",
            include_str!("file_manifest.py")
        );
        Ok(self.shell("root", &look)?.lines().map(str::to_owned).collect())
    }

    /// Whether something in the machine listens on a TCP port.
    pub fn listens(&self, port: u16) -> bool {
        let wanted = format!(":{port:04X}");
        let tables = ["tcp", "tcp6"].map(|table| format!("/proc/{}/net/{table}", self.init));
        let text = as_root("cat").args(tables).stderr(Stdio::null()).output().map(|output| output.stdout);
        String::from_utf8_lossy(&text.unwrap_or_default()).lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|address| address.ends_with(&wanted));
            local && fields.nth(1) == Some("0A")
        })
    }

    /// Process ids, on the host, of a program that runs in the machine.
    pub fn pids_of(&self, program: &str) -> Vec<u32> {
        let space = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(self.init);
        let same = |pid: &u32| own.is_some() && space(*pid) == own;
        let named = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == program)
        };
        processes().filter(named).filter(same).collect()
    }

    /// Kills a program in the machine as a crash would; says how many processes.
    ///
    /// # Errors
    /// Where none runs.
    pub fn crash(&self, program: &str) -> Result<usize> {
        let pids = self.pids_of(program);
        ensure!(!pids.is_empty(), "no {program} runs in the machine of server {}", self.server_id);
        for pid in &pids {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                // Gone between the two is as good as killed.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(pids.len())
    }
}

/// A program with root's rights, which `scripts/env` has asked for.
fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["--non-interactive", "--", program]);
    sudo
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process' arguments, each followed by a space.
fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Makes a bare clone of this repository, as something real for a workspace to clone; says its directory.
///
/// # Errors
/// Where git fails.
pub fn serve_this_repository(repositories: &Path) -> Result<PathBuf> {
    let target = repositories.join("ebbtide.git");
    if !target.exists() {
        let commits =
            run("git", |git| git.arg("-C").arg(crate::paths::root()).args(["rev-list", "-n1", "HEAD"]));
        ensure!(commits.is_ok(), "this repository has no commit to clone");
        run("git", |git| git.args(["clone", "--quiet", "--bare"]).arg(crate::paths::root()).arg(&target))?;
    }
    Ok(target)
}
