//! Machines that are real Linux processes; this side runs in cloud-sim and needs no rights.
//!
//! It starts the mount helper (through `sudo` where cloud-sim is not root, saying why), keeps one channel to each
//! machine's keeper, and serves what the machines see of the world: the control plane on its usual loopback address,
//! and the git host. It never forks: threads of the async runtime would not survive that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use super::channel::{Channel, Said};
use super::forward::{Traffic, forward};
use super::helper::Settings;
use super::wire::{self, Answer, BootOrder, Ending, Failure, HelperRequest, KeeperRequest, Message};
use super::{MachineError, MachineEvent, MachineFault, MachineSpec, Machines, Usage};
use crate::git::{self, Repositories};

/// What process machines need to know of the host.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// Holds `machines/` and `images/`; must survive restarts for disks to survive them.
    pub data_dir: PathBuf,
    /// Machines reach it at the same address: 127.0.0.1 and this port.
    pub control_plane: Option<SocketAddr>,
    /// Its programs are shown in machines under /usr/local/bin.
    pub program_dir: Option<PathBuf>,
    /// Its git repositories are served to machines at `http://git.ebbtide.test/{name}.git`.
    pub repositories: Option<PathBuf>,
    /// The program with the subcommands `machine-mount` and `machine-init`; this very one where not given.
    pub program: Option<PathBuf>,
}

/// How long a visitor tries to reach a machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct ProcessMachines {
    shared: Arc<Shared>,
}

struct Shared {
    control_plane: Option<SocketAddr>,
    repositories: Arc<Repositories>,
    helper: Mutex<Option<Arc<Channel>>>,
    helper_process: tokio::sync::Mutex<Child>,
    servers: Mutex<BTreeMap<u64, Arc<tokio::sync::Mutex<Server>>>>,
    events: broadcast::Sender<MachineEvent>,
}

/// One server, known here since its first effect.
#[derive(Default)]
struct Server {
    running: Option<Running>,
    never_boot: bool,
}

/// A machine that is on. Dropping it ends the keeper and with it the machine.
struct Running {
    keeper: Arc<Channel>,
    ipv4: std::net::Ipv4Addr,
    network: watch::Sender<bool>,
    traffic: Arc<Traffic>,
    ended: watch::Receiver<bool>,
    _services: JoinSet<()>,
}

