//! This program as a service of systemd, where it is one: starting others beside it, in scopes of their own, so that
//! neither its limits nor its end are theirs.
//!
//! Elsewhere (the local cloud's machines, a developer's computer) they are plain children. Must never let a child keep the
//! daemon's place before the memory killer.

use super::cgroups::Tree;
use super::command::{command_as, user_environment};
use super::users::{User, is_root};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The unit that this program is on a machine.
const UNIT: &str = "ebbtide-agent.service";
/// The slice of what is the user's: terminals, agents, CloudCLI, with limits of its own, and stopped as a whole for the
/// last backup. User-data brings it (`vm_init::user_data`).
pub const WORK_SLICE: &str = "ebbtide-work.slice";
/// The slice above it, of what else outlives the service.
pub const OWN_SLICE: &str = "ebbtide.slice";
/// Where systemd says that it runs the machine.
const BOOTED: &str = "/run/systemd/system";
/// The first version of systemd that kills a whole scope for one program that used too much memory, unless it is told to
/// go on; earlier ones do not know the word.
const KILLS_SCOPES: u32 = 253;

/// The machine's control groups, where this program is the machine's service.
pub fn tree() -> Option<Tree> {
    Tree::of_service(UNIT).filter(|_| Path::new(BOOTED).exists())
}

/// Whether this program is the service of a machine of its own, whose network is not also somebody else's.
pub fn has_machine() -> bool {
    tree().is_some()
}

/// A command whose program is not part of the service, but of a scope in this slice.
pub fn beside(slice: &str, program: &str) -> Command {
    let Some(version) = systemd() else { return Command::new(program) };
    let mut command = Command::new("choom");
    command.args(scope(slice, version)).arg(program);
    command
}

/// Which systemd runs the machine, where this program is its service and may start others beside itself.
fn systemd() -> Option<u32> {
    static FOUND: OnceLock<Option<u32>> = OnceLock::new();
    let find = || {
        tree()?;
        let version = version();
        // Tried once: where it does not work, a plain child is better than none.
        let tried =
            Command::new("choom").args(scope(OWN_SLICE, version)).arg("true").stdin(Stdio::null()).output();
        match tried {
            Ok(output) if output.status.success() => Some(version),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                tracing::error!(version, said, "programs are started as children: systemd-run does not work");
                None
            }
            Err(error) => {
                tracing::error!(version, %error, "programs are started as children: there is no systemd-run");
                None
            }
        }
    };
    *FOUND.get_or_init(find)
}

/// A command that runs as the user where we are root and it is another, with a clean environment, and is not part of the
/// service: for what goes on as long as the user wants.
pub fn work_of(program: impl AsRef<std::ffi::OsStr>, user: &User) -> Command {
    if systemd().is_none() || !is_root() || user.uid == 0 {
        return command_as(program, Some(user));
    }
    let mut command = beside(WORK_SLICE, "setpriv");
    command.args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)]);
    // The groups of a usual login: that of Docker is one.
    command.args(["--init-groups", "--"]).arg(program);
    user_environment(&mut command, Some(user));
    command
}

/// What stands before the program: `choom` gives up the place before the memory killer, which children inherit.
fn scope(slice: &str, version: u32) -> Vec<String> {
    let mut words: Vec<String> =
        ["-n", "0", "--", "systemd-run", "--scope", "--quiet", "--collect"].map(str::to_owned).into();
    words.push(format!("--slice={slice}"));
    // The slice has the limit.
    words.push("--property=TasksMax=infinity".to_owned());
    if version >= KILLS_SCOPES {
        words.push("--property=OOMPolicy=continue".to_owned());
    }
    words.push("--".to_owned());
    words
}

/// Which systemd there is; 0 where it does not say.
fn version() -> u32 {
    let said =
        Command::new("systemd-run").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    parse_version(&String::from_utf8_lossy(&said))
}

fn parse_version(said: &str) -> u32 {
    let number = said.split_whitespace().nth(1).unwrap_or_default();
    number.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_beside_the_service_have_its_slices_limits_and_nothing_of_its_own() {
        let shown = |version| scope(WORK_SLICE, version).join(" ");
        assert_eq!(
            shown(252),
            "-n 0 -- systemd-run --scope --quiet --collect --slice=ebbtide-work.slice --property=TasksMax=infinity --"
        );
        assert!(shown(257).contains(" --property=OOMPolicy=continue --"));
        assert_eq!(parse_version("systemd 252 (252.38-1~deb12u1)\n+PAM"), 252);
        assert_eq!(parse_version("systemd 257~rc1-3 (x)"), 257);
        assert_eq!(parse_version(""), 0);
    }

    #[test]
    fn where_it_is_no_service_a_program_is_a_plain_child() {
        assert_eq!(beside(OWN_SLICE, "caddy").get_program(), "caddy");
        let user = User { name: "t".into(), uid: 7, gid: 7, home: "/h".into(), shell: String::new() };
        assert_eq!(work_of("tmux", &user).get_program(), "tmux");
    }
}
