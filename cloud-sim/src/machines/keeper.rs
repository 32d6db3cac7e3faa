//! The keeper of one machine: a root process of the host that stands between cloud-sim and the machine.
//!
//! It makes the machine's processes and its link, holds the other end of that link in a network namespace of its own
//! (the machine's internet), hands out sockets in it, and kills the machine when cloud-sim says so or is gone.
//! It dies with the mount helper and the machine dies with it, so nothing has to be cleaned up afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, set_parent_process_death_signal, waitpid,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::birth::{self, Cradle, GO, NEEDS_KEEPER};
use super::disk::{Disks, ID_BASE, ID_COUNT};
use super::init::{EXIT_POWER_OFF, EXIT_REBOOT};
use super::raw::{self, Clone};
use super::rootfs::Shown;
use super::step::{During, StepError};
use super::wire::{self, Answer, BootOrder, Ending, Failure, KeeperRequest, Message, Request};
use super::{GIT_ADDRESS, INTERNET_ADDRESS, Usage};

/// What all machines of one cloud share.
pub struct Premises {
    pub disks: Disks,
    pub init_program: PathBuf,
    pub program_dir: Option<PathBuf>,
    pub control_plane_port: Option<u16>,
    /// A user namespace that maps as the machines' do; only its map matters.
    pub owner_map: OwnedFd,
}

/// The keeper's end of the link.
const LINK: &str = "outside";

/// Starts the machine and keeps it until it ends or cloud-sim is gone.
pub fn keep(premises: &Premises, order: &BootOrder, cloud: &OwnedFd) -> io::Result<()> {
    match start(premises, order) {
        Ok(machine) => {
            let listeners = [machine.git.as_fd(), machine.control_plane.as_fd()];
            wire::send(cloud, &Message::Booted, &listeners)?;
            machine.serve(cloud)
        }
        Err(error) => wire::send(cloud, &Message::BootFailed { reason: error.to_string() }, &[]),
    }
}

struct Machine {
    init: Pid,
    init_fd: OwnedFd,
    ipv4: Ipv4Addr,
    git: TcpListener,
    control_plane: TcpListener,
}

fn start(premises: &Premises, order: &BootOrder) -> Result<Machine, StepError> {
    set_parent_process_death_signal(Some(Signal::KILL)).during("tying the keeper to the helper")?;
    if [GIT_ADDRESS, INTERNET_ADDRESS].contains(&order.ipv4) {
        return Err(io::Error::other("taken by the simulated internet")).during(order.ipv4.to_string());
    }
    let machine_dir = premises.disks.prepare(order.server_id, order.disk_from)?;
    let shown = Shown::open(&premises.init_program, premises.program_dir.as_deref())?;
    let console = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(machine_dir.join("console.log"))
        .during("opening the console log")?;
    raw::unshare(UnshareFlags::NEWNET).during("making the machine's internet")?;

    let (mut ours, theirs) = UnixStream::pair().during("making a socket")?;
    let init = match raw::clone_process(libc::CLONE_NEWPID).during("cloning a process")? {
        Clone::Child => {
            drop(ours);
            let owner_map = &premises.owner_map;
            let cradle =
                Cradle { order, machine_dir: &machine_dir, owner_map, shown, console, keeper: theirs };
            birth::become_init(cradle);
            std::process::exit(1);
        }
        Clone::Parent(pid) => pid,
    };
    drop(theirs);
    let raised = raise(premises, order, init, &mut ours);
    match raised {
        Ok((git, control_plane)) => {
            let init_fd = pidfd_open(init, PidfdFlags::empty()).during("watching the machine")?;
            Ok(Machine { init, init_fd, ipv4: order.ipv4, git, control_plane })
        }
        Err(error) => {
            let _ = kill_process(init, Signal::KILL);
            let _ = waitpid(Some(init), WaitOptions::empty());
            Err(error)
        }
    }
}

