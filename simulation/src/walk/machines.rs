//! What machines do in a walk: they come up with a fate, work, report, reboot, vanish, and are fenced off.

use super::Walk;
use crate::cloud::{Outside, servers_url};
use crate::faults::Kind;
use crate::invariants::{Broken, Promise};
use crate::machine::{Machine, Says, Trouble};
use crate::object::Taken;
use crate::{EPOCH_MS, MINUTE_MS, ODDS, at};
use ebbtide_api::vm::{DesiredMachineState, DrainPhase};
use ebbtide_cloud_sim::model::{Activity, MachineFault, Request};
use ebbtide_control::lifecycle::{Command, Context, Input};
use ebbtide_control::record::{DesiredState, Phase};
use ebbtide_control::view::machine;

impl Walk {
    pub(super) fn meet(&mut self, server_id: u64, boots: u32) {
        let now = self.now();
        self.report.machines += 1;
        let mut rng = self.dice.plain(10 + self.report.machines);
        let (mut trouble, mut trouble_at_ms) = (Trouble::None, now);
        if let Some(mut rng) = self.dice.strike(Kind::Machine, ODDS.bad_machine) {
            trouble_at_ms = now + rng.i64(0..150) * MINUTE_MS;
            let until_ms = trouble_at_ms + rng.i64(1..400) * MINUTE_MS;
            trouble = match rng.u32(..8) {
                0 | 1 => Trouble::CutOff { until_ms, quiet: rng.bool() },
                2 => Trouble::CutOff { until_ms: i64::MAX, quiet: rng.bool() },
                3 => Trouble::Dead,
                4 => Trouble::Hung,
                5 => Trouble::Off,
                6 => Trouble::NeverBoots,
                _ => Trouble::CannotUpload,
            };
            if trouble == Trouble::NeverBoots {
                trouble_at_ms = now;
            }
            self.object
                .trace
                .note(now, || format!("server {server_id} runs: {trouble:?} at {trouble_at_ms} ms"));
        }
        let mut sometime = |kind, per_mille| {
            self.dice.strike(kind, per_mille).map(|mut rng| now + rng.i64(1..120) * MINUTE_MS)
        };
        let (reboots_ms, vanishes_ms, impostor_ms) =
            (sometime(Kind::Reboots, 40), sometime(Kind::Vanishes, 25), sometime(Kind::Impostor, 50));
        let salvages = self.object.record.salvage_image_id;
        let machine = Machine {
            server_id,
            generation: self.object.record.generation.0,
            salvages,
            trouble,
            trouble_at_ms,
            next_ms: now + rng.i64(5_000..60_000),
            pace_ms: 50_000 + rng.i64(0..8_000),
            reboots_ms,
            vanishes_ms,
            impostor_ms,
            shown: false,
            enrolled: false,
            steps: 0,
            steps_needed: rng.u64(2..12),
            ready: false,
            open: false,
            fenced: false,
            boot_fails: self.dice.strike(Kind::BootFails, 25).is_some(),
            // A salvage machine holds what the image holds, and nobody works on it.
            work: salvages.and_then(|image| self.images.get(&image).copied()).unwrap_or(0),
            snapshot: None,
            phase: None,
            desired: DesiredMachineState::Run,
            works_until_ms: now + rng.i64(1..150) * MINUTE_MS,
            last_work_ms: now,
            idle_after_ms: 10 * MINUTE_MS,
            unreadable: self.dice.strike(Kind::Unreadable, 25).is_some(),
            upload_left: 0,
            boots_seen: boots,
            reboot_asked: false,
            reboots: 0,
            idle_since_ms: None,
            vanished: false,
            discarded: false,
            rng,
        };
        self.machines.insert(server_id, machine);
    }

