//! The seams of the driver, each of which may fail: storage that an eviction comes before, an alarm that is late or lost,
//! effects that land unheard, twice, late or never in time.

use super::{Object, Owed};
use crate::cloud::Outside;
use crate::faults::{Dice, Kind};
use crate::{EPOCH_MS, ODDS, at};
use ebbtide_api::{Duration, Timestamp};
use ebbtide_cloud_sim::model::wire::{CLOUDFLARE_PREFIX, HETZNER_PREFIX};
use ebbtide_control::cloudflare::Cloudflare;
use ebbtide_control::driver::{self, Alarm, CALLS_BUDGET, Decided, Host, Observer, Performed, Store, Stored};
use ebbtide_control::executor::Executor;
use ebbtide_control::hetzner::Hetzner;
use ebbtide_control::lifecycle::{Effect, EffectOutcome};
use ebbtide_control::rate_limit::CallCost;
use ebbtide_control::record::Record;
use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

/// What ends an invocation before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The object was evicted. Sockets outlive that, memory does not.
    Evicted { remembers: bool },
    /// The outcome of the effect is known later.
    KnownLate,
}

/// One invocation of an object.
pub struct Seams<'a> {
    object: RefCell<&'a mut Object>,
    dice: RefCell<&'a mut Dice>,
    outside: &'a Outside,
    now_ms: i64,
}

impl<'a> Seams<'a> {
    pub fn new(object: &'a mut Object, outside: &'a Outside, dice: &'a mut Dice) -> Self {
        outside.calls.set(0);
        let now_ms = outside.now_ms.get();
        Self { object: RefCell::new(object), dice: RefCell::new(dice), outside, now_ms }
    }

    fn strike(&self, kind: Kind, per_mille: u32) -> Option<fastrand::Rng> {
        self.dice.borrow_mut().strike(kind, per_mille)
    }

    fn note(&self, line: impl FnOnce() -> String) {
        self.object.borrow_mut().trace.note(self.now_ms, line);
    }

    fn evicted(&self, kind: Kind, per_mille: u32, line: impl FnOnce() -> String) -> Result<(), Cut> {
        match self.strike(kind, per_mille) {
            Some(mut rng) => {
                self.note(line);
                Err(Cut::Evicted { remembers: rng.bool() })
            }
            None => Ok(()),
        }
    }

    async fn perform_once(&self, effect: Effect, record: &Record) -> EffectOutcome {
        let outside = self.outside;
        let policy = {
            let mut object = self.object.borrow_mut();
            object.effects += 1;
            object.crashed = false;
            Rc::clone(&object.policy)
        };
        if CallCost::of(effect).is_some() {
            // The gate is asked once an effect.
            outside.count_call();
        }
        let url = |prefix| format!("http://sim{prefix}");
        let hetzner = Hetzner::new(outside, url(HETZNER_PREFIX), "hetzner-token".to_owned().into());
        let cloudflare =
            Cloudflare::new(outside, url(CLOUDFLARE_PREFIX), "cloudflare-token".to_owned().into());
        let zone_id = outside.cloud.borrow().zone_id();
        let executor = Executor {
            hetzner: &hetzner,
            cloudflare: &cloudflare,
            store: &outside,
            install: "simulated",
            zone_id: &zone_id,
            ingress_port: 80,
            policy: &policy,
            now: self.now(),
        };
        executor.perform(effect, record).await.outcome
    }
}

impl Host for Seams<'_> {
    type Error = Cut;

    fn now(&self) -> Timestamp {
        at(self.now_ms)
    }

    fn last_seen_at(&self, record: &Record) -> Option<Timestamp> {
        let last_seen = self.object.borrow().last_seen_ms;
        last_seen.filter(|(generation, _)| *generation == record.generation.0).map(|(_, ms)| at(ms))
    }
}

impl Store for Seams<'_> {
    fn load(&self) -> Result<Stored, Cut> {
        let object = self.object.borrow();
        Ok(Stored { record: Rc::clone(&object.record), alarm_at: object.alarm_due_ms.map(at) })
    }

    fn save(&self, record: &Rc<Record>, alarm_at: Option<Timestamp>) -> Result<(), Cut> {
        let said = self.object.borrow().said.clone();
        self.evicted(Kind::CrashUnsaved, ODDS.crash / 3, || format!("{said} → evicted before it was saved"))?;
        let mut object = self.object.borrow_mut();
        object.record = Rc::clone(record);
        object.alarm_due_ms = alarm_at.map(ms);
        Ok(())
    }
}

