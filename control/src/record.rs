//! What the control plane remembers of a workspace: the truth, kept by its Durable Object.
//!
//! The JSON form is stored and read back by later versions: fields are added with a default, never renamed.
//! Nothing here decides; see [`crate::decide`].

use ebbtide_api::backups::Retention;
use ebbtide_api::vm::{Pack, Receipt};
use ebbtide_api::workspace::{
    Cost, Failure, Hold, Ingress, OnUnsaved, Persistence, RescueChoice, SnapshotSummary, State,
};
use ebbtide_api::{Duration, Generation, TenantId, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

/// What the owner asked for, checked and complete: every default is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// What to clone.
    pub repo: Option<String>,
    /// Branch or tag.
    pub branch: Option<String>,
    /// Where the server goes first.
    pub placement: Placement,
    /// Where else it may go when that is sold out, in order; empty where the user chose.
    #[serde(default)]
    pub fallbacks: Vec<Placement>,
    /// The provider's image.
    pub image: String,
    /// Which agents' CLIs to install.
    #[serde(default)]
    pub agents: Vec<String>,
    /// How long nothing may happen before it sleeps.
    pub idle_timeout: Duration,
    /// How long after a wake it is drained whatever happens.
    pub lifetime: Duration,
    /// How ports are reached.
    pub ingress: Ingress,
    /// What happens past the hard end while work is unsaved.
    pub on_unsaved: OnUnsaved,
    /// Whether a machine that cannot deliver its work may be imaged.
    #[serde(default)]
    pub rescue_image: RescueChoice,
    /// Whether it is backed up at all.
    pub persistence: Persistence,
    /// Names of the stored environment values.
    #[serde(default)]
    pub env: Vec<String>,
    /// Which snapshots are kept, where the owner chose; the installation's rule otherwise.
    #[serde(default, deserialize_with = "stored_rule")]
    pub retention: Option<Retention>,
}

/// A rule as it is stored: one that a later version wrote is read as far as it is known here. A request is read strictly.
fn stored_rule<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Retention>, D::Error> {
    #[derive(Deserialize)]
    struct Stored {
        keep_last: u32,
        hourly: u32,
        daily: u32,
        weekly: u32,
    }
    let stored = Option::<Stored>::deserialize(from)?;
    Ok(stored.map(|Stored { keep_last, hourly, daily, weekly }| Retention {
        keep_last,
        hourly,
        daily,
        weekly,
    }))
}

/// A size at a location.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Placement {
    /// The provider's server type.
    pub size: String,
    /// The provider's location.
    pub location: String,
}

/// What a new workspace's object is created from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewWorkspace {
    /// Its id, recorded in the index before.
    pub id: WorkspaceId,
    /// Its owner.
    pub tenant: TenantId,
    /// Its readable name.
    pub name: String,
    /// `{name}-{id}.{zone}`.
    pub host: String,
    /// What was asked for.
    pub spec: Spec,
    /// What its first machine costs at worst.
    pub worst_case: Option<Cost>,
}

/// What the owner wants of the workspace, or what the control plane has decided for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
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
    /// The server exists and works through its boot plan; it holds no work yet. Its reports move on, `boot_stall`
    /// without progress or `boot_cap` end it.
    Booting {
        /// The machine's progress counter as last heard.
        progress: u64,
        /// When that last rose.
        progress_at: Timestamp,
    },
    /// Ready and heard of; it holds work. The idle verdict, the owner, the lifetime or silence move on.
    Running,
    /// Not heard of. Being heard moves back; the silence rules and budgets move on.
    Silent {
        /// When it was last heard of.
        last_heard: Timestamp,
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
        /// Whether the machine has frozen its processes: past that nothing takes the drain back.
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

/// The server of the current generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The provider's id.
    pub id: u64,
    /// Its address.
    pub ipv4: Option<String>,
    /// Where it is.
    pub placement: Placement,
    /// Since when it exists, and is billed, by the provider's clock.
    #[serde(default)]
    pub created: Option<Timestamp>,
}

/// How the DNS records of a generation stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dns {
    /// Never asked for, or gone.
    #[default]
    Absent,
    /// Asked for; some may stand.
    MayExist,
    /// All stand.
    Ready,
}