/// The keeper's part of the birth: maps, link, listeners.
fn raise(
    premises: &Premises,
    order: &BootOrder,
    init: Pid,
    child: &mut UnixStream,
) -> Result<(TcpListener, TcpListener), StepError> {
    expect_sign(child)?;
    write_maps(init)?;
    let git = lay_link(order.ipv4, init).and_then(|()| {
        TcpListener::bind(SocketAddr::from((GIT_ADDRESS, 80))).during("listening as the git host")
    })?;
    let port = premises.control_plane_port.unwrap_or(0);
    let control_plane = within_network_of(init, || {
        address_inside(order.ipv4)?;
        TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .during("listening as the control plane")
    })?;
    child.write_all(&[GO]).during("letting the machine go on")?;
    // Executing the init closes the socket; anything that comes instead is the reason why it was not executed.
    let mut reason = String::new();
    child.read_to_string(&mut reason).during("waiting for the machine's init")?;
    if reason.is_empty() { Ok((git, control_plane)) } else { Err(io::Error::other(reason)).during("inside") }
}

fn expect_sign(child: &mut UnixStream) -> Result<(), StepError> {
    let mut sign = [0];
    child.read_exact(&mut sign).during("waiting for the machine's namespaces")?;
    if sign[0] == NEEDS_KEEPER {
        return Ok(());
    }
    let mut reason = vec![sign[0]];
    child.read_to_end(&mut reason).during("reading why the machine failed")?;
    Err(io::Error::other(String::from_utf8_lossy(&reason).into_owned())).during("building the machine")
}

/// Maps the ids of the process's user namespace to the machines' range.
pub fn write_maps(pid: Pid) -> Result<(), StepError> {
    let pid = pid.as_raw_nonzero();
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{file}"), format!("0 {ID_BASE} {ID_COUNT}\n"))
            .during(format!("writing {file}"))?;
    }
    Ok(())
}

fn lay_link(ipv4: Ipv4Addr, init: Pid) -> Result<(), StepError> {
    let pid = init.as_raw_nonzero();
    ip(&format!(
        "link set lo up\n\
         link add {LINK} type veth peer name eth0 netns {pid}\n\
         addr add {GIT_ADDRESS}/32 dev {LINK}\n\
         addr add {INTERNET_ADDRESS}/32 dev {LINK}\n"
    ))?;
    raise_link(ipv4)
}

fn raise_link(ipv4: Ipv4Addr) -> Result<(), StepError> {
    ip(&format!("link set {LINK} up\nroute replace {ipv4}/32 dev {LINK} src {INTERNET_ADDRESS}\n"))
}

/// The machine's own side: its address, ways to the two hosts of its internet, and a quick no for all others.
fn address_inside(ipv4: Ipv4Addr) -> Result<(), StepError> {
    ip(&format!(
        "link set lo up\n\
         addr add {ipv4}/32 dev eth0\n\
         link set eth0 up\n\
         route add {GIT_ADDRESS}/32 dev eth0\n\
         route add {INTERNET_ADDRESS}/32 dev eth0\n\
         route add unreachable default\n"
    ))
}

