//! A machine with work on it, as the control plane hears of it: boots, works, idles, backs up, and fails in the ways
//! that machines fail. It plays the idle-agent's side of the protocol and nothing of the control plane's.

use super::faults::{Dice, Kind};
use ebbtide_api::vm::{DesiredMachineState, DrainPhase, Instruction, Pack, Receipt, Unreadable};
use ebbtide_control::lifecycle::HeartbeatSummary;
use std::collections::BTreeMap;

/// What storage holds, and how much work each snapshot restores.
#[derive(Debug, Clone, Default)]
pub struct Packs {
    /// Object path below the repository → size.
    pub objects: BTreeMap<String, u64>,
    /// Snapshot → the work that it holds, where everything it names was stored.
    pub work_of: BTreeMap<String, u64>,
    last: u64,
}

/// How a machine misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Runs and works, but cannot reach us until then. A quiet one only listens: next to no CPU.
    CutOff {
        until_ms: i64,
        quiet: bool,
    },
    /// Dead for good; a reboot does not help.
    Dead,
    /// Dead until it is rebooted.
    Hung,
    /// Switched off until it is switched on.
    Off,
    /// Never boots at all.
    NeverBoots,
    /// Talks, but its backups never finish.
    CannotUpload,
}

/// A machine of one generation.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its own dice.
    pub rng: fastrand::Rng,
    pub server_id: u64,
    pub generation: u32,
    /// The image that it was made from, where it is there only to be backed up.
    pub salvages: Option<u64>,
    pub trouble: Trouble,
    /// When the trouble begins.
    pub trouble_at_ms: i64,
    /// When it next says something.
    pub next_ms: i64,
    /// Between two turns; a machine's clock may run fast or slow.
    pub pace_ms: i64,
    /// When it reboots by itself, is deleted behind our back, or somebody else tries to enrol in its place.
    pub reboots_ms: Option<i64>,
    pub vanishes_ms: Option<i64>,
    pub impostor_ms: Option<i64>,
    /// Whether the provider's metrics show what its trouble is.
    pub shown: bool,
    pub enrolled: bool,
    pub steps: u64,
    pub steps_needed: u64,
    pub ready: bool,
    /// The control plane has heard that it is ready: before that nobody is let in to work.
    pub open: bool,
    /// Told that its time is over: it touches nothing any more.
    pub fenced: bool,
    pub boot_fails: bool,
    /// Work done, a counter that only rises.
    pub work: u64,
    /// The work of the last snapshot, and its receipt.
    pub snapshot: Option<(Receipt, u64)>,
    pub phase: Option<DrainPhase>,
    pub desired: DesiredMachineState,
    /// When it stops working for good.
    pub works_until_ms: i64,
    pub last_work_ms: i64,
    pub idle_after_ms: i64,
    pub unreadable: bool,
    pub upload_left: u32,
    pub boots_seen: u32,
    /// Its owner has asked for a reboot.
    pub reboot_asked: bool,
    /// How often it was rebooted through the provider.
    pub reboots: u32,
    /// Since when it says that it is idle, and when it last said so.
    pub idle_since_ms: Option<(i64, i64)>,
    /// Somebody else deleted its server.
    pub vanished: bool,
    /// The owner gave up what is unsaved, and its end began.
    pub discarded: bool,
}

/// What a machine wants to say.
pub enum Says {
    Enrol,
    Heartbeat(HeartbeatSummary),
    Deliver {
        receipt: Receipt,
        last: bool,
    },
    /// Nothing that reaches us.
    Silence,
}

impl Machine {
    /// Whether it lives and could work, whatever the control plane hears.
    pub fn is_alive(&self, now_ms: i64) -> bool {
        now_ms < self.trouble_at_ms
            || matches!(self.trouble, Trouble::None | Trouble::CutOff { .. } | Trouble::CannotUpload)
    }

    pub fn reaches_us(&self, now_ms: i64) -> bool {
        match self.trouble {
            _ if now_ms < self.trouble_at_ms => true,
            Trouble::CutOff { until_ms, .. } => now_ms >= until_ms,
            Trouble::None | Trouble::CannotUpload => true,
            Trouble::Dead | Trouble::Hung | Trouble::Off | Trouble::NeverBoots => false,
        }
    }

    /// Lets it act once and says what it says, where we answer at all.
    pub fn act(&mut self, now_ms: i64, answered: bool, dice: &mut Dice, packs: &mut Packs) -> Says {
        if !self.is_alive(now_ms) || self.fenced {
            return Says::Silence;
        }
        let frozen = matches!(self.phase, Some(DrainPhase::Frozen | DrainPhase::Done));
        if self.open && !self.fenced && !frozen && now_ms < self.works_until_ms && self.rng.u32(..100) < 40 {
            self.work += 1;
            self.last_work_ms = now_ms;
        }
        if !answered || !self.reaches_us(now_ms) {
            return Says::Silence;
        }
        if !self.enrolled {
            return Says::Enrol;
        }
        if !self.ready && !self.boot_fails {
            self.steps += 1;
            self.ready = self.steps >= self.steps_needed;
        }
        if let Some(deliver) = self.drain(now_ms, dice, packs) {
            return deliver;
        }
        Says::Heartbeat(self.heartbeat(now_ms))
    }

