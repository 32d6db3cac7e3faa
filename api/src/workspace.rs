//! What people ask for and what they see: workspaces, their states, machines and boot steps.
//!
//! Requests deny unknown fields (a misspelt `idle_timout` must not become a default); answers may grow. What belongs to
//! one subject has a file of its own: [`crate::ports`], [`crate::backups`], [`crate::history`], [`crate::why`].

mod state;

pub use state::State;

use crate::backups::{BackupProgress, Persistence, Retention, SnapshotSummary};
use crate::failure::Failure;
use crate::money::Cost;
use crate::ports::{LinkSummary, Port};
use crate::secrets::SecretChoice;
use crate::why::Why;
use crate::{Duration, Generation, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

/// The body of `POST /v1/workspaces`. Everything but `repo` has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateWorkspace {
    /// Lower-case letters, digits and single dashes, at most 40; from the repository's name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 40, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$"))]
    pub name: Option<String>,
    /// What to clone: an http, https or ssh URL. Absent: an empty workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 2048))]
    pub repo: Option<String>,
    /// Branch or tag; the remote's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 244))]
    pub branch: Option<String>,
    /// A server type from `GET /v1/catalog`; where absent the installation's default, or another if that is sold out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// A location from `GET /v1/catalog`; where absent the installation's default, or another if that is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Coding agents to install, from those that the installation has published (`GET /v1/programs`); Claude Code where
    /// absent, if that is published. `[]` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 16))]
    pub agents: Option<Vec<String>>,
    /// Whether each start installs Docker, and a wake brings back its images, containers, volumes and networks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub docker: bool,
    /// How long nothing may happen before the workspace sleeps; at least `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// How long after a wake the workspace is drained whatever happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,
    /// Environment of the workspace; values are stored as secrets and never shown again.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(schema_with = crate::env::schema))]
    pub env: std::collections::BTreeMap<String, String>,
    /// Which stored secrets it gets; those marked `everywhere` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretChoice>,
    /// `true` lets SSH in, for the keys of `GET /v1/ssh-keys`; otherwise the port is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<bool>,
    /// What happens past the hard end while work is unsaved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unsaved: Option<OnUnsaved>,
    /// Whether a machine that cannot deliver its work may be imaged before it goes: the one copy that is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue_image: Option<RescueChoice>,
    /// Whether the workspace is backed up at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Which backups are kept; the installation's rule where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// The body of `PATCH /v1/workspaces/{id}`: what may change while a machine runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PatchWorkspace {
    /// New idle timeout, at least `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// New lifetime, counted from the last wake; up to the installation's ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,
    /// Which backups are kept from the next one on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Which stored secrets it gets. A machine that runs has them within seconds: variables in new terminals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretChoice>,
    /// Whether SSH is let in, for the keys of `GET /v1/ssh-keys`. A machine that runs follows within seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<bool>,
    /// A server type from `GET /v1/catalog`, from the next start on; `any` leaves it to the installation again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// A location from `GET /v1/catalog`, from the next start on; `any` leaves it to the installation again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Coding agents to install from the next start on, in the place of those that there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 16))]
    pub agents: Option<Vec<String>>,
    /// Whether Docker is installed from the next start on. What it holds is kept either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<bool>,
}

/// The body of `POST /v1/workspaces/{id}/wake`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WakeWorkspace {
    /// Which verified snapshot to restore; the newest where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1))]
    pub snapshot: Option<String>,
    /// Another server type from now on, from `GET /v1/catalog`; `any` leaves it to the installation again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Another location from now on; `any` leaves it to the installation again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// The body of requests that say nothing but what their path says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NoFields {}

/// The body of `POST /v1/workspaces/{id}/holds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateHold {
    /// How long the workspace stays awake; the lifetime still ends it.
    pub r#for: Duration,
    /// Why, shown wherever somebody asks.
    #[serde(default)]
    #[cfg_attr(
        feature = "openapi",
        schema(max_length = 200, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    )]
    pub reason: String,
}

/// A hold as the API answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hold {
    /// For `DELETE …/holds/{hold}`.
    pub id: String,
    /// Why, in the taker's words.
    pub reason: String,
    /// When it ends by itself.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub ends_at: Timestamp,
}

/// What happens past the hard end while work is unsaved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OnUnsaved {
    /// A rescue image is tried, then the machine goes; what was lost is recorded.
    #[default]
    Destroy,
    /// The machine stays and bills on; the owner is told daily.
    Hold,
}

/// Whether a machine that cannot deliver its work may be imaged at the provider before it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RescueChoice {
    /// It may: the next wake brings the image's content into the backups and deletes the image.
    #[default]
    Take,
    /// It may not: `on_unsaved` decides at once.
    Refuse,
}

