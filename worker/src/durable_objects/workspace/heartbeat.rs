//! Remembers what machines say: in memory, in the socket's attachment, and in a row where a person would see a difference.

use super::{Inner, now};
use ebbtide_api::vm::Heartbeat;
use ebbtide_api::{Generation, Timestamp};
use ebbtide_control::record::Record;
use serde::{Deserialize, Serialize};
use worker::Result;

/// The last heartbeat of a machine, or its last other sign of life.
pub(super) struct LastHeartbeat {
    pub(super) generation: Generation,
    pub(super) at: Timestamp,
    /// As it came, log lines taken out.
    pub(super) heartbeat: Heartbeat,
    /// What of it is stored, to see whether a new one is worth a row.
    stored: Option<Heartbeat>,
}

/// What survives hibernation in the socket's attachment.
#[derive(Serialize, Deserialize)]
pub(super) struct Attachment {
    pub(super) generation: u32,
    #[serde(rename = "heard_ms")]
    pub(super) last_seen_ms: i64,
}

impl Inner {
    /// When the machine of the current generation was last heard of.
    pub(super) fn last_seen_at(&self, record: &Record) -> Option<Timestamp> {
        let in_memory = self
            .last_heartbeat
            .borrow()
            .as_ref()
            .filter(|last| last.generation == record.generation)
            .map(|last| last.at);
        let attached = self.state.get_websockets().into_iter().filter_map(|socket| {
            let attachment: Attachment = socket.deserialize_attachment().ok().flatten()?;
            let current = attachment.generation == record.generation.0;
            current.then(|| Timestamp::from_millisecond(attachment.last_seen_ms).ok()).flatten()
        });
        attached.chain(in_memory).max()
    }

    /// The last heartbeat of the current generation.
    pub(super) fn last_heartbeat(&self, record: &Record) -> Option<Heartbeat> {
        let remembered = self
            .last_heartbeat
            .borrow()
            .as_ref()
            .filter(|last| last.generation == record.generation)
            .map(|last| last.heartbeat.clone());
        remembered.or_else(|| self.store().ok()?.last_heartbeat().ok().flatten())
    }

    /// Takes note of a heartbeat. Writes a row only where a person would see a difference.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn remember(&self, generation: Generation, mut heartbeat: Heartbeat) -> Result<()> {
        let log = std::mem::take(&mut heartbeat.log);
        self.store()?.add_log(&log)?;
        let remembered = self.last_heartbeat.borrow_mut().take().filter(|last| last.generation == generation);
        // After hibernation only the row is left to compare with: reading it costs less than writing it again.
        let stored = match remembered.and_then(|last| last.stored) {
            Some(stored) => Some(stored),
            None => self.store()?.last_heartbeat()?,
        };
        let stored = match stored {
            Some(stored) if !differs(&stored, &heartbeat) => Some(stored),
            _ => {
                self.store()?.save_last_heartbeat(&heartbeat)?;
                Some(heartbeat.clone())
            }
        };
        *self.last_heartbeat.borrow_mut() = Some(LastHeartbeat { generation, at: now(), heartbeat, stored });
        Ok(())
    }

    /// Counts any sign of life of the machine.
    pub(super) fn touch(&self, generation: Generation) {
        let mut slot = self.last_heartbeat.borrow_mut();
        match slot.as_mut().filter(|last| last.generation == generation) {
            Some(last) => last.at = now(),
            None => {
                let heartbeat = Heartbeat::default();
                *slot = Some(LastHeartbeat { generation, at: now(), heartbeat, stored: None });
            }
        }
    }

    /// Forgets what the last machine said; the history stays.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn forget_machine(&self) -> Result<()> {
        *self.last_heartbeat.borrow_mut() = None;
        self.store()?.clear_machine()
    }
}

/// Whether a person who looks would see a difference that outlives a moment: counters and countdowns do not count.
fn differs(a: &Heartbeat, b: &Heartbeat) -> bool {
    let steps = |heartbeat: &Heartbeat| -> Vec<_> {
        heartbeat.boot.iter().map(|step| (step.name.clone(), step.state)).collect()
    };
    let verdict = |heartbeat: &Heartbeat| heartbeat.why.as_ref().map(|why| why.verdict);
    steps(a) != steps(b)
        || a.ready != b.ready
        || a.boot_failure != b.boot_failure
        || a.ports != b.ports
        || verdict(a) != verdict(b)
        || a.drain != b.drain
        || a.backup_trouble != b.backup_trouble
}
