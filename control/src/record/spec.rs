//! What the owner asked for, as it is recorded: checked, and with every default filled in.
//!
//! A change of a default later does not change what stands here.

use crate::placement::{Placement, Shape, Start, Wish};
use ebbtide_api::backups::{Persistence, Retention};
use ebbtide_api::money::Cost;
use ebbtide_api::secrets::SecretChoice;
use ebbtide_api::workspace::{OnUnsaved, RescueChoice};
use ebbtide_api::{Duration, TenantId, WorkspaceId};
use serde::{Deserialize, Serialize};

/// What the owner asked for, checked and complete: every default is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// What to clone.
    pub repo: Option<String>,
    /// Branch or tag.
    pub branch: Option<String>,
    /// What the owner wishes for, at every start; records of versions that chose once for ever have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
    /// Where the server goes first.
    pub placement: Placement,
    /// Where else it may go when that is sold out, in order; empty where the user chose.
    #[serde(default)]
    pub fallbacks: Vec<Placement>,
    /// How large the size is, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// The provider's image.
    pub image: String,
    /// Coding agents that are installed at each start, by their commands. What is not known any more is left out then.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Whether Docker is installed at each start.
    #[serde(default)]
    pub docker: bool,
    /// How long nothing may happen before it sleeps.
    pub idle_timeout: Duration,
    /// How long after a wake it is drained whatever happens.
    pub lifetime: Duration,
    /// Chosen by nobody: it stays for earlier versions, which read no record without it.
    #[serde(default)]
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
    /// Which stored secrets it gets.
    #[serde(default)]
    pub secrets: SecretChoice,
    /// Whether SSH is let in.
    #[serde(default)]
    pub ssh: bool,
    /// Which snapshots are kept, where the owner chose; the installation's rule otherwise.
    #[serde(default, deserialize_with = "stored_rule")]
    pub retention: Option<Retention>,
}

/// How ports are reached: in one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ingress {
    /// DNS points straight at the machine; ports are `{port}.{name}-{id}.{zone}`.
    #[default]
    Direct,
}

impl Spec {
    /// What its owner wishes for. Where that was not recorded, what its fallbacks leave unchanged.
    pub fn wish(&self) -> Wish {
        let Placement { size, location } = &self.placement;
        let keeps = |is_other: &dyn Fn(&Placement) -> bool| !self.fallbacks.iter().any(is_other);
        self.wish.clone().unwrap_or_else(|| Wish {
            size: keeps(&|other| other.size != *size).then(|| size.clone()),
            location: keeps(&|other| other.location != *location).then(|| location.clone()),
        })
    }

    /// Takes in how the next machine starts.
    pub(crate) fn start_as(&mut self, start: Start) {
        let Start { placement, fallbacks, image, shape } = start;
        (self.placement, self.fallbacks, self.image) = (placement, fallbacks, image);
        self.shape = shape;
    }
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
