//! The lifecycle: one pure function from what we remember and what happened to what is next.
//!
//! [`decide`] first takes the input into the record (`heartbeat`, `commands`, `receipts`, `outcomes`), then lets the phase move on as far as it can
//! (`phases`), then names the one effect that is due (`next_effect`) and the time at which to look again. The caller saves
//! the record *before* it performs the effect and sets its alarm; an effect may therefore be performed twice and must
//! bear it. This module never reads a clock, never calls anything and never loses an input: what cannot be done in the
//! present phase changes what is wanted, or is refused with a sentence.

mod billing;
mod commands;
mod heartbeat;
mod next_effect;
mod outcomes;
mod phases;
mod receipts;
mod repository_lock;
mod rescue;
mod silence;
#[cfg(test)]
mod tests;

pub use repository_lock::crowding;
pub use silence::Neighbours;
#[cfg(test)]
pub(crate) use tests::new_record as a_record;

use crate::policy::Policy;
use crate::record::{Record, Server, ServerStatus};
use ebbtide_api::backups::Retention;
use ebbtide_api::money::Cost;
use ebbtide_api::vm::{DrainPhase, Receipt, TidyReport};
use ebbtide_api::why::BackupEstimate;
use ebbtide_api::workspace::{Failure, Hold, State};
use ebbtide_api::{Duration, ErrorCode, Generation, Hint, Timestamp};
use serde::{Deserialize, Serialize};

/// What surrounds a decision.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The control plane's clock.
    pub now: Timestamp,
    /// Durations and limits.
    pub policy: &'a Policy,
    /// When the machine of this generation was last heard of, by this clock.
    pub heard_at: Option<Timestamp>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The alarm fired, or somebody poked the object.
    Tick {
        /// When the alarm was due, where it was one.
        due_at: Option<Timestamp>,
    },
    /// The owner asks for something.
    Ask(Command),
    /// The machine was heard of.
    Heard(Heard),
    /// A machine key was shown with a valid enrolment token or signature for this generation.
    Enrolled {
        /// The public key, base64.
        machine_key: String,
    },
    /// The machine delivers a receipt.
    Delivered {
        /// The proof, not checked yet.
        receipt: Receipt,
        /// Whether the machine may go once it is verified.
        last: bool,
    },
    /// An effect ended.
    Finished {
        /// The attempt that [`Decision::effect`] named.
        attempt_id: u64,
        /// How.
        outcome: EffectOutcome,
    },
}

/// What the owner may ask for. Both ends of its way to the object run the same build: its JSON is not pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Back up and end the machine.
    Sleep,
    /// Start a machine with the newest or a chosen snapshot.
    Wake {
        /// The snapshot, where one was chosen.
        snapshot: Option<String>,
    },
    /// Try again after a failure.
    Retry,
    /// The machine after this one is reserved at these rates.
    Quote(crate::money::Quote),
    /// Back up, end the machine and forget the workspace after the days in which it can be undone.
    Delete,
    /// The same without a backup.
    Discard,
    /// Take a deletion back.
    Undelete,
    /// Change what may change.
    Change {
        /// New idle timeout.
        idle_timeout: Option<Duration>,
        /// New lifetime, counted from the last wake.
        lifetime: Option<Duration>,
        /// The worst case that follows from it.
        worst_case: Option<Cost>,
    },
    /// Keep awake until a time.
    TakeHold(Hold),
    /// Let go of a hold.
    ReleaseHold {
        /// Its id.
        id: String,
    },
    /// Keep other snapshots from now on.
    Retain(Retention),
    /// Take a snapshot now.
    Snapshot,
    /// Reset the machine; its files stay.
    Reboot,
    /// A machine begins to remove what it was told to.
    BeginTidying {
        /// Which machine.
        generation: Generation,
        /// Old snapshots of machines that are proved and that no list names.
        strays: Vec<String>,
    },
    /// It is done with that.
    EndTidying {
        /// Which machine.
        generation: Generation,
        /// What came of it.
        report: TidyReport,
    },
    /// Take or renew the exclusive right to change the repository.
    TakeGrant {
        /// Who asks.
        by: String,
    },
    /// Give it back.
    EndGrant {
        /// Whose it was.
        by: String,
    },
    /// So many objects of a kind were found in the repository.
    Crowded {
        /// How many.
        objects: u32,
    },
    /// A verified snapshot was removed from the repository.
    Forget {
        /// Which.
        snapshot: String,
    },
    /// The labels of its machine are not what they should be: they are written anew.
    Relabel,
    /// It was brought back.
    Recall {
        /// Which.
        snapshot: String,
    },
    /// Let anybody reach a port, or the owner alone.
    SetPublic {
        /// The port.
        port: u16,
        /// Whether anybody may.
        access: PortAccess,
    },
}

