//! The file system that a machine sees: an overlay of its disk over an owner-mapped view of the host's root, with
//! /dev, /proc, /run and /sys of its own. Built by root in a mount namespace that nobody else shares, then entered.
//!
//! Until [`enter`] has changed the root, nothing below the machine's disk may be resolved as a path: the machine may
//! have left symbolic links there. After it, every path is the machine's own.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind,
    mount_change, mount_remount, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::disk::{ID_BASE, own};
use super::raw::map_mount_owners;
use super::step::{During, StepError};

/// Where a machine finds this program, its init.
pub const INIT_PROGRAM: &str = "/usr/local/lib/cloud-sim/machine";
const PROGRAMS: &str = "/usr/local/bin";
/// Parts of /proc that would change the kernel for everybody.
const READ_ONLY_IN_PROC: [&str; 6] =
    ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi"];
/// Parts of /proc that tell about the host.
const MASKED_IN_PROC: [&str; 4] = ["/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/timer_list"];

/// Files of the host that are shown in a machine, held as detached mounts until it has its root.
pub struct Shown {
    init: OwnedFd,
    programs: Vec<(PathBuf, OwnedFd)>,
}

impl Shown {
    pub fn open(init: &Path, program_dir: Option<&Path>) -> Result<Self, StepError> {
        let clone = |path: &Path| {
            open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
                .during(format!("opening {}", path.display()))
        };
        let mut programs = Vec::new();
        if let Some(dir) = program_dir {
            for entry in fs::read_dir(dir).during(format!("reading {}", dir.display()))? {
                let path = entry.during("reading the programs for machines")?.path();
                if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                    programs.push((Path::new(PROGRAMS).join(name), clone(&path)?));
                }
            }
        }
        Ok(Self { init: clone(init)?, programs })
    }
}

/// The host's root file system (that one alone, nothing mounted on it) with its owners moved to the machines' ids.
pub fn mapped_host_root(user_namespace: &OwnedFd) -> Result<OwnedFd, StepError> {
    let root = open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .during("opening a view of /")?;
    map_mount_owners(root.as_fd(), user_namespace.as_fd()).during(
        "showing / with other owners (this needs Linux 5.19 or later and ext4, xfs or btrfs as the root file system; \
         a container's overlay will not do)",
    )?;
    Ok(root)
}

/// Mounts the machine's root and makes it the root of this process, which must have a mount namespace of its own.
pub fn enter(machine: &Path, user_namespace: &OwnedFd) -> Result<(), StepError> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .during("making mounts private")?;
    // Relative paths: mount options have no way to quote a comma or a colon.
    chdir(machine).during("entering the machine's directory")?;
    let host = mapped_host_root(user_namespace)?;
    move_mount(&host, "", CWD, "lower", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .during("mounting the view of /")?;
    drop(host);
    let options =
        c"lowerdir=lower,upperdir=upper,workdir=work,index=off,metacopy=off,redirect_dir=off,xino=off";
    mount("overlay", "root", "overlay", MountFlags::empty(), options).during("mounting the overlay")?;
    unmount("lower", UnmountFlags::DETACH).during("unmounting the view of /")?;
    chdir("root").during("entering the machine's root")?;
    pivot_root(".", ".").during("changing the root")?;
    unmount(".", UnmountFlags::DETACH).during("unmounting the host's root")?;
    chdir("/").during("entering the new root")
}

/// Mounts what belongs on the root. Runs as the host's root, inside the machine's PID namespace.
pub fn furnish(shown: Shown) -> Result<(), StepError> {
    let Shown { init, programs } = shown;
    show(&init, Path::new(INIT_PROGRAM))?;
    for (path, program) in programs {
        show(&program, &path)?;
    }
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    tmpfs("/run", quiet, 0o755)?;
    make_dir("/run/lock", 0o1777)?;
    tmpfs("/sys", quiet | MountFlags::NOEXEC, 0o555)?;
    tmpfs("/dev", MountFlags::NOSUID | MountFlags::NOEXEC, 0o755)?;
    fill_dev()?;
    mount("proc", "/proc", "proc", quiet | MountFlags::NOEXEC, None).during("mounting /proc")
}

/// Closes what only the machine's own root could otherwise open. Runs inside the machine's user namespace, whose
/// mounts it makes read-only before the right to mount is given up.
pub fn seal() -> Result<(), StepError> {
    // No further user namespaces: inside one, the machine's users would again have every capability.
    fs::write("/proc/sys/user/max_user_namespaces", "0").during("forbidding user namespaces")?;
    for path in READ_ONLY_IN_PROC.into_iter().filter(|path| Path::new(path).exists()) {
        mount_bind(path, path).during(format!("covering {path}"))?;
        let flags = MountFlags::BIND
            | MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC;
        mount_remount(path, flags, "").during(format!("making {path} read-only"))?;
    }
    for path in MASKED_IN_PROC.into_iter().filter(|path| Path::new(path).exists()) {
        mount_bind("/dev/null", path).during(format!("masking {path}"))?;
    }
    Ok(())
}

/// Mounts a file of the host, read-only, on a placeholder.
fn show(file: &OwnedFd, path: &Path) -> Result<(), StepError> {
    let shown = || format!("showing {}", path.display());
    if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
        make_dir(&dir.to_string_lossy(), 0o755)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        fs::remove_file(path).during(shown())?;
    }
    if !path.exists() {
        fs::write(path, "").during(shown())?;
        own(path, 0o755, 0, 0).during(shown())?;
    }
    move_mount(file, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).during(shown())?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount(path, flags, "").during(shown())
}

fn tmpfs(path: &str, flags: MountFlags, mode: u32) -> Result<(), StepError> {
    let options = std::ffi::CString::new(format!("mode={mode:o},uid={ID_BASE},gid={ID_BASE}"))
        .map_err(io::Error::other)
        .during("writing mount options")?;
    mount("tmpfs", path, "tmpfs", flags, options.as_c_str()).during(format!("mounting {path}"))
}

fn make_dir(path: &str, mode: u32) -> Result<(), StepError> {
    fs::create_dir_all(path).during(format!("creating {path}"))?;
    own(Path::new(path), mode, 0, 0).during(format!("creating {path}"))
}

fn fill_dev() -> Result<(), StepError> {
    const TTY_GROUP: u32 = ID_BASE + 5;
    const DEVICES: [(&str, u32, u32); 6] =
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    for (name, major, minor) in DEVICES {
        let path = Path::new("/dev").join(name);
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))
            .during(format!("making /dev/{name}"))?;
        own(&path, 0o666, 0, 0).during(format!("making /dev/{name}"))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        symlink(target, Path::new("/dev").join(name)).during(format!("making /dev/{name}"))?;
    }
    make_dir("/dev/shm", 0o1777)?;
    tmpfs("/dev/shm", MountFlags::NOSUID | MountFlags::NODEV, 0o1777)?;
    make_dir("/dev/pts", 0o755)?;
    let options = std::ffi::CString::new(format!("newinstance,ptmxmode=0666,mode=0620,gid={TTY_GROUP}"))
        .map_err(io::Error::other)
        .during("writing mount options")?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", "/dev/pts", "devpts", flags, options.as_c_str()).during("mounting /dev/pts")
}
