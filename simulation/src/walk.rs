//! One walk: a workspace from spawn to rest, with an owner who changes their mind, machines that fail, providers that
//! have bad spells and a platform that evicts, oversleeps and goes away.

mod machines;

use super::cloud::Outside;
use super::faults::{Dice, Disruption, Kind};
use super::invariants::{
    Broken, Promise, all_is_at_rest, image_goes_only_when_spared, is_reserved, label_at_odds, loss_is_told,
    nothing_bills_unseen, nothing_due_is_forgotten, others_are_left_alone, restores_the_newest, work_is_kept,
};
use super::machine::Machine;
use super::object::{Object, Taken, Trace};
use super::report::Report;
use super::{EPOCH_MS, MINUTE_MS, ODDS, at, setting};
use ebbtide_api::Duration;
use ebbtide_api::workspace::{Hold, OnUnsaved, State};
use ebbtide_cloud_sim::model::ServerStatus;
use ebbtide_control::lifecycle::{Command, Input};
use ebbtide_control::record::{DesiredState, Phase};
use ebbtide_control::reservation::ReservationRequest;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A walk that takes more steps than this is stuck.
const MOST_STEPS: u64 = 60_000;
/// How often the sweep runs.
const SWEEP_MS: i64 = 5 * MINUTE_MS;

/// What a walk came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub report: Report,
    /// What struck, in order.
    pub struck: Vec<Disruption>,
    pub broken: Option<Broken>,
    /// A line a step, where one was asked for.
    pub trace: Vec<String>,
}

/// Walks walks.
#[derive(Debug, Default, Clone, Copy)]
pub struct Walker;

impl Walker {
    /// Walks the workspace of a seed from spawn to rest, with whatever strikes it.
    pub fn walk(&self, seed: u64) -> Outcome {
        Walk::new(seed, None, Trace::default()).finish()
    }

    /// The same, traced, with those disruptions alone.
    pub fn replay(&self, seed: u64, only: BTreeSet<Disruption>) -> Outcome {
        Walk::new(seed, Some(only), Trace { lines: Some(Vec::new()) }).finish()
    }
}

/// What is promised for the end of a machine on top of its hard end: a lost effect is noticed, and repeated.
pub fn latency_secs() -> u64 {
    let policy = setting::policy();
    policy.effect_timeout.plus(policy.retry_cap).as_secs()
}

struct Walk {
    dice: Dice,
    outside: Outside,
    object: Object,
    machines: BTreeMap<u64, Machine>,
    /// Rescue images that the record counts on, with the work that each holds.
    images: BTreeMap<u64, u64>,
    /// Machines that somebody else deleted, until the owner must have been told.
    vanished: Vec<Machine>,
    pace: fastrand::Rng,
    owner_until_ms: i64,
    next_command_ms: i64,
    /// When spells of trouble begin and end.
    spells_ms: Vec<i64>,
    trouble_until_ms: i64,
    outage: Option<(i64, i64)>,
    /// When the control plane last found that it had overslept.
    lapse_ms: Option<i64>,
    /// When something last went wrong.
    calm_since_ms: i64,
    state: (State, i64),
    /// When the sweep last nudged.
    swept_ms: i64,
    over: (u64, u64),
    /// Since when the label of a living machine is at odds with the record.
    at_odds_since_ms: Option<i64>,
    report: Report,
}

impl Walk {
    fn new(seed: u64, only: Option<BTreeSet<Disruption>>, trace: Trace) -> Self {
        let mut dice = Dice::new(seed, only);
        let record = setting::record(&mut dice);
        let mut outside = Outside::new(dice.plain(1));
        setting::neighbour(&record, &mut outside, &mut dice);
        let mut pace = dice.plain(2);
        let owner_until_ms = pace.i64(10..300) * MINUTE_MS;
        let next_command_ms = pace.i64(1..90) * MINUTE_MS;
        let spells_ms = (0..2).map(|_| pace.i64(0..150) * MINUTE_MS).collect();
        let outage = dice.strike(Kind::Outage, 120).map(|mut rng| {
            let from = rng.i64(0..180) * MINUTE_MS;
            (from, from + rng.i64(1..100) * MINUTE_MS)
        });
        Self {
            dice,
            outside,
            state: (record.state(), 0),
            object: Object {
                record: Rc::new(record),
                policy: Rc::new(setting::policy()),
                alarm_ms: None,
                alarm_due_ms: None,
                alarm_lost: false,
                last_seen_ms: None,
                late: Vec::new(),
                crashed: false,
                refused: false,
                effects: 0,
                decisions: 0,
                left: 0,
                owed: None,
                trace,
                said: String::new(),
            },
            machines: BTreeMap::new(),
            images: BTreeMap::new(),
            vanished: Vec::new(),
            pace,
            owner_until_ms,
            next_command_ms,
            spells_ms,
            trouble_until_ms: 0,
            outage,
            lapse_ms: None,
            calm_since_ms: 0,
            swept_ms: 0,
            over: (0, 0),
            at_odds_since_ms: None,
            report: Report { lifecycles: 1, ..Report::default() },
        }
    }

