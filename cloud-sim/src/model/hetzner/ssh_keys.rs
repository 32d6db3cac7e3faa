//! SSH keys: unique by name and by key material.

use serde::Deserialize;
use serde_json::json;

use super::{
    labels::{self, Labels},
    page::{self, Page},
    refusal::{Refusal, Reply},
    servers::selector,
    state::SshKey,
    view,
};
use crate::model::{
    Cloud,
    wire::{Call, Response},
};

#[derive(Deserialize)]
struct Create {
    name: String,
    public_key: String,
    #[serde(default)]
    labels: Labels,
}

#[derive(Deserialize)]
struct Update {
    name: Option<String>,
    labels: Option<Labels>,
}

/// The key itself, without type and comment.
fn material(public_key: &str) -> Option<&str> {
    let mut parts = public_key.split_whitespace();
    let kind = parts.next()?;
    let material = parts.next()?;
    let known = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| kind.starts_with(prefix));
    (known && material.len() >= 32).then_some(material)
}

/// Sixteen bytes in the vendor's form. The local cloud's own digest, not MD5: equal keys give equal fingerprints.
pub(super) fn fingerprint(public_key: &str) -> String {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut bytes = Vec::with_capacity(16);
    for round in 0..2_u8 {
        for byte in material(public_key).unwrap_or(public_key).bytes().chain([round]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.join(":")
}

impl Cloud {
    pub(super) fn list_ssh_keys(&self, call: &Call<'_>) -> Reply {
        let selector = selector(call)?;
        let (name, print) = (call.one("name"), call.one("fingerprint"));
        let mut found: Vec<&SshKey> = self
            .project
            .ssh_keys
            .values()
            .filter(|key| name.is_none_or(|name| key.name == name))
            .filter(|key| print.is_none_or(|print| fingerprint(&key.public_key) == print))
            .filter(|key| selector.matches(&key.labels))
            .collect();
        page::sort(call, &mut found)?;
        Ok(Page::cut(call, found)?.render(call, "ssh_keys", view::ssh_key_json))
    }

    pub(super) fn create_ssh_key(&mut self, call: &Call<'_>) -> Reply {
        let body: Create = call.parse()?;
        let Some(new) = material(&body.public_key) else {
            return Err(Refusal::invalid("public_key", "is no SSH public key"));
        };
        if let Some(problem) = labels::problem(&body.labels) {
            return Err(Refusal::invalid("labels", problem));
        }
        for key in self.project.ssh_keys.values() {
            if material(&key.public_key) == Some(new) {
                return Err(Refusal::uniqueness(
                    "public_key",
                    "SSH key with the same fingerprint already exists",
                ));
            }
            if key.name == body.name {
                return Err(Refusal::uniqueness("name", "SSH key name is already used"));
            }
        }
        let id = self.new_id();
        let key = SshKey {
            id,
            name: body.name,
            public_key: body.public_key,
            labels: body.labels,
            created_ms: call.now_ms,
        };
        let answer = Response::of(201, &json!({"ssh_key": view::ssh_key_json(&key)}));
        self.project.ssh_keys.insert(id, key);
        Ok(answer)
    }

    pub(super) fn get_ssh_key(&self, id: u64) -> Reply {
        let key = self.project.ssh_keys.get(&id).ok_or_else(|| Refusal::not_found("SSH key", id))?;
        Ok(Response::of(200, &json!({"ssh_key": view::ssh_key_json(key)})))
    }

    pub(super) fn update_ssh_key(&mut self, call: &Call<'_>, id: u64) -> Reply {
        let update: Update = call.parse()?;
        if let Some(problem) = update.labels.as_ref().and_then(labels::problem) {
            return Err(Refusal::invalid("labels", problem));
        }
        let taken = |name: &String| self.project.ssh_keys.values().any(|k| k.id != id && k.name == *name);
        if update.name.as_ref().is_some_and(taken) {
            return Err(Refusal::uniqueness("name", "SSH key name is already used"));
        }
        if let Some(key) = self.project.ssh_keys.get_mut(&id) {
            key.name = update.name.unwrap_or_else(|| std::mem::take(&mut key.name));
            key.labels = update.labels.unwrap_or_else(|| std::mem::take(&mut key.labels));
        }
        self.get_ssh_key(id)
    }

    pub(super) fn delete_ssh_key(&mut self, id: u64) -> Reply {
        match self.project.ssh_keys.remove(&id) {
            Some(_) => Ok(Response::empty(204)),
            None => Err(Refusal::not_found("SSH key", id)),
        }
    }
}
