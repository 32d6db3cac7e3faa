//! A machine played from outside, so that it can lie, hurry and come back from the dead, or do one thing at a time.

use crate::Stack;
use crate::api::Api;
use crate::http::Answer;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ebbtide_api::workspace::State;
use ed25519_compact::{KeyPair, Seed};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::time::Duration;

/// How long the workspace may take to run once its machine says that it is ready.
const LIMIT: Duration = Duration::from_secs(120);

/// What user-data told a machine.
///
/// # Errors
/// Where the workspace has no server, or user-data has another form.
pub fn told(stack: &Stack, id: &str) -> Result<Value> {
    let inventory = stack.cloud.inventory()?;
    let server = inventory.live_of(id).first().map(|server| server.id).context("no server")?;
    let packed = STANDARD.decode(stack.cloud.user_data(server)?.trim()).context("user-data is not base64")?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text)?;
    let config: Value = serde_json::from_str(text.trim_start_matches("#cloud-config\n"))?;
    let files = config["write_files"].as_array().context("no files")?;
    let file =
        files.iter().find(|file| file["path"] == "/etc/ebbtide/agent.json").context("no agent.json")?;
    Ok(serde_json::from_str(file["content"].as_str().unwrap_or_default())?)
}

/// A machine that is played: it does what it is asked to, and nothing by itself.
pub struct PlayedMachine {
    key: KeyPair,
    /// What user-data told it.
    pub told: Value,
    /// The control plane, with its token.
    pub api: Api,
    /// Its token.
    pub token: String,
    /// What it was answered when it enrolled.
    pub enrolled: Value,
}

impl PlayedMachine {
    /// One that knows what user-data told, with a key of its own.
    ///
    /// # Errors
    /// As [`told`].
    pub fn new(stack: &Stack, id: &str, seed: u8) -> Result<Self> {
        Ok(Self {
            key: KeyPair::from_seed(Seed::new([seed; 32])),
            told: told(stack, id)?,
            api: stack.api.with_token(""),
            token: String::new(),
            enrolled: Value::Null,
        })
    }

    /// The body of its enrolment.
    pub fn enrolment(&self) -> Value {
        self.enrolment_with(self.told["enrolment_token"].as_str().unwrap_or_default())
    }

    /// With another bootstrap token than it was given, or none.
    pub fn enrolment_with(&self, token: &str) -> Value {
        let workspace = self.told["workspace"].as_str().unwrap_or_default();
        let generation = &self.told["generation"];
        let message = format!("ebbtide-enrol-v1\n{workspace}\n{generation}\n{token}");
        json!({
            "workspace": workspace, "generation": generation, "enrolment_token": token, "agent_version": "test",
            "machine_key": STANDARD.encode(*self.key.pk),
            "signature": STANDARD.encode(*self.key.sk.sign(message.as_bytes(), None)),
        })
    }

    /// Enrols without the token.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn try_enrol_by_key_alone(&self) -> Result<Answer> {
        self.api.call("POST", "/v1/vm/enroll", Some(&self.enrolment_with("")))
    }

    /// Enrols, from an address of its own, as every machine has one.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn try_enrol(&self) -> Result<Answer> {
        let body = self.enrolment().to_string();
        let digest = Sha256::digest(self.told["workspace"].to_string());
        let address = format!("10.{}.{}.{}", digest[0], digest[1], digest[2]);
        self.api.raw("POST", "/v1/vm/enroll", &[("cf-connecting-ip", &address)], Some(body.as_bytes()))
    }

    /// One that has enrolled.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn enrolled(stack: &Stack, id: &str, seed: u8) -> Result<Self> {
        let mut machine = Self::new(stack, id, seed)?;
        machine.enrolled = machine.try_enrol()?.expect(200)?.json();
        machine.token = machine.enrolled["vm_token"].as_str().context("no token")?.to_owned();
        machine.api = stack.api.with_token(&machine.token);
        Ok(machine)
    }

    /// One that has booted.
    ///
    /// # Errors
    /// Where it is refused, or the workspace does not run then.
    pub fn ready(stack: &Stack, id: &str, seed: u8) -> Result<Self> {
        let machine = Self::enrolled(stack, id, seed)?;
        machine.beat()?.expect(200)?;
        stack.api.wait(id, "running", LIMIT, |workspace| workspace.state == State::Running)?;
        Ok(machine)
    }

    /// Its generation.
    pub fn generation(&self) -> &Value {
        &self.told["generation"]
    }

    /// Says that it lives.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn beat(&self) -> Result<Answer> {
        let heartbeat = json!({ "generation": self.generation(), "ready": true, "boot_progress": 1 });
        self.api.call("POST", "/v1/vm/heartbeat", Some(&heartbeat))
    }

    /// Asks for something of its repository.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn backup(&self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Answer> {
        self.api.raw(method, &format!("/v1/vm/backup/{path}"), &[], body)
    }

    /// Stores an object under its right name; says the name.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn store(&self, kind: &str, content: &[u8]) -> Result<String> {
        let name = hex::encode(Sha256::digest(content));
        self.backup("POST", &format!("{kind}/{name}"), Some(content))?.expect(200)?;
        Ok(name)
    }

    /// Delivers a receipt as the idle-agent does: it says that it is frozen before it delivers the last one.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn deliver(&self, to: &str, snapshot: &str, packs: &[(&str, u64)]) -> Result<Answer> {
        if to == "drained" {
            // Twice, as a machine does: where a slow test has let it fall silent, the first brings it back into its drain.
            self.freeze()?;
            self.freeze()?;
        }
        self.deliver_at_once(to, snapshot, packs)
    }

    /// Says that it is frozen.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn freeze(&self) -> Result<Answer> {
        let frozen = json!({ "generation": self.generation(), "ready": true, "drain": "frozen" });
        self.api.call("POST", "/v1/vm/heartbeat", Some(&frozen))
    }

    /// Delivers a receipt, whatever was said before.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn deliver_at_once(&self, to: &str, snapshot: &str, packs: &[(&str, u64)]) -> Result<Answer> {
        let packs: Vec<Value> =
            packs.iter().map(|(name, size)| json!({ "name": name, "size": size })).collect();
        self.deliver_receipt(to, snapshot, &json!({ "packs_total": packs.len(), "packs_new": packs }))
    }

    /// A receipt with these fields besides those that say little.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn deliver_receipt(&self, to: &str, snapshot: &str, fields: &Value) -> Result<Answer> {
        let mut receipt = json!({
            "snapshot": snapshot, "tree": "0".repeat(64), "packs_total": 0, "packs_new": [],
            "files": 1, "bytes_total": 1, "bytes_sent": 1, "skipped": [], "unreadable": [],
        });
        for (name, value) in fields.as_object().into_iter().flatten() {
            receipt[name.as_str()] = value.clone();
        }
        let body = json!({ "generation": self.generation(), "receipt": receipt });
        self.api.call("POST", &format!("/v1/vm/{to}"), Some(&body))
    }
}