/// A workspace as `GET /v1/workspaces/{id}` answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Workspace {
    /// Names it for ever.
    pub id: WorkspaceId,
    /// Its readable name; part of its host name, frozen at creation.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// When it entered that state.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Why it is in that state, a sentence.
    pub because: String,
    /// The answer to "why is it still running?" in one line, as `ebb why` on the machine and the dashboard give it; where
    /// it does not run, why not.
    #[serde(default)]
    pub line: String,
    /// What it waits for, where it waits for something that should not take long.
    pub waiting_for: Option<String>,
    /// What went wrong, in state `failed`.
    pub failure: Option<Failure>,
    /// Number of its current or last machine; 0 before the first.
    pub generation: Generation,
    /// What is cloned.
    pub repo: Option<String>,
    /// Branch or tag.
    pub branch: Option<String>,
    /// Server type asked for or chosen.
    pub size: String,
    /// Location asked for or chosen.
    pub location: String,
    /// Coding agents that are installed at each start.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Whether Docker is installed at each start.
    #[serde(default)]
    pub docker: bool,
    /// How long nothing may happen before it sleeps.
    pub idle_timeout: Duration,
    /// How long after a wake it is drained whatever happens.
    pub lifetime: Duration,
    /// Whether it is backed up: with `none` its files end with every machine.
    #[serde(default)]
    pub persistence: Persistence,
    /// Which stored secrets it gets.
    #[serde(default)]
    pub secrets: SecretChoice,
    /// Whether SSH is let in: `GET /v1/workspaces/{id}/ssh` says how.
    #[serde(default)]
    pub ssh: bool,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When the lifetime of the current machine ends and it is drained.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub lifetime_ends_at: Option<Timestamp>,
    /// When the machine ends whatever it says.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub hard_end_at: Option<Timestamp>,
    /// What the current machine costs at worst, enforcement latency included.
    pub worst_case: Option<Cost>,
    /// The machine, while one exists.
    pub machine: Option<Machine>,
    /// The boot plan's steps, as last heard.
    pub boot: Vec<BootStep>,
    /// Ports that answer, as last heard.
    pub ports: Vec<Port>,
    /// Why it is awake, as last heard.
    pub why: Option<Why>,
    /// Seconds since the machine was last heard of.
    pub heard_secs_ago: Option<u64>,
    /// The backup that is running, as last heard.
    pub backup: Option<BackupProgress>,
    /// The last verified backup.
    pub last_backup: Option<SnapshotSummary>,
    /// What a wake restores, or this one restored, where that is not simply the newest and whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_note: Option<RestoreNote>,
    /// The rescue image that holds work which is in no backup yet.
    #[serde(default)]
    pub rescue_image: Option<RescueImage>,
    /// Holds in force.
    pub holds: Vec<Hold>,
    /// Links to ports that are in force.
    #[serde(default)]
    pub links: Vec<LinkSummary>,
}

/// A restore that its owner should know of: the backup lacks something, or is older than the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestoreNote {
    /// Id of the snapshot that is restored.
    pub snapshot: String,
    /// Id of the one that may be wanted instead: the last whole one beside a partial newest, the newest beside an older.
    pub other: Option<String>,
    /// Both, and how to choose, for a person.
    pub sentence: String,
}

/// An image at the provider of a machine that could not deliver its work. It is not encrypted, and billed by the
/// gigabyte and month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RescueImage {
    /// The provider's id of it.
    pub id: u64,
    /// When it is deleted, salvaged or not.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// What a gigabyte of it costs a month, tax included, where the provider has said so: `0.01309 EUR`.
    #[serde(default)]
    pub price_per_gb_month: Option<String>,
}

/// A page of workspaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceList {
    /// Newest first.
    pub workspaces: Vec<WorkspaceSummary>,
    /// Pass as `?cursor=` for the next page; `null` on the last.
    pub next_cursor: Option<String>,
}

/// A workspace in a list: what the index knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceSummary {
    /// Names it for ever.
    pub id: WorkspaceId,
    /// Its readable name.
    pub name: String,
    /// Where it was in its life when the index was last written.
    pub state: State,
    /// Why, a sentence.
    pub because: String,
    /// Why it is awake, or what it waits for, in one line. Of a running machine it may be ten minutes old: the workspace
    /// itself shows it as it is now.
    pub line: String,
    /// What is cloned.
    pub repo: Option<String>,
    /// Server type.
    pub size: String,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it entered its state.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
}

/// A machine as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Machine {
    /// The provider's server id.
    pub server_id: u64,
    /// Its address.
    pub ipv4: Option<String>,
    /// Host name of the workspace.
    pub host: String,
}

/// How far a boot step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StepState {
    /// Not begun.
    Pending,
    /// At work.
    Running,
    /// Finished.
    Done,
    /// Nothing to do here.
    Skipped,
    /// Given up; `detail` says why and what to do.
    Failed,
}

/// One step of the boot plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BootStep {
    /// Stable: `clone`, `restore`, …
    pub name: String,
    /// For people: "Cloning the repository".
    pub title: String,
    /// How far it is.
    pub state: StepState,
    /// How long it has taken, in milliseconds.
    pub duration_ms: u64,
    /// How much is done, 0 to 100, where that is known.
    pub percent: Option<u8>,
    /// What it does now, or why it failed.
    pub detail: Option<String>,
    /// Whether it left something out that was asked for: `detail` says what. The boot went on.
    #[serde(default)]
    pub warned: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_or_misspelt_field_is_refused_by_name() {
        let refusal = serde_json::from_str::<CreateWorkspace>(r#"{"repo":"https://h/r","idle_timout":"5m"}"#);
        assert!(refusal.unwrap_err().to_string().contains("idle_timout"));
    }

    #[test]
    fn the_smallest_request_is_an_empty_object() {
        let request: CreateWorkspace = serde_json::from_str("{}").unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), "{}");
    }
}
