//! Starting the processes of services, and finding all that they started. The machine's init is single-threaded and
//! reaps every child itself, so nothing here waits for one.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Gid, Pid, Uid, setsid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::accounts;
use super::unit::{Exec, Unit, expand, pair};
use crate::machines::raw;

pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Marks every process of one run of a service, as systemd does.
const INVOCATION: &str = "INVOCATION_ID";

/// Starts one command of a unit.
pub fn service(name: &str, unit: &Unit, exec: &Exec, invocation: &str) -> io::Result<Pid> {
    let account = match &unit.user {
        Some(user) => Some(accounts::find(user, unit.group.as_deref())?),
        None => None,
    };
    let mut environment =
        vec![("PATH".to_owned(), PATH.to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())];
    if let Some(account) = &account {
        environment.extend([
            ("USER".to_owned(), account.name.clone()),
            ("LOGNAME".to_owned(), account.name.clone()),
            ("HOME".to_owned(), account.home.clone()),
            ("SHELL".to_owned(), account.shell.clone()),
        ]);
    }
    let owner = account.as_ref().map_or((0, 0), |account| (account.uid, account.gid));
    for (variable, base, names, mode) in [
        ("RUNTIME_DIRECTORY", "/run", &unit.runtime_directories, unit.runtime_directory_mode),
        ("STATE_DIRECTORY", "/var/lib", &unit.state_directories, unit.state_directory_mode),
    ] {
        let paths: Vec<String> = names.iter().map(|name| format!("{base}/{name}")).collect();
        for path in &paths {
            fs::create_dir_all(path)?;
            chown(path, Some(owner.0), Some(owner.1))?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        if !paths.is_empty() {
            environment.push((variable.to_owned(), paths.join(":")));
        }
    }
    environment.extend(unit.environment.iter().cloned());
    for file in &unit.environment_files {
        match fs::read_to_string(&file.path) {
            Ok(text) => environment.extend(environment_file(&text)),
            Err(_) if file.optional => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", file.path))),
        }
    }
    environment.push((INVOCATION.to_owned(), invocation.to_owned()));

    let words = expand(&exec.words, &environment);
    let Some((program, arguments)) = words.split_first() else {
        return Err(io::Error::other("nothing to execute"));
    };
    let log = log_file(&format!("/var/log/{name}.log"))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment.iter().cloned().collect::<BTreeMap<_, _>>());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let directory = match &unit.working_directory {
        Some(directory) if directory.path == "~" => {
            Some(account.as_ref().map_or("/root".to_owned(), |account| account.home.clone()))
        }
        Some(directory) if directory.optional && !Path::new(&directory.path).is_dir() => None,
        Some(directory) => Some(directory.path.clone()),
        None => None,
    };
    command.current_dir(directory.unwrap_or_else(|| "/".to_owned()));
    let ids = account.map(|account| (account.uid, account.gid, account.groups));
    start(command, ids)
}

/// Starts a script of the boot, with the environment that cloud-init gives it: no `HOME`.
pub fn script(path: &str, log: File) -> io::Result<Pid> {
    let mut command = Command::new("/bin/sh");
    command.arg(path).current_dir("/").env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    start(command, None)
}

/// Starts a program that ends by itself soon.
pub fn program(words: &[&str], log: File) -> io::Result<Pid> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(io::Error::other("nothing to execute"));
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    start(command, None)
}

fn start(mut command: Command, ids: Option<(u32, u32, Vec<u32>)>) -> io::Result<Pid> {
    let ids = ids.map(|(uid, gid, groups)| {
        (Uid::from_raw(uid), Gid::from_raw(gid), groups.into_iter().map(Gid::from_raw).collect::<Vec<_>>())
    });
    raw::before_exec(&mut command, move || {
        raw::reset_signals();
        setsid()?;
        if let Some((uid, gid, groups)) = &ids {
            set_thread_groups(groups)?;
            set_thread_res_gid(Some(*gid), Some(*gid), Some(*gid))?;
            set_thread_res_uid(Some(*uid), Some(*uid), Some(*uid))?;
        }
        Ok(())
    });
    let child = command.spawn()?;
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("no process id"))
}

pub fn log_file(path: &str) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn environment_file(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
        .filter_map(|line| {
            let (name, value) = pair(line)?;
            let value = shell_words::split(&value).map_or(value, |words| words.join(" "));
            Some((name.trim().to_owned(), value))
        })
        .collect()
}

/// Every process of one run of a service: those marked with it, and the descendants of its main process.
pub fn processes_of(invocation: &str, main: Option<Pid>) -> HashSet<Pid> {
    let marker = format!("{INVOCATION}={invocation}");
    let mut found = HashSet::new();
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else {
            continue;
        };
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        let (state, parent) =
            (fields.next(), fields.next().and_then(|parent| Pid::from_raw(parent.parse().ok()?)));
        // Zombies have ended.
        if state == Some("Z") {
            continue;
        }
        if let Some(parent) = parent {
            parents.push((pid, parent));
        }
        if read("environ").split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes()) {
            found.insert(pid);
        }
    }
    found.extend(main.filter(|main| parents.iter().any(|(pid, _)| pid == main)));
    loop {
        let before = found.len();
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| found.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_files_hold_quoted_values_and_comments() {
        let read = environment_file("# no\n\nA=1\nB=\"two words\"\nnonsense\n");
        assert_eq!(read, [("A".into(), "1".into()), ("B".into(), "two words".into())]);
    }
}
