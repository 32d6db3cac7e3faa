//! The mount helper: `cloud-sim machine-mount`, the only part of the local cloud that runs as root.
//!
//! One for each cloud-sim, single-threaded, told what to do over its standard input. It starts a keeper for each
//! machine and looks after disks. When cloud-sim is gone, it ends, and with it every keeper and every machine.
//! It never listens anywhere and takes orders from nobody else.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Signal, WaitOptions, kill_process, setsid, waitpid};
use rustix::stdio;
use serde::{Deserialize, Serialize};

use super::disk::Disks;
use super::keeper::{self, Premises};
use super::raw::{self, Clone};
use super::rootfs;
use super::step::{During, StepError};
use super::wire::{self, Answer, BootOrder, Failure, HelperRequest, Message, Request};

/// What the helper is told on its command line, as one JSON text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub program_dir: Option<PathBuf>,
    pub control_plane_port: Option<u16>,
}

/// Runs `machine-mount SETTINGS`.
pub fn main(settings: &str) -> ExitCode {
    // An interrupt at the terminal is for cloud-sim, which still needs us to clean up.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        raw::ignore_signal(signal);
    }
    let _ = setsid();
    // Children that nobody waits for leave no zombies.
    raw::ignore_signal(libc::SIGCHLD);
    let served = match cloud_socket() {
        Ok(cloud) => match open_premises(settings) {
            Ok(premises) => wire::send(&cloud, &Message::Ready, &[]).and_then(|()| serve(&premises, cloud)),
            Err(error) => wire::send(&cloud, &Message::BootFailed { reason: error.to_string() }, &[]),
        },
        Err(error) => Err(error),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("machine-mount: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes the socket from standard input, and leaves nothing there.
fn cloud_socket() -> io::Result<OwnedFd> {
    let cloud = stdio::stdin().try_clone_to_owned()?;
    let nothing = fs::File::open("/dev/null")?;
    stdio::dup2_stdin(&nothing)?;
    Ok(cloud)
}

fn open_premises(settings: &str) -> Result<Premises, StepError> {
    let settings: Settings = serde_json::from_str(settings).during("reading the helper's settings")?;
    if !rustix::process::geteuid().is_root() {
        return Err(io::Error::other("mounting file systems needs root")).during("starting the mount helper");
    }
    let init_program = std::env::current_exe().during("finding this program")?;
    let mode = fs::metadata(&init_program).during("looking at this program")?.permissions().mode();
    if mode & 0o005 != 0o005 {
        return Err(io::Error::other("must be readable and executable for everybody, machines run it too"))
            .during(init_program.display().to_string());
    }
    let owner_map = make_owner_map()?;
    // Only to learn now, and not at the first machine, whether this system can do it.
    rootfs::mapped_host_root(&owner_map)?;
    Ok(Premises {
        disks: Disks::open(&settings.data_dir)?,
        init_program,
        program_dir: settings.program_dir,
        control_plane_port: settings.control_plane_port,
        owner_map,
    })
}

/// A user namespace with the machines' map, held by a process only for as long as it takes to open it.
fn make_owner_map() -> Result<OwnedFd, StepError> {
    let (mut ours, mut theirs) = std::os::unix::net::UnixStream::pair().during("making a socket")?;
    match raw::clone_process(libc::CLONE_NEWUSER).during("making a user namespace")? {
        Clone::Child => {
            drop(ours);
            let _ = theirs.write_all(b"r").and_then(|()| theirs.read_exact(&mut [0]));
            std::process::exit(0);
        }
        Clone::Parent(pid) => {
            drop(theirs);
            let opened = ours.read_exact(&mut [0]).during("waiting for a user namespace").and_then(|()| {
                keeper::write_maps(pid)?;
                fs::File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero()))
                    .during("opening a user namespace")
            });
            let _ = kill_process(pid, Signal::KILL);
            // Fails with ECHILD, after the child's end, because its end is ignored.
            let _ = waitpid(Some(pid), WaitOptions::empty());
            Ok(opened?.into())
        }
    }
}

fn serve(premises: &Premises, cloud: OwnedFd) -> io::Result<()> {
    while let Some((Request { id, body }, _)) = wire::receive::<Request<HelperRequest>>(&cloud)? {
        let disks = &premises.disks;
        let begun = match body {
            HelperRequest::Boot(order) => boot(premises, &cloud, id, &order),
            HelperRequest::Destroy { server_id } => {
                in_child(|| answer(&cloud, id, disks.destroy(server_id).map(|()| true)))
            }
            HelperRequest::SaveImage { server_id, image_id } => {
                in_child(|| answer(&cloud, id, disks.save_image(server_id, image_id)))
            }
            HelperRequest::DeleteImage { image_id } => {
                in_child(|| answer(&cloud, id, disks.delete_image(image_id).map(|()| true)))
            }
        };
        if let Err(error) = begun {
            answer(&cloud, id, Err(error).during("starting a process for it"))?;
        }
    }
    Ok(())
}

fn boot(premises: &Premises, cloud: &OwnedFd, id: u64, order: &BootOrder) -> io::Result<()> {
    let (cloud_end, keeper_end) = wire::pair()?;
    // The keeper's copy of `cloud_end` is closed first: its end must be seen there when cloud-sim closes its own.
    let mut cloud_end = Some(cloud_end);
    in_child(|| {
        cloud_end = None;
        keeper::keep(premises, order, &keeper_end)
    })?;
    drop(keeper_end);
    let Some(cloud_end) = cloud_end else { return Ok(()) };
    wire::send(cloud, &Message::Answer { id, result: Ok(Answer::Done) }, &[cloud_end.as_fd()])
}

fn answer(cloud: &OwnedFd, id: u64, done: Result<bool, StepError>) -> io::Result<()> {
    let result = match done {
        Ok(true) => Ok(Answer::Done),
        Ok(false) => Err(Failure::NoDisk),
        Err(error) => Err(Failure::Other(error.to_string())),
    };
    wire::send(cloud, &Message::Answer { id, result }, &[])
}

/// Lets a child do something that takes time, so that the other machines do not wait for it.
fn in_child(run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match raw::clone_process(0)? {
        Clone::Parent(_) => Ok(()),
        Clone::Child => {
            raw::default_signal(libc::SIGCHLD);
            let code = match run() {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("machine-mount: {error}");
                    1
                }
            };
            std::process::exit(code);
        }
    }
}
