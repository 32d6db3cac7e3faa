//! What a record looks like to a person, and what it tells the machine. Derives, never decides.

use crate::lifecycle::Context;
use crate::names::port_host_of;
use crate::record::{DrainReason, Phase, Record, Wanted};
use ebbtide_api::Timestamp;
use ebbtide_api::ports::Port;
use ebbtide_api::vm::{Heartbeat, Instruction, VmHold, VmPolicy, Wish};
use ebbtide_api::why::Why;
use ebbtide_api::workspace::{BootStep, Machine, RescueImage, StepState, Workspace, WorkspaceSummary};

/// Shows a workspace: the record, and the last heartbeat of its machine where one was heard.
pub fn workspace(
    record: &Record,
    heard: Option<&Heartbeat>,
    context: &Context<'_>,
    port_url: &str,
) -> Workspace {
    let live = matches!(
        record.phase,
        Phase::Booting { .. }
            | Phase::Running
            | Phase::Silent { .. }
            | Phase::Draining { .. }
            | Phase::Rescuing { .. }
    );
    let heard_now = heard.filter(|_| live);
    // The boot steps of a machine that failed are what its owner wants to read.
    let boot =
        heard.filter(|_| live || matches!(record.phase, Phase::Failed { .. } | Phase::Destroying { .. }));
    let url = |port: u16| port_url.replace("{host}", &port_host_of(port, &record.host));
    let why = heard_now
        .and_then(|heartbeat| heartbeat.why.clone())
        .map(|why| crate::money::kept(why, &record.money, context.now));
    let awake = why.as_ref().filter(|_| matches!(record.phase, Phase::Running));
    Workspace {
        id: record.id.clone(),
        name: record.name.clone(),
        state: record.state(),
        since: record.since,
        because: record.because.clone(),
        line: awake.map_or_else(|| record.because.clone(), Why::line),
        waiting_for: waiting_for(record, context.now),
        failure: match &record.phase {
            Phase::Failed { failure } | Phase::Destroying { failure: Some(failure), .. } => {
                Some(failure.clone())
            }
            _ => None,
        },
        generation: record.generation,
        repo: record.spec.repo.clone(),
        branch: record.spec.branch.clone(),
        size: record.spec.placement.size.clone(),
        location: record.spec.placement.location.clone(),
        idle_timeout: record.spec.idle_timeout,
        lifetime: record.spec.lifetime,
        persistence: record.spec.persistence,
        created_at: record.created_at,
        lifetime_ends_at: record.phase.may_have_machine().then(|| record.lifetime_ends_at()),
        hard_end_at: record.phase.may_have_machine().then(|| record.hard_end_at(context.policy)),
        worst_case: record.worst_case.clone(),
        machine: record.server.as_ref().map(|server| Machine {
            server_id: server.id,
            ipv4: server.ipv4.clone(),
            host: record.host.clone(),
        }),
        boot: boot.map(|heartbeat| heartbeat.boot.clone()).unwrap_or_default(),
        ports: heard_now
            .map(|heartbeat| {
                heartbeat
                    .ports
                    .iter()
                    .map(|port| Port { url: Some(url(port.port)), ..port.clone() })
                    .collect()
            })
            .unwrap_or_default(),
        why,
        heard_secs_ago: live
            .then_some(context.heard_at)
            .flatten()
            .map(|at| u64::try_from(context.now.duration_since(at).as_secs()).unwrap_or(0)),
        backup: heard_now.and_then(|heartbeat| heartbeat.backup.clone()),
        last_backup: record.snapshots.first().cloned(),
        rescue_image: record.rescue_image.map(|id| RescueImage {
            id,
            expires_at: record.rescue_image_expires_at,
            price_per_gb_month: record.money.image_price(),
        }),
        holds: record.holds.clone(),
    }
}

/// What the index holds of a workspace.
pub fn summary(record: &Record) -> WorkspaceSummary {
    WorkspaceSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        state: record.state(),
        because: record.because.clone(),
        repo: record.spec.repo.clone(),
        size: record.spec.placement.size.clone(),
        created_at: record.created_at,
        since: record.since,
    }
}

fn waiting_for(record: &Record, now: Timestamp) -> Option<String> {
    if let Some(pause) = &record.pause {
        return Some(pause.waiting_for.clone());
    }
    match &record.phase {
        Phase::Draining { trouble, .. } => {
            let said = trouble.as_ref().or(record.receipt_problem.as_ref());
            let said = said.map_or("the backup", String::as_str);
            let then = if record.may_thaw(now) {
                "; wake the workspace to mend that, or delete it with discard"
            } else {
                ""
            };
            Some(format!("{said}{then}"))
        }
        Phase::Silent { .. } => Some("a sign of life from the machine".to_owned()),
        Phase::Provisioning { .. } => Some("the provider to create the server".to_owned()),
        Phase::Rescuing { .. } => Some("the rescue image".to_owned()),
        Phase::Destroying { .. } => Some("the provider to delete the server and its names".to_owned()),
        Phase::Asleep | Phase::Failed { .. } if record.wanted == Wanted::Awake => {
            record.grant.as_ref().map(|grant| format!("{} to finish work on the backups", grant.by))
        }
        _ => None,
    }
}

