//! What the Worker's handlers may ask of a workspace's object, and how the object refuses.
//!
//! Both sides run the same build, so the JSON between them is not pinned; the tenant travels with every call and the
//! object compares it with its record.

use ebbtide_api::secrets::SecretChoice;
use ebbtide_api::vm::{Enrol, Heartbeat, PruneReport};
use ebbtide_api::{ErrorCode, Generation, TenantId};
use ebbtide_control::lifecycle::Command;
use ebbtide_control::money::PriceQuote;
use ebbtide_control::record::{NewWorkspace, Record};
use ebbtide_control::repository::view::{NewEntry, Reader};
use ebbtide_control::repository::{Admission, Kind};
use ebbtide_control::sweep::Fate;
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
    Create { record: Box<NewWorkspace>, quote: Option<PriceQuote> },
    /// → [`ebbtide_api::workspace::Workspace`], like every call by a person that names no other answer.
    View,
    /// → [`ebbtide_api::history::EventList`]: a page of history.
    Events { page: EventPage, limit: u16 },
    /// → [`ebbtide_api::history::LogPage`].
    Log,
    /// → [`ebbtide_api::history::LogPage`], of what is older.
    LogBefore {
        /// As the page before said.
        before: u64,
    },
    /// Takes these commands of a person in their order; the first that is refused ends it.
    Ask { commands: Vec<Command> },
    /// → [`ebbtide_control::reservation::ReservationRequest`]: what a wake or a longer lifetime has to reserve.
    Terms {
        /// The snapshot that a wake names.
        snapshot: Option<String>,
    },
    /// → [`ebbtide_api::backups::SnapshotList`].
    Snapshots,
    /// → [`ebbtide_api::vm::Enrolled`]. The handler has verified the enrolment token, or the signature alone.
    Enrol { enrol: Enrol, proof: EnrolProof },
    /// → [`ebbtide_api::vm::Instruction`].
    Heartbeat { generation: Generation, heartbeat: Box<Heartbeat> },
    /// → [`Chosen`], for a machine that lives.
    Chosen { generation: Generation },
    /// → [`ebbtide_api::vm::ReceiptAnswer`].
    Receipt {
        /// An [`ebbtide_api::vm::DeliverReceipt`] as the machine sent it: its packs are read once, by the object.
        deliver: String,
        /// What it ends.
        ends: ReceiptEnds,
    },
    /// About the repository; each says what it answers.
    Backups { ask: BackupCall },
    /// Look again: what the sweep does to an object that overslept.
    Nudge,
    /// → [`FateAnswer`]. The sweep asks by id alone, for it may know no tenant.
    Fate,
}

/// What a workspace's user works with, as its owner chose, and which revision of its settings that makes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Chosen {
    /// Which stored secrets it gets.
    pub choice: SecretChoice,
    /// Whether SSH is let in.
    pub ssh: bool,
    /// As instructions name it.
    pub revision: u64,
}

impl From<&Record> for Chosen {
    fn from(record: &Record) -> Self {
        Self {
            choice: record.spec.secrets.clone(),
            ssh: record.lets_ssh_in(),
            revision: record.settings_revision,
        }
    }
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
    /// Whether a machine makes the object write by this.
    pub fn is_written_for_machine(&self) -> bool {
        match self {
            Self::Backups { ask } => ask.is_written_for_machine(),
            // A machine that cannot enrol is lost work, and once a key is bound an enrolment writes nothing. Heartbeats and
            // questions about a receipt are always answered: the object holds up what they would write.
            Self::Enrol { .. }
            | Self::Heartbeat { .. }
            | Self::Chosen { .. }
            | Self::Receipt { .. }
            | Self::Create { .. }
            | Self::View
            | Self::Events { .. }
            | Self::Log
            | Self::LogBefore { .. }
            | Self::Ask { .. }
            | Self::Terms { .. }
            | Self::Snapshots
            | Self::Nudge
            | Self::Fate => false,
        }
    }

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
    pub const LAST: u64 = (1 << 53) - 1;
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
    /// When to come again, where that is known.
    pub retry_after_secs: Option<u64>,
}