    pub(super) fn machine_turn(&mut self, server_id: u64) -> Result<(), Broken> {
        let (now, answered) = (self.now(), !self.is_away());
        let Some(machine) = self.machines.get_mut(&server_id) else { return Ok(()) };
        machine.next_ms = now + machine.pace_ms;
        let generation = machine.generation;
        show(machine, &self.outside, now);
        if machine.reboots_ms.take_if(|at| *at <= now).is_some() {
            let frozen = matches!(machine.phase, Some(DrainPhase::Frozen | DrainPhase::Done));
            if !frozen && machine.is_alive(now) {
                self.object.trace.note(now, || "the machine reboots by itself".to_owned());
                machine.rebooted(now);
            }
        }
        if machine.vanishes_ms.take_if(|at| *at <= now).is_some() && self.is_live(generation) {
            self.vanish(server_id);
            return self.look_at_provider();
        }
        let Some(machine) = self.machines.get_mut(&server_id) else { return Ok(()) };
        let impostor = machine.enrolled && machine.impostor_ms.take_if(|at| *at <= now).is_some();
        let says = machine.act(now, answered, &mut self.dice, &mut self.outside.packs.borrow_mut());
        match says {
            Says::Silence => return Ok(()),
            _ if !self.is_live(generation) => return self.fence(server_id),
            Says::Enrol => {
                let taken = self.decide(Input::Enrolled { machine_key: format!("key {server_id}") })?;
                if let (Taken::Yes, Some(machine)) = (taken, self.machines.get_mut(&server_id)) {
                    machine.enrolled = true;
                }
            }
            Says::Heartbeat(heartbeat) => {
                let idle = heartbeat.idle.is_some();
                self.object.last_seen_ms = Some((generation, now));
                let taken = self.decide(Input::Heartbeat(heartbeat))?;
                self.keeps_no_idle_hour(server_id, idle, &taken)?;
            }
            Says::Deliver { receipt, last } => {
                self.object.last_seen_ms = Some((generation, now));
                let taken = self.decide(Input::Delivered { receipt, last, wrong: None })?;
                let record = &self.object.record;
                let refused = record.pending.is_none() && record.receipt_problem.is_some();
                if let (true, Taken::Yes, Some(machine)) = (refused, taken, self.machines.get_mut(&server_id))
                {
                    machine.refused();
                }
            }
        }
        if impostor && self.is_live(generation) {
            self.impostor()?;
        }
        if !self.is_live(generation) {
            return self.fence(server_id);
        }
        let context = Context { now: at(self.now()), policy: &self.object.policy, last_seen_at: None };
        let instruction = machine::instruction(&self.object.record, &context, <_>::default());
        if let Some(machine) = self.machines.get_mut(&server_id) {
            machine.instruct(&instruction);
        }
        self.mends(server_id)
    }

    /// The owner wakes a frozen machine whose last backup was refused. It hears of that at its next turn; what it
    /// delivers meanwhile may end nothing, not even where it is to sleep again by then.
    fn mends(&mut self, server_id: u64) -> Result<(), Broken> {
        let now = self.now();
        if self.is_away()
            || !self.object.record.may_thaw(at(now))
            || self.object.record.desired != DesiredState::Asleep
        {
            return Ok(());
        }
        let Some(mut rng) = self.dice.strike(Kind::Mends, 150) else { return Ok(()) };
        self.decide(Input::Ask(Command::Wake { snapshot: None }))?;
        if rng.bool() {
            self.decide(Input::Ask(Command::Sleep))?;
        }
        if let Some(machine) = self.machines.get_mut(&server_id) {
            machine.unreadable &= rng.u32(..3) == 0;
            machine.works_until_ms = machine.works_until_ms.max(now + rng.i64(1..20) * MINUTE_MS);
        }
        Ok(())
    }

