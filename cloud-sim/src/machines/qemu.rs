//! Machines that are virtual machines: a kernel, systemd and cloud-init of their own, on hardware that QEMU emulates.
//!
//! They are given what a server is given: user-data through the provider's metadata service, a disk, a network. Nothing
//! of this host is shown inside. They need no root, and are slower than this host by a factor of about ten.
//!
//! `command` says what the hardware is, `metadata` what the metadata service answers, `emulator` runs QEMU and `qmp` speaks
//! with it, `disk` keeps disks and images. Bytes on the network are not counted: QEMU's own network says nothing of them.

pub mod bridge;
mod command;
mod disk;
mod emulator;
mod metadata;
mod qmp;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::net::{TcpStream, UnixListener};
use tokio::process::Command;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use self::command::Hardware;
use self::disk::Disks;
use self::emulator::{Emulator, Network, PROGRAM, Visit};
use self::qmp::QmpError;
use super::{MachineError, MachineEvent, MachineFault, MachineSpec, Machines, Usage};
use crate::git::{self, Repositories};

/// Where virtual machines find this host's loopback, the control plane's port among them.
pub const HOST_ADDRESS: Ipv4Addr = command::HOST_ADDRESS;

/// What virtual machines need to know of the host.
#[derive(Debug, Clone)]
pub struct QemuConfig {
    /// Holds `machines/` and `images/`; must survive restarts for disks to survive them.
    pub data_dir: PathBuf,
    /// Holds `disk.qcow2`, `vmlinuz` and `initrd.img`, as `scripts/setup.d/vm-image` makes them.
    pub image: PathBuf,
    /// Its git repositories are served to machines at `http://git.ebbtide.test/{name}.git`.
    pub repositories: Option<PathBuf>,
    /// Further arguments of QEMU, for what a test wants to be different.
    pub arguments: Vec<String>,
}

pub struct QemuMachines {
    config: QemuConfig,
    disks: Disks,
    program: PathBuf,
    repositories: Arc<Repositories>,
    servers: Mutex<BTreeMap<u64, Arc<tokio::sync::Mutex<Server>>>>,
    events: broadcast::Sender<MachineEvent>,
}

/// One server, known here since its first effect.
#[derive(Default)]
struct Server {
    running: Option<Running>,
    never_boot: bool,
}

/// A machine that is on, and what serves it.
struct Running {
    emulator: Emulator,
    _services: JoinSet<()>,
}

impl Server {
    /// The machine, where it is on.
    fn on(&mut self) -> Option<&mut Emulator> {
        self.running.as_mut().map(|running| &mut running.emulator).filter(|emulator| !emulator.has_ended())
    }
}

impl QemuMachines {
    /// Looks whether everything is there that a machine will need.
    ///
    /// # Errors
    /// [`MachineError::Start`] names what is missing.
    pub async fn start(config: QemuConfig) -> Result<Self, MachineError> {
        let missing = |what: String| MachineError::Start(io::Error::new(io::ErrorKind::NotFound, what));
        for part in ["disk.qcow2", "vmlinuz", "initrd.img"] {
            let path = config.image.join(part);
            if !path.exists() {
                return Err(missing(format!("{} is missing; scripts/setup vm makes it", path.display())));
            }
        }
        let mut version = Command::new(PROGRAM);
        version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let ran = version.status().await;
        ran.map_err(|error| {
            missing(format!("{PROGRAM} does not run ({error}); scripts/setup vm brings it"))
        })?;
        let data_dir = std::path::absolute(&config.data_dir).map_err(MachineError::Start)?;
        Ok(Self {
            disks: Disks::open(data_dir).map_err(MachineError::Start)?,
            program: std::env::current_exe().map_err(MachineError::Start)?,
            repositories: Arc::new(Repositories::new(config.repositories.clone())),
            servers: Mutex::default(),
            events: broadcast::channel(64).0,
            config,
        })
    }

    fn server(&self, server_id: u64) -> Arc<tokio::sync::Mutex<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).entry(server_id).or_default().clone()
    }

    fn known(&self) -> Vec<(u64, Arc<tokio::sync::Mutex<Server>>)> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.iter().map(|(id, server)| (*id, server.clone())).collect()
    }

    async fn boot(&self, spec: &MachineSpec) -> io::Result<Running> {
        let files = self.disks.files(spec.server_id);
        self.disks.prepare(&files, spec.disk_from, &self.config.image.join("disk.qcow2")).await?;
        let mut services = JoinSet::new();
        services.spawn(metadata::serve(listen(&files.metadata_service())?, Arc::new(spec.clone())));
        services.spawn(git::serve_local(listen(&files.git_host())?, self.repositories.clone()));
        let hardware = Hardware {
            server_id: spec.server_id,
            files: &files,
            image: &self.config.image,
            bridge: &self.program,
            more: &self.config.arguments,
        };
        let emulator = Emulator::start(&hardware, self.events.clone()).await?;
        tracing::info!(server.id = spec.server_id, "a virtual machine was switched on");
        Ok(Running { emulator, _services: services })
    }
}

