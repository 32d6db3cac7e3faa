//! Servers after their creation: list, read, rename and relabel, delete.

use serde::Deserialize;
use serde_json::json;

use super::{
    create::is_host_name,
    labels::{self, Labels, Selector},
    page::{self, Page},
    refusal::{Refusal, Reply},
    state::{EndedServer, Server, ServerStatus},
    view,
};
use crate::model::{
    Cloud, Next,
    effect::Effect,
    wire::{Call, Response},
};

#[derive(Deserialize)]
struct Update {
    name: Option<String>,
    labels: Option<Labels>,
}

#[derive(serde::Serialize)]
struct One<T> {
    server: T,
}

/// Parses `label_selector`, where given.
pub(super) fn selector(call: &Call<'_>) -> Result<Selector, Refusal> {
    match call.one("label_selector") {
        None | Some("") => Ok(Selector::default()),
        Some(text) => Selector::parse(text)
            .ok_or_else(|| Refusal::invalid("label_selector", "is not a valid label selector")),
    }
}

impl Cloud {
    pub(super) fn list_servers(&mut self, call: &Call<'_>) -> Reply {
        let selector = selector(call)?;
        let name = call.one("name");
        let statuses = call.all("status");
        let mut found: Vec<&Server> = self
            .project
            .servers
            .values()
            .filter(|server| name.is_none_or(|name| server.name == name))
            .filter(|server| statuses.is_empty() || statuses.contains(&server.status.as_str()))
            .filter(|server| selector.matches(&server.labels))
            .collect();
        page::sort(call, &mut found)?;
        Ok(Page::cut(call, found)?.render(call, "servers", |server| self.server_view(server)))
    }

    pub(super) fn get_server(&self, id: u64) -> Reply {
        let server = self.server_or_refuse(id)?;
        Ok(Response::of(200, &One { server: self.server_view(server) }))
    }

    pub(super) fn update_server(&mut self, call: &Call<'_>, id: u64) -> Reply {
        let update: Update = call.parse()?;
        self.server_or_refuse(id)?;
        if let Some(problem) = update.labels.as_ref().and_then(labels::problem) {
            return Err(Refusal::invalid("labels", problem));
        }
        if let Some(name) = &update.name {
            if !is_host_name(name) {
                return Err(Refusal::invalid("name", "is not a valid hostname"));
            }
            if self.project.servers.values().any(|other| other.id != id && other.name == *name) {
                return Err(Refusal::uniqueness("name", "server name is already used"));
            }
        }
        if let Some(server) = self.project.servers.get_mut(&id) {
            server.name = update.name.unwrap_or_else(|| std::mem::take(&mut server.name));
            server.labels = update.labels.unwrap_or_else(|| std::mem::take(&mut server.labels));
        }
        self.get_server(id)
    }

    pub(super) fn delete_server(&mut self, call: &Call<'_>, id: u64) -> Reply {
        let server = self.server_or_refuse(id)?;
        if server.protected {
            return Err(Refusal::protected("server"));
        }
        if server.locked_by.is_some() {
            return Err(Refusal::locked());
        }
        let after = self.config.times.delete_ms;
        let next = Next::ServerGone { server_id: id };
        let action = self.start_action("delete_server", &[("server", id)], after, next, call.now_ms);
        self.bill_server(id, call.now_ms);
        if let Some(server) = self.project.servers.get_mut(&id) {
            server.status = ServerStatus::Deleting;
            server.locked_by = Some(action);
            server.powered = false;
        }
        self.effects.push(Effect::MachineDestroy { server_id: id });
        let action = self.project.actions.get(&action).map(|action| view::action_json(action, call.now_ms));
        Ok(Response::of(200, &json!({"action": action})))
    }

    pub(super) fn server_or_refuse(&self, id: u64) -> Result<&Server, Refusal> {
        self.project.servers.get(&id).ok_or_else(|| Refusal::not_found("server", id))
    }

    /// Writes down what a server cost, once.
    fn bill_server(&mut self, id: u64, now_ms: i64) {
        let Some(server) = self.project.servers.get(&id) else { return };
        self.project.ended.entry(id).or_insert_with(|| EndedServer {
            name: server.name.clone(),
            labels: server.labels.clone(),
            server_type: server.server_type.clone(),
            created_ms: server.created_ms,
            deleted_ms: now_ms,
            boots: server.boots,
        });
    }

    pub(crate) fn end_server(&mut self, id: u64, now_ms: i64) {
        self.bill_server(id, now_ms);
        self.remove_server(id);
    }

    /// Removes a server and what goes with it; other primary IPs are detached and stay.
    pub(crate) fn remove_server(&mut self, id: u64) {
        self.project.servers.remove(&id);
        self.project.primary_ips.retain(|_, ip| ip.assignee != Some(id) || !ip.auto_delete);
        for ip in self.project.primary_ips.values_mut() {
            if ip.assignee == Some(id) {
                ip.assignee = None;
            }
        }
    }
}
