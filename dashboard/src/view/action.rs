//! What a person can do with a workspace in each of its states, and what deleting it means.
//!
//! The control plane decides again when a button is pressed: this list offers what it accepts, it permits nothing.

use crate::text;
use ebbtide_api::backups::Persistence;
use ebbtide_api::failure::Failure;
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_api::{Hint, Timestamp};

/// One button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionView {
    /// Last part of the path that it posts to.
    pub path: &'static str,
    /// On the button.
    pub label: &'static str,
    /// `primary` for the one most likely wanted, else `plain`.
    pub tone: &'static str,
    /// What it does, for who hovers or listens.
    pub hint: &'static str,
}

const SLEEP: ActionView = ActionView {
    path: "sleep",
    label: "Sleep",
    tone: "plain",
    hint: "Backs the workspace up, then deletes its machine. Waking brings the same files back.",
};
const WAKE: ActionView = ActionView {
    path: "wake",
    label: "Wake",
    tone: "primary",
    hint: "Starts a new machine with the files of the last backup.",
};
const KEEP_AWAKE: ActionView = ActionView {
    path: "wake",
    label: "Keep awake",
    tone: "primary",
    hint: "Cancels the sleep. If it is too late, wakes the workspace when the backup is done.",
};
const HOLD: ActionView = ActionView {
    path: "hold",
    label: "Hold 1 hour",
    tone: "plain",
    hint: "Keeps the workspace awake for an hour whatever happens in it; its lifetime still ends it.",
};
const BACK_UP: ActionView = ActionView {
    path: "snapshot",
    label: "Back up now",
    tone: "plain",
    hint: "Takes a backup while everything runs on.",
};
const REBOOT: ActionView = ActionView {
    path: "reboot",
    label: "Reboot",
    tone: "plain",
    hint: "Resets the machine: whatever runs in it ends, its files stay.",
};
const RETRY: ActionView = ActionView {
    path: "retry",
    label: "Try again",
    tone: "primary",
    hint: "Starts over with a new machine.",
};
const UNDELETE: ActionView = ActionView {
    path: "undelete",
    label: "Undo deletion",
    tone: "primary",
    hint: "Brings the workspace back, asleep, with its last backup.",
};

/// The buttons of a state, most likely wanted first.
pub fn actions(workspace: &Workspace) -> Vec<ActionView> {
    match workspace.state {
        State::Requested | State::Provisioning => vec![SLEEP],
        State::Running if workspace.persistence == Persistence::Backup => vec![HOLD, BACK_UP, REBOOT, SLEEP],
        State::Running | State::Silent => vec![HOLD, REBOOT, SLEEP],
        State::Booting => vec![HOLD, SLEEP],
        State::Draining => vec![KEEP_AWAKE, HOLD],
        State::Rescuing | State::Destroying => Vec::new(),
        State::Asleep => vec![WAKE],
        State::Failed => vec![after(workspace.failure.as_ref())],
        State::Deleted => vec![UNDELETE],
    }
}

/// The button that the hint of a failure speaks of. Both do the same in this state; the word is another.
fn after(failure: Option<&Failure>) -> ActionView {
    match failure.and_then(|failure| Hint::of(&failure.hint)) {
        Some((Hint::WakeAgain | Hint::WakeRestores | Hint::WakeSalvages, _)) => WAKE,
        Some(_) | None => RETRY,
    }
}

/// The page that asks before it deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteView {
    /// The workspace's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What happens, in order.
    pub steps: Vec<String>,
    /// What deleting without a backup loses; `None` where there is nothing more to lose.
    pub discard: Option<String>,
}

/// What deleting a workspace means now.
pub fn delete(workspace: &Workspace, now: Timestamp) -> DeleteView {
    let unsaved = match workspace.state {
        State::Running | State::Silent | State::Draining | State::Rescuing => true,
        State::Requested
        | State::Provisioning
        | State::Booting
        | State::Destroying
        | State::Asleep
        | State::Failed
        | State::Deleted => false,
    };
    let mut steps = Vec::new();
    if unsaved {
        steps.push("Everything in it is backed up, and the backup is checked.".to_owned());
    }
    if workspace.machine.is_some() || unsaved {
        steps.push("Its machine and its names are deleted, and the cost ends.".to_owned());
    }
    steps.push("For 7 days the deletion can be undone from this page.".to_owned());
    steps.push(
        "Then its encryption key is destroyed: nobody can read the backups any more, and they are removed."
            .to_owned(),
    );
    let discard = unsaved.then(|| match &workspace.last_backup {
        Some(backup) => format!(
            "Everything since the last verified backup ({}) is lost, and so is whatever is running.",
            text::time(backup.verified_at, now).relative
        ),
        None => "There is no verified backup yet: everything in the workspace is lost.".to_owned(),
    });
    DeleteView { id: workspace.id.to_string(), name: workspace.name.clone(), steps, discard }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::FailureCode;

    #[test]
    fn a_hint_names_the_button_that_stands_beside_it() {
        for hint in Hint::ALL {
            let failure =
                Failure { code: FailureCode::Refused, message: "m".into(), hint: hint.for_api().into() };
            let button = after(Some(&failure));
            if hint.for_page().contains("ress ") {
                assert!(
                    hint.for_page().contains(&format!("ress {}", button.label)),
                    "{hint:?}: {}",
                    button.label
                );
            }
        }
        assert_eq!(after(None), RETRY);
    }
}