    fn finish(mut self) -> Outcome {
        let broken = self.run().err();
        let mut report = self.report;
        report.effects = self.object.effects;
        report.decisions = self.object.decisions;
        report.left = self.object.left;
        report.calls_struck = self.outside.struck.get();
        report.told_lost = u64::from(self.object.record.data_loss_note.is_some());
        report.count(&self.dice.struck);
        *report.states.entry(self.object.record.state().as_str()).or_default() += 1;
        if let Some(broken) = &broken {
            *report.broken.entry(broken.promise.as_str()).or_default() += 1;
        }
        let trace = self.object.trace.lines.take().unwrap_or_default();
        Outcome { report, struck: self.dice.struck, broken, trace }
    }

    fn run(&mut self) -> Result<(), Broken> {
        // Whoever creates it hears of a failure and asks again.
        while let Taken::Lost = self.decide(Input::Tick { due_at: None })? {}
        for _ in 0..MOST_STEPS {
            let Some(next_ms) = self.next_event() else { return all_is_at_rest(&self.object, &self.outside) };
            self.report.steps += 1;
            let before = self.now();
            let struck = self.dice.struck.len();
            self.account(before, next_ms.max(before))?;
            self.outside.now_ms.set(next_ms.max(before));
            self.look_at_provider()?;
            self.turn()?;
            nothing_bills_unseen(&self.object, &self.outside)?;
            others_are_left_alone(&self.object, &self.outside)?;
            self.converge(struck);
            self.labels_name_the_end()?;
        }
        let record = &self.object.record;
        let stuck = format!("{}, still not at rest after {MOST_STEPS} steps", record.state());
        Err(Promise::EverythingRests.broken(stuck))
    }

    fn now(&self) -> i64 {
        self.outside.now_ms.get()
    }

    fn is_away(&self) -> bool {
        self.outage.is_some_and(|(from, until)| (from..until).contains(&self.now()))
    }

    /// When something happens next; `None` at rest.
    fn next_event(&self) -> Option<i64> {
        let now = self.now();
        let command = (self.next_command_ms < self.owner_until_ms).then_some(self.next_command_ms);
        let spells = self.spells_ms.iter().copied();
        let machines = self.machines.values().map(|machine| machine.next_ms);
        let late = self.object.late.iter().map(|(at_ms, ..)| *at_ms);
        let provider = self.outside.cloud.borrow().next_due_ms().map(|ms| ms - EPOCH_MS);
        let alarm = self.object.alarm_ms.or_else(|| self.nudge_ms());
        let all = machines.chain(spells).chain(late).chain(command).chain(provider).chain(alarm);
        all.min().map(|next| next.max(now))
    }

    /// When the sweep finds an object whose alarm was lost.
    fn nudge_ms(&self) -> Option<i64> {
        let due = self.object.alarm_due_ms.filter(|_| self.object.alarm_lost)?;
        let policy = &self.object.policy;
        let overdue_ms = policy.sweep_overdue.as_secs() as i64 * 1000;
        let ends_at = self.object.record.phase_ends_at(policy);
        // An object with no deadline in the index is found when somebody looks at the workspace.
        let ends_ms = ends_at.map_or(due + 1440 * MINUTE_MS, |at| at.as_millisecond() - EPOCH_MS);
        let found = (ends_ms + overdue_ms).max(self.swept_ms + 1);
        Some((found + SWEEP_MS - 1) / SWEEP_MS * SWEEP_MS)
    }

