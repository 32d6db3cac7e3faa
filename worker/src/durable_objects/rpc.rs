//! What the Worker's handlers may ask of a workspace's object, and how the object refuses.
//!
//! Both sides run the same build, so the JSON between them is not pinned; the tenant travels with every call and the
//! object compares it with its record.

use crate::r2::visibility::{Lineage, Mark, Reach};
use ebbtide_api::vm::{DeliverReceipt, Enrol, Heartbeat, PruneReport};
use ebbtide_api::{ErrorCode, Generation, TenantId};
use ebbtide_control::lifecycle::Command;
use ebbtide_control::money::PriceQuote;
use ebbtide_control::record::NewWorkspace;
use ebbtide_control::sweep::Fate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    Create { record: Box<NewWorkspace>, quote: Option<PriceQuote> },
    /// → [`ebbtide_api::workspace::Workspace`], like every call by a person that names no other answer.
    View,
    /// → [`ebbtide_api::history::EventList`]: a page of history.
    Events { page: EventPage, limit: u16 },
    /// → [`ebbtide_api::history::LogPage`].
    Log,
    /// Takes these commands of a person in their order; the first that is refused ends it.
    Ask { commands: Vec<Command> },
    /// → [`ebbtide_control::reservation::ReservationRequest`]: what a wake or a longer lifetime has to reserve.
    Terms,
    /// → [`ebbtide_api::backups::SnapshotList`].
    Snapshots,
    /// → [`ebbtide_api::vm::Enrolled`]. The handler has verified the enrolment token, or the signature alone.
    Enrol { enrol: Enrol, proof: EnrolProof },
    /// → [`ebbtide_api::vm::Instruction`].
    Heartbeat { generation: Generation, heartbeat: Box<Heartbeat> },
    /// → [`ebbtide_api::vm::ReceiptAnswer`].
    Receipt { deliver: Box<DeliverReceipt>, ends: ReceiptEnds },
    /// About the repository; each says what it answers.
    Backups { ask: BackupCall },
    /// Look again: what the sweep does to an object that overslept.
    Nudge,
    /// → [`FateAnswer`]. The sweep asks by id alone, for it may know no tenant.
    Fate,
}

/// What becomes of a workspace.
#[derive(Debug, Serialize, Deserialize)]
pub enum FateAnswer {
    /// As its record says.
    Known(Fate),
    /// The object holds nothing, and stays so.
    Unknown,
    /// It holds a record that this version cannot read.
    Unreadable,
}

impl Call {
    /// Asks to write the labels of the machine anew.
    pub fn relabel() -> Self {
        Self::Ask { commands: vec![Command::Relabel] }
    }
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

/// What may be asked about the repository.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum BackupCall {
    /// → [`Ancestors`]. A generation that asks for itself is entered.
    Ancestors { generation: Option<Generation> },
    /// → [`Ancestors`]: where the snapshot lies that a generation stands on.
    PlaceBase { generation: u32, base: Mark },
    /// → [`Admitted`]: reserves bytes for a machine's object.
    Admit { generation: Generation, bytes: u64 },
    /// → [`Held`]: takes or renews the repository's lock, and reserves bytes for the owner's object.
    TakeLock { by: String, bytes: u64 },
    /// → [`Held`]: gives the lock back.
    ReleaseLock { by: String },
    /// → [`Held`]: so many bytes are not there, or not any more.
    Return { bytes: u64 },
    /// → [`Held`]: so many bytes were counted in storage.
    Counted { bytes: u64 },
    /// → [`Held`]: a snapshot is removed that lies there.
    Forget { snapshot: String, mark: Option<Mark> },
    /// → [`Held`]: indexes of these generations, as far as these times, are shown to everybody from here on.
    Vouch { reach: Vec<(u32, i64)> },
    /// → [`PruneOrder`]: a machine begins to remove what it was told to, and these where no list names them.
    BeginPrune { generation: Generation, orphans: Vec<String> },
    /// → [`Held`]: it may remove an object now, of these the named snapshot, and has added so many bytes.
    Prune { generation: Generation, forgets: Option<String>, bytes: u64 },
    /// → [`Held`]: it is done.
    EndPrune { report: PruneReport },
    /// → [`Held`]: so many objects of a kind were listed.
    ObjectsCounted { objects: u32 },
    /// → [`Held`]: a snapshot was brought back.
    Unforget { snapshot: String },
    /// → [`Held`].
    Look,
}

/// What generations stand on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ancestors {
    /// Those whose snapshots' places are known.
    pub lineage: Lineage,
    /// Snapshots of the others: whoever needs them asks storage and tells us.
    pub unknown: BTreeMap<u32, String>,
    /// Verified snapshots, newest first.
    pub verified: Vec<String>,
    /// Verified snapshots that the rule keeps no longer.
    pub expired: Vec<String>,
    /// What snapshots proved that are gone.
    pub proved: Reach,
    /// What a prune vouched for.
    pub vouched: Reach,
}

/// Whether an object may be written.
#[derive(Debug, Serialize, Deserialize)]
pub struct Admitted {
    /// What is held, with the object where it fits.
    pub held: Held,
    /// Whether it fits; its bytes are reserved then.
    pub fits: bool,
    /// Whether a count could make room: it is long since the last.
    pub count: bool,
}

/// How full the repository is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Held {
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes that it may hold.
    pub quota: u64,
    /// When the lock in force was taken, in milliseconds since 1970.
    #[serde(default)]
    pub locked_ms: Option<i64>,
}
