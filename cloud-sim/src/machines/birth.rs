//! The way from a cloned process with the host's root rights to PID 1 of a machine, which has almost none.
//!
//! The order matters: mounts while we may mount, then the user namespace, then the network (made from outside by the
//! keeper), then every right is given up, and only then does the machine's init run. A failure is told to the keeper
//! as text; a machine is never started half closed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Gid, Signal, Uid, set_parent_process_death_signal, setsid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use super::first_boot;
use super::raw;
use super::rootfs::{self, INIT_PROGRAM, Shown};
use super::step::{During, StepError};
use super::wire::BootOrder;

/// What the root of a machine may do, inside the machine only. `SYS_PTRACE` lets a machine's root see which process
/// holds a port, as on any server; nothing here mounts, loads, or changes the network.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE);

/// The sign to the keeper that the namespaces exist and wait for their maps and addresses.
pub const NEEDS_KEEPER: u8 = b'n';
/// The keeper's sign to go on.
pub const GO: u8 = b'g';

/// What the process needs on its way.
pub struct Cradle<'a> {
    pub order: &'a BootOrder,
    pub machine_dir: &'a Path,
    pub owner_map: &'a std::os::fd::OwnedFd,
    pub shown: Shown,
    pub console: File,
    pub keeper: UnixStream,
}

/// Becomes the machine's init; returns only to say why it could not.
pub fn become_init(cradle: Cradle<'_>) -> io::Error {
    let Cradle { order, machine_dir, owner_map, shown, console, mut keeper } = cradle;
    let prepared = prepare(order, machine_dir, owner_map, shown, &mut keeper);
    let error = match prepared {
        Ok(()) => execute(order, console),
        Err(error) => io::Error::other(error.to_string()),
    };
    let _ = keeper.write_all(error.to_string().as_bytes());
    error
}

fn prepare(
    order: &BootOrder,
    machine_dir: &Path,
    owner_map: &std::os::fd::OwnedFd,
    shown: Shown,
    keeper: &mut UnixStream,
) -> Result<(), StepError> {
    die_with_parent()?;
    raw::reset_signals();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    raw::unshare(UnshareFlags::NEWNS).during("leaving the host's mounts")?;
    rootfs::enter(machine_dir, owner_map)?;
    first_boot::personalise(order)?;
    rootfs::furnish(shown)?;

    let namespaces = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWCGROUP;
    raw::unshare(namespaces).during("making the machine's namespaces")?;
    let mut answer = [0];
    keeper
        .write_all(&[NEEDS_KEEPER])
        .and_then(|()| keeper.read_exact(&mut answer))
        .during("waiting for the keeper")?;

    let (root_user, root_group) = (Some(Uid::ROOT), Some(Gid::ROOT));
    set_thread_groups(&[]).during("leaving the host's groups")?;
    set_thread_res_gid(root_group, root_group, root_group).during("becoming the machine's root")?;
    set_thread_res_uid(root_user, root_user, root_user).during("becoming the machine's root")?;
    rootfs::seal()?;
    rustix::system::sethostname(first_boot::name_on_disk(order).as_bytes()).during("naming the machine")?;
    setsid().during("making a session")?;
    give_up_rights()?;
    // Changing users cleared it.
    die_with_parent()?;
    raw::close_on_exec_from(3).during("closing the host's files")
}

fn die_with_parent() -> Result<(), StepError> {
    set_parent_process_death_signal(Some(Signal::KILL)).during("tying the machine to its keeper")
}

fn give_up_rights() -> Result<(), StepError> {
    raw::join_new_session_keyring().during("leaving the host's keyring")?;
    set_no_new_privs(true).during("refusing new privileges")?;
    for number in 0..64 {
        let Some(capability) = CapabilitySet::from_bits(1 << number) else { continue };
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Beyond the last capability this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            removed => removed.during("giving up capabilities")?,
        }
    }
    let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).during("giving up capabilities")
}

fn execute(order: &BootOrder, console: File) -> io::Error {
    let second = match console.try_clone() {
        Ok(second) => second,
        Err(error) => return error,
    };
    let error = Command::new(INIT_PROGRAM)
        .args(["machine-init", "boot", &order.server_id.to_string()])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .stdin(std::process::Stdio::null())
        .stdout(console)
        .stderr(second)
        .exec();
    io::Error::new(error.kind(), format!("executing the machine's init: {error}"))
}