    fn heartbeat(&self, now_ms: i64) -> HeartbeatSummary {
        let quiet = now_ms - self.last_work_ms;
        let idle = self.ready && quiet >= self.idle_after_ms;
        HeartbeatSummary {
            ready: self.ready,
            past_prune: self.steps > 1,
            boot_progress: self.steps,
            restored: if self.generation > 1 { self.steps.saturating_sub(1) } else { 0 },
            boot_failure: (self.boot_fails && self.steps > 0)
                .then(|| "the repository wants credentials".to_owned()),
            boot_warnings: Vec::new(),
            idle: idle.then(|| "nothing happened for a while".to_owned()),
            busy: (self.ready && quiet < 60_000).then(|| "a build".to_owned()),
            line: Some(if quiet < 60_000 { "active: a build" } else { "quiet: nothing happens" }.to_owned()),
            drain: self.phase,
            backup_trouble: (self.trouble == Trouble::CannotUpload).then(|| "storage refuses".to_owned()),
            estimate: None,
            stored_bytes: None,
            out_of_memory: None,
        }
    }

    /// Moves a drain on; a frozen machine delivers its final receipt again and again until it is gone.
    fn drain(&mut self, now_ms: i64, dice: &mut Dice, packs: &mut Packs) -> Option<Says> {
        let stuck = self.trouble == Trouble::CannotUpload && now_ms >= self.trouble_at_ms;
        if self.desired == DesiredMachineState::Run {
            if self.ready && !stuck && self.rng.u32(..100) < 6 {
                self.take_snapshot(dice, packs);
                // The mistake of an agent that believes it is draining: it may end nothing.
                let last = dice.strike(Kind::EarlyLast, 5).is_some();
                return self.snapshot.clone().map(|(receipt, _)| Says::Deliver { receipt, last });
            }
            return None;
        }
        match self.phase {
            None => self.phase = Some(DrainPhase::Notice),
            Some(DrainPhase::Notice) => {
                self.phase = Some(DrainPhase::Snapshot);
                self.upload_left = self.rng.u32(0..6);
            }
            Some(DrainPhase::Snapshot) if stuck => {}
            Some(DrainPhase::Snapshot) if self.upload_left > 0 => self.upload_left -= 1,
            Some(DrainPhase::Snapshot) => self.phase = Some(DrainPhase::Frozen),
            Some(DrainPhase::Frozen | DrainPhase::Done) if stuck => {}
            Some(DrainPhase::Frozen) => {
                self.take_snapshot(dice, packs);
                self.phase = Some(DrainPhase::Done);
            }
            Some(DrainPhase::Done) => {
                let (receipt, _) = self.snapshot.clone()?;
                return Some(Says::Deliver { receipt, last: true });
            }
        }
        None
    }

    /// Takes what the control plane wants.
    pub fn instruct(&mut self, instruction: &Instruction) {
        self.desired = instruction.desired;
        self.open |= instruction.open;
        if self.desired == DesiredMachineState::Run {
            self.phase = None;
        }
    }

    /// A receipt was refused: the backup is run again.
    pub fn refused(&mut self) {
        if self.phase == Some(DrainPhase::Done) {
            self.phase = Some(DrainPhase::Frozen);
        }
    }

    /// The provider switched it on again.
    pub fn rebooted(&mut self, now_ms: i64) {
        if matches!(self.trouble, Trouble::Hung | Trouble::Off) && now_ms >= self.trouble_at_ms {
            self.trouble = Trouble::None;
        }
        self.phase = None;
        self.shown = false;
        self.next_ms = now_ms + 20_000;
    }

    fn take_snapshot(&mut self, dice: &mut Dice, packs: &mut Packs) {
        packs.last += 1;
        let snapshot = format!("{:064x}", packs.last);
        // Mostly little is new; now and then more than one slice of a check takes.
        let pack_count = if self.rng.u32(..8) == 0 { self.rng.usize(0..45) } else { self.rng.usize(0..4) };
        // What the machine believes in storage is not there, or is cut short.
        let mut false_receipt = dice.strike(Kind::FalseReceipt, 8);
        let wrong = false_receipt.as_mut().map(|rng| (rng.usize(..=pack_count), rng.bool()));
        let packs_new: Vec<Pack> = (0..pack_count)
            .map(|n| {
                let name = format!("{:060x}{n:04x}", packs.last);
                let size = 100 + self.rng.u64(..100);
                let stored = match wrong {
                    Some((at, true)) if at == n => None,
                    Some((at, false)) if at == n => Some(size - 1),
                    _ => Some(size),
                };
                packs.objects.extend(stored.map(|size| (format!("data/{name}"), size)));
                Pack { name, size }
            })
            .collect();
        let complete = wrong.is_none();
        if wrong.is_none_or(|(at, _)| at < pack_count) {
            packs.objects.insert(format!("snapshots/{snapshot}"), 300);
        }
        let unreadable = if self.unreadable {
            vec![Unreadable { path: "/home/ebb/x".to_owned(), reason: "permission denied".to_owned() }]
        } else {
            Vec::new()
        };
        if complete && unreadable.is_empty() {
            packs.work_of.insert(snapshot.clone(), self.work);
        }
        let receipt = Receipt {
            snapshot,
            tree: "0".repeat(64),
            packs_total: pack_count as u64,
            packs_new,
            files: self.work,
            bytes_total: self.work,
            bytes_sent: 1,
            skipped: Vec::new(),
            unreadable,
            packs_to_come: 0,
            indexes: None,
            unreadable_more: 0,
            excluded: None,
        };
        self.snapshot = Some((receipt, self.work));
    }
}
