//! Remembers what machines say: in memory, in the socket's attachment, and in a row where a person would see a difference.
//!
//! An object forgets its memory ten seconds after the last call. A socket outlives that; a machine that makes plain calls
//! has a row instead, which is written so rarely that it costs little and so often that it is never taken for silent.

use super::{Inner, now};
use ebbtide_api::vm::Heartbeat;
use ebbtide_api::{Generation, Timestamp};
use ebbtide_control::record::{Record, minus};
use ebbtide_control::view::recall::{Gist, SaidHeartbeat, recall};
use serde::{Deserialize, Serialize};
use worker::{Result, WebSocket};

/// What memory has of a machine.
pub(super) struct LastHeartbeat {
    generation: Generation,
    /// Its last sign of life, a heartbeat or another.
    at: Timestamp,
    /// The last heartbeat, where memory reaches back to one.
    said: Option<SaidHeartbeat>,
    /// What is stored, to see whether a new one is worth a row.
    stored: Option<SaidHeartbeat>,
}

/// What survives hibernation in the socket's attachment.
#[derive(Serialize, Deserialize)]
pub(super) struct Attachment {
    pub(super) generation: u32,
    #[serde(rename = "heard_ms")]
    last_seen_ms: i64,
    /// What the last heartbeat said, in short.
    #[serde(default)]
    gist: Option<Gist>,
}

impl Attachment {
    /// Of a machine that is heard of now.
    pub(super) fn now(generation: Generation, gist: Option<Gist>) -> Self {
        Self { generation: generation.0, last_seen_ms: now().as_millisecond(), gist }
    }

    fn at(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.last_seen_ms).ok()
    }
}

/// How a heartbeat came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Over a socket, which remembers when.
    OverSocket,
    /// By a call, which leaves nothing behind.
    ByCall,
}

impl Inner {
    /// When the machine of the current generation was last heard of.
    pub(super) fn last_seen_at(&self, record: &Record) -> Option<Timestamp> {
        let in_memory = self.in_memory(record.generation, |last| Some(last.at));
        let attached = self.attachments(record).filter_map(|attachment| attachment.at());
        let seen = attached.chain(in_memory).max();
        if in_memory.is_some() {
            return seen;
        }
        let stored = self.store().and_then(|store| store.last_heartbeat()).ok().flatten();
        seen.max(stored.and_then(|said| said.at))
    }

    /// The last heartbeat of the current generation, told on to now.
    pub(super) fn last_heartbeat(&self, record: &Record) -> Option<Heartbeat> {
        let remembered = self.in_memory(record.generation, |last| last.said.clone());
        let said = remembered.or_else(|| self.store().ok()?.last_heartbeat().ok().flatten())?;
        let latest = self.attachments(record).filter_map(|attachment| {
            let at = attachment.at()?;
            Some((at, attachment.gist?))
        });
        Some(recall(said, latest.max_by_key(|(at, _)| *at), now()))
    }

    fn in_memory<T>(
        &self,
        generation: Generation,
        look: impl FnOnce(&LastHeartbeat) -> Option<T>,
    ) -> Option<T> {
        self.last_heartbeat.borrow().as_ref().filter(|last| last.generation == generation).and_then(look)
    }

    fn attachments(&self, record: &Record) -> impl Iterator<Item = Attachment> {
        let sockets = self.state.get_websockets().into_iter();
        let attachments = sockets
            .filter_map(|socket: WebSocket| socket.deserialize_attachment::<Attachment>().ok().flatten());
        let generation = record.generation.0;
        attachments.filter(move |attachment| attachment.generation == generation)
    }

    /// Takes note of a heartbeat. Writes a row where a person would see a difference, and where nothing else would say that
    /// the machine is heard of.
    ///
    /// # Errors
    /// What SQLite or the configuration says.
    pub(super) fn remember(&self, record: &Record, mut heartbeat: Heartbeat, came: Came) -> Result<()> {
        self.add_log(std::mem::take(&mut heartbeat.log), record)?;
        let remembered =
            self.last_heartbeat.borrow_mut().take().filter(|last| last.generation == record.generation);
        // After hibernation only the row is left to compare with: reading it costs less than writing it again.
        let stored = match remembered.and_then(|last| last.stored) {
            Some(stored) => Some(stored),
            None => self.store()?.last_heartbeat()?,
        };
        let said = SaidHeartbeat { at: Some(now()), heartbeat };
        let stored = match stored {
            Some(stored) if !self.is_worth_a_row(&stored, &said, record, came)? => stored,
            Some(_) | None => {
                self.store()?.save_last_heartbeat(&said)?;
                said.clone()
            }
        };
        *self.last_heartbeat.borrow_mut() = Some(LastHeartbeat {
            generation: record.generation,
            at: now(),
            said: Some(said),
            stored: Some(stored),
        });
        Ok(())
    }

    fn is_worth_a_row(
        &self,
        stored: &SaidHeartbeat,
        said: &SaidHeartbeat,
        record: &Record,
        came: Came,
    ) -> Result<bool> {
        let half_silent = ebbtide_api::Duration::from_secs(self.config()?.policy.silence_after.as_secs() / 2);
        let is_old = stored.at.is_none_or(|at| at <= minus(now(), half_silent));
        // A machine that has spent its rows has this one all the same: it must not be taken for silent.
        Ok(match came {
            Came::ByCall if is_old => true,
            Came::ByCall | Came::OverSocket => {
                differs(&stored.heartbeat, &said.heartbeat) && self.row_wait_secs(record)?.is_none()
            }
        })
    }

    /// Counts any sign of life of the machine.
    pub(super) fn touch(&self, generation: Generation) {
        let mut slot = self.last_heartbeat.borrow_mut();
        match slot.as_mut().filter(|last| last.generation == generation) {
            Some(last) => last.at = now(),
            None => *slot = Some(LastHeartbeat { generation, at: now(), said: None, stored: None }),
        }
    }

    /// Forgets what the last machine said; the history stays.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn forget_machine(&self) -> Result<()> {
        *self.last_heartbeat.borrow_mut() = None;
        self.forget_log_lines();
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
        || a.out_of_memory != b.out_of_memory
}
