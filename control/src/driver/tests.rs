//! The order of the driver's steps, and when it does without one of them.

use super::*;
use crate::http::script::finish;
use crate::lifecycle::{Command, a_record};
use crate::record::{Phase, Placement, Server};
use ebbtide_api::workspace::State;
use std::cell::{Cell, RefCell};

/// The host's storage or runtime is gone.
#[derive(Debug, PartialEq, Eq)]
struct Gone;

/// An object in memory that writes down what is asked of it.
struct Memory {
    stored: RefCell<Stored>,
    now: Cell<i64>,
    steps: RefCell<Vec<String>>,
    saves_left: Cell<u32>,
}

impl Memory {
    fn new(record: Record, alarm_at: Option<i64>) -> Self {
        Self {
            stored: RefCell::new(Stored { record: Rc::new(record), alarm_at: alarm_at.map(at) }),
            now: Cell::new(0),
            steps: RefCell::default(),
            saves_left: Cell::new(u32::MAX),
        }
    }

    fn step(&self, step: impl Into<String>) {
        self.steps.borrow_mut().push(step.into());
    }

    fn steps(&self) -> Vec<String> {
        self.steps.take()
    }

    fn record(&self) -> Rc<Record> {
        Rc::clone(&self.stored.borrow().record)
    }

    fn wake(&self, policy: &Policy) -> Result<Settled, Gone> {
        finish(Driver { host: self, policy }.wake())
    }

    fn take(&self, input: Input, policy: &Policy) -> Result<Settled, Gone> {
        finish(Driver { host: self, policy }.take(input))
    }

    fn drive(&self, begun: Option<Begun>, shore: &Executor<'_>, policy: &Policy) -> Result<(), Gone> {
        finish(Driver { host: self, policy }.drive(begun.expect("an effect was begun"), shore))
    }
}

impl Host for Memory {
    type Error = Gone;

    fn now(&self) -> Timestamp {
        at(self.now.get())
    }

    fn last_seen_at(&self, _record: &Record) -> Option<Timestamp> {
        Some(self.now())
    }
}

impl Store for Memory {
    fn load(&self) -> Result<Stored, Gone> {
        Ok(self.stored.borrow().clone())
    }

    fn save(&self, record: &Rc<Record>, alarm_at: Option<Timestamp>) -> Result<(), Gone> {
        let left = self.saves_left.get().checked_sub(1).ok_or(Gone)?;
        self.saves_left.set(left);
        self.step(format!("save {}", record.state()));
        *self.stored.borrow_mut() = Stored { record: Rc::clone(record), alarm_at };
        Ok(())
    }
}

impl Alarm for Memory {
    async fn set_alarm(&self, at: Option<Timestamp>, _now: Timestamp) -> Result<(), Gone> {
        self.step(at.map_or("no alarm".to_owned(), |at| format!("alarm at {}", at.as_second() - at_zero())));
        Ok(())
    }
}

impl Observer for Memory {
    fn decided(&self, decided: Decided<'_>) {
        decided.notes.into_iter().for_each(|note| self.step(note.because));
    }

    fn performed(&self, performed: &Performed<'_>) {
        self.step(format!("{:?} ended", performed.effect));
    }
}

/// A provider that answers as it is told, or not at all.
struct Executor<'a> {
    memory: &'a Memory,
    outcomes: RefCell<Vec<EffectOutcome>>,
    calls: Cell<u32>,
    each: u32,
}

impl<'a> Executor<'a> {
    fn new(memory: &'a Memory, outcomes: impl IntoIterator<Item = EffectOutcome>) -> Self {
        let mut outcomes: Vec<EffectOutcome> = outcomes.into_iter().collect();
        outcomes.reverse();
        Self { memory, outcomes: RefCell::new(outcomes), calls: Cell::new(0), each: 1 }
    }
}

impl Outside for Executor<'_> {
    type Error = Gone;

    async fn perform(&self, effect: Effect, record: &Record) -> Result<EffectOutcome, Gone> {
        assert_eq!(record.in_flight.as_ref().map(|flight| flight.effect), Some(effect));
        assert_eq!(*self.memory.record(), *record, "it is saved before it is performed");
        self.memory.step(format!("perform {effect:?}"));
        self.calls.set(self.calls.get() + self.each);
        let outcome = self.outcomes.borrow_mut().pop();
        match outcome {
            Some(outcome) => Ok(outcome),
            None => std::future::pending().await,
        }
    }

    fn calls(&self) -> u32 {
        self.calls.get()
    }

    async fn pass(&self, _time: Duration) {}

    async fn tell(&self) {}

    fn end(&self, _record: &Record, left: Option<Effect>) {
        self.memory.step(left.map_or("nothing is left".to_owned(), |effect| format!("{effect:?} is left")));
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + secs).unwrap()
}

fn at_zero() -> i64 {
    1_800_000_000
}

fn server() -> Server {
    let placement = Placement { size: "cx23".into(), location: "fsn1".into() };
    Server { id: 7, ipv4: Some("192.0.2.7".into()), placement, created: None }
}

/// A workspace that was just asked for.
fn requested() -> Record {
    let mut record = a_record();
    (record.since, record.woke_at, record.created_at) = (at(0), at(0), at(0));
    record
}

/// One whose machine works.
fn running() -> Record {
    let mut record = requested();
    record.phase = Phase::Running;
    record.server = Some(server());
    record.dns = crate::record::Dns::Ready;
    record
}

fn later(waiting_for: &str) -> EffectOutcome {
    EffectOutcome::Later { waiting_for: waiting_for.to_owned(), maybe_landed: false, not_before: None }
}