/// An effect that was begun and whose outcome is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Tells this attempt from an earlier one that was given up.
    pub attempt_id: u64,
    /// What was begun.
    pub effect: crate::decide::Effect,
    /// When.
    pub started_at: Timestamp,
}

/// A pause after an effect that failed or has to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When the effect is due again.
    pub until: Timestamp,
    /// How many attempts have failed in a row.
    pub failures: u32,
    /// What is waited for, for a person.
    pub waiting_for: String,
}

/// A receipt that is being checked against storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingReceipt {
    /// The receipt without its packs.
    pub receipt: Receipt,
    /// Packs still to be checked; shrinks from the end.
    pub unchecked: Vec<Pack>,
    /// Whether the machine may go once it is verified.
    pub last: bool,
}

/// An image at the provider that no wake salvages any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldImage {
    /// The provider's image id.
    pub image: u64,
    /// When it is deleted, or tried again.
    pub delete_at: Timestamp,
    /// How many attempts have failed.
    #[serde(default)]
    pub failures: u32,
}

/// The right to change and delete objects of the repository while no machine exists: the repository's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who holds it: an actor of the audit log.
    pub by: String,
    /// When it was given.
    #[serde(default)]
    pub since: Timestamp,
    /// When it ends by itself; every use moves this on.
    pub until: Timestamp,
}

/// What a machine may remove from the repository before it is ready: the named snapshots, and what nothing needs then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tidying {
    /// Ids of the snapshots that are due.
    pub snapshots: Vec<String>,
    /// Ids of those that no list names: proved by a later receipt of their machine, and old. Found as the machine begins.
    #[serde(default)]
    pub strays: Vec<String>,
    /// When its time is over; `None` until the machine begins, which it does once.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Whether the machine has said that it is done, or is ready.
    #[serde(default)]
    pub ended: bool,
}

impl Tidying {
    /// Whether it may remove this snapshot. What an owner's change has saved since stays.
    pub fn removes(&self, name: &str, kept: &[SnapshotSummary]) -> bool {
        let is_named = self.snapshots.iter().chain(&self.strays).any(|known| known == name);
        is_named && !kept.iter().any(|known| known.snapshot == name)
    }
}

/// A snapshot that was brought back after its deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    /// Its id.
    pub snapshot: String,
    /// Until when no rule removes it again.
    pub until: Timestamp,
}

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strain: Option<crate::strain::Strain>,
    /// What is wanted of it.
    pub wanted: Wanted,
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
    /// When a create was last attempted in this generation.
    #[serde(default)]
    pub last_create_at: Option<Timestamp>,
    /// Public machine key that this generation is bound to, base64.
    #[serde(default)]
    pub machine_key: Option<String>,
    /// Snapshot that this generation restores. Stays while it lives: a machine that enrols again is told the same.
    #[serde(default)]
    pub restore: Option<String>,
    /// Snapshot that the owner chose for the next wake, instead of the newest.
    #[serde(default)]
    pub chosen: Option<String>,
    /// When the machine was last heard of, as of the last alarm: what is left when memory and sockets are gone.
    #[serde(default)]
    pub last_heard_at: Option<Timestamp>,
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
    /// The receipt that is being checked.
    #[serde(default)]
    pub pending: Option<PendingReceipt>,
    /// Why the last receipt was refused.
    #[serde(default)]
    pub receipt_problem: Option<String>,
    /// The verified snapshot that lets this generation's machine go.
    #[serde(default)]
    pub final_snapshot: Option<String>,
    /// Verified snapshots, newest first, at most [`Record::SNAPSHOTS_KEPT`].
    #[serde(default)]
    pub snapshots: Vec<SnapshotSummary>,
    /// Verified snapshots that the rule keeps no longer, oldest first; a machine removes them when it wakes.
    #[serde(default)]
    pub due: Vec<SnapshotSummary>,
    /// What the machine of this generation may remove before it is ready. Stays while it lives.
    #[serde(default)]
    pub tidying: Option<Tidying>,
    /// Before this no machine is told to remove anything: the last one did not come to an end.
    #[serde(default)]
    pub tidy_again_at: Option<Timestamp>,
    /// So many objects of one kind were found in the repository, where that is near to too many.
    #[serde(default)]
    pub crowded: Option<u32>,
    /// When a machine last removed all that it was told to, or had nothing to remove for the first time.
    #[serde(default)]
    pub tidied_at: Option<Timestamp>,
    /// Verified snapshots that were removed from the repository; kept so that the removal can be undone.
    #[serde(default)]
    pub forgotten: Vec<SnapshotSummary>,
    /// Those of them that were brought back lately: no rule removes these at once again.
    #[serde(default)]
    pub recalled: Vec<Recalled>,
    /// The owner's exclusive right to change the repository; machines wait for its end.
    #[serde(default)]
    pub grant: Option<Grant>,
    /// Number of snapshots asked for.
    #[serde(default)]
    pub snapshots_wanted: u64,
    /// Holds taken through the API.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// Ports that anybody may reach.
    #[serde(default)]
    pub public_ports: Vec<u16>,
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
    #[serde(default)]
    pub salvages: Option<u64>,
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
    #[serde(default)]
    pub lost: Option<String>,
    /// What the current machine costs and how it stands to its owner's caps.
    #[serde(default)]
    pub money: crate::money::MachineMoney,
}

