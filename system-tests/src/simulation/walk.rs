//! One walk: a workspace from spawn to rest, with an owner who changes their mind, machines that fail, and a provider
//! that has bad spells.

use super::cloud::Outside;
use super::machine::{Machine, Says, Trouble};
use super::object::Object;
use super::promises::{all_is_at_rest, nothing_bills_for_ever, restores_the_newest, work_is_never_lost};
use super::{EPOCH_MS, Odds, at};
use ebbtide_api::vm::Wish;
use ebbtide_api::workspace::{Hold, Ingress, OnUnsaved, Persistence};
use ebbtide_api::{Duration, TenantId, WorkspaceId};
use ebbtide_cloud_sim::model::{
    ActionTimes, CapacityShape, Cloud, Config, FaultKind, MachineFault, Provider, Rule, ServerStatus,
};
use ebbtide_control::decide::{Command, Context, Input};
use ebbtide_control::policy::Policy;
use ebbtide_control::record::{NewWorkspace, Phase, Placement, Record, Spec};
use ebbtide_control::view;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

const MINUTE_MS: i64 = 60_000;
/// A walk that takes more steps than this is stuck.
const MOST_STEPS: u32 = 60_000;

/// What walks came to, summed up.
#[derive(Debug, Default, Clone)]
pub struct Report {
    pub lifecycles: u64,
    pub machines: u64,
    pub decisions: u64,
    pub effects: u64,
    pub crashes: u64,
    pub faults: u64,
    pub rescued: u64,
    pub told_lost: u64,
    pub slept: u64,
    pub states: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Adds another walk's figures.
    pub fn add(&mut self, other: &Self) {
        self.lifecycles += other.lifecycles;
        self.machines += other.machines;
        self.decisions += other.decisions;
        self.effects += other.effects;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.rescued += other.rescued;
        self.told_lost += other.told_lost;
        self.slept += other.slept;
        for (state, count) in &other.states {
            *self.states.entry(state).or_default() += count;
        }
    }
}

/// A broken promise, with everything that led to it.
#[derive(Debug)]
pub struct Violation {
    pub seed: u64,
    pub what: String,
    pub history: Vec<String>,
}

struct Walk {
    rng: fastrand::Rng,
    odds: Odds,
    outside: Outside,
    object: Object,
    machines: BTreeMap<u64, Machine>,
    owner_until_ms: i64,
    next_command_ms: i64,
    trouble_from_ms: i64,
    trouble_until_ms: i64,
    excused_ms: i64,
    report: Report,
}

/// Walks one workspace from spawn to rest.
///
/// # Errors
/// The promise that was broken, with its history.
pub fn walk(seed: u64, odds: Odds) -> Result<Report, Violation> {
    let mut walk = Walk::new(seed, odds);
    let outcome = walk.run();
    let mut report = walk.report;
    report.lifecycles = 1;
    report.effects = walk.object.effects;
    report.crashes = walk.object.crashes;
    report.told_lost = u64::from(walk.object.record.lost.is_some());
    report.rescued = u64::from(walk.object.record.rescue_image.is_some());
    *report.states.entry(walk.object.record.state().as_str()).or_default() += 1;
    match outcome {
        Ok(()) => Ok(report),
        Err(what) => Err(Violation { seed, what, history: walk.object.history }),
    }
}

fn policy(rng: &mut fastrand::Rng) -> Policy {
    Policy {
        lifetime: Duration::from_mins(rng.u64(20..240)),
        drain_ceiling: Duration::from_mins(30),
        rescue_ceiling: Duration::from_mins(10),
        silence_budget: Duration::from_mins(40),
        undo: Duration::from_mins(30),
        ..Policy::default()
    }
}

