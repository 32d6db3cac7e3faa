//! Actions: the provider's slow work. Starting one, completing it when its time has come, reading it.
//!
//! An action that changes a server locks it until done; `shutdown` only asks the machine and locks nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    labels::{self, Labels},
    page::Page,
    refusal::{Refusal, Reply},
    state::{Action, ServerStatus, Snapshot},
    view,
};
use crate::model::{
    Cloud, Next, Pending,
    effect::{Effect, MachineFault},
    wire::{Call, Response},
};

#[derive(Deserialize)]
struct CreateImage {
    #[serde(rename = "type")]
    kind: Option<String>,
    description: Option<String>,
    #[serde(default)]
    labels: Labels,
}

#[derive(Deserialize)]
struct ChangeProtection {
    delete: Option<bool>,
    rebuild: Option<bool>,
}

impl Cloud {
    /// Starts an action that completes `after_ms` from now.
    pub(crate) fn start_action(
        &mut self,
        command: &str,
        resources: &[(&str, u64)],
        after_ms: u64,
        next: Next,
        now_ms: i64,
    ) -> u64 {
        let id = self.new_id();
        let due_ms = now_ms + i64::try_from(after_ms).unwrap_or(i64::MAX / 4);
        self.project.actions.insert(
            id,
            Action {
                id,
                command: command.to_owned(),
                started_ms: now_ms,
                due_ms,
                finished_ms: None,
                error: None,
                resources: resources.iter().map(|(kind, id)| ((*kind).to_owned(), *id)).collect(),
            },
        );
        if self.config.acknowledge_images && matches!(next, Next::ImageDone { .. }) {
            return id; // completed by `image_saved`
        }
        self.schedule(due_ms, Some(id), next);
        id
    }

    pub(crate) fn schedule(&mut self, due_ms: i64, action: Option<u64>, next: Next) {
        let seq = self.new_id();
        self.pending.insert(Pending { due_ms, seq, action, next });
    }

    /// Completes one piece of pending work.
    pub(crate) fn complete(&mut self, pending: Pending, now_ms: i64) {
        let error = self.carry_out(pending.next, now_ms);
        let Some(id) = pending.action else { return };
        self.finish_action(id, error, now_ms);
    }

    fn finish_action(&mut self, id: u64, error: Option<(&str, &str)>, now_ms: i64) {
        let Some(action) = self.project.actions.get_mut(&id) else { return };
        action.finished_ms = Some(now_ms);
        action.error = error.map(|(code, message)| (code.to_owned(), message.to_owned()));
        for (_, resource) in &action.resources {
            if let Some(server) = self.project.servers.get_mut(resource)
                && server.locked_by == Some(id)
            {
                server.locked_by = None;
            }
        }
    }

    /// Does what the pending work promised; an error becomes the action's.
    fn carry_out(&mut self, next: Next, now_ms: i64) -> Option<(&'static str, &'static str)> {
        match next {
            Next::ServerBuilt { server_id, start } => {
                let starts = start && self.starts(server_id);
                let server = self.project.servers.get_mut(&server_id)?;
                if starts {
                    self.power_on(server_id);
                } else {
                    server.status = ServerStatus::Off;
                }
            }
            Next::ServerStarted { server_id } => {
                let server = self.project.servers.get_mut(&server_id)?;
                match server.status {
                    ServerStatus::Starting => server.status = ServerStatus::Running,
                    ServerStatus::Off => return Some(("action_failed", "the server could not be started")),
                    _ => {}
                }
            }
            Next::ServerOff { server_id } => {
                let server = self.project.servers.get(&server_id)?;
                if matches!(server.status, ServerStatus::Running | ServerStatus::Stopping) {
                    self.power_off(server_id);
                }
            }
            Next::ServerGone { server_id } => self.remove_server(server_id),
            Next::ImageDone { image_id } => {
                let image = self.project.images.get_mut(&image_id)?;
                image.available = true;
            }
            Next::Nothing => {}
            Next::Failed => return Some(("action_failed", "the server is not running")),
        }
        self.forget_old_actions(now_ms);
        None
    }

    /// Whether the next action that starts a server does.
    fn starts(&mut self, server_id: u64) -> bool {
        let Some(server) = self.project.servers.get_mut(&server_id) else { return false };
        match server.fault {
            Some(MachineFault::FailStarts) => false,
            Some(MachineFault::FailOneStart) => {
                server.fault = None;
                false
            }
            _ => true,
        }
    }

