//! The boot plan: what a machine does from its first second until it is ready, as data.
//!
//! An agent that is older than the control plane reads a step that it does not know as [`StepAction::Unknown`].

use crate::programs::Program;
use serde::{Deserialize, Serialize};

/// The steps from a bare machine to ready, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPlan {
    /// In order of execution.
    pub steps: Vec<PlannedStep>,
}

/// One step as data; the idle-agent knows how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Stable name, shown in logs and steps.
    pub name: String,
    /// For people.
    pub title: String,
    /// What to do.
    pub action: StepAction,
    /// Longest time the step may take, in seconds.
    pub timeout_secs: u64,
    /// How often a failed step is tried again.
    pub retries: u32,
}

/// What a boot step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum StepAction {
    /// Makes sure that programs exist, from the distribution's packages where they do not.
    EnsurePrograms {
        /// Program and the Debian package that brings it.
        programs: Vec<(String, String)>,
    },
    /// Makes sure that the workspace's user and directories exist.
    EnsureUser {
        /// User name.
        user: String,
        /// Its home.
        home: String,
        /// The workspaces directory.
        workspaces: String,
    },
    /// Clones a repository as the workspace's user; arguments, never shell text.
    Clone {
        /// What to clone.
        url: String,
        /// Branch or tag.
        branch: Option<String>,
        /// Where to.
        directory: String,
        /// As whom.
        user: String,
    },
    /// Removes old snapshots from the repository, and what nothing needs then. Its failure stops no boot.
    #[serde(rename = "tidy")]
    Prune {
        /// How long it may take, in seconds.
        limit_secs: u64,
    },
    /// Restores a snapshot to `/`.
    Restore {
        /// The snapshot's id.
        snapshot: String,
    },
    /// Installs programs from the installation's own bundles, and writes the files that go with them. Its failure stops no
    /// boot.
    InstallBundles {
        /// Holds a directory for each program.
        directory: String,
        /// What is fetched and unpacked; those that are there already are left.
        programs: Vec<Program>,
        /// What is written besides.
        files: Vec<PlannedFile>,
        /// What was asked for and cannot be had, a sentence each.
        #[serde(default)]
        missing: Vec<String>,
    },
    /// Starts Caddy with its admin socket.
    StartCaddy,
    /// Starts a tmux server for terminals.
    StartTerminal {
        /// As whom.
        user: String,
        /// In which directory.
        directory: String,
    },
    /// Installs the packages that the user listed. Its failure stops no boot.
    InstallPackages {
        /// Whose list.
        user: String,
    },
    /// Installs Docker from the distribution's packages, lets the user use it, and starts the containers that ran at the
    /// snapshot that was restored. Its failure stops no boot.
    InstallDocker {
        /// Who may use it.
        user: String,
    },
    /// Runs the user's own script of setting up. Its failure stops no boot.
    RunSetup {
        /// Whose script, and as whom.
        user: String,
    },
    /// Starts CloudCLI and keeps it alive, where the machine has it. Its failure stops no boot.
    StartCloudCli {
        /// As whom.
        user: String,
        /// Where its projects are.
        workspaces: String,
    },
    /// A step that a newer control plane knows and this agent does not: failed with that reason.
    #[serde(other)]
    Unknown,
}

/// A file that a boot step writes, as root's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Where, absolute.
    pub path: String,
    /// What is in it.
    pub content: String,
    /// Whether it is a program.
    #[serde(default)]
    pub executable: bool,
    /// Names of the programs without which it is not written.
    #[serde(default)]
    pub needs: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_a_newer_control_plane_is_read_as_unknown() {
        let step: PlannedStep = serde_json::from_str(
            r#"{"name":"x","title":"X","action":{"do":"paint_it_blue","how":1},"timeout_secs":1,"retries":0}"#,
        )
        .unwrap();
        assert_eq!(step.action, StepAction::Unknown);
    }

    #[test]
    fn a_step_that_installs_bundles_is_pinned_because_machines_that_run_read_it() {
        let file =
            PlannedFile { path: "/etc/x".into(), content: "y".into(), executable: false, needs: vec![] };
        let action = StepAction::InstallBundles {
            directory: "/opt/p".into(),
            programs: vec![],
            files: vec![file],
            missing: vec![],
        };
        let text = r#"{"do":"install_bundles","directory":"/opt/p","programs":[],"files":[{"path":"/etc/x","content":"y","executable":false,"needs":[]}],"missing":[]}"#;
        assert_eq!(serde_json::to_string(&action).unwrap(), text);
        let without = r#"{"do":"install_bundles","directory":"/opt/p","programs":[],"files":[{"path":"/etc/x","content":"y"}]}"#;
        assert_eq!(serde_json::from_str::<StepAction>(without).unwrap(), action);
    }

    #[test]
    fn a_clone_step_is_pinned_because_user_data_of_running_machines_expects_it() {
        let action = StepAction::Clone {
            url: "https://h/r.git".into(),
            branch: None,
            directory: "/workspaces/r".into(),
            user: "ebb".into(),
        };
        assert_eq!(
            serde_json::to_string(&action).unwrap(),
            r#"{"do":"clone","url":"https://h/r.git","branch":null,"directory":"/workspaces/r","user":"ebb"}"#
        );
    }
}
