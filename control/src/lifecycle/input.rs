//! What can happen to a workspace: the one place where everything that the lifecycle takes in is named.
//!
//! What machines send is read here ([`HeartbeatSummary`] from a heartbeat); it is cut to a bounded length and believed
//! no further.

use crate::money::caps::Spending;
use crate::policy::Policy;
use crate::record::{Server, ServerStatus, Wish};
use crate::reservation::NextMachine;
use crate::text::cut;
use ebbtide_api::backups::Retention;
use ebbtide_api::failure::Failure;
use ebbtide_api::money::Cost;
use ebbtide_api::ports::{LinkSummary, PortAccess};
use ebbtide_api::secrets::SecretChoice;
use ebbtide_api::vm::{DrainPhase, Heartbeat, PruneReport, Receipt};
use ebbtide_api::why::{BackupEstimate, Verdict};
use ebbtide_api::workspace::{BootStep, Hold, StepState};
use ebbtide_api::{Duration, Generation, Timestamp};
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The alarm fired, or somebody nudged the object.
    Tick {
        /// When the alarm was due, where it was one.
        due_at: Option<Timestamp>,
    },
    /// The owner asks for something.
    Ask(Command),
    /// The machine was heard of.
    Heartbeat(HeartbeatSummary),
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
        /// What it names that its machine is not shown: then it proves nothing.
        wrong: Option<String>,
    },
    /// An effect ended.
    Finished {
        /// The attempt that [`super::Decision::effect`] named.
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
    /// The machine after this one is reserved, and starts like this.
    Next(Box<NextMachine>),
    /// Another size or place is wished for, from the next start on.
    Prefer(Wish),
    /// The environment has these names from now on; its values are sealed elsewhere.
    SetEnv {
        /// In order.
        names: Vec<String>,
    },
    /// It gets these stored secrets from now on.
    ChooseSecrets(SecretChoice),
    /// Lets SSH in, or closes it.
    SetSsh { open: bool },
    /// Something was sealed anew that its machine was given: the machine fetches it.
    SettingsChanged,
    /// These coding agents are installed from the next start on.
    SetAgents {
        /// Their commands.
        agents: Vec<String>,
    },
    /// Whether Docker is installed from the next start on.
    SetDocker {
        /// Whether it is.
        wanted: bool,
    },
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
    BeginPrune {
        /// Which machine.
        generation: Generation,
        /// Old snapshots of machines that are proved and that no list names.
        orphans: Vec<String>,
    },
    /// It is done with that.
    EndPrune {
        /// Which machine.
        generation: Generation,
        /// What came of it.
        report: PruneReport,
    },
    /// Take or renew the exclusive right to change the repository.
    TakeLock {
        /// Who asks.
        by: String,
    },
    /// Give it back.
    ReleaseLock {
        /// Whose it was.
        by: String,
    },
    /// So many objects of a kind were found in the repository.
    ObjectsCounted {
        /// How many.
        objects: u32,
        /// About how many a list holds.
        most: u32,
    },
    /// A verified snapshot was removed from the repository.
    Forget {
        /// Which.
        snapshot: String,
    },
    /// The labels of its machine are not what they should be: they are written anew.
    Relabel,
    /// It was brought back.
    Unforget {
        /// Which.
        snapshot: String,
    },
    /// A link is given out.
    GiveLink(LinkSummary),
    /// A link opens its port no longer.
    EndLink {
        /// Its id.
        id: String,
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
            Self::Next(_) => "workspace.quote",
            Self::Delete => "workspace.delete",
            Self::Discard => "workspace.discard",
            Self::Undelete => "workspace.undelete",
            Self::Change { .. } | Self::Retain(_) | Self::Prefer(_) | Self::ChooseSecrets(_) => {
                "workspace.change"
            }
            Self::SetSsh { .. } => "workspace.ssh",
            Self::SetEnv { .. } => "workspace.env",
            Self::SettingsChanged => "workspace.settings",
            Self::SetAgents { .. } => "workspace.agents",
            Self::SetDocker { .. } => "workspace.docker",
            Self::TakeHold(_) => "workspace.hold",
            Self::ReleaseHold { .. } => "workspace.release_hold",
            Self::Snapshot => "workspace.snapshot",
            Self::Reboot => "workspace.reboot",
            Self::BeginPrune { .. } => "workspace.begin_tidying",
            Self::EndPrune { .. } => "workspace.end_tidying",
            Self::TakeLock { .. } => "workspace.take_grant",
            Self::ReleaseLock { .. } => "workspace.end_grant",
            Self::ObjectsCounted { .. } => "workspace.crowded",
            Self::Forget { .. } => "workspace.forget",
            Self::Unforget { .. } => "workspace.recall",
            Self::Relabel => "workspace.relabel",
            Self::GiveLink(_) => "workspace.link_port",
            Self::EndLink { .. } => "workspace.end_link",
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

/// What a heartbeat says, as far as the lifecycle goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeartbeatSummary {
    /// The boot plan is through.
    pub ready: bool,
    /// The boot plan is past the step that prunes.
    pub past_prune: bool,
    /// The boot progress counter.
    pub boot_progress: u64,
    /// Bytes and files restored.
    pub restored: u64,
    /// A boot step has failed for good.
    pub boot_failure: Option<String>,
    /// What boot steps have left out, a sentence each.
    pub boot_warnings: Vec<String>,
    /// The verdict is idle, with its reason.
    pub idle: Option<String>,
    /// Somebody or something works, or a lease holds.
    pub busy: Option<String>,
    /// Why it is awake, in one line.
    pub line: Option<String>,
    /// Where the drain is.
    pub drain: Option<DrainPhase>,
    /// What keeps the backup from finishing.
    pub backup_trouble: Option<String>,
    /// What a backup taken now would be like.
    pub estimate: Option<BackupEstimate>,
    /// How many bytes the repository holds, where that is known.
    pub stored_bytes: Option<u64>,
    /// How many programs ended for lack of memory, and the last one's name in plain characters.
    pub out_of_memory: Option<(u32, String)>,
}

impl From<&Heartbeat> for HeartbeatSummary {
    fn from(heartbeat: &Heartbeat) -> Self {
        let why = heartbeat.why.as_ref();
        let first = |otherwise: &str| {
            why.and_then(|why| why.because.first()).map_or_else(|| otherwise.to_owned(), |text| cut(text))
        };
        let (idle, busy) = match why.map(|why| why.verdict) {
            Some(Verdict::Idle) => (Some(first("nothing happens any more")), None),
            Some(Verdict::Active | Verdict::Held) => (None, Some(first("something works again"))),
            Some(Verdict::Quiet | Verdict::WaitingForHuman | Verdict::Unknown) | None => (None, None),
        };
        Self {
            ready: heartbeat.ready,
            past_prune: is_past_prune(&heartbeat.boot),
            boot_progress: heartbeat.boot_progress,
            restored: heartbeat.restored,
            boot_failure: heartbeat.boot_failure.as_deref().map(cut),
            boot_warnings: heartbeat.boot.iter().filter(|step| step.warned).map(warning).collect(),
            idle,
            busy,
            line: why.map(|why| format!("{}: {}", why.verdict.words(), first("nothing more is known"))),
            drain: heartbeat.drain,
            backup_trouble: heartbeat.backup_trouble.as_deref().map(cut),
            estimate: why.and_then(|why| why.keeping.as_ref()).and_then(|keeping| keeping.estimate),
            stored_bytes: None,
            out_of_memory: heartbeat.out_of_memory.as_ref().map(|told| (told.kills, plain(&told.program))),
        }
    }
}

/// What a step says that it left out.
fn warning(step: &BootStep) -> String {
    cut(&format!("{}: {}", step.title, step.detail.as_deref().unwrap_or("something is missing")))
}

/// A program's name as the kernel has it, in characters that mean nothing to a page, a terminal or a log.
fn plain(program: &str) -> String {
    let usual = |c: &char| c.is_ascii_alphanumeric() || "+-._: ".contains(*c);
    program.chars().filter(usual).take(15).collect()
}

/// Whether the step that prunes is over, or a later one has begun.
fn is_past_prune(boot: &[BootStep]) -> bool {
    let Some(place) = boot.iter().position(|step| step.name == ebbtide_vm_init::PRUNE_STEP) else {
        return false;
    };
    boot.iter().skip(place).enumerate().any(|(after, step)| match step.state {
        StepState::Done | StepState::Skipped | StepState::Failed => true,
        StepState::Running => after > 0,
        StepState::Pending => false,
    })
}

/// What is waited for where the token sees another project.
pub const OTHER_PROJECT: &str =
    "a token of the project that this installation began in: `HETZNER_TOKEN` does not see its firewall";

/// How an effect ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectOutcome {
    /// It is as it should be.
    Done,
    /// The next machine's worst case is reserved, at these rates where they are known.
    Reserved(Box<NextMachine>),
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
    /// The token sees another project than the one that we began in: nothing landed, and nothing is known.
    OtherProject,
    /// The server's labels say so, as it was when they were written.
    Labelled {
        /// Its end.
        until: Timestamp,
        /// Whether SSH is let in.
        ssh: bool,
    },
    /// What the server does.
    Status(ServerStatus),
    /// How the other workspaces are.
    Peers(Peers),
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
    Spending(Spending),
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

/// The other workspaces of this installation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peers {
    /// Silent, and fell silent at about the same time.
    pub silent: u32,
    /// Heard of.
    pub awake: u32,
}

