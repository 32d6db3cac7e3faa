//! `POST /servers/{id}/actions/…`: power. Off is still billed; only deletion ends cost.

use super::actions::One;
use super::{Action, Answer, Failure, Hetzner, Reply, ServerId, VendorError, decode};
use crate::http::{Http, Method};

/// What to do to a server's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerAction {
    On,
    /// Cuts the power.
    Off,
    /// Presses the power button: success says that it was pressed, not that the machine obeyed.
    Shutdown,
    /// Asks the machine to reboot (ACPI).
    Reboot,
    /// Cuts the power and switches on again.
    Reset,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PowerOutcome {
    Started(Action),
    Gone,
    /// Something else is being done to it: later.
    Locked(VendorError),
}

impl PowerAction {
    fn path(self) -> &'static str {
        match self {
            Self::On => "poweron",
            Self::Off => "poweroff",
            Self::Shutdown => "shutdown",
            Self::Reboot => "reboot",
            Self::Reset => "reset",
        }
    }
}

impl<H: Http> Hetzner<H> {
    /// Changes a server's power. `On`, `Off` and `Shutdown` are safe to repeat.
    pub async fn power(&self, id: ServerId, action: PowerAction) -> Answer<PowerOutcome> {
        let request = self.request(Method::Post, &format!("/servers/{id}/actions/{}", action.path()));
        self.call(Ok(request)).await.and_then(|reply| match reply {
            Reply::Done(body) => Ok(PowerOutcome::Started(decode::<One>(&body)?.action)),
            Reply::Refused(error) if error.is_not_found() => Ok(PowerOutcome::Gone),
            Reply::Refused(error) if error.is_locked() => Ok(PowerOutcome::Locked(error)),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }
}
