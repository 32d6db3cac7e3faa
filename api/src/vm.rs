//! What a machine and the control plane say to each other under `/v1/vm/`.
//!
//! Machines of older workspaces speak older versions: new fields are optional, unknown ones are ignored by both
//! sides, and nothing is renamed. No machine's wall clock crosses the wire, only durations; the control plane's does, so
//! that a machine whose clock is wrong can tell a good access token from an expired one.

mod boot;
mod settings;

pub use boot::{BootPlan, PlannedFile, PlannedStep, StepAction};
pub use settings::{AskGitCredential, GitAuthor, GitCredential, SecretFile, SshDoor, SshKey, UserSettings};

use crate::backups::BackupProgress;
use crate::ports::Port;
use crate::why::Why;
use crate::workspace::BootStep;
use crate::{Generation, WorkspaceId};
use serde::{Deserialize, Serialize};

/// Where CloudCLI listens on a machine's loopback. It answers at the workspace's own name and at none of a port's, because
/// it takes the paths of a whole host for its own.
pub const CLOUDCLI_PORT: u16 = 3001;

/// What stands for the machine's own terminal where a port is meant: nothing can listen there.
pub const TERMINAL_PORT: u16 = 0;

/// The terminal's label, where a port's number stands in names.
pub const TERMINAL_LABEL: &str = "terminal";

/// The body of `POST /v1/vm/enroll`: the first enrolment, a repeated one, and the renewal of a lost token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enrol {
    /// The workspace that user-data named.
    pub workspace: WorkspaceId,
    /// The generation that user-data named.
    pub generation: Generation,
    /// The enrolment token of user-data. May have expired where the machine key is enrolled already.
    pub enrolment_token: String,
    /// The machine's Ed25519 public key, base64; made on the machine before anything is sent.
    pub machine_key: String,
    /// Signature by that key over `ebbtide-enrol-v1\n{workspace}\n{generation}\n{enrolment_token}`, base64.
    pub signature: String,
    /// Version of the idle-agent.
    pub agent_version: String,
}

/// The answer to [`Enrol`]. Secrets in it stay on tmpfs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enrolled {
    /// Bearer token for everything else under `/v1/vm/`.
    pub vm_token: String,
    /// Seconds until it expires.
    pub vm_token_expires_in_secs: u64,
    /// The workspace's readable name.
    pub name: String,
    /// The steps from here to ready.
    pub boot_plan: BootPlan,
    /// Where backups go and how they are encrypted.
    pub repository: Repository,
    /// Environment of the workspace: variables of [`UserSettings`].
    pub secrets: Vec<NamedSecret>,
    /// The rest of [`UserSettings`].
    #[serde(default)]
    pub files: Vec<SecretFile>,
    /// The rest of [`UserSettings`].
    #[serde(default)]
    pub ssh_keys: Vec<SshKey>,
    /// The rest of [`UserSettings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_author: Option<GitAuthor>,
    /// The rest of [`UserSettings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshDoor>,
    /// Which [`UserSettings`] these are.
    #[serde(default)]
    pub settings_revision: u64,
    /// Durations that the machine works by.
    pub policy: VmPolicy,
    /// Whether the workspace is backed up: with `none` the machine writes nothing to the repository.
    #[serde(default)]
    pub persistence: crate::backups::Persistence,
    /// How ports are named.
    pub ingress: IngressPlan,
    /// The control plane's time, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_time_secs: Option<u64>,
}

impl Enrolled {
    /// What the workspace's user works with.
    pub fn settings(&self) -> UserSettings {
        UserSettings {
            revision: self.settings_revision,
            variables: self.secrets.clone(),
            files: self.files.clone(),
            ssh_keys: self.ssh_keys.clone(),
            git_author: self.git_author.clone(),
            ssh: self.ssh.clone(),
        }
    }
}

/// One named secret value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedSecret {
    /// The variable's name.
    pub name: String,
    /// The value in clear.
    pub value: String,
}

impl std::fmt::Debug for NamedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NamedSecret({}, redacted)", self.name)
    }
}

/// Where the workspace's restic repository is.
#[derive(Clone, Serialize, Deserialize)]
pub struct Repository {
    /// Path of the restic REST endpoint below the control plane's URL, with a trailing slash.
    pub path: String,
    /// The repository's password.
    pub password: String,
    /// restic's `host` of every snapshot of this workspace.
    pub host: String,
    /// How many packs one delivery of a receipt names at most; a receipt of more comes in parts.
    #[serde(default = "receipt_packs")]
    pub receipt_packs: u32,
}

/// About 360 kB, where 1 MiB is taken.
const fn receipt_packs() -> u32 {
    4_000
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({}, password redacted)", self.path)
    }
}