impl Walk {
    fn new(seed: u64, odds: Odds) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let policy = policy(&mut rng);
        let placement =
            |size: &str, location: &str| Placement { size: size.to_owned(), location: location.to_owned() };
        let spec = Spec {
            repo: Some("https://example.org/r.git".to_owned()),
            branch: None,
            placement: placement("cx23", "fsn1"),
            fallbacks: if rng.bool() { vec![placement("cx33", "nbg1")] } else { vec![] },
            image: "debian-12".to_owned(),
            agents: vec![],
            idle_timeout: Duration::from_mins(10),
            lifetime: policy.lifetime,
            ingress: Ingress::Direct,
            on_unsaved: if rng.u32(..10) == 0 { OnUnsaved::Hold } else { OnUnsaved::Destroy },
            persistence: if rng.u32(..20) == 0 { Persistence::None } else { Persistence::Backup },
            env: vec![],
        };
        let id = WorkspaceId::from_random(rng.u64(..));
        let host = format!("r-{id}.ebb.localhost");
        let new = NewWorkspace {
            id,
            tenant: TenantId::owner(),
            name: "r".to_owned(),
            host,
            spec,
            worst_case: None,
        };
        let config = Config { times: ActionTimes::REALISTIC, seed, ..Config::default() };
        let trouble = rng.u32(..1000) < odds.trouble;
        let trouble_from_ms = if trouble { rng.i64(0..120 * MINUTE_MS) } else { i64::MAX };
        let trouble_until_ms = if trouble { trouble_from_ms + rng.i64(1..25) * MINUTE_MS } else { i64::MAX };
        Self {
            odds,
            outside: Outside {
                cloud: RefCell::new(Cloud::new(config)),
                now_ms: Cell::new(0),
                packs: RefCell::default(),
                storage_down_until: Cell::new(0),
                shredded: Cell::new(false),
            },
            object: Object {
                record: Record::new(new, at(0)),
                policy,
                alarm_ms: None,
                alarm_due_ms: None,
                heard_ms: None,
                history: Vec::new(),
                crashes: 0,
                effects: 0,
            },
            machines: BTreeMap::new(),
            owner_until_ms: rng.i64(10..400) * MINUTE_MS,
            next_command_ms: rng.i64(1..90) * MINUTE_MS,
            trouble_from_ms,
            trouble_until_ms,
            excused_ms: 0,
            report: Report::default(),
            rng,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        self.decide(Input::Tick { due_at: None })?;
        for _ in 0..MOST_STEPS {
            let Some(next_ms) = self.next_event() else { return all_is_at_rest(&self.object, &self.outside) };
            self.outside.now_ms.set(next_ms.max(self.outside.now_ms.get()));
            self.look_at_provider()?;
            self.turn()?;
            // An alarm that is late at this moment excuses as much as one that was.
            let overdue = self.object.alarm_due_ms.map_or(0, |due| (self.now() - due).max(0));
            nothing_bills_for_ever(&self.object, &self.outside, self.excused_ms + overdue)?;
        }
        Err(format!("still not at rest after {MOST_STEPS} steps"))
    }

    fn now(&self) -> i64 {
        self.outside.now_ms.get()
    }

    /// When something happens next; `None` at rest.
    fn next_event(&self) -> Option<i64> {
        let now = self.now();
        let command = (self.next_command_ms < self.owner_until_ms).then_some(self.next_command_ms);
        let spell = [self.trouble_from_ms, self.trouble_until_ms]
            .into_iter()
            .filter(|ms| *ms > now && *ms != i64::MAX);
        let machines = self.machines.values().map(|machine| machine.next_ms);
        let provider = self.outside.cloud.borrow().next_due_ms().map(|ms| ms - EPOCH_MS);
        let all = machines.chain(spell).chain(command).chain(provider).chain(self.object.alarm_ms);
        all.min()
    }

    /// Everything whose time has come, one after the other.
    fn turn(&mut self) -> Result<(), String> {
        let now = self.now();
        if now == self.trouble_from_ms {
            self.begin_trouble();
        }
        if now == self.trouble_until_ms {
            self.outside.cloud.borrow_mut().faults_mut().clear();
            self.excused_ms += self.trouble_until_ms - self.trouble_from_ms;
        }
        if let (Some(alarm), Some(due)) = (self.object.alarm_ms, self.object.alarm_due_ms)
            && alarm <= now
        {
            self.excused_ms += alarm - due;
            self.object.alarm_ms = None;
            self.decide(Input::Tick { due_at: Some(at(due)) })?;
        }
        let due: Vec<u64> = self
            .machines
            .values()
            .filter(|machine| machine.next_ms <= now)
            .map(|machine| machine.server_id)
            .collect();
        for server_id in due {
            self.machine_turn(server_id)?;
        }
        if self.next_command_ms <= now && self.next_command_ms < self.owner_until_ms {
            self.command()?;
            self.next_command_ms = now + self.rng.i64(1..120) * MINUTE_MS;
        }
        Ok(())
    }

    fn decide(&mut self, input: Input) -> Result<bool, String> {
        self.report.decisions += 1;
        let before = self.object.record.state();
        let refusal = self.object.input(input, &self.outside, self.odds, &mut self.rng);
        if before != self.object.record.state() && self.object.record.state().as_str() == "asleep" {
            self.report.slept += 1;
        }
        self.look_at_provider()?;
        Ok(refusal.is_some())
    }

