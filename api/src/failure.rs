//! Why a workspace failed: a stable `code`, what happened, and what to do next.
//!
//! Records hold failures, and records outlive programs: a code that this version does not know is data and is passed
//! on as it is ([`FailureCode::Other`]). Codes are never renamed; [`FailureCode::ALL`] is what the reference lists.

use crate::{ErrorCode, Hint};
use serde::{Deserialize, Serialize};

stable_codes! {
    /// Why a workspace failed. The text form is stable.
    FailureCode {
        Capacity = "capacity",
            "The provider has no room for a server of this size in this location, nor where else it was tried.";
        Limit = "limit",
            "The provider's own limit of servers or addresses in this project is reached.";
        Refused = "refused",
            "The provider refuses to make such a server at all.";
        ProviderUnavailable = "provider_unavailable",
            "The provider made no server within the time for it, and gave no reason that would never pass.";
        CapReached = "cap_reached",
            "A spending cap or a limit of this installation was reached when the next machine was to begin.";
        NotReserved = "not_reserved",
            "The worst case of the next machine could not be reserved in time, so it was not made.";
        BootFailed = "boot_failed",
            "A step of the boot plan failed for good; the message names it.";
        StartFailed = "start_failed",
            "The provider made the server and could not start it, here and wherever else it was tried.";
        BootStalled = "boot_stalled",
            "The machine did not become ready within the time for it.";
        MachineGone = "machine_gone",
            "The server no longer exists at the provider, and Ebbtide did not delete it.";
        Rescued = "rescued",
            "The machine could not deliver its work; a rescue image at the provider holds it.";
        SalvageFailed = "salvage_failed",
            "The work in a rescue image could not be brought into the backups.";
        WorkLost = "work_lost",
            "Work since the last verified backup is lost; the message says why.";
        RecordLost = "record_lost",
            "The record of the workspace is lost; its backups are as they were.";
    }
}

impl FailureCode {
    /// What to do next, for who calls the API; the `hint` of a failure may know more.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Capacity => Hint::NoRoom.for_api(),
            Self::Limit => Hint::RaiseTheLimit.for_api(),
            Self::Refused => Hint::ChooseOffered.for_api(),
            Self::ProviderUnavailable | Self::StartFailed => Hint::RetryOrMove.for_api(),
            Self::CapReached => ErrorCode::CapReached.hint(),
            Self::NotReserved => Hint::WakeAgain.for_api(),
            Self::BootFailed => Hint::CorrectAndRetry.for_api(),
            Self::BootStalled => Hint::ReadTheLog.for_api(),
            Self::MachineGone | Self::WorkLost => Hint::WakeRestores.for_api(),
            Self::RecordLost => Hint::RestoreAndDelete.for_api(),
            Self::Rescued => Hint::WakeSalvages.for_api(),
            Self::SalvageFailed => "Try again with POST …/retry, or choose a snapshot with POST …/wake.",
            Self::Other(_) => "Read the message and the hint that came with it.",
        }
    }
}

/// Why a workspace failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// Stable: `capacity`, `limit`, `boot_stalled`, `boot_failed`, `refused`, …
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: FailureCode,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_pinned_because_records_hold_them_and_scripts_match_on_them() {
        let codes: Vec<&str> = FailureCode::ALL.iter().map(FailureCode::as_str).collect();
        assert_eq!(
            codes,
            [
                "capacity",
                "limit",
                "refused",
                "provider_unavailable",
                "cap_reached",
                "not_reserved",
                "boot_failed",
                "start_failed",
                "boot_stalled",
                "machine_gone",
                "rescued",
                "salvage_failed",
                "work_lost",
                "record_lost",
            ]
        );
        for code in FailureCode::ALL {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(text, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<FailureCode>(&text).unwrap(), *code);
            assert!(code.meaning().ends_with('.') && code.next_step().ends_with('.'), "{code}");
        }
    }

    #[test]
    fn a_failure_of_another_version_is_kept_as_it_is() {
        let text = r#"{"code":"struck_by_lightning","message":"m","hint":"h"}"#;
        let failure: Failure = serde_json::from_str(text).unwrap();
        assert_eq!(failure.code, FailureCode::Other("struck_by_lightning".into()));
        assert_eq!(serde_json::to_string(&failure).unwrap(), text);
    }
}
