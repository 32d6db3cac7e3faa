//! One QEMU process: started, spoken to, and ended so that nothing of a disk is lost.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{broadcast, mpsc, watch};

use super::command::{self, Files, GUEST_ADDRESS, Hardware};
use super::qmp::{self, GuestEvent, Qmp, QmpError};
use crate::machines::MachineEvent;

pub const PROGRAM: &str = "qemu-system-x86_64";
/// How long QEMU may take to open its monitor, which it does before the guest starts.
const MONITOR_START: Duration = Duration::from_secs(30);
/// How long QEMU may take to write out what the guest has flushed, when it is asked to end.
const QUIT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A machine that is on.
pub struct Emulator {
    monitor: Arc<Qmp>,
    process_id: Option<u32>,
    /// Ports of this host's loopback that lead to the guest's, by the guest's.
    forwards: BTreeMap<u16, u16>,
    network: Network,
    processors: Processors,
    ended: watch::Receiver<bool>,
    /// Dropped, the process is killed by what watches it.
    _keep: mpsc::Sender<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Up,
    Down,
}

/// Whether a pause is to end by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Processors {
    Run,
    Hung,
}

/// Why a guest could not be visited.
pub enum Visit {
    Unreachable,
    Refused(io::Error),
    Monitor(QmpError),
}

impl Emulator {
    /// Switches a machine on: its disk is there, and whoever serves it listens.
    ///
    /// # Errors
    /// Where QEMU does not start; with its own words where it said some.
    pub async fn start(hardware: &Hardware<'_>, events: broadcast::Sender<MachineEvent>) -> io::Result<Self> {
        let files = hardware.files;
        for socket in [files.monitor(), files.second_monitor(), files.guest_agent()] {
            super::remove(&socket)?;
        }
        // Ends with this program, however that ends, and writes out what the guest has flushed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", PROGRAM]).args(command::arguments(hardware));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command.stderr(std::fs::File::create(files.emulator_log())?);
        // A terminal's Ctrl-C is for this program, which ends machines in order.
        let mut process = command.process_group(0).spawn()?;
        let process_id = process.id();
        if let Some(console) = process.stdout.take() {
            tokio::spawn(keep_console(console, files.console()));
        }
        let (monitor, guest) = monitor_of(files, &mut process).await?;
        let (ended_now, ended) = watch::channel(false);
        let (keep, kept) = mpsc::channel(1);
        tokio::spawn(watch_over(hardware.server_id, process, kept, guest, ended_now, events));
        Ok(Self {
            monitor: Arc::new(monitor),
            process_id,
            forwards: BTreeMap::new(),
            network: Network::Up,
            processors: Processors::Run,
            ended,
            _keep: keep,
        })
    }

    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Pulls the plug: the guest is asked nothing, but what it has flushed is on its disk.
    pub async fn quit(self) {
        let mut ended = self.ended.clone();
        // No answer means that it has already ended.
        let _ = self.monitor.execute("quit", json!({})).await;
        if tokio::time::timeout(QUIT, ended.wait_for(|ended| *ended)).await.is_err() {
            tracing::warn!("a virtual machine did not end when it was asked to, and is killed");
        }
        drop(self);
        // An error means that its watch is over, too.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Stops every processor of the machine where it stands, for as long as it is on.
    pub async fn hang(&mut self) -> Result<(), QmpError> {
        self.processors = Processors::Hung;
        self.pause().await
    }

    /// Stops every processor for a while. All that the machine wrote is in its disk's file then.
    pub async fn pause(&self) -> Result<(), QmpError> {
        self.monitor.execute("stop", json!({})).await.map(drop)
    }

    /// Ends a pause, but no hang.
    pub async fn go_on(&self) -> Result<(), QmpError> {
        match self.processors {
            Processors::Run => self.monitor.execute("cont", json!({})).await.map(drop),
            Processors::Hung => Ok(()),
        }
    }

    /// Pulls the network's cable out, or puts it in.
    pub async fn set_network(&mut self, network: Network) -> Result<(), QmpError> {
        let link = json!({ "name": "nic0", "up": network == Network::Up });
        self.monitor.execute("set_link", link).await?;
        self.network = network;
        Ok(())
    }

    /// Opens a connection to a port of the guest's own address.
    pub async fn connect(&mut self, port: u16) -> Result<TcpStream, Visit> {
        if self.has_ended() || self.network == Network::Down {
            return Err(Visit::Unreachable);
        }
        let opened = self.forward(port).await.map_err(Visit::Monitor)?;
        // QEMU takes the connection before the guest does: a port where nothing listens shows by its end.
        let connect = TcpStream::connect((Ipv4Addr::LOCALHOST, opened));
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(connected) => connected.map_err(Visit::Refused),
            Err(_) => Err(Visit::Unreachable),
        }
    }