impl Alarm for Seams<'_> {
    async fn set_alarm(&self, at: Option<Timestamp>, _now: Timestamp) -> Result<(), Cut> {
        let fires = at.map(|at| ms(at).max(self.now_ms));
        let lost = fires.and_then(|_| self.strike(Kind::LostAlarm, ODDS.lost_alarm));
        let late =
            fires.filter(|_| lost.is_none()).and_then(|_| self.strike(Kind::LateAlarm, ODDS.late_alarm));
        let late = late.map_or(0, |mut rng| rng.i64(1_000..1_500_000));
        if lost.is_some() {
            self.note(|| "    the alarm set now is lost".to_owned());
        } else if late > 0 {
            self.note(|| format!("    the alarm set now will be {} s late", late / 1000));
        }
        let mut object = self.object.borrow_mut();
        object.alarm_lost = lost.is_some();
        object.alarm_ms = fires.filter(|_| lost.is_none()).map(|ms| ms + late);
        Ok(())
    }
}

impl driver::Outside for Seams<'_> {
    type Error = Cut;

    async fn perform(&self, effect: Effect, record: &Record) -> Result<EffectOutcome, Cut> {
        self.evicted(Kind::CrashBefore, ODDS.crash, || format!("    evicted before {effect:?}"))?;
        let struck = self.outside.struck.get();
        let outcome = self.perform_once(effect, record).await;
        if self.strike(Kind::FewCalls, 2 * ODDS.crash).is_some() {
            self.note(|| "    hardly any calls are left".to_owned());
            self.outside.calls.set(CALLS_BUDGET);
        }
        if self.strike(Kind::Twice, ODDS.crash / 4).is_some() {
            // What an object does that lost its memory between the call and its end.
            let _second = self.perform_once(effect, record).await;
            self.note(|| format!("    {effect:?} ran twice"));
        }
        if effect == Effect::DeleteServer {
            self.object.borrow_mut().refused = self.outside.struck.get() > struck;
        }
        self.evicted(Kind::CrashAfter, ODDS.crash, || format!("    evicted after {effect:?}"))?;
        if let (Some(mut rng), Some(flight)) =
            (self.strike(Kind::SlowOutcome, ODDS.crash / 3), &record.in_flight)
        {
            let known_at = self.now_ms + rng.i64(1_000..150_000);
            self.note(|| format!("    {effect:?} → {outcome:?}, known late"));
            self.object.borrow_mut().late.push((known_at, flight.attempt_id, outcome));
            return Err(Cut::KnownLate);
        }
        if self.strike(Kind::NoAnswer, ODDS.crash / 3).is_some() {
            self.note(|| format!("    {effect:?} → {outcome:?}, which nobody hears in time"));
            return std::future::pending().await;
        }
        Ok(outcome)
    }

    fn calls(&self) -> u32 {
        self.outside.calls.get()
    }

    /// Time stands still in an invocation: what is not answered at once is not answered in time.
    async fn pass(&self, _time: Duration) {}

    async fn tell(&self) {}

    fn end(&self, record: &Record, left: Option<Effect>) {
        if let Some(effect) = left {
            self.note(|| format!("    no calls are left: {effect:?} is left to the next invocation"));
            let mut object = self.object.borrow_mut();
            object.left += 1;
            object.owed = Some(Owed { effect, state: record.state(), number: object.left });
        }
    }
}

impl Observer for Seams<'_> {
    fn decided(&self, decided: Decided<'_>) {
        let mut object = self.object.borrow_mut();
        object.decisions += 1;
        let in_flight = decided.next.in_flight.as_ref().map(|flight| flight.effect);
        object.owed.take_if(|owed| Some(owed.effect) == in_flight);
        if object.trace.lines.is_none() {
            return;
        }
        let Decided { before, next, notes, refusal, .. } = decided;
        let said = std::mem::take(&mut object.said);
        let is_news = !notes.is_empty() || refusal.is_some() || next.state() != before.state();
        let routine = said.starts_with("heard") || said == "alarm";
        let begun = next.attempts != before.attempts;
        if is_news || (begun && routine) || said.starts_with("owner") || said.starts_with("receipt") {
            let mut line = format!("{said}: {}", before.state());
            if next.state() != before.state() {
                let _infallible = write!(line, " → {}", next.state());
            }
            for note in &notes {
                let _infallible = write!(line, "; {}", note.because);
            }
            if let Some(refusal) = refusal {
                let _infallible = write!(line, "; refused: {}", refusal.message);
            }
            object.trace.note(self.now_ms, || line);
        }
    }

    fn performed(&self, performed: &Performed<'_>) {
        let Performed { record, effect, outcome, .. } = performed;
        self.note(|| format!("    {effect:?} → {outcome:?}"));
        let attempt_id = record.in_flight.as_ref().map_or(0, |flight| flight.attempt_id);
        let mut object = self.object.borrow_mut();
        if object.trace.lines.is_some() {
            object.said = format!("    effect {attempt_id} ended");
        }
    }
}

fn ms(at: Timestamp) -> i64 {
    at.as_millisecond() - EPOCH_MS
}