#[test]
fn everything_is_saved_and_the_alarm_set_before_anything_is_performed() {
    let (memory, policy) = (Memory::new(requested(), None), Policy::default());
    let settled = memory.wake(&policy).unwrap();
    let shore = Executor::new(&memory, [EffectOutcome::Exists(server()), later("names")]);
    memory.drive(settled.effect, &shore, &policy).unwrap();
    insta::assert_snapshot!(memory.steps().join("\n"));
}

#[test]
fn what_was_not_saved_was_not_decided_and_nothing_is_performed() {
    let (memory, policy) = (Memory::new(requested(), None), Policy::default());
    memory.saves_left.set(0);
    assert_eq!(memory.wake(&policy), Err(Gone));
    assert_eq!(memory.steps(), Vec::<String>::new());
    assert_eq!(memory.record().state(), State::Requested);
}

#[test]
fn an_effect_that_was_given_up_meanwhile_is_left_to_its_successor() {
    let (memory, policy) = (Memory::new(requested(), None), Policy::default());
    let first = memory.wake(&policy).unwrap().effect;
    memory.now.set(61);
    let second = memory.wake(&policy).unwrap();
    assert_eq!(second.effect, None, "a pause comes first");
    memory.steps();
    memory.drive(first, &Executor::new(&memory, []), &policy).unwrap();
    assert_eq!(memory.steps(), Vec::<String>::new());
}

#[test]
fn an_answer_that_does_not_come_in_time_may_have_landed() {
    let (memory, policy) = (Memory::new(requested(), None), Policy::default());
    let begun = memory.wake(&policy).unwrap().effect;
    memory.drive(begun, &Executor::new(&memory, []), &policy).unwrap();
    let record = memory.record();
    assert!(matches!(record.phase, Phase::Provisioning { maybe_created: true, .. }), "{:?}", record.phase);
    assert_eq!(
        record.pause.as_ref().map(|pause| pause.waiting_for.as_str()),
        Some("an answer that did not come in time")
    );
}

#[test]
fn a_later_time_is_left_to_the_standing_alarm_and_heartbeats_write_nothing() {
    let (memory, policy) = (Memory::new(running(), Some(30)), Policy::default());
    let heartbeat =
        || Input::Heartbeat(crate::lifecycle::HeartbeatSummary { ready: true, ..Default::default() });
    memory.take(heartbeat(), &policy).unwrap();
    memory.steps();
    memory.now.set(20);
    memory.take(heartbeat(), &policy).unwrap();
    assert_eq!(memory.steps(), Vec::<String>::new());
}

#[test]
fn an_alarm_that_has_fired_is_set_again_even_for_the_same_time() {
    let (memory, policy) = (Memory::new(running(), Some(120)), Policy::default());
    memory.wake(&policy).unwrap();
    assert_eq!(memory.steps(), ["save running", "alarm at 120"]);
}

#[test]
fn an_alarm_that_is_long_overdue_is_lost_and_whoever_comes_by_sets_it_again() {
    for (late, set) in [(600, false), (601, true)] {
        let (memory, policy) = (Memory::new(running(), Some(0)), Policy::default());
        memory.now.set(late);
        memory.take(Input::Ask(Command::ReleaseHold { id: "none".into() }), &policy).unwrap();
        assert_eq!(memory.steps().iter().any(|step| step.starts_with("alarm at")), set, "{late} s late");
    }
}

#[test]
fn what_no_call_is_left_for_is_not_begun_and_the_next_invocation_comes_at_once() {
    let (memory, policy) = (Memory::new(requested(), None), Policy::default());
    let begun = memory.wake(&policy).unwrap().effect;
    let shore = Executor { each: CALLS_BUDGET, ..Executor::new(&memory, [EffectOutcome::Exists(server())]) };
    memory.steps();
    memory.drive(begun, &shore, &policy).unwrap();
    assert_eq!(memory.record().in_flight, None);
    assert_eq!(
        memory.steps(),
        [
            "perform EnsureServer",
            "EnsureServer ended",
            "save booting",
            "alarm at 0",
            "the server exists and boots",
            "EnsureDns is left"
        ]
    );
    let next = memory.wake(&policy).unwrap().effect;
    assert_eq!(next.map(|begun| begun.effect), Some(Effect::EnsureDns));
}

/// Thirteen of thirty counts of new packs ended with a label that nobody wrote.
#[test]
fn a_label_that_has_to_wait_for_the_next_invocation_is_written_in_it() {
    let record = Record { labels_stale: true, dns: crate::record::Dns::MayExist, ..running() };
    let (memory, policy) = (Memory::new(record, None), Policy::default());
    let begun = memory.wake(&policy).unwrap().effect;
    let shore = Executor { each: CALLS_BUDGET, ..Executor::new(&memory, [EffectOutcome::Done]) };
    memory.drive(begun, &shore, &policy).unwrap();
    assert_eq!(memory.steps().last().map(String::as_str), Some("UpdateLabels is left"));
    let next = memory.wake(&policy).unwrap().effect;
    assert_eq!(next.map(|begun| begun.effect), Some(Effect::UpdateLabels));
}

#[test]
fn what_is_due_at_once_is_not_left_to_an_alarm_that_is_overdue() {
    let now = at(100);
    assert_eq!(alarm_for(Some(at(90)), Some(now), now), Some(now));
    assert_eq!(alarm_for(Some(at(90)), Some(at(200)), now), Some(at(90)));
    assert_eq!(alarm_for(Some(at(150)), Some(at(200)), now), Some(at(150)));
}