/// Durations that the machine works by, in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmPolicy {
    /// How often a heartbeat is sent.
    pub heartbeat_secs: u64,
    /// How long nothing may happen before the verdict is idle.
    pub idle_timeout_secs: u64,
    /// How long an unreadable signal holds.
    pub unknown_grace_secs: u64,
    /// How long an agent may wait for a person.
    pub waiting_for_human_secs: u64,
    /// How long an agent in a turn may show nothing but an open connection or a running tool.
    #[serde(default = "agent_silence_secs")]
    pub agent_silence_secs: u64,
    /// How long work that an agent left in the background may show nothing.
    #[serde(default = "background_secs")]
    pub background_secs: u64,
    /// How often a snapshot is taken while something changes.
    pub snapshot_every_secs: u64,
}

/// What a control plane that does not name it means.
const fn agent_silence_secs() -> u64 {
    30 * 60
}

/// What a control plane that does not name it means.
const fn background_secs() -> u64 {
    2 * 3600
}

/// How ports are named and served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressPlan {
    /// Host name of the workspace itself.
    pub host: String,
    /// Host name of a port, with `{port}` to replace.
    pub port_host_template: String,
    /// URL of a port as a browser needs it, with `{port}` to replace.
    pub port_url_template: String,
    /// Port on which Caddy listens.
    pub listen_port: u16,
    /// Ed25519 public keys of access tokens by key id, base64; the machine verifies every request itself.
    pub access_keys: std::collections::BTreeMap<String, String>,
}

/// What the machine reports over its WebSocket, or by `POST /v1/vm/heartbeat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// Fencing token.
    pub generation: Option<Generation>,
    /// Whether the boot plan is through.
    pub ready: bool,
    /// Rises with everything that counts as boot progress: steps, percents, what programs of a step with a limit say, and
    /// restored bytes and files.
    pub boot_progress: u64,
    /// Bytes and files that this life of the daemon has restored, together; 0 from daemons that do not count them.
    #[serde(skip_serializing_if = "is_zero")]
    pub restored: u64,
    /// The boot plan's steps.
    pub boot: Vec<BootStep>,
    /// Set when a boot step has failed for good.
    pub boot_failure: Option<String>,
    /// Log lines since the last heartbeat that was answered.
    pub log: Vec<String>,
    /// Ports that listen.
    pub ports: Vec<Port>,
    /// Why the machine is awake.
    pub why: Option<Why>,
    /// Where the drain is.
    pub drain: Option<DrainPhase>,
    /// The backup or restore that is running.
    pub backup: Option<BackupProgress>,
    /// Rises with everything that the running backup achieves.
    pub backup_progress: u64,
    /// A backup that fails at the moment: what it waits for.
    pub backup_trouble: Option<String>,
    /// Programs that the kernel ended for lack of memory, where there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<OutOfMemory>,
    /// Resident memory of the idle-agent, bytes.
    pub agent_rss_bytes: u64,
}

/// Programs that the kernel ended for lack of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutOfMemory {
    /// How many, since the machine was switched on.
    pub kills: u32,
    /// The last one's name, at most 15 characters.
    pub program: String,
}

/// Where a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainPhase {
    /// People are warned; a lease or a person still stops it.
    Notice,
    /// The bulk is uploaded while everything runs.
    Snapshot,
    /// Processes are frozen for the last snapshot; nothing stops it any more.
    Frozen,
    /// The receipt is delivered.
    Done,
}

/// The answer to a heartbeat, and what is pushed when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// What the control plane wants of the machine now.
    #[serde(rename = "wish")]
    pub desired: DesiredMachineState,
    /// A fresh VM token, where the old one is about to expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_token: Option<String>,
    /// Durations, where they changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<VmPolicy>,
    /// Holds taken through the API.
    #[serde(default)]
    pub holds: Vec<VmHold>,
    /// The control plane has heard that the machine is ready. Before that nobody is let in to work: a machine that is
    /// not known to be ready counts as holding no work.
    #[serde(default)]
    pub open: bool,
    /// Ports that anybody may reach; all others want an access token.
    #[serde(default)]
    pub public_ports: Vec<u16>,
    /// Rises with every snapshot asked for; one higher than last time asks for one.
    #[serde(default)]
    pub snapshots_wanted: u64,
    /// Seconds until the lifetime ends.
    #[serde(default)]
    pub lifetime_ends_in_secs: Option<u64>,
    /// The control plane's time, in seconds since 1970: the machine checks access tokens against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_time_secs: Option<u64>,
    /// Whose signature opens the door, and which links do; absent from control planes that say so at enrolment alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessPlan>,
    /// Which [`UserSettings`] there are; another number than before is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_revision: Option<u64>,
}

/// Whose signature opens a machine's door, and which links do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPlan {
    /// Public keys that access tokens are signed with, base64, by key id.
    pub keys: std::collections::BTreeMap<String, String>,
    /// Ids of the links in force. Any other link is ended.
    pub links: Vec<String>,
    /// Which port each of them opens: connections to it are cut when the link has ended.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub link_ports: std::collections::BTreeMap<String, u16>,
}

