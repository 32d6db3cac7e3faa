//! Carries effects out on machines: a queue per server, worked off in order, outside the cloud's lock.
//!
//! A failed effect is logged and the server stays what the provider says it is, as with a real machine that does
//! not come up. It also tells the cloud what machines did by themselves, and measures what they use.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    task::JoinHandle,
};

use super::{Facade, OnExit, now_ms};
use crate::{
    machines::{self, MachineError, MachineEvent, MachineSpec, Machines, Usage},
    model::{Activity, Cloud, Effect, MachineFault},
};

/// How often machines are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// Deletions this young may have been cut short by the last end of this program.
const RECENT_MS: i64 = 3_600_000;
/// How long effects under way may take when the cloud is ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// An effect with everything it needs, taken from the cloud when it was decided.
enum Work {
    PowerOn { spec: MachineSpec, fault: Option<MachineFault> },
    PowerOff(u64),
    Reset { spec: MachineSpec, fault: Option<MachineFault> },
    Destroy(u64),
    SaveImage { server_id: u64, image_id: u64 },
    DeleteImage(u64),
    Fault { server_id: u64, fault: MachineFault },
}

struct Worker {
    queue: mpsc::UnboundedSender<Work>,
    task: JoinHandle<()>,
}

pub(super) struct Machinery {
    machines: Arc<dyn Machines>,
    facade: Mutex<Weak<Facade>>,
    /// By server, or by image for what concerns no server.
    workers: Mutex<BTreeMap<u64, Worker>>,
}

impl Machinery {
    pub fn new(machines: Arc<dyn Machines>) -> Self {
        Self { machines, facade: Mutex::new(Weak::new()), workers: Mutex::new(BTreeMap::new()) }
    }

    /// Starts listening to machines and measuring them.
    pub fn attach(&self, facade: &Arc<Facade>) {
        let weak = Arc::downgrade(facade);
        *self.facade.lock().unwrap_or_else(PoisonError::into_inner) = weak.clone();
        tokio::spawn(hear(weak.clone(), self.machines.clone()));
        tokio::spawn(measure(weak, self.machines.clone()));
    }

    pub fn machines(&self) -> &Arc<dyn Machines> {
        &self.machines
    }

    /// Brings machines to what a persisted cloud says: what was on boots again, what was being saved is saved, and
    /// what may have been under destruction is destroyed.
    pub fn recover(&self, cloud: &Cloud) {
        for server_id in cloud.ended_since(now_ms() - RECENT_MS) {
            self.queue(cloud, &Effect::MachineDestroy { server_id });
        }
        for server in cloud.servers().filter(|server| server.powered) {
            self.queue(cloud, &Effect::MachineStart { server_id: server.id });
        }
        for image in cloud.snapshots().filter(|image| !image.available) {
            let effect = Effect::SaveImage { server_id: image.created_from.0, image_id: image.id };
            self.queue(cloud, &effect);
        }
    }

    /// Queues an effect. Called under the cloud's lock, so that queues are filled in the order of decisions.
    pub fn queue(&self, cloud: &Cloud, effect: &Effect) {
        let Some(work) = prepare(cloud, effect) else { return };
        let subject = effect.subject();
        let mut workers = self.workers();
        let worker = workers.entry(subject).or_insert_with(|| self.hire());
        // The worker ends only with its queue.
        let _ = worker.queue.send(work);
        if matches!(effect, Effect::MachineDestroy { .. } | Effect::DeleteImage { .. })
            && workers.len() > 1_000
        {
            workers.retain(|_, worker| !worker.task.is_finished());
        }
    }

