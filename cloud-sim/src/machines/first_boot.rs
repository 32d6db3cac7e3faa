//! What makes a disk a machine of its own: names, accounts, an identity, the user-data. Done once for each server and
//! disk, when the machine's root has already become `/`, so no path can lead to the host.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;

use super::disk::own;
use super::init::cloud_config::host_name;
use super::rootfs::INIT_PROGRAM;
use super::step::{During, StepError};
use super::wire::BootOrder;
use super::{GIT_ADDRESS, GIT_NAME};

/// Where cloud-init keeps what it knows of the instances that a disk has been.
pub fn instance_dir(server_id: u64) -> String {
    format!("/var/lib/cloud/instances/{server_id}")
}

/// Programs that speak to the machine's init.
const INIT_CLIENTS: [&str; 5] = ["systemctl", "reboot", "poweroff", "halt", "shutdown"];

pub fn personalise(order: &BootOrder) -> Result<(), StepError> {
    let instance = instance_dir(order.server_id);
    let user_data = format!("{instance}/user-data.txt");
    if Path::new(&user_data).exists() {
        return Ok(());
    }
    let user_data_bytes = base64::engine::general_purpose::STANDARD
        .decode(&order.user_data)
        .map_err(io::Error::other)
        .during("reading the order")?;
    if order.disk_from.is_none() {
        accounts()?;
        init_clients()?;
    }
    let name = host_name(&user_data_bytes).unwrap_or_else(|| order.name.clone());
    put("/etc/hostname", 0o644, format!("{name}\n"))?;
    put(
        "/etc/hosts",
        0o644,
        format!(
            "127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost\n{GIT_ADDRESS} {GIT_NAME}\n"
        ),
    )?;
    // Names resolve through /etc/hosts alone; with no server named, a look-up fails at once instead of timing out.
    put("/etc/resolv.conf", 0o644, "# This machine has no name server.\n")?;
    put("/etc/machine-id", 0o444, machine_id()?)?;
    put("/etc/fstab", 0o644, "")?;
    make_dirs(&instance)?;
    // Last: its presence says that all of this is done.
    put(&user_data, 0o600, user_data_bytes)
}

/// The name that the machine's disk gives it, at this boot and all later ones.
pub fn name_on_disk(order: &BootOrder) -> String {
    const LONGEST: usize = 64;
    let text = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = text.trim();
    if name.is_empty() || name.len() > LONGEST { order.name.clone() } else { name.to_owned() }
}

/// Accounts of the system, without those of the host's people and without anybody's password.
fn accounts() -> Result<(), StepError> {
    const NOBODY: u32 = 65_534;
    let system = |id: &str| id.parse::<u32>().is_ok_and(|id| id < 1000 || id == NOBODY);
    let read = |path: &str| fs::read_to_string(path).during(format!("reading {path}"));
    let kept = |text: String| -> Vec<String> {
        text.lines().filter(|line| line.split(':').nth(2).is_some_and(system)).map(str::to_owned).collect()
    };
    let users = kept(read("/etc/passwd")?);
    let groups: Vec<String> = kept(read("/etc/group")?)
        .iter()
        .map(|line| line.rsplit_once(':').map_or(line.clone(), |(group, _members)| format!("{group}:")))
        .collect();
    let first = |line: &String| line.split(':').next().unwrap_or_default().to_owned();
    let lines = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect::<String>();
    put(
        "/etc/shadow",
        0o640,
        lines(users.iter().map(|user| format!("{}:*:19000:0:99999:7:::", first(user))).collect()),
    )?;
    put("/etc/gshadow", 0o640, lines(groups.iter().map(|group| format!("{}:*::", first(group))).collect()))?;
    put("/etc/passwd", 0o644, lines(users))?;
    put("/etc/group", 0o644, lines(groups))?;
    for path in ["/etc/subuid", "/etc/subgid"] {
        put(path, 0o644, "")?;
    }
    for path in ["/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"] {
        remove(path)?;
    }
    Ok(())
}

fn init_clients() -> Result<(), StepError> {
    for name in INIT_CLIENTS {
        let path = format!("/usr/bin/{name}");
        put(&path, 0o755, format!("#!/bin/sh\nexec {INIT_PROGRAM} machine-init client {name} \"$@\"\n"))?;
        // Debian has the others in sbin, as links to systemctl.
        remove(&format!("/usr/sbin/{name}"))?;
    }
    Ok(())
}

fn machine_id() -> Result<String, StepError> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .during("making a machine id")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
}

/// Writes a file anew, whatever was at its place, owned by the machine's root.
fn put(path: &str, mode: u32, text: impl AsRef<[u8]>) -> Result<(), StepError> {
    remove(path)?;
    if let Some(dir) = Path::new(path).parent().filter(|dir| !dir.exists()) {
        make_dirs(&dir.to_string_lossy())?;
    }
    fs::write(path, text).during(format!("writing {path}"))?;
    own(Path::new(path), mode, 0, 0).during(format!("writing {path}"))
}

fn remove(path: &str) -> Result<(), StepError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.during(format!("replacing {path}")),
    }
}

fn make_dirs(path: &str) -> Result<(), StepError> {
    let mut made = std::path::PathBuf::new();
    for part in Path::new(path).components() {
        made.push(part);
        if !made.exists() {
            fs::create_dir(&made).during(format!("creating {}", made.display()))?;
            own(&made, 0o755, 0, 0).during(format!("creating {}", made.display()))?;
        }
    }
    Ok(())
}
