//! The boot as a list of steps, in cloud-init's order: bootcmd, files and users, services, late files, runcmd.
//!
//! What belongs to an instance is done once for each server; a disk that became another server's does it again.
//! A step that fails is logged and stops nothing, as in cloud-init.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Instant;

use rustix::process::Pid;

use super::cloud_config::{self, CloudConfig, FileToWrite, User, UserDescription};
use super::services::Services;
use super::{accounts, control, spawn};
use crate::machines::first_boot::instance_dir;

const LOG: &str = "/var/log/cloud-init-output.log";
const INSTANCE: &str = "/var/lib/cloud/instance";

pub enum Step {
    Script {
        path: String,
        text: String,
    },
    WriteFile(Box<FileToWrite>),
    AddUser(Box<UserDescription>),
    StartServices,
    Say(String),
    /// Remembers that the instance's own steps are done.
    Remember {
        marker: String,
    },
}

/// Everything this boot does.
pub fn plan(server_id: u64) -> VecDeque<Step> {
    let instance = instance_dir(server_id);
    point_instance(&instance);
    let config = fs::read(format!("{instance}/user-data.txt"))
        .map_err(|error| error.to_string())
        .and_then(|user_data| cloud_config::parse(&user_data).map_err(|error| error.to_string()));
    let config = config.unwrap_or_else(|reason| {
        log(&format!("user-data is not used: {reason}"));
        CloudConfig::default()
    });
    let marker = format!("{instance}/sem/done");
    let is_first = !Path::new(&marker).exists();
    steps(config, is_first, &instance, marker)
}

fn steps(config: CloudConfig, is_first: bool, instance: &str, marker: String) -> VecDeque<Step> {
    let script = |name: &str, commands: &[cloud_config::CommandLine]| {
        (!commands.is_empty()).then(|| Step::Script {
            path: format!("{instance}/scripts/{name}"),
            text: cloud_config::script(commands),
        })
    };
    let mut steps = VecDeque::new();
    steps.extend(script("bootcmd", &config.bootcmd));
    if !is_first {
        steps.push_back(Step::StartServices);
        return steps;
    }
    let ignored = |what: &str| Step::Say(format!("ignored: {what} (machines have no use for it)"));
    steps.extend(config.others.keys().map(|key| ignored(key)));
    let (late, early): (Vec<_>, Vec<_>) = config.write_files.into_iter().partition(|file| file.defer);
    let write = |file| Step::WriteFile(Box::new(file));
    steps.extend(early.into_iter().map(write));
    steps.extend(config.users.into_iter().map(|user| match user {
        User::Named(name) => ignored(&format!("user {name}")),
        User::Described(user) => Step::AddUser(user),
    }));
    steps.extend(config.packages.iter().map(|package| Step::Say(about_package(package))));
    steps.push_back(Step::StartServices);
    steps.extend(late.into_iter().map(write));
    // Before runcmd: it may reboot the machine, and must not be run a second time then.
    steps.push_back(Step::Remember { marker });
    steps.extend(script("runcmd", &config.runcmd));
    steps.push_back(Step::Say("user-data is done".to_owned()));
    steps
}

impl Step {
    /// Does it; a process that it started must end before the next one.
    pub fn run(self, services: &mut Services) -> io::Result<Option<Pid>> {
        match self {
            Self::Script { path, text } => {
                if let Some(dir) = Path::new(&path).parent() {
                    fs::create_dir_all(dir)?;
                }
                write_new(&path, text.as_bytes(), 0o700, false)?;
                log(&format!("running {path}"));
                return spawn::script(&path, spawn::log_file(LOG)?).map(Some);
            }
            Self::WriteFile(file) => {
                write_file(&file).map_err(|error| io::Error::other(format!("{}: {error}", file.path)))?;
            }
            Self::AddUser(user) if accounts::find(&user.name, None).is_ok() => {
                log(&format!("user {} exists and stays as it is", user.name));
            }
            Self::AddUser(user) => return add_user(&user).map(Some),
            Self::StartServices => {
                for unit in control::enabled_units() {
                    if let Err(error) = services.start(&unit, Instant::now()) {
                        log(&error.to_string());
                    }
                }
            }
            Self::Say(what) => log(&what),
            Self::Remember { marker } => {
                if let Some(dir) = Path::new(&marker).parent() {
                    fs::create_dir_all(dir)?;
                }
                fs::write(marker, "")?;
            }
        }
        Ok(None)
    }
}