impl From<QmpError> for MachineError {
    fn from(error: QmpError) -> Self {
        Self::Monitor(error.to_string())
    }
}

#[async_trait]
impl Machines for QemuMachines {
    async fn power_on(&self, spec: &MachineSpec) -> Result<(), MachineError> {
        let server_id = spec.server_id;
        let server = self.server(server_id);
        let mut server = server.lock().await;
        if server.on().is_some() {
            return Ok(());
        }
        server.running = None;
        if std::mem::take(&mut server.never_boot) {
            return Ok(());
        }
        let booted = self.boot(spec).await;
        let running = booted.map_err(|error| MachineError::Boot { server_id, reason: error.to_string() })?;
        server.running = Some(running);
        Ok(())
    }

    async fn power_off(&self, server_id: u64) -> Result<(), MachineError> {
        let server = self.server(server_id);
        let mut server = server.lock().await;
        if let Some(running) = server.running.take() {
            running.emulator.quit().await;
        }
        Ok(())
    }

    async fn destroy(&self, server_id: u64) -> Result<(), MachineError> {
        self.power_off(server_id).await?;
        self.disks.destroy(server_id).map_err(|source| MachineError::Disk { id: server_id, source })?;
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).remove(&server_id);
        Ok(())
    }

    async fn save_image(&self, server_id: u64, image_id: u64) -> Result<(), MachineError> {
        let server = self.server(server_id);
        let mut server = server.lock().await;
        if let Some(emulator) = server.on() {
            emulator.pause().await?;
        }
        let saved = self.disks.save(server_id, image_id).await;
        if let Some(emulator) = server.on() {
            emulator.go_on().await?;
        }
        match saved {
            Ok(true) => Ok(()),
            Ok(false) => Err(MachineError::NoDisk(server_id)),
            Err(source) => Err(MachineError::Disk { id: server_id, source }),
        }
    }

    async fn delete_image(&self, image_id: u64) -> Result<(), MachineError> {
        self.disks.delete_image(image_id).map_err(|source| MachineError::Disk { id: image_id, source })
    }

    async fn connect(&self, server_id: u64, port: u16) -> Result<TcpStream, MachineError> {
        let server = self.server(server_id);
        let mut server = server.lock().await;
        let running = server.running.as_mut().ok_or(MachineError::NotOn(server_id))?;
        running.emulator.connect(port).await.map_err(|error| match error {
            Visit::Unreachable => MachineError::Unreachable(server_id),
            Visit::Refused(source) => MachineError::Refused { server_id, port, source },
            Visit::Monitor(error) => error.into(),
        })
    }

    async fn fault(&self, server_id: u64, fault: MachineFault) -> Result<(), MachineError> {
        let server = self.server(server_id);
        let mut server = server.lock().await;
        if fault == MachineFault::NeverBoot {
            server.never_boot = true;
            return Ok(());
        }
        let mut running = server.running.take().ok_or(MachineError::NotOn(server_id))?;
        let done = match fault {
            MachineFault::Hang => running.emulator.hang().await,
            MachineFault::LoseNetwork => running.emulator.set_network(Network::Down).await,
            MachineFault::RestoreNetwork => running.emulator.set_network(Network::Up).await,
            MachineFault::Die | MachineFault::NeverBoot => {
                running.emulator.quit().await;
                return Ok(());
            }
        };
        server.running = Some(running);
        Ok(done?)
    }

    async fn usage(&self, server_id: u64) -> Option<Usage> {
        let server = self.server(server_id);
        let mut server = server.lock().await;
        Some(Usage { cpu_millis: server.on()?.cpu_millis()?, ..Usage::default() })
    }

    async fn list(&self) -> Vec<u64> {
        let mut live = Vec::new();
        for (id, server) in self.known() {
            if server.lock().await.on().is_some() {
                live.push(id);
            }
        }
        live
    }

    fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.events.subscribe()
    }

    async fn close(&self) {
        for (id, _) in self.known() {
            // Switching off cannot fail.
            let _ = self.power_off(id).await;
        }
    }
}

/// Removes the socket of an earlier run, which nobody listens at any more.
fn remove(socket: &Path) -> io::Result<()> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    remove(socket)?;
    UnixListener::bind(socket)
}