impl Peers {
    /// Whether so many are silent that the fault is not a machine's.
    pub fn fault_is_ours(self, policy: &Policy) -> bool {
        self.silent >= policy.silent_together.max(1) && self.silent >= self.awake
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prune_is_past_once_its_step_is_over_or_a_later_one_has_begun() {
        use StepState::{Done, Failed, Pending, Running, Skipped};
        let check = |steps: &[(&str, StepState)], past: bool| {
            let step = |(name, state): &(&str, StepState)| BootStep {
                name: (*name).to_owned(),
                title: String::new(),
                state: *state,
                duration_ms: 0,
                percent: None,
                detail: None,
                warned: false,
            };
            let boot = steps.iter().map(step).collect();
            assert_eq!(
                HeartbeatSummary::from(&Heartbeat { boot, ..Heartbeat::default() }).past_prune,
                past,
                "{steps:?}"
            );
        };
        check(&[], false);
        check(&[("user", Done), ("tidy", Pending), ("restore", Pending)], false);
        check(&[("user", Done), ("tidy", Running), ("restore", Pending)], false);
        for over in [Done, Skipped, Failed] {
            check(&[("user", Done), ("tidy", over), ("restore", Pending)], true);
        }
        check(&[("tidy", Running), ("restore", Running)], true);
        check(&[("tidy", Pending), ("restore", Pending), ("terminal", Done)], true);
    }
}
