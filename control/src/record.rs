//! What the control plane remembers of a workspace: the truth, kept by its Durable Object.
//!
//! The JSON form is stored and read back by later versions: fields are added with a default, never renamed.
//! Nothing here decides; see [`crate::lifecycle`].

#![deny(clippy::wildcard_enum_match_arm, reason = "a new phase is to be thought about everywhere")]

mod effect;
mod money;
mod parts;
mod phase;
mod rights;
#[cfg(test)]
pub(crate) mod sample;
mod spec;

pub use effect::Effect;
pub use money::{MachineMoney, Warm};
pub use parts::{BackupLimit, Dns, InFlight, OldImage, Pause, PendingReceipt, Server};
pub use phase::{DesiredState, DrainReason, Phase, RescueStep, ServerStatus, StartCheck};
pub use rights::{Prune, RepositoryLock, Unforgotten};
pub use spec::{Ingress, NewWorkspace, Spec};

pub use crate::placement::{Placement, Shape, Start, Wish};

use ebbtide_api::backups::SnapshotSummary;
use ebbtide_api::money::Cost;
use ebbtide_api::ports::LinkSummary;
use ebbtide_api::workspace::{Hold, State};
use ebbtide_api::{Duration, Generation, TenantId, Timestamp, WorkspaceId};
use phase::is_zero;
use serde::{Deserialize, Serialize};