    fn hire(&self) -> Worker {
        let (queue, mut inbox) = mpsc::unbounded_channel();
        let machines = self.machines.clone();
        let facade = self.facade.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let task = tokio::spawn(async move {
            while let Some(work) = inbox.recv().await {
                carry_out(work, machines.as_ref(), &facade).await;
            }
        });
        Worker { queue, task }
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<u64, Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets effects under way finish, then ends every machine.
    pub async fn stop(&self, servers: &[u64], on_exit: OnExit) {
        let workers = std::mem::take(&mut *self.workers());
        let mut tasks = Vec::new();
        for (_, Worker { queue, task }) in workers {
            drop(queue);
            tasks.push(task);
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for mut task in tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
        let mut ids: std::collections::BTreeSet<u64> = servers.iter().copied().collect();
        ids.extend(self.machines.list().await);
        for id in ids {
            let ended = match on_exit {
                OnExit::Destroy => self.machines.destroy(id).await,
                OnExit::Keep => self.machines.power_off(id).await,
            };
            if let Err(error) = ended {
                tracing::warn!(
                    server.id = id,
                    error = &error as &dyn std::error::Error,
                    "a machine did not end"
                );
            }
        }
        self.machines.close().await;
    }
}

fn prepare(cloud: &Cloud, effect: &Effect) -> Option<Work> {
    match effect {
        Effect::MachineStart { server_id } => {
            let (spec, fault) = specify(cloud, *server_id)?;
            Some(Work::PowerOn { spec, fault })
        }
        Effect::MachineReset { server_id } => {
            let (spec, fault) = specify(cloud, *server_id)?;
            Some(Work::Reset { spec, fault })
        }
        Effect::MachinePowerOff { server_id } => Some(Work::PowerOff(*server_id)),
        Effect::MachineDestroy { server_id } => Some(Work::Destroy(*server_id)),
        Effect::SaveImage { server_id, image_id } => {
            Some(Work::SaveImage { server_id: *server_id, image_id: *image_id })
        }
        Effect::DeleteImage { image_id } => Some(Work::DeleteImage(*image_id)),
        // A machine that is off gets its fault when it is powered on.
        Effect::MachineFault { server_id, fault } => cloud
            .server(*server_id)
            .filter(|server| server.powered)
            .map(|_| Work::Fault { server_id: *server_id, fault: *fault }),
    }
}

/// What a machine is started from. A server without a public IPv4 address has no machine.
fn specify(cloud: &Cloud, server_id: u64) -> Option<(MachineSpec, Option<MachineFault>)> {
    let server = cloud.server(server_id)?;
    let spec = MachineSpec {
        server_id,
        name: server.name.clone(),
        ipv4: cloud.server_ipv4(server_id)?,
        user_data: server.user_data.clone().unwrap_or_default().into_bytes(),
        disk_from: cloud.server_snapshot(server_id),
    };
    Some((spec, server.fault))
}

async fn carry_out(work: Work, machines: &dyn Machines, facade: &Weak<Facade>) {
    let (server_id, what, outcome) = match work {
        Work::PowerOn { spec, fault } => (spec.server_id, "power on", power_on(machines, &spec, fault).await),
        Work::PowerOff(id) => (id, "power off", machines.power_off(id).await),
        Work::Reset { spec, fault } => {
            let outcome = match machines.power_off(spec.server_id).await {
                Ok(()) => power_on(machines, &spec, fault).await,
                Err(error) => Err(error),
            };
            (spec.server_id, "reset", outcome)
        }
        Work::Destroy(id) => (id, "destroy", machines.destroy(id).await),
        Work::SaveImage { server_id, image_id } => {
            let outcome = machines.save_image(server_id, image_id).await;
            if let Some(facade) = facade.upgrade() {
                let failure = outcome.as_ref().err().map(ToString::to_string);
                facade.change(|cloud, now| {
                    cloud.image_saved(image_id, failure.as_deref().map_or(Ok(()), Err), now);
                    ((), Vec::new())
                });
            }
            (server_id, "save an image", outcome)
        }
        Work::DeleteImage(id) => (id, "delete an image", machines.delete_image(id).await),
        Work::Fault { server_id, fault } => (server_id, "fault", inflict(machines, server_id, fault).await),
    };
    match outcome {
        Ok(()) => tracing::debug!(server.id = server_id, what, "done to a machine"),
        Err(error) => {
            tracing::warn!(
                server.id = server_id,
                what,
                error = &error as &dyn std::error::Error,
                "a machine failed"
            );
        }
    }
}

/// Powers on, with the fault that the server still has: machines forget theirs with each power cycle.
async fn power_on(
    machines: &dyn Machines,
    spec: &MachineSpec,
    fault: Option<MachineFault>,
) -> Result<(), MachineError> {
    if fault == Some(MachineFault::NeverBoot) {
        machines.fault(spec.server_id, machines::MachineFault::NeverBoot).await?;
    }
    machines.power_on(spec).await?;
    match fault {
        None | Some(MachineFault::NeverBoot) => Ok(()),
        Some(fault) => inflict(machines, spec.server_id, fault).await,
    }
}

async fn inflict(machines: &dyn Machines, server_id: u64, fault: MachineFault) -> Result<(), MachineError> {
    let fault = match fault {
        MachineFault::NeverBoot => machines::MachineFault::NeverBoot,
        MachineFault::Die => machines::MachineFault::Die,
        MachineFault::Hang => machines::MachineFault::Hang,
        MachineFault::LoseNetwork => machines::MachineFault::LoseNetwork,
        MachineFault::RestoreNetwork => machines::MachineFault::RestoreNetwork,
        // The cloud switches the power off itself.
        MachineFault::SwitchOff | MachineFault::FailOneStart | MachineFault::FailStarts => return Ok(()),
    };
    machines.fault(server_id, fault).await
}

/// Tells the cloud of machines that were shut down from inside.
async fn hear(facade: Weak<Facade>, machines: Arc<dyn Machines>) {
    let mut events = machines.events();
    drop(machines);
    loop {
        let event = events.recv().await;
        let Some(facade) = facade.upgrade() else { return };
        match event {
            Ok(MachineEvent::PoweredOff { server_id }) => {
                tracing::info!(server.id = server_id, "a machine was shut down from inside");
                facade.change(|cloud, _| cloud.machine_fault(server_id, MachineFault::SwitchOff));
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Records what machines use, for the metrics endpoint.
async fn measure(facade: Weak<Facade>, machines: Arc<dyn Machines>) {
    let mut last: BTreeMap<u64, (i64, Usage)> = BTreeMap::new();
    loop {
        tokio::time::sleep(MEASURE_EVERY).await;
        let Some(facade) = facade.upgrade() else { return };
        let ids: Vec<u64> = facade.cloud().servers().map(|server| server.id).collect();
        last.retain(|id, _| ids.contains(id));
        for id in ids {
            let usage = machines.usage(id).await;
            let now = now_ms();
            let activity = match (last.get(&id), usage) {
                (Some((then, before)), Some(after)) => between(*before, after, now - then),
                (Some(_), None) => Activity::default(),
                (None, _) => {
                    last.extend(usage.map(|usage| (id, (now, usage))));
                    continue;
                }
            };
            // A machine that went off keeps its entry, so that it goes on being recorded as doing nothing.
            last.insert(id, (now, usage.unwrap_or_default()));
            facade.cloud().record_activity(id, activity, now);
        }
    }
}

fn between(before: Usage, after: Usage, elapsed_ms: i64) -> Activity {
    let seconds = elapsed_ms.max(1) as f64 / 1000.0;
    let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
    Activity {
        cpu_percent: rate(before.cpu_millis, after.cpu_millis) / 10.0,
        network_in_bytes_per_sec: rate(before.network_in_bytes, after.network_in_bytes),
        network_out_bytes_per_sec: rate(before.network_out_bytes, after.network_out_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_kept_busy_is_a_hundred_percent() {
        let before = Usage { cpu_millis: 1_000, network_in_bytes: 0, network_out_bytes: 10 };
        let after = Usage { cpu_millis: 3_000, network_in_bytes: 4_000, network_out_bytes: 0 };
        let activity = between(before, after, 2_000);
        assert_eq!(activity.cpu_percent, 100.0);
        assert_eq!(activity.network_in_bytes_per_sec, 2_000.0);
        // Counters that start again after a reboot are no negative use.
        assert_eq!(activity.network_out_bytes_per_sec, 0.0);
    }
}
