//! The boot step that removes old backups, before anything of the user's is restored or started.
//!
//! The control plane names the snapshots and gives the time; a child does the work. Whatever goes wrong is told and the
//! boot goes on: this step never fails, and takes no longer than its limit and three calls.

use super::{Boot, Reporter, Success};
use crate::control_plane::api_client::CallError;
use crate::sleep::backup_process::{BackupProcessError, News, Order};
use ebbtide_api::vm::{BeginPrune, PruneOrder, PruneReport};
use serde::Deserialize;
use std::sync::mpsc;
use std::time::Duration;

/// The pause before the control plane is told a second time that this machine removes nothing any more.
const AGAIN: Duration = Duration::from_secs(2);

/// What the child says in the end.
#[derive(Debug, Default, Deserialize)]
struct Outcome {
    snapshots: u64,
    packs: u64,
    bytes: u64,
}

impl Boot {
    pub(super) fn prune(&self, limit: Duration, reporter: &Reporter<'_>) -> Success {
        let generation = self.backup_processes.api_client().generation();
        let begun: Result<PruneOrder, CallError> =
            self.backup_processes.api_client().post("/v1/vm/tidy", &BeginPrune { generation });
        let nothing =
            PruneReport { generation, complete: true, snapshots: 0, packs: 0, bytes: 0, reason: None };
        let snapshots = match begun {
            Ok(PruneOrder { snapshots }) => snapshots,
            Err(error) => {
                // Whatever became of the call: from here on this machine removes nothing.
                self.end(&PruneReport { complete: false, reason: Some(error.to_string()), ..nothing });
                return self.left(&format!("old backups are left as they are: {error}"));
            }
        };
        if snapshots.is_empty() {
            self.end(&nothing);
            return Success::NothingToDo("nothing is due any more".to_owned());
        }
        reporter.detail(&format!("removing {} old snapshots", snapshots.len()));
        let ended = self.run_within(limit, &Order::Tidy { snapshots });
        let outcome: Option<Outcome> =
            ended.as_ref().ok().and_then(|value| serde_json::from_value(value.clone()).ok());
        let complete = outcome.is_some();
        let Outcome { snapshots, packs, bytes } = outcome.unwrap_or_default();
        let reason = ended.as_ref().err().map(ToString::to_string);
        self.end(&PruneReport { generation, complete, snapshots, packs, bytes, reason });
        match ended {
            Ok(_) => Success::Done(Some(format!("{snapshots} snapshots and {packs} packs, {bytes} bytes"))),
            Err(error) => self.left(&format!("old backups were not removed, or not all: {error}")),
        }
    }

    /// Runs a child, and ends it when its time is over.
    fn run_within(&self, limit: Duration, order: &Order) -> Result<serde_json::Value, BackupProcessError> {
        let (done, over) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let watch = move || {
                if over.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    self.backup_processes.stop();
                }
            };
            // Nothing would end it in time otherwise, and a boot waits for it.
            let watched = std::thread::Builder::new().name("tidy".to_owned()).spawn_scoped(scope, watch);
            watched.map_err(|error| {
                BackupProcessError::Vanished(format!("nobody to watch its time: {error}"))
            })?;
            let result = self.backup_processes.run(order, &mut |news| match news {
                News::Progress(_) => {
                    self.status.update(crate::control_plane::status::Urgency::Soon, |facts| {
                        facts.boot_progress += 1
                    });
                }
                News::Trouble(text) => self.status.log(&text),
            });
            drop(done);
            result
        })
    }

    fn end(&self, report: &PruneReport) {
        let tell = || -> Result<serde_json::Value, CallError> {
            self.backup_processes.api_client().post("/v1/vm/tidied", report)
        };
        let mut ended = tell();
        if ended.as_ref().is_err_and(CallError::may_pass) {
            std::thread::sleep(AGAIN);
            ended = tell();
        }
        if let Err(error) = ended {
            // The right to remove ends with the next heartbeat, which says that this step is over.
            tracing::warn!(%error, "the control plane does not know that old backups are removed");
        }
    }

    fn left(&self, text: &str) -> Success {
        self.status.log(text);
        Success::NothingToDo(text.to_owned())
    }
}
