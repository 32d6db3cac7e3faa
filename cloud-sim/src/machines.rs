//! The seam between the model of the cloud and the machines behind it.
//!
//! [`Machines`] is what the façade's effects are carried out on. [`process::ProcessMachines`] answers it with real
//! Linux processes in namespaces of their own, [`qemu::QemuMachines`] with virtual machines, [`NoMachines`] with nothing
//! at all. Every method may be repeated with the same arguments: an effect that was interrupted is simply sent again.
//!
//! Nothing here knows what the machines are for, and no machine may see a file of the host that an ordinary user of
//! the host could not read, nor change any file of the host. How that is done: `disk`, `rootfs`, `birth`, `keeper`.

mod birth;
mod channel;
mod disk;
mod first_boot;
mod forward;
pub mod helper;
pub mod init;
mod keeper;
pub mod process;
pub mod qemu;
mod raw;
mod rootfs;
mod step;
mod wire;

use std::net::Ipv4Addr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::broadcast;

pub use process::{ProcessConfig, ProcessMachines};
pub use qemu::{QemuConfig, QemuMachines};

/// What the cloud knows about a server that it wants to be on.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    pub server_id: u64,
    /// Becomes the machine's host name, unless user-data gives another one.
    pub name: String,
    /// The machine's public address; [`GIT_ADDRESS`] and [`INTERNET_ADDRESS`] are refused.
    pub ipv4: Ipv4Addr,
    /// As the client sent it: cloud-config text, or base64, or base64 of gzip.
    pub user_data: Vec<u8>,
    /// The image whose disk a new machine starts from; the host's own files where none is named.
    pub disk_from: Option<u64>,
}

/// The address of the git host inside every machine, named `git.ebbtide.test` there.
pub const GIT_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The name of the git host inside every machine; repositories are at `http://git.ebbtide.test/{name}.git`.
pub const GIT_NAME: &str = "git.ebbtide.test";
/// The address that visitors of a machine seem to come from.
pub const INTERNET_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A wish for trouble; each lasts until the next `power_on`, except that the network can be restored before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineFault {
    /// Every process is stopped and stays so; connections are taken by the kernel and never answered.
    Hang,
    /// Nothing reaches the machine and it reaches nothing: packets are lost, no connection is refused or closed.
    LoseNetwork,
    RestoreNetwork,
    /// Every process is killed, and nobody is told: to the cloud the server is still running.
    Die,
    /// The next `power_on` succeeds and starts nothing. May be set before the machine exists.
    NeverBoot,
}

/// What a machine did by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineEvent {
    /// It was shut down from inside; the cloud should say `off`. (A reboot from inside tells nobody, it just happens.)
    PoweredOff { server_id: u64 },
}

/// What a machine has used since it was last powered on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_millis: u64,
    pub network_in_bytes: u64,
    pub network_out_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("server {0} has no machine that is on")]
    NotOn(u64),
    #[error("server {0} has no disk")]
    NoDisk(u64),
    #[error("the machine of server {server_id} did not start: {reason}")]
    Boot { server_id: u64, reason: String },
    #[error("the machine of server {0} cannot be reached")]
    Unreachable(u64),
    #[error("nothing answers on port {port} of server {server_id}")]
    Refused { server_id: u64, port: u16, source: std::io::Error },
    #[error("the disk of server or image {id} cannot be used")]
    Disk { id: u64, source: std::io::Error },
    #[error("{0}")]
    Monitor(String),
    #[error("the mount helper refused: {0}")]
    Helper(String),
    #[error("the mount helper is gone")]
    HelperGone,
    #[error("machines cannot be started (processes as machines need sudo where cloud-sim is not root)")]
    Start(#[source] std::io::Error),
}

/// Machines that can be switched on and off. Everything may be repeated.
#[async_trait]
pub trait Machines: Send + Sync {
    /// Boots the machine. The first time for a server, its user-data is run; later it boots from its disk, its enabled
    /// services start and user-data is not run again. Returns when the machine runs, not when it has finished booting.
    async fn power_on(&self, spec: &MachineSpec) -> Result<(), MachineError>;

    /// Kills every process of the machine as if its plug was pulled, and keeps its disk.
    async fn power_off(&self, server_id: u64) -> Result<(), MachineError>;

    /// Ends processes, mounts, namespaces and disk. A server that was never on is no error.
    async fn destroy(&self, server_id: u64) -> Result<(), MachineError>;

    /// Copies the disk; exact when the machine is off.
    ///
    /// # Errors
    /// [`MachineError::NoDisk`] where the server was never on.
    async fn save_image(&self, server_id: u64, image_id: u64) -> Result<(), MachineError>;

    async fn delete_image(&self, image_id: u64) -> Result<(), MachineError>;

    /// Opens a connection as somebody on the internet would: to the machine's own address, never to its loopback.
    async fn connect(&self, server_id: u64, port: u16) -> Result<TcpStream, MachineError>;

    async fn fault(&self, server_id: u64, fault: MachineFault) -> Result<(), MachineError>;

    /// What the machine used since it was powered on; `None` while it is off.
    async fn usage(&self, server_id: u64) -> Option<Usage>;

    /// The servers that have a live process, in order.
    async fn list(&self) -> Vec<u64>;

    /// What machines do by themselves from now on.
    fn events(&self) -> broadcast::Receiver<MachineEvent>;

    /// Kills every machine and the helper behind them; disks stay. Nothing works afterwards.
    async fn close(&self);
}

/// A cloud whose servers are only entries in a table.
#[derive(Debug)]
pub struct NoMachines {
    events: broadcast::Sender<MachineEvent>,
}

impl Default for NoMachines {
    fn default() -> Self {
        Self { events: broadcast::channel(1).0 }
    }
}

#[async_trait]
impl Machines for NoMachines {
    async fn power_on(&self, _spec: &MachineSpec) -> Result<(), MachineError> {
        Ok(())
    }

    async fn power_off(&self, _server_id: u64) -> Result<(), MachineError> {
        Ok(())
    }

    async fn destroy(&self, _server_id: u64) -> Result<(), MachineError> {
        Ok(())
    }

    async fn save_image(&self, _server_id: u64, _image_id: u64) -> Result<(), MachineError> {
        Ok(())
    }

    async fn delete_image(&self, _image_id: u64) -> Result<(), MachineError> {
        Ok(())
    }

    async fn connect(&self, server_id: u64, _port: u16) -> Result<TcpStream, MachineError> {
        Err(MachineError::NotOn(server_id))
    }

    async fn fault(&self, _server_id: u64, _fault: MachineFault) -> Result<(), MachineError> {
        Ok(())
    }

    async fn usage(&self, _server_id: u64) -> Option<Usage> {
        None
    }

    async fn list(&self) -> Vec<u64> {
        Vec::new()
    }

    fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.events.subscribe()
    }

    async fn close(&self) {}
}
