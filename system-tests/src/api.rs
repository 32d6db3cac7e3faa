//! The control plane as its users reach it: JSON over HTTP with a bearer token.

use crate::http::{Answer, Http};
use crate::wait;
use anyhow::{Context, Result, ensure};
use ebbtide_api::history::{Event, EventList};
use ebbtide_api::workspace::{State, Workspace};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::Duration;

/// A user of the API.
#[derive(Debug, Clone)]
pub struct Api {
    http: Http,
    base: String,
    token: String,
}

impl Api {
    /// A user with that token; an empty one sends none.
    pub fn new(base: &str, token: &str) -> Self {
        Self { http: Http::default(), base: base.to_owned(), token: token.to_owned() }
    }

    /// The same control plane with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self::new(&self.base, token)
    }

    /// Sends a request with any body and headers.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let authorization = format!("Bearer {}", self.token);
        let mut all = headers.to_vec();
        if !self.token.is_empty() {
            all.push(("authorization", &authorization));
        }
        self.http.send(method, &format!("{}{path}", self.base), &all, body)
    }

    /// Sends a JSON request.
    ///
    /// # Errors
    /// Where no answer came; any status is an answer.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let text = body.map(|body| body.to_string().into_bytes());
        let headers: &[_] = if body.is_some() { &[("content-type", "application/json")] } else { &[] };
        self.raw(method, path, headers, text.as_deref())
    }

    /// Creates a workspace.
    ///
    /// # Errors
    /// Where the control plane does not accept it.
    pub fn create(&self, request: &Value) -> Result<Workspace> {
        workspace(&self.call("POST", "/v1/workspaces", Some(request))?.expect(202)?)
    }

    /// Looks at a workspace.
    ///
    /// # Errors
    /// Where it is not answered.
    pub fn get(&self, id: &str) -> Result<Workspace> {
        workspace(&self.call("GET", &format!("/v1/workspaces/{id}"), None)?.expect(200)?)
    }

    /// Does something to a workspace: `sleep`, `wake`, `retry`, `undelete`.
    ///
    /// # Errors
    /// Where it is not accepted.
    pub fn act(&self, id: &str, action: &str) -> Result<()> {
        let answer = self.call(
            "POST",
            &format!("/v1/workspaces/{id}/{action}"),
            Some(&Value::Object(<_>::default())),
        )?;
        ensure!(
            (200..300).contains(&answer.status),
            "{action} answered {}: {}",
            answer.status,
            answer.text()
        );
        Ok(())
    }

    /// Deletes a workspace; `discard` skips the backup.
    ///
    /// # Errors
    /// Where it is not accepted.
    pub fn delete(&self, id: &str, discard: Discard) -> Result<()> {
        let query = if discard == Discard::Work { "?discard=true" } else { "" };
        let answer = self.call("DELETE", &format!("/v1/workspaces/{id}{query}"), None)?;
        ensure!((200..300).contains(&answer.status), "delete answered {}: {}", answer.status, answer.text());
        Ok(())
    }

    /// The history of a workspace, oldest first.
    ///
    /// # Errors
    /// Where it is not answered.
    pub fn events(&self, id: &str) -> Result<Vec<Event>> {
        let answer = self.call("GET", &format!("/v1/workspaces/{id}/events"), None)?.expect(200)?;
        let list: EventList = serde_json::from_slice(&answer.body).context("reading the history")?;
        Ok(list.events)
    }

    /// Waits until a workspace is as wished.
    ///
    /// # Errors
    /// After `limit`, with the workspace's own words; at once where it fails and that was not wished.
    pub fn wait(
        &self,
        id: &str,
        what: &str,
        limit: Duration,
        wish: impl Fn(&Workspace) -> bool,
    ) -> Result<Workspace> {
        let mut failed = None;
        let seen = wait::until(&format!("workspace {id} to be {what}"), limit, || {
            let workspace = self.get(id).map_err(|error| format!("{error:#}"))?;
            if wish(&workspace) {
                return Ok(Some(workspace));
            }
            if workspace.state == State::Failed {
                failed = Some(workspace.clone());
                return Ok(None);
            }
            Err(shown(&workspace))
        })?;
        seen.ok_or_else(|| {
            let words = failed.map(|workspace| shown(&workspace)).unwrap_or_default();
            anyhow::anyhow!("workspace {id} failed instead of becoming {what}: {words}")
        })
    }

    /// Waits for a state.
    ///
    /// # Errors
    /// As [`Api::wait`].
    pub fn wait_for(&self, id: &str, state: State, limit: Duration) -> Result<Workspace> {
        self.wait(id, state.as_str(), limit, |workspace| workspace.state == state)
    }

    /// Stores the idle-agent that new machines fetch; says its SHA-256.
    ///
    /// # Errors
    /// Where the file cannot be read or the control plane does not take it.
    pub fn publish_agent(&self, file: &Path) -> Result<String> {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let headers = [("content-type", "application/octet-stream")];
        let answer = self.raw("PUT", &format!("/v1/vm/agent/{sha256}"), &headers, Some(&bytes))?;
        ensure!(
            (200..300).contains(&answer.status),
            "storing the idle-agent answered {}: {}",
            answer.status,
            answer.text()
        );
        Ok(sha256)
    }
}

/// Whether a deletion throws the unsaved work away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// Backed up first.
    Nothing,
    /// Not backed up.
    Work,
}

fn workspace(answer: &Answer) -> Result<Workspace> {
    serde_json::from_slice(&answer.body)
        .with_context(|| format!("reading a workspace from {}", answer.text()))
}

/// What a workspace says of itself, in one line.
pub fn shown(workspace: &Workspace) -> String {
    let mut text = format!("{} because {}", workspace.state, workspace.because);
    if let Some(waiting) = &workspace.waiting_for {
        text += &format!("; waits for {waiting}");
    }
    if let Some(failure) = &workspace.failure {
        text += &format!("; {}: {}", failure.code, failure.message);
    }
    for step in workspace.boot.iter().filter(|step| step.detail.is_some()) {
        text += &format!("; {} {:?}: {}", step.name, step.state, step.detail.as_deref().unwrap_or_default());
    }
    text
}
