//! The files that settings become, as texts. Pure.

use ebbtide_api::vm::{GitAuthor, NamedSecret, SshKey};
use std::path::{Path, PathBuf};

/// Keys that ssh tries where nothing is configured; naming another in a configuration leaves them out.
const USUAL_KEYS: [&str; 3] = ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"];

/// The environment of the workspace as shell assignments.
pub fn shell_assignments(secrets: &[NamedSecret]) -> String {
    secrets
        .iter()
        .filter(|secret| is_variable_name(&secret.name))
        .map(|secret| format!("{}={}\n", secret.name, quoted(&secret.value)))
        .collect()
}

fn is_variable_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Git's own configuration of ours: every credential is asked of this program, and who commits.
pub fn git_config(program: &Path, run: &Path, author: Option<&GitAuthor>) -> String {
    let word = |path: &Path| quoted(&path.to_string_lossy());
    let helper = format!("!{} --run-dir {} git-credential", word(program), word(run));
    let mut text = format!(
        "# Written by the idle-agent. Settings of your own go into ~/.gitconfig.\n[credential]\n\thelper = {}\n",
        git_value(&helper)
    );
    if let Some(GitAuthor { name, email }) = author {
        text += &format!("[user]\n\tname = {}\n\temail = {}\n", git_value(name), git_value(email));
    }
    text
}

/// A value of git's configuration.
fn git_value(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", plain.replace('\\', r"\\").replace('"', "\\\""))
}

/// The machine's configuration of git with ours in it; `None` where it is there already.
pub fn including(before: &str, own: &Path) -> Option<String> {
    let line = format!("\tpath = {}", own.display());
    if before.lines().any(|known| known == line) {
        return None;
    }
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    Some(format!("{before}{gap}[include]\n{line}\n"))
}

/// The machine's configuration of ssh for these keys; `None` where there is none.
pub fn ssh_config(keys: &[SshKey], place_of: impl Fn(&str) -> PathBuf) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    let mut text = "# Written by the idle-agent. Settings of your own go into ~/.ssh/config.\n".to_owned();
    for key in keys {
        let host = key.host.as_deref().unwrap_or("*");
        let path = place_of(&key.name);
        text += &format!("Host {host}\n    IdentityFile {}\n", path.display());
        // A host that has a key here is one that its owner means: nobody has to be there to say so.
        text += "    StrictHostKeyChecking accept-new\n";
    }
    text += "Host *\n";
    for usual in USUAL_KEYS {
        text += &format!("    IdentityFile {usual}\n");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_the_shell_and_odd_names_left_out() {
        let secret = |name: &str, value: &str| NamedSecret { name: name.into(), value: value.into() };
        let secrets =
            [secret("A_1", "it's $(id)\nx"), secret("1A", "x"), secret("a;b", "x"), secret("", "x")];
        assert_eq!(shell_assignments(&secrets), "A_1='it'\\''s $(id)\nx'\n");
    }

    #[test]
    fn the_machine_s_configuration_of_git_is_kept_and_ours_added_once() {
        let own = Path::new("/run/ebbtide/gitconfig");
        let first = including("", own).unwrap();
        assert_eq!(first, "[include]\n\tpath = /run/ebbtide/gitconfig\n");
        assert_eq!(including(&first, own), None);
        let kept = including("[core]\n\tpager = cat", own).unwrap();
        assert!(kept.starts_with("[core]\n\tpager = cat\n[include]\n"), "{kept}");
    }

    #[test]
    fn git_reads_the_helper_back_as_one_command_and_who_commits() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gitconfig");
        let author = GitAuthor { name: r#"A "B" \ # C"#.into(), email: "a@b".into() };
        std::fs::write(
            &file,
            git_config(Path::new("/opt/it's/ebb-agent"), Path::new("/run/e"), Some(&author)),
        )
        .unwrap();
        let read = |key: &str| {
            let mut git = std::process::Command::new("git");
            let read = git.args(["config", "-f"]).arg(&file).args(["--get", key]).output().unwrap();
            String::from_utf8_lossy(&read.stdout).trim().to_owned()
        };
        assert_eq!(read("credential.helper"), r"!'/opt/it'\''s/ebb-agent' --run-dir '/run/e' git-credential");
        assert_eq!(read("user.name"), r#"A "B" \ # C"#);
        assert_eq!(read("user.email"), "a@b");
    }

    #[test]
    fn a_key_is_tried_at_its_host_and_the_user_s_own_are_not_left_out() {
        let key = |name: &str, host: Option<&str>| SshKey {
            name: name.into(),
            host: host.map(str::to_owned),
            value: String::new(),
        };
        let place = |name: &str| Path::new("/run/s").join(name);
        assert_eq!(ssh_config(&[], place), None);
        insta::assert_snapshot!(ssh_config(&[key("a", Some("github.com")), key("b", None)], place).unwrap(), @r"
        # Written by the idle-agent. Settings of your own go into ~/.ssh/config.
        Host github.com
            IdentityFile /run/s/a
            StrictHostKeyChecking accept-new
        Host *
            IdentityFile /run/s/b
            StrictHostKeyChecking accept-new
        Host *
            IdentityFile ~/.ssh/id_ed25519
            IdentityFile ~/.ssh/id_ecdsa
            IdentityFile ~/.ssh/id_rsa
        ");
    }
}