    pub(crate) fn power_on(&mut self, server_id: u64) {
        let Some(server) = self.project.servers.get_mut(&server_id) else { return };
        server.status = ServerStatus::Starting;
        server.powered = true;
        server.boots += 1;
        server.steady_since_ms = self.now_ms;
        self.effects.push(Effect::MachineStart { server_id });
    }

    pub(crate) fn power_off(&mut self, server_id: u64) {
        let Some(server) = self.project.servers.get_mut(&server_id) else { return };
        server.status = ServerStatus::Off;
        server.powered = false;
        server.steady_since_ms = self.now_ms;
        server.fault = server.fault.filter(|fault| !fault.ends_with_a_power_cycle());
        self.effects.push(Effect::MachinePowerOff { server_id });
    }

    pub(super) fn server_action(&mut self, call: &Call<'_>, id: u64, command: &str) -> Reply {
        let server = self.server_or_refuse(id)?;
        if server.locked_by.is_some() {
            return Err(Refusal::locked());
        }
        let (status, alive, times, now) = (server.status, server.is_alive(), self.config.times, call.now_ms);
        let on = matches!(status, ServerStatus::Running | ServerStatus::Starting);
        match command {
            "poweron" => {
                let next = if status == ServerStatus::Off {
                    if self.starts(id) {
                        self.power_on(id);
                    }
                    Next::ServerStarted { server_id: id }
                } else {
                    Next::Nothing
                };
                self.answer_action(call, "start_server", id, times.start_ms, next, Lock::Taken)
            }
            "poweroff" => {
                if on {
                    self.effects.push(Effect::MachinePowerOff { server_id: id });
                    self.set_stopping(id);
                }
                let next = Next::ServerOff { server_id: id };
                self.answer_action(call, "stop_server", id, times.poweroff_ms, next, Lock::Taken)
            }
            "shutdown" => {
                if on && alive {
                    let due = now + i64::try_from(times.shutdown_ms).unwrap_or(i64::MAX / 4);
                    self.schedule(due, None, Next::ServerOff { server_id: id });
                }
                self.answer_action(call, "shutdown_server", id, times.ask_ms, Next::Nothing, Lock::Free)
            }
            "reboot" | "reset" => {
                let name = if command == "reset" { "reset_server" } else { "reboot_server" };
                if !on {
                    return self.answer_action(call, name, id, times.ask_ms, Next::Failed, Lock::Free);
                }
                self.restart(id);
                self.answer_action(call, name, id, times.reboot_ms, Next::Nothing, Lock::Taken)
            }
            "create_image" => self.create_image(call, id),
            "change_protection" => self.change_protection(call, id),
            _ => Err(Refusal::new(404, "not_found", format!("no such action: {command}"))),
        }
    }

    fn set_stopping(&mut self, id: u64) {
        if let Some(server) = self.project.servers.get_mut(&id) {
            server.status = ServerStatus::Stopping;
            server.powered = false;
            server.steady_since_ms = self.now_ms;
        }
    }

    fn restart(&mut self, id: u64) {
        if let Some(server) = self.project.servers.get_mut(&id) {
            server.boots += 1;
            server.steady_since_ms = self.now_ms;
            server.fault = server.fault.filter(|fault| !fault.ends_with_a_power_cycle());
        }
        self.effects.push(Effect::MachineReset { server_id: id });
    }

    fn answer_action(
        &mut self,
        call: &Call<'_>,
        command: &str,
        server_id: u64,
        after_ms: u64,
        next: Next,
        lock: Lock,
    ) -> Reply {
        let action = self.start_action(command, &[("server", server_id)], after_ms, next, call.now_ms);
        if let (Lock::Taken, Some(server)) = (lock, self.project.servers.get_mut(&server_id)) {
            server.locked_by = Some(action);
        }
        Ok(Response::of(201, &json!({"action": self.action_value(action, call.now_ms)})))
    }

    pub(super) fn action_value(&self, id: u64, now_ms: i64) -> Value {
        self.project.actions.get(&id).map_or(Value::Null, |action| view::action_json(action, now_ms))
    }

