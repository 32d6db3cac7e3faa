//! Where a workspace is in its life, and what is wanted of it.
//!
//! Each phase holds what is true in that phase alone; what outlives phases is in the record.

use crate::placement::Placement;
use ebbtide_api::Timestamp;
use ebbtide_api::failure::Failure;
use ebbtide_api::workspace::State;
use serde::{Deserialize, Serialize};

/// What the owner wants of the workspace, or what the control plane has decided for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DesiredState {
    /// A running machine.
    Awake,
    /// No machine, work kept.
    Asleep,
    /// No machine and no workspace, after a backup that can be undone to.
    Deleted,
    /// The same without a backup: a recorded decision.
    Discarded,
}

/// Why a workspace is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainReason {
    /// The owner asked.
    Asked,
    /// The idle-agent's verdict; activity before the freeze takes it back.
    Idle,
    /// The lifetime is over.
    Lifetime,
    /// The machine was made from a rescue image, only to bring what that holds into storage: nothing takes it back.
    Salvage,
}

/// Where a workspace is in its life. Each variant says what is true and who moves us on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Recorded, nothing called yet. The next decision moves on.
    Requested,
    /// A server is being created, under the name and labels of this generation; it may exist already. The provider's
    /// answer moves on, or `provision_budget` ends it.
    Provisioning {
        /// Placements that the provider refused.
        refused: Vec<Placement>,
        /// Whether an attempt may have landed although its answer says nothing of the kind.
        maybe_created: bool,
    },
    /// The server exists and works through its boot plan; it holds no work yet. Its reports move on; `boot_stall`
    /// without progress, `boot_cap` without restored files, or its lifetime end it.
    Booting {
        /// The machine's progress counter as last heard.
        progress: u64,
        /// When that last rose.
        progress_at: Timestamp,
        /// How many bytes and files it has restored, as last heard.
        #[serde(default, skip_serializing_if = "is_zero")]
        restored: u64,
        /// When that last rose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restored_at: Option<Timestamp>,
        /// What is known of a machine that has not registered.
        #[serde(default, skip_serializing_if = "StartCheck::is_not_asked")]
        start: StartCheck,
    },
    /// Ready and heard of; it holds work. The idle verdict, the owner, the lifetime or silence move on.
    Running,
    /// Not heard of. Being heard moves back; the silence rules and budgets move on.
    Silent {
        /// When it was last heard of.
        #[serde(rename = "last_heard")]
        last_seen_at: Timestamp,
        /// When the one allowed reboot was done.
        rebooted_at: Option<Timestamp>,
        /// When the provider is asked next.
        ask_at: Timestamp,
        /// What the provider said last.
        status: Option<ServerStatus>,
        /// The drain that silence interrupted.
        draining: Option<DrainReason>,
        /// When it was last seen that the other workspaces are not silent too. Nothing harmful is done without.
        #[serde(default)]
        looked_at: Option<Timestamp>,
    },
    /// Backing up before the machine goes. The final receipt moves on; ceilings end it.
    Draining {
        /// Why.
        reason: DrainReason,
        /// What keeps the backup from finishing, as the machine says.
        trouble: Option<String>,
        /// Whether the machine has frozen its processes: past that a refused receipt alone lets the drain be taken back.
        frozen: bool,
    },
    /// The machine holds work that it cannot deliver: an image is taken.
    Rescuing {
        /// When it began; `rescue_ceiling` counts from here.
        started_at: Timestamp,
        /// How far it is.
        step: RescueStep,
    },
    /// Server, then records, are being deleted. Once both are gone: `failed` where there is a failure to tell,
    /// otherwise whatever is wanted by then.
    Destroying {
        /// What to tell.
        failure: Option<Failure>,
        /// When the server was first not found.
        not_found_at: Option<Timestamp>,
        /// Whether the server is known to be gone.
        server_gone: bool,
        /// Whether its names were asked to go before the server: the address may be somebody else's in a moment.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        names_tried: bool,
        /// The rescue image that was still being written when the rescue had had its time: it may hold the work all the
        /// same, so it is looked at once more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        late_image: Option<u64>,
    },
    /// No machine; the work is in storage.
    Asleep,
    /// No machine, and something to say.
    Failed {
        /// What.
        failure: Failure,
    },
    /// Deleted; can be undone until `purge_at`, then everything is purged.
    Deleted {
        /// When the keys are shredded.
        purge_at: Timestamp,
        /// Whether they have been.
        purged: bool,
    },
}

/// What the provider was asked about a machine that boots and has not registered: its server may never have been started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum StartCheck {
    /// Nothing yet.
    #[default]
    NotAsked,
    /// Its answer said nothing, and it is asked again.
    Unclear {
        /// When it was asked.
        asked_at: Timestamp,
    },
    /// It is off, and is to be switched on.
    Off,
    /// It was switched on.
    SwitchedOn {
        /// When, or when its state was unclear after that.
        at: Timestamp,
    },
    /// It runs: what it does is its own affair.
    Runs,
}

impl StartCheck {
    fn is_not_asked(&self) -> bool {
        *self == Self::NotAsked
    }
}

/// How far a rescue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rescue", rename_all = "snake_case")]
pub enum RescueStep {
    /// The machine is switched off, so that the image is consistent.
    PowerOff,
    /// The image is asked for.
    TakeImage,
    /// The image is being written.
    AwaitImage {
        /// The provider's image id.
        image: u64,
    },
}

/// The provider's server status, as far as we act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerStatus {
    /// Switched off.
    Off,
    /// On, with flat CPU and network.
    Flat,
    /// On and doing something.
    Alive,
    /// Anything else, or metrics that cannot be read.
    Unclear,
}

impl Phase {
    /// The state that people see.
    pub fn state(&self) -> State {
        match self {
            Self::Requested => State::Requested,
            Self::Provisioning { .. } => State::Provisioning,
            Self::Booting { .. } => State::Booting,
            Self::Running => State::Running,
            Self::Silent { .. } => State::Silent,
            Self::Draining { .. } => State::Draining,
            Self::Rescuing { .. } => State::Rescuing,
            Self::Destroying { .. } => State::Destroying,
            Self::Asleep => State::Asleep,
            Self::Failed { .. } => State::Failed,
            Self::Deleted { .. } => State::Deleted,
        }
    }

    /// Whether the provider may bill for a machine in this phase.
    pub fn may_have_machine(&self) -> bool {
        self.state().may_have_machine()
    }
}

/// For numbers that are left out of a record where they are 0.
pub(super) const fn is_zero(number: &u64) -> bool {
    *number == 0
}