    /// The host's port that leads to the guest's; opened at the first visit.
    async fn forward(&mut self, port: u16) -> Result<u16, QmpError> {
        if let Some(known) = self.forwards.get(&port) {
            return Ok(*known);
        }
        let command = format!("hostfwd_add net0 tcp:127.0.0.1:0-{GUEST_ADDRESS}:{port}");
        let said = self.for_people(&command).await?;
        let table = self.for_people("info usernet").await?;
        let opened = qmp::forwarded_port(&table, port).ok_or(QmpError::Refused(said))?;
        self.forwards.insert(port, opened);
        Ok(opened)
    }

    /// Runs a command that only the monitor for people has. It says nothing where all is well.
    async fn for_people(&self, command: &str) -> Result<String, QmpError> {
        let answer =
            self.monitor.execute("human-monitor-command", json!({ "command-line": command })).await?;
        Ok(answer.as_str().map(str::to_owned).unwrap_or_default())
    }

    /// Processor time that the machine took since it was switched on.
    pub fn cpu_millis(&self) -> Option<u64> {
        cpu_millis(&std::fs::read_to_string(format!("/proc/{}/stat", self.process_id?)).ok()?)
    }
}

/// Connects to the monitor as soon as QEMU has opened it.
async fn monitor_of(
    files: &Files,
    process: &mut Child,
) -> io::Result<(Qmp, mpsc::UnboundedReceiver<GuestEvent>)> {
    let begun = Instant::now();
    loop {
        match Qmp::connect(&files.monitor()).await {
            Ok(connected) => return Ok(connected),
            Err(QmpError::Gone) if begun.elapsed() < MONITOR_START => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        if let Some(status) = process.try_wait()? {
            let said = std::fs::read_to_string(files.emulator_log()).unwrap_or_default();
            return Err(io::Error::other(format!("{PROGRAM} ended ({status}): {}", said.trim())));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for the process's end, or brings it about once nobody keeps it, and tells what became of the machine.
async fn watch_over(
    server_id: u64,
    mut process: Child,
    mut kept: mpsc::Receiver<()>,
    mut guest: mpsc::UnboundedReceiver<GuestEvent>,
    ended_now: watch::Sender<bool>,
    events: broadcast::Sender<MachineEvent>,
) {
    tokio::select! {
        ended = process.wait() => tracing::info!(server.id = server_id, ?ended, "a virtual machine ended"),
        _ = kept.recv() => {
            // Already gone is as good as killed.
            let _ = process.kill().await;
        }
    }
    let mut last = None;
    while let Some(event) = guest.recv().await {
        tracing::info!(server.id = server_id, ?event, "what the guest did by itself");
        last = Some(event);
    }
    ended_now.send_replace(true);
    if last == Some(GuestEvent::PoweredOff) {
        // Nobody may listen.
        let _ = events.send(MachineEvent::PoweredOff { server_id });
    }
}

/// Writes what the machine says on its serial line, each line with the seconds since it was switched on.
async fn keep_console(console: ChildStdout, log: PathBuf) {
    let Ok(mut log) = std::fs::File::options().create(true).append(true).open(log) else { return };
    let begun = Instant::now();
    let mut lines = BufReader::new(console).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&line);
        if writeln!(log, "{:8.1} {}", begun.elapsed().as_secs_f64(), text.trim_end()).is_err() {
            return;
        }
    }
}

/// Processor time out of `/proc/PID/stat`: user's and system's, in hundredths of a second (`USER_HZ`).
fn cpu_millis(stat: &str) -> Option<u64> {
    // The name may hold spaces and brackets; what follows the last one are numbers.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_user_and_system() {
        let stat = "4242 (qemu) x) S 1 2 3 0 -1 4194560 100 0 0 0 1234 66 0 0 20 0 5 0 900 1 2";
        assert_eq!(cpu_millis(stat), Some(13_000));
    }
}