    fn create_image(&mut self, call: &Call<'_>, id: u64) -> Reply {
        let body: CreateImage = call.parse()?;
        match body.kind.as_deref() {
            None | Some("snapshot") => {}
            Some("backup") => return Err(Refusal::invalid("type", "backups are not enabled for the server")),
            Some(_) => return Err(Refusal::invalid("type", "must be snapshot or backup")),
        }
        if let Some(problem) = labels::problem(&body.labels) {
            return Err(Refusal::invalid("labels", problem));
        }
        let server = self.server_or_refuse(id)?;
        let server_type = super::catalog::find_server_type(&server.server_type);
        let created_from = (id, server.name.clone());
        let image_id = self.new_id();
        self.project.images.insert(
            image_id,
            Snapshot {
                id: image_id,
                description: body.description.unwrap_or_default(),
                labels: body.labels,
                created_ms: call.now_ms,
                created_from,
                available: false,
                disk_gb: server_type.map_or(0, |t| t.disk_gb),
                arch: server_type.map_or("x86", |t| t.arch).to_owned(),
                protected: false,
            },
        );
        let resources = [("server", id), ("image", image_id)];
        let next = Next::ImageDone { image_id };
        let action =
            self.start_action("create_image", &resources, self.config.times.image_ms, next, call.now_ms);
        if let Some(server) = self.project.servers.get_mut(&id) {
            server.locked_by = Some(action);
        }
        self.effects.push(Effect::SaveImage { server_id: id, image_id });
        let image = self.project.images.get(&image_id).map(view::snapshot_json);
        let action = self.action_value(action, call.now_ms);
        Ok(Response::of(201, &json!({"action": action, "image": image})))
    }

    /// Ends an image's action with what really happened, where the cloud waits for its machines
    /// (`Config::acknowledge_images`); does nothing elsewhere. A failed image disappears.
    pub fn image_saved(&mut self, image_id: u64, outcome: Result<(), &str>, now_ms: i64) {
        if !self.config.acknowledge_images {
            return;
        }
        let waiting = self
            .project
            .actions
            .values()
            .find(|a| {
                a.finished_ms.is_none()
                    && a.resources.iter().any(|(kind, id)| kind == "image" && *id == image_id)
            })
            .map(|action| action.id);
        let Some(action) = waiting else { return };
        self.version += 1;
        match outcome {
            Ok(()) => {
                if let Some(image) = self.project.images.get_mut(&image_id) {
                    image.available = true;
                }
                self.finish_action(action, None, now_ms);
            }
            Err(why) => {
                self.project.images.remove(&image_id);
                self.finish_action(action, Some(("action_failed", why)), now_ms);
            }
        }
    }

    fn change_protection(&mut self, call: &Call<'_>, id: u64) -> Reply {
        let body: ChangeProtection = call.parse()?;
        let delete = body.delete.unwrap_or(false);
        if body.rebuild.is_some_and(|rebuild| rebuild != delete) {
            return Err(Refusal::invalid("rebuild", "must be the same as delete"));
        }
        if let Some(server) = self.project.servers.get_mut(&id) {
            server.protected = delete;
        }
        let after = self.config.times.ask_ms;
        self.answer_action(call, "change_protection", id, after, Next::Nothing, Lock::Free)
    }

    pub(super) fn get_action(&self, call: &Call<'_>, id: u64) -> Reply {
        let action = self.project.actions.get(&id).ok_or_else(|| Refusal::not_found("action", id))?;
        Ok(Response::of(200, &json!({"action": view::action_json(action, call.now_ms)})))
    }

    pub(super) fn list_actions(&self, call: &Call<'_>) -> Reply {
        let ids = call.all("id");
        if ids.is_empty() {
            return Err(Refusal::gone_endpoint("listing actions without ids was removed"));
        }
        let found = ids.into_iter().filter_map(|id| self.project.actions.get(&id.parse().ok()?)).collect();
        Ok(Page::cut(call, found)?.render(call, "actions", |action| view::action_json(action, call.now_ms)))
    }

    pub(super) fn list_resource_actions(&self, call: &Call<'_>, kind: &str, id: u64) -> Reply {
        let found = self
            .project
            .actions
            .values()
            .filter(|action| action.resources.iter().any(|(k, resource)| k == kind && *resource == id))
            .collect();
        Ok(Page::cut(call, found)?.render(call, "actions", |action| view::action_json(action, call.now_ms)))
    }

    /// Keeps a long-lived cloud small: finished actions are forgotten, oldest first.
    fn forget_old_actions(&mut self, now_ms: i64) {
        const KEPT: usize = 2_000;
        const KEPT_MS: i64 = 24 * 3_600_000;
        let count = self.project.actions.len();
        if count <= KEPT || !count.is_multiple_of(512) {
            return;
        }
        let kept: BTreeMap<u64, Action> = std::mem::take(&mut self.project.actions)
            .into_iter()
            .filter(|(_, action)| action.finished_ms.is_none_or(|at| at + KEPT_MS > now_ms))
            .collect();
        self.project.actions = kept;
    }
}

/// Whether an action keeps other changes away from its server.
enum Lock {
    Taken,
    Free,
}