    /// Everything whose time has come, one after the other.
    fn turn(&mut self) -> Result<(), Broken> {
        let now = self.now();
        let begun = self.spells_ms.iter().filter(|ms| **ms <= now).count();
        self.spells_ms.retain(|ms| *ms > now);
        (0..begun).for_each(|_| self.begin_trouble());
        if self.is_away() {
            self.calm_since_ms = now;
        }
        self.alarm()?;
        while let Some(n) = self.object.late.iter().position(|(at_ms, ..)| *at_ms <= now) {
            let (_, attempt_id, outcome) = self.object.late.swap_remove(n);
            if self.is_away() {
                self.object.crashed = true;
            } else {
                self.decide(Input::Finished { attempt_id, outcome })?;
            }
        }
        let due = |machine: &&Machine| machine.next_ms <= now;
        let due: Vec<u64> = self.machines.values().filter(due).map(|machine| machine.server_id).collect();
        for server_id in due {
            self.machine_turn(server_id)?;
        }
        // Whoever chose to keep unsaved work at any price ends that one day.
        let held = self.object.record.held_until.is_some();
        if held && now > self.owner_until_ms + 6 * 60 * MINUTE_MS && !self.is_away() {
            self.decide(Input::Ask(Command::Discard))?;
        }
        if self.next_command_ms <= now && self.next_command_ms < self.owner_until_ms {
            self.command()?;
            self.next_command_ms = now + self.pace.i64(1..120) * MINUTE_MS;
        }
        Ok(())
    }

    fn alarm(&mut self) -> Result<(), Broken> {
        let now = self.now();
        let fires = self.object.alarm_ms.or_else(|| self.nudge_ms());
        let nudged = self.object.alarm_ms.is_none() && self.object.alarm_lost;
        // One that the object has given up as lost may fire all the same, for nothing.
        if fires.is_none_or(|fires| fires > now) {
            return Ok(());
        }
        if let Some((_, until)) = self.outage.filter(|_| self.is_away()) {
            (self.object.alarm_ms, self.object.alarm_lost) = (Some(until), false);
            return Ok(());
        }
        if nudged {
            self.swept_ms = now;
            self.object.trace.note(now, || "the sweep pokes it".to_owned());
        }
        self.object.alarm_ms = None;
        let due_at = self.object.alarm_due_ms.map(at);
        if let Taken::Lost = self.decide(Input::Tick { due_at })? {
            // The runtime tries again.
            (self.object.alarm_ms, self.object.alarm_lost) = (Some(now + 2_000), false);
        }
        Ok(())
    }

    fn decide(&mut self, input: Input) -> Result<Taken, Broken> {
        let before = self.object.record.state();
        let (image, salvages) = (self.object.record.rescue_image, self.object.record.salvage_image_id);
        let generation = self.object.record.generation;
        let lateness_ms = self.object.policy.alarm_lateness.as_secs() as i64 * 1000;
        if self.object.alarm_due_ms.is_some_and(|due| self.now() - due >= lateness_ms) {
            // Whatever comes by, the platform had not woken us for so long.
            self.lapse_ms = Some(self.now());
            self.calm_since_ms = self.now();
        }
        if self.now() < self.outside.other_project_until.get() {
            // Nor could anything be done with such a token.
            self.lapse_ms = Some(self.now());
        }
        let (woken, owed) = (matches!(input, Input::Tick { .. }), self.object.owed);
        let taken = self.object.input(input, &self.outside, &mut self.dice);
        if woken && !matches!(taken, Taken::Lost) {
            nothing_due_is_forgotten(owed, &self.object, self.now())?;
        }
        if self.object.record.generation != generation {
            is_reserved(&self.object, &self.outside)?;
        }
        self.forget_reservations();
        let record = &self.object.record;
        if before != record.state() && record.state() == State::Asleep {
            self.report.slept += 1;
        }
        self.report.rescued += u64::from(record.rescue_image.is_some() && image.is_none());
        let spared = salvages.is_some() && image.is_some() && record.rescue_image.is_none();
        self.report.salvaged += u64::from(spared && record.data_loss_note.is_none());
        if record.desired == DesiredState::Discarded && matches!(record.phase, Phase::Destroying { .. }) {
            // Undoing the deletion later brings no machine back.
            self.machines.values_mut().for_each(|machine| machine.discarded = true);
        }
        let over =
            |machine: &Machine| record.generation.0 != machine.generation || !record.phase.may_have_machine();
        for machine in self.vanished.extract_if(.., |machine| over(machine)) {
            loss_is_told(&machine, &self.object, &self.outside)?;
        }
        self.look_at_provider()?;
        Ok(taken)
    }

    /// As the sweep does: what was reserved long ago for a workspace that rests belongs to no machine.
    fn forget_reservations(&self) {
        let record = &self.object.record;
        if matches!(record.phase, Phase::Asleep | Phase::Failed { .. } | Phase::Deleted { .. }) {
            let grace_ms = self.object.policy.reservation_grace.as_secs() as i64 * 1000;
            let now = self.now();
            self.outside.reserved.borrow_mut().retain(|_, since| now - *since < grace_ms);
        }
    }

