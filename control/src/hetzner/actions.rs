//! `GET /actions/{id}`: how something that the provider is doing stands.

use super::wire::open_enum;
use super::{ActionId, Answer, Hetzner, Lookup};
use crate::http::Http;
use serde::Deserialize;

/// Something that the provider is doing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Action {
    pub id: ActionId,
    #[serde(default)]
    pub command: String,
    pub status: ActionStatus,
    /// Percent.
    #[serde(default)]
    pub progress: u32,
    /// Why it failed.
    pub error: Option<ActionError>,
}

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct ActionError {
    pub code: String,
    pub message: String,
}

open_enum! {
    /// How an action stands.
    ActionStatus {
        Running = "running",
        Success = "success",
        Error = "error",
    }
}

impl<H: Http> Hetzner<H> {
    /// Reads an action. [`Lookup::Gone`] for one that the provider has forgotten.
    pub async fn action(&self, id: ActionId) -> Answer<Lookup<Action>> {
        self.look_up(&format!("/actions/{id}"), |one: One| one.action).await
    }
}

/// An answer whose only interesting part is its action.
#[derive(Deserialize)]
pub(super) struct One {
    pub action: Action,
}