/// A workspace. Saved before every effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    pub v: u32,
    /// Its id.
    pub id: WorkspaceId,
    /// Its owner.
    pub tenant: TenantId,
    /// Its readable name.
    pub name: String,
    /// `{name}-{id}.{zone}`.
    pub host: String,
    /// What was asked for.
    pub spec: Spec,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where it is.
    pub phase: Phase,
    /// When it came there.
    pub since: Timestamp,
    /// Why, a sentence.
    pub because: String,
    /// What the next backup would not fit into, as its owner was told last.
    #[serde(default, rename = "strain", skip_serializing_if = "Option::is_none")]
    pub backup_exceeds: Option<BackupLimit>,
    /// What is wanted of it.
    #[serde(rename = "wanted")]
    pub desired: DesiredState,
    /// Number of the current or last machine; 0 before the first.
    pub generation: Generation,
    /// When the current machine was asked for: the lifetime counts from here.
    pub woke_at: Timestamp,
    /// What the current machine costs at worst.
    pub worst_case: Option<Cost>,
    /// The server of this generation, where one is known.
    pub server: Option<Server>,
    /// How the DNS records of this generation stand.
    #[serde(default)]
    pub dns: Dns,
    /// Whether the server's labels lag behind the lifetime.
    #[serde(default)]
    pub labels_stale: bool,
    /// Where a server was made for it and could not be started, since it last ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unstartable: Vec<Placement>,
    /// When a create was last attempted in this generation.
    #[serde(default)]
    pub last_create_at: Option<Timestamp>,
    /// Public machine key that this generation is bound to, base64.
    #[serde(default)]
    pub machine_key: Option<String>,
    /// Keys of machines whose time is over, the newest last: whoever has one is told so, and a stranger nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_machine_keys: Vec<String>,
    /// Snapshot that this generation restores. Stays while it lives: a machine that enrols again is told the same.
    #[serde(default)]
    pub restore: Option<String>,
    /// Snapshot that the owner chose for the next wake, instead of the newest.
    #[serde(default, rename = "chosen")]
    pub restore_snapshot_chosen: Option<String>,
    /// When the machine was last heard of, as of the last alarm: what is left when memory and sockets are gone.
    #[serde(default, rename = "last_heard_at")]
    pub last_seen_at: Option<Timestamp>,
    /// When the provider first said that a server we count on does not exist; believed after a second look.
    #[serde(default)]
    pub vanished_at: Option<Timestamp>,
    /// When the provider first said that the rescue image in use does not exist; believed after a second look.
    #[serde(default)]
    pub image_missed_at: Option<Timestamp>,
    /// The effect in flight.
    #[serde(default)]
    pub in_flight: Option<InFlight>,
    /// Number of effects begun.
    #[serde(default)]
    pub attempts: u64,
    /// The pause before the next effect.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Clocks of silence do not count time before this.
    #[serde(default)]
    pub clocks_restarted_at: Option<Timestamp>,
    /// Why its machine is awake, as lists show it. One of an earlier phase says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awake_line: Option<AwakeLine>,
    /// What was told of programs that ended for lack of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_told: Option<MemoryTold>,
    /// When the owner asked for a reboot that was not done yet. Whatever ends the wish forgets it: the reboot, the end of
    /// its time, and every move but falling silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_asked_at: Option<Timestamp>,
    /// When the owner asked for the last reboots of this machine, oldest first: too many in a row are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner_reboots: Vec<Timestamp>,
    /// The receipt that is being checked.
    #[serde(default)]
    pub pending: Option<PendingReceipt>,
    /// Why the last receipt that was checked was refused.
    #[serde(default)]
    pub receipt_problem: Option<String>,
    /// The machine was told to go on after it had frozen. Until it says that it stands still no more, it is told nothing
    /// else, and its freeze proves nothing: it may end any moment.
    #[serde(default, rename = "thaws", skip_serializing_if = "std::ops::Not::not")]
    pub thaw_requested: bool,
    /// The verified snapshot that lets this generation's machine go.
    #[serde(default)]
    pub final_snapshot: Option<String>,
    /// Verified snapshots, newest first, at most [`Record::SNAPSHOTS_KEPT`].
    #[serde(default)]
    pub snapshots: Vec<SnapshotSummary>,
    /// Verified snapshots that the rule keeps no longer, oldest first; a machine removes them when it wakes.
    #[serde(default, rename = "due")]
    pub expired: Vec<SnapshotSummary>,
    /// What the machine of this generation may remove before it is ready. Stays while it lives.
    #[serde(default, rename = "tidying")]
    pub prune: Option<Prune>,
    /// Before this no machine is told to remove anything: the last one did not come to an end.
    #[serde(default, rename = "tidy_again_at")]
    pub prune_again_at: Option<Timestamp>,
    /// So many objects of one kind were found in the repository, where that is near to too many.
    #[serde(default, rename = "crowded")]
    pub object_count_warned: Option<u32>,
    /// And about so many a list holds.
    #[serde(default)]
    pub object_count_most: Option<u32>,
    /// When a machine last removed all that it was told to, or had nothing to remove for the first time.
    #[serde(default, rename = "tidied_at")]
    pub pruned_at: Option<Timestamp>,
    /// Verified snapshots that were removed from the repository; kept so that the removal can be undone.
    #[serde(default)]
    pub forgotten: Vec<SnapshotSummary>,
    /// Those of them that were brought back lately: no rule removes these at once again.
    #[serde(default, rename = "recalled")]
    pub unforgotten: Vec<Unforgotten>,
    /// The owner's exclusive right to change the repository; machines wait for its end.
    #[serde(default, rename = "grant")]
    pub lock: Option<RepositoryLock>,
    /// Number of snapshots asked for.
    #[serde(default)]
    pub snapshots_wanted: u64,
    /// Rises when what the workspace's user works with on a machine has changed: its machine fetches it then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub settings_revision: u64,
    /// Holds taken through the API.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// Ports that anybody may reach.
    #[serde(default)]
    pub public_ports: Vec<u16>,
    /// Links to ports that have been given out and are in force, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkSummary>,
    /// How many lifetime warnings this generation has had.
    #[serde(default)]
    pub warnings_given: u8,
    /// Rescue image of a machine that died with unsaved work.
    #[serde(default)]
    pub rescue_image: Option<u64>,
    /// When that image is deleted, whatever is in it.
    #[serde(default)]
    pub rescue_image_expires_at: Option<Timestamp>,
    /// Whether the owner has been warned of that.
    #[serde(default)]
    pub rescue_image_warned: bool,
    /// The rescue image that the machine of this generation is made from, only to bring what it holds into storage.
    #[serde(default, rename = "salvages")]
    pub salvage_image_id: Option<u64>,
    /// Images that are to be deleted at their time: what they held is in storage, was given up, or was passed over.
    #[serde(default)]
    pub old_images: Vec<OldImage>,
    /// Until when a machine that `on_unsaved: hold` keeps past its end is kept; moved on daily, and the owner told.
    #[serde(default)]
    pub held_until: Option<Timestamp>,
    /// Silence does not count time before this: others were silent too.
    #[serde(default)]
    pub silence_from: Option<Timestamp>,
    /// What was lost, where something was.
    #[serde(default, rename = "lost")]
    pub data_loss_note: Option<String>,
    /// How the machine after this one starts, as the request for it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start: Option<Start>,
    /// What the current machine costs and how it stands to its owner's caps.
    #[serde(default)]
    pub money: MachineMoney,
}

impl Record {
    /// How many verified snapshots the record lists: more than any rule that is accepted keeps, with those brought back.
    pub const SNAPSHOTS_KEPT: usize = 350;
    /// How many that were brought back are kept against the rule.
    pub const UNFORGOTTEN_KEPT: usize = 180;
    /// How many expired ones it lists, and that were: four days of snapshots every 15 minutes.
    pub const EXPIRED_KEPT: usize = 400;