/// A hold taken through the API, as the machine counts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmHold {
    /// Names it.
    pub id: String,
    /// Why.
    pub reason: String,
    /// Seconds until it ends.
    pub expires_in_secs: u64,
}

/// What the control plane wants of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DesiredMachineState {
    /// Work on.
    Run,
    /// Back up and report drained; a lease or a person may still stop it before the freeze.
    Drain,
    /// The same, and nothing stops it: a person asked, or the lifetime is over.
    DrainNow,
}

/// The body of `POST /v1/vm/tidy`: the machine begins to remove old snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginPrune {
    /// Fencing token.
    pub generation: Generation,
}

/// The answer: what the machine is to remove, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneOrder {
    /// Ids of snapshots.
    pub snapshots: Vec<String>,
}

/// The body of `POST /v1/vm/tidied`: the machine removes nothing from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// Fencing token.
    pub generation: Generation,
    /// Whether all that was named is gone, with what nothing needs any more.
    pub complete: bool,
    /// Snapshots removed.
    pub snapshots: u64,
    /// Packs removed.
    pub packs: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Why not all is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Proof that a snapshot is complete in storage, made by a fresh reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The restic snapshot's id, 64 hex digits.
    pub snapshot: String,
    /// Id of its tree.
    pub tree: String,
    /// Packs that hold it and were not in an earlier receipt.
    pub packs_new: Vec<Pack>,
    /// Packs that further deliveries of this receipt will name. While there are any, those of this one are checked, and
    /// the snapshot does not count yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub packs_to_come: u64,
    /// Index objects that name a pack which the snapshot needs: what the snapshot is read through from here on. Absent
    /// from older machines, and where there are too many to name; then all that the machine has written count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexes: Option<Vec<String>>,
    /// Number of packs in the repository as the reader found it.
    pub packs_total: u64,
    /// Files in the snapshot.
    pub files: u64,
    /// Their size in bytes.
    pub bytes_total: u64,
    /// Bytes sent for it.
    pub bytes_sent: u64,
    /// Paths left out on purpose (sockets, pipes, devices, excluded by the list).
    pub skipped: Vec<String>,
    /// Paths that could not be read; not empty makes the receipt partial.
    pub unreadable: Vec<Unreadable>,
    /// More such paths, which there is no room to name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable_more: u64,
    /// What the owner's own rules left out, where they left something out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Excluded>,
}

/// What the owner's `.ebbignore` files left out of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Set where not everything was counted.
    pub at_least: bool,
    /// The first paths that a rule matched, each with that rule and its file.
    pub first: Vec<String>,
}

impl Receipt {
    /// Whether something that should be in it is not.
    pub fn is_partial(&self) -> bool {
        !self.unreadable.is_empty()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it like this")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A pack file in the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// SHA-256 of its content, hex; also its object name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A path that the backup could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// As the file system names it; bytes that are not UTF-8 are escaped.
    pub path: String,
    /// What the system said.
    pub reason: String,
}

/// The body of `POST /v1/vm/receipts` (work goes on) and `POST /v1/vm/drained` (the machine may go).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverReceipt {
    /// Fencing token.
    pub generation: Generation,
    /// The proof.
    pub receipt: Receipt,
}

/// The answer to a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptAnswer {
    /// Where the check stands.
    pub status: ReceiptStatus,
    /// What is missing or damaged, where it is refused.
    pub problem: Option<String>,
}

/// Where the control plane's own check of a receipt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptStatus {
    /// Some packs are still to be checked; ask again.
    Checking,
    /// Everything it names is in storage.
    Verified,
    /// Something it names is not.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_renamed_is_sent_as_before_because_older_machines_read_it() {
        let action = StepAction::Prune { limit_secs: 180 };
        assert_eq!(serde_json::to_string(&action).unwrap(), r#"{"do":"tidy","limit_secs":180}"#);
        let sent = r#"{"wish":"drain_now"}"#;
        let instruction: Instruction = serde_json::from_str(sent).unwrap();
        assert_eq!(instruction.desired, DesiredMachineState::DrainNow);
        assert!(serde_json::to_string(&instruction).unwrap().starts_with(r#"{"wish":"drain_now","#));
    }

    #[test]
    fn an_empty_heartbeat_is_read() {
        assert_eq!(serde_json::from_str::<Heartbeat>("{}").unwrap(), Heartbeat::default());
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let secret = NamedSecret { name: "TOKEN".into(), value: "hunter2".into() };
        let repository = Repository {
            path: "/v1/vm/backup/".into(),
            password: "hunter2".into(),
            host: "h".into(),
            receipt_packs: 1,
        };
        assert!(!format!("{secret:?}{repository:?}").contains("hunter2"));
    }
}
