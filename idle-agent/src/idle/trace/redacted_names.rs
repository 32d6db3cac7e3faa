//! What a trace calls a process. Programs choose their own names: npm writes its whole command line there, a project's
//! server its customer. So a name stays only where everybody knows it; the rest are `other`. Pure.

/// What stands for a name that people may have given.
pub const OTHER: &str = "other";

/// What the kernel's name of a process ends with where its first thread has ended; see `parse_stat`.
const ENDING: &str = " (ending)";

/// Names that tell nothing of whoever runs them, in alphabetical order; those by which the engine judges are among them.
/// Versions at their ends are no part of them.
const KNOWN: &str = "
    MainThread Xvnc agetty apk apt apt-get ar as awk bash bazel buildkitd bun bundle caddy cargo cat cc chrome
    clang clangd cmake collect2 composer conmon containerd containerd-shim cp cpp cron crond curl dash date
    dbus-daemon deno diff dircolors dnsmasq docker docker-proxy dockerd dotnet dpkg dpkg-query ebb ebb-agent
    emacs env esbuild ffmpeg find fish g++ gcc gdb git git-remote-http go gopls gradle grep gunicorn gzip head
    htop init java javac jest journalctl kubectl ld ld.lld less ln ls lsp machine make mcp memcached mkdir mold
    mongod more mv mvn mysqld nano nginx ninja node npm npx perl php php-fpm pip playwright pnpm podman postgres
    psql puma pylsp pyright pytest python qemu redis-server restic rg rm rsync ruby runc runuser rust-analyzer
    rustc rustdoc rustup scp screen sed sftp-server sh sleep ssh ssh-agent sshd sshd-session su sudo svn systemd
    systemd-journal systemd-logind systemd-network systemd-resolve systemd-udevd tail tar tee terraform tmux top
    tr tsc typescript-lang uv vi vim vite vitest watch wc webpack wget xargs xdg-mime xz yarn zsh zstd
";
/// The same with a space in them.
const KNOWN_WHOLE: [&str; 2] = ["tmux: client", "tmux: server"];

/// The name under which a process is kept; `agent` is the agent that it is.
pub fn kept(comm: &str, agent: Option<&str>) -> String {
    if KNOWN_WHOLE.contains(&comm) {
        return comm.to_owned();
    }
    let (name, ending) = comm.strip_suffix(ENDING).map_or((comm, ""), |name| (name, ENDING));
    // Of a command line its program; "sshd: ebb@pts/0" is a daemon's way to say whom it serves.
    let first = name.split([' ', ':']).next().unwrap_or_default();
    let bare = first.trim_start_matches('-');
    let unversioned = bare.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    let is_known = |name: &str| KNOWN.split_whitespace().any(|known| known == name) || agent == Some(name);
    let kept = if is_known(bare) || is_known(unversioned) { first } else { OTHER };
    format!("{kept}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_and_names_of_peoples_own_are_not_kept() {
        for (comm, name) in [
            ("npm show @cloud", "npm"),
            ("npm ci", "npm"),
            ("made-969075b575", OTHER),
            ("acme-payroll", OTHER),
            ("sh -c secret", "sh"),
            ("sshd: ebb@pts/0", "sshd"),
            ("python3.11", "python3.11"),
            ("cc1", "cc1"),
            ("-bash", "-bash"),
            ("tmux: server", "tmux: server"),
            ("node (ending)", "node (ending)"),
            ("acme (ending)", "other (ending)"),
            ("", OTHER),
        ] {
            assert_eq!(kept(comm, None), name, "{comm}");
        }
        assert_eq!(kept("claude", Some("claude")), "claude");
        assert_eq!(kept("claude --resume", None), OTHER, "its name does not make it an agent");
    }
}