    /// Counts what a machine costs, and whose fault the time beyond its hard end is.
    fn account(&mut self, from: i64, to: i64) -> Result<(), Broken> {
        let cloud = self.outside.cloud.borrow();
        let live = self.outside.ours(&cloud).find(|server| server.status != ServerStatus::Deleting);
        let Some(id) = live.map(|server| server.id) else { return Ok(()) };
        drop(cloud);
        self.report.machine_ms += (to - from).unsigned_abs();
        let (record, policy) = (&self.object.record, &self.object.policy);
        let kept_by_choice = matches!(record.phase, Phase::Rescuing { .. }) || record.held_until.is_some();
        if record.spec.on_unsaved == OnUnsaved::Hold && kept_by_choice {
            return Ok(());
        }
        // Reckoned here and not asked of the record: a mistake in its arithmetic must show.
        let ms = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(0) * 1000;
        let woke_ms = record.woke_at.as_millisecond() - EPOCH_MS;
        let regular = woke_ms + ms(record.spec.lifetime) + ms(policy.drain_ceiling);
        let lapsed = self.lapse_ms.map_or(regular, |lapse| regular.max(lapse + ms(policy.drain_grace)));
        let beyond = (to - from.max(lapsed + ms(policy.rescue_ceiling))).max(0).unsigned_abs();
        if beyond == 0 {
            return Ok(());
        }
        let overslept =
            self.object.alarm_due_ms.is_some_and(|due| due < to && self.object.alarm_ms != Some(due));
        if self.object.refused || !self.object.late.is_empty() {
            self.report.refused_ms += beyond;
        } else if self.object.crashed || overslept || self.is_away() {
            self.report.asleep_ms += beyond;
        } else {
            self.over = (id, beyond + if self.over.0 == id { self.over.1 } else { 0 });
            self.report.worst_over_ms = self.report.worst_over_ms.max(self.over.1);
            if self.over.1 > latency_secs() * 1000 {
                self.report.over_ms += self.over.1;
                let over = self.over.1 / 1000;
                let what = format!("server {id} lives {over} s past its hard end");
                return Err(Promise::NothingBillsForEver.broken(what));
            }
        }
        Ok(())
    }

    /// How long passing states take once nothing goes wrong any more.
    fn converge(&mut self, struck: usize) {
        let now = self.now();
        let troubled = self.dice.struck.len() > struck || now < self.trouble_until_ms;
        if troubled || self.object.alarm_due_ms.is_some_and(|due| due < now) {
            self.calm_since_ms = now;
        }
        let state = self.object.record.state();
        if state != self.state.0 {
            let passing = matches!(
                self.state.0,
                State::Requested | State::Provisioning | State::Rescuing | State::Destroying
            );
            let held = self.object.record.spec.on_unsaved == OnUnsaved::Hold;
            if passing && !(held && self.state.0 == State::Rescuing) {
                let waited = (now - self.state.1.max(self.calm_since_ms)).max(0).unsigned_abs();
                self.report.worst_converge_ms = self.report.worst_converge_ms.max(waited);
            }
            self.state = (state, now);
        }
    }

    /// A label may lag for as long as a lost effect takes to be noticed and repeated, once nothing goes wrong any more.
    fn labels_name_the_end(&mut self) -> Result<(), Broken> {
        let Some(at_odds) = label_at_odds(&self.object, &self.outside) else {
            self.at_odds_since_ms = None;
            return Ok(());
        };
        let now = self.now();
        let since = *self.at_odds_since_ms.get_or_insert(now);
        let lags = (now - since.max(self.calm_since_ms)).max(0).unsigned_abs() / 1000;
        if lags <= latency_secs() {
            return Ok(());
        }
        Err(Promise::LabelsNameTheEnd.broken(format!("the label has said {at_odds} for {lags} s")))
    }