impl Running {
    fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    async fn kill(&self) {
        // No answer means that it has already ended.
        let _ = self.keeper.call(KeeperRequest::Kill).await;
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

impl ProcessMachines {
    /// Starts the mount helper and waits until it is ready, which may include a person typing a password.
    ///
    /// # Errors
    /// [`MachineError::Helper`] says what this system lacks.
    pub async fn start(config: ProcessConfig) -> Result<Self, MachineError> {
        let program = config.program.map_or_else(std::env::current_exe, Ok).map_err(MachineError::Start)?;
        let settings = Settings {
            data_dir: std::path::absolute(config.data_dir).map_err(MachineError::Start)?,
            program_dir: config.program_dir,
            control_plane_port: config.control_plane.map(|address| address.port()),
        };
        let settings = serde_json::to_string(&settings).map_err(|error| MachineError::Start(error.into()))?;
        let (ours, theirs) = wire::pair().map_err(MachineError::Start)?;
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new(program)
        } else {
            eprintln!(
                "cloud-sim: the local cloud's machines have file systems of their own, which only root can mount; \
                 sudo runs `cloud-sim machine-mount` for that alone, until cloud-sim ends."
            );
            let mut sudo = Command::new("sudo");
            sudo.arg("--").arg(program);
            sudo
        };
        command.arg("machine-mount").arg(settings).stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let process = command.spawn().map_err(MachineError::Start)?;
        // The command holds the helper's end of the socket; with it open, the helper's end could not be seen here.
        drop(command);
        let (helper, mut said) = Channel::new(ours).map_err(MachineError::Start)?;
        match said.recv().await {
            Some((Message::Ready, _)) => {}
            Some((Message::BootFailed { reason }, _)) => return Err(MachineError::Helper(reason)),
            Some(_) | None => {
                return Err(MachineError::Helper("it ended before it was ready (was sudo refused?)".into()));
            }
        }
        Ok(Self {
            shared: Arc::new(Shared {
                control_plane: config.control_plane,
                repositories: Arc::new(Repositories::new(config.repositories)),
                helper: Mutex::new(Some(Arc::new(helper))),
                helper_process: process.into(),
                servers: Mutex::default(),
                events: broadcast::channel(64).0,
            }),
        })
    }
}

impl Shared {
    fn server(&self, server_id: u64) -> Arc<tokio::sync::Mutex<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).entry(server_id).or_default().clone()
    }

    fn known(&self) -> Vec<(u64, Arc<tokio::sync::Mutex<Server>>)> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.iter().map(|(id, server)| (*id, server.clone())).collect()
    }

    async fn ask_helper(&self, request: HelperRequest) -> Result<Vec<OwnedFd>, AskError> {
        let helper = self.helper.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match helper.ok_or(AskError::Gone)?.call(request).await {
            Some((Ok(_), descriptors)) => Ok(descriptors),
            Some((Err(failure), _)) => Err(AskError::Refused(failure)),
            None => Err(AskError::Gone),
        }
    }

    /// Boxed: the reboot of a machine leads back here, and a future cannot contain itself.
    fn power_on(
        self: Arc<Self>,
        spec: MachineSpec,
    ) -> Pin<Box<dyn Future<Output = Result<(), MachineError>> + Send>> {
        Box::pin(self.switch_on(spec))
    }

    async fn switch_on(self: Arc<Self>, spec: MachineSpec) -> Result<(), MachineError> {
        let server = self.server(spec.server_id);
        let mut server = server.lock().await;
        if let Some(running) = &server.running
            && !running.has_ended()
        {
            return Ok(());
        }
        server.running = None;
        if std::mem::take(&mut server.never_boot) {
            return Ok(());
        }
        server.running = Some(self.boot(spec).await?);
        Ok(())
    }

    async fn boot(self: &Arc<Self>, spec: MachineSpec) -> Result<Running, MachineError> {
        let server_id = spec.server_id;
        let failed = |reason: String| MachineError::Boot { server_id, reason };
        let order = BootOrder {
            server_id,
            name: spec.name.clone(),
            ipv4: spec.ipv4,
            user_data: base64::engine::general_purpose::STANDARD.encode(&spec.user_data),
            disk_from: spec.disk_from,
        };
        let mut sockets = self.ask_helper(HelperRequest::Boot(order)).await?;
        let socket = sockets.pop().ok_or_else(|| failed("no keeper".into()))?;
        let (keeper, mut said) = Channel::new(socket).map_err(|error| failed(error.to_string()))?;
        let listeners = match said.recv().await {
            Some((Message::Booted, listeners)) => listeners,
            Some((Message::BootFailed { reason }, _)) => return Err(failed(reason)),
            Some(_) | None => return Err(failed("its keeper is gone".into())),
        };
        let Ok([git, control_plane]) = <[OwnedFd; 2]>::try_from(listeners) else {
            return Err(failed("its listeners are missing".into()));
        };
        let (network, network_is_up) = watch::channel(true);
        let traffic = Arc::new(Traffic::default());
        let mut services = JoinSet::new();
        let git = listener(git).map_err(|error| failed(error.to_string()))?;
        services.spawn(git::serve(git, self.repositories.clone()));
        if let Some(address) = self.control_plane {
            let inside = listener(control_plane).map_err(|error| failed(error.to_string()))?;
            services.spawn(forward(inside, address, network_is_up, traffic.clone()));
        }
        let (ended_now, ended) = watch::channel(false);
        tokio::spawn(self.clone().watch(spec.clone(), said, ended_now));
        tracing::info!(server.id = server_id, "a machine was switched on");
        Ok(Running {
            keeper: Arc::new(keeper),
            ipv4: spec.ipv4,
            network,
            traffic,
            ended,
            _services: services,
        })
    }

    /// Waits for the machine's end and sees to what follows from it.
    async fn watch(
        self: Arc<Self>,
        spec: MachineSpec,
        mut said: mpsc::UnboundedReceiver<Said>,
        ended_now: watch::Sender<bool>,
    ) {
        let server_id = spec.server_id;
        let ending = loop {
            match said.recv().await {
                Some((Message::Ended(ending), _)) => break ending,
                Some(_) => {}
                None => break Ending::Died,
            }
        };
        ended_now.send_replace(true);
        tracing::info!(server.id = server_id, ?ending, "a machine ended");
        match ending {
            Ending::Died => {}
            Ending::PoweredOff => {
                let _ = self.events.send(MachineEvent::PoweredOff { server_id });
            }
            Ending::Rebooted => {
                if let Err(error) = self.power_on(spec).await {
                    tracing::error!(server.id = server_id, %error, "a machine did not come back from its reboot");
                }
            }
        }
    }
}

#[async_trait]
impl Machines for ProcessMachines {
    async fn power_on(&self, spec: &MachineSpec) -> Result<(), MachineError> {
        self.shared.clone().power_on(spec.clone()).await
    }

    async fn power_off(&self, server_id: u64) -> Result<(), MachineError> {
        let server = self.shared.server(server_id);
        let mut server = server.lock().await;
        if let Some(running) = server.running.take() {
            running.kill().await;
        }
        Ok(())
    }