    /// An idle machine may be kept warm while its started hour is paid anyway, and not a minute of the next one.
    fn keeps_no_idle_hour(&mut self, server_id: u64, idle: bool, taken: &Taken) -> Result<(), Broken> {
        const HOUR_MS: i64 = 60 * MINUTE_MS;
        let now = self.now();
        let record = &self.object.record;
        let held = record.holds.iter().any(|hold| hold.ends_at > at(now));
        let Some(machine) = self.machines.get_mut(&server_id) else { return Ok(()) };
        if !idle || held || record.phase != Phase::Running || record.desired != DesiredState::Awake {
            machine.idle_since_ms = None;
            return Ok(());
        }
        // Silence in between was a question of its own.
        let (since, seen) = machine.idle_since_ms.unwrap_or((now, now));
        let since = if now - seen > 2 * MINUTE_MS { now } else { since };
        machine.idle_since_ms = Some((since, now));
        let cloud = self.outside.cloud.borrow();
        let Some(server) = cloud.server(server_id) else { return Ok(()) };
        let created = server.created_ms - EPOCH_MS;
        // A verdict that comes within the margin is too late for this hour.
        let margin = i64::try_from(self.object.policy.paid_hour_margin.as_secs()).unwrap_or(0) * 1000;
        let paid_until = created + ((since + margin - created) / HOUR_MS + 1) * HOUR_MS;
        if matches!(taken, Taken::Yes) && now > paid_until {
            let over = (now - paid_until) / 1000;
            return Err(Promise::NothingBillsForEver
                .broken(format!("an idle machine is kept {over} s into an hour that was not paid yet")));
        }
        Ok(())
    }

    /// Somebody with another key and a valid token wants to be this machine.
    fn impostor(&mut self) -> Result<(), Broken> {
        let bound = self.object.record.machine_key.clone();
        self.decide(Input::Enrolled { machine_key: "an impostor's".to_owned() })?;
        let now = &self.object.record.machine_key;
        if bound.is_some() && now.is_some() && *now != bound {
            return Err(Promise::OneKeyEnrols.broken("a second key took the place of the first"));
        }
        Ok(())
    }

    /// Somebody deletes the server at the provider, past us.
    pub(super) fn vanish(&mut self, server_id: u64) {
        let now = self.now();
        let url = format!("{}/{server_id}", servers_url());
        let request = Request::new("DELETE", &url).header("authorization", "Bearer hetzner-token");
        let (answer, _) = self.outside.cloud.borrow_mut().apply(&request, EPOCH_MS + now);
        if let (200..300, Some(machine)) = (answer.status, self.machines.get_mut(&server_id)) {
            self.object.trace.note(now, || "somebody deletes the server at the provider".to_owned());
            machine.vanished = true;
        }
    }

    /// Whether a machine of that generation is answered at all, as the object decides it.
    pub(super) fn is_live(&self, generation: u32) -> bool {
        let record = &self.object.record;
        let gone = matches!(record.phase, Phase::Rescuing { .. } | Phase::Destroying { .. });
        record.generation.0 == generation && record.phase.may_have_machine() && !gone
    }

    /// 410: the machine stops.
    pub(super) fn fence(&mut self, server_id: u64) -> Result<(), Broken> {
        if let Some(machine) = self.machines.get_mut(&server_id) {
            machine.fenced = true;
        }
        Ok(())
    }
}

/// Lets the provider's status and metrics show what a machine's trouble is.
fn show(machine: &mut Machine, outside: &Outside, now: i64) {
    if now < machine.trouble_at_ms {
        return;
    }
    let mut cloud = outside.cloud.borrow_mut();
    let listening =
        Activity { cpu_percent: 0.05, network_in_bytes_per_sec: 500.0, network_out_bytes_per_sec: 500.0 };
    let busy = Activity { cpu_percent: 8.0, ..listening };
    let mut fault = |fault| drop(cloud.machine_fault(machine.server_id, fault));
    match machine.trouble {
        Trouble::CutOff { until_ms, quiet } if now >= until_ms => {
            machine.trouble = Trouble::None;
            if quiet {
                cloud.record_activity(machine.server_id, busy, EPOCH_MS + now);
            } else {
                fault(MachineFault::RestoreNetwork);
            }
        }
        _ if machine.shown => {}
        Trouble::CutOff { quiet: true, .. } => {
            cloud.record_activity(machine.server_id, listening, EPOCH_MS + now);
        }
        Trouble::CutOff { quiet: false, .. } => fault(MachineFault::LoseNetwork),
        Trouble::Dead => fault(MachineFault::Die),
        Trouble::Hung => fault(MachineFault::Hang),
        Trouble::Off => fault(MachineFault::SwitchOff),
        Trouble::NeverBoots => fault(MachineFault::NeverBoot),
        Trouble::None | Trouble::CannotUpload => {}
    }
    machine.shown = true;
}