    /// Lets the provider's own work happen, and meets machines that appear, reboot or go.
    fn look_at_provider(&mut self) -> Result<(), String> {
        let now = self.now();
        self.outside.cloud.borrow_mut().advance(EPOCH_MS + now);
        let seen: Vec<(u64, ServerStatus, u32)> = self
            .outside
            .cloud
            .borrow()
            .servers()
            .map(|server| (server.id, server.status, server.boots))
            .collect();
        let gone: Vec<u64> = self
            .machines
            .keys()
            .filter(|id| {
                !seen.iter().any(|(seen, status, _)| seen == *id && *status != ServerStatus::Deleting)
            })
            .copied()
            .collect();
        for id in gone {
            if let Some(machine) = self.machines.remove(&id) {
                work_is_never_lost(&machine, &self.object, &self.outside)?;
            }
        }
        for (id, status, boots) in seen {
            if status != ServerStatus::Running {
                continue;
            }
            match self.machines.get_mut(&id) {
                Some(machine) if machine.boots_seen != boots => {
                    machine.boots_seen = boots;
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

    fn meet(&mut self, server_id: u64, boots: u32) {
        let now = self.now();
        self.report.machines += 1;
        let bad = self.rng.u32(..1000) < self.odds.bad_machine;
        let trouble = match self.rng.u32(..5) {
            _ if !bad => Trouble::None,
            0 => Trouble::CutOff { until_ms: now + self.rng.i64(5..400) * MINUTE_MS },
            1 => Trouble::Dead,
            2 => Trouble::Hung,
            3 => Trouble::NeverBoots,
            _ => Trouble::CannotUpload,
        };
        let trouble_at_ms = match trouble {
            Trouble::NeverBoots => now,
            _ => now + self.rng.i64(0..150) * MINUTE_MS,
        };
        let machine = Machine {
            server_id,
            generation: self.object.record.generation.0,
            trouble,
            trouble_at_ms,
            next_ms: now + self.rng.i64(5_000..60_000),
            enrolled: false,
            steps: 0,
            steps_needed: self.rng.u64(2..20),
            ready: false,
            open: false,
            fenced: false,
            boot_fails: self.rng.u32(..40) == 0,
            work: 0,
            snapshot: None,
            phase: None,
            wish: Wish::Run,
            works_until_ms: now + self.rng.i64(1..200) * MINUTE_MS,
            last_work_ms: now,
            idle_after_ms: 10 * MINUTE_MS,
            unreadable: self.rng.u32(..40) == 0,
            upload_left: 0,
            boots_seen: boots,
            last_heard_truth_ms: now,
        };
        self.machines.insert(server_id, machine);
    }

    fn machine_turn(&mut self, server_id: u64) -> Result<(), String> {
        let now = self.now();
        let Some(machine) = self.machines.get_mut(&server_id) else { return Ok(()) };
        machine.next_ms = now + 45_000;
        let generation = machine.generation;
        // The provider's metrics show what the machine does.
        if !machine.is_alive(now) && machine.trouble != Trouble::None {
            let fault = if machine.trouble == Trouble::NeverBoots {
                MachineFault::NeverBoot
            } else {
                MachineFault::Die
            };
            let known = self
                .outside
                .cloud
                .borrow()
                .server(server_id)
                .is_some_and(|server| server.fault == Some(fault));
            if !known {
                self.outside.cloud.borrow_mut().machine_fault(server_id, fault);
            }
        }
        let says = machine.act(now, &mut self.rng, &mut self.outside.packs.borrow_mut());
        match says {
            Says::Silence => return Ok(()),
            _ if !self.is_live(generation) => return self.fence(server_id),
            Says::Enrol => {
                let refused = self.decide(Input::Enrolled { machine_key: format!("key {server_id}") })?;
                if let (false, Some(machine)) = (refused, self.machines.get_mut(&server_id)) {
                    machine.enrolled = true;
                }
            }
            Says::Heartbeat(heard) => {
                self.object.heard_ms = Some((generation, now));
                self.decide(Input::Heard(heard))?;
            }
            Says::Deliver { receipt, last } => {
                self.object.heard_ms = Some((generation, now));
                self.decide(Input::Delivered { receipt, last })?;
                let refused =
                    self.object.record.pending.is_none() && self.object.record.receipt_problem.is_some();
                if let (true, Some(machine)) = (refused, self.machines.get_mut(&server_id)) {
                    machine.refused();
                }
            }
        }
        if !self.is_live(generation) {
            return self.fence(server_id);
        }
        let context = Context { now: at(self.now()), policy: &self.object.policy, heard_at: None };
        let instruction = view::instruction(&self.object.record, &context);
        if let Some(machine) = self.machines.get_mut(&server_id) {
            machine.told(&instruction);
        }
        Ok(())
    }

    /// Whether a machine of that generation is answered at all, as the object decides it.
    fn is_live(&self, generation: u32) -> bool {
        let record = &self.object.record;
        let gone = matches!(record.phase, Phase::Rescuing { .. } | Phase::Destroying { .. });
        record.generation.0 == generation && record.phase.may_have_machine() && !gone
    }

    /// 410: the machine stops.
    fn fence(&mut self, server_id: u64) -> Result<(), String> {
        if let Some(machine) = self.machines.get_mut(&server_id) {
            machine.fenced = true;
        }
        Ok(())
    }

    fn command(&mut self) -> Result<(), String> {
        let now = self.now();
        let lifetime = Some(Duration::from_mins(self.rng.u64(30..400)));
        let command = match self.rng.u32(..20) {
            0..5 => Command::Sleep,
            5..11 => Command::Wake { snapshot: None },
            11..13 => Command::Retry,
            13 => Command::Delete,
            14 => Command::Discard,
            15 => Command::Undelete,
            16 => Command::Change { idle_timeout: None, lifetime, worst_case: None },
            17 => Command::TakeHold(Hold {
                id: "h".to_owned(),
                reason: "training".to_owned(),
                ends_at: at(now + self.rng.i64(1..60) * MINUTE_MS),
            }),
            18 => Command::ReleaseHold { id: "h".to_owned() },
            _ => Command::Snapshot,
        };
        self.object.history.push(format!("{now:>9} the owner: {command:?}"));
        self.decide(Input::Ask(command)).map(drop)
    }

    fn begin_trouble(&mut self) {
        let (hetzner, cloudflare) = (Provider::Hetzner, Provider::Cloudflare);
        let down =
            || FaultKind::Refuse { status: 503, code: "unavailable".to_owned(), message: "down".to_owned() };
        let locked =
            || FaultKind::Refuse { status: 423, code: "locked".to_owned(), message: "locked".to_owned() };
        let capacity = |shape| Rule::new(FaultKind::Capacity { shape }).on(hetzner, "POST", "/servers");
        let everything = |fault| Rule { provider: None, ..Rule::new(fault) };
        let not_found = || FaultKind::Refuse {
            status: 404,
            code: "not_found".to_owned(),
            message: "not found".to_owned(),
        };
        let rule = match self.rng.u32(..16) {
            0 => everything(down()),
            1 => {
                Rule::new(FaultKind::LandedThenError { status: 500 }).on(hetzner, "POST", "/servers").times(2)
            }
            2 => Rule::new(FaultKind::LostResponse).on(hetzner, "POST", "/servers").times(2),
            3 => everything(FaultKind::LostRequest).per_mille(400),
            4 => everything(FaultKind::LostResponse).per_mille(400),
            5 => capacity(CapacityShape::ResourceUnavailable),
            6 => capacity(CapacityShape::UnsupportedLocation),
            7 => capacity(CapacityShape::ResourceLimitExceeded),
            8 => Rule::new(locked()).on(hetzner, "DELETE", "/servers/*"),
            9 => everything(FaultKind::RateLimited { retry_after_secs: 30 }).per_mille(700),
            10 => Rule::new(down()).on(cloudflare, "POST", "/**"),
            11 => Rule::new(FaultKind::LandedThenError { status: 502 }).on(hetzner, "DELETE", "/servers/*"),
            12 => Rule::new(not_found()).on(hetzner, "PUT", "/servers/*").per_mille(500),
            13 => Rule::new(not_found()).on(hetzner, "GET", "/servers/*").per_mille(500),
            14 => everything(FaultKind::Slow { ms: 30_000 }).per_mille(300),
            _ => {
                self.outside.storage_down_until.set(self.trouble_until_ms);
                everything(FaultKind::Duplicate).per_mille(300)
            }
        };
        self.object.history.push(format!("{:>9} trouble: {rule:?}", self.now()));
        self.report.faults += 1;
        self.outside.cloud.borrow_mut().faults_mut().add(rule);
    }
}