/// What the machine is told in answer to a heartbeat.
pub fn instruction(record: &Record, context: &Context<'_>) -> Instruction {
    let secs_until = |at: Timestamp| u64::try_from(at.duration_since(context.now).as_secs()).unwrap_or(0);
    Instruction {
        wish: match &record.phase {
            _ if record.thaws => Wish::Run,
            // Silence does not take a drain back: a machine that reconnects goes on where it was.
            Phase::Draining { reason, .. } | Phase::Silent { draining: Some(reason), .. } => match reason {
                DrainReason::Idle => Wish::Drain,
                DrainReason::Asked | DrainReason::Lifetime | DrainReason::Salvage => Wish::DrainNow,
            },
            _ => Wish::Run,
        },
        vm_token: None,
        // Nobody works on a machine that only salvages.
        open: matches!(record.phase, Phase::Running | Phase::Silent { .. } | Phase::Draining { .. })
            && record.salvages.is_none(),
        policy: Some(vm_policy(record, context.policy)),
        holds: record
            .holds
            .iter()
            .filter(|hold| hold.ends_at > context.now)
            .map(|hold| VmHold {
                id: hold.id.clone(),
                reason: hold.reason.clone(),
                expires_in_secs: secs_until(hold.ends_at),
            })
            .collect(),
        public_ports: record.public_ports.clone(),
        snapshots_wanted: record.snapshots_wanted,
        lifetime_ends_in_secs: Some(secs_until(record.lifetime_ends_at())),
    }
}

/// Durations that the machine works by.
pub fn vm_policy(record: &Record, policy: &crate::policy::Policy) -> VmPolicy {
    VmPolicy {
        heartbeat_secs: policy.heartbeat.as_secs(),
        idle_timeout_secs: record.spec.idle_timeout.as_secs(),
        unknown_grace_secs: policy.unknown_grace.as_secs(),
        waiting_for_human_secs: policy.waiting_for_human.as_secs(),
        agent_silence_secs: policy.agent_silence.as_secs(),
        background_secs: policy.background.as_secs(),
        snapshot_every_secs: policy.snapshot_every.as_secs(),
    }
}

/// Longest sentence of a machine's that is kept in records, history and index, in characters.
const SENTENCE_MAX: usize = 600;

pub(crate) fn cut(text: &str) -> String {
    text.chars().take(SENTENCE_MAX).collect()
}

/// Whether the step that tidies is over, or a later one has begun.
fn is_past_tidying(boot: &[BootStep]) -> bool {
    let Some(place) = boot.iter().position(|step| step.name == ebbtide_vm_init::TIDY_STEP) else {
        return false;
    };
    boot.iter().skip(place).enumerate().any(|(after, step)| match step.state {
        StepState::Done | StepState::Skipped | StepState::Failed => true,
        StepState::Running => after > 0,
        StepState::Pending => false,
    })
}

/// What a heartbeat says, as far as the lifecycle goes.
pub fn heard(heartbeat: &Heartbeat) -> crate::lifecycle::Heard {
    use ebbtide_api::why::Verdict;
    let why = heartbeat.why.as_ref();
    let first = |otherwise: &str| {
        why.and_then(|why| why.because.first()).map_or_else(|| otherwise.to_owned(), |text| cut(text))
    };
    let (idle, busy) = match why.map(|why| why.verdict) {
        Some(Verdict::Idle) => (Some(first("nothing happens any more")), None),
        Some(Verdict::Active | Verdict::Held) => (None, Some(first("something works again"))),
        Some(Verdict::Quiet | Verdict::WaitingForHuman | Verdict::Unknown) | None => (None, None),
    };
    crate::lifecycle::Heard {
        ready: heartbeat.ready,
        past_tidying: is_past_tidying(&heartbeat.boot),
        boot_progress: heartbeat.boot_progress,
        boot_failure: heartbeat.boot_failure.as_deref().map(cut),
        idle,
        busy,
        drain: heartbeat.drain,
        backup_trouble: heartbeat.backup_trouble.as_deref().map(cut),
        estimate: why.and_then(|why| why.keeping.as_ref()).and_then(|keeping| keeping.estimate),
        stored_bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tidying_is_past_once_its_step_is_over_or_a_later_one_has_begun() {
        use StepState::{Done, Failed, Pending, Running, Skipped};
        let check = |steps: &[(&str, StepState)], past: bool| {
            let step = |(name, state): &(&str, StepState)| BootStep {
                name: (*name).to_owned(),
                title: String::new(),
                state: *state,
                duration_ms: 0,
                percent: None,
                detail: None,
            };
            let boot = steps.iter().map(step).collect();
            assert_eq!(heard(&Heartbeat { boot, ..Heartbeat::default() }).past_tidying, past, "{steps:?}");
        };
        check(&[], false);
        check(&[("user", Done), ("tidy", Pending), ("restore", Pending)], false);
        check(&[("user", Done), ("tidy", Running), ("restore", Pending)], false);
        for over in [Done, Skipped, Failed] {
            check(&[("user", Done), ("tidy", over), ("restore", Pending)], true);
        }
        check(&[("tidy", Running), ("restore", Running)], true);
        check(&[("tidy", Pending), ("restore", Pending), ("terminal", Done)], true);
    }
}