    /// Lets the provider's own work happen, and meets machines that appear, reboot or go.
    fn look_at_provider(&mut self) -> Result<(), Broken> {
        let now = self.now();
        self.outside.cloud.borrow_mut().advance(EPOCH_MS + now);
        let cloud = self.outside.cloud.borrow();
        let seen: Vec<(u64, ServerStatus, u32)> =
            self.outside.ours(&cloud).map(|server| (server.id, server.status, server.boots)).collect();
        drop(cloud);
        let here =
            |id: u64| seen.iter().any(|(seen, status, _)| *seen == id && *status != ServerStatus::Deleting);
        let gone: Vec<Machine> = self.machines.extract_if(.., |id, _| !here(*id)).map(|(_, m)| m).collect();
        for machine in gone {
            if machine.vanished {
                self.vanished.push(machine);
                continue;
            }
            work_is_kept(&machine, &self.object, &self.outside)?;
            if let (Some(image), None) = (self.object.record.rescue_image, machine.salvages) {
                self.images.insert(image, machine.work);
            }
        }
        // Work in an image counts as saved, until the record lets the image go.
        let (object, outside) = (&self.object, &self.outside);
        let gone = self.images.extract_if(.., |image, _| object.record.rescue_image != Some(*image));
        for (image, work) in gone {
            image_goes_only_when_spared(image, work, object, outside)?;
        }
        for (id, status, boots) in seen {
            if status != ServerStatus::Running {
                continue;
            }
            match self.machines.get_mut(&id) {
                Some(machine) if machine.boots_seen != boots => {
                    if machine.is_alive(now) && machine.reboots == 0 && !machine.reboot_asked {
                        return Err(Promise::TheLivingAreLeft.broken("a living machine was rebooted"));
                    }
                    machine.boots_seen = boots;
                    machine.reboots += 1;
                    machine.rebooted(now);
                }
                Some(_) => {}
                None => {
                    restores_the_newest(&self.object)?;
                    self.meet(id, boots);
                }
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<(), Broken> {
        let now = self.now();
        let Some(mut rng) = self.dice.strike(Kind::Owner, 1000) else { return Ok(()) };
        let command = match rng.u32(..22) {
            0..5 => Command::Sleep,
            5..11 => Command::Wake { snapshot: None },
            11..13 => Command::Retry,
            13 => Command::Delete,
            14 => Command::Discard,
            15 => Command::Undelete,
            16 => Command::Change {
                idle_timeout: None,
                lifetime: Some(Duration::from_mins(rng.u64(30..300))),
                worst_case: None,
            },
            17 => Command::TakeHold(Hold {
                id: "h".to_owned(),
                reason: "training".to_owned(),
                ends_at: at(now + rng.i64(1..60) * MINUTE_MS),
            }),
            18 => Command::ReleaseHold { id: "h".to_owned() },
            19 => Command::TakeLock { by: "the owner's restic".to_owned() },
            20 => Command::ReleaseLock { by: "the owner's restic".to_owned() },
            _ if rng.bool() => Command::Reboot,
            _ => Command::Snapshot,
        };
        // The API reserves a machine before it asks for one, and asks for none that a cap refuses.
        let begins = matches!(command, Command::Wake { .. } | Command::Retry);
        let next = ReservationRequest::of(&self.object.record, at(now)).next.filter(|_| begins);
        let refused = next.is_some_and(|next| !matches!(self.outside.reserve(next.0), Ok(true)));
        if refused || self.is_away() {
            return Ok(());
        }
        if command == Command::Reboot
            && matches!(self.object.record.phase, Phase::Running | Phase::Silent { .. })
        {
            let generation = self.object.record.generation.0;
            let asked = |machine: &&mut Machine| machine.generation == generation;
            self.machines.values_mut().filter(asked).for_each(|machine| machine.reboot_asked = true);
        }
        self.decide(Input::Ask(command)).map(drop)
    }

    fn begin_trouble(&mut self) {
        let now = self.now();
        let Some(mut rng) = self.dice.strike(Kind::Trouble, ODDS.trouble) else { return };
        let (name, spell, until_ms) = setting::trouble(&mut rng, now);
        self.object.trace.note(now, || format!("trouble for {} min: {name}", (until_ms - now) / MINUTE_MS));
        *self.report.troubles.entry(name).or_default() += 1;
        self.trouble_until_ms = self.trouble_until_ms.max(until_ms);
        match spell {
            Some(spell) => self.outside.spells.borrow_mut().push(spell),
            None if name == "storage refuses" => self.outside.storage_down_until.set(until_ms),
            // An installation that has begun in a project; before that, whatever the token sees is it.
            None if name == setting::OTHER_PROJECT => {
                if self.outside.project.get().is_some() {
                    self.outside.other_project_until.set(until_ms);
                }
            }
            None if name == "a cap is reached" => self.outside.cap_reached_until.set(until_ms),
            None => self.outside.all_silent_until.set(until_ms),
        }
    }
}
