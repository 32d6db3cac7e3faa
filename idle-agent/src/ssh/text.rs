//! The files and words that `sshd` is started with. Pure.

use std::path::Path;

/// Where Debian and Ubuntu put the program for sftp. It is a process of its own: what it does counts as work.
const SFTP: &str = "/usr/lib/openssh/sftp-server";

/// The configuration of `sshd`: keys alone, the workspace's user alone.
pub fn sshd_config(directory: &Path, user: &str) -> String {
    let directory = directory.display();
    format!(
        "# Written by the idle-agent, and again where it is changed.\n\
         HostKey {directory}/host_key\n\
         AuthorizedKeysFile {directory}/authorized_keys\n\
         AuthenticationMethods publickey\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin no\n\
         AllowUsers {user}\n\
         UsePAM yes\n\
         LoginGraceTime 30\n\
         ClientAliveInterval 60\n\
         ClientAliveCountMax 3\n\
         X11Forwarding no\n\
         PermitTunnel no\n\
         PrintMotd no\n\
         PidFile none\n\
         AcceptEnv LANG LC_*\n\
         Subsystem sftp {SFTP}\n"
    )
}

/// A line for each key; what could begin another line ends it.
pub fn authorized_keys(keys: &[String]) -> String {
    keys.iter().map(|key| format!("{}\n", key.lines().next().unwrap_or_default())).collect()
}

/// Gives shells that the user signs in to the workspace's variables, as terminals have them.
pub fn profile(environment: &Path, uid: u32) -> String {
    let environment = environment.display();
    format!(
        "# Written by the idle-agent: the workspace's variables, for shells that its user signs in to.\n\
         if [ \"$(id -u)\" = {uid} ] && [ -r {environment} ]; then\n  set -a\n  . {environment}\n  set +a\nfi\n"
    )
}

/// What follows `systemd-run`: a unit that is gone with its end.
pub fn unit(name: &str, slice: &str, program: &str, config: &Path) -> Vec<String> {
    let mut words: Vec<String> = [
        "--quiet",
        "--collect",
        "--description=SSH for the workspace's owner",
        "--property=Type=notify",
        "--property=Restart=on-failure",
        "--property=RestartSec=2",
        "--property=OOMPolicy=continue",
    ]
    .map(str::to_owned)
    .into();
    words.extend([format!("--unit={name}"), format!("--slice={slice}"), "--".to_owned()]);
    words.extend([program, "-D", "-e", "-f"].map(str::to_owned));
    words.push(config.to_string_lossy().into_owned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_the_owner_let_in_and_only_as_the_workspace_s_user() {
        insta::assert_snapshot!(sshd_config(Path::new("/run/ebbtide/ssh"), "ebb"));
    }

    #[test]
    fn a_key_is_one_line_whatever_is_in_it() {
        let keys = ["ssh-ed25519 A\nssh-ed25519 B".to_owned(), "ssh-ed25519 C".to_owned()];
        assert_eq!(authorized_keys(&keys), "ssh-ed25519 A\nssh-ed25519 C\n");
    }

    #[test]
    fn shells_of_the_user_alone_get_the_variables() {
        let directory = tempfile::tempdir().unwrap();
        let environment = directory.path().join("env");
        std::fs::write(&environment, "GREETING='hello; $(id)'\n").unwrap();
        let own = rustix::process::getuid().as_raw();
        let told = |uid| {
            let script = format!("{}env | grep GREETING || :", profile(&environment, uid));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(told(own), "GREETING=hello; $(id)\n");
        assert_eq!(told(own + 1), "");
    }
}