impl Command {
    /// What the audit log calls it.
    pub fn audit_action(&self) -> &'static str {
        match self {
            Self::Sleep => "workspace.sleep",
            Self::Wake { .. } => "workspace.wake",
            Self::Retry => "workspace.retry",
            Self::Quote(_) => "workspace.quote",
            Self::Delete => "workspace.delete",
            Self::Discard => "workspace.discard",
            Self::Undelete => "workspace.undelete",
            Self::Change { .. } | Self::Retain(_) => "workspace.change",
            Self::TakeHold(_) => "workspace.hold",
            Self::ReleaseHold { .. } => "workspace.release_hold",
            Self::Snapshot => "workspace.snapshot",
            Self::Reboot => "workspace.reboot",
            Self::BeginTidying { .. } => "workspace.begin_tidying",
            Self::EndTidying { .. } => "workspace.end_tidying",
            Self::TakeGrant { .. } => "workspace.take_grant",
            Self::EndGrant { .. } => "workspace.end_grant",
            Self::Crowded { .. } => "workspace.crowded",
            Self::Forget { .. } => "workspace.forget",
            Self::Recall { .. } => "workspace.recall",
            Self::Relabel => "workspace.relabel",
            Self::SetPublic { access: PortAccess::Public, .. } => "workspace.open_port",
            Self::SetPublic { access: PortAccess::Owner, .. } => "workspace.close_port",
        }
    }

    /// Its name: on a button's path, for one.
    pub fn name(&self) -> &'static str {
        let action = self.audit_action();
        action.split_once('.').map_or(action, |(_, name)| name)
    }

    /// Whether it may start a machine, whose worst case is to be reserved first.
    pub fn starts_machine(&self) -> bool {
        matches!(self, Self::Wake { .. } | Self::Retry)
    }
}

/// Who may reach a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortAccess {
    /// Whoever holds a token of the owner.
    Owner,
    /// Anybody.
    Public,
}

/// What a heartbeat says, as far as the lifecycle goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// The boot plan is through.
    pub ready: bool,
    /// The boot plan is past the step that tidies.
    pub past_tidying: bool,
    /// The boot progress counter.
    pub boot_progress: u64,
    /// A boot step has failed for good.
    pub boot_failure: Option<String>,
    /// The verdict is idle, with its reason.
    pub idle: Option<String>,
    /// Somebody or something works, or a lease holds.
    pub busy: Option<String>,
    /// Where the drain is.
    pub drain: Option<DrainPhase>,
    /// What keeps the backup from finishing.
    pub backup_trouble: Option<String>,
    /// What a backup taken now would be like.
    pub estimate: Option<BackupEstimate>,
    /// How many bytes the repository holds, where that is known.
    pub stored_bytes: Option<u64>,
}

/// Something to do outside, safe to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Reserve the money for the machine after this one, which waited or was not asked for by itself.
    Reserve,
    /// Find the server of this generation by its labels, or create it.
    EnsureServer,
    /// Make both DNS records point at the server.
    EnsureDns,
    /// Write the labels anew (the expiry has moved).
    UpdateLabels,
    /// Look by label and by id whether the server exists at all.
    FindServer,
    /// Read the server's status and metrics.
    AskServer,
    /// Switch it on, or reset it.
    Reboot,
    /// Switch it off.
    PowerOff,
    /// Ask for an image of it.
    TakeImage,
    /// See whether the image is written.
    AwaitImage,
    /// Delete every server of this generation, or find that there is none.
    DeleteServer,
    /// Delete the DNS records of this generation.
    DeleteDns,
    /// Check the next slice of the pending receipt against storage.
    CheckReceipt,
    /// Delete the workspace's keys from storage.
    Purge,
    /// Add up what the owner has spent.
    CheckSpending,
    /// Look whether other workspaces fell silent at the same time.
    LookAround,
    /// Delete an image whose content is in storage or given up.
    DeleteImage {
        /// The provider's image id.
        image: u64,
    },
}