    /// A workspace that was just asked for; its first machine is generation 1.
    pub fn new(new: NewWorkspace, now: Timestamp) -> Self {
        Self {
            v: 1,
            id: new.id,
            tenant: new.tenant,
            name: new.name,
            host: new.host,
            spec: new.spec,
            created_at: now,
            phase: Phase::Requested,
            since: now,
            because: "the owner asked for it".to_owned(),
            backup_exceeds: None,
            desired: DesiredState::Awake,
            generation: Generation(1),
            woke_at: now,
            worst_case: new.worst_case,
            server: None,
            dns: Dns::Absent,
            labels_stale: false,
            unstartable: Vec::new(),
            last_create_at: None,
            machine_key: None,
            former_machine_keys: Vec::new(),
            restore: None,
            restore_snapshot_chosen: None,
            last_seen_at: None,
            vanished_at: None,
            image_missed_at: None,
            in_flight: None,
            attempts: 0,
            pause: None,
            clocks_restarted_at: None,
            awake_line: None,
            memory_told: None,
            reboot_asked_at: None,
            owner_reboots: Vec::new(),
            pending: None,
            receipt_problem: None,
            thaw_requested: false,
            final_snapshot: None,
            snapshots: Vec::new(),
            expired: Vec::new(),
            prune: None,
            prune_again_at: None,
            object_count_warned: None,
            object_count_most: None,
            pruned_at: Some(now),
            forgotten: Vec::new(),
            unforgotten: Vec::new(),
            lock: None,
            snapshots_wanted: 0,
            settings_revision: 0,
            holds: Vec::new(),
            public_ports: Vec::new(),
            links: Vec::new(),
            warnings_given: 0,
            rescue_image: None,
            rescue_image_expires_at: None,
            rescue_image_warned: false,
            salvage_image_id: None,
            old_images: Vec::new(),
            held_until: None,
            silence_from: None,
            data_loss_note: None,
            next_start: None,
            money: MachineMoney::default(),
        }
    }

    /// The state that people see.
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// The repository's lock, while it is in force.
    pub fn live_lock(&self, now: Timestamp) -> Option<&RepositoryLock> {
        self.lock.as_ref().filter(|lock| lock.until > now)
    }

    /// Whether a machine of this generation may remove from the repository now: before it is ready, in the time that
    /// its prune was given, and never beside an owner.
    pub fn may_prune(&self, generation: Generation, now: Timestamp) -> bool {
        let boots = matches!(self.phase, Phase::Provisioning { .. } | Phase::Booting { .. });
        let begun = self.prune.as_ref().filter(|prune| !prune.ended).and_then(|prune| prune.until);
        boots
            && generation == self.generation
            && begun.is_some_and(|until| now < until)
            && self.live_lock(now).is_none()
    }

    /// Whether a machine of this generation may add to the repository now.
    pub fn may_add_backups(&self, generation: Generation) -> bool {
        let alive = match self.phase {
            Phase::Provisioning { .. }
            | Phase::Booting { .. }
            | Phase::Running
            | Phase::Silent { .. }
            | Phase::Draining { .. } => true,
            Phase::Requested
            | Phase::Rescuing { .. }
            | Phase::Destroying { .. }
            | Phase::Asleep
            | Phase::Failed { .. }
            | Phase::Deleted { .. } => false,
        };
        alive && generation == self.generation
    }

    /// Why it is awake or what it waits for, in one line.
    pub fn line(&self) -> String {
        if let Phase::Draining { trouble: Some(trouble), .. } = &self.phase {
            return format!("{}: {trouble}", self.because);
        }
        let awake =
            self.awake_line.as_ref().filter(|kept| self.phase == Phase::Running && kept.at >= self.since);
        awake.map_or_else(|| self.because.clone(), |kept| kept.line.clone())
    }

    /// Whether its owner waits for a reboot.
    pub fn is_reboot_asked(&self) -> bool {
        self.reboot_asked_at.is_some()
    }

    /// Whether its machine is reached over SSH; nobody works on one that only salvages.
    pub fn lets_ssh_in(&self) -> bool {
        self.spec.ssh && self.salvage_image_id.is_none()
    }

    /// When the lifetime of the current machine ends.
    pub fn lifetime_ends_at(&self) -> Timestamp {
        plus(self.woke_at, self.spec.lifetime)
    }

