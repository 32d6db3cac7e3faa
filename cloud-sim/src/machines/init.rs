//! The machine's init: PID 1 inside a machine. It plays the little of cloud-init and systemd that machines need:
//! user-data once for each server, enabled services at every boot, orphans reaped, orders from `systemctl`.
//!
//! It runs what it is told exactly as it is told, and says in the boot log what it ignored. It knows nothing of what
//! the machine is for. Single-threaded; every child is reaped in one place.

mod accounts;
mod boot;
pub(super) mod cloud_config;
mod control;
mod services;
mod spawn;
mod unit;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use self::boot::Step;
use self::control::{Outcome, Reply};
use self::services::Services;
use super::{helper, raw};

/// How init says to the keeper that the machine was shut down.
pub const EXIT_POWER_OFF: i32 = 0;
/// How init says to the keeper that the machine wants to boot again.
pub const EXIT_REBOOT: i32 = 3;

/// Services get this long to end when the machine is shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the internal subcommands `machine-init` and `machine-mount`; `arguments` start with one of them.
/// Must be called before any thread is started.
pub fn main(arguments: &[String]) -> ExitCode {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["machine-mount", settings] => helper::main(settings),
        ["machine-init", "boot", server_id] => {
            match server_id.parse().map_err(io::Error::other).and_then(run) {
                Ok(never) => match never {},
                Err(error) => {
                    println!("init: {error}");
                    ExitCode::from(1)
                }
            }
        }
        ["machine-init", "client", program, ..] => {
            control::client((*program).to_owned(), arguments.get(3..).unwrap_or_default().to_vec())
        }
        _ => {
            eprintln!(
                "machine-init and machine-mount are for cloud-sim itself; see `cloud-sim serve --help`"
            );
            ExitCode::from(2)
        }
    }
}

struct Init {
    services: Services,
    steps: VecDeque<Step>,
    /// The step's process, which the next step waits for.
    step_process: Option<Pid>,
    waiting_clients: Vec<WaitingClient>,
    shutdown: Option<Shutdown>,
}

struct WaitingClient {
    stream: UnixStream,
    units: Vec<String>,
    expect_active: bool,
}

struct Shutdown {
    code: i32,
    at_the_latest: Instant,
}

fn run(server_id: u64) -> io::Result<std::convert::Infallible> {
    let children = raw::signal_descriptor(&[libc::SIGCHLD])?;
    let listener = UnixListener::bind(control::SOCKET)?;
    fs::set_permissions(control::SOCKET, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    println!("init: booting server {server_id}");
    let mut init = Init {
        services: Services::default(),
        steps: boot::plan(server_id),
        step_process: None,
        waiting_clients: Vec::new(),
        shutdown: None,
    };
    loop {
        init.go_on();
        let timeout = init.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut watched = [PollFd::new(&children, PollFlags::IN), PollFd::new(&listener, PollFlags::IN)];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        init.reap(&children);
        while let Ok((stream, _)) = listener.accept() {
            init.hear(stream);
        }
    }
}

impl Init {
    /// Does all that can be done without waiting.
    fn go_on(&mut self) {
        let now = Instant::now();
        self.services.tick(now);
        while self.step_process.is_none() && self.shutdown.is_none() {
            let Some(step) = self.steps.pop_front() else { break };
            match step.run(&mut self.services) {
                Ok(process) => self.step_process = process,
                Err(error) => boot::log(&format!("a step of the boot failed: {error}")),
            }
        }
        let services = &self.services;
        let (settled, waiting): (Vec<_>, _) = std::mem::take(&mut self.waiting_clients)
            .into_iter()
            .partition(|client: &WaitingClient| client.units.iter().all(|unit| services.is_settled(unit)));
        self.waiting_clients = waiting;
        for WaitingClient { mut stream, units, expect_active } in settled {
            control::send_reply(&mut stream, &control::settled_reply(&self.services, &units, expect_active));
        }
        if let Some(shutdown) = &self.shutdown
            && (self.services.all_ended() || now >= shutdown.at_the_latest)
        {
            println!("init: the machine goes down");
            // What is left is killed by the kernel when its PID 1 ends.
            std::process::exit(shutdown.code);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let shutdown = self.shutdown.as_ref().map(|shutdown| shutdown.at_the_latest);
        [self.services.next_tick(Instant::now()), shutdown].into_iter().flatten().min()
    }

    fn reap(&mut self, children: &OwnedFd) {
        // The descriptor only wakes us; several ends may have become one signal.
        let mut siginfo = [0; 1024];
        while rustix::io::read(children, &mut siginfo).is_ok_and(|read| read > 0) {}
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let success = status.exit_status() == Some(0);
            if self.step_process == Some(pid) {
                self.step_process = None;
                boot::log(&format!("a step's process {}", describe(status)));
            }
            self.services.child_ended(pid, success, &describe(status), Instant::now());
        }
    }

    fn hear(&mut self, mut stream: UnixStream) {
        // Only root can connect, but a client that says nothing must not hold up the machine.
        let patient = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(Duration::from_secs(1))));
        let order = match patient.and_then(|()| control::read_order(&stream)) {
            Ok(order) => order,
            Err(error) => return println!("init: an order cannot be read: {error}"),
        };
        let now = Instant::now();
        match control::handle(&mut self.services, &order, now) {
            Outcome::Reply(reply) => control::send_reply(&mut stream, &reply),
            Outcome::WhenSettled { units, expect_active } => {
                self.waiting_clients.push(WaitingClient { stream, units, expect_active });
            }
            Outcome::ShutDown { reboot } => {
                println!("init: shutting down (reboot: {reboot})");
                control::send_reply(&mut stream, &Reply::default());
                self.services.stop_all(now);
                let code = if reboot { EXIT_REBOOT } else { EXIT_POWER_OFF };
                self.shutdown = Some(Shutdown { code, at_the_latest: now + SHUTDOWN_TIMEOUT });
            }
        }
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (_, Some(signal)) => format!("was killed by signal {signal}"),
        _ => "ended".to_owned(),
    }
}