/// How an effect ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectOutcome {
    /// It is as it should be.
    Done,
    /// The next machine's worst case is reserved, at these rates where they are known.
    Reserved(Option<crate::money::Quote>),
    /// The server exists, created now or before.
    Exists(Server),
    /// This placement has no room; another might.
    NoRoom {
        /// The provider's words.
        message: String,
    },
    /// The provider will not, whatever we try again; nothing landed.
    Refused(Failure),
    /// Not this time.
    Later {
        /// What is waited for, for a person.
        waiting_for: String,
        /// Whether it may have landed all the same.
        maybe_landed: bool,
        /// Not to be tried before, where the provider says so.
        not_before: Option<Timestamp>,
    },
    /// What the server does.
    Status(ServerStatus),
    /// How the other workspaces are.
    Neighbours(Neighbours),
    /// There is no such server.
    Gone,
    /// The deletion is accepted and under way.
    Deleting,
    /// The image is being written.
    ImageStarted {
        /// The provider's image id.
        image: u64,
    },
    /// What the owner has spent.
    Spending(crate::money::caps::Spending),
    /// No image can be had.
    ImageImpossible {
        /// The provider's words.
        message: String,
    },
    /// So many more packs, from the end of the list, are in storage.
    ReceiptChecked {
        /// How many.
        packs: usize,
    },
    /// Something that the receipt names is not in storage.
    ReceiptWrong {
        /// What.
        problem: String,
    },
}

/// A request that cannot be met now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its code.
    pub code: ErrorCode,
    /// A sentence.
    pub message: String,
}

/// A line of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The state at that point.
    pub state: State,
    /// What happened and why, a sentence.
    pub because: String,
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The record to save before anything else.
    pub next: Record,
    /// What to do after that, with the number that its end must carry.
    pub effect: Option<(u64, Effect)>,
    /// When to decide again, whatever happens.
    pub wake_at: Option<Timestamp>,
    /// What to write into the history, in order.
    pub notes: Vec<Note>,
    /// Why the input was not taken, where it was not.
    pub refusal: Option<Refusal>,
}

/// Decides what follows from an input.
pub fn decide(record: &Record, input: Input, context: &Context<'_>) -> Decision {
    let mut draft = Draft { record: record.clone(), notes: Vec::new(), refusal: None, may_begin: false };
    let billing = match &input {
        Input::Finished { outcome: EffectOutcome::Deleting, .. } => billing::Billing::Ends,
        _ => billing::Billing::AsBefore,
    };
    heartbeat::take(&mut draft, input, context);
    heartbeat::expire_lost_effect(&mut draft, context);
    phases::settle(&mut draft, context);
    billing::follow(record, billing, &mut draft, context);
    let effect = next_effect::begin(&mut draft.record, context);
    let wake_at = phases::wake_at(&draft.record, context);
    Decision { next: draft.record, effect, wake_at, notes: draft.notes, refusal: draft.refusal }
}

/// A decision in the making.
struct Draft {
    record: Record,
    notes: Vec<Note>,
    refusal: Option<Refusal>,
    /// The next machine's worst case was reserved for this very decision. Never stored: what was reserved for a wake that
    /// has to wait may be gone when the wait is over.
    may_begin: bool,
}

impl Draft {
    /// Enters a phase: the only place that changes it.
    fn enter(&mut self, phase: crate::record::Phase, because: impl Into<String>, now: Timestamp) {
        let mut because = because.into();
        if let Some(image) = self.record.salvages {
            because = format!("salvaging the rescue image {image}: {because}");
        }
        self.record.phase = phase;
        self.record.since = now;
        self.record.pause = None;
        self.record.image_missed_at = None;
        self.note(because.clone());
        self.record.because = because;
    }

    fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(Note { state: self.record.state(), because: sentence.into() });
    }

    fn refuse(&mut self, code: ErrorCode, message: impl Into<String>) {
        self.refusal = Some(Refusal { code, message: message.into() });
    }
}

/// A failure with its code, what happened, and what to do.
pub(crate) fn failure(code: &str, message: impl Into<String>, hint: Hint) -> Failure {
    Failure { code: code.to_owned(), message: message.into(), hint: hint.for_api().to_owned() }
}