    /// Whether its owner may have a frozen machine back: what it delivered last is not whole, and nothing is being
    /// checked that could let it go meanwhile. Past its lifetime nothing is given back.
    pub fn may_thaw(&self, now: Timestamp) -> bool {
        let Phase::Draining { reason, frozen: true, .. } = &self.phase else { return false };
        let refused =
            self.receipt_problem.is_some() && self.pending.is_none() && self.final_snapshot.is_none();
        refused && *reason != DrainReason::Salvage && now < self.lifetime_ends_at()
    }

    /// When a drain has had its time, whatever it says. Time in which we were asleep at the wheel is not the machine's
    /// fault: after such a lapse it gets `drain_grace` at least.
    pub fn drain_ends_at(&self, policy: &crate::policy::Policy) -> Timestamp {
        let after_lapse = self.clocks_restarted_at.map(|at| plus(at, policy.drain_grace));
        let regular = plus(self.lifetime_ends_at(), policy.drain_ceiling);
        after_lapse.map_or(regular, |grace| grace.max(regular))
    }

    /// When a rescue has had its time. After a time in which the control plane did not act it gets `drain_grace` at least: an
    /// image that was written meanwhile is seen before anything is given up. Never later than the hard end.
    pub fn rescue_ends_at(&self, started_at: Timestamp, policy: &crate::policy::Policy) -> Timestamp {
        let regular = plus(started_at, policy.rescue_ceiling);
        self.clocks_restarted_at.map_or(regular, |at| plus(at, policy.drain_grace).max(regular))
    }

    /// When the machine ends whatever anybody says: lifetime, drain ceiling and rescue ceiling. One that is held by the
    /// owner's choice ends when nobody prolongs that any more.
    pub fn hard_end_at(&self, policy: &crate::policy::Policy) -> Timestamp {
        let regular = plus(self.drain_ends_at(policy), policy.rescue_ceiling);
        self.held_until.map_or(regular, |held| held.max(regular))
    }

    /// The old image whose deletion is due next, and when.
    pub fn next_old_image(&self) -> Option<&OldImage> {
        self.old_images.iter().min_by_key(|old| (old.delete_at, old.image))
    }
}

/// Why a machine is awake, in one line, as its idle-agent said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwakeLine {
    /// The line.
    pub line: String,
    /// When it was said.
    pub at: Timestamp,
}

/// What was told of programs that ended for lack of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryTold {
    /// Of which machine.
    pub generation: Generation,
    /// How many there had been, by its own count since it was switched on.
    pub kills: u32,
    /// When.
    pub at: Timestamp,
}

impl Record {
    /// When the index should wonder why nothing has happened: the end of the phase, not the next look at it, so that
    /// a healthy workspace is neither written to the index nor nudged by the sweep.
    pub fn phase_ends_at(&self, policy: &crate::policy::Policy) -> Option<Timestamp> {
        match &self.phase {
            Phase::Requested => Some(self.since),
            Phase::Provisioning { .. } => Some(plus(self.since, policy.provision_budget)),
            // In whole spans of the bound: it moves on with what is restored, and the index is not written each time.
            Phase::Booting { restored_at, .. } => {
                let restored = restored_at.map_or(0, |at| at.duration_since(self.since).as_secs().max(0));
                let span = policy.boot_cap.as_secs().max(1);
                let spans = u64::try_from(restored).unwrap_or(0) / span + 1;
                let ends_at = plus(self.since, Duration::from_secs(spans.saturating_mul(span)));
                Some(ends_at.min(self.lifetime_ends_at()))
            }
            Phase::Running | Phase::Silent { .. } => Some(self.lifetime_ends_at()),
            Phase::Draining { .. } => Some(self.drain_ends_at(policy)),
            Phase::Rescuing { started_at, .. } => Some(self.rescue_ends_at(*started_at, policy)),
            Phase::Destroying { late_image: Some(_), .. } => Some(plus(self.since, policy.rescue_ceiling)),
            Phase::Destroying { .. } => Some(plus(self.since, policy.gone_after_create)),
            Phase::Deleted { purge_at, purged } => (!purged).then_some(*purge_at),
            Phase::Asleep | Phase::Failed { .. } => {
                self.rescue_image_expires_at.filter(|_| self.rescue_image.is_some())
            }
        }
    }
}

/// The time so much later; saturates at the end of time instead of failing.
pub fn plus(at: Timestamp, duration: Duration) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from(duration)).unwrap_or(Timestamp::MAX)
}

/// The time so much earlier; saturates at the beginning of time instead of failing.
pub fn minus(at: Timestamp, duration: Duration) -> Timestamp {
    at.checked_sub(jiff::SignedDuration::from(duration)).unwrap_or(Timestamp::MIN)
}
