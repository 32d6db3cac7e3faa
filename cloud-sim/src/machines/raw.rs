//! The few system calls that no safe wrapper offers: the only unsafe code of this crate.
//!
//! All but [`watch_socket`] is for single-threaded processes (the mount helper and what it clones), never for the
//! process that runs the async runtime: after a clone only the calling thread exists in the child.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Which side of [`clone_process`] is running.
pub enum Clone {
    Parent(Pid),
    Child,
}

/// Clones the calling process as `fork` does, with new namespaces as `flags` say.
pub fn clone_process(flags: libc::c_int) -> io::Result<Clone> {
    // SAFETY: without CLONE_VM the child gets its own copy of the address space, and with a null stack it goes on on
    // its copy of this one: exactly fork(2). Callers are single-threaded, so no lock is held by a thread that is lost.
    let result =
        unsafe { libc::syscall(libc::SYS_clone, (flags | libc::SIGCHLD) as libc::c_long, 0, 0, 0, 0) };
    match result {
        0 => Ok(Clone::Child),
        pid if pid > 0 => {
            Pid::from_raw(pid as i32).map(Clone::Parent).ok_or_else(|| io::Error::other("no process id"))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the namespaces named by `flags` for new ones.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the process is single-threaded and CLONE_FILES is never among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Makes the (detached) mount show its files with owners moved as the user namespace says.
pub fn map_mount_owners(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an all-zero mount_attr is valid.
    let mut attr: libc::mount_attr = unsafe { std::mem::zeroed() };
    attr.attr_set = libc::MOUNT_ATTR_IDMAP;
    attr.userns_fd = user_namespace.as_raw_fd() as u64;
    // SAFETY: the path is a valid C string, attr is live and its exact size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the session keyring of whoever started us, so that a machine holds no key of the host.
pub fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for a new anonymous keyring.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    // A kernel without keyrings has none to leave.
    if result >= 0 || io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives every signal its default action and blocks none.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no handler. Signals that cannot be changed answer with an error, which is right.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised by sigemptyset before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Ignores a signal; children inherit that until [`reset_signals`].
pub fn ignore_signal(signal: libc::c_int) {
    // SAFETY: SIG_IGN installs no handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Gives one signal its default action.
pub fn default_signal(signal: libc::c_int) {
    // SAFETY: SIG_DFL installs no handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Blocks the signals and returns a descriptor that becomes readable when one of them is pending.
pub fn signal_descriptor(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is used, and the descriptor returned is ours alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Marks every descriptor from `first` on to be closed when another program is executed.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only sets a flag on descriptors, closes none.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `prepare` in the child between fork and exec.
pub fn before_exec(
    command: &mut std::process::Command,
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    use std::os::unix::process::CommandExt;
    // SAFETY: callers pass closures that make system calls only, in a single-threaded process.
    unsafe { command.pre_exec(prepare) };
}

/// Lets the async runtime watch a descriptor.
pub fn watch_socket(socket: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned, so it is neither closed nor replaced while it is watched.
    unsafe { tokio::io::unix::AsyncFd::register(socket) }.map_err(io::Error::from)
}
