//! What the Worker's handlers may ask of a workspace's object, and how the object refuses.
//!
//! Both sides run the same build, so the JSON between them is not pinned; the tenant travels with every call and the
//! object compares it with its record.

use super::backups::BackupCall;
use ebbtide_api::vm::{DeliverReceipt, Enrol, Heartbeat};
use ebbtide_api::workspace::{CreateHold, PatchWorkspace};
use ebbtide_api::{ErrorCode, Generation, TenantId};
use ebbtide_control::lifecycle::PortAccess;
use ebbtide_control::money::Quote;
use ebbtide_control::record::NewWorkspace;
use serde::{Deserialize, Serialize};

/// A call with its caller's tenant.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// Whose call it is. Machines act for the tenant that their token names.
    pub tenant: TenantId,
    /// What is asked.
    pub call: Call,
}

/// What may be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// Begins a workspace. Repeatable: an object that holds the same id answers as it stands.
    Create { record: Box<NewWorkspace>, quote: Option<Quote> },
    /// → [`ebbtide_api::workspace::Workspace`], like every call by a person that names no other answer.
    View,
    /// → [`ebbtide_api::history::EventList`]: a page of history.
    Events { page: EventPage, limit: u16 },
    /// → [`ebbtide_api::history::LogPage`].
    Log,
    /// Back up and end the machine.
    Sleep,
    /// → [`ebbtide_control::money::Terms`]: what a wake or a longer lifetime has to reserve.
    Terms,
    /// Start a machine again, at those rates.
    Wake { snapshot: Option<String>, quote: Option<Quote> },
    /// Try again after a failure, at those rates.
    Retry { quote: Option<Quote> },
    /// End it, backed up first.
    Delete,
    /// End it without a backup.
    Discard,
    /// Take a deletion back.
    Undelete,
    /// Change durations.
    Patch { patch: PatchWorkspace, worst_case: Option<ebbtide_api::money::Cost> },
    /// → [`ebbtide_api::workspace::Hold`].
    TakeHold { hold: CreateHold },
    /// Let go of a hold.
    ReleaseHold { id: String },
    /// Take a snapshot now.
    Snapshot,
    /// → [`ebbtide_api::backups::SnapshotList`].
    Snapshots,
    /// Open or close a port.
    SetPort { port: u16, access: PortAccess },
    /// → [`ebbtide_api::vm::Enrolled`]. The handler has verified the enrolment token, or the signature alone.
    Enrol { enrol: Enrol, proof: EnrolProof },
    /// → [`ebbtide_api::vm::Instruction`].
    Heartbeat { generation: Generation, heartbeat: Box<Heartbeat> },
    /// → [`ebbtide_api::vm::ReceiptAnswer`].
    Receipt { deliver: Box<DeliverReceipt>, ends: ReceiptEnds },
    /// About the repository; each says what it answers.
    Backups { ask: BackupCall },
    /// Look again: what the sweep does to an object that overslept.
    Poke,
    /// → [`ebbtide_control::sweep::Fate`], or `null` from an object that holds nothing and stays so. The sweep asks by id
    /// alone, for it may know no tenant.
    Fate,
    /// Write the labels of the machine anew.
    Relabel,
}

/// Which part of the history is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventPage {
    /// The oldest events after this number.
    After(u64),
    /// The newest events before this number.
    Before(u64),
}

impl EventPage {
    /// Above every number that an event has, and the largest that the runtime still reads as a whole one.
    const LAST: u64 = (1 << 53) - 1;
    /// The end of the history.
    pub const NEWEST: Self = Self::Before(Self::LAST);

    /// The same page, with a number that survives the way to the object.
    #[must_use]
    pub fn exact(self) -> Self {
        match self {
            Self::After(seq) => Self::After(seq.min(Self::LAST)),
            Self::Before(seq) => Self::Before(seq.min(Self::LAST)),
        }
    }
}

/// What an enrolling machine has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrolProof {
    /// A valid enrolment token of this workspace and generation, and a signature by the key.
    Token,
    /// A signature by the key alone: enough where that key is enrolled already.
    KeyOnly,
}

/// What a receipt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptEnds {
    /// Nothing: work goes on.
    Nothing,
    /// The machine: it may go once the receipt is verified.
    Machine,
}

/// How the object refuses: the status line carries `code.status()`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ObjectRefusal {
    /// Its code.
    pub code: ErrorCode,
    /// A sentence.
    pub message: String,
}
