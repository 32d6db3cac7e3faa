//! The sweep's decisions: what becomes of a resource, given what its labels, the index and its workspace's object say.
//!
//! Pure. A finding is a candidate: nothing ends on the word of a listing or of the index alone. The object is asked by
//! id, because a lost, restored or lagging index must destroy nothing; where there is no object either, what may hold
//! work is imaged first. In doubt everything stays, and the report says why.
//! Where to read next: [`server`] for the rules that matter most, [`walk`] for how listings are resumed, [`state`] for
//! what is remembered between runs.

pub mod address;
pub mod image;
pub mod leftover;
pub mod lost;
pub mod name;
pub mod server;
pub mod state;
pub mod turn;
pub mod walk;

use crate::policy::Policy;
use crate::record::{DesiredState, Phase, Record, plus};
use ebbtide_api::sweep::SweepVerdict;
use ebbtide_api::workspace::{OnUnsaved, RescueChoice, State};
use ebbtide_api::{Duration, Generation, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

/// What the index knows of a workspace. It may be stale, restored or lost: good for leaving things alone only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: WorkspaceId,
    /// Its state as last written.
    pub state: State,
    /// Its machine as last written.
    pub generation: Generation,
    /// That machine's server.
    pub server: Option<u64>,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// Since when it is known that the workspace's object holds no record, where that was seen.
    pub lost_at: Option<Timestamp>,
}

impl Row {
    /// Whether the provider may bill for a machine, as far as the index knows.
    pub fn may_have_machine(&self) -> bool {
        self.state.may_have_machine()
    }
}

/// What a workspace's object says when the sweep asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// Its state.
    pub state: State,
    /// Its current or last machine.
    pub generation: Generation,
    /// Whether the provider may bill for that machine.
    pub may_have_machine: bool,
    /// When that machine ends whatever anybody says.
    pub hard_end: Timestamp,
    /// Whether the owner chose to be billed on rather than to lose unsaved work.
    pub holds: bool,
    /// Whether nothing is lost with that machine: its work is in storage, or was given up by a recorded decision.
    pub saved: bool,
    /// Whether its owner wants no image of a machine: it would be a copy of their work in the clear.
    pub refuses_image: bool,
    /// The provider's id of that machine's server.
    pub server: Option<u64>,
    /// Rescue images that it knows of, waiting or being brought back.
    pub images: Vec<u64>,
    /// The one of them that waits for a wake, and until when its owner was told that it does.
    pub waits: Option<(u64, Timestamp)>,
    /// Whether its keys are shredded.
    pub purged: bool,
}

impl Fate {
    /// What has to be done before its machine goes; `otherwise` where that may hold work.
    fn first(&self, otherwise: First) -> First {
        if self.saved || self.refuses_image { First::Nothing } else { otherwise }
    }

    /// Reads it off a record.
    pub fn of(record: &Record, policy: &Policy) -> Self {
        Self {
            state: record.state(),
            generation: record.generation,
            may_have_machine: record.phase.may_have_machine(),
            hard_end: record.hard_end_at(policy),
            holds: record.spec.on_unsaved == OnUnsaved::Hold,
            saved: record.final_snapshot.is_some() || record.desired == DesiredState::Discarded,
            refuses_image: record.spec.rescue_image == RescueChoice::Refuse,
            server: record.server.as_ref().map(|server| server.id),
            images: record
                .rescue_image
                .into_iter()
                .chain(record.salvage_image_id)
                .chain(record.old_images.iter().map(|old| old.image))
                .collect(),
            waits: record.rescue_image.zip(record.rescue_image_expires_at),
            purged: matches!(record.phase, Phase::Deleted { purged: true, .. }),
        }
    }
}

/// What asking the object came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It was not asked.
    NotYet,
    /// There is no such object, and asking made none.
    Unknown,
    /// It is there, and its record cannot be read: a newer version wrote it, or it is damaged.
    Unreadable,
    /// It answered.
    Known(Fate),
}

/// Why something is judged by its label, or left, where a record cannot be read.
const UNREADABLE: &str = "the record of its workspace cannot be read";

/// By what a resource is judged, beside itself.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Whose resources are ours.
    pub install: &'a str,
    /// Durations.
    pub policy: &'a Policy,
    /// The control plane's clock.
    pub now: Timestamp,
    /// Whether the index may have been lost or restored: then what nobody knows is left until its label ends it.
    pub index_in_doubt: bool,
}

impl Site<'_> {
    /// Whether something is too young to be judged; what has no age is.
    fn is_young(&self, created: Option<Timestamp>) -> bool {
        created.is_none_or(|created| plus(created, self.policy.sweep_min_age) > self.now)
    }

    fn is_past(&self, at: Timestamp, grace: Duration) -> bool {
        plus(at, grace) < self.now
    }
}

/// What has to be done with a machine before it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Nothing: it holds no work that is not in storage.
    Nothing,
    /// An image is taken; where none can be taken, the machine stays.
    Image,
    /// An image is tried; where none can be taken, the machine goes all the same: it has outlived every deadline.
    ImageIfPossible,
}

/// What is to become of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be, and not worth a line.
    Fine,
    /// It stays, and the report says why.
    Leave,
    /// Its object has to say first.
    Ask,
    /// Its object is told to look for itself.
    Nudge,
    /// Its object is told to write the labels anew.
    Relabel,
    /// It goes.
    End(First),
}

impl Verdict {
    /// As the report has it.
    pub fn reported(self) -> SweepVerdict {
        match self {
            Self::Fine | Self::Leave => SweepVerdict::Leave,
            Self::Ask => SweepVerdict::Ask,
            Self::Nudge | Self::Relabel => SweepVerdict::Nudge,
            Self::End(_) => SweepVerdict::End,
        }
    }
}

/// A verdict with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What is to be done.
    pub verdict: Verdict,
    /// Why, a sentence.
    pub because: String,
}

impl Judged {
    fn new(verdict: Verdict, because: impl Into<String>) -> Self {
        Self { verdict, because: because.into() }
    }
}

/// Whether the index has to be doubted: it is empty, or knows fewer than half of many resources on one page.
pub fn index_in_doubt(index_is_empty: bool, on_page: usize, without_row: usize) -> bool {
    /// Below this, a few orphans are just that.
    const MANY: usize = 10;
    index_is_empty || (without_row >= MANY && without_row.saturating_mul(2) > on_page)
}

/// What the sweep does about a workspace that the index has a machine for, `found` being the servers that carry the
/// workspace's label. It is never more than a nudge: the object finds out for itself.
pub fn judge_record(row: &Row, found: usize, site: &Site<'_>) -> Judged {
    if !row.may_have_machine() || found > 0 {
        return Judged::new(Verdict::Fine, "it has its server, or needs none");
    }
    if site.is_young(Some(row.since)) {
        return Judged::new(Verdict::Fine, "it came to this state a moment ago");
    }
    Judged::new(
        Verdict::Nudge,
        format!("the index has it {} and the provider lists no server of it", row.state),
    )
}

#[cfg(test)]
mod tests;