    async fn destroy(&self, server_id: u64) -> Result<(), MachineError> {
        self.power_off(server_id).await?;
        self.shared.ask_helper(HelperRequest::Destroy { server_id }).await?;
        self.shared.servers.lock().unwrap_or_else(PoisonError::into_inner).remove(&server_id);
        Ok(())
    }

    async fn save_image(&self, server_id: u64, image_id: u64) -> Result<(), MachineError> {
        match self.shared.ask_helper(HelperRequest::SaveImage { server_id, image_id }).await {
            Err(AskError::Refused(Failure::NoDisk)) => Err(MachineError::NoDisk(server_id)),
            asked => Ok(asked.map(|_| ())?),
        }
    }

    async fn delete_image(&self, image_id: u64) -> Result<(), MachineError> {
        Ok(self.shared.ask_helper(HelperRequest::DeleteImage { image_id }).await.map(|_| ())?)
    }

    async fn connect(&self, server_id: u64, port: u16) -> Result<TcpStream, MachineError> {
        let (keeper, address) = {
            let server = self.shared.server(server_id);
            let server = server.lock().await;
            let running = server.running.as_ref().ok_or(MachineError::NotOn(server_id))?;
            if running.has_ended() || !*running.network.borrow() {
                return Err(MachineError::Unreachable(server_id));
            }
            (running.keeper.clone(), SocketAddr::from((running.ipv4, port)))
        };
        let Some((Ok(_), mut sockets)) = keeper.call(KeeperRequest::Socket).await else {
            return Err(MachineError::Unreachable(server_id));
        };
        let socket = sockets.pop().ok_or(MachineError::Unreachable(server_id))?;
        let connect = TcpSocket::from_std_stream(socket.into()).connect(address);
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(source)) => Err(MachineError::Refused { server_id, port, source }),
            Err(_) => Err(MachineError::Unreachable(server_id)),
        }
    }

    async fn fault(&self, server_id: u64, fault: MachineFault) -> Result<(), MachineError> {
        let server = self.shared.server(server_id);
        let mut server = server.lock().await;
        if fault == MachineFault::NeverBoot {
            server.never_boot = true;
            return Ok(());
        }
        let running = server.running.as_ref().ok_or(MachineError::NotOn(server_id))?;
        let request = match fault {
            MachineFault::Hang => KeeperRequest::Stop,
            MachineFault::LoseNetwork | MachineFault::RestoreNetwork => {
                let up = fault == MachineFault::RestoreNetwork;
                running.network.send_replace(up);
                KeeperRequest::SetNetwork { up }
            }
            MachineFault::Die | MachineFault::NeverBoot => {
                running.kill().await;
                return Ok(());
            }
        };
        match running.keeper.call(request).await {
            Some((Ok(_), _)) => Ok(()),
            Some((Err(Failure::Other(reason)), _)) => Err(MachineError::Helper(reason)),
            Some((Err(Failure::NoDisk), _)) | None => Err(MachineError::NotOn(server_id)),
        }
    }

    async fn usage(&self, server_id: u64) -> Option<Usage> {
        let (keeper, traffic) = {
            let server = self.shared.server(server_id);
            let server = server.lock().await;
            let running = server.running.as_ref()?;
            (running.keeper.clone(), running.traffic.clone())
        };
        let Some((Ok(Answer::Usage(mut usage)), _)) = keeper.call(KeeperRequest::Usage).await else {
            return None;
        };
        usage.network_in_bytes += traffic.into.load(Ordering::Relaxed);
        usage.network_out_bytes += traffic.out.load(Ordering::Relaxed);
        Some(usage)
    }

    async fn list(&self) -> Vec<u64> {
        let mut live = Vec::new();
        for (id, server) in self.shared.known() {
            if let Some(running) = &server.lock().await.running
                && !running.has_ended()
            {
                live.push(id);
            }
        }
        live
    }

    fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.shared.events.subscribe()
    }

    async fn close(&self) {
        for (id, _) in self.shared.known() {
            // Killing cannot fail; where the helper is gone, the machines are gone too.
            let _ = self.power_off(id).await;
        }
        drop(self.shared.helper.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Err(error) = self.shared.helper_process.lock().await.wait().await {
            tracing::warn!(%error, "the end of the mount helper could not be seen");
        }
    }
}

/// What can become of a request to the helper.
enum AskError {
    Gone,
    Refused(Failure),
}

impl From<AskError> for MachineError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Gone => Self::HelperGone,
            AskError::Refused(Failure::Other(reason)) => Self::Helper(reason),
            AskError::Refused(Failure::NoDisk) => Self::Helper("there is no disk".into()),
        }
    }
}

fn listener(descriptor: OwnedFd) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(descriptor);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
