//! `ebb packages`: installs Debian packages, and keeps the list by which each wake installs them again.

use crate::boot::own::{is_package, list_of, parse};
use crate::os::{atomic_file, users};
use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

#[derive(Debug, Subcommand)]
pub enum Wish {
    /// Installs packages now, and writes them down.
    Add {
        /// Their names in Debian.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Strikes packages off. They stay until the workspace sleeps.
    Remove {
        /// Their names in Debian.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0:?} is no name of a Debian package; `apt-cache search` finds names")]
    NoPackage(String),
    #[error("call it without sudo: the list is yours, and it asks sudo itself")]
    Sudo,
    #[error("{0} does not stand in ~/.ebbtide/packages")]
    NotListed(String),
    #[error("{path}: {source}")]
    List { path: PathBuf, source: std::io::Error },
    #[error("cannot run {program}: {source}")]
    Start { program: &'static str, source: std::io::Error },
    #[error("nothing is written down, for apt-get ended with {0}")]
    NotInstalled(ExitStatus),
}

/// Does what is asked for; lists what is written down where nothing is.
pub fn run(wish: Option<Wish>) -> ExitCode {
    let list = list_of(&PathBuf::from(std::env::var_os("HOME").unwrap_or_default()));
    let done = match wish {
        None => listed(&list),
        Some(Wish::Add { names }) => add(&list, &names),
        Some(Wish::Remove { names }) => remove(&list, &names),
    };
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            eprintln!("ebb: {refusal}");
            ExitCode::FAILURE
        }
    }
}

fn listed(list: &Path) -> Result<String, Refusal> {
    let text = read(list)?;
    let (names, unusable) = parse(&text);
    let wrong = unusable.iter().map(|line| format!("{line}  (no name of a package)\n"));
    let lines = names.iter().map(|name| format!("{name}\n")).chain(wrong).collect::<String>();
    Ok(if lines.is_empty() { "none; add one with: ebb packages add NAME\n".to_owned() } else { lines })
}

fn add(list: &Path, names: &[String]) -> Result<String, Refusal> {
    own_home()?;
    if let Some(wrong) = names.iter().find(|name| !is_package(name)) {
        return Err(Refusal::NoPackage(wrong.clone()));
    }
    let text = read(list)?;
    let mut ended = apt_get("install", names)?;
    if !ended.success() {
        // A fresh machine has no lists, or old ones.
        apt_get("update", &[])?;
        ended = apt_get("install", names)?;
    }
    if !ended.success() {
        return Err(Refusal::NotInstalled(ended));
    }
    write(list, &added(&text, names))?;
    Ok("written down in ~/.ebbtide/packages: each wake installs them again\n".to_owned())
}

/// Root's home is in no backup, and no wake reads a list there.
fn own_home() -> Result<(), Refusal> {
    if users::is_root() && std::env::var_os("SUDO_UID").is_some() { Err(Refusal::Sudo) } else { Ok(()) }
}

fn remove(list: &Path, names: &[String]) -> Result<String, Refusal> {
    own_home()?;
    let text = read(list)?;
    write(list, &removed(&text, names)?)?;
    Ok("struck off; they stay until this workspace sleeps\n".to_owned())
}

/// With its words on this terminal.
fn apt_get(verb: &str, names: &[String]) -> Result<ExitStatus, Refusal> {
    let (program, before): (_, &[&str]) =
        if users::is_root() { ("apt-get", &[]) } else { ("sudo", &["--", "apt-get"]) };
    let mut command = Command::new(program);
    command.args(before).args(["-q", "-o", "DPkg::Lock::Timeout=120", verb]);
    if !names.is_empty() {
        command.args(["-y", "--no-install-recommends", "--"]).args(names);
    }
    command.status().map_err(|source| Refusal::Start { program, source })
}

fn added(text: &str, names: &[String]) -> String {
    let (there, _) = parse(text);
    let mut text = text.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (place, name) in names.iter().enumerate() {
        let is_new =
            !there.contains(&name.as_str()) && !names.iter().take(place).any(|before| before == name);
        if is_new {
            text.extend([name, "\n"]);
        }
    }
    text
}

fn removed(text: &str, names: &[String]) -> Result<String, Refusal> {
    let name_of = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    if let Some(unknown) = names.iter().find(|name| !text.lines().any(|line| name_of(line) == **name)) {
        return Err(Refusal::NotListed(unknown.clone()));
    }
    let kept = text.lines().filter(|line| !names.contains(&name_of(line)));
    Ok(kept.map(|line| format!("{line}\n")).collect())
}

fn read(list: &Path) -> Result<String, Refusal> {
    match std::fs::read_to_string(list) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(Refusal::List { path: list.to_owned(), source }),
    }
}

fn write(list: &Path, text: &str) -> Result<(), Refusal> {
    let failed = |source| Refusal::List { path: list.to_owned(), source };
    std::fs::create_dir_all(list.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    atomic_file::write(list, text.as_bytes(), 0o644).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_list_grows_by_what_is_new_and_keeps_its_remarks() {
        let text = "# mine\njq # json";
        assert_eq!(added(text, &names(&["fd-find", "jq", "fd-find"])), "# mine\njq # json\nfd-find\n");
        assert_eq!(added("", &names(&["jq"])), "jq\n");
        assert_eq!(removed("# mine\njq # json\nfd-find\n", &names(&["jq"])).unwrap(), "# mine\nfd-find\n");
        let refusal = removed("jq\n", &names(&["jq", "gone"])).unwrap_err();
        assert_eq!(refusal.to_string(), "gone does not stand in ~/.ebbtide/packages");
    }

    #[test]
    fn nothing_is_installed_under_a_name_that_means_something_else_to_apt() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("packages");
        for wrong in ["-y", "vim-", "../x", "Vim", "a b", ""] {
            assert!(matches!(add(&list, &names(&[wrong])), Err(Refusal::NoPackage(_))), "{wrong:?}");
        }
        assert!(!list.exists());
        assert_eq!(listed(&list).unwrap(), "none; add one with: ebb packages add NAME\n");
    }
}
