//! What the model wants done to machines. The model only names effects; the façade executes them in order,
//! a simulation plays them.

use serde::{Deserialize, Serialize};

/// Something to do to a machine. Every effect is safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Power on: the first time it boots and runs its user-data, later it boots from its disk.
    MachineStart {
        server_id: u64,
    },
    /// Cut the power; the disk stays.
    MachinePowerOff {
        server_id: u64,
    },
    /// Power off, then on.
    MachineReset {
        server_id: u64,
    },
    /// Everything of the machine goes, its disk included.
    MachineDestroy {
        server_id: u64,
    },
    /// Copy the machine's disk into an image.
    SaveImage {
        server_id: u64,
        image_id: u64,
    },
    DeleteImage {
        image_id: u64,
    },
    MachineFault {
        server_id: u64,
        fault: MachineFault,
    },
}

impl Effect {
    /// The server or image whose effects must be executed one after the other.
    pub fn subject(&self) -> u64 {
        match self {
            Effect::MachineStart { server_id }
            | Effect::MachinePowerOff { server_id }
            | Effect::MachineReset { server_id }
            | Effect::MachineDestroy { server_id }
            | Effect::SaveImage { server_id, .. }
            | Effect::MachineFault { server_id, .. } => *server_id,
            Effect::DeleteImage { image_id } => *image_id,
        }
    }
}

/// How a machine misbehaves while its provider says all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineFault {
    /// The server runs, but nothing ever comes up inside.
    NeverBoot,
    /// Every process is killed; the provider still says `running`.
    Die,
    /// Every process is stopped; the provider still says `running`.
    Hang,
    /// The machine works, but reaches nobody.
    LoseNetwork,
    RestoreNetwork,
    /// The server turns `off` by itself.
    SwitchOff,
    /// The action that starts it fails once: it is `off`, and can be switched on.
    FailOneStart,
    /// Every action that starts it fails: it stays `off`.
    FailStarts,
}

impl MachineFault {
    /// Whether cutting and restoring the power heals it.
    pub(crate) fn ends_with_a_power_cycle(self) -> bool {
        match self {
            MachineFault::Die | MachineFault::Hang | MachineFault::SwitchOff => true,
            MachineFault::NeverBoot
            | MachineFault::LoseNetwork
            | MachineFault::RestoreNetwork
            | MachineFault::FailOneStart
            | MachineFault::FailStarts => false,
        }
    }
}