/// What may be asked about the repository.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum BackupCall {
    /// → a list of restic's protocol ([`crate::r2::restic_paths::list`]): the indexes, snapshots or locks that a reader is
    /// shown; which machine asks, if one does. The Worker hands it on unread.
    List { reader: Reader, kind: Kind, machine: Option<Generation>, v2: bool },
    /// → [`crate::r2::listing::Fragment`]: what storage has of a kind, from there on. The Worker hands a whole one on unread.
    Stored { kind: Kind, v2: bool, cursor: Option<String> },
    /// → [`crate::r2::listing::Part`]: goes on with a listing of storage where another invocation ended.
    Part { kind: Kind, cursor: String },
    /// → [`Admitted`]: counts a machine's object, and reserves its bytes.
    Admit { generation: Generation, kind: Kind, bytes: u64 },
    /// → [`Held`]: an object is stored, in the place of another or in its own.
    Entered { object: NewEntry, replaces: Option<String> },
    /// → [`Held`]: takes or renews the repository's lock, and reserves bytes for the owner's object.
    TakeLock { by: String, bytes: u64, deletes: Deletes },
    /// → [`Held`]: gives the lock back.
    ReleaseLock { by: String },
    /// → [`Held`]: a lock file is gone; with the last one the lock is given back.
    Unlocked { name: String, bytes: u64, by: String },
    /// → [`Held`]: so many bytes are not there, or not any more; of whose object, where a machine's was admitted.
    Return { bytes: u64, admitted: Option<(Generation, Kind)> },
    /// → [`Held`]: so many bytes were counted in storage.
    Counted { bytes: u64 },
    /// → [`Held`]: an index or a snapshot is removed, or lost.
    Gone { kind: Kind, name: String },
    /// → [`Held`]: one was brought back.
    Back { object: NewEntry },
    /// → [`PruneOrder`]: a machine begins to remove what it was told to.
    BeginPrune { generation: Generation },
    /// → [`Held`]: it may do this now.
    Prune { generation: Generation, what: Pruned },
    /// → [`Held`]: it is done.
    EndPrune { report: PruneReport },
    /// → [`Held`]: so many objects of a kind were listed, where a list holds about so many.
    ObjectsCounted { objects: u32, most: u32 },
    /// → [`Held`].
    Look,
}

impl BackupCall {
    /// Whether a machine makes the object write by this. What follows an admission is not held up: the object is stored
    /// already, or its bytes are to be given back.
    fn is_written_for_machine(&self) -> bool {
        match self {
            Self::Admit { .. } | Self::BeginPrune { .. } | Self::Prune { .. } => true,
            Self::List { .. }
            | Self::Stored { .. }
            | Self::Part { .. }
            | Self::Entered { .. }
            | Self::TakeLock { .. }
            | Self::ReleaseLock { .. }
            | Self::Unlocked { .. }
            | Self::Return { .. }
            | Self::Counted { .. }
            | Self::Gone { .. }
            | Self::Back { .. }
            | Self::EndPrune { .. }
            | Self::ObjectsCounted { .. }
            | Self::Look => false,
        }
    }
}

/// Whether an owner is about to delete something that a view may stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletes {
    /// An index or a pack.
    Proof,
    /// Nothing of that kind.
    NoProof,
}

/// What a machine does that prunes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pruned {
    /// Removes an index or a pack.
    Object,
    /// Removes a snapshot.
    Snapshot {
        /// Which.
        name: String,
    },
    /// Adds an index of so many bytes in the place of another.
    Index {
        /// The other.
        replaces: String,
        /// Its size.
        bytes: u64,
    },
}

/// Whether an object may be written.
#[derive(Debug, Serialize, Deserialize)]
pub struct Admitted {
    /// What is held, with the object where it fits.
    pub held: Held,
    /// Whether it may; it is counted then, and its bytes are reserved.
    pub admission: Admission,
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
}