/// Writes to the console and to cloud-init's log.
pub fn log(what: &str) {
    println!("boot: {what}");
    // A full disk must not stop the boot.
    let _ = spawn::log_file(LOG).and_then(|mut file| writeln!(file, "boot: {what}"));
}

fn point_instance(instance: &str) {
    let _ = fs::remove_file(INSTANCE);
    if let Err(error) = symlink(instance, INSTANCE) {
        log(&format!("{INSTANCE}: {error}"));
    }
}

fn write_file(file: &FileToWrite) -> io::Result<()> {
    let content = file.decoded().map_err(io::Error::other)?;
    if let Some(dir) = Path::new(&file.path).parent() {
        fs::create_dir_all(dir)?;
    }
    write_new(&file.path, &content, file.mode(), file.append)?;
    let owner = file.owner.as_deref().unwrap_or("root:root");
    let (user, group) = owner.split_once(':').map_or((owner, None), |(user, group)| (user, Some(group)));
    let account = accounts::find(user, group)?;
    chown(&file.path, Some(account.uid), group.map(|_| account.gid))?;
    // Once more: changing the owner clears some bits.
    fs::set_permissions(&file.path, fs::Permissions::from_mode(file.mode()))
}

/// Never wider than `mode`, not even for a moment.
fn write_new(path: &str, content: &[u8], mode: u32, append: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).mode(mode);
    if append {
        options.append(true)
    } else {
        options.write(true).truncate(true)
    };
    let mut file = options.open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)
}

fn add_user(user: &UserDescription) -> io::Result<Pid> {
    let uid = user.uid_text();
    let groups = user.group_names().join(",");
    let mut words = vec!["useradd"];
    words.push(if user.no_create_home { "--no-create-home" } else { "--create-home" });
    words.extend(["--shell", user.shell.as_deref().unwrap_or("/bin/bash")]);
    if let Some(uid) = &uid {
        words.extend(["--uid", uid]);
    }
    if let Some(home) = &user.homedir {
        words.extend(["--home-dir", home]);
    }
    if !groups.is_empty() {
        words.extend(["--groups", &groups]);
    }
    if user.system {
        words.push("--system");
    }
    words.extend(["--", &user.name]);
    log(&format!("adding user {}", user.name));
    spawn::program(&words, spawn::log_file(LOG)?)
}

/// Machines have no package archive; what the host has installed is there.
fn about_package(package: &serde_json::Value) -> String {
    let name = match package {
        serde_json::Value::Array(name_and_version) => name_and_version.first().cloned().unwrap_or_default(),
        other => other.clone(),
    };
    let name = name.as_str().unwrap_or_default();
    let installed = ["", ":amd64", ":arm64"]
        .iter()
        .any(|arch| Path::new(&format!("/var/lib/dpkg/info/{name}{arch}.list")).exists());
    if installed {
        format!("package {name} is there")
    } else {
        format!("package {name} is not there, and machines have no package archive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(user_data: &str, is_first: bool) -> Vec<&'static str> {
        let config = cloud_config::parse(user_data.as_bytes()).unwrap();
        steps(config, is_first, "/i", "/i/sem/done".into())
            .iter()
            .map(|step| match step {
                Step::Script { path, .. } => path.rsplit('/').next().map_or("", |name| match name {
                    "bootcmd" => "bootcmd",
                    _ => "runcmd",
                }),
                Step::WriteFile(file) if file.defer => "late file",
                Step::WriteFile(_) => "file",
                Step::AddUser(_) => "user",
                Step::StartServices => "services",
                Step::Say(_) => "say",
                Step::Remember { .. } => "remember",
            })
            .collect()
    }

    #[test]
    fn steps_come_in_cloud_inits_order_and_only_once() {
        let user_data = "#cloud-config\nruncmd: [a]\nbootcmd: [b]\nwrite_files: [{path: /x, defer: true}, {path: /y}]\n\
                         users: [{name: dev}]\n";
        assert_eq!(
            names(user_data, true),
            ["bootcmd", "file", "user", "services", "late file", "remember", "runcmd", "say"]
        );
        assert_eq!(names(user_data, false), ["bootcmd", "services"]);
    }
}
