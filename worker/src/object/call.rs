//! What the Worker's handlers may ask of a workspace's object, and how the object refuses.
//!
//! Both sides run the same build, so the JSON between them is not pinned; the tenant travels with every call and the
//! object compares it with its record.

use ebbtide_api::vm::{DeliverReceipt, Enrol, Heartbeat};
use ebbtide_api::workspace::{CreateHold, PatchWorkspace};
use ebbtide_api::{ErrorCode, Generation, TenantId};
use ebbtide_control::decide::PortAccess;
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
    Create { record: Box<NewWorkspace> },
    /// → [`ebbtide_api::workspace::Workspace`], like every call by a person that names no other answer.
    View,
    /// → [`ebbtide_api::workspace::EventList`]: history after a number.
    Events { after: u64 },
    /// → [`ebbtide_api::workspace::LogPage`].
    Log,
    /// Back up and end the machine.
    Sleep,
    /// Start a machine again.
    Wake { snapshot: Option<String> },
    /// Try again after a failure.
    Retry,
    /// End it, backed up first.
    Delete,
    /// End it without a backup.
    Discard,
    /// Take a deletion back.
    Undelete,
    /// Change durations.
    Patch { patch: PatchWorkspace, worst_case: Option<ebbtide_api::workspace::Cost> },
    /// → [`ebbtide_api::workspace::Hold`].
    TakeHold { hold: CreateHold },
    /// Let go of a hold.
    ReleaseHold { id: String },
    /// Take a snapshot now.
    Snapshot,
    /// → [`ebbtide_api::workspace::SnapshotList`].
    Snapshots,
    /// Open or close a port.
    SetPort { port: u16, access: PortAccess },
    /// → [`ebbtide_api::vm::Enrolled`]. The handler has verified the enrolment token, or the signature alone.
    Enrol { enrol: Enrol, proof: EnrolProof },
    /// → [`ebbtide_api::vm::Instruction`].
    Heartbeat { generation: Generation, heartbeat: Box<Heartbeat> },
    /// → [`ebbtide_api::vm::ReceiptAnswer`].
    Receipt { deliver: Box<DeliverReceipt>, ends: ReceiptEnds },
    /// Look again: what the sweep does to an object that overslept.
    Poke,
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
