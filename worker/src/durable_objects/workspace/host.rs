//! The object as `ebbtide_control::driver` sees it: its clock, its storage, its alarm, and who hears of a decision.
//!
//! History, the index and the machine are told after the save. None of them can stop what follows: what they missed is
//! mended by the next heartbeat, the next change or the sweep. The object's own methods of the same names come first here.

use super::{Inner, log, now};
use crate::d1::WorkspaceRow;
use crate::log::Level;
use ebbtide_api::Timestamp;
use ebbtide_control::driver::{Alarm, Decided, Host, Observer, Performed, Store, Stored};
use ebbtide_control::lifecycle::Note;
use ebbtide_control::record::Record;
use std::rc::Rc;
use worker::{Error, Result};

/// Rows of the index that one news costs at most: the workspace's own, and those of its bill.
const INDEX_ROWS: u32 = 3;

impl Host for Inner {
    type Error = Error;

    fn now(&self) -> Timestamp {
        now()
    }

    fn last_seen_at(&self, record: &Record) -> Option<Timestamp> {
        self.last_seen_at(record)
    }
}

impl Store for Inner {
    fn load(&self) -> Result<Stored> {
        let stored = self.load()?.ok_or_else(|| Error::RustError("no record".to_owned()))?;
        Ok(Stored { record: Rc::new(stored.record), alarm_at: stored.alarm_at })
    }

    fn save(&self, record: &Rc<Record>, alarm_at: Option<Timestamp>) -> Result<()> {
        self.save_and_charge(record, alarm_at)
    }
}

impl Alarm for Inner {
    async fn set_alarm(&self, at: Option<Timestamp>, now: Timestamp) -> Result<()> {
        self.store()?.count_rows(1);
        match at {
            Some(at) => {
                let millis = at.as_millisecond().saturating_sub(now.as_millisecond()).max(0);
                self.state.storage().set_alarm(millis).await
            }
            None => self.state.storage().delete_alarm().await,
        }
    }
}

impl Observer for Inner {
    fn decided(&self, decided: Decided<'_>) {
        let Decided { before, next, notes, now, policy, .. } = &decided;
        // History is worth less than what it is about.
        if let Err(error) = self.tell(before, next, notes, *now) {
            log::trouble(Level::Error, next, "history was not written", &error);
        }
        // What the machine would otherwise hear of with its next heartbeat only.
        let opens_otherwise = next.links != before.links || next.public_ports != before.public_ports;
        let is_told_at_once = next.phase != before.phase || next.desired != before.desired;
        let is_given_otherwise = next.settings_revision != before.settings_revision;
        if is_told_at_once || next.holds != before.holds || opens_otherwise || is_given_otherwise {
            self.push_instruction(next);
        }
        let ends_at = next.phase_ends_at(policy);
        let is_news = is_news(&decided);
        if let Err(error) = self.charge_decision(next, is_news) {
            log::trouble(Level::Error, next, "its rows were not counted", &error);
        }
        if is_news {
            // Not awaited: the index may be slow, and what follows must not wait for it. The row with the later `since`
            // wins, and the sweep mends one that was never written.
            let (env, record) = (self.env.clone(), Rc::clone(next));
            self.state.wait_until(async move { crate::d1::record_changed(&env, &record, ends_at).await });
        }
    }

    fn performed(&self, performed: &Performed<'_>) {
        log::ran(performed);
    }
}

impl Inner {
    fn charge_decision(&self, next: &Record, is_news: bool) -> Result<()> {
        if is_news {
            self.store()?.count_rows(INDEX_ROWS);
        }
        self.charge_rows(next)
    }

    fn tell(&self, before: &Record, next: &Record, notes: &[Note], now: Timestamp) -> Result<()> {
        for note in notes {
            log::changed(next, note);
            self.store()?.add_event(note, next.generation, now)?;
        }
        if next.generation == before.generation { Ok(()) } else { self.forget_machine() }
    }
}

/// Whether the index's row may differ from what is known now. Sentences alone are news as often as the kept line is and no
/// more: a machine can change them with each heartbeat, and rows are what every workspace of an account shares.
fn is_news(decided: &Decided<'_>) -> bool {
    let Decided { before, next, now, alarm_at, woken, policy, .. } = decided;
    let may_word_anew = next.since != before.since || next.awake_line != before.awake_line;
    let row = |record: &Record| {
        let row = WorkspaceRow::of(record, record.phase_ends_at(policy));
        if may_word_anew { row } else { row.wordless() }
    };
    row(next) != row(before)
        || next.server != before.server
        || (*woken && is_last_in_its_hour(*now, *alarm_at))
}

/// Whether this alarm is the last of its hour: then the row is compared, so that one that the index has lost comes back
/// although nothing changes. A row that is right is not written.
fn is_last_in_its_hour(now: Timestamp, next: Option<Timestamp>) -> bool {
    let hour = |at: Timestamp| at.as_second().div_euclid(3600);
    next.is_none_or(|next| hour(next) > hour(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_is_compared_once_an_hour_however_often_the_alarm_fires() {
        let at = |secs| Timestamp::from_second(1_800_000_000 + secs).ok();
        let fired: Vec<i64> = (0..6 * 3600).step_by(120).collect();
        let compared = fired
            .iter()
            .filter(|secs| at(**secs).is_some_and(|now| is_last_in_its_hour(now, at(**secs + 120))));
        assert_eq!(compared.count(), 6);
        assert!(at(0).is_some_and(|now| is_last_in_its_hour(now, None)));
    }
}