fn ip(script: &str) -> Result<(), StepError> {
    let run = || -> io::Result<()> {
        let mut child = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(script.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    };
    run().during("laying the machine's link with `ip` (package iproute2)")
}

/// Runs something in the network namespace of another process, and comes back.
fn within_network_of<T>(pid: Pid, run: impl FnOnce() -> Result<T, StepError>) -> Result<T, StepError> {
    let open = |path: String| File::open(&path).during(path);
    let (home, there) =
        (open("/proc/self/ns/net".into())?, open(format!("/proc/{}/ns/net", pid.as_raw_nonzero()))?);
    let network = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(there.as_fd(), network).during("entering the machine's network")?;
    let result = run();
    move_into_link_name_space(home.as_fd(), network).during("leaving the machine's network")?;
    result
}

impl Machine {
    fn serve(self, cloud: &OwnedFd) -> io::Result<()> {
        loop {
            let mut watched = [PollFd::new(cloud, PollFlags::IN), PollFd::new(&self.init_fd, PollFlags::IN)];
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            let [cloud_ready, init_ready] = watched.map(|fd| !fd.revents().is_empty());
            if init_ready {
                return wire::send(cloud, &Message::Ended(self.reap()?), &[]);
            }
            if cloud_ready {
                let Some((request, _)) = wire::receive::<Request<KeeperRequest>>(cloud)? else {
                    self.kill()?;
                    self.reap()?;
                    return Ok(());
                };
                self.answer(cloud, request)?;
            }
        }
    }

    fn answer(&self, cloud: &OwnedFd, Request { id, body }: Request<KeeperRequest>) -> io::Result<()> {
        let mut descriptors = Vec::new();
        let result = match body {
            KeeperRequest::Socket => internet_socket().map(|socket| {
                descriptors.push(socket);
                Answer::Done
            }),
            KeeperRequest::Usage => self.usage().map(Answer::Usage),
            KeeperRequest::Stop => self.stop().map(|()| Answer::Done),
            KeeperRequest::SetNetwork { up: true } => raise_link(self.ipv4).map(|()| Answer::Done),
            KeeperRequest::SetNetwork { up: false } => {
                ip(&format!("link set {LINK} down\n")).map(|()| Answer::Done)
            }
            KeeperRequest::Kill => self.kill().map(|()| Answer::Done).during("killing the machine"),
        };
        let result = result.map_err(|error| Failure::Other(error.to_string()));
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        wire::send(cloud, &Message::Answer { id, result }, &borrowed)
    }

    /// Killing PID 1 kills the whole PID namespace.
    fn kill(&self) -> io::Result<()> {
        match kill_process(self.init, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            killed => Ok(killed?),
        }
    }

    /// Waits until PID 1 is gone, and with it every process of the machine.
    fn reap(&self) -> io::Result<Ending> {
        let status = loop {
            match waitpid(Some(self.init), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                waited => break waited?,
            }
        };
        Ok(match status.and_then(|(_, status)| status.exit_status()) {
            Some(EXIT_POWER_OFF) => Ending::PoweredOff,
            Some(EXIT_REBOOT) => Ending::Rebooted,
            _ => Ending::Died,
        })
    }

    fn stop(&self) -> Result<(), StepError> {
        for pid in self.processes()? {
            // One that ended meanwhile needs no stopping.
            let _ = kill_process(pid, Signal::STOP);
        }
        Ok(())
    }

    fn processes(&self) -> Result<Vec<Pid>, StepError> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace(&self.init.as_raw_nonzero().to_string());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").during("listing processes")? {
            let name = entry.during("listing processes")?.file_name();
            let Some((name, pid)) =
                name.to_str().and_then(|name| Some((name, Pid::from_raw(name.parse().ok()?)?)))
            else {
                continue;
            };
            if ours.is_some() && namespace(name) == ours {
                found.push(pid);
            }
        }
        Ok(found)
    }

    fn usage(&self) -> Result<Usage, StepError> {
        let ticks: u64 = self.processes()?.into_iter().map(cpu_ticks).sum();
        let devices = fs::read_to_string("/proc/self/net/dev").during("reading the link's counters")?;
        let (received, sent) = link_bytes(&devices).unwrap_or_default();
        Ok(Usage {
            cpu_millis: ticks * 1000 / rustix::param::clock_ticks_per_second(),
            // What our end sent, the machine received.
            network_in_bytes: sent,
            network_out_bytes: received,
        })
    }
}

fn internet_socket() -> Result<OwnedFd, StepError> {
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
        .during("making a socket")
}

/// CPU time of a process and of its children that were waited for.
fn cpu_ticks(pid: Pid) -> u64 {
    const USER_TIME: usize = 11;
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // Fields are counted after the name, which may itself hold spaces and parentheses.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split(' ').skip(USER_TIME).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Bytes received and sent by our end of the link, from the text of `/proc/net/dev`.
fn link_bytes(devices: &str) -> Option<(u64, u64)> {
    let line = devices.lines().find_map(|line| line.trim_start().strip_prefix(LINK)?.strip_prefix(':'))?;
    let mut fields = line.split_whitespace();
    let received = fields.next()?.parse().ok()?;
    let sent = fields.nth(7)?.parse().ok()?;
    Some((received, sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_our_end_of_the_link() {
        let text = "Inter-|   Receive                                                |  Transmit\n\
                     face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
                    lo:     500       1    0    0    0     0          0         0      500       1    0\n\
                    outside:    1234      10    0    0    0     0          0         0   98765      20    0    0\n";
        assert_eq!(link_bytes(text), Some((1234, 98765)));
        assert_eq!(link_bytes("lo: 1 2"), None);
    }
}