impl Record {
    /// How many verified snapshots the record lists: more than any rule that is accepted keeps, with those brought back.
    pub const SNAPSHOTS_KEPT: usize = 350;
    /// How many that were brought back are kept against the rule.
    pub const RECALLED_KEPT: usize = 180;
    /// How many it lists that are due to be removed, and that were: four days of snapshots every 15 minutes.
    pub const DUE_KEPT: usize = 400;

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
            strain: None,
            wanted: Wanted::Awake,
            generation: Generation(1),
            woke_at: now,
            worst_case: new.worst_case,
            server: None,
            dns: Dns::Absent,
            labels_stale: false,
            last_create_at: None,
            machine_key: None,
            restore: None,
            chosen: None,
            last_heard_at: None,
            vanished_at: None,
            image_missed_at: None,
            in_flight: None,
            attempts: 0,
            pause: None,
            clocks_restarted_at: None,
            pending: None,
            receipt_problem: None,
            final_snapshot: None,
            snapshots: Vec::new(),
            due: Vec::new(),
            tidying: None,
            tidy_again_at: None,
            crowded: None,
            tidied_at: Some(now),
            forgotten: Vec::new(),
            recalled: Vec::new(),
            grant: None,
            snapshots_wanted: 0,
            holds: Vec::new(),
            public_ports: Vec::new(),
            warnings_given: 0,
            rescue_image: None,
            rescue_image_expires_at: None,
            rescue_image_warned: false,
            salvages: None,
            old_images: Vec::new(),
            held_until: None,
            silence_from: None,
            lost: None,
            money: crate::money::MachineMoney::default(),
        }
    }

    /// The state that people see.
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// The grant in force.
    pub fn live_grant(&self, now: Timestamp) -> Option<&Grant> {
        self.grant.as_ref().filter(|grant| grant.until > now)
    }

    /// Whether a machine of this generation may remove from the repository now: before it is ready, in the time that
    /// its tidying was given, and never beside an owner.
    pub fn may_tidy(&self, generation: Generation, now: Timestamp) -> bool {
        let boots = matches!(self.phase, Phase::Provisioning { .. } | Phase::Booting { .. });
        let begun = self.tidying.as_ref().filter(|tidying| !tidying.ended).and_then(|tidying| tidying.until);
        boots
            && generation == self.generation
            && begun.is_some_and(|until| now < until)
            && self.live_grant(now).is_none()
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

    /// When the lifetime of the current machine ends.
    pub fn lifetime_ends_at(&self) -> Timestamp {
        plus(self.woke_at, self.spec.lifetime)
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

impl Record {
    /// When the index should wonder why nothing has happened: the end of the phase, not the next look at it, so that
    /// a healthy workspace is neither written to the index nor poked by the sweep.
    pub fn phase_ends_at(&self, policy: &crate::policy::Policy) -> Option<Timestamp> {
        match &self.phase {
            Phase::Requested => Some(self.since),
            Phase::Provisioning { .. } => Some(plus(self.since, policy.provision_budget)),
            Phase::Booting { .. } => Some(plus(self.since, policy.boot_cap).min(self.lifetime_ends_at())),
            Phase::Running | Phase::Silent { .. } => Some(self.lifetime_ends_at()),
            Phase::Draining { .. } => Some(self.drain_ends_at(policy)),
            Phase::Rescuing { started_at, .. } => Some(self.rescue_ends_at(*started_at, policy)),
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
